"""A long sound cut into windows for a model, which windows are heard together, and how their frames become one series again.

The plain way hears a clip in blocks, and every border shows: a frame at a block's end knows nothing of what follows. Here
windows overlap and every frame is a mean over the windows that know it, weighted by how far it is from their ends, so
that a frame counts least where its window knows least. Numbers only; no model is known here.
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


def cut(samples: int, longest: int, overlap: int, hop: int) -> tuple[Window, ...]:
    """``samples`` samples as windows of ``longest`` at most, evenly spread, neighbours sharing about ``overlap`` at least.

    A sound that fits is one window. ``longest`` and ``overlap`` are whole numbers of hops, 2 * overlap <= longest. Every
    window but the last has the same length, and the last ends where the sound ends.
    """
    if samples <= longest:
        return (Window(0, samples),)
    way = samples - longest
    count = math.ceil(way / (longest - overlap)) + 1
    starts = [math.ceil(i * way / (count - 1) / hop) * hop for i in range(count)]
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
        worth = np.minimum(before, after)[:, None]
        total[first : first + len(values)] += worth * values
        weight[first : first + len(values)] += worth
    return total / weight


def batches(widths: Sequence[Hashable], most: Sequence[int]) -> list[list[int]]:
    """Which sounds are heard together: those of one width, ``most[i]`` of them at most where sound i is among them.

    Returns lists of places in ``widths``, every place once, widths in the order in which they first come.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, width in enumerate(widths):
        groups.setdefault(width, []).append(place)
    found = []
    for places in groups.values():
        size = max(1, min(most[place] for place in places))
        found += [places[start : start + size] for start in range(0, len(places), size)]
    return found


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Float32 with 11 significant bits, half precision's, and float32's range: the last bits of an embedding are noise that
    no file can compress and that differs from one machine to the next.

    What is no finite number stays as it is: in the bits of CUDA's NaN, 0x7FFFFFFF, the sum would run over into -0.0.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    kept = ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(values), kept, values)
