"""Track the pitch of a voice: Boersma's (1993) autocorrelation method, with a Viterbi path through the candidates.

YIN per frame makes octave errors that the path corrects; pYIN costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Samples = NDArray[np.floating[Any]]

SAMPLE_RATE_HZ = 16_000
FLOOR = 1e-10  # power of digital silence: -100 dB of full scale

_BLOCK = 1024  # frames computed at a time, so that memory does not grow with the clip
# Cheap sound cards add a constant to every sample. Constants below this (-46 dB) are within the noise of a room or the
# mean of speech.
_OFFSET = 0.005

# The values of Boersma (1993), "Accurate short-term analysis of the fundamental frequency"; costs are for frames 10 ms
# apart.
_CANDIDATES = 8
_PASS_HZ, _STOP_HZ = 1500.0, 3000.0
_FINER = 2  # oversampling of the lags of the autocorrelation
_SILENCE = 0.03
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14


@dataclass(frozen=True)
class Params:
    """Section ``extract_audio.audio`` of params.yaml.

    rate_hz                           rows per second
    pitch_floor_hz, pitch_ceiling_hz  range in which the pitch of a voice is searched
    voicing_threshold                 how periodic (0 to 1) a frame must be to count as voiced
    """

    rate_hz: float = 100.0
    pitch_floor_hz: float = 50.0
    pitch_ceiling_hz: float = 600.0
    voicing_threshold: float = 0.45

    def check(self) -> Iterator[str]:
        """Invalid values, a sentence each."""
        if not 10 <= self.rate_hz <= 1000:
            yield f"rate_hz: {self.rate_hz} must lie between 10 and 1000."
        if not 40 <= self.pitch_floor_hz < self.pitch_ceiling_hz <= 2000:
            yield (
                f"pitch_floor_hz: {self.pitch_floor_hz} and pitch_ceiling_hz: {self.pitch_ceiling_hz} must rise and lie"
                " between 40 and 2000."
            )
        if not 0 <= self.voicing_threshold <= 1:
            yield f"voicing_threshold: {self.voicing_threshold} must lie between 0 and 1."


def _no_heartbeat() -> None:
    """The default heartbeat: nothing."""


def blocks(timestamps_s: Array, alive: Callable[[], None] = _no_heartbeat) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield frames in blocks, as (rows, the sample nearest to each frame's middle); calls ``alive`` before each
    block."""
    middles = np.rint(timestamps_s * SAMPLE_RATE_HZ).astype(np.int64)
    for start in range(0, len(middles), _BLOCK):
        alive()
        rows = slice(start, start + _BLOCK)
        yield rows, middles[rows]


def frames_around(sound: Samples, middles: NDArray[np.int64], width: int, offset: float = 0.0) -> Array:
    """(T, width) samples around each middle, minus ``offset`` except in digital silence; zeros beyond the clip's
    ends."""
    at = around(middles, width)
    samples = sound[np.clip(at, 0, len(sound) - 1)]
    return np.where(inside(at, len(sound)) & (samples != 0), samples - offset, 0.0).astype(np.float64)


def around(middles: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """(T, width) indices of the samples around each middle."""
    return np.asarray(middles[:, None] + np.arange(-(width // 2), width - width // 2))


def inside(at: NDArray[np.int64], samples: int) -> NDArray[np.bool_]:
    """Which indices lie within a sound of so many samples."""
    return np.asarray((at >= 0) & (at < samples))


def constant_offset(sound: Samples) -> float:
    """The mean of all samples but digital silence where it is so large that it is the recorder's constant, else 0."""
    mean = float(sound.sum(dtype=np.float64)) / max(1, int(np.count_nonzero(sound)))
    return mean if abs(mean) > _OFFSET else 0.0


def track_pitch(
    sound: Samples, timestamps_s: Array, params: Params, alive: Callable[[], None] = _no_heartbeat
) -> tuple[Array, Array]:
    """Pitch in Hz (T,), NaN where unvoiced, and voicing (T,) in [0, 1], for frames around ``timestamps_s`` (T,).

    The candidates of a frame are the highest peaks of its autocorrelation, divided by that of the window. The cheapest
    path through all frames chooses among them; jumps in pitch and changes of voicing have costs.
    """
    loudest, offset, path = _loudest(sound), constant_offset(sound), _Path(params.rate_hz / 100)
    hz, height = np.empty((2, len(timestamps_s), _CANDIDATES))
    for rows, middles in blocks(timestamps_s, alive):
        hz[rows], height[rows], silence = _candidates(sound, middles, loudest, offset, params)
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
    """The largest distance of a sample from the mean of all."""
    mean = float(sound.mean(dtype=np.float64))
    return max(float(np.max(sound)) - mean, mean - float(np.min(sound)))


def _candidates(
    sound: Samples, middles: NDArray[np.int64], loudest: float, offset: float, params: Params
) -> tuple[Array, Array, Array]:
    """Candidates' hz (T, 8), NaN where there are fewer peaks; their heights (T, 8); how silent each frame is (T,)."""
    width = round(3 / params.pitch_floor_hz * SAMPLE_RATE_HZ)
    rate = SAMPLE_RATE_HZ * _FINER
    shortest, longest = int(rate / params.pitch_ceiling_hz), int(rate / params.pitch_floor_hz) + 2
    frames = frames_around(sound, middles, width, offset)
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
    """(T, W) -> (T, lags) at half samples, by FFT.

    ``low_pass``: high harmonics make peaks so narrow that half samples miss them, and then twice the period looks
    better.
    """
    size = 1 << (frames.shape[1] + lags // _FINER).bit_length()
    spectrum = np.fft.rfft(frames, size)
    power = spectrum.real**2 + spectrum.imag**2
    if low_pass:
        share = np.clip((np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ) - _PASS_HZ) / (_STOP_HZ - _PASS_HZ), 0, 1)
        power = power * (0.5 + 0.5 * np.cos(np.pi * share))
    return np.fft.irfft(power, size * _FINER)[:, :lags]


class _Path:
    """The cheapest path through the frames' states (Viterbi): 0 = unvoiced, k = candidate k - 1.

    ``cost_factor`` multiplies the costs of changes.
    """

    def __init__(self, cost_factor: float) -> None:
        self._cost_factor = cost_factor
        self._total = self._octaves = np.empty(0)
        self._steps: list[NDArray[np.int8]] = []  # per block, (frames, states): the best previous state

    def follow(self, hz: Array, strength: Array) -> None:
        """Add a block of frames: the candidates (T, k), and the strength of each state (T, k + 1)."""
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
        """(k + 1, k + 1): the value of each state of a frame (columns), reached from each state of the frame before."""
        jump = np.full((len(self._total),) * 2, _VOICING_CHANGE_COST)
        jump[0, 0] = 0.0
        jump[1:, 1:] = _OCTAVE_JUMP_COST * np.abs(self._octaves[:, None] - octaves)
        return np.where(np.isnan(jump), -np.inf, self._total[:, None] - self._cost_factor * jump)

    def best(self) -> NDArray[np.int64]:
        """(T,) the state of each frame."""
        steps = np.concatenate(self._steps)
        path = np.zeros(len(steps), np.int64)
        path[-1] = np.argmax(self._total)
        for frame in range(len(steps) - 1, 0, -1):
            path[frame - 1] = steps[frame, path[frame]]
        return path
