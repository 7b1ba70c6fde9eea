"""Audio frames: ``prosody``, a hundred measurements of the voice per second that need no weights and no download.

Pitch and voicing, energy, the spectrum's shape and 40 mel bands, in plain numpy: the pitch is Boersma's (1993)
autocorrelation method with its path through the candidates, since the quick alternative (YIN per frame) makes octave
errors that the path mends, and the careful one (pYIN) costs ten times as much.

An audio extractor, this one or an encoder, is three members of a module or object and nothing else:
``VERSION``, which changes whenever the numbers do; ``columns(params)``, the names in order; and
``open_extractor(params)``, which gives an object with ``reset()`` and ``clip(waveform) -> Features``. ``clip`` takes
(N,) float32 mono at 16 kHz, N from 0 up, and stamps each row with the middle of the sound that it measured, in seconds
from the clip's start. ``params.rate_hz`` says how many rows a second of sound gives.

What has more to say may do so, and is asked: ``version(params)`` in place of ``VERSION``; ``params.facts()``, what of the
params the numbers depend on; ``together(params)``, how many clips one process should hold, and then ``clips(waveforms)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features

Array = NDArray[np.float64]
Samples = NDArray[np.floating[Any]]

VERSION = "prosody/2"
SAMPLE_RATE_HZ = 16000
WINDOW = 400  # 25 ms: energy and spectrum
FFT = 512
MEL_BANDS = 40
ROLLOFF = 0.85
FLOOR = 1e-10  # the power that stands for digital silence: -100 dB of full scale

_BLOCK = 1024  # frames worked on at a time, so that memory does not grow with the clip

MEASURES = (
    "pitch_hz",
    "voicing",
    "energy_db",
    "spectral_centroid_hz",
    "spectral_flatness",
    "spectral_rolloff_hz",
    "zero_crossing_rate",
)


@dataclass(frozen=True)
class Params:
    """Section ``extract_audio.audio`` of params.yaml.

    rate_hz                           rows per second
    pitch_floor_hz, pitch_ceiling_hz  where a voice's pitch is looked for
    voicing_threshold                 how periodic (0 to 1) a frame must be to count as voiced
    """

    rate_hz: float = 100.0
    pitch_floor_hz: float = 50.0
    pitch_ceiling_hz: float = 600.0
    voicing_threshold: float = 0.45

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 10 <= self.rate_hz <= 1000:
            yield f"rate_hz: {self.rate_hz} must lie between 10 and 1000."
        if not 40 <= self.pitch_floor_hz < self.pitch_ceiling_hz <= 2000:
            yield (
                f"pitch_floor_hz: {self.pitch_floor_hz} and pitch_ceiling_hz: {self.pitch_ceiling_hz} must rise and lie"
                " between 40 and 2000."
            )
        if not 0 <= self.voicing_threshold <= 1:
            yield f"voicing_threshold: {self.voicing_threshold} must lie between 0 and 1."


def columns(params: Params) -> tuple[str, ...]:
    """The names of the audio columns, in order."""
    del params
    return (*MEASURES, *(f"logmel_{band:02d}" for band in range(MEL_BANDS)))


def open_extractor(params: Params) -> Prosody:
    """Nothing is loaded: the prosody is arithmetic."""
    return Prosody(params)


class Prosody:
    """See the module's text for the interface. ``alive`` is called between blocks of frames: an hour of sound takes minutes."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.alive: Callable[[], None] = lambda: None

    def reset(self) -> None:
        """Nothing: the prosody of a clip knows of no other clip."""

    def clip(self, waveform: NDArray[np.float32]) -> Features:
        """(N,) float32 mono at 16 kHz, full scale 1 -> one row per whole 1 / rate_hz s, at least one; none for N = 0.

        pitch_hz is NaN where the voice is silent or not periodic; everything else is measured in every row, silence
        included (energy_db -100, flatness 1). voicing is the height of the normalised autocorrelation at the pitch's
        period, in [0, 1]; energy_db is relative to a full-scale square wave; zero_crossing_rate is per sample.
        """
        names = columns(self.params)
        period_s = 1 / self.params.rate_hz
        count = max(1, int(len(waveform) / SAMPLE_RATE_HZ / period_s + 1e-9)) if len(waveform) else 0
        timestamps_s = (np.arange(count) + 0.5) * period_s
        values = np.empty((count, len(names)), np.float32)
        sound = _finite(waveform)
        if count:
            values[:, 0], values[:, 1] = track_pitch(sound, timestamps_s, self.params, self.alive)
            for rows, middles in _blocks(timestamps_s, self.alive):
                values[rows, 2:] = _spectrum(sound, middles)
        return Features(values, timestamps_s, names)


def _nothing() -> None:
    """Nobody waits."""


def _blocks(timestamps_s: Array, alive: Callable[[], None] = _nothing) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Frames, a block at a time, and the samples nearest to their middles; ``alive`` is called before each."""
    middles = np.rint(timestamps_s * SAMPLE_RATE_HZ).astype(np.int64)
    for start in range(0, len(middles), _BLOCK):
        alive()
        rows = slice(start, start + _BLOCK)
        yield rows, middles[rows]


def _finite(sound: Samples) -> Samples:
    """The sound without NaN; itself where it has none, since a copy of two hours in 64 bits would be a gigabyte."""
    ends = np.array([sound.min(), sound.max()]) if len(sound) else np.zeros(2)
    return sound if np.isfinite(ends).all() else np.nan_to_num(sound.astype(np.float64))


def _frames(sound: Samples, middles: NDArray[np.int64], width: int) -> Array:
    """(T, width) samples around each middle, zeros beyond the clip's ends."""
    at = _around(middles, width)
    return np.where(_inside(at, len(sound)), sound[np.clip(at, 0, len(sound) - 1)], 0.0).astype(np.float64)


def _around(middles: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    return np.asarray(middles[:, None] + np.arange(-(width // 2), width - width // 2))


def _inside(at: NDArray[np.int64], samples: int) -> NDArray[np.bool_]:
    return np.asarray((at >= 0) & (at < samples))


# ------------------------------------------------------------------------------------------------- energy and spectrum


def _spectrum(sound: Samples, middles: NDArray[np.int64]) -> Array:
    """(T, 5 + 40): energy, centroid, flatness, rolloff, zero crossings, mel bands."""
    window = np.hanning(WINDOW + 2)[1:-1]
    frames = _frames(sound, middles, WINDOW)
    weight = (
        _inside(_around(middles, WINDOW), len(sound)).astype(np.float64) @ window
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


# --------------------------------------------------------------------------------------------------------------- pitch

# Boersma (1993), "Accurate short-term analysis of the fundamental frequency": his values; costs are for frames 10 ms apart.
_CANDIDATES = 8
_PASS_HZ, _STOP_HZ = 1500.0, 3000.0
_FINER = 2
_SILENCE = 0.03
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14


def track_pitch(
    sound: Samples, timestamps_s: Array, params: Params, alive: Callable[[], None] = _nothing
) -> tuple[Array, Array]:
    """Pitch in Hz (T,), NaN where unvoiced, and voicing (T,) in [0, 1], for frames around ``timestamps_s`` (T,).

    Per frame the highest peaks of the autocorrelation, divided by the window's own, are candidates; the cheapest path
    through all frames decides, where jumps in pitch and changes of voicing cost something.
    """
    loudest, path = _loudest(sound), _Path(params.rate_hz / 100)
    hz, height = np.empty((2, len(timestamps_s), _CANDIDATES))
    for rows, middles in _blocks(timestamps_s, alive):
        hz[rows], height[rows], silence = _candidates(sound, middles, loudest, params)
        strength = height[rows] + _OCTAVE_COST * np.log2(hz[rows] / params.pitch_floor_hz)
        strength = np.where(np.isnan(hz[rows]), -np.inf, strength)
        path.follow(hz[rows], np.column_stack([params.voicing_threshold + silence, strength]))
    chosen = path.best()
    voiced = chosen > 0
    pick = np.where(voiced, chosen - 1, 0)[:, None]
    pitch = np.where(voiced, np.take_along_axis(hz, pick, axis=1)[:, 0], np.nan)
    voicing = np.where(voiced, np.take_along_axis(height, pick, axis=1)[:, 0], height.max(axis=1))
    return pitch, np.clip(voicing, 0, 1)


def _loudest(sound: Samples) -> float:
    """The largest distance of a sample from the mean of all; numpy sums 32 bits in 64 without a copy, to the same bits."""
    mean = float(sound.mean(dtype=np.float64))
    return max(float(sound.max()) - mean, mean - float(sound.min()))


def _candidates(
    sound: Samples, middles: NDArray[np.int64], loudest: float, params: Params
) -> tuple[Array, Array, Array]:
    """hz (T, 8) with NaN where there are fewer peaks, their heights (T, 8), and how silent each frame is (T,)."""
    width = round(3 / params.pitch_floor_hz * SAMPLE_RATE_HZ)
    rate = SAMPLE_RATE_HZ * _FINER
    shortest, longest = int(rate / params.pitch_ceiling_hz), int(rate / params.pitch_floor_hz) + 2
    frames = _frames(sound, middles, width)
    frames = frames - frames.mean(axis=1, keepdims=True)
    window = np.hanning(width + 2)[1:-1]
    own = _autocorrelation(window[None], longest + 1, low_pass=False)
    correlation = _autocorrelation(frames * window, longest + 1, low_pass=True)
    correlation = correlation / np.maximum(correlation[:, :1], FLOOR) / (own / own[:, :1])
    before, here, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
    lags = np.arange(1, longest)
    peak = (here > before) & (here >= after) & (lags >= shortest)
    worth = here - _OCTAVE_COST * np.log2(lags)  # a high voice has more periods in reach than there are candidates
    ranked = np.argsort(np.where(peak, -worth, np.inf), axis=1, kind="stable")[:, :_CANDIDATES]
    b, h, a = (np.take_along_axis(part, ranked, axis=1) for part in (before, here, after))
    bend = np.minimum(b - 2 * h + a, -1e-12)
    shift = np.clip(0.5 * (b - a) / bend, -0.5, 0.5)  # the parabola through three samples has its top here
    there = np.take_along_axis(peak, ranked, axis=1)
    hz = np.where(there, rate / (ranked + 1 + shift), np.nan)
    hz = np.where((hz >= params.pitch_floor_hz) & (hz <= params.pitch_ceiling_hz), hz, np.nan)
    height = np.where(np.isnan(hz), 0.0, np.minimum(h - 0.25 * (b - a) * shift, 1.0))
    core = np.abs(frames[:, width // 3 : width - width // 3])  # the window's ends may reach into a word
    silence = np.maximum(0.0, 2 - core.max(axis=1) / max(loudest, FLOOR) * (1 + params.voicing_threshold) / _SILENCE)
    return hz, height, silence


def _autocorrelation(frames: Array, lags: int, low_pass: bool) -> Array:
    """(T, W) -> (T, lags) at half samples, through the spectrum.

    High harmonics make peaks so narrow that even a half sample misses them, and then twice the period looks better.
    """
    size = 1 << (frames.shape[1] + lags // _FINER).bit_length()
    spectrum = np.fft.rfft(frames, size)
    power = spectrum.real**2 + spectrum.imag**2
    if low_pass:
        share = np.clip((np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ) - _PASS_HZ) / (_STOP_HZ - _PASS_HZ), 0, 1)
        power = power * (0.5 + 0.5 * np.cos(np.pi * share))
    return np.fft.irfft(power, size * _FINER)[:, :lags]


class _Path:
    """The cheapest way through the frames' states: 0 unvoiced, k = candidate k - 1 (Viterbi). Changes cost ``dearness`` times."""

    def __init__(self, dearness: float) -> None:
        self._dearness = dearness
        self._total = self._octaves = np.empty(0)
        self._steps: list[NDArray[np.int8]] = []  # per block of frames and state: from which one it is best reached

    def follow(self, hz: Array, strength: Array) -> None:
        """A block of frames more: their candidates (T, k), and how strong each state is (T, k + 1)."""
        octaves, steps = np.log2(hz), np.zeros(strength.shape, np.int8)
        for frame in range(len(hz)):
            if len(self._total):
                reached = self._reached(octaves[frame])
                steps[frame] = reached.argmax(axis=0)
                self._total = reached.max(axis=0) + strength[frame]
            else:
                self._total = strength[frame]
            self._octaves = octaves[frame]
        self._steps.append(steps)

    def _reached(self, octaves: Array) -> Array:
        """What each of a frame's states (columns) is worth, reached from each of the frame before."""
        jump = np.full((len(self._total),) * 2, _VOICING_CHANGE_COST)
        jump[0, 0] = 0.0
        jump[1:, 1:] = _OCTAVE_JUMP_COST * np.abs(self._octaves[:, None] - octaves)
        return np.where(np.isnan(jump), -np.inf, self._total[:, None] - self._dearness * jump)

    def best(self) -> NDArray[np.int64]:
        """(T,) which state each frame is in."""
        steps = np.concatenate(self._steps)
        path = np.zeros(len(steps), np.int64)
        path[-1] = self._total.argmax()
        for frame in range(len(steps) - 1, 0, -1):
            path[frame - 1] = steps[frame, path[frame]]
        return path
