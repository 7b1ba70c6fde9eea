"""Where somebody begins and ceases to speak, from the past alone."""

from __future__ import annotations

import numpy as np
import pytest

from bemerc.live.voice_activity import LONGEST_S, MARGIN_S, SILENCE_S, Span, VoiceActivity
from bemerc.media.pitch import SAMPLE_RATE_HZ
from tests.live.talk import SPOKEN_S, voice
from tests.spoken import music


def heard(sound: np.ndarray, piece: int = 320) -> list[Span]:
    activity = VoiceActivity()
    return [span for at in range(0, len(sound), piece) for span in activity.hear(sound[at : at + piece])]


@pytest.mark.parametrize("piece", [97, 512, 1 << 20])
def test_utterances_lie_around_what_was_said_however_the_sound_comes(piece: int) -> None:
    spans = heard(voice(), piece)
    assert [span.end_s is None for span in spans] == [True, False] * 2
    for (start, end), began, span in zip(SPOKEN_S, spans[::2], spans[1::2], strict=True):
        assert began.start_s == span.start_s == pytest.approx(start - MARGIN_S, abs=0.03)
        assert span.end_s == pytest.approx(end + MARGIN_S, abs=0.06)


def test_what_comes_later_changes_nothing() -> None:
    sound = voice()
    until = round((SPOKEN_S[0][1] + SILENCE_S + 0.1) * SAMPLE_RATE_HZ)
    loud_later = np.concatenate([sound[:until], 20 * sound[until:]])
    assert heard(sound[:until]) == heard(loud_later)[:2]


def test_a_click_and_a_hum_of_the_room_are_no_utterances() -> None:
    room = np.random.default_rng(1).normal(0, 3e-3, 6 * SAMPLE_RATE_HZ).astype(np.float32)
    room[3 * SAMPLE_RATE_HZ : 3 * SAMPLE_RATE_HZ + 400] += 0.5
    assert heard(room) == []
    assert heard(np.zeros(SAMPLE_RATE_HZ, np.float32)) == []


def test_music_is_no_utterance_and_hides_none() -> None:
    assert heard(music(8.0)) == []
    tune = music(len(voice()) / SAMPLE_RATE_HZ) / 10
    (start, end), *_ = SPOKEN_S
    first = heard(voice() + tune)[:2]
    assert first[0].start_s == pytest.approx(start - MARGIN_S, abs=0.25)
    assert first[1].end_s == pytest.approx(end + MARGIN_S, abs=0.25)


def test_a_room_that_is_not_quiet_hides_no_speech() -> None:
    noisy = voice() + np.random.default_rng(2).normal(0, 4e-3, len(voice())).astype(np.float32)
    assert len(heard(noisy)) == 4


def test_a_cue_ends_what_goes_on_and_nothing_else() -> None:
    activity = VoiceActivity()
    assert activity.end() is None
    activity.hear(voice()[:SAMPLE_RATE_HZ])
    span = activity.end()
    assert span is not None
    assert span.end_s == 1.0
    assert activity.end() is None


def test_who_never_ceases_is_cut() -> None:
    spans = heard(voice(LONGEST_S + 3, ((0.0, LONGEST_S + 3),)))
    assert spans[1].end_s == pytest.approx(LONGEST_S, abs=0.1)
    assert spans[2].start_s >= (spans[1].end_s or 0)
