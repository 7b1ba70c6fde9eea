"""A clip's voice in five numbers, where a detector says what is speech."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest

from bemerc.behavior.signals import voice
from bemerc.behavior.tokens.pooling import plan, pool
from bemerc.extraction.audio import prosody
from bemerc.media.pitch import SAMPLE_RATE_HZ
from tests.spoken import music, spoken


def sound(samples: np.ndarray) -> voice.Sound:
    frames = prosody.open_extractor(prosody.Params()).clip(samples.astype(np.float32))
    pitch, energy, speech = (frames.column(name).astype(float) for name in ("pitch_hz", "energy_db", "speech"))
    return voice.Sound(pitch, energy, 0.01, speech)


def test_music_alone_has_no_voice() -> None:
    tune = sound(music(4.0))
    assert voice.measure(tune) == voice.NOT_MEASURED
    assert voice.speech(tune) == []
    assert not voice.speaking(tune).any()
    assert voice.speaking(replace(tune, speech_probability=None)).all()


def test_a_voice_after_louder_music_is_measured_as_if_alone() -> None:
    words = spoken(3.0)
    alone = voice.measure(sound(words))
    both = sound(np.concatenate([4 * music(4.0), np.zeros(SAMPLE_RATE_HZ // 2), words]))
    assert astuple(voice.measure(both)) == pytest.approx(astuple(alone), abs=1.0)
    (stretch,) = voice.speech(both)
    assert stretch.first == pytest.approx(450, abs=12)
    # Without a detector the music sets what is loud, and its notes are the pitch.
    without = voice.measure(replace(both, speech_probability=None))
    assert abs(without.pitch_st - alone.pitch_st) > 3


@pytest.mark.parametrize("frames", range(9, 14))
def test_a_sound_as_short_as_what_is_smoothed(frames: int) -> None:
    measured = voice.measure(voice.Sound(np.full(frames, 200.0), np.zeros(frames), 0.01))
    assert np.isnan(measured.pitch_st) if frames < 10 else measured.pitch_st == pytest.approx(12)


def test_tokens_have_no_pitch_of_music() -> None:
    columns = ("pitch_hz", "voicing", "energy_db", "speech")
    frames = np.tile(np.float32([200.0, 0.9, -20.0, 0.9]), (400, 1))
    frames[:200] = 80.0, 0.9, -10.0, 0.05
    names = [item.name for item in plan(columns)]
    assert not any("speech" in name for name in names)
    tokens = pool(frames, np.arange(400) / 100, columns, 4.0, 4)
    pitch = tokens[:, names.index("pitch_st.level")]
    assert np.isnan(pitch[:2]).all()
    assert pitch[2:] == pytest.approx(12.0)  # an octave over 100 Hz
    assert tokens[0, names.index("voice_volume_db.clip")] == pytest.approx(-20.0)


def test_a_stretch_of_speech_begins_surely_and_goes_on_with_less() -> None:
    likely = np.array([0.4, 0.4, 0.6, 0.4, 0.3, 0.4, 0.4, np.nan])
    frames = voice.Sound(np.full(8, 100.0), np.zeros(8), 0.01, likely)
    assert frames.is_speech.tolist() == [True] * 4 + [False] * 4
