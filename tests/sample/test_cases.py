"""The sample's cases: the ceilings, and a deal that ties labels to nothing."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from bemerc.sample.cases import (
    CASES,
    CONFLICTS,
    LABELS,
    LADDER,
    SILENT,
    ceilings,
    ceilings_of,
    deal,
    distribution,
    others,
    roles,
)
from bemerc.sample.words import FRAMES, OPENERS, QUALITIES, sentence


def test_the_ceilings_are_those_that_the_corpus_was_designed_for() -> None:
    best = ceilings()
    assert best["T"] == pytest.approx(18 / 35)  # by hand: (.8 + 6 * 7 / 15) / 7
    assert best == {key: pytest.approx(value, abs=0.012) for key, value in
                     {"T": 0.51, "TV": 0.685, "TB": 0.685, "TVB": 0.88}.items()}  # fmt: skip


def test_ceilings_agree_with_a_reader_that_learns_from_many_utterances() -> None:
    rng = np.random.default_rng(0)
    table = distribution(0.3)
    assert sum(table.values()) == pytest.approx(1)
    drawn = rng.choice(len(table), size=60_000, p=np.array(list(table.values())))
    every = [list(table)[i] for i in drawn]
    for variant, inputs in LADDER.items():
        counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for role in every:
            counts[tuple(role.modalities()[i] for i in inputs)][role.label] += 1
        learnt = sum(counter.most_common(1)[0][1] for counter in counts.values()) / len(every)
        assert learnt == pytest.approx(ceilings()[variant], abs=0.01), variant


@pytest.mark.parametrize("conflicts", [1, 2, 3])
def test_a_deal_has_the_shares_of_its_distribution(conflicts: int) -> None:
    dealt = deal(4200, 0.3, [(0,)] * 4200, np.random.default_rng(1), conflicts)
    table = distribution(0.3, conflicts)
    assert sum(table.values()) == pytest.approx(1)
    for case in CASES:
        share = sum(value for role, value in table.items() if role.case == case)
        assert share == pytest.approx((conflicts if case in CONFLICTS else 1) / (4 + 2 * conflicts))
        assert sum(role.case == case for role in dealt) / 4200 == pytest.approx(share, abs=0.002)
    labels = Counter(role.label for role in dealt if role.case in CONFLICTS)
    assert max(labels.values()) - min(labels.values()) <= 2 * conflicts
    assert ceilings_of(dealt, 0.3, conflicts)["TVB"] == pytest.approx(ceilings(0.3, conflicts)["TVB"], abs=0.02)


@pytest.mark.parametrize("hint", [0.0, 0.6, 1.0])
def test_words_that_tell_more_raise_what_words_can_reach(hint: float) -> None:
    assert ceilings(hint)["TVB"] >= ceilings(hint)["TV"] >= ceilings(hint)["T"]
    assert ceilings(hint)["T"] == pytest.approx(ceilings(0)["T"] + hint * (ceilings(1)["T"] - ceilings(0)["T"]))
    assert ceilings(1)["T"] == pytest.approx(5 / 7)  # silent words are all that can mislead


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("label", LABELS)
def test_silent_modalities_are_neutral_and_contradictions_are_loud(label: str, case: str) -> None:
    for other in others(label):
        role = roles(label, case, other, "fear")  # type: ignore[arg-type]
        shown = dict(zip(("words", "face", "voice"), role.modalities(), strict=True))
        if case in CONFLICTS:
            true, false = ("face", "voice") if case == "face_true" else ("voice", "face")
            assert (shown[true], shown[false], shown["words"]) == (label, other, "fear")
            assert other not in (label, SILENT)
        elif case == "all":
            assert set(shown.values()) == {label}
        else:
            assert {name for name, emotion in shown.items() if emotion != SILENT} <= {case}
            assert shown[case] == label


def dealt(count: int, seed: int) -> tuple[list, np.ndarray]:
    ties = np.array([(i % 6, i // 6 % 9, i * 7 % 3) for i in range(count)])
    return deal(count, 0.3, ties.tolist(), np.random.default_rng(seed)), ties


def test_a_deal_is_even_over_labels_and_cases() -> None:
    deck, _ = dealt(216, 1)
    assert max(Counter(r.label for r in deck).values()) - min(Counter(r.label for r in deck).values()) <= 1
    assert set(Counter(r.case for r in deck).values()) == {36}
    assert max(Counter((r.label, r.case) for r in deck).values()) - min(
        Counter((r.label, r.case) for r in deck).values()) <= 1  # fmt: skip
    assert ceilings_of(deck) == {key: pytest.approx(value, abs=0.05) for key, value in ceilings().items()}


def test_a_deal_depends_on_its_seed_alone() -> None:
    assert dealt(84, 3)[0] == dealt(84, 3)[0] != dealt(84, 4)[0]


def unevenness(labels: np.ndarray, ties: np.ndarray) -> float:
    """Chi-square of label against every tie, written another way than in the module."""
    total = 0.0
    for column in ties.T:
        for value in np.unique(column):
            for label in np.unique(labels):
                expected = np.mean(labels == label) * np.sum(column == value)
                total += (np.sum((labels == label) & (column == value)) - expected) ** 2 / expected
    return total


def test_labels_follow_turn_speaker_and_length_less_than_chance_would() -> None:
    deck, ties = dealt(216, 5)
    labels = np.array([r.label for r in deck])
    rng = np.random.default_rng(0)
    chance = [unevenness(rng.permutation(labels), ties) for _ in range(40)]
    assert unevenness(labels, ties) < np.quantile(chance, 0.1)


def test_words_are_marked_by_their_own_emotion_and_no_other() -> None:
    rng = np.random.default_rng(0)
    marks = {e: {w.lower() for w in OPENERS[e] + QUALITIES[e]} for e in LABELS}
    assert sum(len(m) for m in marks.values()) == len(set().union(*marks.values())), "a word marks two emotions"
    for emotion in LABELS:
        for _ in range(200):
            words = set(sentence(emotion, rng).lower().replace(",", "").replace(".", "").split())
            shown = {e for e in LABELS if words & marks[e]} - {SILENT}
            assert shown == ({emotion} - {SILENT})
            assert 4 <= len(words) <= 10


def test_a_sentences_form_and_length_tell_nothing() -> None:
    rng = np.random.default_rng(1)
    texts = {e: [sentence(e, rng) for _ in range(1500)] for e in LABELS}
    assert len(set().union(*map(set, texts.values()))) > 5000
    means = [np.mean([len(t) for t in texts[e]]) for e in LABELS]
    words = [np.mean([len(t.split()) for t in texts[e]]) for e in LABELS]
    assert max(means) - min(means) < 2.5
    assert max(words) - min(words) < 0.15
    assert all("{opener}" in frame and "{quality}" in frame for frame in FRAMES)
