"""Speech frames by openSMILE: the 25 low-level descriptors of eGeMAPS (Eyben et al. 2016), a hundred times a second.

Not its 88 functionals, which are one row per clip: the tokens make their own means and spreads of these rows. openSMILE
writes 0 (and -201 dB) where there is no voice; here the voice's descriptors are NaN in rows without a pitch. openSMILE
is no part of bemerc: its licence is for research, and holds for features extracted with it too (NOTICE).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.core.errors import BemercError
from bemerc.media.pitch import SAMPLE_RATE_HZ

_STEP_S = 0.01
# openSMILE's windows start at whole steps, 20 ms long for loudness and spectrum, 60 ms for the voice: a row's time is
# between their middles, 10 ms from either.
_MIDDLE_S = 0.02
# Fewer samples hold no 60 ms window.
_SHORTEST = 960

SPECTRAL = (
    "Loudness_sma3",
    "alphaRatio_sma3",
    "hammarbergIndex_sma3",
    "slope0-500_sma3",
    "slope500-1500_sma3",
    "spectralFlux_sma3",
    "mfcc1_sma3",
    "mfcc2_sma3",
    "mfcc3_sma3",
    "mfcc4_sma3",
)
VOICED = (
    "F0semitoneFrom27.5Hz_sma3nz",
    "jitterLocal_sma3nz",
    "shimmerLocaldB_sma3nz",
    "HNRdBACF_sma3nz",
    "logRelF0-H1-H2_sma3nz",
    "logRelF0-H1-A3_sma3nz",
    *(f"F{n}{what}_sma3nz" for n in (1, 2, 3) for what in ("frequency", "bandwidth", "amplitudeLogRelF0")),
)


@dataclass(frozen=True)
class Params:
    """eGeMAPS v02 has no params."""

    @property
    def rate_hz(self) -> float:
        """Rows per second."""
        return 1 / _STEP_S


def version(params: Params) -> str:
    """With openSMILE's own. BemercError where it is not installed."""
    del params
    if importlib.util.find_spec("opensmile") is None:
        raise BemercError(
            "egemaps is measured by openSMILE, which is not installed: pip install "
            '"bemerc[egemaps]". Its licence is for research, not for products (NOTICE).',
            key="extract_audio.speech_backend",
        )
    return f"egemaps/1+opensmile-{importlib.metadata.version('opensmile')}"


def columns(params: Params) -> tuple[str, ...]:
    """openSMILE's names after ``egemaps_``, in its order."""
    del params
    return tuple(f"egemaps_{name}" for name in (*SPECTRAL, *VOICED))


def open_extractor(params: Params) -> Egemaps:
    """Load openSMILE (half a second, most of it pandas)."""
    return Egemaps(params)


class Egemaps:
    """An audio extractor; see bemerc.extraction.extractor_pool."""

    def __init__(self, params: Params) -> None:
        import opensmile

        self._names = columns(params)
        kind, level = opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors
        self._smile: Any = opensmile.Smile(feature_set=kind, feature_level=level)
        theirs = tuple(f"egemaps_{name}" for name in self._smile.feature_names)
        if theirs != self._names:
            raise BemercError("This release of openSMILE names eGeMAPS's descriptors otherwise. Install opensmile 2.6.")

    def reset(self) -> None:
        """Nothing: every clip is processed from its start."""

    def clip(self, waveform: NDArray[np.float32]) -> Features:
        """(N,) float32 mono at 16 kHz -> about a hundred rows per second; none where N < 960, one 60 ms window."""
        sound = np.nan_to_num(waveform)
        if len(sound) < _SHORTEST:
            return Features(np.empty((0, len(self._names)), np.float32), np.empty(0), self._names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = self._smile.process_signal(sound, SAMPLE_RATE_HZ).to_numpy(np.float32).copy()
        silent = values[:, len(SPECTRAL)] == 0
        values[silent, len(SPECTRAL) :] = np.nan
        return Features(values, np.arange(len(values), dtype=np.float64) * _STEP_S + _MIDDLE_S, self._names)
