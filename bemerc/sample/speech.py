"""Synthesise the sample's speech with espeak-ng, with rate, pitch, range and loudness by emotion.

espeak-ng is a global of its process, and its output depends a little on what it synthesised before. So one process
synthesises all sentences of a corpus in order, and the result does not depend on the number of workers.

The library comes in the wheel of espeakng-loader (GPL-3, an extra); it is called through ctypes and gets only text.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.sample.cases import LABELS

RATE_HZ = 22050  # espeak-ng's sample rate
WORDS_PER_MINUTE = 260.0  # of a neutral voice; clips are short
LOUDNESS = 0.055  # RMS of a neutral voice where it speaks, full scale 1
LEAD_S, TAIL_S = (0.04, 0.12), 0.04  # silence before the first word, and the least after the last


@dataclass(frozen=True)
class Manner:
    """An emotion's voice relative to the same speaker's neutral voice: ratios of pitch, range and rate, gain in dB,
    and by how many dB high frequencies rise over low ones (a tense voice is bright, a tired one dull)."""

    pitch: float
    range: float
    rate: float
    gain_db: float
    bright_db: float


MANNERS: dict[str, Manner] = {
    "neutral": Manner(1.00, 1.00, 1.00, 0.0, 0.0),
    "joy": Manner(1.30, 1.60, 1.12, 4.0, 3.0),
    "sadness": Manner(0.82, 0.40, 0.68, -8.0, -7.0),
    "anger": Manner(0.97, 0.80, 1.25, 10.0, 8.0),
    "surprise": Manner(1.68, 1.80, 0.90, 0.5, -2.0),
    "fear": Manner(1.45, 0.35, 1.42, -6.0, 2.0),
    "disgust": Manner(0.78, 1.50, 0.74, 4.5, -5.0),
}
assert tuple(MANNERS) == LABELS, "one entry per label, in the label set's order"


@dataclass(frozen=True)
class Variant:
    """One of espeak-ng's voices, with its pitch in neutral sentences: median Hz, spread in octaves."""

    name: str
    hz: float
    octaves: float


# Measured once over neutral sentences; voices whose pitch is hard to track were left out.
VARIANTS = (
    Variant("f1", 174, 0.143), Variant("f2", 189, 0.170), Variant("f3", 203, 0.202), Variant("f4", 175, 0.132),
    Variant("f5", 199, 0.138), Variant("steph", 182, 0.076), Variant("aunty", 174, 0.069), Variant("shelby", 170, 0.270),
    Variant("linda", 225, 0.083), Variant("belinda", 224, 0.084), Variant("Alicia", 241, 0.146), Variant("Annie", 230, 0.300),
)  # fmt: skip
SPREAD = 0.14  # octaves; every voice's range is set so that its neutral speech has about this
# espeak's pitch setting against the ratio of the pitch that comes out (measured).
PITCH_RATIOS, PITCH_SETTINGS = (0.74, 0.79, 0.886, 1.0, 1.18, 1.366, 1.705), (0, 20, 35, 50, 65, 80, 99)


@dataclass(frozen=True)
class Voice:
    """One speaker: a variant, retuned to a base pitch (the whole sound is resampled, so the vocal tract changes
    too)."""

    variant: Variant
    base_hz: float
    gain_db: float


@dataclass(frozen=True)
class Line:
    """One utterance to synthesise; ``samples``: the clip's length."""

    text: str
    voice: Voice
    emotion: str
    strength: float
    samples: int
    seed: int


def voices(count: int, seed: int) -> tuple[Voice, ...]:
    """``count`` speakers with different variants (repeating after twelve) and base pitches from 168 to 192 Hz."""
    rng = np.random.default_rng([seed, 12])
    order = rng.permutation(len(VARIANTS))
    pitches = rng.permutation(np.linspace(168, 192, count))
    gains = rng.permutation(np.linspace(-1, 1, count))
    return tuple(Voice(VARIANTS[order[i % len(VARIANTS)]], float(pitches[i]), float(gains[i])) for i in range(count))


def speak(lines: Sequence[Line]) -> list[NDArray[np.int16]]:
    """The sound of every line, (samples,) int16 at RATE_HZ; run it in a process of its own, all lines in order."""
    machine = _Espeak()
    return [_clip(line, machine) for line in lines]


def envelope(sound: NDArray[np.int16], fps: float, frames: int) -> NDArray[np.float32]:
    """Loudness per video frame, relative to the clip's loud parts: (frames,) float32 in [0, 1]. The mouth follows
    it."""
    edges = np.round(np.arange(frames + 1) * RATE_HZ / fps).astype(int)
    power = np.concatenate([[0.0], np.cumsum(np.square(sound.astype(np.float64)))])
    rms = np.sqrt(np.diff(power[np.minimum(edges, len(sound))]) / np.maximum(1, np.diff(edges)))
    top = np.percentile(rms, 90)
    scaled = np.clip(rms / max(top, 1e-9), 0, 1) if top > 0 else rms
    return np.convolve(np.pad(scaled, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid").astype(np.float32)


def _clip(line: Line, machine: _Espeak) -> NDArray[np.int16]:
    rng = np.random.default_rng([line.seed, 13])
    spoken = _loud(_say(line, machine, rng), line, rng)
    sound = rng.normal(0, 3e-4, line.samples)
    lead = int(rng.uniform(*LEAD_S) * RATE_HZ)
    room = line.samples - lead - int(TAIL_S * RATE_HZ)
    spoken = _cut(spoken, room)
    sound[lead : lead + len(spoken)] += spoken
    clip: NDArray[np.int16] = np.round(np.tanh(sound) * 32767).astype(np.int16)
    return clip


def _say(line: Line, machine: _Espeak, rng: np.random.Generator) -> NDArray[np.float64]:
    manner, voice = MANNERS[line.emotion], line.voice
    wobble = rng.uniform(0.97, 1.03, 3)
    pitch, spread, rate = (
        ratio**line.strength * w for ratio, w in zip((manner.pitch, manner.range, manner.rate), wobble, strict=True)
    )
    tune = voice.base_hz / voice.variant.hz
    return _retuned(
        machine.say(
            line.text,
            voice.variant.name,
            rate=round(WORDS_PER_MINUTE * rate / tune),
            pitch=round(float(np.interp(pitch, PITCH_RATIOS, PITCH_SETTINGS))),
            spread=round(float(np.clip(50 * spread * pitch * SPREAD / voice.variant.octaves, 0, 100))),
            seed=line.seed,
        ),
        tune,
    )


def _retuned(sound: NDArray[np.int16], tune: float) -> NDArray[np.float64]:
    """The sound played ``tune`` times as fast: higher and shorter."""
    at = np.arange(0, len(sound) - 1, tune)
    retuned: NDArray[np.float64] = np.interp(at, np.arange(len(sound)), sound.astype(np.float64)) / 32768
    return retuned


def _loud(sound: NDArray[np.float64], line: Line, rng: np.random.Generator) -> NDArray[np.float64]:
    """The sound with the line's brightness and loudness, the latter measured where the voice is active."""
    manner = MANNERS[line.emotion]
    sound = _brightened(sound, manner.bright_db * line.strength)
    voiced = sound[np.abs(sound) > 0.02 * np.abs(sound).max()]
    rms = float(np.sqrt(np.mean(np.square(voiced)))) if len(voiced) else 1.0
    decibels = line.voice.gain_db + manner.gain_db * line.strength + rng.uniform(-0.7, 0.7)
    return sound * (LOUDNESS / rms * 10 ** (decibels / 20))


def _brightened(sound: NDArray[np.float64], decibels: float) -> NDArray[np.float64]:
    """A gentle shelf filter: 0 dB at 0 Hz, half of ``decibels`` at 1.5 kHz, nearly all of it at the top."""
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    return np.fft.irfft(np.fft.rfft(sound) * 10 ** (decibels / 20 * hz / (hz + 1500)), len(sound))


def _cut(sound: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """The first ``samples``, faded out over 20 ms where the sentence is longer."""
    if len(sound) <= samples:
        return sound
    fade = np.ones(samples)
    fade[-441:] = np.linspace(1, 0, 441)
    return sound[:samples] * fade


# ---- espeak-ng through ctypes (speak_lib.h) --------------------------------------------------------------------------

SYNCHRONOUS, CHARS_UTF8, CHARACTER = 2, 1, 1
RATE, PITCH, RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Espeak:
    """espeak-ng's library; ``say`` collects the samples from its callback."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise BemercError('The sample speaks through espeak-ng: pip install "bemerc[sample]".') from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        assert rate == RATE_HZ, rate
        self._pieces: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._collect)  # referenced here: the library holds only a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, variant: str, *, rate: int, pitch: int, spread: int, seed: int) -> NDArray[np.int16]:
        """(N,) int16 at RATE_HZ. rate in words per minute; pitch and spread 0 to 100, 50 is the voice's own."""
        self._pieces.clear()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))  # for the breath; by default the clock is the seed
        self._must(self._library.espeak_SetVoiceByName(f"en-us+{variant}".encode()), variant)
        for name, value in ((RATE, rate), (PITCH, pitch), (RANGE, spread)):
            self._must(self._library.espeak_SetParameter(name, value, 0), f"parameter {name} = {value}")
        data = text.encode()
        self._must(self._library.espeak_Synth(data, len(data) + 1, 0, CHARACTER, 0, CHARS_UTF8, None, None), text)
        self._must(self._library.espeak_Synchronize(), text)
        assert self._pieces, text
        return np.concatenate(self._pieces)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    @staticmethod
    def _must(code: int, what: str) -> None:
        if code != 0:
            raise BemercError(
                f"espeak-ng refused '{what}' (code {code}). Reinstall it: pip install \"bemerc[sample]\"."
            )
