"""How likely it is that a mouth says what one hears: its movements against the sound's, as a log-likelihood ratio.

The obvious choice, the correlation of the lips' gap with the loudness, throws most away: a voice tells how open the
mouth is that makes it and how spread (an i is bright, an o dark), and half a second that fits proves less than six. Here
a small network hears in the sound's bands what a mouth should do, three measures of the mouth are held against that, and each
correlation counts by how often speakers of that length of speech reach it and how often others do. That is done at two
paces: slow movements are the large ones, so that they alone would decide a correlation, but in a second there are few of them and
many quick ones. Different people are ahead of their sound by different times, so that all of a few lags may be the right one.

It reads no lips: no sound has a shape of its own. The numbers were fitted by fits/target_face.py to mouths and
rooms drawn at random; all of this is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.crops import Grey, opened

Array = NDArray[np.float64]

SAMPLE_RATE_HZ = 16_000
HOP_S = 0.01
INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper and lower, in the middle and to both sides
OUTER_LIPS = ((0, 17),)
CORNERS = ((61, 291), (78, 308))
CHIN, EYES = (152, 1), (33, 263)

# Bands in Hz; and the sound before and after, which the network hears too, in steps of HOP_S.
_EDGES_HZ = (100, 300, 600, 1000, 1500, 2200, 3200, 5000, 7500)
_AROUND = (-4, 0, 4)
_WINDOW_S, _FFT, _RANGE_DB = 0.025, 512, 35.0
# Speech moves lips and sound together at the pace of syllables, and of their beginnings and ends: a mean over the first time
# less a mean over the second.
PACES_S = ((0.05, 1.0), (0.03, 0.2))
# A mouth that moves by less than this (of the eyes' distance) is a resting one that the mesh reads with some noise.
_STILL = 0.003
_LEAST_ROWS = 5


@dataclass(frozen=True)
class Channel:
    """A measure of the mouth against what the sound tells (0 open, 1 spread) at one of the paces: the mean and the spread of
    their correlation for who speaks, its spread for others, and what a second of chance adds to either."""

    pace: int
    measure: int
    told: int
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
_LAG_WORTH = np.array([-2.958, -2.575, -2.437, -2.405, -2.341, -2.359, -2.064, -1.901, -2.366, -2.513, -2.953])
_TRUST = 0.689


def mouth(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 478, 3) -> (n, 4): how far the lips are apart (the mean of the gap and of the height with the lips, which is less
    noisy on small faces), the chin's distance from the nose, the mouth's width, and the distance of the outer eye corners,
    all in three dimensions and in the landmarks' unit."""

    def apart(*pairs: tuple[int, int]) -> NDArray[np.float32]:
        one, other = (landmarks[:, [pair[side] for pair in pairs]] for side in (0, 1))
        return np.asarray(np.linalg.norm(one - other, axis=2).mean(axis=1))

    lips = (apart(*INNER_LIPS) + apart(*OUTER_LIPS)) / 2
    return np.stack([lips, apart(CHIN), apart(*CORNERS), apart(EYES)], axis=1)


def movements(mouths: Array) -> Array:
    """(n, 4) of one track -> (n, 3) over the median distance of its eyes, so that what noise there is in that stays
    out."""
    return mouths[:, :3] / max(float(np.median(mouths[:, 3])), 1e-6)


def together(moved: Array, mouths: Grey) -> Array:
    """(n, 3) movements of one track, the lips' gap told by points and picture together: about as much by either, and where
    one has lost the mouth the other may have it. mouths (n, 24, 24), see bemerc.extraction.face.crops."""
    return np.column_stack([moved[:, 0] / 2 + opened(mouths), moved[:, 1:]])


def evidence(seen: Sequence[tuple[Array, Array]], heard: Array) -> float:
    """The log-likelihood ratio of speaking what is heard to anything else; 0 where too little was seen.

    seen   per stretch of sight (n,) times in seconds and (n, 3) movements; together they are one person's
    heard  (N, 2) as voice() tells it
    """
    found, seconds = correlations(seen, heard)
    return _TRUST * float(np.logaddexp.reduce(_ratios(found, seconds) + _LAG_WORTH)) if seconds else 0.0


def correlations(seen: Sequence[tuple[Array, Array]], heard: Array) -> tuple[Array, float]:
    """(lags, channels) of what was seen with what was heard, shrunk where the mouth hardly moves, and the seconds that they
    are of."""
    spans = [(times_s, moved) for times_s, moved in seen if len(times_s) >= _LEAST_ROWS]
    if not spans:
        return np.zeros((len(LAGS_S), len(CHANNELS))), 0.0
    told = [_ahead(heard, times_s) for times_s, _ in spans]
    found = [_at_pace(spans, told, pace_s) for pace_s in PACES_S]
    seconds = sum(float(times_s[-1] - times_s[0]) for times_s, _ in spans)
    return np.stack([found[one.pace][one.measure, :, one.told] for one in CHANNELS], axis=1), seconds


def _at_pace(spans: Sequence[tuple[Array, Array]], heard: Sequence[Array], pace_s: tuple[float, float]) -> Array:
    """(measures, lags, 2) correlations of what moved with what was told, all spans together."""
    moved = np.concatenate([pace(own, times_s, pace_s) for times_s, own in spans])
    told = np.concatenate([pace(one, times_s, pace_s) for (times_s, _), one in zip(spans, heard, strict=True)])
    moved, told = moved - moved.mean(axis=0), told - told.mean(axis=0)
    shared = (moved.T @ told / len(moved)).reshape(len(moved.T), len(LAGS_S), -1)
    spread = (told.std(axis=0) + 1e-6).reshape(len(LAGS_S), -1) * (moved.std(axis=0) + _STILL)[:, None, None]
    return np.asarray(shared / spread)


def _ahead(heard: Array, times_s: Array) -> Array:
    """(T, lags * 2) what is heard so much later."""
    grid_s = np.arange(len(heard)) * HOP_S
    return np.stack([np.interp(times_s + lag_s, grid_s, one) for lag_s in LAGS_S for one in heard.T], axis=1)


def _ratios(found: Array, seconds: float) -> Array:
    """(lags, channels) correlations -> (lags,) log-likelihood ratios: Gaussians whose spread sinks with the time that is
    heard, down to how people differ."""
    mean, speaking, other, chance = (
        np.array([getattr(channel, name) for channel in CHANNELS]) for name in ("mean", "speaking", "other", "chance")
    )
    by_chance = chance**2 / max(seconds, 0.1)
    yes, no = by_chance + speaking**2, by_chance + other**2
    ratios = (found**2 / no - (found - mean) ** 2 / yes + np.log(no / yes)) / 2
    return np.asarray(ratios.sum(axis=1))


def voice(waveform: NDArray[np.float32], timestamps_s: Array, heartbeat: Callable[[], None] = lambda: None) -> Array:
    """How open (first) and how spread a mouth sounds, every 10 ms until a little after the last frame: by the loudness of a
    few bands, each from 0 to 1 over the 35 dB below its own loud parts. waveform (N,) at 16 kHz -> (M, 2). ``heartbeat`` is called
    meanwhile."""
    inner, inner_bias, outer, outer_bias = _network()
    return np.asarray(
        np.tanh(around(loudness(waveform, timestamps_s, heartbeat)) @ inner + inner_bias) @ outer + outer_bias
    )


@cache
def _network() -> tuple[Array, ...]:
    with np.load(str(files("bemerc.extraction.face") / "voice.npz")) as file:
        return tuple(np.asarray(file[name], np.float64) for name in ("inner", "inner_bias", "outer", "outer_bias"))


def around(loud: Array) -> Array:
    """(M, 8) -> (M, 24), each with what is 40 ms before and after."""
    at = np.arange(len(loud))
    return np.concatenate([loud[np.clip(at + step, 0, len(loud) - 1)] for step in _AROUND], axis=1)


def loudness(waveform: NDArray[np.float32], timestamps_s: Array, heartbeat: Callable[[], None] = lambda: None) -> Array:
    """(M, 8) of each band, 0 to 1, every 10 ms."""
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
    """What changes at this pace: a mean over the shorter time less one over the longer, Gaussian in time, so that uneven
    frames do no harm. (T, K) -> (T, K)."""
    fast, slow = (_smoothed(values, times_s, width_s) for width_s in pace_s)
    return fast - slow


def _smoothed(values: Array, times_s: Array, width_s: float) -> Array:
    """Weighted by the distance in time; (T, K) -> (T, K). In blocks, so that memory does not grow with the square of T."""
    found = np.empty(values.shape)
    for start in range(0, len(values), 512):
        near = times_s[start : start + 512]
        low, high = np.searchsorted(times_s, [near[0] - 2 * width_s, near[-1] + 2 * width_s])
        weights = np.exp(-(((near[:, None] - times_s[low:high]) / (width_s / 2)) ** 2) / 2)
        found[start : start + len(near)] = weights @ values[low:high] / weights.sum(axis=1)[:, None]
    return found
