"""Evidence files and the command that shows them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bemerc.language.predict.evidence import Evidence, read_evidence, summary, write_evidence
from bemerc.language.predict.records import PredictionError
from tests.cli.test_cli import bemerc


def logs(*chances: float) -> dict[str, float]:
    return {label: math.log(p) for label, p in zip(("joy", "anger"), chances, strict=True)}


TURNS = {"turn:d_u0": logs(0.7, 0.3), "turn:d_u1": logs(0.8, 0.2)}
LEDGER = (
    Evidence("d_u2", logs(0.8, 0.2), {"face": logs(0.4, 0.6), "voice": logs(0.9, 0.1), **TURNS}),
    Evidence("d_u1", logs(0.5, 0.5), {"face": logs(0.25, 0.75), "turn:d_u0": logs(0.5, 0.5)}),
)


def test_nats_are_for_a_label_and_the_largest_come_first() -> None:
    counts = LEDGER[0].counts()
    assert list(counts) == ["face", "turn:d_u0", "voice", "turn:d_u1"]
    assert counts["face"] == pytest.approx(math.log(2))
    assert counts["voice"] < 0 < counts["face"]
    assert LEDGER[0].counts("anger")["face"] == pytest.approx(math.log(0.2 / 0.6))


def test_a_summary_counts_turns_by_how_long_ago_they_were() -> None:
    parts = summary(LEDGER)
    assert {name: of.utterances for name, of in parts.items()} == {"face": 2, "voice": 1, "turn -1": 2, "turn -2": 1}
    assert parts["face"].mean_nats == pytest.approx(math.log(2))
    assert (parts["face"].flips, parts["voice"].flips, parts["turn -1"].flips) == (1.0, 0.0, 0.0)
    assert parts["turn -1"].mean_nats == pytest.approx(0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_evidence(tmp_path / "e.jsonl", LEDGER)
    first = json.loads((tmp_path / "e.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["labels"]) == ("d_u1", ["joy", "anger"])
    assert [one["part"] for one in first["parts"]] == ["face", "turn:d_u0"]
    assert read_evidence(tmp_path / "e.jsonl") == tuple(sorted(LEDGER, key=lambda one: one.id))


GOOD = {"id": "a", "labels": ["joy", "anger"], "log_probs": logs(0.5, 0.5), "parts": []}
FAULTS = [
    [GOOD],
    GOOD | {"id": 1},
    GOOD | {"labels": "joy"},
    GOOD | {"labels": ["anger", "joy"]},
    GOOD | {"log_probs": {"joy": 0.0, "anger": 0.0}},
    GOOD | {"log_probs": {"joy": "0.5", "anger": 0.5}},
    GOOD | {"parts": [{"log_probs": logs(0.5, 0.5)}]},
    GOOD | {"parts": [{"part": "face"}]},
    GOOD | {"parts": [{"part": "face", "log_probs": logs(0.5, 0.5)}] * 2},
    {"id": "a"},
]


@pytest.mark.parametrize("line", FAULTS)
def test_lines_that_are_no_evidence_are_refused(tmp_path: Path, line: object) -> None:
    (tmp_path / "e.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(PredictionError):
        read_evidence(tmp_path / "e.jsonl")


def test_an_utterance_twice_or_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(2 * (json.dumps(GOOD) + "\n"))
    with pytest.raises(PredictionError):
        read_evidence(tmp_path / "e.jsonl")
    with pytest.raises(PredictionError):
        read_evidence(tmp_path / "none.jsonl")


def test_the_command_shows_one_utterance_or_all(tmp_path: Path) -> None:
    write_evidence(tmp_path / "e.jsonl", LEDGER)
    one = bemerc("evidence", "e.jsonl", "--id", "d_u2", cwd=tmp_path).stdout.splitlines()
    assert one[0] == "d_u2: joy, 0.80"
    assert one[1].split() == ["face", "+0.693", "for", "without", "it:", "anger"]
    read = json.loads(bemerc("evidence", "e.jsonl", "--id", "d_u2", "--label", "anger", "--json", cwd=tmp_path).stdout)
    assert read["nats"]["voice"] == pytest.approx(math.log(2))
    every = json.loads(bemerc("evidence", "e.jsonl", "--json", cwd=tmp_path).stdout)
    assert every["utterances"] == 2
    assert every["parts"]["face"]["flips"] == 1.0
    assert "turn -1" in bemerc("evidence", "e.jsonl", cwd=tmp_path).stdout
    for wrong in (["--id", "nobody"], ["--id", "d_u2", "--label", "bliss"], ["--label", "joy"]):
        failed = bemerc("evidence", "e.jsonl", *wrong, cwd=tmp_path)
        assert failed.returncode == 1
        assert "Traceback" not in failed.stderr
