"""What the backbone reads holds train alone, no sentence with its label, and drills whose answers are in the question."""

from __future__ import annotations

from pathlib import Path

import pytest

from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Manifest, Split, Utterance
from bemerc.language.inputs.prompts import Params
from bemerc.language.tiny_lm.drills import drills, texts

SHAPE = Params()
LABELS = LABEL_SETS["meld"]
SAID = {"facial_expression": "The brows rise.", "body_language": "", "posture": "Upright.", "voice": "Loud."}


def turn(split: Split, d: int, index: int, label: str | None) -> Utterance:
    said = f"{split}ing word{d} again{index}"
    return Utterance(f"{split}/d{d}u{index}", f"{split}/d{d}", index, f"{split}person", said, label, split, None)


def manifest(label: str | None = "joy") -> Manifest:
    turns = [turn(s, d, i, label) for s in ("train", "dev", "test") for d in range(30) for i in range(2)]
    return Manifest(tuple(sorted(turns, key=lambda u: u.id)), LABELS, ("made",), Path())


@pytest.mark.parametrize("split", ["deving", "testing", "devperson", "testperson"])
def test_nothing_of_dev_or_test_is_read(split: str) -> None:
    described = {u.id: SAID for u in manifest().utterances}
    assert split not in "".join(texts(manifest(), described, SHAPE))
    assert split not in "".join(d.question + "".join(d.words) for d in drills(manifest(), 200, SHAPE))


def test_the_labels_of_the_corpus_change_nothing() -> None:
    described = {u.id: SAID for u in manifest().utterances}
    assert (
        texts(manifest("joy"), described, SHAPE)
        == texts(manifest("fear"), described, SHAPE)
        == texts(manifest(None), described, SHAPE)
    )
    assert drills(manifest("joy"), 50, SHAPE) == drills(manifest(None), 50, SHAPE)


def test_train_is_read_and_so_are_its_descriptions() -> None:
    read = texts(manifest(), {"train/d3u0": SAID, "dev/d3u0": {"voice": "Nobody may read this."}}, SHAPE)
    assert any('trainperson: "training word3 again0"' in text for text in read)
    assert sum("The brows rise." in text for text in read) == 1
    assert "Nobody may" not in "".join(read)
    assert {text.rsplit(" ", 1)[-1] for text in read if text.startswith("Name")} <= set(LABELS)


def test_every_right_word_of_a_drill_stands_in_its_branch_or_is_a_label() -> None:
    for drill in drills(manifest(), 200, SHAPE):
        branch = drill.question[drill.question.rindex("###") :]
        words = [word.strip() for word in drill.words]
        assert set(LABELS) < set(words), "every label is right once, whatever was said"
        assert all(word in branch for word in words if word not in LABELS)
        assert drill.question.endswith("Emotion:")


def test_where_nothing_is_said_again_a_drill_opens_at_the_last_line() -> None:
    for drill in drills(manifest(), 200, Params(repeat_target_utterance=False)):
        said, question = drill.question.split("###\n")[-2:]
        words = [word.strip() for word in drill.words if word.strip() not in LABELS]
        assert "last line" not in question
        assert all(word in said.splitlines()[-1] + question for word in words)


def test_some_drills_have_the_whole_frame_and_places_hold_labels_as_well() -> None:
    made = drills(manifest(), 300, SHAPE)
    framed = sum(d.question.startswith("Name") for d in made)
    assert 15 < framed < 90
    assert any(d.words.count(" sadness") > 1 for d in made)


def test_same_seed_same_drills() -> None:
    assert (
        drills(manifest(), 20, SHAPE, seed=1)
        == drills(manifest(), 20, SHAPE, seed=1)
        != drills(manifest(), 20, SHAPE, seed=2)
    )


def test_without_train_there_is_nothing() -> None:
    empty = Manifest((), LABELS, ("made",), Path())
    assert texts(empty, {}, SHAPE) == []
    assert drills(empty, 5, SHAPE) == []
