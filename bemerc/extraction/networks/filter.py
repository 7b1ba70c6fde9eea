"""The 1-euro filter, as MediaPipe has it (Casiez, Roussel, Vogel 2012, https://doi.org/10.1145/2207676.2208639)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_MIN_CUTOFF_HZ, _BETA, _DERIVATIVE_CUTOFF_HZ = 0.01, 10.0, 1.0
_FIRST_RATE_HZ = 30.0


class OneEuroFilter:
    """Smooths an array over time: little where it moves fast, much where it is at rest."""

    def __init__(self) -> None:
        self._time_s: float | None = None
        self._rate_hz = _FIRST_RATE_HZ
        self._state: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None = None

    def __call__(self, values: NDArray[np.float64], timestamp_s: float, scale: float) -> NDArray[np.float64]:
        """The smoothed values. Times must grow; speed is judged in units of ``scale`` per second."""
        if self._time_s:  # MediaPipe takes the time zero for none: the step after it is one of the first rate
            self._rate_hz = 1 / (timestamp_s - self._time_s)
        self._time_s = timestamp_s
        raw, smooth, speed = self._state or (values, values, np.zeros_like(values))
        speed = speed + self._weight(np.array(_DERIVATIVE_CUTOFF_HZ)) * ((values - raw) / scale * self._rate_hz - speed)
        smooth = smooth + self._weight(_MIN_CUTOFF_HZ + _BETA * np.abs(speed)) * (values - smooth)
        self._state = values, smooth, speed
        return smooth

    def _weight(self, cutoff_hz: NDArray[np.float64]) -> NDArray[np.float64]:
        weight: NDArray[np.float64] = 1 / (1 + self._rate_hz / (2 * math.pi * cutoff_hz))
        return weight
