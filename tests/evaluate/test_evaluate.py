"""evaluate: scikit-learn's numbers to 1e-12, intervals that cover, bad input that is named."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from bemerc.core import config
from bemerc.core.errors import ConfigError
from bemerc.corpus.manifest import Manifest, Split, Utterance
from bemerc.evaluate import bootstrap, evaluation, metrics, test_set
from bemerc.language.predict.records import Prediction
from tests.errors import raises

LABELS = ("neutral", "joy", "anger")


def utterance(split: Split, dialogue: int, index: int, speaker: str, label: str | None) -> Utterance:
    name = f"tiny/{split}/dia{dialogue}"
    return Utterance(f"{name}_utt{index}", name, index, speaker, "words", label, split, None)


def manifest(turns: dict[tuple[Split, int], Sequence[tuple[str, str | None]]]) -> Manifest:
    """{(split, dialogue): [(speaker, label), ...]} as a manifest."""
    utterances = [
        utterance(split, d, i, who, label) for (split, d), of in turns.items() for i, (who, label) in enumerate(of)
    ]
    return Manifest(tuple(sorted(utterances, key=lambda u: u.id)), LABELS, ("tiny",), Path())


def predicted(u: Utterance, label: str, p: float = 0.8) -> Prediction:
    rest = (1 - p) / (len(LABELS) - 1)
    return Prediction(u.id, u.label, label, {name: p if name == label else rest for name in LABELS}, None)


def world(dialogues: int = 30, seed: int = 0) -> Manifest:
    rng = np.random.default_rng(seed)
    turns: dict[tuple[Split, int], Sequence[tuple[str, str | None]]] = {("train", 0): [("Ann", "joy"), ("Bob", None)]}
    for d in range(dialogues):
        turns["test", d] = [(str(rng.choice(["Ann", "Bob", "Zoë"])), str(rng.choice(LABELS))) for _ in range(5)]
    return manifest(turns)


def answered(of: Manifest, hit: float, seed: int) -> list[Prediction]:
    """Predictions for test that are right with probability ``hit``."""
    rng = np.random.default_rng(seed)
    result = []
    for u in of.by_split("test"):
        wrong = [label for label in LABELS if label != u.label]
        result.append(predicted(u, u.label if u.label and rng.random() < hit else str(rng.choice(wrong))))
    return result


codes = st.integers(2, 7).flatmap(
    lambda c: st.tuples(
        st.just(c), st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1, max_size=60)
    )
)


@given(codes)
@settings(deadline=None, max_examples=150)
def test_the_numbers_are_scikit_learns(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = drawn
    gold, answer = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    counts = metrics.confusion(gold, answer, classes)
    assert (counts == confusion_matrix(gold, answer, labels=range(classes))).all()
    ours = [metrics.accuracy(counts), metrics.weighted_f1(counts), metrics.macro_f1(counts)]
    theirs = [accuracy_score(gold, answer)] + [
        f1_score(gold, answer, average=a, zero_division=0) for a in ("weighted", "macro")
    ]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    each = precision_recall_fscore_support(gold, answer, labels=range(classes), zero_division=0)
    ours_each = [f(counts) for f in (metrics.precision, metrics.recall, metrics.f1, metrics.support)]
    np.testing.assert_allclose(ours_each, each, rtol=0, atol=1e-12)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_a_resample_is_what_repeating_its_dialogues_gives(seed: int) -> None:
    of = world(dialogues=6, seed=seed)
    judged, given_ = test_set.reference(of), test_set.answers(of, answered(of, 0.5, seed))
    weights = bootstrap.dialogue_weights(judged.dialogues, 3, seed)
    counts = bootstrap.resampled(bootstrap.dialogue_counts(judged, given_), weights)
    for row, drawn in enumerate(weights):
        rows = np.concatenate([np.flatnonzero(judged.dialogue == d) for d in range(6) for _ in range(int(drawn[d]))])
        expected = f1_score(judged.gold[rows], given_.predicted[rows], average="weighted", zero_division=0)
        assert metrics.weighted_f1(counts)[row] == pytest.approx(expected, abs=1e-12)


def test_ece_by_hand() -> None:
    gold, answer = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    scores = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6]])
    # two answers at .9 of which one is right (gap .4), two at .6 both right (gap .4)
    assert metrics.ece(gold, answer, scores) == pytest.approx(0.4)
    assert metrics.ece(np.array([0]), np.array([0]), np.array([[1.0, 0.0]])) == 0


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_ece_is_the_definition_in_a_loop(seed: int) -> None:
    """Guo et al. 2017, equation 3: the mean over bins of |accuracy - confidence|, by how many are in each."""
    rng = np.random.default_rng(seed)
    gold, scores = rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40)
    answer = scores.argmax(1)
    top, total = scores.max(1), 0.0
    for b in range(metrics.ECE_BINS):
        inside = (top > b / metrics.ECE_BINS) & (top <= (b + 1) / metrics.ECE_BINS)
        if inside.any():
            total += inside.mean() * abs((gold == answer)[inside].mean() - top[inside].mean())
    assert metrics.ece(gold, answer, scores) == pytest.approx(total, abs=1e-12)


def test_a_label_that_is_nowhere_counts_as_scikit_learn_has_it() -> None:
    """Labels in neither gold nor answers leave macro F1; one that is only answered counts as 0; nothing at all is NaN."""
    gold, answer = np.array([0, 0, 1]), np.array([0, 3, 1])
    counts = metrics.confusion(gold, answer, 5)
    assert metrics.macro_f1(counts) == pytest.approx(f1_score(gold, answer, average="macro", zero_division=0))
    assert metrics.weighted_f1(counts) == pytest.approx(f1_score(gold, answer, average="weighted", zero_division=0))
    assert np.isnan(metrics.macro_f1(np.zeros((3, 3), dtype=np.int64)))


def test_f1_per_label_has_an_interval_around_it() -> None:
    of = world(dialogues=40)
    labels = evaluation.evaluate(of, {"a": answered(of, 0.6, 1)}, evaluation.Params(resamples=300))["systems"]["a"][
        "per_class"
    ]
    for one in labels.values():
        assert 0 < one["f1_low"] < one["f1"] < one["f1_high"] < 1
    alone = evaluation.evaluate(world(dialogues=1), {"a": answered(world(dialogues=1), 1, 1)}, evaluation.Params())
    assert alone["systems"]["a"]["per_class"]["joy"]["f1_low"] is None


def test_shift_is_against_the_speakers_own_last_labelled_turn() -> None:
    of = manifest(
        {
            ("test", 0): [
                ("Ann", "joy"),
                ("Bob", "joy"),
                ("Ann", "anger"),
                ("Bob", None),
                ("Bob", "joy"),
                ("Ann", "anger"),
            ]
        }
    )
    assert list(test_set.reference(of).shift) == [
        -1,
        -1,
        1,
        0,
        0,
    ]  # Bob's unlabelled turn is not judged and not counted


def test_speakers_in_train_are_those_with_an_utterance_there() -> None:
    of = manifest(
        {("train", 0): [("Ann", "joy")], ("dev", 0): [("Bob", "joy")], ("test", 0): [("Ann", "joy"), ("Bob", "joy")]}
    )
    assert list(test_set.reference(of).in_train) == [True, False]


def test_evaluate_measures_what_was_planted() -> None:
    of = world(dialogues=200)
    systems = {"T": answered(of, 0.5, 1), "TV": answered(of, 0.6, 2), "TVB": answered(of, 0.8, 3)}
    result = evaluation.evaluate(
        of, systems, evaluation.Params(resamples=500), pairs=evaluation.ladder_pairs(list(systems))
    )
    worth = result["differences"]["TVB - TV"]["accuracy"]
    values = {name: result["systems"][name]["accuracy"]["value"] for name in systems}
    assert worth["value"] == pytest.approx(values["TVB"] - values["TV"])
    assert 0 < worth["low"] < worth["value"] < worth["high"] < 0.3
    assert set(result["differences"]) == {"TV - T", "TVB - TV"}
    one = result["systems"]["TVB"]
    assert sum(group["utterances"] for name, group in one["groups"].items() if name.endswith("speakers")) == 1000
    assert sum(speaker["utterances"] for speaker in one["speakers"].values()) == 1000
    assert one["ece"] == pytest.approx(abs(0.8 - values["TVB"]), abs=1e-9)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_clips_with_several_faces_stand_apart() -> None:
    of = world(dialogues=20)
    test = [u for u in of.utterances if u.split == "test"]
    faces = {u.id: 1 + i % 3 for i, u in enumerate(test[:30])}
    right, wrong = answered(of, 1, 1), answered(of, 0, 1)
    mixed = [w if faces.get(r.id, 0) > 1 else r for r, w in zip(right, wrong, strict=True)]
    groups = evaluation.evaluate(of, {"a": mixed}, evaluation.Params(resamples=50), faces=faces)["systems"]["a"][
        "groups"
    ]
    assert (groups["one_face"]["utterances"], groups["one_face"]["accuracy"]["value"]) == (10, 1.0)
    assert (groups["several_faces"]["utterances"], groups["several_faces"]["accuracy"]["value"]) == (20, 0.0)


def test_intervals_are_paired_and_cover() -> None:
    """Over 60 worlds the 90 % interval of an accuracy must hold the planted 0.6 about 54 times."""
    held = 0
    for seed in range(60):
        of = world(dialogues=40, seed=seed)
        result = evaluation.evaluate(
            of, {"a": answered(of, 0.6, seed + 1)}, evaluation.Params(resamples=300, confidence=0.9)
        )
        at = result["systems"]["a"]["accuracy"]
        held += at["low"] <= 0.6 <= at["high"]
    assert 46 <= held <= 60
    of = world()
    same = answered(of, 0.6, 1)
    zero = evaluation.evaluate(of, {"a": same, "b": same}, evaluation.Params(resamples=300), pairs=[("a", "b")])
    assert zero["differences"]["b - a"]["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_one_dialogue_has_no_interval_and_an_empty_group_no_value() -> None:
    of = world(dialogues=1)
    result = evaluation.evaluate(of, {"a": answered(of, 1, 1)}, evaluation.Params())["systems"]["a"]
    assert result["accuracy"] == {"value": 1.0, "low": None, "high": None}
    train = dataclasses.replace(of, utterances=tuple(u for u in of.utterances if u.split == "test"))
    not_in_train = evaluation.evaluate(train, {"a": answered(of, 1, 1)}, evaluation.Params())["systems"]["a"]["groups"][
        "train_speakers"
    ]
    assert not_in_train == {
        "utterances": 0,
        "accuracy": {"value": None, "low": None, "high": None},
        "weighted_f1": {"value": None, "low": None, "high": None},
    }


def test_same_input_same_numbers_and_the_seed_matters() -> None:
    of = world()
    runs = [
        evaluation.evaluate(of, {"a": answered(of, 0.6, 1)}, evaluation.Params(resamples=200, seed=s))
        for s in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0]["systems"]["a"]["accuracy"]["value"] == runs[2]["systems"]["a"]["accuracy"]["value"]
    assert runs[0]["systems"]["a"]["accuracy"]["low"] != runs[2]["systems"]["a"]["accuracy"]["low"]


def test_the_order_of_predictions_does_not_matter() -> None:
    of = world()
    given_ = answered(of, 0.6, 1)
    one, other = (evaluation.evaluate(of, {"a": p}, evaluation.Params(resamples=200)) for p in (given_, given_[::-1]))
    assert one == other


def test_predictions_for_other_splits_of_the_manifest_are_not_judged() -> None:
    of = world()
    extra = [predicted(u, "joy") for u in of.by_split("train")]
    test_set.validate(of, answered(of, 0.6, 1) + extra)
    with raises(test_set.EvaluationError, name="dev"):
        test_set.reference(of, "dev")


def spoilt(**changes: Any) -> list[Prediction]:
    good = answered(world(), 0.6, 1)
    return [dataclasses.replace(good[0], **changes), *good[1:]]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([], "T: there are no predictions"),
        (spoilt(id="tiny/test/dia99_utt0"), r"1 of 150 ids are not in the manifest: tiny/test/dia99_utt0\."),
        (
            spoilt(id="tiny/test/dia99_utt0"),
            r"1 of 150 labelled utterances in test have no prediction: tiny/test/dia0_utt0\.",
        ),
        (answered(world(), 0.6, 1)[10:], r"10 of 150 labelled utterances .*: tiny/test/dia0_utt0, .* and 5 more\."),
        (answered(world(), 0.6, 1) * 2, r"150 ids have more than one prediction: tiny/test/dia0_utt0, "),
        (spoilt(label="happy"), r"outside the label set \(neutral, joy, anger\): tiny/test/dia0_utt0 says 'happy'"),
        (spoilt(gold="wrong"), r"gold labels are not the manifest's: tiny/test/dia0_utt0 says 'wrong', the manifest '"),
        (
            spoilt(scores={"neutral": math.nan, "joy": 0.5, "anger": 0.5}),
            r"NaN or infinite scores: tiny/test/dia0_utt0",
        ),
        (
            spoilt(scores={"neutral": -1.0, "joy": 1.5, "anger": 0.5}),
            r"no probabilities .*: tiny/test/dia0_utt0 sums to 1",
        ),
        (spoilt(scores={"neutral": 2.0, "joy": 0.5, "anger": 0.5}), r"tiny/test/dia0_utt0 sums to 3"),
        (spoilt(scores={"neutral": 0.5, "joy": 0.5}), r"other labels than the label set's .*: tiny/test/dia0_utt0"),
        (spoilt(scores={}), r"1 predictions have no scores while 149 have: tiny/test/dia0_utt0"),
    ],
)
def test_bad_predictions_are_named(given_: list[Prediction], expected: str) -> None:
    with pytest.raises(test_set.EvaluationError, match=expected):
        evaluation.evaluate(world(), {"T": given_}, evaluation.Params(resamples=100))


def test_every_fault_is_listed_at_once() -> None:
    with pytest.raises(test_set.EvaluationError) as caught:
        test_set.validate(world(), spoilt(id="odd", label="happy"))
    assert len(str(caught.value).splitlines()) == 3


def test_labels_without_any_scores_are_judged_too() -> None:
    of = world()
    bare = [dataclasses.replace(p, scores={}) for p in answered(of, 0.6, 1)]
    result = evaluation.evaluate(of, {"a": bare}, evaluation.Params(resamples=100))["systems"]["a"]
    assert result["ece"] is None
    assert result["accuracy"]["value"] is not None


def test_params_say_all_faults() -> None:
    with pytest.raises(ConfigError) as caught:
        config.from_mapping(
            {"variants": ["T", "T", "a/b"], "resamples": 9, "confidence": 95.0}, evaluation.Params, "evaluate"
        )
    named = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert named == [f"evaluate.{key}" for key in ("variants", "variants", "resamples", "confidence")]


def test_the_ladder_steps_by_one_modality() -> None:
    assert evaluation.ladder_pairs(["T", "TV", "TVB"]) == [("T", "TV"), ("TV", "TVB")]
    assert evaluation.ladder_pairs(["T", "TV", "TB", "TVB", "TVB-plain"]) == [
        ("T", "TV"),
        ("T", "TB"),
        ("TV", "TVB"),
        ("TB", "TVB"),
    ]
