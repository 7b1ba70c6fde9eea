"""What the listener of an utterance does while somebody speaks: backchannels, and synchrony of the two.

Backchannels are what listeners do without taking the turn: nods, head shakes, smiles. Synchrony
is windowed cross-lagged correlation (Boker et al. 2002): in windows of two seconds the highest correlation of the two
series when one is shifted against the other by up to a second; the mean of these. The highest of many correlations is
above zero for people who never met, so pseudosynchrony stands beside it (Bernieri and Rosenthal 1991; Ramseyer and
Tschacher 2011): the mean of the same with the listener's series reversed, and moved on by a third and two thirds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import acts
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import events
from bemerc.cache import Features, FrameCache, split_other
from bemerc.cache.listener import listener_of

Array = NDArray[np.float64]

# A smile: lip corners pulled up to intensity A (FACS) and more, for so long.
SMILE, SMILE_S = 1.0, 0.3
WINDOW_S, STEP_S, LAG_S = 2.0, 0.5, 1.0
# Of a window's frames, so many must be measured of both.
_LEAST_MEASURED = 0.8
_COMMON_HZ = 25.0
_STILL = 1e-6


@dataclass(frozen=True)
class Listening:
    """What a listener did during an utterance.

    name     of that person within the utterance
    nods, shakes  how often the head went there and back
    smiles   how many smiles
    smile_synchrony, head_synchrony  of the lip corners (AU12) and of the speed of the head with the speaker's, -1 to 1, and
             ``*_pseudosynchrony`` by chance; None where no two seconds of both were measured
    """

    name: str
    nods: int
    shakes: int
    smiles: int
    smile_synchrony: float | None
    smile_pseudosynchrony: float | None
    head_synchrony: float | None
    head_pseudosynchrony: float | None


def listening(face: FrameCache, id_: str) -> Listening | None:
    """What the listener of an utterance did; None without one. CacheError for damaged rows."""
    listener = listener_of(face, id_)
    if listener is None or face.others is None:
        return None
    speaker, other = face[id_], face.others[listener]
    lips, heads = (_both(speaker, other, signal) for signal in (_lip_corners, _head_speed))
    name = split_other(listener)[1]
    return Listening(name, *nods_and_shakes(other), len(smiles(other)), *synchrony(*lips), *synchrony(*heads))


def nods_and_shakes(face: Features) -> tuple[int, int]:
    """How often the head in a face's rows went down and up, and to and fro, within the shots."""
    level = settled({"face": face})["face"]
    nods, shakes = (sum(one.count for one in acts.oscillations(level, f"pose_{axis}_deg")) for axis in ("pitch", "yaw"))
    return nods, shakes


def smiles(face: Features) -> list[events.Run]:
    """The smiles in a face's rows."""
    frame_s = events.frame_s(face.timestamps_s)
    if "AU12_r" not in face.columns or frame_s <= 0:
        return []
    long = SMILE_S / frame_s
    raised = events.runs(events.smooth(face.column("AU12_r").astype(np.float64)), SMILE)
    return [run for run in raised if run.last - run.first + 1 >= long]


def synchrony(a: Array, b: Array) -> tuple[float | None, float | None]:
    """Synchrony and pseudosynchrony of two series (T,) at _COMMON_HZ, NaN where nothing was measured; None where that
    cannot be judged."""
    elsewhere = (b[::-1], np.roll(b, len(b) // 3), np.roll(b, 2 * len(b) // 3))
    chance = [peak for moved in elsewhere if (peak := _mean_peak(a, moved)) is not None]
    return _mean_peak(a, b), float(np.mean(chance)) if chance else None


def _both(one: Features, other: Features, signal: Callable[[Features, Array], Array]) -> tuple[Array, Array]:
    """A signal of two people at the same times, from the utterance's start to the end of the longer."""
    end_s = max((float(f.timestamps_s[-1]) for f in (one, other) if len(f.timestamps_s)), default=0.0)
    times_s = np.arange(0.0, end_s + 1e-9, 1 / _COMMON_HZ)
    return signal(one, times_s), signal(other, times_s)


def _lip_corners(face: Features, times_s: Array) -> Array:
    return _resampled(face, "AU12_r", times_s)


def _head_speed(face: Features, times_s: Array) -> Array:
    """How fast the head turns, degrees a second: trends of its angle over a short turn would correlate by themselves."""
    angles = [_resampled(face, f"pose_{axis}_deg", times_s) for axis in ("pitch", "yaw")]
    return np.asarray(events.smooth(np.hypot(*(np.gradient(a) * _COMMON_HZ if len(a) > 1 else a for a in angles))))


def _resampled(features: Features, column: str, times_s: Array) -> Array:
    """A column at these times, NaN more than two frames away from a measured one."""
    if column not in features.columns:
        return np.full(len(times_s), np.nan)
    series = features.column(column).astype(np.float64)
    there = np.isfinite(series)
    if not there.any():
        return np.full(len(times_s), np.nan)
    stamps = features.timestamps_s[there]
    at = np.interp(times_s, stamps, series[there])
    after = np.searchsorted(stamps, times_s)
    before, after = np.clip(after - 1, 0, None), np.clip(after, None, len(stamps) - 1)
    nearest = np.minimum(np.abs(times_s - stamps[before]), np.abs(stamps[after] - times_s))
    return np.where(nearest <= 2 * max(events.frame_s(stamps), 1 / _COMMON_HZ), at, np.nan)


def _mean_peak(a: Array, b: Array) -> float | None:
    """The mean over windows of the highest correlation of ``a`` with ``b`` at any lag."""
    width, step, lag = (round(seconds * _COMMON_HZ) for seconds in (WINDOW_S, STEP_S, LAG_S))
    if min(len(a), len(b)) < width:
        return None
    starts = np.arange(0, len(a) - width + 1, step)
    (ours, our_frames), (theirs, their_frames) = _windows(a, width), _windows(b, width)
    near = np.abs(starts[:, None] - np.arange(len(theirs))) <= lag
    enough = our_frames[starts] @ their_frames.T >= _LEAST_MEASURED * width
    peaks = np.where(near & enough, ours[starts] @ theirs.T, -np.inf).max(axis=1)
    return float(peaks[np.isfinite(peaks)].mean()) if np.isfinite(peaks).any() else None


def _windows(series: Array, width: int) -> tuple[Array, Array]:
    """All windows (N, width) of a series, centred and of length one, so that their products are correlations; and 1
    where a frame was measured, all 0 in a window that does not move."""
    windows = np.lib.stride_tricks.sliding_window_view(series, width)
    there = np.isfinite(windows)
    middle = np.where(there, windows, 0).sum(axis=1, keepdims=True) / np.maximum(there.sum(axis=1, keepdims=True), 1)
    centred = np.where(there, windows - middle, 0)
    scale = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(scale > _STILL, scale, np.inf), (there & (scale > _STILL)).astype(np.float64)
