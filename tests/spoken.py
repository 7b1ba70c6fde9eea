"""Words spoken by espeak-ng, and music, for tests of what tells them apart."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ

WORDS = "Where were you all morning? I was really worried about you, and nobody told me where you were."


@functools.cache
def spoken(seconds: float, emotion: str = "neutral") -> NDArray[np.float32]:
    """(N,) mono at 16 kHz: WORDS, again and again, from the first sample to the last."""
    pytest.importorskip("espeakng_loader")
    from bemerc.sample import speech

    line = speech.Line(WORDS, speech.voices(1, 0)[0], emotion, 1.0, 5 * speech.RATE_HZ, 0)
    (sound,) = speech.speak([line])
    loud = np.flatnonzero(np.abs(sound.astype(float)) > 1000)
    words = sound[loud[0] : loud[-1]] / 32768
    times_s = np.arange(round(len(words) / speech.RATE_HZ * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    once = np.interp(times_s, np.arange(len(words)) / speech.RATE_HZ, words)
    return np.resize(once, round(seconds * SAMPLE_RATE_HZ)).astype(np.float32)


def music(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """(N,) mono at 16 kHz: two chords a second, each of four plucked notes with seven overtones."""
    rng, length = np.random.default_rng(seed), round(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(SAMPLE_RATE_HZ // 2) / SAMPLE_RATE_HZ
    chords = []
    for _ in range(-(-length // len(time_s))):
        root = 110 * 2 ** (rng.integers(0, 12) / 12)
        notes = [root * ratio * k for ratio in (1, 1.26, 1.5, 2) for k in range(1, 8)]
        weights = [1 / k for _ in range(4) for k in range(1, 8)]
        waves = sum(w * np.sin(2 * np.pi * hz * time_s) for w, hz in zip(weights, notes, strict=True))
        chords.append(0.05 * waves * np.exp(-3 * time_s))
    return np.concatenate(chords)[:length].astype(np.float32)
