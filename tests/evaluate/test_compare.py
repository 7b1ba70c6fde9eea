"""Runs against a baseline: equal runs show no difference, differing ones do, and many runs raise the p-values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from bemerc.corpus.manifest import Manifest, Utterance, write_manifest
from bemerc.evaluate import compare, evaluation, test_set
from bemerc.language.predict.records import Prediction, read_predictions, write_predictions
from tests.cli.test_cli import bemerc
from tests.errors import raises

LABELS = ("joy", "anger", "fear")
PARAMS = evaluation.Params(resamples=2000)


def manifest(dialogues: int = 40) -> Manifest:
    rng = np.random.default_rng(0)
    turns = [
        Utterance(f"d{d:02d}_u{t}", f"d{d:02d}", t, "A", "", LABELS[rng.integers(3)], "test", None)
        for d in range(dialogues)
        for t in range(5)
    ]
    return Manifest(tuple(turns), LABELS, ("made",), Path())


def write(path: Path, of: Manifest, right: float, seed: int) -> Path:
    """Predictions of which a share ``right`` is right, by chance."""
    rng = np.random.default_rng(seed)
    answers = []
    for u in of.utterances:
        assert u.label is not None
        label = u.label if rng.random() < right else LABELS[(LABELS.index(u.label) + 1) % 3]
        answers.append(Prediction(u.id, u.label, label, {name: float(name == label) for name in LABELS}))
    write_predictions(path, answers)
    return path


def test_a_run_does_not_differ_from_its_copy(tmp_path: Path) -> None:
    of = manifest()
    places = [write(tmp_path / f"{name}.jsonl", of, 0.6, seed=1) for name in ("one", "two")]
    comparison = compare.compare(of, compare.load(of, places), PARAMS)
    assert comparison.rows[1].against is not None
    for one in comparison.rows[1].against.values():
        assert (one.gap, one.p, one.p_holm, one.detectable) == (compare.Measured(0, 0, 0), 1.0, 1.0, 0.0)
    assert "no difference is shown" in compare.paragraph(comparison)


def test_a_better_run_is_shown_and_an_equal_one_is_not(tmp_path: Path) -> None:
    of = manifest()
    places = [write(tmp_path / f"{n}.jsonl", of, share, seed=i) for i, (n, share) in enumerate(
        (("base", 0.5), ("better", 0.8), ("like", 0.5)))]  # fmt: skip
    comparison = compare.compare(of, compare.load(of, places), PARAMS)
    better, like = (row.against["accuracy"] for row in comparison.rows[1:] if row.against)
    assert better.gap.low is not None
    assert better.gap.low > 0.1
    assert better.p_holm < 0.01
    assert like.p_holm > 0.05
    assert like.detectable is not None
    assert 0.05 < like.detectable < 0.3
    text = compare.paragraph(comparison)
    assert "better is better than base by" in text
    assert "Between like and base no difference is shown" in text


def test_every_metric_is_scikit_learns_mean_over_the_seeds(tmp_path: Path) -> None:
    """F1 of the seeds' pooled counts is another number: it gains by every further seed that errs elsewhere."""
    of = manifest()
    base = write(tmp_path / "base.jsonl", of, 0.5, seed=0)
    files = [write(tmp_path / "seeds" / f"{seed}.jsonl", of, share, seed) for seed, share in enumerate((0.2, 0.6, 0.9))]
    row = compare.compare(of, compare.load(of, [base, tmp_path / "seeds"]), PARAMS).rows[1]
    gold = [u.label for u in of.utterances]
    answers = [[p.label for p in read_predictions(file)] for file in files]
    theirs = {
        "accuracy": [accuracy_score(gold, one) for one in answers],
        "weighted_f1": [f1_score(gold, one, average="weighted") for one in answers],
        "macro_f1": [f1_score(gold, one, average="macro") for one in answers],
    }
    assert row.against is not None
    for metric, of_seeds in theirs.items():
        assert row.measured[metric].value == pytest.approx(np.mean(of_seeds), abs=1e-12)
    pooled = f1_score(gold * 3, [label for one in answers for label in one], average="weighted")
    assert abs(pooled - row.measured["weighted_f1"].value) > 0.001


def test_copies_of_one_seed_change_nothing_and_seeds_that_differ_widen_the_interval(tmp_path: Path) -> None:
    of = manifest()
    base = write(tmp_path / "base.jsonl", of, 0.5, seed=0)
    for name, shares in (("one", (0.6,)), ("same", (0.6, 0.6)), ("differing", (0.4, 0.6, 0.8))):
        for place, share in enumerate(shares):
            write(tmp_path / name / f"{place}.jsonl", of, share, seed=1)
    comparison = compare.compare(
        of, compare.load(of, [base, *(tmp_path / n for n in ("one", "same", "differing"))]), PARAMS
    )
    _, one, same, differing = (row.measured["weighted_f1"] for row in comparison.rows)
    assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high))
    assert width(differing) > 2 * width(one)
    text = compare.paragraph(comparison)
    assert "Training variation is not included for base, one:" in text
    assert "fewer than 5 training seeds" in text


def width(of: compare.Measured) -> float:
    assert of.low is not None
    assert of.high is not None
    return of.high - of.low


def test_one_dialogue_shows_nothing(tmp_path: Path) -> None:
    """Every resample of one dialogue is that dialogue, which once gave intervals of no width and a p of 0.001."""
    of = manifest(dialogues=1)
    places = [write(tmp_path / f"{name}.jsonl", of, share, 0) for name, share in (("bad", 0.0), ("good", 1.0))]
    comparison = compare.compare(of, compare.load(of, places), PARAMS)
    one = comparison.rows[1].against
    assert one is not None
    assert one["accuracy"] == compare.Difference(compare.Measured(1.0, None, None), 1.0, 1.0, None)
    assert "One dialogue is too little" in compare.paragraph(comparison)
    assert json.loads(json.dumps(comparison.to_plain()))["rows"][0]["measured"]["accuracy"]["low"] is None


def test_the_detectable_difference_is_larger_among_more_runs(tmp_path: Path) -> None:
    of = manifest()
    places = [write(tmp_path / f"{n}.jsonl", of, 0.5, seed=n) for n in range(6)]
    alone, among = (compare.compare(of, compare.load(of, places[:count]), PARAMS) for count in (2, 6))
    one, other = (comparison.rows[1].against for comparison in (alone, among))
    assert one is not None
    assert other is not None
    assert one["accuracy"].detectable is not None
    # Student's t with 39 degrees of freedom at 5 % and at 1 %, both plus that of a power of 80 %.
    ratio = (2.7079 + 0.8512) / (2.0227 + 0.8512)
    assert other["accuracy"].detectable == pytest.approx(one["accuracy"].detectable * ratio, rel=1e-3)
    assert "Holm's correction for 5 runs included" in compare.paragraph(among)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.04, 0.01], [0.04, 0.02]), ([], [])],
)
def test_holm(given: list[float], wanted: list[float]) -> None:
    assert compare.holm(given) == pytest.approx(wanted)


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    of = manifest()
    one = write(tmp_path / "one.jsonl", of, 0.5, 0)
    with pytest.raises(compare.CompareError, match="two runs or more"):
        compare.load(of, [one])
    with pytest.raises(compare.CompareError, match="named twice"):
        compare.load(of, [one, one])
    (tmp_path / "empty").mkdir()
    with raises(compare.CompareError, path=tmp_path / "empty", missing=True):
        compare.load(of, [one, tmp_path / "empty"])
    write_predictions(tmp_path / "part.jsonl", [Prediction("d00_u0", None, "joy", dict.fromkeys(LABELS, 1 / 3))])
    with pytest.raises(test_set.EvaluationError, match="have no prediction"):
        compare.load(of, [one, tmp_path / "part.jsonl"])


def test_the_command(tmp_path: Path) -> None:
    of = manifest()
    write_manifest(tmp_path / "data" / "manifest.jsonl", of.utterances, of.labels, of.corpora)
    places = [write(tmp_path / name / "TVB.jsonl", of, share, 0) for name, share in (("a_1", 0.4), ("b|2", 0.7))]
    table = bemerc("compare", *places, "--data", tmp_path / "data")
    assert table.returncode == 0, table.stderr
    lines = [line for line in table.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    tex = bemerc("compare", *places, "--data", tmp_path / "data", "--latex").stdout
    assert r"a\_1" in tex
    assert r"\toprule" in tex
    plain = json.loads(bemerc("compare", *places, "--data", tmp_path / "data", "--json").stdout)
    assert plain["rows"][1]["against"]["accuracy"]["gap"]["value"] > 0.1


def test_a_name_cannot_break_the_latex() -> None:
    assert compare.tex("a_b^c~d\\e %$ <0.001").split() == ["a\\_b\\^{}c\\~{}d\\textbackslash{}e", "\\%\\$", "$<$0.001"]
