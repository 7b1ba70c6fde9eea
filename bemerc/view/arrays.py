"""Arrays of the page: quantised, differenced in time where that shrinks them, joined end to end for the browser to map.

A dialogue's arrays are one block of bytes and a table that says where each lies; page/data.js reads them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Coordinates are fractions of the frame in steps of 1/16384: a ninth of a pixel of a frame of 1920.
POSITION_STEPS = 16384
MISSING = -32768
_LARGEST = 32767


class Arrays:
    """The arrays added so far: ``block()`` is their bytes, ``table`` name -> type, offset, length and how to decode."""

    def __init__(self) -> None:
        self.table: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def add_times(self, name: str, times_s: NDArray[np.float64]) -> None:
        """Times in seconds, exact."""
        self._add(name, times_s.astype("<f8"), {"type": "f8"})

    def add_series(self, name: str, values: NDArray[np.floating[Any]]) -> None:
        """A series (T,) in 65535 steps of its range; NaN where it is not finite."""
        finite = np.isfinite(values)
        measured = np.where(finite, values, 0).astype(np.float64)
        scale = float(np.abs(measured).max(initial=0)) / _LARGEST or 1.0
        steps = np.where(finite, np.rint(measured / scale), MISSING)
        self._add(name, steps.astype("<i2"), {"type": "i2", "scale": scale})

    def add_positions(self, name: str, points: NDArray[np.floating[Any]]) -> None:
        """Positions (T, P) as fractions of a frame, NaN kept; each row as its difference from the row before, low bytes
        before high ones, which halves what remains after compression."""
        with np.errstate(invalid="ignore"):
            steps = np.rint(np.clip(points, -1.99, 1.99) * POSITION_STEPS)
        quantised = np.where(np.isfinite(steps), steps, MISSING).astype(np.int16)
        differences = np.diff(quantised, axis=0, prepend=np.zeros((1, points.shape[1]), np.int16)).astype("<i2")
        planes = differences.reshape(-1, 1).view(np.uint8).T
        self._add(name, np.ascontiguousarray(planes), {"type": "delta", "width": points.shape[1]})

    def block(self) -> bytes:
        """The bytes of all arrays, each at a multiple of eight."""
        return b"".join(self._parts)

    def _add(self, name: str, array: NDArray[Any], how: dict[str, Any]) -> None:
        data = array.tobytes()
        self.table[name] = {**how, "offset": self._size, "bytes": len(data)}
        data += bytes(-len(data) % 8)
        self._parts.append(data)
        self._size += len(data)
