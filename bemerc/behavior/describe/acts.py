"""Acts of one clip: which column left its rest, how far, when and for how long; micro-expressions, nods, head shakes.

An act is a set of frames, not a mean over the clip, so that the description can say when and how long, and so that
short is not taken for slight. Two confusions are kept out: closed lids hide the eyes, and speaking lips move with every syllable.
The rules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import eyes, phrases
from bemerc.behavior.describe.clip import ClipFeatures, once
from bemerc.behavior.describe.micro_expressions import micro_expressions
from bemerc.behavior.describe.phrases import Act
from bemerc.behavior.describe.references import Item, Level, Measures, References, level, reach, rest
from bemerc.behavior.describe.series import any_measured, duration_s, series_of
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import events
from bemerc.behavior.signals.statistics import measured
from bemerc.cache import Features

Array = NDArray[np.float64]
Levels = Mapping[str, Level]

THROUGHOUT = 0.75  # active for this share of the measured frames
BRIEF_S = 0.4
NOISE_MULTIPLE = 3.0  # an act goes this many times as far as the column changes from frame to frame
# Each half of a nod or a head shake is at least this far and takes at most this long. Speaking moves the chin, and
# with it the pitch, by a degree or two; speaking does not move the yaw.
OSCILLATION_DEG = {"pose_pitch_deg": 2.0, "pose_yaw_deg": 1.5}
HEAD_ANGLES = ("pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg")
OSCILLATION_S = 0.5
# How far a trunk tips while its person sits or stands, and how fast heads and trunks turn at the very most: a keypoint
# that slips for one frame looks like a bow to the floor and back.
LIMIT_DEG = {"lean_deg": 60.0, "sway_deg": 60.0, "shoulder_tilt_deg": 60.0}
FASTEST_DEG_S = {**dict.fromkeys(LIMIT_DEG, 300.0), **dict.fromkeys(HEAD_ANGLES, 1000.0)}
# While the lids are down, their height and the gaze cannot be measured.
UNDER_LIDS = {"AU05_r", "AU07_r", "gaze_x_deg", "gaze_y_deg"}


@dataclass(frozen=True)
class DetectedAct:
    """An act, its item, and the frames (T,) in which it was under way."""

    item: Item
    act: Act
    active: NDArray[np.bool_]


@dataclass(frozen=True)
class BriefAct:
    """A micro-expression: the item, its frames, and its third of the clip (index in phrases.TIMES)."""

    item: Item
    run: events.Run
    time: int

    def is_all_of(self, other: DetectedAct) -> bool:
        """Whether the other act is this micro-expression and nothing more."""
        inside = other.active[max(0, self.run.first - 2) : self.run.last + 3].sum()
        return self._overlaps(other) and int(inside) == int(other.active.sum())

    def is_part_of(self, other: DetectedAct) -> bool:
        """Whether the other act goes on beyond this micro-expression."""
        return self._overlaps(other) and not self.is_all_of(other)

    def _overlaps(self, other: DetectedAct) -> bool:
        return other.item.column == self.item.column and bool(other.active[self.run.apex])


# ------------------------------------------------------------------------------------------------------------ at rest


@once
def levels(clip: ClipFeatures) -> Levels:
    """Column -> where it may rest in this clip: what later turns of the speaker are judged against."""
    return {item.column: level(series, item.intensity) for item, series in _items_of(settled(clip))}


def rests(own: Levels, earlier: Sequence[Levels], references: References) -> Measures:
    """Column -> its value at rest in this clip, given the levels of the speaker's earlier turns and train's."""
    return {
        column: rest(value, [e[column][1] for e in earlier if column in e], references.rest.get(column))
        for column, value in own.items()
    }


def reached(clip: ClipFeatures, at_rest: Measures) -> Measures:
    """Item key -> how far it went from rest: what References are fitted on."""
    return {item.key: reach(_away(series, item, at_rest)) for item, series in _items_of(settled(clip))}


# ---------------------------------------------------------------------------------------------------------------- acts


def detect(frames: Features, items: Sequence[Item], at_rest: Measures, references: References) -> list[DetectedAct]:
    """The acts of these items, first those that are certain and strong."""
    acts: list[tuple[float, DetectedAct]] = []
    for item in items:
        if item.column not in frames.columns:
            continue
        away = _away(_plausible_series(frames, item.column), item, at_rest)
        limits = references.reaches.get(item.key, item.least)
        # Train's own clips say what is much of a weak unit; without them only much of it is believed.
        least = limits[0] if item.key in references.reaches else limits[0] / item.trust
        height = reach(away)
        if height >= max(least, NOISE_MULTIPLE * _median_step(away)):
            active = events.smooth(away) >= min(max(height / 2, limits[0]), height)
            strength = int(np.searchsorted(limits, height, side="right")) - 1
            acts.append(
                (
                    item.trust * height / limits[1],
                    DetectedAct(item, _act(item.phrase, strength, active, frames), active),
                )
            )
    return [act for _, act in sorted(acts, key=lambda pair: -pair[0])]


def join(detected: Sequence[DetectedAct]) -> list[DetectedAct]:
    """The acts with those of phrases.JOINED that overlap made one, in the place of the earlier one; without those that
    another one hides most of the time (phrases.HIDDEN)."""
    result = [one for one in detected if not any(_hides(other, one) for other in detected)]
    for (leading, following), phrase in phrases.JOINED.items():
        pair = [one for one in result if one.item.column in (leading, following)]
        if len(pair) == 2 and (pair[0].active & pair[1].active).any():
            lead = next(one for one in pair if one.item.column == leading)
            both = DetectedAct(
                lead.item, replace(lead.act, phrase=phrase), lead.active | pair[0].active | pair[1].active
            )
            result[result.index(pair[0])] = both
            result.remove(pair[1])
    return result


def _hides(other: DetectedAct, one: DetectedAct) -> bool:
    shared = int((other.active & one.active).sum())
    return phrases.HIDDEN.get(one.item.column) == other.item.column and 2 * shared >= int(one.active.sum())


def _median_step(series: Array) -> float:
    """The median change of a series (T,) from one frame to the next."""
    steps = measured(np.abs(np.diff(series)))
    return float(np.median(steps)) if steps.size else 0.0


def _act(phrase: str, strength: int, active: NDArray[np.bool_], frames: Features) -> Act:
    share = active.sum() / max(int(any_measured(frames, phrases.ITEMS).sum()), 1)
    if share >= THROUGHOUT:
        return Act(phrase, strength, phrases.TIMES.index("throughout"))
    time = _third(float(frames.timestamps_s[active].mean()), frames)
    return Act(phrase, strength, time, brief=bool(active.sum() * events.frame_s(frames.timestamps_s) < BRIEF_S))


def _third(moment_s: float, frames: Features) -> int:
    start = float(frames.timestamps_s[0])
    return min(2, int(3 * (moment_s - start) / max(duration_s(frames), 1e-9)))


def brief_acts(clip: ClipFeatures) -> list[BriefAct]:
    """Micro-expressions of a clip with a face, the clearest first, by the unit that stands out most."""
    items = {item.column: item for item in phrases.UNITS}
    return [
        BriefAct(
            items[event.unit],
            events.Run(event.onset, event.offset, event.apex, event.units[event.unit]),
            _third(float(clip["face"].timestamps_s[event.apex]), clip["face"]),
        )
        for event in micro_expressions(clip)
        if event.unit in items
    ]


def oscillations(face: Features, column: str) -> list[events.Oscillation]:
    """Where the head moved there and back by this angle more than by the others: nods by pitch, shakes by yaw."""
    if column not in face.columns or events.frame_s(face.timestamps_s) <= 0:
        return []
    longest = round(OSCILLATION_S / events.frame_s(face.timestamps_s))
    # Medians of three frames: a tracker that slips for one frame goes there and back.
    series = {
        name: events.smooth(events.running_median(series_of(face, name), 1))
        for name in HEAD_ANGLES
        if name in face.columns
    }
    others = [other for name, other in series.items() if name != column]
    return events.oscillations(series[column], OSCILLATION_DEG[column], longest, others)


# -------------------------------------------------------------------------------------------------------------- series


def _items_of(clip: ClipFeatures) -> list[tuple[Item, Array]]:
    """Every item whose column the clip has, with its series."""
    return [
        (item, _plausible_series(frames, item.column))
        for frames in clip.values()
        for item in phrases.ITEMS
        if item.column in frames.columns and len(frames.values)
    ]


def _plausible_series(frames: Features, name: str) -> Array:
    """A series without the frames in which closed lids hide it, and without values that no body can have."""
    series = _possible(series_of(frames, name), frames.timestamps_s, name)
    if name in UNDER_LIDS:
        series[eyes.hidden(frames)] = np.nan
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
