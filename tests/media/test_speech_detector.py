"""The speech detector: Silero's own network to rounding, on words, on music, in pieces of any length."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.media import speech_detector
from bemerc.media.audio import read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.speech_detector import CHUNK, SpeechDetector, speech_probability
from tests.spoken import music, spoken

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
SOUNDS = {
    "words": lambda: spoken(5.0),
    "music": lambda: music(5.0),
    "words over music": lambda: spoken(5.0) + music(5.0) / 2,
    "noise": lambda: np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32),
    "less than a chunk": lambda: spoken(0.02),
}


def silero(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the package's own file says, chunk by chunk."""
    package, runtime = find_spec("silero_vad"), pytest.importorskip("onnxruntime")
    if package is None or package.origin is None:
        pytest.skip("silero-vad is not installed")
    session = runtime.InferenceSession(str(Path(package.origin).parent / "data" / "silero_vad.onnx"))
    padded = np.pad(sound, (64, -len(sound) % CHUNK))
    state, result = np.zeros((2, 1, 128), np.float32), []
    for start in range(0, len(padded) - 64, CHUNK):
        piece = {"input": padded[None, start : start + 64 + CHUNK], "state": state, "sr": np.array(16_000)}
        (probability,), state = session.run(None, piece)
        result.append(probability[0])
    return np.array(result, np.float32)


@pytest.mark.parametrize("kind", SOUNDS)
def test_it_is_sileros_network(kind: str) -> None:
    sound = SOUNDS[kind]()
    np.testing.assert_allclose(speech_probability(sound), silero(sound), atol=5e-5)


def test_the_shipped_weights_are_those_of_the_package() -> None:
    package = find_spec("silero_vad")
    if package is None or package.origin is None:
        pytest.skip("silero-vad is not installed")
    pytest.importorskip("onnx")
    from fits.speech_detector import read

    made = read(Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx")
    shipped = speech_detector.weights()
    assert set(made) == set(shipped)
    assert all(np.array_equal(made[name], shipped[name]) for name in made)


def test_words_are_speech_and_music_noise_and_hum_are_not() -> None:
    hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(40_000) / SAMPLE_RATE_HZ).astype(np.float32)
    assert (speech_probability(spoken(5.0))[4:] > 0.5).mean() > 0.9
    for sound in (music(5.0), SOUNDS["noise"](), hum, np.zeros(40_000, np.float32)):
        assert (speech_probability(sound) > 0.5).mean() < 0.02


@pytest.mark.parametrize("piece", [1, 97, CHUNK, 5000])
def test_pieces_of_any_length_give_what_the_whole_gives(piece: int) -> None:
    sound, detector = spoken(0.5 if piece == 1 else 5.0), SpeechDetector()
    pushed = np.concatenate([detector.push(sound[at : at + piece]) for at in range(0, len(sound), piece)])
    assert len(pushed) == len(sound) // CHUNK
    np.testing.assert_allclose(pushed, speech_probability(sound)[: len(pushed)], atol=1e-5)


def test_later_sound_changes_nothing_and_no_sound_is_nothing() -> None:
    sound = spoken(3.0)
    whole = speech_probability(sound)
    np.testing.assert_allclose(speech_probability(sound[: 40 * CHUNK]), whole[:40], atol=1e-5)
    assert speech_probability(np.empty(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_sample_that_is_no_number_is_forgotten(value: float) -> None:
    sound = spoken(4.0).copy()
    sound[5000] = value
    likely = speech_probability(sound)
    assert np.isfinite(likely).all()
    assert (likely[40:] > 0.5).mean() > 0.9


def test_long_sound_says_meanwhile_that_it_lives() -> None:
    beats: list[int] = []
    speech_probability(np.zeros(60 * SAMPLE_RATE_HZ, np.float32), lambda: beats.append(1))
    assert len(beats) == 4


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize(
    ("clip", "least", "most"),
    [("talk/cv_001.avi", 0.9, 1.0), ("talk/iia_video.mp4", 0.9, 1.0), ("face_noface.mov", 0.0, 0.02)],
)
def test_real_clips(clip: str, least: float, most: float) -> None:
    share = (speech_probability(read_sound(CLIPS / clip).waveform) > 0.5).mean()
    assert least <= share <= most
