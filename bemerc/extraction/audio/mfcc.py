"""Mel-frequency cepstral coefficients as python_speech_features 0.6 has them by default: what networks for active speaker
detection are trained on.

13 every 10 ms: windows of 25 ms without taper, pre-emphasis .97, 26 triangular mel filters up to 8 kHz, DCT-II, lifter
22, and the logarithm of the window's energy in place of the first. That package has had no release since 2017.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ

Array = NDArray[np.float64]

HOP, WINDOW = 160, 400
CEPSTRA = 13
_FFT, _FILTERS, _PRE_EMPHASIS, _LIFTER = 512, 26, 0.97, 22
_LEAST = float(np.finfo(float).eps)  # of silence


def mfcc(samples: Array, before: float = 0.0) -> Array:
    """Samples (N,) at 16 kHz on the scale of 16-bit numbers -> (M, 13), M = 1 + (N - 400) // 160 whole windows.
    ``before``: the sample before the first."""
    emphasized = samples - _PRE_EMPHASIS * np.concatenate([[before], samples[:-1]])
    windows = np.lib.stride_tricks.sliding_window_view(emphasized, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows, _FFT)) ** 2 / _FFT
    cepstra = np.log(_above_zero(power @ _filters())) @ _cosines()
    cepstra[:, 0] = np.log(_above_zero(power.sum(axis=1)))
    return np.asarray(cepstra)


def _above_zero(values: Array) -> Array:
    return np.where(values == 0, _LEAST, values)


@cache
def _filters() -> Array:
    """(257, 26): triangles between neighbouring mels, whose corners lie on whole bins."""
    mel = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700), _FILTERS + 2)
    corners = np.floor((_FFT + 1) * 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT // 2 + 1)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = np.where((bins >= low) & (bins < middle), (bins - low) / np.maximum(middle - low, 1), 0.0)
    falling = np.where((bins >= middle) & (bins < high), (high - bins) / np.maximum(high - middle, 1), 0.0)
    return np.asarray(rising + falling)


@cache
def _cosines() -> Array:
    """(26, 13): the orthonormal DCT-II, and the lifter."""
    order = np.arange(CEPSTRA)
    angles = np.pi * order * (2 * np.arange(_FILTERS)[:, None] + 1) / (2 * _FILTERS)
    scale = np.where(order == 0, np.sqrt(1 / _FILTERS), np.sqrt(2 / _FILTERS))
    return np.asarray(np.cos(angles) * scale * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)))
