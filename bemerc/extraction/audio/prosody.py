"""Audio frames: ``prosody``, a hundred measurements of the voice per second that need no weights and no download.

Pitch and voicing (bemerc.media.pitch), how likely it is speech (bemerc.media.speech_detector), energy, the spectrum's
shape and 40 mel bands, in plain numpy. A constant offset
that a cheap sound card adds to every sample is subtracted, or it would be the energy of all pauses. A row's timestamp
is the middle of the sound that it measured. The interface is that of all extractors (bemerc.extraction.extractor_pool).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.media.pitch import (
    FLOOR,
    SAMPLE_RATE_HZ,
    Array,
    Params,
    Samples,
    around,
    blocks,
    constant_offset,
    frames_around,
    inside,
    track_pitch,
)
from bemerc.media.speech_detector import CHUNK, speech_probability

__all__ = ["SAMPLE_RATE_HZ", "Params", "Prosody", "columns", "open_extractor"]

VERSION = "prosody/3"
WINDOW = 400  # 25 ms: energy and spectrum
FFT = 512
MEL_BANDS = 40
ROLLOFF = 0.85

MEASURES = (
    "pitch_hz",
    "voicing",
    "speech",
    "energy_db",
    "spectral_centroid_hz",
    "spectral_flatness",
    "spectral_rolloff_hz",
    "zero_crossing_rate",
)


def columns(params: Params) -> tuple[str, ...]:
    """The names of the audio columns, in order."""
    del params
    return (*MEASURES, *(f"logmel_{band:02d}" for band in range(MEL_BANDS)))


def open_extractor(params: Params) -> Prosody:
    """Nothing is loaded: the prosody is arithmetic."""
    return Prosody(params)


class Prosody:
    """An audio extractor. ``heartbeat`` is called between blocks of frames: an hour of sound takes minutes."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.heartbeat: Callable[[], None] = lambda: None

    def reset(self) -> None:
        """Nothing: no state is carried from clip to clip."""

    def clip(self, waveform: NDArray[np.float32]) -> Features:
        """(N,) float32 mono at 16 kHz, full scale 1 -> one row per whole 1 / rate_hz s, at least one; none for N = 0.

        pitch_hz is NaN where the voice is silent or not periodic; everything else is measured in every row, silence
        included (energy_db -100, flatness 1). voicing is the height of the normalised autocorrelation at the pitch's
        period, in [0, 1]; speech the probability of speech of the 32 ms that the row lies in; energy_db is relative to a full-scale square wave; zero_crossing_rate is per sample.
        """
        names = columns(self.params)
        period_s = 1 / self.params.rate_hz
        count = max(1, int(len(waveform) / SAMPLE_RATE_HZ / period_s + 1e-9)) if len(waveform) else 0
        timestamps_s = (np.arange(count, dtype=np.float64) + 0.5) * period_s
        values = np.empty((count, len(names)), np.float32)
        sound = _finite(waveform)
        if count:
            offset = constant_offset(sound)
            values[:, 0], values[:, 1] = track_pitch(sound, timestamps_s, self.params, self.heartbeat)
            likely = speech_probability(sound, self.heartbeat)
            for rows, middles in blocks(timestamps_s, self.heartbeat):
                values[rows, 2] = likely[np.minimum(middles // CHUNK, len(likely) - 1)]
                values[rows, 3:] = _spectrum(sound, middles, offset)
        return Features(values, timestamps_s, names)


def _finite(sound: Samples) -> Samples:
    """The sound without NaN; itself where it has none, since a copy of two hours in 64 bits would be a gigabyte."""
    ends = np.array([np.min(sound), np.max(sound)]) if len(sound) else np.zeros(2)
    return sound if np.isfinite(ends).all() else np.nan_to_num(sound.astype(np.float64))


# ------------------------------------------------------------------------------------------------- energy and spectrum


def _spectrum(sound: Samples, middles: NDArray[np.int64], offset: float) -> Array:
    """(T, 5 + 40): energy, centroid, flatness, rolloff, zero crossings, mel bands."""
    window = np.hanning(WINDOW + 2)[1:-1]
    frames = frames_around(sound, middles, WINDOW, offset)
    weight = (
        inside(around(middles, WINDOW), len(sound)).astype(np.float64) @ window
    )  # less than a whole window at the clip's ends
    power = np.abs(np.fft.rfft(frames * window, FFT)) ** 2 / (window**2).sum() + FLOOR
    hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    total = power.sum(axis=1)
    rolloff = hz[(np.cumsum(power, axis=1) >= ROLLOFF * total[:, None]).argmax(axis=1)]
    crossings = np.count_nonzero(np.diff(np.signbit(frames), axis=1), axis=1) / (WINDOW - 1)
    return np.column_stack(
        [
            _db((frames**2 @ window) / np.maximum(weight, 1e-9)),
            power @ hz / total,
            np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1),
            rolloff,
            crossings,
            _db(power @ mel_filters().T),
        ]
    )


def _db(power: Array) -> Array:
    return np.asarray(10 * np.log10(np.maximum(power, FLOOR)))


def mel_filters() -> Array:
    """(40, 257) triangles, equally spaced on the mel scale 2595 log10(1 + f / 700) from 0 to 8000 Hz, each of sum 1."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, MEL_BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE_HZ)
    rise = (hz - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - hz) / (corners[2:] - corners[1:-1])[:, None]
    triangles = np.maximum(np.minimum(rise, fall), 0)
    return np.asarray(triangles / triangles.sum(axis=1, keepdims=True))
