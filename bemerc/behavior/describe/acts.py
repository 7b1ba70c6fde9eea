"""What was done in one clip: which column left its rest, how far, when and for how long; flashes, blinks, nods, shakes.

The plain choice takes each column's mean over the clip. Here every finding is a set of frames, so that the describer can
say when and how long, and can tell the short from the slight. What moves for reasons of its own is kept apart: lids that
shut hide the eyes, and lips that speak flash with every syllable. The rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import phrases, references
from bemerc.behavior.describe.micro_expressions import blinks, micro_expressions, series_of
from bemerc.behavior.describe.phrases import Act
from bemerc.behavior.describe.references import Item, Level, Measures, References
from bemerc.behavior.signals import events
from bemerc.cache import Features
from bemerc.corpus.manifest import Modality

Array = NDArray[np.float64]
Clip = Mapping[Modality, Features]
Levels = Mapping[str, Level]

THROUGHOUT = 0.75  # active for this share of what was seen
BRIEF_S = 0.4
STEADY = 3.0  # an act goes this many times as far as the column trembles anyhow
# Each way of a nod or a shake is at least this far and takes at most this long. Speaking moves the chin, and with it the
# pitch, by a degree or two; nothing moves the yaw.
SWING_DEG = {"pose_pitch_deg": 2.0, "pose_yaw_deg": 1.5}
SWING_S = 0.5
# How far a trunk tips while its person sits or stands, and how fast heads and trunks turn at the very most: a keypoint that
# slips for one frame looks like a bow to the floor and back.
LIMIT_DEG = {"lean_deg": 60.0, "sway_deg": 60.0, "shoulder_tilt_deg": 60.0}
FASTEST_DEG_S = {**dict.fromkeys(LIMIT_DEG, 300.0), **dict.fromkeys(SWING_DEG, 1000.0), "pose_roll_deg": 1000.0}
# While the lids are shut, how high they are and where the eyes look is not to be seen.
UNDER_LIDS = {"AU05_r", "AU07_r", "gaze_x_deg", "gaze_y_deg"}


@dataclass(frozen=True)
class Done:
    """An act, the item that did it, and the frames (T,) in which it was under way."""

    item: Item
    act: Act
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class Flash:
    """A micro-expression: the item, its frames, and its third of the clip (index in phrases.TIMES)."""

    item: Item
    run: events.Run
    time: int

    def is_all_of(self, done: Done) -> bool:
        """Whether an act was nothing but this flash."""
        inside = done.active[max(0, self.run.first - 2) : self.run.last + 3].sum()
        return done.item == self.item and bool(done.active[self.run.apex]) and int(inside) == int(done.active.sum())

    def is_part_of(self, done: Done) -> bool:
        """Whether the same item was under way anyhow."""
        return done.item == self.item and bool(done.active[self.run.apex]) and not self.is_all_of(done)


# ------------------------------------------------------------------------------------------------------------ at rest


def levels(clip: Clip) -> Levels:
    """Where each described column rests in this clip: what later turns of the speaker are judged against."""
    return {item.column: references.level(series, item.intensity) for item, series in _items_of(clip)}


def rests(own: Levels, earlier: Sequence[Levels], usual: References) -> Measures:
    """Where each column is at rest in this clip, as far as the speaker's earlier turns and train lead one to expect."""
    return {
        column: references.rest(value, [e[column][1] for e in earlier if column in e], usual.rest.get(column))
        for column, value in own.items()
    }


def reached(clip: Clip, at_rest: Measures) -> Measures:
    """How far each item went from rest, by its key: what References are fitted on."""
    return {item.key: references.reach(_away(series, item, at_rest)) for item, series in _items_of(clip)}


# --------------------------------------------------------------------------------------------------------- what was done


def done(frames: Features, items: Sequence[Item], at_rest: Measures, usual: References) -> list[Done]:
    """What was done, strongest first."""
    found: list[tuple[float, Done]] = []
    for item in items:
        if item.column not in frames.columns:
            continue
        away = _away(_open_series(frames, item.column), item, at_rest)
        limits = usual.reaches.get(item.key, item.least)
        height = references.reach(away)
        if height >= max(limits[0], STEADY * _usual_step(away)):
            active = events.smooth(away) >= min(max(height / 2, limits[0]), height)
            strength = int(np.searchsorted(limits, height, side="right")) - 1
            found.append((height / limits[1], Done(item, _act(item.phrase, strength, active, frames), active)))
    return [act for _, act in sorted(found, key=lambda pair: -pair[0])]


def _usual_step(series: Array) -> float:
    """How far a series (T,) usually goes from one frame to the next."""
    steps = np.abs(np.diff(series))
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if steps.size else 0.0


def _act(phrase: str, strength: int, active: NDArray[np.bool_], frames: Features) -> Act:
    share = active.sum() / max(int(seen(frames, phrases.ITEMS).sum()), 1)
    if share >= THROUGHOUT:
        return Act(phrase, strength, phrases.TIMES.index("throughout"))
    time = _third(float(frames.timestamps_s[active].mean()), frames)
    return Act(phrase, strength, time, brief=bool(active.sum() * events.frame_s(frames.timestamps_s) < BRIEF_S))


def _third(moment_s: float, frames: Features) -> int:
    start = float(frames.timestamps_s[0])
    return min(2, int(3 * (moment_s - start) / max(duration_s(frames), 1e-9)))


def flashes(face: Features, covered: NDArray[np.bool_] | None = None) -> list[Flash]:
    """Micro-expressions, the clearest first: each told by the unit that stood out most. covered as in spotting."""
    items = {item.column: item for item in phrases.UNITS}
    return [
        Flash(
            items[event.unit],
            events.Run(event.onset, event.offset, event.apex, event.units[event.unit]),
            _third(float(face.timestamps_s[event.apex]), face),
        )
        for event in micro_expressions(face, covered)
        if event.unit in items
    ]


def swings(face: Features, column: str) -> int:
    """How often the head went to and fro by this angle: nods by pitch, shakes by yaw."""
    if column not in face.columns or events.frame_s(face.timestamps_s) <= 0:
        return 0
    return events.swings(
        events.smooth(series_of(face, column)), SWING_DEG[column], round(SWING_S / events.frame_s(face.timestamps_s))
    )


# --------------------------------------------------------------------------------------------------------------- series


def seen(frames: Features, items: Sequence[Item]) -> NDArray[np.bool_]:
    """(T,) frames in which any column of ``items`` was measured."""
    columns = [frames.columns.index(i.column) for i in items if i.column in frames.columns]
    return np.asarray(np.isfinite(frames.values[:, columns]).any(axis=1))


def duration_s(frames: Features) -> float:
    """Seconds from the first frame to the end of the last; 0 without frames."""
    stamps = frames.timestamps_s
    return float(stamps[-1] - stamps[0]) + events.frame_s(frames.timestamps_s) if len(stamps) else 0.0


def _items_of(clip: Clip) -> list[tuple[Item, Array]]:
    """Every item that a clip's columns can tell of, with its series."""
    return [
        (item, _open_series(frames, item.column))
        for frames in clip.values()
        for item in phrases.ITEMS
        if item.column in frames.columns and len(frames.values)
    ]


def _open_series(frames: Features, name: str) -> Array:
    """A series without the frames in which shut lids keep it from being seen, and without what no body can do."""
    series = _possible(series_of(frames, name), frames.timestamps_s, name)
    if name in UNDER_LIDS:
        for blink in blinks(frames):
            series[max(0, blink.first - 1) : blink.last + 2] = np.nan
    return series


def _possible(series: Array, timestamps_s: Array, name: str) -> Array:
    """A series (T,) of a column without angles beyond LIMIT_DEG, and without single frames that leap there and back."""
    if name in LIMIT_DEG:
        series = np.where(np.abs(series) <= LIMIT_DEG[name], series, np.nan)
    if name in FASTEST_DEG_S and len(series) > 2:
        speed = np.diff(series) / np.maximum(np.diff(timestamps_s), events.LEAST_STEP_S)
        leap = (np.minimum(np.abs(speed[:-1]), np.abs(speed[1:])) > FASTEST_DEG_S[name]) & (speed[:-1] * speed[1:] < 0)
        series[1:-1][leap] = np.nan
    return series


def _away(series: Array, item: Item, at_rest: Measures) -> Array:
    return item.sign * (series - at_rest[item.column])
