"""PNG plots of an evaluation: the ladder of systems, confusion matrices, F1 per label, training curves.

Drawn on matplotlib's Figure without pyplot, so that importing this changes no backend. Fonts are matplotlib's own and
no date or version enters the file: the same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from bemerc.core import atomic, pictures
from bemerc.core.pictures import in_picture

MODEL, BASELINE, CEILING, GHOST, INK, PALE = "#2f6fb5", "#dda06a", "#7d93ab", "#eef3f9", "#222222", "#e6e6e6"
# Light to dark in the order of the variants, so that the order is visible in grey too.
SHADES = ("#9cc3e8", "#4f92cf", "#1f5fa8", "#0c2f5c")
DPI = 150
_LONGEST, _LONGEST_LABEL = 40, 20  # characters of a name
GAP = 0.5  # rows between two groups of the ladder


@dataclass(frozen=True)
class Bar:
    """One row of the ladder, fractions; ``low`` and ``high`` None without an interval, ``ceiling`` None if unknown."""

    name: str
    is_model: bool
    value: float
    low: float | None
    high: float | None
    ceiling: float | None = None


def save_ladder(path: Path, panels: Mapping[str, Sequence[Sequence[Bar]]], confidence: float) -> None:
    """Every system with its interval: one panel per metric, groups of rows from the top in the order given."""
    groups = next(iter(panels.values()))
    rows = sum(len(group) + GAP for group in groups)
    figure = new_figure(4.0 * len(panels) + 2.6, 0.36 * rows + 1.1)
    for number, (axes, (title, groups_of_panel)) in enumerate(
        zip(row_of_axes(figure, len(panels)), panels.items(), strict=True)
    ):
        _ladder(axes, title, groups_of_panel, named=number == 0)
    keys = _ladder_keys(
        [bar for groups_of_panel in panels.values() for group in groups_of_panel for bar in group], confidence
    )
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), frameon=False, fontsize=8)
    save(figure, path)


def _ladder(axes: Axes, title: str, groups: Sequence[Sequence[Bar]], *, named: bool) -> None:
    top = 0.0
    ticks: list[tuple[float, str]] = []
    for group in groups:
        for bar in group:
            _ladder_row(axes, top, bar)
            ticks.append((top, _name(bar.name)))
            top += 1
        top += GAP
    axes.set_yticks([at for at, _ in ticks], [name if named else "" for _, name in ticks], fontsize=9)
    axes.set_ylim(top - GAP - 0.4, -0.6)
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="x", color=PALE, linewidth=0.8, zorder=0)
    bare(axes)


def _ladder_row(axes: Axes, y: float, bar: Bar) -> None:
    if bar.ceiling is not None:
        axes.barh(
            y,
            100 * bar.ceiling,
            height=0.78,
            facecolor=GHOST,
            edgecolor=CEILING,
            linewidth=0.9,
            linestyle=(0, (3, 2)),
            zorder=1,
        )
    axes.barh(y, 100 * bar.value, height=0.62, color=MODEL if bar.is_model else BASELINE, zorder=2)
    if bar.low is not None and bar.high is not None:
        axes.plot([100 * bar.low, 100 * bar.high], [y, y], color=INK, linewidth=1.5, solid_capstyle="butt", zorder=3)
    axes.text(
        111,
        y,
        f"{100 * bar.value:.1f}",
        va="center",
        ha="right",
        fontsize=9,
        color=INK,
        weight="bold" if bar.is_model else "normal",
    )


def _ladder_keys(bars: Sequence[Bar], confidence: float) -> list[Artist]:
    keys: list[Artist] = [
        Patch(facecolor=MODEL, label="the language model"),
        Patch(facecolor=BASELINE, label="plain baselines"),
    ]
    if any(bar.low is not None for bar in bars):
        keys.append(Line2D([], [], color=INK, linewidth=1.5, label=f"{100 * confidence:g} % interval over dialogues"))
    if any(bar.ceiling is not None for bar in bars):
        keys.append(
            Patch(
                facecolor=GHOST,
                edgecolor=CEILING,
                linestyle=(0, (3, 2)),
                label="best possible on this synthetic corpus",
            )
        )
    return keys


def save_confusions(path: Path, labels: Sequence[str], counts: Mapping[str, NDArray[np.int64]]) -> None:
    """One heat map per system: counts (C, C), shaded by the share of the row (the gold label)."""
    side = 0.42 * len(labels) + 1.0
    figure = new_figure(side * len(counts) + 1.0, side + 0.5)
    for number, (axes, (name, table)) in enumerate(zip(row_of_axes(figure, len(counts)), counts.items(), strict=True)):
        _confusion_matrix(axes, name, labels, table, named=number == 0)
    save(figure, path)


def _confusion_matrix(axes: Axes, name: str, labels: Sequence[str], table: NDArray[np.int64], *, named: bool) -> None:
    labels = [in_picture(label, _LONGEST_LABEL) for label in labels]
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(table):
        if count:
            axes.text(
                j, i, str(count), ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.55 else INK
            )
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(labels)), labels if named else [""] * len(labels), fontsize=8)
    axes.set_title(in_picture(name, _LONGEST_LABEL), fontsize=10)
    axes.set_xlabel("predicted", fontsize=9)
    if named:
        axes.set_ylabel("gold label", fontsize=9)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


def save_per_class(path: Path, labels: Sequence[str], f1: Mapping[str, Sequence[Bar]], support: Sequence[int]) -> None:
    """F1 per label with its interval, one bar per system, and the number of test utterances under each label."""
    figure = new_figure(1.05 * len(labels) + 2.0, 3.2)
    axes = figure.add_subplot()
    width = 0.8 / len(f1)
    for number, (name, values) in enumerate(f1.items()):
        at = np.arange(len(labels)) + (number - (len(f1) - 1) / 2) * width
        shade = SHADES[min(number, len(SHADES) - 1)] if len(f1) > 1 else MODEL
        axes.bar(at, [100 * bar.value for bar in values], width * 0.92, color=shade, label=_name(name), zorder=2)
        for x, bar in zip(at, values, strict=True):
            if bar.low is not None and bar.high is not None:
                axes.plot([x, x], [100 * bar.low, 100 * bar.high], color=INK, linewidth=1.0, zorder=3)
    axes.set_xticks(
        range(len(labels)),
        [f"{in_picture(label, _LONGEST_LABEL)}\n{n}" for label, n in zip(labels, support, strict=True)],
        fontsize=9,
    )
    axes.set_ylim(0, 100)
    axes.set_ylabel("F1 (%)", fontsize=9)
    axes.set_title("F1 per label, with its number of test utterances", fontsize=10, loc="left")
    axes.grid(axis="y", color=PALE, linewidth=0.8, zorder=0)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    bare(axes)
    save(figure, path)


def save_curves(path: Path, panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> None:
    """Training curves: panel title -> curve name -> (x, y)."""
    figure = new_figure(3.9 * len(panels) + 0.6, 3.0)
    for axes, (title, curves) in zip(row_of_axes(figure, len(panels)), panels.items(), strict=True):
        for number, (name, (x, y)) in enumerate(curves.items()):
            shade = SHADES[min(number, len(SHADES) - 1)] if len(curves) > 1 else MODEL
            axes.plot(
                x, y, color=shade, linewidth=1.6, label=_name(name), marker="o" if len(x) < 30 else None, markersize=3
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch", fontsize=9)
        axes.grid(color=PALE, linewidth=0.8)
        axes.legend(frameon=False, fontsize=8)
        bare(axes)
    save(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """Width and height in inches, with the margins that the constrained layout leaves out."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def row_of_axes(figure: Figure, count: int) -> list[Any]:
    """``count`` panels side by side."""
    return list(figure.subplots(1, count, squeeze=False)[0])


def _name(text: str) -> str:
    """A name of a corpus or a file in a picture."""
    return in_picture(text, _LONGEST)


def bare(axes: Axes) -> None:
    """Without frame and tick marks, the line below excepted."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=9)


def save(figure: Figure, path: Path) -> None:
    """As PNG; the file appears when it is complete."""
    pictures.save(figure, path, atomic.PUBLIC, dpi=DPI)
