"""The judge of conflict items: numbers counted by hand, scikit-learn's, symmetries, and what cannot be judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from bemerc.corpus.conflict import ConflictItem, ConflictSet
from bemerc.evaluate import evaluation
from bemerc.evaluate.conflict import judge, sets
from bemerc.evaluate.conflict.items import JUDGED, System
from bemerc.evaluate.intervals import Interval
from bemerc.evaluate.metrics import Floats
from bemerc.evaluate.test_set import EvaluationError
from tests.conflict_world import LABELS, conflict_set, swapped, system

PARAMS = evaluation.Params(resamples=500)


def judged(of: ConflictSet, *systems: System, baseline: str | None = None) -> tuple[judge.Row, ...]:
    return judge.judge(of, "test", systems, PARAMS, baseline).rows


def of_kind(of: ConflictSet, kind: str) -> list[ConflictItem]:
    return [one for one in of.items if one.way != "recombined" and one.subset == kind]


def predicted(answers: dict[str, Floats], items: list[ConflictItem]) -> list[str]:
    return [LABELS[int(np.argmax(answers[one.id]))] for one in items]


def share(answers: dict[str, Floats], items: list[ConflictItem], wanted: Callable[[ConflictItem], str | None]) -> float:
    return float(np.mean([a == wanted(one) for a, one in zip(predicted(answers, items), items, strict=True)]))


def value(interval: Interval) -> float:
    assert interval.value is not None
    return interval.value


def test_accuracy_and_f1_are_scikit_learns_mean_over_the_seeds() -> None:
    of = conflict_set()
    one = system(of, "M", 0.7, seeds=(1, 2, 3))
    row = judged(of, one)[0]
    assert row.seeds == 3
    for kind in JUDGED:
        items = of_kind(of, kind)
        gold = [str(item.label) for item in items]
        answers = [predicted(dict(seed), items) for seed in one.seeds]
        numbers = row.subsets[kind]
        assert value(numbers["accuracy"]) == pytest.approx(np.mean([accuracy_score(gold, a) for a in answers]))
        f1 = np.mean([f1_score(gold, a, average="weighted", zero_division=0) for a in answers])
        assert value(numbers["weighted_f1"]) == pytest.approx(f1)


def test_every_other_number_is_the_one_counted_by_hand() -> None:
    of = conflict_set()
    one = system(of, "M", 0.7)
    answers, row = dict(one.seeds[0]), judged(of, one)[0]
    same, video, audio = (of_kind(of, kind) for kind in JUDGED)
    right = [share(answers, items, lambda item: item.label) for items in (same, video, audio)]
    assert value(row.conflict) == pytest.approx((right[1] + right[2]) / 2)
    assert value(row.overall) == pytest.approx(sum(right) / 3)
    assert value(row.gap) == pytest.approx(right[1] - right[2])
    assert value(row.gap) > 0, "this system follows the face"
    says_voice = share(answers, video, lambda item: item.label_voice)
    says_face = share(answers, audio, lambda item: item.label_face)
    assert value(row.reliance) == pytest.approx(says_voice - says_face)
    assert value(row.reliance) < 0
    for q, interval in enumerate(row.quartiles):
        items = [item for item in (*video, *audio) if of.quartile(item) == q]
        assert value(interval) == pytest.approx(share(answers, items, lambda item: item.label))


def test_recombined_items_are_judged_by_the_side_that_is_followed() -> None:
    of = conflict_set()
    one = system(of, "M", 0.7)
    answers, row = dict(one.seeds[0]), judged(of, one)[0].recombined
    assert row is not None
    items = [item for item in of.items if item.way == "recombined"]
    voice, face = share(answers, items, lambda i: i.label_voice), share(answers, items, lambda i: i.label_face)
    assert (value(row.voice), value(row.face)) == pytest.approx((voice, face))
    assert value(row.neither) == pytest.approx(1 - voice - face)
    assert value(row.lean) == pytest.approx(face - voice)
    for side, original, new, old in (
        ("face", "voice_of", "label_face", "label_voice"),
        ("voice", "face_of", "label_voice", "label_face"),
    ):
        moved = [np.exp(answers[item.id]) - np.exp(answers[getattr(item, original)]) for item in items]
        to_new, from_old = (
            [m[LABELS.index(getattr(item, which))] for m, item in zip(moved, items, strict=True)]
            for which in (new, old)
        )
        assert value(row.shifts[side]["to_new"]) == pytest.approx(np.mean(to_new))  # type: ignore[index]
        assert value(row.shifts[side]["from_old"]) == pytest.approx(np.mean(from_old))  # type: ignore[index]
        for label in LABELS:
            of_label = [m for m, item in zip(to_new, items, strict=True) if getattr(item, new) == label]
            assert value(row.by_label[side][label]) == pytest.approx(np.mean(of_label))  # type: ignore[index]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), follows=st.floats(0, 1))
def test_swapping_the_sides_negates_gap_reliance_and_lean(seed: int, follows: float) -> None:
    of = conflict_set(dialogues=5, seed=seed)
    one = system(of, "M", follows, seeds=(seed, seed + 1))
    row, other = judged(of, one)[0], judged(swapped(of), one)[0]
    for a, b in ((row.gap, other.gap), (row.reliance, other.reliance)):
        assert value(a) == pytest.approx(-value(b), abs=1e-12)
        assert a.low == pytest.approx(-b.high, abs=1e-9)  # type: ignore[operator]
    assert value(row.conflict) == pytest.approx(value(other.conflict))
    assert row.recombined is not None
    assert other.recombined is not None
    assert value(row.recombined.lean) == pytest.approx(-value(other.recombined.lean), abs=1e-12)
    assert value(row.recombined.shifts["face"]["to_new"]) == pytest.approx(
        value(other.recombined.shifts["voice"]["to_new"])
    )


def test_specificity_is_the_formula_and_a_system_against_itself_is_exactly_none() -> None:
    of = conflict_set(dialogues=40)
    base, other = system(of, "base", 0.9), system(of, "other", 0.5, seeds=(4, 5, 6), right=0.95)
    copy = replace(base, name="copy")
    rows = {row.name: row for row in judged(of, base, other, copy, baseline="base")}
    assert rows["base"].against is None
    same, against = rows["copy"].against, rows["other"].against
    assert same is not None
    assert against is not None
    for difference in (same.specificity, same.absolute_gap):
        assert difference is not None
        assert (difference.gap.value, difference.gap.low, difference.gap.high, difference.p) == (0, 0, 0, 1)
    m, b = rows["other"], rows["base"]
    conflict = value(m.conflict) - value(b.conflict)
    consistent = value(m.subsets["consistent"]["accuracy"]) - value(b.subsets["consistent"]["accuracy"])
    assert against.specificity is not None
    assert against.specificity.gap.value == pytest.approx(conflict - consistent)
    assert against.absolute_gap is not None
    assert against.absolute_gap.gap.value == pytest.approx(abs(value(m.gap)) - abs(value(b.gap)))
    assert against.absolute_gap.gap.high is not None
    assert against.absolute_gap.gap.high < 0, "it follows both sides alike, the baseline one"


@pytest.mark.parametrize("missing", JUDGED)
def test_a_side_without_items_has_no_number(missing: str) -> None:
    of = conflict_set()
    of = replace(of, items=tuple(one for one in of.items if one.subset != missing))
    base, other = system(of, "base", 0.9), system(of, "other", 0.5, seeds=(3,))
    result = judge.judge(of, "test", (base, other), PARAMS, "base")
    row, none = result.rows[1], Interval(None, None, None)
    assert result.counts[missing] == judge.Counts(0, 0)
    assert row.subsets[missing]["weighted_f1"] == none  # type: ignore[index]
    assert row.overall == none
    assert row.against is not None
    assert row.against.specificity is None
    assert (row.gap == none) == (row.reliance == none) == (missing != "consistent")
    json.dumps(result.to_plain(), allow_nan=False)


def test_nothing_at_all_to_judge_is_a_judgment_without_rows() -> None:
    of = replace(conflict_set(), items=())
    result = judge.judge(of, "test", [System("M", ({},))], PARAMS)
    assert result.rows == ()
    assert all(counts.items == 0 for counts in result.counts.values())
    assert judge.judge(conflict_set(), "dev", [System("M", ({},))], PARAMS).rows == ()


def test_one_dialogue_gives_numbers_without_intervals() -> None:
    of = conflict_set(dialogues=1)
    row = judged(of, system(of, "base", 0.9), system(of, "M", 0.5, seeds=(1,)), baseline="base")[1]
    assert row.gap.value is not None
    assert row.gap.low is None
    assert row.against is not None
    assert row.against.specificity is not None
    assert row.against.specificity.gap.low is None


def test_utterances_whose_sides_both_show_something_else_are_left_out_and_counted() -> None:
    of = conflict_set()
    odd = replace(of.items[0], id="odd", subset="other")
    result = judge.judge(replace(of, items=(*of.items, odd)), "test", [system(of, "M", 0.5)], PARAMS)
    assert result.left_out == 1
    assert result.counts["recombined"].items == sum(one.way == "recombined" for one in of.items)


def test_a_system_that_knows_no_recombinations_is_judged_on_the_rest() -> None:
    of = conflict_set()
    whole = system(of, "whole", 0.7)
    part = System("part", ({one.id: whole.seeds[0][one.id] for one in of.items if one.way != "recombined"},))
    a, b = judged(of, whole, part)
    assert b.recombined is None
    assert (a.gap, a.subsets) == (b.gap, b.subsets)


@pytest.mark.parametrize(
    ("fault", "id"),
    [
        (np.array([0.0, np.nan, -1.0]), "d00_u1"),
        (np.full(3, -np.inf), "d01_u2"),
        (np.zeros(4), "d00_u0"),
        (None, "d02_u0"),
    ],
)
def test_answers_that_do_not_fit_are_refused_by_name(fault: Floats | None, id: str) -> None:
    of = conflict_set()
    answers = dict(system(of, "M", 0.5).seeds[0])
    answers = {key: one for key, one in answers.items() if key != id} if fault is None else {**answers, id: fault}
    with pytest.raises(EvaluationError, match=id):
        judged(of, System("M", (answers,)))


def test_sets_of_labels_are_measured_as_in_the_public_metric() -> None:
    of = conflict_set(recombined=False)
    one = system(of, "M", 0.7)
    gold = {item.id: frozenset({str(item.label), "fear"}) for item in of.items if item.id < "d06"}
    result = judge.judge(of, "test", [one], PARAMS, gold_sets=gold, threshold=0.3)
    found = result.rows[0].sets
    assert found is not None
    for kind in JUDGED:
        accuracy, recall = [], []
        for item in of_kind(of, kind):
            if item.id in gold:
                p = np.exp(one.seeds[0][item.id])
                answer = {LABELS[i] for i in range(3) if p[i] >= 0.3 or p[i] == p.max()}
                accuracy.append(len(answer & gold[item.id]) / len(answer))
                recall.append(len(answer & gold[item.id]) / len(gold[item.id]))
        means = np.mean(accuracy), np.mean(recall)
        assert [value(found[kind][m]) for m in sets.MEASURES] == pytest.approx([*means, np.mean(means)])
    assert result.counts["gold_sets"].items == len(gold)
