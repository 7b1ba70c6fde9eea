"""When a signal is away from rest, for how long, and how far: activity, flashes, blinks, and swings to and fro.

The plain choice is a threshold on the mean, for which a flash of two frames does not exist. Here everything is told from
runs of frames. A flash is what stands out of its own surroundings of half a second to either side for 40 to 500 ms and
comes back, measured against how restless the signal is at all: a talking mouth is restless, so it flashes rarely. Ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FLASH_S = (0.04, 0.5)  # micro-expressions last 1/25 to 1/2 s (Yan et al. 2013)
SURROUNDINGS_S = 0.5
RESTLESS = 6.0  # a flash stands this many times above the median of the signal's own excess
MIN_FRAMES = 2  # one frame is a slip of the tracker
BLINK = 0.7  # of AU45 above its median
LEAST_STEP_S = (
    0.001  # caches hold no more rows a second; windows are sized by the step, and a wrong clock would make them endless
)
_BLOCK_FRAMES = 2048


@dataclass(frozen=True)
class Run:
    """Frames first to last (included) that belong together, the frame of the largest value, and that value."""

    first: int
    last: int
    apex: int
    height: float


def runs(values: Array, threshold: float) -> list[Run]:
    """Stretches of (T,) at or above ``threshold``; NaN ends a stretch."""
    above = np.concatenate([[False], values >= threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    found = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        apex = first + int(values[first:end].argmax())
        found.append(Run(first, end - 1, apex, float(values[apex])))
    return found


def frame_s(timestamps_s: Array) -> float:
    """Seconds between two frames: the median step, so that a dropped frame does not matter; LEAST_STEP_S at least. One frame: 0."""
    return max(LEAST_STEP_S, float(np.median(np.diff(timestamps_s)))) if len(timestamps_s) > 1 else 0.0


def flashes(values: Array, frame_s: float, threshold: float) -> list[Run]:
    """Short bursts of a signal (T,): at least ``threshold`` above the lowest points of the half seconds before and
    after, 40 to 500 ms at half height; ``height`` is how far it stands out.

    Both the rise and the return must have been seen: what is cut by the clip's end or by a gap is no flash.
    """
    if frame_s <= 0:
        return []
    reach = max(1, round(SURROUNDINGS_S / max(frame_s, LEAST_STEP_S)))
    restless = np.abs(values - running_median(values, reach))
    restless = restless[np.isfinite(restless)]
    floor = max(threshold, RESTLESS * float(np.median(restless))) if restless.size else np.inf
    found: list[Run] = []
    taken = np.zeros(len(values), bool)
    for apex in _peaks(values):
        run = _burst(values, apex, reach) if not taken[apex] else None
        if run is not None and run.height >= floor and _is_flash(values, run, frame_s):
            found.append(run)
            taken[run.first : run.last + 1] = True
    return sorted(found, key=lambda run: run.first)


def _peaks(values: Array) -> list[int]:
    """Frames that no neighbour exceeds, the highest first."""
    filled = np.concatenate([[-np.inf], np.nan_to_num(values, nan=-np.inf), [-np.inf]])
    peaks = np.flatnonzero((filled[1:-1] >= filled[:-2]) & (filled[1:-1] >= filled[2:]) & np.isfinite(values))
    return [int(frame) for frame in peaks[np.argsort(-values[peaks], kind="stable")]]


def _is_flash(values: Array, run: Run, frame_s: float) -> bool:
    highest = values[run.first : run.last + 1].max() <= values[run.apex]
    return bool(highest) and run.last - run.first + 1 >= MIN_FRAMES and _lasts(run, frame_s, FLASH_S)


def _burst(values: Array, apex: int, reach: int) -> Run:
    """The burst around ``apex`` at half its height; height 0 where its rise or its return was not seen."""
    before, after = values[max(0, apex - reach) : apex], values[apex + 1 : apex + 1 + reach]
    before, after = before[_unbroken(before[::-1])[::-1]], after[_unbroken(after)]
    if not before.size or not after.size:
        return Run(apex, apex, apex, 0.0)
    height = float(values[apex] - max(before.min(), after.min()))
    half = values[apex] - height / 2
    fallen_before, fallen_after = np.flatnonzero(before < half), np.flatnonzero(after < half)
    if not fallen_before.size or not fallen_after.size:
        return Run(apex, apex, apex, 0.0)
    first = apex - len(before) + int(fallen_before[-1]) + 1
    return Run(first, apex + int(fallen_after[0]), apex, height)


def _unbroken(values: Array) -> NDArray[np.bool_]:
    """True up to the first value that is not known."""
    return np.asarray(np.logical_and.accumulate(np.isfinite(values)))


def _lasts(run: Run, frame_s: float, between: tuple[float, float]) -> bool:
    duration = (run.last - run.first + 1) * frame_s
    return between[0] - 1e-9 <= duration <= between[1] + 1e-9


def blinks(closure: Array, frame_s: float, threshold: float) -> list[Run]:
    """Closures of the eyes (T,) above ``threshold`` over the clip's median, at most half a second long."""
    known = closure[np.isfinite(closure)]
    if not known.size:
        return []
    return [run for run in runs(closure - np.median(known), threshold) if _lasts(run, frame_s, (0.0, FLASH_S[1]))]


def swings(angle: Array, least: float, longest: int) -> int:
    """How often an angle (T,) goes to and fro: pairs of ways in opposite directions, one right after the other, each of
    at least ``least`` and done within ``longest`` frames. A way that is followed by a rest is no part of a swing."""
    known = np.flatnonzero(np.isfinite(angle))
    quick, most = 0, 0
    for first, last in _ways(angle[known], least):
        quick = quick + 1 if known[last] - known[first] <= longest else 0
        most = max(most, quick)
    return most // 2


def _ways(angle: Array, least: float) -> list[tuple[int, int]]:
    """From turning point to turning point, (first, last) frames; ways shorter than ``least`` are noise on longer ones."""
    ways: list[tuple[int, int]] = []
    start, extreme, direction = 0, 0, 0
    for frame, value in enumerate(angle.tolist()):
        travel = value - angle[extreme]
        if direction == 0:
            # Until the first real way it may begin at any low or high point so far.
            low, high = int(angle[: frame + 1].argmin()), int(angle[: frame + 1].argmax())
            if angle[high] - angle[low] >= least:
                start, extreme, direction = (low, high, 1) if low < high else (high, low, -1)
        elif travel * direction > 0:
            extreme = frame
        elif abs(travel) >= least:
            ways.append((start, extreme))
            start, extreme, direction = extreme, frame, -direction
    return [*ways, (start, extreme)] if direction else ways


def running_median(values: Array, reach: int) -> Array:
    """Median over ``reach`` frames to either side of each frame (T,), of what is known; NaN where nothing is. Memory does not
    grow with T."""
    reach = min(reach, max(1, len(values)))
    padded = np.pad(values, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    blocks = [_medians(windows[at : at + _BLOCK_FRAMES]) for at in range(0, len(windows), _BLOCK_FRAMES)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _medians(windows: Array) -> Array:
    """The median of each row of (T, W), of what is known."""
    ordered = np.sort(windows, axis=1)  # NaN sorts last
    known = (~np.isnan(ordered)).sum(axis=1)
    rows = np.arange(len(windows))
    low, high = np.maximum(known - 1, 0) // 2, known // 2
    return np.asarray((ordered[rows, low] + ordered[rows, np.minimum(high, np.maximum(known - 1, 0))]) / 2)


def smooth(values: Array) -> Array:
    """(T,) means of each frame and its two neighbours, over what is known; what is not known stays unknown."""
    known = np.isfinite(values)
    window = np.ones(3)
    # Cut by hand: mode "same" would make a series of one or two frames as long as the window.
    total = np.convolve(np.where(known, values, 0), window, mode="full")[1 : len(values) + 1]
    count = np.convolve(known, window, mode="full")[1 : len(values) + 1]
    return np.asarray(np.where(known, total / np.maximum(count, 1), np.nan))
