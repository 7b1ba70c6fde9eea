"""Spot micro-expressions, blinks and shut eyes in the action units of one clip, with onset, apex and offset frames.

A micro-expression is a brief peak (40 to 500 ms) of an action unit. Its score is its height over the unit's noise in
this clip and around this moment: the median distance from the running median, and the tremble from frame to frame. A
fixed threshold would miss those of a still face and give hundreds for a lively one. Units that peak together are one
event. What else makes brief peaks is left out: blinks, syllables (speaking.py), a hand at the face, a head that turns,
a blurred or half hidden face, a cut. The rule is ours; benchmarks/micro_expressions.py measures how often it is right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import eyes
from bemerc.behavior.describe.clip import ClipFeatures, once
from bemerc.behavior.describe.gestures import covered
from bemerc.behavior.describe.series import series_of
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import events
from bemerc.behavior.signals.events import Run
from bemerc.behavior.signals.shots import LEAP
from bemerc.behavior.signals.statistics import measured
from bemerc.cache import Features

Array = NDArray[np.float64]

# What a unit changes by from frame to frame, in the median over real clips: units with a small scale show small bursts.
TREMBLE = {"AU01_r": 0.076, "AU02_r": 0.019, "AU04_r": 0.023, "AU06_r": 0.093, "AU09_r": 0.008, "AU10_r": 0.099}
TREMBLE |= {"AU12_r": 0.072, "AU15_r": 0.030, "AU20_r": 0.028}
MIN_HEIGHT = 4.0  # times TREMBLE
MIN_SCORE = 6.0
NOISE_FLOOR = 1.3  # times TREMBLE: no unit is less noisy
NEAR_S = 1.0  # before and after a peak: where a hand covers the mouth everything is noisy
EDGE = 0.25  # onset and offset lie where this share of the height is reached
# Of the face around a peak, EDGE_FRAMES more on either side: it turns by less, is measured as well as this, and does not
# leap to another place, as with a cut.
TURN_DEG = {"pose_pitch_deg": 4.0, "pose_yaw_deg": 5.0, "pose_roll_deg": 5.0}
LEAST_QUALITY = 0.5
EDGE_FRAMES = 2


@dataclass(frozen=True)
class Event:
    """Frames from onset to offset (inclusive) and the apex; units -> how far each stands out, the clearest unit first.

    kind   "micro-expression", "blink" or "eyes shut", whose AU45 counts from the usual person's lids (eyes.shut)
    score  the height of the clearest unit's peak over its noise; 0 for lids
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


def spot(clip: ClipFeatures) -> list[Event]:
    """Micro-expressions, blinks and shut eyes of one clip, in the order of their onsets; none without a face."""
    face = clip.get("face")
    if face is None or not len(face.values):
        return []
    result = micro_expressions(clip)
    closing = series_of(face, eyes.CLOSURE) if eyes.CLOSURE in face.columns else np.empty(0)
    for run in eyes.blinks(face):
        height = float(closing[run.apex] - np.nanmedian(closing))
        result.append(Event("blink", run.first, run.apex, run.last, {eyes.CLOSURE: height}, 0.0))
    for run in eyes.shut(face):
        result.append(Event("eyes shut", run.first, run.apex, run.last, {eyes.CLOSURE: run.height}, 0.0))
    return sorted(result, key=lambda event: (event.onset, event.kind))


@once
def micro_expressions(clip: ClipFeatures) -> list[Event]:
    """The micro-expressions of one clip, the clearest first. Voice and hands are heeded where the clip has them."""
    face = settled(clip).get("face")
    if face is None or events.frame_s(face.timestamps_s) <= 0:
        return []
    blinking = eyes.closures(face)
    peaks = [
        (score, column, run)
        for column in face.columns
        if column in TREMBLE  # the others' bursts are blinks and syllables
        for score, run in _peaks(series_of(face, column), events.frame_s(face.timestamps_s), TREMBLE[column])
        if not any(blink.first - 1 <= run.apex <= blink.last + 1 for blink in blinking)
    ]
    hand = covered(face, clip.get("pose"))
    result = [_event(face, group) for group in _groups(peaks) if group[0][0] >= MIN_SCORE]
    return [
        event
        for event in result
        if not _in_doubt(face, event) and (hand is None or not hand[event.onset : event.offset + 1].any())
    ]


def _in_doubt(face: Features, event: Event) -> bool:
    """Whether the head turns, the face leaps or is badly measured around an event."""
    around = slice(max(0, event.onset - EDGE_FRAMES), event.offset + EDGE_FRAMES + 1)

    def series(name: str) -> Array:
        return measured(series_of(face, name)[around]) if name in face.columns else np.empty(0)

    turns = (np.ptp(angles) >= most for name, most in TURN_DEG.items() if (angles := series(name)).size)
    leaps = (np.abs(np.diff(series(name))).max(initial=0) >= most for name, most in LEAP.items())
    return bool((series("quality") < LEAST_QUALITY).any() or any(turns) or any(leaps))


Peak = tuple[float, str, Run]  # score, column, frames


def _peaks(series: Array, step_s: float, tremble: float) -> list[tuple[float, Run]]:
    """(score, frames) of the brief peaks of one unit's intensity (T,)."""
    if np.isfinite(series).sum() < 3:
        return []
    away = np.abs(series - events.running_median(series, max(1, round(events.SURROUNDINGS_S / step_s))))
    clip_noise = _noise(series, away)
    near = max(1, round(NEAR_S / step_s))
    result = []
    for run in events.brief_peaks(series, step_s, MIN_HEIGHT * tremble):
        around = slice(max(0, run.first - near), run.last + near + 1)
        beside = away[around].copy()
        beside[run.first - around.start : run.last + 1 - around.start] = np.nan
        result.append((run.height / (max(clip_noise, _noise(series[around], beside)) + NOISE_FLOOR * tremble), run))
    return result


def _noise(series: Array, away: Array) -> float:
    """Median distance from the running median plus the tremble, over these frames."""
    distances = measured(away)
    return float(np.median(distances) if distances.size else 0.0) + _tremble(series)


def _tremble(series: Array) -> float:
    """Standard deviation of the error of single frames, from the median second difference, as of white noise."""
    second = measured(np.abs(np.diff(series, 2)))
    return float(np.median(second) / (0.6745 * np.sqrt(6))) if second.size else 0.0


def _groups(peaks: Sequence[Peak]) -> list[list[Peak]]:
    """Peaks of several units at once: each joins the clearest one that its apex falls into, which stands first."""
    groups: list[list[Peak]] = []
    for peak in sorted(peaks, key=lambda peak: (-peak[0], peak[1])):
        apex = peak[2].apex
        group = next((g for g in groups if g[0][2].first - 1 <= apex <= g[0][2].last + 1), None)
        if group is None:
            groups.append([peak])
        else:
            group.append(peak)
    return groups


def _event(face: Features, group: Sequence[Peak]) -> Event:
    score, column, run = group[0]
    series = series_of(face, column)
    edge = series[run.apex] - (1 - EDGE) * run.height
    units: dict[str, float] = {}
    for _, other, peak in group:
        units.setdefault(other, peak.height)
    first = run.apex - _steps_down(series[run.apex :: -1], edge)
    return Event("micro-expression", first, run.apex, run.apex + _steps_down(series[run.apex :], edge), units, score)


def _steps_down(series: Array, edge: float) -> int:
    """How many steps a series (T,) goes on from its first value without rising above it or falling below ``edge``."""
    steps = 0
    while steps + 1 < len(series) and edge <= series[steps + 1] <= series[0]:
        steps += 1
    return steps


# ----------------------------------------------------------------------------------------------------------------- file


def to_line(id_: str, clip: ClipFeatures) -> str:
    """One line of events.jsonl of a clip with a face: id, and each event's kind, onset_s, apex_s, offset_s, units and
    score."""
    stamps = clip["face"].timestamps_s
    entries = [
        {
            "kind": event.kind,
            "onset_s": round(float(stamps[event.onset]), 3),
            "apex_s": round(float(stamps[event.apex]), 3),
            "offset_s": round(float(stamps[event.offset]), 3),
            "units": {unit.removesuffix("_r"): round(height, 2) for unit, height in event.units.items()},
            "score": round(event.score, 1),
        }
        for event in spot(clip)
    ]
    return json.dumps({"id": id_, "events": entries}, ensure_ascii=False)
