"""Synthetic speech with its phonemes' times, a mouth that follows them, and how long people speak in MELD."""

from __future__ import annotations

import csv
import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ

Floats = NDArray[np.float64]
RATE_HZ, FPS = 22050, 25
Phoneme = tuple[float, str]  # when it begins, in seconds, and espeak's name for it
# How long people speak: the 2, 5, 10, 20, ... 90, 95 and 98 % quantiles of EndTime - StartTime over the 13,708
# utterances of MELD's three tables (github.com/declare-lab/MELD, data/MELD).
MELD_S = (
    (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
    (0.36, 0.67, 1.0, 1.38, 1.71, 2.08, 2.46, 2.92, 3.54, 4.46, 6.3, 7.88, 10.05),
)
WOMEN = ("f1", "f2", "f3", "f4", "steph", "aunty", "linda", "Alicia")
BOTH = (*WOMEN, "m5", "m6", "m7", "max", "Reed", "paul")
SENTENCES = (
    "I told him that the train would be late again this morning.",
    "Maybe we could move the table over to the other window.",
    "Nobody knows where she has put the keys of the old house.",
    "What a beautiful evening, and what a pity that we must go.",
    "You always say that, and you never do anything about it.",
    "Please bring me the big blue book about the American army.",
    "My brother bought five apples, a melon and some brown bread.",
    "We have been waiting here for more than an hour by now.",
    "They promised to call before Monday, but they probably forgot.",
    "It was a long way up, and the view from above was amazing.",
)
# How far a mouth opens for the phonemes that begin so (espeak's names); everything else a quarter.
OPEN = {"a": 1.0, "A": 1.0, "0": 0.9, "V": 0.7, "E": 0.7, "e": 0.6, "3": 0.5, "@": 0.5, "O": 0.7, "o": 0.55,
        "I": 0.4, "i": 0.35, "U": 0.3, "u": 0.25, "w": 0.15, "m": 0.0, "b": 0.0, "p": 0.0, "f": 0.08, "v": 0.08,
        "_": 0.0, ":": 0.25}  # fmt: skip
# How far it is spread, rounded where negative; everything else not at all. Only photographs are drawn so.
SPREAD = {"i": 0.8, "I": 0.6, "e": 0.5, "E": 0.3, "a": 0.1, "s": 0.3, "j": 0.5, "u": -0.9, "U": -0.7, "w": -1.0, "o": -0.7,
          "O": -0.6, "S": -0.5, "r": -0.4, "m": -0.1, "b": -0.1, "p": -0.1}  # fmt: skip


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class Speech:
    """sound (N,) int16 at RATE_HZ; lips (T,) how far the mouth is open per frame, 0 to 1; spread (T,) -1 to 1."""

    sound: NDArray[np.int16]
    lips: Floats
    spread: Floats


class Talker:
    """espeak-ng with its phoneme events."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        assert self._library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 1) == RATE_HZ
        self._pieces: list[NDArray[np.int16]] = []
        self._phonemes: list[Phoneme] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def talk(self, seconds: float, voices: Sequence[str], rng: np.random.Generator) -> Speech:
        """Sentences one after the other until the time is full, begun in the middle of one."""
        voice = rng.choice(list(voices))
        rate, pitch, spread = (int(rng.integers(*edges)) for edges in ((150, 230), (35, 65), (30, 70)))
        sound, phonemes = self.say(
            f"en-us+{voice}", rate, pitch, spread, " ".join(rng.permutation(SENTENCES)[:5].tolist())
        )
        start_s = float(rng.uniform(0.1, 1.5))
        first, count = round(start_s * RATE_HZ), round(seconds * RATE_HZ)
        lips = _lips(phonemes, len(sound) / RATE_HZ, rng)
        times = start_s + np.arange(round(seconds * FPS)) / FPS + rng.uniform(0.04, 0.08)
        at, wide = (np.interp(times, np.arange(len(lips)) / 100, one) for one in (lips, _spread(phonemes, len(lips))))
        return Speech(sound[first : first + count], at, wide)

    def say(self, voice: str, rate: int, pitch: int, spread: int, text: str) -> tuple[NDArray[np.int16], list[Phoneme]]:
        """The sound (N,) at RATE_HZ and the phonemes' starts. rate in words a minute, pitch and its range 0 to 100."""
        self._pieces.clear()
        self._phonemes.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        for name, value in ((1, rate), (3, pitch), (4, spread)):
            self._library.espeak_SetParameter(name, value, 0)
        written = text.encode()
        self._library.espeak_Synth(written, len(written) + 1, 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._pieces), list(self._phonemes)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events and events[at].type:
            if events[at].type == 7:
                self._phonemes.append((events[at].audio_ms / 1000, events[at].name.decode(errors="replace")))
            at += 1
        return 0


def _lips(phonemes: Sequence[tuple[float, str]], length_s: float, rng: np.random.Generator) -> Floats:
    """Phonemes -> how open the mouth is, 100 times a second, with the inertia of a jaw."""
    steps = np.zeros(int(length_s * 100) + 1)
    for (start_s, name), (end_s, _) in zip(phonemes, [*phonemes[1:], (length_s, "_")], strict=True):
        size = OPEN.get(name.lstrip("',")[:1], 0.25) * rng.uniform(0.6, 1.2)
        steps[int(start_s * 100) : int(end_s * 100)] = size
    bell = np.exp(-((np.arange(-12, 13) / 4.0) ** 2) / 2)
    opened = np.convolve(steps, bell / bell.sum(), mode="same")
    return np.asarray(np.clip(opened / np.percentile(opened, 95), 0, 1))


def _spread(phonemes: Sequence[Phoneme], count: int) -> Floats:
    """How spread or round the mouth is, 100 times a second, slower than it opens."""
    steps = np.zeros(count)
    for start_s, name in phonemes:
        steps[int(start_s * 100) :] = SPREAD.get(name.lstrip("',")[:1], 0.0)
    bell = np.exp(-((np.arange(-18, 19) / 6.0) ** 2) / 2)
    return np.convolve(steps, bell / bell.sum(), mode="same")


def lengths(quantiles: tuple[Sequence[float], Sequence[float]], count: int) -> Floats:
    """Lengths in seconds, evenly over a distribution given by shares and their quantiles."""
    return np.interp((np.arange(count) + 0.5) / count, *quantiles)


def meld_lengths(folder: Path) -> Floats:
    """Of every utterance of MELD's tables in ``folder``."""
    result = []
    for path in sorted(folder.glob("*_sent_emo.csv")):
        with path.open(encoding="utf-8", newline="") as table:
            result += [_seconds(row["EndTime"]) - _seconds(row["StartTime"]) for row in csv.DictReader(table)]
    if not result:
        raise SystemExit(f"{folder}: no *_sent_emo.csv; give the folder that holds MELD's three tables.")
    return np.array(result)


def _seconds(written: str) -> float:
    hours, minutes, seconds = written.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def resampled(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """(N,) int16 at RATE_HZ -> (M,) at 16 kHz, -1 to 1."""
    wave = sound.astype(np.float64) / 32768
    at = np.arange(round(len(wave) / RATE_HZ * SAMPLE_RATE_HZ)) * RATE_HZ / SAMPLE_RATE_HZ
    return np.interp(at, np.arange(len(wave)), wave).astype(np.float32)
