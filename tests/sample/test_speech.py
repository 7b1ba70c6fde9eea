"""The sample's sound: exact lengths, and a manner of speaking that can be measured."""

import numpy as np
import pytest

from bemerc.sample.cases import LABELS
from bemerc.sample.speech import RATE_HZ, Line, envelope, speak, voices

pytest.importorskip("espeakng_loader")

TEXT = "Well, I think the letter is finished this morning."
SAMPLES = 3 * RATE_HZ


@pytest.fixture(scope="module")
def spoken() -> dict[tuple[int, str], np.ndarray]:
    """The same words from two speakers in seven manners."""
    cast = voices(12, seed=1)
    lines = [Line(TEXT, cast[k], emotion, 1.0, SAMPLES, k) for k in (0, 1) for emotion in LABELS]
    return {(k, e): s for (k, e), s in zip([(k, e) for k in (0, 1) for e in LABELS], speak(lines), strict=True)}


def pitch_hz(sound: np.ndarray) -> float:
    """Median over loud frames of the autocorrelation's peak between 80 and 450 Hz."""
    x = sound.astype(float)
    pitches = []
    for start in range(0, len(x) - 1024, 512):
        frame = x[start : start + 1024] - x[start : start + 1024].mean()
        if frame.std() < 0.3 * x.std():
            continue
        ring = np.fft.irfft(np.abs(np.fft.rfft(frame, 4096)) ** 2)[:1024] / (1024 - np.arange(1024)).clip(1)
        low, high = RATE_HZ // 450, RATE_HZ // 80
        lag = low + int(np.argmax(ring[low:high]))
        if ring[lag] > 0.5 * ring[0]:
            pitches.append(RATE_HZ / lag)
    return float(np.median(pitches))


def loudness_db(sound: np.ndarray) -> float:
    loud = np.abs(sound) > 0.05 * np.abs(sound).max()
    return float(20 * np.log10(np.sqrt(np.mean(sound[loud].astype(float) ** 2)) / 32768))


def speech_s(sound: np.ndarray) -> float:
    loud = np.flatnonzero(np.abs(sound) > 0.05 * np.abs(sound).max())
    return float((loud[-1] - loud[0]) / RATE_HZ)


@pytest.mark.parametrize("speaker", [0, 1])
def test_manners_differ_in_pitch_volume_and_rate(spoken: dict[tuple[int, str], np.ndarray], speaker: int) -> None:
    pitch = {e: pitch_hz(spoken[speaker, e]) for e in LABELS}
    volume = {e: loudness_db(spoken[speaker, e]) for e in LABELS}
    length = {e: speech_s(spoken[speaker, e]) for e in LABELS}
    assert pitch["surprise"] > 1.1 * pitch["joy"] > 1.2 * pitch["neutral"]
    assert pitch["sadness"] < 0.92 * pitch["neutral"]
    assert volume["anger"] > volume["joy"] + 3 > volume["neutral"] + 5 > volume["sadness"] + 10
    assert length["fear"] < 0.85 * length["neutral"] < 0.8 * length["sadness"]


def test_every_clip_has_the_length_that_was_drawn_before(spoken: dict[tuple[int, str], np.ndarray]) -> None:
    assert {(s.shape, s.dtype.name) for s in spoken.values()} == {((SAMPLES,), "int16")}
    short = [Line(TEXT, voices(12, seed=1)[0], e, 1.0, RATE_HZ // 2, 3) for e in LABELS]
    for sound in speak(short):
        assert sound.shape == (RATE_HZ // 2,)
        assert np.abs(sound[-200:]).max() < 200, "a sentence that does not fit is faded out"
        assert np.abs(sound).max() < 32000, "no clipping"


def test_the_envelope_follows_the_sound() -> None:
    t = np.arange(RATE_HZ) / RATE_HZ
    sound = (8000 * np.sin(2 * np.pi * 220 * t) * (t > 0.5)).astype(np.int16)
    mouth = envelope(sound, 25.0, 25)
    assert mouth.shape == (25,)
    assert mouth[:11].max() < 0.01
    assert mouth[14:].min() > 0.95
    assert np.all(envelope(np.zeros(RATE_HZ, np.int16), 25.0, 25) == 0)


def test_speakers_differ_in_voice_and_base_pitch() -> None:
    cast = voices(12, seed=1)
    assert len({v.variant.name for v in cast}) == len({v.base_hz for v in cast}) == 12
    assert voices(12, seed=1) == cast != voices(12, seed=2)
