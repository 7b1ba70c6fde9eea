"""Overlapping windows of a long sound for a speech encoder, how they are batched, and how their frames are stitched.

Every frame is a mean over the windows that contain it, weighted by its distance from their ends: at the border of
non-overlapping blocks a frame would lack its context.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """Samples ``start`` up to ``end``; ``start`` is a whole number of hops, so that frames of all windows coincide."""

    start: int
    end: int

    @property
    def samples(self) -> int:
        return self.end - self.start


def split(samples: int, longest: int, overlap: int, hop: int) -> tuple[Window, ...]:
    """``samples`` samples as windows of ``longest`` at most, evenly spread, neighbours sharing about ``overlap`` at
    least.

    A sound that fits is one window. ``longest`` and ``overlap`` are whole numbers of hops, 2 * overlap <= longest.
    Every window but the last has the same length, and the last ends where the sound ends.
    """
    if samples <= longest:
        return (Window(0, samples),)
    last_start = samples - longest
    count = math.ceil(last_start / (longest - overlap)) + 1
    starts = [math.ceil(i * last_start / (count - 1) / hop) * hop for i in range(count)]
    return tuple(Window(start, min(start + longest, samples)) for start in starts)


def stitch(parts: Sequence[tuple[int, NDArray[np.float32]]], frames: int) -> NDArray[np.float32]:
    """Windows' frames, each (first frame, (T_i, D)) in order of time, -> one series (frames, D).

    A frame's weight in a window is its distance from the nearer end of the window; the sound's own ends are no ends.
    """
    if len(parts) == 1:
        return parts[0][1]
    total = np.zeros((frames, parts[0][1].shape[1]), np.float32)
    weight = np.zeros((frames, 1), np.float32)
    for first, values in parts:
        at = np.arange(len(values), dtype=np.float32) + 0.5
        before = at if first > 0 else np.full(len(at), frames, np.float32)
        after = len(values) - at if first + len(values) < frames else np.full(len(at), frames, np.float32)
        weights = np.minimum(before, after)[:, None]
        total[first : first + len(values)] += weights * values
        weight[first : first + len(values)] += weights
    return total / weight


def batches(widths: Sequence[Hashable], max_sizes: Sequence[int]) -> list[list[int]]:
    """Batches of sounds of one width, at most ``max_sizes[i]`` in the batch that contains sound i.

    Returns lists of indices into ``widths``, every index once, widths in the order in which they first occur.
    """
    groups: dict[Hashable, list[int]] = {}
    for index, width in enumerate(widths):
        groups.setdefault(width, []).append(index)
    result = []
    for indices in groups.values():
        size = max(1, min(max_sizes[index] for index in indices))
        result += [indices[start : start + size] for start in range(0, len(indices), size)]
    return result


def round_to_half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32 with 11 significant bits, half precision's, and float32's range: the last bits of an embedding are noise
    that no file can compress and that differs from one machine to the next.

    NaN and infinite numbers stay as they are: the bits of CUDA's NaN, 0x7FFFFFFF, would overflow into -0.0.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)
