"""What a teacher writes is repaired where it is plain, refused where it is not, and never names an emotion in the end."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bemerc.language.inputs.prompts import VISIBLE_SLOTS
from bemerc.language.teacher import answers, emotion_words

GOOD = {"facial_expression": "Brows rise slightly.", "body_language": "The head nods twice.", "posture": "Upright."}
CLEAN = json.dumps(GOOD)


def test_clean_json_is_taken_as_it_is() -> None:
    assert answers.read(CLEAN) == answers.Answer(GOOD, "", False, 0)


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{CLEAN}\n```",
        f"Sure! Here it is:\n{CLEAN}\nLet me know.",
        CLEAN[:-1] + ",}",
        CLEAN.replace('", "', '",\n "').replace("}", " , }"),
        CLEAN.replace('"', "“", 1).replace('"', "”", 1),
        CLEAN.replace("slightly.", "slightly.\n"),
        CLEAN[:-1],  # cut short by the limit on tokens
    ],
)
def test_what_is_plainly_meant_is_repaired(text: str) -> None:
    found = answers.read(text)
    assert (found.sentences, found.fault, found.repaired) == (GOOD, "", True)


def test_other_spellings_of_keys_and_lists_of_sentences_are_understood() -> None:
    text = json.dumps({"Facial Expression": ["Brows rise.", "Lips part."], "body-language": "Nods", "POSTURE": " Up. "})
    found = answers.read(text).sentences
    assert found == {"facial_expression": "Brows rise. Lips part.", "body_language": "Nods.", "posture": "Up."}


@pytest.mark.parametrize("text", ["", "I cannot see it.", "{", "{]", "[1, 2]", '{"posture" "x"}', "null", "}{", '"a"'])
def test_what_is_no_json_object_is_told(text: str) -> None:
    assert answers.read(text) == answers.Answer({}, "there is no JSON object in it", False, 0)


@pytest.mark.parametrize("value", [3, None, {"a": 1}, [1], "", "  "])
def test_a_key_without_a_text_is_missing(value: object) -> None:
    found = answers.read(json.dumps({**GOOD, "posture": value}))
    assert found.fault == "the keys posture are missing or empty"
    assert "posture" not in found.sentences


def test_a_sentence_that_names_an_emotion_goes_and_the_others_stay() -> None:
    told = {**GOOD, "facial_expression": "Lips part. She smiles warmly! Brows rise", "posture": "Arms crossed, tense."}
    found = answers.read(json.dumps(told))
    assert found.sentences == {"facial_expression": "Lips part. Brows rise.", "body_language": "The head nods twice."}
    assert found.emotional == 2
    assert found.fault == "it names emotions or moods (tense, warmly)"


def test_arms_may_be_crossed_but_nobody_is() -> None:
    assert emotion_words.emotional("Arms crossed, legs crossing.") == set()
    assert emotion_words.emotional("He is cross, CALMLY grinning; sadness") == {
        "cross",
        "calmly",
        "grinning",
        "sadness",
    }


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet='{}[]",:\\ `abjson\n', max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = answers.read(text)
    assert set(found.sentences) <= set(VISIBLE_SLOTS)
    assert not any(emotion_words.emotional(told) for told in found.sentences.values())
    assert found.fault or len(found.sentences) == len(VISIBLE_SLOTS)
