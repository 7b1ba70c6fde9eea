"""The picture of a judgment: accuracy where face and voice agree and, by strength, where they do not; a line per system.

Where there are recombined items, a second panel shows by strength which side is followed. Drawn as plots.py draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bemerc.core.pictures import in_picture
from bemerc.evaluate import plots
from bemerc.evaluate.conflict.judge import Judgment
from bemerc.evaluate.intervals import Interval

# Told apart in grey, and by those who see red and green alike, with their markers.
COLORS = ("#2f6fb5", "#c8691c", "#3a8f6b", "#8a5aa8", "#8c6d1f", "#b0395a", "#4a4a4a", "#2a9db0")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
QUARTILE_TITLES = ("weakest\nquarter", "second", "third", "strongest\nquarter")
SPREAD = 0.34  # of the distance between two places, over all systems


def save(path: Path, judged: Judgment) -> None:
    """Draw ``judged``; where there is nothing to show, a picture that says so."""
    of_labels = bool(judged.rows) and sum(judged.quartiles["conflict"]) > 0
    of_recombined = any(row.recombined is not None for row in judged.rows)
    panels = [panel for panel, wanted in ((_accuracy, of_labels), (_lean, of_recombined)) if wanted]
    figure = plots.new_figure(4.9 * max(1, len(panels)) + 0.6, 3.7 + 0.2 * ((len(judged.rows) + 3) // 4))
    if not panels:
        figure.text(0.5, 0.5, "There are no conflict items to judge.", ha="center", va="center", fontsize=10)
        plots.save(figure, path)
        return
    for axes, panel in zip(plots.row_of_axes(figure, len(panels)), panels, strict=True):
        panel(axes, judged)
        axes.set_xlabel("how strongly face and voice disagree", fontsize=9)
        plots.bare(axes)
    handles, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    plots.save(figure, path)


def _accuracy(axes: Axes, judged: Judgment) -> None:
    _lines(axes, [(row.name, [row.subsets["consistent"]["accuracy"], *row.quartiles]) for row in judged.rows], apart=1)
    counts = [judged.counts["consistent"].items, *judged.quartiles["conflict"]]
    _ticks(axes, ["they agree", *QUARTILE_TITLES], counts)
    axes.axvline(0.5, color="#bbbbbb", linewidth=0.8)
    axes.set_ylim(-2, 102)
    axes.set_title("Accuracy (%), face and voice in conflict", fontsize=10, loc="left")
    axes.grid(axis="y", color=plots.PALE, linewidth=0.8, zorder=0)


def _lean(axes: Axes, judged: Judgment) -> None:
    rows = [(row.name, list(row.recombined.quartiles)) for row in judged.rows if row.recombined is not None]
    _lines(axes, rows)
    _ticks(axes, QUARTILE_TITLES, judged.quartiles["recombined"])
    axes.axhline(0, color=plots.INK, linewidth=0.8, zorder=1)
    axes.set_ylim(-104, 104)
    axes.set_yticks(range(-100, 101, 50), ["voice", "−50", "0", "50", "face"])
    axes.set_title("Which side is followed, recombined items (points)", fontsize=10, loc="left")
    axes.grid(axis="y", color=plots.PALE, linewidth=0.8, zorder=0)


def _ticks(axes: Axes, titles: Sequence[str], counts: Sequence[int]) -> None:
    labels = [
        f"{title}\nn = {n}" if "\n" in title else f"{title}\n\nn = {n}" for title, n in zip(titles, counts, strict=True)
    ]
    axes.set_xticks(range(len(titles)), labels, fontsize=8)
    axes.set_xlim(-0.5, len(titles) - 0.5)


def _lines(axes: Axes, rows: Sequence[tuple[str, Sequence[Interval]]], apart: int = 0) -> None:
    """A line per system through its values, with their intervals; the first ``apart`` of them stand by themselves."""
    for number, (name, values) in enumerate(rows):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        shift = SPREAD * ((number + 0.5) / len(rows) - 0.5)
        offsets = [x + shift for x in range(len(values))]
        heights = [math.nan if one.value is None else 100 * one.value for one in values]  # a line breaks at NaN
        axes.plot(offsets[apart:], heights[apart:], color=color, linewidth=1.6, zorder=2)
        axes.plot(
            offsets,
            heights,
            color=color,
            marker=marker,
            markersize=5,
            linestyle="none",
            label=in_picture(name),
            zorder=3,
        )
        for x, one in enumerate(values):
            if one.low is not None and one.high is not None:
                axes.plot(
                    [x + shift] * 2, [100 * one.low, 100 * one.high], color=color, linewidth=1.0, alpha=0.6, zorder=1
                )
