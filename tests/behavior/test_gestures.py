"""Hands in words: synthetic hands in, phrases out; without hands the sentences stay the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.describe import gestures, micro_expressions, phrases, references, rules
from bemerc.behavior.describe.description import Description
from bemerc.cache import Features
from bemerc.extraction.pose import hands
from bemerc.language.teacher.emotion_words import EMOTIONAL, words
from tests.behavior.test_describe import POSE, bump, face, features, pose
from tests.extraction.test_hands import SIZE, hand

SECONDS = 3.0
FRAMES = round(SECONDS * 8)
NOSE = (0.5, 0.2)
Place = Callable[[int], NDArray[np.float32]]
GONE = np.full((21, 3), np.nan, np.float32)


def filmed(left: Place, right: Place) -> Features:
    """Pose features of a body at rest, its wrists hidden, and of these hands, by the extractor's own arithmetic."""
    frames = np.stack([np.stack([left(i), right(i)]) for i in range(FRAMES)])
    stamps = np.arange(FRAMES) / 8
    measured = hands.measure(frames, np.tile(np.float32(NOSE), (FRAMES, 1)), stamps, SIZE)
    body = pose(SECONDS, left_hand_height=np.nan, right_hand_height=np.nan)
    return Features(np.column_stack([body.values, measured]), body.timestamps_s, (*POSE, *hands.COLUMNS))


def sentence_of(left: Place, right: Place = lambda _: GONE) -> str:
    return rules.describe({"pose": filmed(left, right)}).body_language


def test_a_hand_that_goes_to_the_face_is_named_with_its_time() -> None:
    """Open below the picture's middle at first, at the nose in the last second."""
    sentence = sentence_of(lambda i: hand(100, 35 if i >= 16 else 95, 0, 12))
    assert sentence.startswith("Left hand at the face late; left hand open throughout;")


def test_a_fist_is_closed_and_both_hands_share_a_phrase() -> None:
    assert "right hand closed throughout" in sentence_of(lambda _: GONE, lambda _: hand(150, 90, 85)).lower()
    both = sentence_of(lambda _: hand(40, 95, 0, 10), lambda _: hand(160, 95, 0, 10))
    assert "both hands open throughout" in both.lower()
    assert "left hand" not in both.lower()
    closing = sentence_of(lambda i: hand(150, 90, 0 if i < 12 else 85)).lower()
    assert "left hand open early" in closing
    assert "left hand closed late" in closing


def test_movement_of_the_hands_without_and_with_references() -> None:
    def waving(i: int) -> NDArray[np.float32]:
        return hand(60 + 12 * (i % 2), 90)

    assert sentence_of(waving).endswith("; much movement of the hands.")
    assert sentence_of(lambda _: hand(60, 90)).endswith("; little movement of the hands.")
    lively = replace(references.GENERAL, quantiles={"hands_movement": (4.0, 5.0, 6.0, 7.0)})
    clip = {"pose": filmed(waving, lambda _: GONE)}
    assert rules.measures(clip)["hands_movement"] == pytest.approx(4.8)
    assert rules.describe(clip, lively).body_language.endswith("; little movement of the hands.")


def test_single_frames_are_no_gesture_and_no_hand_has_its_phrase() -> None:
    assert "hand at the face" not in sentence_of(lambda i: hand(100, 35, 0, 12) if i in (3, 11) else GONE).lower()
    assert sentence_of(lambda _: GONE).endswith("no hands in sight.")


def test_hands_are_described_where_the_body_is_not_visible() -> None:
    clip = filmed(lambda _: hand(60, 90), lambda _: GONE)
    clip.values[:, : len(POSE)] = np.nan
    assert rules.describe({"pose": clip}).body_language == "Left hand open throughout; little movement of the hands."
    clip.values[:] = np.nan
    assert rules.describe({"pose": clip}).body_language == phrases.NO_BODY


def test_a_burst_behind_a_hand_is_no_micro_expression() -> None:
    burst = bump(SECONDS, 2.2, 2.4, 3.0)
    clip = {
        "face": face(SECONDS, AU12_r=burst),
        "pose": filmed(lambda i: hand(100, 35 if i >= 16 else 95), lambda _: GONE),
    }
    far = {**clip, "pose": filmed(lambda i: hand(100, 35 if i < 8 else 95), lambda _: GONE)}
    for modalities, expected in ((clip, False), (far, True), ({"face": clip["face"]}, True)):
        assert ("flash of lip corners" in rules.describe(modalities).facial_expression) is expected
        assert bool(micro_expressions.spot(modalities)) is expected


def test_without_hands_not_a_word_changes() -> None:
    """Rows of the same body, with and without the columns of hands."""
    plain = {"face": face(SECONDS), "pose": pose(SECONDS, left_hand_height=bump(SECONDS, 1.0, 2.0, 1.0, 8.0))}
    more = features("pose", (*POSE, *hands.COLUMNS), SECONDS)
    more.values[:, len(POSE) :] = np.nan
    more.values[:, : len(POSE)] = plain["pose"].values
    alone, along = rules.describe(plain), rules.describe({**plain, "pose": more})
    assert alone.body_language == "Left hand raised clearly in the middle."
    assert along == alone  # the wrist was visible, so "no hands in sight" would be wrong
    more.values[:, [POSE.index("left_hand_height"), POSE.index("right_hand_height")]] = np.nan
    without_wrists = rules.describe({**plain, "pose": more})
    assert without_wrists == replace(alone, body_language="No gesture stands out; no hands in sight.")
    assert "hands_movement" not in rules.measures(plain)


def test_statements_read_hands_back_and_no_word_names_an_emotion() -> None:
    pieces = [phrases.hand(side, state, 2) for side in ("left", "both") for state in phrases.HAND_STATES]
    sentence = phrases.sentence("body_language", [], pieces, [phrases.hands_movement(4)])
    statements = phrases.statements(Description("", sentence, "", ""))
    assert ("body_language", "left hand", "at the face", "late") in statements
    assert ("body_language", "both hands", "closed", "late") in statements
    assert len(statements) == 7
    assert not words(f"{sentence} {phrases.NO_HANDS}") & EMOTIONAL


def test_the_columns_are_the_extractors() -> None:
    assert set(gestures.COLUMNS) == set(hands.DERIVED)
