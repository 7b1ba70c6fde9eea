"""Predictions survive the file, and a file that cannot be right is refused with the line, the id and the fault."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bemerc.language.predict.records import Prediction, PredictionError, best_label, read_predictions, write_predictions
from tests.errors import raises


def prediction(id: str = "c/test/d0_u0", gold: str | None = "joy", joy: float = 0.75) -> Prediction:
    scores = {"joy": joy, "anger": 1 - joy}
    return Prediction(id, gold, best_label(scores), scores)


def test_round_trip_sorts_by_id_and_keeps_every_digit(tmp_path: Path) -> None:
    first = Prediction("c/a", None, "anger", {"joy": 1 / 3, "anger": 2 / 3}, {"voice": "Höher\u2028als sonst."})
    last = replace(prediction("c/ü"), corpora=("sample", "meld"), unmeasured=("face",))
    write_predictions(tmp_path / "new" / "p.jsonl", [last, first])
    assert read_predictions(tmp_path / "new" / "p.jsonl") == (first, last)


def test_equal_predictions_give_equal_bytes(tmp_path: Path) -> None:
    write_predictions(tmp_path / "a", [prediction("x"), prediction("y")])
    write_predictions(tmp_path / "b", [prediction("y"), prediction("x")])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_tie_goes_to_the_first_label() -> None:
    assert best_label({"joy": 0.4, "anger": 0.4, "fear": 0.2}) == "joy"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (Prediction("i", None, "joy", {"joy": 0.6, "anger": 0.6}), "i: the scores sum to 1.2"),
        (Prediction("i", None, "joy", {"joy": float("nan"), "anger": 1.0}), "i: scores must be probabilities"),
        (Prediction("i", None, "joy", {}), "i: scores must be probabilities"),
        (Prediction("i", None, "fear", {"joy": 0.5, "anger": 0.5}), "i: the label 'fear' has no score"),
        (Prediction("i", None, "joy", {"joy": 0.2, "anger": 0.8}), "but 'anger' scores 0.8"),
        (
            Prediction("i", "sad", "joy", {"joy": 0.8, "anger": 0.2}),
            "the gold label 'sad' has no score; the labels are joy, anger",
        ),
    ],
)
def test_a_prediction_that_cannot_be_is_not_written(tmp_path: Path, bad: Prediction, sentence: str) -> None:
    with pytest.raises(PredictionError, match="i: ") as caught:
        write_predictions(tmp_path / "p.jsonl", [bad])
    assert sentence in str(caught.value)
    assert not (tmp_path / "p.jsonl").exists()


def test_all_faults_between_lines_are_reported_at_once(tmp_path: Path) -> None:
    other = Prediction("z", None, "sad", {"sad": 1.0})
    with pytest.raises(PredictionError) as caught:
        write_predictions(tmp_path / "p.jsonl", [prediction("a"), prediction("a"), other])
    assert "a: two predictions share this id." in str(caught.value)
    assert "z: scores the labels sad, but a scores joy, anger." in str(caught.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: this is not JSON"),
        ("[]", "not list"),
        ('{"id": "a"}', "not id"),
        (
            json.dumps({"id": 1, "gold": None, "label": "joy", "scores": {"joy": 1}, "description": None}),
            "must be text",
        ),
        (json.dumps({"id": "a", "gold": 1, "label": "joy", "scores": {"joy": 1}, "description": None}), "text or null"),
        (
            json.dumps({"id": "a", "gold": None, "label": "joy", "scores": {"joy": "1"}, "description": None}),
            "object of numbers",
        ),
        (
            json.dumps({"id": "a", "gold": None, "label": "joy", "scores": {"joy": 0.5}, "description": None}),
            "a: the scores sum to 0.5",
        ),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "p.jsonl"
    write_predictions(path, [prediction()])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with raises(PredictionError, path=path, line=2) as caught:
        read_predictions(path)
    assert sentence in str(caught.value)


def test_missing_and_unreadable_files_are_sentences(tmp_path: Path) -> None:
    with raises(PredictionError, path=tmp_path / "none.jsonl", missing=True):
        read_predictions(tmp_path / "none.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(PredictionError):
        read_predictions(tmp_path / "bytes.jsonl")


def test_importing_it_brings_no_torch() -> None:
    code = (
        "import sys, bemerc.language.predict.records; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
