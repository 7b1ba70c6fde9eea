"""Events in a signal over time: runs above a threshold, brief peaks, blinks and oscillations.

All functions take one series (T,), NaN where nothing was measured, and give frames, not averages: a burst of two
frames leaves no trace in a clip's mean. A brief peak stands out from the half second on either side for 40 to 500 ms
and returns; how far it must stand out depends on the signal's own noise, so that a talking mouth has few. The rules
are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals.statistics import measured, median

Array = NDArray[np.float64]

BRIEF_S = (0.04, 0.5)  # micro-expressions last 1/25 to 1/2 s (Yan et al. 2013)
SURROUNDINGS_S = 0.5
NOISE_MULTIPLE = 6.0  # a brief peak stands this many times above the median distance from the running median
MIN_FRAMES = 2  # a single frame is a tracking error
BLINK = 0.7  # of AU45 above its median
LEADS = 1.2  # times as far as in its other directions does a head go in a nod or a shake
# Caches hold no more than this many rows a second; window sizes are divided by the step, which a wrong clock makes
# tiny.
LEAST_STEP_S = 0.001
_BLOCK_FRAMES = 2048


@dataclass(frozen=True)
class Run:
    """Consecutive frames, first to last (inclusive), the frame of the largest value, and that value."""

    first: int
    last: int
    apex: int
    height: float


def runs(values: Array, threshold: float) -> list[Run]:
    """The runs of frames at or above ``threshold``; NaN ends a run.

    >>> runs(np.array([0.0, 2.0, 3.0, 0.0, 2.0]), 1.0)
    [Run(first=1, last=2, apex=2, height=3.0), Run(first=4, last=4, apex=4, height=2.0)]
    """
    above = np.concatenate([[False], values >= threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    result = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        apex = first + int(np.argmax(values[first:end]))
        result.append(Run(first, end - 1, apex, float(values[apex])))
    return result


def frame_s(timestamps_s: Array) -> float:
    """The median step in seconds, at least LEAST_STEP_S, which a dropped frame does not change; 0 for one frame."""
    return max(LEAST_STEP_S, float(np.median(np.diff(timestamps_s)))) if len(timestamps_s) > 1 else 0.0


def brief_peaks(values: Array, frame_s: float, threshold: float) -> list[Run]:
    """Peaks of 40 to 500 ms at half height, in order of time; ``height`` is how far one stands out.

    A peak stands at least ``threshold``, and NOISE_MULTIPLE times the signal's noise, above the lowest points of the
    half seconds before and after. What the clip's end or a gap cuts off is none.
    """
    if frame_s <= 0:
        return []
    reach = max(1, round(SURROUNDINGS_S / max(frame_s, LEAST_STEP_S)))
    noise = measured(np.abs(values - running_median(values, reach)))
    least_height = max(threshold, NOISE_MULTIPLE * float(np.median(noise))) if noise.size else np.inf
    peaks: list[Run] = []
    taken = np.zeros(len(values), bool)
    for apex in _local_maxima(values):
        peak = _peak_at(values, apex, reach) if not taken[apex] else None
        if peak is not None and peak.height >= least_height and _is_brief(values, peak, frame_s):
            peaks.append(peak)
            taken[peak.first : peak.last + 1] = True
    return sorted(peaks, key=lambda peak: peak.first)


def _local_maxima(values: Array) -> list[int]:
    """Frames that no neighbour exceeds, the highest first."""
    filled = np.concatenate([[-np.inf], np.nan_to_num(values, nan=-np.inf), [-np.inf]])
    maxima = np.flatnonzero((filled[1:-1] >= filled[:-2]) & (filled[1:-1] >= filled[2:]) & np.isfinite(values))
    return [int(frame) for frame in maxima[np.argsort(-values[maxima], kind="stable")]]


def _is_brief(values: Array, peak: Run, frame_s: float) -> bool:
    highest = np.max(values[peak.first : peak.last + 1]) <= values[peak.apex]
    return bool(highest) and peak.last - peak.first + 1 >= MIN_FRAMES and _lasts(peak, frame_s, BRIEF_S)


def _peak_at(values: Array, apex: int, reach: int) -> Run:
    """The frames around ``apex`` above half of its height; height 0 where its rise or return is cut off."""
    before, after = values[max(0, apex - reach) : apex], values[apex + 1 : apex + 1 + reach]
    before, after = before[_unbroken(before[::-1])[::-1]], after[_unbroken(after)]
    if not before.size or not after.size:
        return Run(apex, apex, apex, 0.0)
    height = float(values[apex] - max(np.min(before), np.min(after)))
    half = values[apex] - height / 2
    low_before, low_after = np.flatnonzero(before < half), np.flatnonzero(after < half)
    if not low_before.size or not low_after.size:
        return Run(apex, apex, apex, 0.0)
    first = apex - len(before) + int(low_before[-1]) + 1
    return Run(first, apex + int(low_after[0]), apex, height)


def _unbroken(values: Array) -> NDArray[np.bool_]:
    """True up to the first value that was not measured."""
    return np.asarray(np.logical_and.accumulate(np.isfinite(values)))


def _lasts(run: Run, frame_s: float, between: tuple[float, float]) -> bool:
    duration = (run.last - run.first + 1) * frame_s
    return between[0] - 1e-9 <= duration <= between[1] + 1e-9


def blinks(closure: Array, frame_s: float, threshold: float) -> list[Run]:
    """Closures of the eyes (T,) above ``threshold`` over the clip's median, at most half a second long."""
    values = measured(closure)
    if not values.size:
        return []
    return [run for run in runs(closure - np.median(values), threshold) if _lasts(run, frame_s, (0.0, BRIEF_S[1]))]


@dataclass(frozen=True)
class Oscillation:
    """An angle that moves there and back ``count`` times between two frames, first to last (inclusive)."""

    first: int
    last: int
    count: int


def oscillations(angle: Array, least: float, longest: int, others: Sequence[Array] = ()) -> list[Oscillation]:
    """Where an angle (T,) moves there and back: pairs of successive monotone runs in opposite directions.

    Each run covers at least ``least`` within ``longest`` frames, and LEADS times as much as any of the ``others`` (T,) does
    meanwhile: who turns around moves the chin a little, too. A turn that is held is no part of an oscillation.
    """
    frames = np.flatnonzero(np.isfinite(angle))
    chains: list[list[tuple[int, int]]] = [[]]
    for first, last in _monotone_runs(angle[frames], least):
        start, end = int(frames[first]), int(frames[last])
        beside = max((_range(other[start : end + 1]) for other in others), default=0.0)
        if end - start <= longest and abs(angle[end] - angle[start]) >= LEADS * beside:
            chains[-1].append((start, end))
        else:
            chains.append([])
    return [Oscillation(chain[0][0], chain[-1][1], len(chain) // 2) for chain in chains if len(chain) > 1]


def _range(values: Array) -> float:
    """From the smallest to the largest of what was measured, 0 where nothing was."""
    finite = measured(values)
    return float(finite.max() - finite.min()) if finite.size else 0.0


def _monotone_runs(angle: Array, least: float) -> list[tuple[int, int]]:
    """(first, last) frames between turning points; reversals of less than ``least`` are noise on a longer run."""
    result: list[tuple[int, int]] = []
    start, extreme, direction = 0, 0, 0
    for frame, value in enumerate(angle.tolist()):
        travel = value - angle[extreme]
        if direction == 0:
            # The first run may begin at any low or high point so far.
            low, high = int(np.argmin(angle[: frame + 1])), int(np.argmax(angle[: frame + 1]))
            if angle[high] - angle[low] >= least:
                start, extreme, direction = (low, high, 1) if low < high else (high, low, -1)
        elif travel * direction > 0:
            extreme = frame
        elif abs(travel) >= least:
            result.append((start, extreme))
            start, extreme, direction = extreme, frame, -direction
    return [*result, (start, extreme)] if direction else result


def running_median(values: Array, reach: int) -> Array:
    """The median of the measured values within ``reach`` frames of each frame (T,); NaN stays NaN. Memory does not grow
    with T."""
    reach = min(reach, max(1, len(values)))
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    blocks = [median(windows[at : at + _BLOCK_FRAMES], axis=1) for at in range(0, len(windows), _BLOCK_FRAMES)]
    return np.where(np.isfinite(values), np.concatenate(blocks), np.nan) if blocks else np.empty(0)


def smooth(values: Array) -> Array:
    """The mean of each frame and its two neighbours (T,), over what was measured; NaN stays NaN."""
    valid = np.isfinite(values)
    window = np.ones(3)
    # Cut by hand: mode "same" would make a series of one or two frames as long as the window.
    total = np.convolve(np.where(valid, values, 0), window, mode="full")[1 : len(values) + 1]
    count = np.convolve(valid, window, mode="full")[1 : len(values) + 1]
    return np.asarray(np.where(valid, total / np.maximum(count, 1), np.nan))
