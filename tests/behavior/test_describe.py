"""Descriptions: acts have a strength and a time, absence has its sentences, no emotion is named, statements read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bemerc.behavior.describe import acts, eyes, phrases, references, rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.description import Description, read_descriptions
from bemerc.behavior.signals import events, voice
from bemerc.cache import Features, Head, Rows, write_cache
from bemerc.core.errors import CacheError, CorpusError
from bemerc.corpus.manifest import Manifest, Modality, Utterance
from bemerc.language.teacher.emotion_words import EMOTIONAL, words
from tests.errors import raises

UNITS = tuple(item.column for item in phrases.UNITS)
FACE = (*UNITS, "AU45_r", "pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg", "gaze_x_deg", "gaze_y_deg", "quality")
POSE = ("lean_deg", "sway_deg", "shoulder_tilt_deg", "slump", "left_hand_height", "right_hand_height", "movement")
AUDIO = ("pitch_hz", "voicing", "energy_db")
RATE_HZ: dict[str, float] = {"face": 25.0, "pose": 8.0, "audio": 100.0}


def features(
    modality: str, columns: tuple[str, ...], seconds: float, **series: NDArray[np.float64] | float
) -> Features:
    """Frames whose columns rest at 0, but for the series given by name."""
    count = round(seconds * RATE_HZ[modality])
    values = np.zeros((count, len(columns)), np.float32)
    for name, value in series.items():
        values[:, columns.index(name)] = value
    return Features(values, np.arange(count) / RATE_HZ[modality], columns)


def face(seconds: float = 2.0, **series: NDArray[np.float64] | float) -> Features:
    return features("face", FACE, seconds, **{"quality": 1.0, **series})


def pose(seconds: float = 2.0, **series: NDArray[np.float64] | float) -> Features:
    return features("pose", POSE, seconds, **series)


def audio(seconds: float = 2.0, pitch_hz: float = 160.0, level_db: float = -20.0, rate_hz: float = 4.0) -> Features:
    stamps = np.arange(round(seconds * RATE_HZ["audio"])) / RATE_HZ["audio"]
    energy = level_db + 6 * np.sin(2 * np.pi * rate_hz * stamps)
    pitch = pitch_hz * 2 ** (np.sin(7 * stamps) * 2 / 12)
    return features("audio", AUDIO, seconds, pitch_hz=pitch, voicing=1.0, energy_db=energy)


def bump(seconds: float, start: float, end: float, height: float, rate_hz: float = 25.0) -> NDArray[np.float64]:
    stamps = np.arange(round(seconds * rate_hz)) / rate_hz
    inside = (stamps >= start) & (stamps < end)
    return np.where(inside, height * np.sqrt(np.abs(np.sin(np.pi * (stamps - start) / (end - start)))), 0.0)


# ------------------------------------------------------------------------------------------------------------ sentences


def test_units_are_named_strongest_first_with_strength_and_time() -> None:
    clip = face(AU12_r=bump(2, 0.7, 1.4, 3.5), AU04_r=bump(2, 0.0, 0.7, 1.2), AU06_r=bump(2, 0.2, 1.99, 2.0))
    sentence = rules.describe({"face": clip}).facial_expression
    assert sentence == ("Smiling strongly in the middle, brows lowered slightly early; no blinks.")


def test_a_smile_needs_cheeks_and_lip_corners_at_one_time() -> None:
    apart = face(AU12_r=bump(2, 0.0, 0.7, 3.5), AU06_r=bump(2, 1.2, 1.9, 3.0))
    sentence = rules.describe({"face": apart}).facial_expression
    assert sentence.startswith("Lip corners pulled up strongly early, cheeks raised strongly late")
    brows = face(AU01_r=bump(2, 0.7, 1.4, 2.0), AU02_r=bump(2, 0.7, 1.4, 2.5))
    assert rules.describe({"face": brows}).facial_expression.startswith("Brows raised clearly in the middle;")


def test_the_folds_of_a_smile_are_no_dimples() -> None:
    dimpled = bump(2, 0.7, 1.4, 3.0)
    flash = bump(2, 1.0, 1.2, 3.0)
    for smile, named in (
        (bump(2, 0.7, 1.4, 3.0), False),
        (bump(2, 1.6, 2.0, 3.0), True),
        (flash, True),
        (np.zeros(50), True),
    ):
        sentence = rules.describe({"face": face(AU12_r=smile, AU14_r=dimpled)}).facial_expression
        assert ("cheeks dimpled" in sentence.lower()) is named


def test_what_is_certain_comes_before_what_is_large() -> None:
    clip = face(AU12_r=bump(2, 0.7, 1.4, 2.0), AU20_r=bump(2, 0.7, 1.4, 4.0))
    sentence = rules.describe({"face": clip}).facial_expression
    assert sentence.startswith("Lip corners pulled up clearly in the middle, lips stretched strongly in the middle")


def test_syllables_are_no_expression_and_a_lasting_smile_is_one() -> None:
    clip = face(4.0, AU26_r=bump(4, 0.5, 3.5, 3.0), AU20_r=bump(4, 1.0, 1.3, 4.0), AU12_r=bump(4, 1.0, 3.8, 3.5))
    talking = {"face": clip, "audio": audio(4.0)}
    sentence = rules.describe(talking).facial_expression  # type: ignore[arg-type]
    assert sentence.startswith("Lip corners pulled up")
    assert "jaw" not in sentence
    assert "stretched" not in sentence
    assert "jaw dropped" in rules.describe({"face": clip}).facial_expression


def test_a_short_act_is_called_brief_and_long_lists_are_cut() -> None:
    heights = {name: (2.0 + 0.1 * i) * (np.arange(50) > 42) for i, name in enumerate(UNITS[:7])}
    sentence = rules.describe({"face": face(**heights)}, params=rules.Params(items=3)).facial_expression
    assert sentence.startswith("Cheeks raised clearly and briefly late, brows lowered")
    assert sentence.count("clearly") == 3


def test_a_micro_expression_is_named_and_a_blink_is_none() -> None:
    brief = bump(2, 0.4, 0.56, 2.0)
    sentence = rules.describe({"face": face(AU04_r=brief, AU45_r=bump(2, 1.2, 1.4, 3.0))}).facial_expression
    assert sentence.startswith("A flash of brows lowered early; ")
    assert sentence.endswith("; one blink.")
    with_lids = rules.describe({"face": face(AU04_r=brief, AU45_r=brief * 2)}).facial_expression
    assert "flash" not in with_lids


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (slice(20, 30), "; one blink."),
        (slice(20, 32), "; one blink."),
        (slice(20, 33), "; eyes shut or lowered for a part."),
        (slice(2, 48), "; eyes shut or lowered throughout."),
    ],
)
def test_eyes_that_are_shut_for_longer_than_a_blink_hide_the_gaze(frames: slice, said: str) -> None:
    down, under = np.zeros(50), np.zeros(50)
    down[frames], under[frames] = 2.5, 40.0
    sentences = rules.describe({"face": face(AU45_r=down, gaze_y_deg=under)})
    assert sentences.facial_expression.endswith(said)
    assert sentences.body_language == "No gesture stands out."


def test_a_gaze_beside_open_eyes_is_told() -> None:
    sentence = rules.describe({"face": face(AU45_r=1.0, gaze_y_deg=bump(2, 0.8, 1.6, 40.0))}).body_language
    assert sentence == "Gaze lowered strongly in the middle."


def test_lids_that_come_down_slowly_are_shut_with_all_their_frames() -> None:
    """.44 s at the bottom are no blink, since the lids are down for .6 s."""
    down = np.zeros(50)
    down[20:35], down[22:33] = 1.0, 2.5
    sentence = rules.describe({"face": face(AU45_r=down)}).facial_expression
    assert sentence.endswith("; eyes shut or lowered for a part.")


def test_a_blink_of_lowered_eyes_shuts_them_no_longer_than_a_blink() -> None:
    lowered = 0.9 * ((np.arange(250) >= 100) & (np.arange(250) < 200))
    lowered[140:145] = 2.0
    clip = face(seconds=10.0, AU45_r=lowered, gaze_y_deg=40.0 * (lowered > 0))
    assert eyes.shut(clip) == []
    assert rules.describe({"face": clip}).body_language == "Gaze lowered strongly in the middle."


def test_a_share_of_shut_eyes_is_one_of_what_was_measured() -> None:
    clip = face(AU45_r=2.5 * (np.arange(50) >= 10))
    clip.values[12::3] = np.nan
    assert 0 < eyes.shut_share(clip) <= 1
    slow = Features(np.full((6, len(FACE)), 2.0, np.float32), np.arange(6.0), FACE)
    assert eyes.shut_share(slow) == 1
    assert eyes.shut_share(features("audio", AUDIO, 1.0)) == 0


def test_who_rests_with_shut_eyes_has_them_shut_and_none_that_blink() -> None:
    """Above the person's own rest nothing is left of a closure that lasts through the clip."""
    still = face(AU45_r=bump(2, 0.8, 1.0, 1.0))
    values = np.column_stack([still.values, np.full(50, 1.8, np.float32)])
    clip = Features(values, still.timestamps_s, (*FACE, "rest_AU45"))
    assert rules.describe({"face": clip}).facial_expression.endswith("stands out; eyes shut or lowered throughout.")


def test_a_lost_frame_interrupts_no_shut_eyes_but_a_gap_of_time_does() -> None:
    clip = face(AU45_r=2.5 * (np.arange(50) >= 25))
    clip.values[35] = np.nan
    (run,) = eyes.shut(clip)
    assert (run.first, run.last) == (25, 49)
    later = np.arange(50) / 25 + 20.0 * (np.arange(50) >= 36)
    assert [(run.first, run.last) for run in eyes.shut(Features(clip.values, later, FACE))] == [(36, 49)]
    assert eyes.shut(Features(clip.values[:0], later[:0], FACE)) == []
    assert eyes.shut(Features(clip.values[30:31], later[:1], FACE)) == []


def test_head_hands_and_nods() -> None:
    stamps = np.arange(50) / 25
    nodding = 8 * np.sin(2 * np.pi * 1.5 * stamps) * (stamps < 1.34)
    clip = {
        "face": face(pose_yaw_deg=-bump(2, 1.4, 2.0, 30.0), pose_pitch_deg=nodding),
        "pose": pose(left_hand_height=bump(2, 0, 1, 1.0, 8.0)),
    }
    sentence = rules.describe(clip).body_language  # type: ignore[arg-type]
    assert "head turned right strongly late" in sentence.lower()
    assert "left hand raised clearly early" in sentence.lower()
    assert "two nods" in sentence


def test_posture() -> None:
    sentence = rules.describe(
        {"pose": pose(lean_deg=bump(2, 0.7, 1.4, 22.0, 8.0), slump=bump(2, 0, 0.6, 0.25, 8.0))}
    ).posture
    assert sentence == "Leaning forward strongly in the middle, slumping clearly early."
    assert rules.describe({"pose": pose()}).posture == "No change of posture stands out."


def test_the_voice_by_quantiles() -> None:
    quantiles = {name: (1.0, 2.0, 3.0, 4.0) for name in voice.MEASURES} | {"volume_db": (-50.0, -40.0, -30.0, -25.0)}
    sentence = rules.describe({"audio": audio()}, references.References({}, {}, quantiles)).voice
    assert re.fullmatch(
        r"Volume very high with very high variation, pitch very high with \w+ variation, speaking rate very high\.",
        sentence,
    )
    unjudged = rules.describe({"audio": audio()}).voice
    assert unjudged.startswith("Pitch moderate"), "without references a volume means nothing"


@pytest.mark.parametrize(
    "clip",
    [
        {"face": face(0.0), "pose": pose(0.0), "audio": features("audio", AUDIO, 0.0)},
        {
            "face": Features(np.full((50, len(FACE)), np.nan, np.float32), np.arange(50) / 25, FACE),
            "pose": Features(np.full((16, len(POSE)), np.nan, np.float32), np.arange(16) / 8, POSE),
            "audio": features("audio", AUDIO, 1.0, pitch_hz=np.nan, energy_db=-70.0),
        },
    ],
)
def test_absence_has_its_sentences(clip: dict[Modality, Features]) -> None:
    description = rules.describe(clip)
    assert description == Description(
        "No face was visible.", "No body was visible.", "No body was visible.", "No voice was heard."
    )


def test_a_short_clip_has_its_sentences() -> None:
    description = rules.describe({"face": face(0.3), "pose": pose(0.3), "audio": audio(0.3)})
    assert all(text.startswith("The clip is too short") for text in description.lines())


def test_a_close_up_has_no_posture() -> None:
    """The head is in the picture, and not the shoulders: that is not too short, and somebody is there."""
    close_up = pose()
    close_up.values[:, [POSE.index(item.column) for item in phrases.TRUNK]] = np.nan
    nose = Features(
        np.column_stack([close_up.values, np.full(16, 0.5, np.float32)]),
        close_up.timestamps_s,
        (*POSE, "nose_visibility"),
    )
    assert rules.describe({"pose": nose}).posture == phrases.NO_SHOULDERS
    assert rules.describe({"pose": close_up}).posture == phrases.NO_BODY
    hardly = face()
    hardly.values[2:] = np.nan
    assert rules.describe({"face": hardly}).facial_expression == "Hardly any face was visible."


def test_of_who_turns_no_posture_is_told() -> None:
    turning, restless = pose(), pose(sway_deg=bump(2, 0.2, 0.6, 12.0, 8.0))
    columns = [POSE.index(name) for name in rules.NAN_WHILE_TURNED]
    turning.values[:, columns] = np.nan
    assert rules.describe({"pose": turning}).posture == phrases.TURNING
    restless.values[8:, columns] = np.nan
    posture = rules.describe({"pose": restless}).posture
    assert posture.endswith("turned aside for a part.")
    assert "leaning left" in posture.lower()


def test_a_partly_hidden_face_has_its_phrase() -> None:
    clip = face(AU12_r=bump(2, 1.2, 1.9, 3.0))
    clip.values[:20] = np.nan
    sentence = rules.describe({"face": clip}).facial_expression
    assert "lip corners pulled up strongly" in sentence.lower()
    assert sentence.endswith("out of sight for a part.")


# ---------------------------------------------------------------------------------------------------------- no emotions


def test_no_word_of_the_describer_names_an_emotion() -> None:
    vocabulary = words(Path(phrases.__file__).read_text(encoding="utf-8").split('"""', 2)[2])
    used = {word for item in phrases.ITEMS for word in words(item.phrase)}
    assert used <= vocabulary
    assert not used & EMOTIONAL


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 4.0), st.floats(0.0, 40.0))
def test_no_sentence_names_an_emotion_whatever_was_measured(seed: int, seconds: float, scale: float) -> None:
    rng = np.random.default_rng(seed)

    def wild(modality: Modality, columns: tuple[str, ...]) -> Features:
        clip = features(modality, columns, seconds)
        walk = np.cumsum(rng.normal(size=clip.values.shape), axis=0) * rng.uniform(0, scale, clip.values.shape[1]) / 5
        holes = rng.random(clip.values.shape) < rng.uniform(0, 0.3)
        clip.values[:] = np.where(holes, np.nan, walk + (100 if modality == "audio" else 0))
        return clip

    description = rules.describe(
        {"face": wild("face", FACE), "pose": wild("pose", POSE), "audio": wild("audio", AUDIO)}
    )
    for text in description.lines():
        assert not words(text) & EMOTIONAL
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count(".") == 1
    assert phrases.statements(description)


# ---------------------------------------------------------------------------------------------------------------- slots


def test_statements_read_every_sentence_back() -> None:
    description = Description(
        phrases.sentence(
            "facial_expression",
            [phrases.Act("brows lowered", 2, 1, brief=True), phrases.Act("jaw dropped", 0, 3)],
            [phrases.brief_act("nose wrinkled", 0)],
            [phrases.count(2, "blink")],
        ),
        phrases.sentence("body_language", [], [], [phrases.movement(4)]),
        phrases.NO_BODY,
        phrases.voice_sentence({"volume_db": 4, "volume_variation_db": 0, "pitch_st": 2, "rate_hz": 1}),
    )
    assert phrases.statements(description) == {
        ("facial_expression", "brows lowered", "strongly", "in the middle"),
        ("facial_expression", "jaw dropped", "slightly", "throughout"),
        ("facial_expression", "flash", "nose wrinkled", "early"),
        ("facial_expression", "two blinks"),
        ("body_language", "no gesture stands out"),
        ("body_language", "much movement"),
        ("posture", "no body was visible"),
        ("voice", "volume", "very high"),
        ("voice", "volume variation", "very low"),
        ("voice", "pitch", "moderate"),
        ("voice", "speaking rate", "low"),
    }


def test_statements_accept_any_text() -> None:
    odd = Description("", ";;,", "Brows lowered clearly", "a flash of late")
    assert phrases.statements(odd) == {("posture", "brows lowered clearly"), ("voice", "a flash of late")}


# ----------------------------------------------------------------------------------------------------------- references


def test_what_is_strong_for_a_still_corpus_is_slight_for_a_lively_one() -> None:
    clip = face(AU12_r=bump(2, 0.5, 1.5, 1.5))

    def usual(limits: tuple[float, float, float]) -> references.References:
        return references.References({"AU12_r": (0.0, 0.2)}, {"AU12_r+": limits}, {})

    still, lively = (
        rules.describe({"face": clip}, usual(x)).facial_expression for x in ((0.4, 0.8, 1.2), (1.4, 2.5, 4.0))
    )
    assert "pulled up strongly" in still
    assert "pulled up slightly" in lively


def test_a_held_expression_shows_against_train_and_a_different_face_does_not() -> None:
    held, other = face(AU12_r=3.0), face(AU12_r=0.7)
    usual = references.References({"AU12_r": (0.3, 0.3)}, {"AU12_r+": (0.8, 1.6, 2.6)}, {})
    assert "strongly throughout" in rules.describe({"face": replace_height(held, 4.0)}, usual).facial_expression
    assert "stands out" in rules.describe({"face": other}, usual).facial_expression
    assert "clearly throughout" in rules.describe({"face": held}).facial_expression, "units are at rest at 0"


def replace_height(clip: Features, height: float) -> Features:
    values = clip.values.copy()
    values[:, clip.columns.index("AU12_r")] = height
    return replace(clip, values=values)


def test_earlier_turns_teach_where_a_speaker_rests() -> None:
    usual = references.References({"AU12_r": (0.0, 0.2)}, {"AU12_r+": (0.8, 1.6, 2.6)}, {})
    clip = {"face": face(AU12_r=1.6)}
    assert "lip corners" in rules.describe(clip, usual).facial_expression.lower()  # type: ignore[arg-type]
    before = [acts.levels(clip)] * 4  # type: ignore[arg-type]
    assert "stands out" in rules.describe(clip, usual, before).facial_expression  # type: ignore[arg-type]


def test_references_survive_json_and_nonsense_is_refused() -> None:
    usual = references.References(
        {"AU12_r": (0.1, 0.2)}, {"AU12_r+": (0.8, 1.6, 2.6)}, {"rate_hz": (1.0, 2.0, 3.0, 4.0)}
    )
    assert references.References.from_json(usual.to_json()) == usual
    for text in ("", "{}", '{"rest": {"a": [1]}, "reaches": {}, "quantiles": {}}', '{"rest": 3}'):
        with pytest.raises(CacheError, match="not describer references"):
            references.References.from_json(text)


# --------------------------------------------------------------------------------------------------------------- events


def test_brief_peaks_are_short_complete_and_stand_out() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.05, 100)
    for frames in (2, 4, 6, 12):
        series = noise.copy()
        series[40 : 40 + frames] += 1.5
        peaks = events.brief_peaks(series, 0.04, 0.8)
        assert [40 <= run.apex < 40 + frames for run in peaks] == [True]
    for first, last in ((40, 41), (40, 60), (0, 6), (94, 100)):
        series = noise.copy()
        series[first:last] += 1.5
        assert not events.brief_peaks(series, 0.04, 0.8), f"{first} to {last} is no brief peak"
    gap = noise.copy()
    gap[40:44] += 1.5
    gap[44:50] = np.nan
    assert not events.brief_peaks(gap, 0.04, 0.8)


def test_a_noisy_signal_has_no_brief_peaks() -> None:
    talking = 1.2 * np.abs(np.sin(2 * np.pi * 2.2 * np.arange(100) / 25))
    assert not events.brief_peaks(talking, 0.04, 0.8)


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_oscillations_are_counted_and_held_turns_are_not(times: int) -> None:
    stamps = np.arange(75) / 25
    angle = np.where(stamps < times, 5 * np.sin(np.pi * stamps) ** 2 * (-1.0) ** np.floor(stamps), 0)
    assert [one.count for one in events.oscillations(np.abs(angle), 4.0, 13)] == [times] * bool(times)
    assert events.oscillations(angle / 10, 4.0, 13) == []
    held = np.clip(np.interp(stamps, (0.5, 0.8, 2.0, 2.3), (0, 8, 8.5, 0)), 0, 8.5)
    assert events.oscillations(held, 4.0, 13) == []


def test_a_head_that_turns_does_not_nod() -> None:
    stamps = np.arange(50) / 25
    pitch = 4 * np.sin(2 * np.pi * stamps)
    turn = np.interp(stamps, (0.0, 2.0), (0.0, 40.0))
    slow = np.interp(stamps, (0.0, 2.0), (0.0, 4.0))
    assert [one.count for one in events.oscillations(pitch, 2.0, 13, [slow, slow])] == [2]
    assert events.oscillations(pitch, 2.0, 13, [slow, turn]) == []
    assert [one.count for one in events.oscillations(pitch, 2.0, 13, [np.full(50, np.nan)])] == [2]
    first_half = np.where(stamps < 1, turn, turn[25])
    assert [one.first >= 15 for one in events.oscillations(pitch, 2.0, 13, [first_half])] == [True]


@pytest.mark.parametrize(("column", "noun"), [("pose_pitch_deg", "nod"), ("pose_yaw_deg", "head shake")])
def test_the_head_leads_that_way_in_a_nod_or_a_shake(column: str, noun: str) -> None:
    swing = np.where(np.arange(50) < 20, np.sin(2 * np.pi * np.arange(50) / 20), 0)

    def said(**angles: Any) -> bool:
        return noun in str(rules.describe({"face": face(**angles)}).body_language)

    assert said(**{column: 3 * swing})
    assert not said(**{column: 0.5 * swing}), "too little"
    assert said(**{column: 1.8 * swing}) is (noun == "head shake"), "speaking moves the chin, and not the yaw"
    for beside in {"pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg"} - {column}:
        assert not said(**{column: 3 * swing, beside: 6 * swing}), f"a head that goes twice as far by {beside}"
        assert said(**{column: 3 * swing, beside: 1.5 * swing})
        for far in (8.0, 15.0, 30.0, 45.0):
            slip = np.where(np.arange(50) == 9, far, 0.0)
            assert said(**{column: 3 * swing, beside: slip}), "a single frame is a tracking error"
            assert not said(**{column: slip}), "and no movement"


def test_syllables_are_counted() -> None:
    for rate in (3, 5, 7):
        clip = audio(3.0, rate_hz=rate)
        measured = rules.measures({"audio": clip})
        assert measured["rate_hz"] == pytest.approx(rate, abs=0.7)
        assert measured["volume_db"] == pytest.approx(-20, abs=1)
        assert measured["pitch_st"] == pytest.approx(12 * np.log2(1.6), abs=0.5)


def test_a_hum_in_a_noise_is_no_voice() -> None:
    clip = audio(2.0)
    clip.values[20:, AUDIO.index("pitch_hz")] = np.nan
    clip.values[:, AUDIO.index("energy_db")] = -60.0
    assert rules.describe({"audio": clip}).voice == "No voice was heard."


# ------------------------------------------------------------------------------------------------------------- the stage


def world(
    folder: Path, change: Callable[[str, Features], Features] = lambda _, clip: clip
) -> tuple[Manifest, dict[Modality, Path | None]]:
    """Two train dialogues and one test dialogue of four turns, two speakers; faces only."""
    utterances = tuple(
        Utterance(f"w/{split}/dia{d}_utt{t}", f"w/{d}", t, ("Ann", "Žofie")[t % 2], "", None, split, None)  # type: ignore[arg-type]
        for d, split in enumerate(("train", "train", "test"))
        for t in range(4)
    )
    ordered = tuple(sorted(utterances, key=lambda u: u.id))
    rng = np.random.default_rng(0)
    clips = []
    for u in ordered:
        clip = face(
            **{name: bump(2, *sorted(rng.uniform(0, 2, 2)), rng.uniform(0, 4)) + rng.uniform(0, 1) for name in UNITS}
        )
        clips.append((u.id, change(u.id, clip), 2.0, None))
    path = folder / "face.h5"
    write_cache(path, Head("face", FACE, "clip", "synthetic 1", {}), Rows(clips))
    return Manifest(ordered, ("neutral",), ("w",), folder), {"face": path, "pose": None, "audio": None}


def poison(clip: Features) -> Features:
    return replace(clip, values=clip.values[::-1] * np.float32(2) + np.float32(1))


def test_the_stage_writes_every_utterance_and_reads_back(tmp_path: Path) -> None:
    manifest, paths = world(tmp_path)
    usual = describer.run(manifest, paths, tmp_path / "out.jsonl", rules.Params())
    descriptions = read_descriptions(tmp_path / "out.jsonl")
    assert list(descriptions) == [u.id for u in manifest.utterances]
    assert {d.voice for d in descriptions.values()} == {""}
    assert {d.reasons["voice"] for d in descriptions.values()} == {rules.NOT_LOOKED_FOR}
    assert len({d.facial_expression for d in descriptions.values()}) > 6
    lines = [json.loads(line) for line in (tmp_path / describer.EVENTS).read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == sorted(descriptions), (
        "events lie beside the descriptions, of every clip with a face"
    )
    before = (tmp_path / "out.jsonl").read_bytes()
    describer.run(manifest, paths, tmp_path / "out.jsonl", rules.Params(), usual)
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_neither_test_nor_later_turns_are_looked_at(tmp_path: Path) -> None:
    def later(key: str, clip: Features) -> Features:
        return poison(clip) if key == "w/test/dia2_utt2" else clip

    (tmp_path / "b").mkdir()
    manifest, paths = world(tmp_path)
    poisoned, poisoned_paths = world(tmp_path / "b", later)
    usual = describer.run(manifest, paths, tmp_path / "a.jsonl", rules.Params())
    assert describer.run(poisoned, poisoned_paths, tmp_path / "b.jsonl", rules.Params()) == usual
    clean, changed = (read_descriptions(tmp_path / f"{x}.jsonl") for x in "ab")
    assert {key for key in clean if clean[key] != changed[key]} <= {"w/test/dia2_utt2"}
    assert clean["w/test/dia2_utt2"] != changed["w/test/dia2_utt2"]


def test_clips_without_train_are_described_by_general_references(tmp_path: Path) -> None:
    manifest, paths = world(tmp_path)
    alone = replace(manifest, utterances=manifest.by_split("test"))
    assert describer.run(alone, paths, tmp_path / "out.jsonl", rules.Params()) == references.GENERAL
    assert len(read_descriptions(tmp_path / "out.jsonl")) == 4


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"id": "a"}',
        '{"id": "a", "facial_expression": 1, "body_language": "", "posture": "", "voice": ""}',
        '{"id": "a", "facial_expression": null, "body_language": "", "posture": "", "voice": ""}',
        '{"id": "a", "facial_expression": "", "body_language": "", "posture": "", "voice": "", "reasons": {"voice": 1}}',
        "[" * 10_000,
    ],
)
def test_a_line_that_is_no_description_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with raises(CorpusError, path=path, line=1):
        read_descriptions(path)
    with raises(CorpusError, path=tmp_path / "missing.jsonl", missing=True):
        read_descriptions(tmp_path / "missing.jsonl")


def test_params_are_checked() -> None:
    assert rules.Params(items=0).check()
    assert rules.Params(min_s=-1).check()
    assert not rules.Params().check()


def test_a_sentence_of_two_slots_is_said_once() -> None:
    nobody = Description("No face was visible.", "No body was visible.", "No body was visible.", "")
    assert nobody.sentences() == ["No face was visible.", "No body was visible."]
    assert list(nobody.distinct()) == ["facial_expression", "body_language"]
    assert len(nobody.lines()) == 3
