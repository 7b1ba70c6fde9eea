"""Short facial events with their frames: micro-expressions and blinks, spotted at the clip's own rate.

The obvious choice takes frames whose intensity passes a fixed number. A still face then hides its small bursts, and a
lively one has hundreds. Here a burst of 40 to 500 ms is held against what the same unit does anyhow, in this clip and
around this moment: how far it usually is from its own running median, and how much it trembles from frame to frame.
Units that burst together are one event. The rule is ours; benchmarks/micro_expressions.py says how often it is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events
from bemerc.behavior.signals.events import Run
from bemerc.cache import Features

Array = NDArray[np.float64]

LEAST = 0.3  # of an intensity: what a burst stands out at the least
STANDS_OUT = 4.0  # times the unrest of clip and moment
GRAIN = 0.1  # of an intensity: nothing is calmer than this
NEAR_S = 1.0  # before and after a burst: where a hand covers the mouth everything is restless
EDGE = 0.25  # onset and offset lie where this share of the apex is reached
# Lids move with every blink, and lips press, part and round with every syllable; that is no micro-expression.
RESTLESS_UNITS = {f"AU{unit:02d}_r" for unit in (5, 7, 14, 17, 23, 25, 26, 28, 45)}


@dataclass(frozen=True)
class Event:
    """Frames from onset to offset (included) and the apex; units -> how far each stood out, the clearest unit first.

    kind   "micro-expression" or "blink"
    score  how many times the clearest unit's burst exceeds its unrest in clip and moment; 0 for a blink
    """

    kind: str
    onset: int
    apex: int
    offset: int
    units: Mapping[str, float]
    score: float

    @property
    def unit(self) -> str:
        """The clearest unit's column."""
        return next(iter(self.units))


def spot(face: Features, covered: NDArray[np.bool_] | None = None) -> list[Event]:
    """Micro-expressions and blinks of one clip, in the order of their onsets. covered as in micro_expressions."""
    found = micro_expressions(face, covered)
    closing = series_of(face, "AU45_r") if "AU45_r" in face.columns else np.empty(0)
    for run in blinks(face):
        height = float(closing[run.apex] - np.nanmedian(closing))
        found.append(Event("blink", run.first, run.apex, run.last, {"AU45_r": height}, 0.0))
    return sorted(found, key=lambda event: (event.onset, event.kind))


def micro_expressions(face: Features, covered: NDArray[np.bool_] | None = None) -> list[Event]:
    """Bursts of 40 to 500 ms that stand out of their clip, the clearest first. What comes with a blink is the blink's;
    a single frame is a slip of the tracker; a burst whose rise or return was not seen is none.

    covered  (T,) frames in which a hand is at the face, where hands were measured: what seems to burst there is the mesh
             guessing behind it, and is none
    """
    if events.frame_s(face.timestamps_s) <= 0:
        return []
    blinking = blinks(face)
    found = [
        (score, column, run)
        for column in face.columns
        if column.startswith("AU") and column not in RESTLESS_UNITS
        for score, run in _bursts(series_of(face, column), events.frame_s(face.timestamps_s))
        if not any(blink.first - 1 <= run.apex <= blink.last + 1 for blink in blinking)
    ]
    told = [_event(face, together) for together in _together(found) if together[0][0] >= STANDS_OUT]
    return [one for one in told if covered is None or not covered[one.onset : one.offset + 1].any()]


Burst = tuple[float, str, Run]


def _bursts(series: Array, step_s: float) -> list[tuple[float, Run]]:
    """(score, run) of everything short in one unit's intensity (T,)."""
    known = np.isfinite(series)
    if known.sum() < 3:
        return []
    away = np.abs(series - events.running_median(series, max(1, round(events.SURROUNDINGS_S / step_s))))
    calm = _unrest(series, away)
    near = max(1, round(NEAR_S / step_s))
    found = []
    for run in events.flashes(series, step_s, LEAST):
        around = slice(max(0, run.first - near), run.last + near + 1)
        beside = away[around].copy()
        beside[run.first - around.start : run.last + 1 - around.start] = np.nan
        found.append((run.height / (max(calm, _unrest(series[around], beside)) + GRAIN), run))
    return found


def _unrest(series: Array, away: Array) -> float:
    """How far it usually is from its surroundings, and how much it trembles, over these frames."""
    known = away[np.isfinite(away)]
    return float(np.median(known) if known.size else 0.0) + _tremble(series)


def _tremble(series: Array) -> float:
    """Standard deviation of the frame's own error: the median second difference, as of white noise."""
    second = np.abs(np.diff(series, 2))
    second = second[np.isfinite(second)]
    return float(np.median(second) / (0.6745 * np.sqrt(6))) if second.size else 0.0


def _together(found: Sequence[Burst]) -> list[list[Burst]]:
    """Bursts whose apexes fall into a clearer one belong to it; each group has its clearest first."""
    groups: list[list[Burst]] = []
    for burst in sorted(found, key=lambda burst: (-burst[0], burst[1])):
        apex = burst[2].apex
        home = next((g for g in groups if g[0][2].first - 1 <= apex <= g[0][2].last + 1), None)
        if home is None:
            groups.append([burst])
        else:
            home.append(burst)
    return groups


def _event(face: Features, together: Sequence[Burst]) -> Event:
    score, column, run = together[0]
    series = series_of(face, column)
    edge = series[run.apex] - (1 - EDGE) * run.height
    units: dict[str, float] = {}
    for _, other, burst in together:
        units.setdefault(other, burst.height)
    first = run.apex - _falling(series[run.apex :: -1], edge)
    return Event("micro-expression", first, run.apex, run.apex + _falling(series[run.apex :], edge), units, score)


def _falling(series: Array, edge: float) -> int:
    """How many steps a series (T,) goes on from its first value without rising or going below ``edge``."""
    steps = 0
    while steps + 1 < len(series) and edge <= series[steps + 1] <= series[0]:
        steps += 1
    return steps


# --------------------------------------------------------------------------------------------------------------- blinks


def blinks(face: Features) -> list[Run]:
    """The frames of each blink; none where the column is not there."""
    return (
        events.blinks(series_of(face, "AU45_r"), events.frame_s(face.timestamps_s), events.BLINK)
        if "AU45_r" in face.columns
        else []
    )


# --------------------------------------------------------------------------------------------------------------- frames


def series_of(frames: Features, name: str) -> Array:
    """One column (T,), NaN where it was not measured."""
    series = frames.column(name).astype(np.float64)
    return np.where(np.isfinite(series), series, np.nan)


# ----------------------------------------------------------------------------------------------------------------- file


def to_line(id_: str, face: Features, covered: NDArray[np.bool_] | None = None) -> str:
    """One line of events.jsonl: id, and of each event its kind, onset_s, apex_s, offset_s, units and score."""
    stamps = face.timestamps_s
    found = [
        {
            "kind": event.kind,
            "onset_s": round(float(stamps[event.onset]), 3),
            "apex_s": round(float(stamps[event.apex]), 3),
            "offset_s": round(float(stamps[event.offset]), 3),
            "units": {unit.removesuffix("_r"): round(height, 2) for unit, height in event.units.items()},
            "score": round(event.score, 1),
        }
        for event in spot(face, covered)
    ]
    return json.dumps({"id": id_, "events": found}, ensure_ascii=False)
