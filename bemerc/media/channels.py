"""Downmix a sound track to mono: by FFmpeg, or one channel alone where a mix would lose the sound.

The mix of two channels is silent where they have opposite polarity (a balanced cable in a stereo input), and half as
loud where one is dead. Both are detected in the track's first 30 s of sound, always the same ones, so that an
utterance has the same samples however much of the track is read with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import av
import av.audio.resampler
import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ

# At lower sample rates no voice is left, and a small file of a hertz or two would be days of sound.
LOWEST_HZ = 500
# How much of a track is analysed: seconds of sound, or of the track where it is mostly silent.
_ENOUGH_S = 30.0
_MAX_S = 600.0
# A tenth of a second counts as sound when it is louder than this, dB of full scale.
_BLOCK_S = 0.1
_BLOCK = round(_BLOCK_S * SAMPLE_RATE_HZ)
SILENCE_DB = -60.0
# Channels cancel each other where their mix has less than this share of the power of uncorrelated ones. For two
# channels this is a correlation below -.75, which no two microphones have.
_CANCELLED = 0.25
# A channel this far below the loudest is dead; the centre, where films have the voices, is preferred unless it is this
# far below.
_DEAD_DB = -40.0
_CENTRE_DB = -10.0
# Decoders overshoot full scale a little; samples beyond twice of it were never scaled.
_OUT_OF_RANGE = 2.0
# Samples beyond this are invalid: unscaled 32-bit integers are below.
_INVALID = 1e10

# The weights of FFmpeg's mix, before they are scaled to a sum of 1.
_WEIGHTS = {"FC": 1.0, "FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0, "LFE2": 0.0}
_OTHER_WEIGHT = 0.5

# Of planar frames with more channels PyAV returns memory outside of the frame, so they are made interleaved first.
_MAX_PLANES = 8

_Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Mix:
    """How to downmix a track: take ``channel`` (from 0) alone, None = FFmpeg's mix of all; then multiply by
    ``gain``."""

    channel: int | None = None
    gain: float = 1.0


@dataclass(frozen=True)
class Analysis:
    """The sound at a track's beginning, and the downmix chosen for it.

    sound  (N,) at 16 kHz, its non-silent parts, mixed by ``mix``
    notes  sentences where the mix is not FFmpeg's
    """

    sound: _Samples
    mix: Mix
    notes: tuple[str, ...] = ()


def needs_analysis(stream: Any) -> bool:
    """Whether a track may need another mix than FFmpeg's: several channels, or float samples, which may not be
    scaled."""
    decoder = stream.codec_context
    return bool(decoder.layout.nb_channels > 1 or decoder.codec.name.startswith("pcm_f"))


def analyse(frames: Iterable[Any]) -> Analysis:
    """Choose the downmix of a track from its first frames."""
    analyser = _Analyser()
    for frame in frames:
        if frame.sample_rate < LOWEST_HZ:
            continue
        if analyser.kind != kind_of(frame):
            if analyser.is_begun:
                break
            analyser = _Analyser(frame)  # some decoders state the kind of their sound only from the second frame on
        analyser.add(frame)
        if analyser.is_enough:
            break
    return analyser.result()


def kind_of(frame: Any) -> tuple[int, str, str]:
    """What a resampler depends on: sample rate, sample format, channel layout."""
    return frame.sample_rate, frame.format.name, frame.layout.name


def to_mono(frame: Any, mix: Mix) -> Any:
    """The frame with ``mix`` applied; unchanged where the resampler is to mix its channels."""
    if mix == Mix():
        return frame
    values, layout = samples_of(frame), frame.layout.name
    if mix.channel is not None and mix.channel < len(values):
        values, layout = values[mix.channel : mix.channel + 1], "mono"
    return _frame(values * np.float32(mix.gain), layout, frame.sample_rate)


def clean(frame: Any) -> int:
    """Set NaN, infinite and far too large samples to 0, in place; returns how many there were."""
    kind = {"flt": np.float32, "fltp": np.float32, "dbl": np.float64, "dblp": np.float64}.get(frame.format.name)
    if kind is None or (frame.format.is_planar and frame.layout.nb_channels > _MAX_PLANES):
        return 0
    count, invalid = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels), 0
    for plane in frame.planes:
        values = np.frombuffer(plane, kind)[:count]
        with np.errstate(over="ignore", invalid="ignore"):
            valid = float(np.dot(values, values)) < _INVALID**2  # all of them, by a single pass
        if valid:
            continue
        is_invalid = ~(np.abs(values) < _INVALID)
        values[is_invalid] = 0
        invalid += int(is_invalid.sum())
    return invalid


def samples_of(frame: Any) -> _Samples:
    """(channels, N) float32, full scale = 1."""
    if frame.format.is_planar and frame.layout.nb_channels > _MAX_PLANES:
        frame = av.audio.resampler.AudioResampler(format="flt").resample(frame)[0]
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind == "f":
        return np.asarray(values, np.float32)
    middle = 128 if values.dtype.kind == "u" else 0
    full = 2.0 ** (8 * values.dtype.itemsize - 1)
    return np.asarray((values.astype(np.float64) - middle) / full, np.float32)


def _frame(values: _Samples, layout: str, rate_hz: int) -> Any:
    """(channels, N) as an interleaved frame: PyAV makes no planar one of more than eight channels."""
    made = av.AudioFrame.from_ndarray(np.ascontiguousarray(values.T).reshape(1, -1), format="flt", layout=layout)
    made.sample_rate = rate_hz
    return made


class _Analyser:
    """Collects the non-silent beginning of a track, channel by channel at 16 kHz."""

    def __init__(self, first: Any = None) -> None:
        self.kind = kind_of(first) if first is not None else None
        self._names = _names(first.layout) if first is not None else []
        self._can_mix = first is None or _can_mix(first)
        self._resampler = av.audio.resampler.AudioResampler(format="flt", rate=SAMPLE_RATE_HZ)
        self._rest: list[_Samples] = []
        self._sound: list[_Samples] = []
        self._blocks = self._loud = 0
        self._peak = 0.0

    @property
    def is_begun(self) -> bool:
        return self._blocks > 0

    @property
    def is_enough(self) -> bool:
        return self._loud * _BLOCK_S >= _ENOUGH_S or self._blocks * _BLOCK_S >= _MAX_S

    def add(self, frame: Any) -> None:
        clean(frame)
        self._peak = max(self._peak, float(np.abs(samples_of(frame)).max(initial=0.0)))
        frame.pts = None
        self._rest += [samples_of(part) for part in self._resampler.resample(frame)]
        if sum(part.shape[1] for part in self._rest) >= SAMPLE_RATE_HZ:
            self._fold()

    def result(self) -> Analysis:
        if self.kind is not None:
            self._rest += [samples_of(part) for part in self._resampler.resample(None)]
            self._fold()
        if not self._loud:
            return Analysis(np.zeros(0, np.float32), Mix(None if self._can_mix else 0, self._gain()))
        values = np.concatenate(self._sound, axis=1)
        channel, notes = self._channel(values)
        if (gain := self._gain()) != 1:
            notes.append(f"Its samples reach {self._peak:.3g} times full scale; they were divided by {1 / gain:g}.")
        sound = self._weights() @ values if channel is None else values[channel]
        return Analysis(np.asarray(sound * gain, np.float32), Mix(channel, gain), tuple(notes))

    def _fold(self) -> None:
        """Keep the blocks that are not silent, without the constant that a cheap sound card adds."""
        if not self._rest:
            return
        values = np.concatenate(self._rest, axis=1)
        whole = values.shape[1] // _BLOCK * _BLOCK
        self._rest = [values[:, whole:]]
        blocks = values[:, :whole].reshape(len(values), -1, _BLOCK)
        blocks = blocks - blocks.mean(axis=2, keepdims=True)
        loud = (blocks**2).mean(axis=2).max(axis=0, initial=0.0) > 10 ** (SILENCE_DB / 10)
        self._sound.append(blocks[:, loud].reshape(len(values), -1))
        self._blocks += blocks.shape[1]
        self._loud += int(loud.sum())

    def _weights(self) -> _Samples:
        weights = np.array([_WEIGHTS.get(name, _OTHER_WEIGHT) for name in self._names])
        return np.asarray(weights / max(weights.sum(), 1e-9), np.float32)

    def _channel(self, values: _Samples) -> tuple[int | None, list[str]]:
        """Which channel to take alone (None = mix all), and a note why."""
        count, weights = len(values), self._weights()
        if count == 1:
            return None, []
        powers = np.where(weights > 0, (values.astype(np.float64) ** 2).mean(axis=1), 0.0)
        if not powers.any():
            return None, []
        levels = 10 * np.log10(np.maximum(powers, 1e-30) / powers.max())
        alive = np.flatnonzero(levels > _DEAD_DB)
        if len(alive) == 1:
            one = int(alive[0])
            return one, [f"Of its {count} channels only channel {one + 1} has sound; it was taken alone."]
        mixed = float(np.mean((weights @ values).astype(np.float64) ** 2))
        one = int(np.flatnonzero(levels > -1)[0])
        if "FC" in self._names and levels[self._names.index("FC")] > _CENTRE_DB:
            one = self._names.index("FC")
        if not self._can_mix:
            return one, [f"It is not known where its {count} channels belong; channel {one + 1} was taken alone."]
        if mixed < _CANCELLED * float(weights.astype(np.float64) ** 2 @ powers):
            return one, [f"Its {count} channels cancel each other when mixed; channel {one + 1} was taken alone."]
        return None, []

    def _gain(self) -> float:
        return 1.0 if self._peak <= _OUT_OF_RANGE else 2.0 ** -math.ceil(math.log2(self._peak))


def _names(layout: Any) -> list[str]:
    """Channel names: FL, FR, FC ...; for a file that states none, FFmpeg's default for that many channels, else ""."""
    count = layout.nb_channels
    try:
        named = av.AudioLayout(f"{count}c") if layout.name == f"{count} channels" else layout
    except ValueError:
        return [""] * count
    return [channel.name for channel in named.channels]


def _can_mix(frame: Any) -> bool:
    """Whether FFmpeg has a mix for this layout."""
    silence = np.zeros((frame.layout.nb_channels, 1), np.float32)
    try:
        made = _frame(silence, frame.layout.name, frame.sample_rate)
        av.audio.resampler.AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE_HZ).resample(made)
    except (av.error.FFmpegError, ValueError):
        return False
    return True
