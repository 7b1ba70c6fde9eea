"""Active speaker detection: mouth movements against the audio -> log-likelihood ratio (LLR) of speaking.

A small network predicts from the audio's frequency bands how open and how spread the speaker's mouth is (an i is
bright, an o dark). Three measures of the mouth are correlated with these two, at two paces (slow movements are large
but few; quick ones are small but many) and at several lags, since people differ in how far their mouth is ahead of the
sound. Each correlation counts by how often speakers, and how often others, reach it within that much speech.

It is no lip reading: no phoneme has a shape of its own. The numbers were fitted by fits/target_face.py to mouths and
rooms drawn at random.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.crops import Grey, mouth_opening
from bemerc.media.pitch import SAMPLE_RATE_HZ

Array = NDArray[np.float64]

HOP_S = 0.01
INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper and lower, in the middle and to both sides
OUTER_LIPS = ((0, 17),)
CORNERS = ((61, 291), (78, 308))
CHIN, EYES = (152, 1), (33, 263)
# The more a head is turned, the less of its mouth can be seen: up to the first angle a mouth that does not follow the
# sound counts in full, from the second on it says nothing. Chosen on clips of three conversations (any angles from 20
# and 50 to 40 and 60 do about as well there); the mouths that the other numbers were fitted to look at the camera.
_SIDEWAYS_DEG = (30.0, 60.0)

# Bands in Hz; and the network's context before and after, in steps of HOP_S.
_EDGES_HZ = (100, 300, 600, 1000, 1500, 2200, 3200, 5000, 7500)
_CONTEXT = (-4, 0, 4)
_WINDOW_S, _FFT, _RANGE_DB = 0.025, 512, 35.0
# Speech moves lips and sound together at the pace of syllables, and of their beginnings and ends: a mean over the first
# time less a mean over the second.
PACES_S = ((0.05, 1.0), (0.03, 0.2))
# A mouth that moves by less than this (of the eyes' distance) is at rest: this much is the mesh's noise.
_NOISE = 0.003
_MIN_ROWS = 5


@dataclass(frozen=True)
class Channel:
    """A measure of the mouth against an audio feature (0 open, 1 spread) at one of the paces: mean and standard
    deviation of their correlation for the speaker, its standard deviation for others, and what chance adds to either in
    a second."""

    pace: int
    measure: int
    audio: int
    mean: float
    speaking: float
    other: float
    chance: float


# How far ahead of its sound a mouth may be, in seconds, and the logarithm of how likely that is.
LAGS_S = tuple(np.arange(-0.04, 0.161, 0.02).round(2).tolist())
CHANNELS = (
    Channel(0, 0, 0, 0.115, 0.173, 0.035, 0.257),
    Channel(0, 1, 0, -0.017, 0.083, 0.131, 0.415),
    Channel(0, 2, 1, 0.018, 0.083, 0.041, 0.321),
    Channel(0, 2, 0, -0.25, 0.176, 0.763, 0.706),
    Channel(0, 0, 1, -0.173, 0.279, 0.192, 0.563),
    Channel(1, 0, 0, 0.537, 0.166, 0.049, 0.21),
    Channel(1, 1, 0, -0.031, 0.069, 0.007, 0.17),
    Channel(1, 2, 1, 0.421, 0.197, 0.016, 0.19),
    Channel(1, 2, 0, -0.057, 0.519, 0.072, 0.405),
    Channel(1, 0, 1, -0.072, 0.092, 1.157, 0.536),
)
_LAG_LOG_PRIOR = np.array([-2.958, -2.575, -2.437, -2.405, -2.341, -2.359, -2.064, -1.901, -2.366, -2.513, -2.953])
_LLR_SCALE = 0.689


def mouth(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 478, 3) -> (n, 4): how far the lips are apart (the mean of the gap and of the height with the lips, which is
    less noisy on small faces), the chin's distance from the nose, the mouth's width, and the distance of the outer eye
    corners, all in three dimensions and in the landmarks' unit."""

    def apart(*pairs: tuple[int, int]) -> NDArray[np.float32]:
        one, other = (landmarks[:, [pair[side] for pair in pairs]] for side in (0, 1))
        return np.asarray(np.linalg.norm(one - other, axis=2).mean(axis=1))

    lips = (apart(*INNER_LIPS) + apart(*OUTER_LIPS)) / 2
    return np.stack([lips, apart(CHIN), apart(*CORNERS), apart(EYES)], axis=1)


def cosine_of_turn(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 478, 3) -> (n,): 1 where the line through the eyes lies in the picture, 0 where it points at the camera."""
    line = landmarks[:, EYES[1]] - landmarks[:, EYES[0]]
    length = np.linalg.norm(line, axis=1)
    return np.asarray(np.linalg.norm(line[:, :2], axis=1) / np.maximum(length, 1e-6))


def as_rival(llr: float, cosines_of_turn: Array) -> float:
    """How likely somebody is to speak in place of somebody else: ``llr``, but below 0 it counts the less, the less of the
    mouth can be seen, by the turns of the head (n,). Above 0 it stays: what follows the sound does so from any side."""
    whole, nothing = np.cos(np.radians(_SIDEWAYS_DEG))
    visible = np.clip((cosines_of_turn - nothing) / (whole - nothing), 0, 1)
    return llr * float(visible.mean()) if llr < 0 else llr


def movements(mouths: Array) -> Array:
    """(n, 4) of one track -> (n, 3) over the median distance of its eyes, so that what noise there is in that stays
    out."""
    return mouths[:, :3] / max(float(np.median(mouths[:, 3])), 1e-6)


def fuse_lip_cues(moved: Array, mouths: Grey) -> Array:
    """(n, 3) movements of one track, with the lips' gap from landmarks and from mouth crops (n, 24, 24) combined: where
    one has lost the mouth the other may have it."""
    return np.column_stack([moved[:, 0] / 2 + mouth_opening(mouths), moved[:, 1:]])


def speaking_llr(lip_cues: Sequence[tuple[Array, Array]], audio: Array) -> float:
    """The log-likelihood ratio that one person is the speaker of the audio; 0 where there are too few frames.

    lip_cues  per track of the person (n,) times in seconds and (n, 3) movements
    audio     (N, 2) from audio_features
    """
    correlation, seconds = correlations(lip_cues, audio)
    if not seconds:
        return 0.0
    by_lag = _log_ratios(correlation, seconds) + _LAG_LOG_PRIOR
    # numpy 2.5's stubs have no reduce of logaddexp.
    return _LLR_SCALE * float(np.logaddexp.reduce(by_lag))  # type: ignore[call-overload, unused-ignore]


def correlations(lip_cues: Sequence[tuple[Array, Array]], audio: Array) -> tuple[Array, float]:
    """Correlations (lags, channels) of movements and audio, shrunk where the mouth hardly moves; and the seconds that
    they rest on: those of the frames in which the mouth was measured, not of the gaps between them."""
    spans = [(times_s, moved) for times_s, moved in lip_cues if len(times_s) >= _MIN_ROWS]
    if not spans:
        return np.zeros((len(LAGS_S), len(CHANNELS))), 0.0
    lagged = [_lagged_audio(audio, times_s) for times_s, _ in spans]
    by_pace = [_at_pace(spans, lagged, pace_s) for pace_s in PACES_S]
    seconds = sum(len(times_s) * float(np.median(np.diff(times_s))) for times_s, _ in spans)
    return np.stack([by_pace[one.pace][one.measure, :, one.audio] for one in CHANNELS], axis=1), seconds


def _at_pace(spans: Sequence[tuple[Array, Array]], lagged: Sequence[Array], pace_s: tuple[float, float]) -> Array:
    """Correlations (measures, lags, 2) of movements and lagged audio over all spans."""
    moved = np.concatenate([pace(own, times_s, pace_s) for times_s, own in spans])
    sound = np.concatenate([pace(one, times_s, pace_s) for (times_s, _), one in zip(spans, lagged, strict=True)])
    moved, sound = moved - moved.mean(axis=0), sound - sound.mean(axis=0)
    shared = (moved.T @ sound / len(moved)).reshape(len(moved.T), len(LAGS_S), -1)
    spread = (sound.std(axis=0) + 1e-6).reshape(len(LAGS_S), -1) * (moved.std(axis=0) + _NOISE)[:, None, None]
    return np.asarray(shared / spread)


def _lagged_audio(audio: Array, times_s: Array) -> Array:
    """(T, lags * 2) audio features at the frames' times plus each lag."""
    grid_s = np.arange(len(audio)) * HOP_S
    return np.stack([np.interp(times_s + lag_s, grid_s, one) for lag_s in LAGS_S for one in audio.T], axis=1)


def _log_ratios(correlation: Array, seconds: float) -> Array:
    """(lags, channels) correlations -> (lags,) log-likelihood ratios: Gaussians whose variance falls with the length of
    speech, down to how people differ."""
    mean, speaking, other, chance = (
        np.array([getattr(channel, name) for channel in CHANNELS]) for name in ("mean", "speaking", "other", "chance")
    )
    by_chance = chance**2 / max(seconds, 0.1)
    yes, no = by_chance + speaking**2, by_chance + other**2
    ratios = (correlation**2 / no - (correlation - mean) ** 2 / yes + np.log(no / yes)) / 2
    return np.asarray(ratios.sum(axis=1))


def audio_features(
    waveform: NDArray[np.float32], timestamps_s: Array, heartbeat: Callable[[], None] = lambda: None
) -> Array:
    """Waveform (N,) at 16 kHz -> (M, 2): how open (first) and how spread the speaker's mouth is, every 10 ms until a
    little after the last frame. From the loudness of a few bands, each from 0 to 1 over the 35 dB below its own loud
    parts. ``heartbeat`` is called meanwhile."""
    inner, inner_bias, outer, outer_bias = _network()
    return np.asarray(
        np.tanh(with_context(loudness(waveform, timestamps_s, heartbeat)) @ inner + inner_bias) @ outer + outer_bias
    )


@cache
def _network() -> tuple[Array, ...]:
    with np.load(str(files("bemerc.extraction.face") / "lip_sync.npz")) as file:
        return tuple(np.asarray(file[name], np.float64) for name in ("inner", "inner_bias", "outer", "outer_bias"))


def with_context(loud: Array) -> Array:
    """(M, 8) -> (M, 24): each row with those 40 ms before and after."""
    at = np.arange(len(loud))
    return np.concatenate([loud[np.clip(at + step, 0, len(loud) - 1)] for step in _CONTEXT], axis=1)


def loudness(waveform: NDArray[np.float32], timestamps_s: Array, heartbeat: Callable[[], None] = lambda: None) -> Array:
    """(M, 8) loudness of each band, 0 to 1, every 10 ms."""
    length_s = (float(timestamps_s[-1]) if len(timestamps_s) else 0.0) + 0.5
    hop, window = round(HOP_S * SAMPLE_RATE_HZ), round(_WINDOW_S * SAMPLE_RATE_HZ)
    count = int(length_s / HOP_S) + 1
    padded = np.zeros(count * hop + window, np.float32)
    part = waveform[: len(padded) - window // 2]
    padded[window // 2 : window // 2 + len(part)] = part
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)
    inside = np.array([(hz >= low) & (hz < high) for low, high in itertools.pairwise(_EDGES_HZ)], np.float64)
    power = np.empty((count, len(inside)))
    for start in range(0, count, 1024):
        heartbeat()
        at = np.arange(start, min(start + 1024, count))[:, None] * hop + np.arange(window)
        spectrum = np.abs(np.fft.rfft(padded[at] * np.hanning(window), _FFT)) ** 2
        power[start : start + len(at)] = spectrum @ inside.T
    level_db = 10 * np.log10(power + 1e-9)
    top_db = np.percentile(level_db[: max(1, int(len(waveform) / hop))], 95, axis=0)
    return np.asarray(np.clip((level_db - top_db + _RANGE_DB) / _RANGE_DB, 0, 1))


def pace(values: Array, times_s: Array, pace_s: tuple[float, float] = PACES_S[0]) -> Array:
    """Band-pass filter in time: a mean over the shorter time minus one over the longer, Gaussian, for uneven frames
    too. (T, K) -> (T, K)."""
    fast, slow = (_smoothed(values, times_s, width_s) for width_s in pace_s)
    return fast - slow


def _smoothed(values: Array, times_s: Array, width_s: float) -> Array:
    """Weighted by the distance in time; (T, K) -> (T, K). In blocks, so that memory does not grow with the square of
    T."""
    smoothed = np.empty(values.shape)
    for start in range(0, len(values), 512):
        near = times_s[start : start + 512]
        low, high = np.searchsorted(times_s, [near[0] - 2 * width_s, near[-1] + 2 * width_s])
        weights = np.exp(-(((near[:, None] - times_s[low:high]) / (width_s / 2)) ** 2) / 2)
        smoothed[start : start + len(near)] = weights @ values[low:high] / weights.sum(axis=1)[:, None]
    return smoothed
