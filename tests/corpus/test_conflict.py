"""The file of conflict items: what is written is read again, and every damaged line is a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictItem, ConflictSet, must_fit, read_conflict_set, write_conflict_set
from bemerc.corpus.manifest import Manifest, Split, Utterance

LABELS = ("neutral", "joy", "anger")
ITEMS = (
    ConflictItem("a", "predictors", "audio_aligned", "train", "d", "a", "a", "joy", "joy", "anger", 0.7, 0.9),
    ConflictItem("a ~ b", "recombined", "other", "test", "d", "a", "b", None, "joy", "anger", 0.6, 0.4),
)
SPLIT_OF: dict[str, Split] = {"a": "train", "b": "train", "t": "test"}
MADE = ConflictSet(ITEMS, LABELS, "0f", {"seed": 0}, (0.2, 0.5, 0.8))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_conflict_set(tmp_path / "c.jsonl", replace(MADE, items=ITEMS[::-1]))
    assert read_conflict_set(tmp_path / "c.jsonl") == MADE
    assert MADE.of("test") == ITEMS[1:]
    assert MADE.of("test", "labels", "predictors") == ()
    assert [MADE.quartile(item) for item in ITEMS] == [3, 1]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        (1, "subset", "both"),
        (1, "way", "guess"),
        (1, "split", "all"),
        (1, "label", "rage"),
        (1, "label", 3),
        (1, "label_face", None),
        (1, "id", ""),
        (1, "id", "a ~ b"),
        (1, "confidence", 1.5),
        (1, "strength", float("nan")),
        (1, "strength", True),
        (1, "extra", 1),
        (0, "schema", "another"),
        (0, "schema_version", 2),
        (0, "labels", []),
        (0, "cuts", [0.1, 0.2]),
        (0, "cuts", [0.1, 0.2, "x"]),
        (0, "manifest", None),
        (0, "made", []),
        (0, "cuts", [0.5, 0.2, 0.8]),
        (0, "labels", [*LABELS, "joy"]),
        (1, "subset", "consistent"),
        (1, "face_of", "b"),
        (2, "label", "joy"),
    ],
)
def test_a_damaged_line_is_a_sentence(tmp_path: Path, line: int, key: str, value: object) -> None:
    path = tmp_path / "c.jsonl"
    write_conflict_set(path, MADE)
    lines = path.read_text().splitlines()
    lines[line] = json.dumps(json.loads(lines[line]) | {key: value})
    path.write_text("\n".join(lines))
    with pytest.raises(CorpusError):
        read_conflict_set(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}\n'])
def test_another_file_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(CorpusError):
        read_conflict_set(tmp_path / "c.jsonl")


def test_a_missing_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="bemerc conflict build"):
        read_conflict_set(tmp_path / "c.jsonl")


def test_two_items_of_one_name_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        write_conflict_set(tmp_path / "c.jsonl", replace(MADE, items=(ITEMS[0], ITEMS[0])))
    assert not (tmp_path / "c.jsonl").exists()


def utterance(id: str, split: Split, face: str | None = None) -> Utterance:
    return Utterance(id, f"d{split}", 0, "ada", "Hm.", "joy", split, None, label_voice="joy", label_face=face)


def test_items_of_another_split_and_changed_labels_of_a_side_are_refused(tmp_path: Path) -> None:
    """The fingerprint holds neither: a recombined item of train could show a face of test."""
    turns = tuple(replace(utterance(id, split, "anger"), index=n) for n, (id, split) in enumerate(SPLIT_OF.items()))
    manifest = Manifest(turns, LABELS, ("made",), tmp_path)
    labelled = ConflictItem("a", "labels", "audio_aligned", "train", "dtrain", "a", "a", "joy", "joy", "anger", 1, 1)
    mixed = ConflictItem("a ~ b", "recombined", "other", "train", "dtrain", "a", "b", None, "joy", "anger", 1, 1)
    made = replace(MADE, items=(labelled, mixed), manifest=provenance.learned(manifest))
    must_fit(made, manifest, tmp_path, "train")
    others = [
        replace(made, items=(replace(mixed, face_of="t"),)),
        replace(made, items=(replace(mixed, voice_of="t"),)),
        replace(made, items=(replace(labelled, label_face="joy", subset="consistent"),)),
        replace(made, items=(replace(labelled, dialogue="dtest"),)),
        replace(made, labels=LABELS[::-1]),
    ]
    for other in others:
        with pytest.raises(CorpusError):
            must_fit(other, manifest, tmp_path, "train")
        if other.labels == LABELS:
            must_fit(other, manifest, tmp_path, "test")
