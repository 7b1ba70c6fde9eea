"""The sample's six cases (which modalities carry the emotion), and the best possible accuracy on them.

Random labels would correlate by chance with speakers, turns or lengths, which on a few hundred utterances is worth
several points. So labels and cases are balanced, and of many shuffles the one with the weakest correlations is kept.
The best possible accuracy (ceiling) is computed by enumeration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.labels import LABEL_SETS

LABELS = LABEL_SETS["meld"]
SILENT = "neutral"  # shown by a modality that does not carry the emotion

Case = Literal["all", "words", "face", "voice", "face_true", "voice_true"]
CASES: tuple[Case, ...] = ("all", "words", "face", "voice", "face_true", "voice_true")
CONFLICTS: tuple[Case, ...] = ("face_true", "voice_true")
# Variant -> the modalities that it reads, as places in Roles.modalities: words, face and body, voice.
LADDER: dict[str, tuple[int, ...]] = {"T": (0,), "TV": (0, 2), "TB": (0, 1), "TVB": (0, 1, 2)}


@dataclass(frozen=True)
class Roles:
    """An utterance's label, its case, and the emotion that its words, face (with body) and voice show."""

    label: str
    case: Case
    words: str
    face: str
    voice: str

    def modalities(self) -> tuple[str, str, str]:
        """The emotions of (words, face, voice)."""
        return self.words, self.face, self.voice


def others(label: str) -> tuple[str, ...]:
    """The emotions that contradict ``label``: all others except neutral."""
    return tuple(name for name in LABELS if name not in (label, SILENT))


def roles(label: str, case: Case, other: str, hint: str) -> Roles:
    """The roles of a label and case. ``other`` and ``hint`` (shown by the words) matter only in the two conflicts."""
    if case == "face_true":
        return Roles(label, case, hint, label, other)
    if case == "voice_true":
        return Roles(label, case, hint, other, label)
    loud = {"all": ("words", "face", "voice")}.get(case, (case,))
    words, face, voice = (label if name in loud else SILENT for name in ("words", "face", "voice"))
    return Roles(label, case, words, face, voice)


def cases_of(conflicts: int) -> tuple[Case, ...]:
    """The cases as often as they are dealt: the four without conflict once, the two others ``conflicts`` times."""
    return (*CASES[: -len(CONFLICTS)], *CONFLICTS * conflicts)


def distribution(hint_share: float, conflicts: int = 1) -> dict[Roles, float]:
    """Roles -> probability; labels and contradicting emotions are uniform.

    hint_share  in a conflict the words show the label with this probability, else a random one
    conflicts   how often each of the two conflicts is dealt beside one of each other case
    """
    cases = cases_of(conflicts)
    table: dict[Roles, float] = {}
    for label, case in product(LABELS, cases):
        for other, hint in product(others(label), LABELS) if case in CONFLICTS else ((label, label),):
            share = 1.0
            if case in CONFLICTS:
                share = (hint_share * (hint == label) + (1 - hint_share) / len(LABELS)) / len(others(label))
            role = roles(label, case, other, hint)
            table[role] = table.get(role, 0.0) + share / (len(LABELS) * len(cases))
    return table


def ceilings(hint_share: float = 0.3, conflicts: int = 1) -> dict[str, float]:
    """Variant -> the best possible accuracy (Bayes), if every modality is read without error."""
    return {variant: _bayes(distribution(hint_share, conflicts), inputs) for variant, inputs in LADDER.items()}


def ceilings_of(corpus: Sequence[Roles], hint_share: float = 0.3, conflicts: int = 1) -> dict[str, float]:
    """Variant -> the accuracy of the Bayes classifier on these utterances; ties count as a fair guess."""
    table = distribution(hint_share, conflicts)
    return {variant: _accuracy(corpus, _joint(table, inputs), inputs) for variant, inputs in LADDER.items()}


def _joint(table: Mapping[Roles, float], inputs: tuple[int, ...]) -> dict[tuple[str, ...], dict[str, float]]:
    """Emotions of the ``inputs`` -> label -> joint probability."""
    sums: dict[tuple[str, ...], dict[str, float]] = {}
    for role, share in table.items():
        row = sums.setdefault(_select(role, inputs), dict.fromkeys(LABELS, 0.0))
        row[role.label] += share
    return sums


def _select(role: Roles, inputs: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(role.modalities()[i] for i in inputs)


def _bayes(table: Mapping[Roles, float], inputs: tuple[int, ...]) -> float:
    return sum(max(row.values()) for row in _joint(table, inputs).values())


def _accuracy(
    corpus: Sequence[Roles], joint: Mapping[tuple[str, ...], Mapping[str, float]], inputs: tuple[int, ...]
) -> float:
    total = 0.0
    for role in corpus:
        row = joint[_select(role, inputs)]
        best = [label for label, share in row.items() if share > max(row.values()) - 1e-12]
        total += (role.label in best) / len(best)
    return total / max(1, len(corpus))


# ---- dealing ---------------------------------------------------------------------------------------------------------


def deal(
    count: int, hint_share: float, ties: Sequence[Sequence[int]], rng: np.random.Generator, conflicts: int = 1
) -> list[Roles]:
    """``count`` roles, in an order that is independent of ``ties``.

    ties  per utterance, numbers that must not predict the label (turn, speaker, length class). Of 200 shuffles the one
          with the most even label counts over their values is kept.
    """
    deck = _deck(count, hint_share, rng, cases_of(conflicts))
    labels = np.array([LABELS.index(role.label) for role in deck])
    columns = np.array(ties, dtype=int).reshape(count, -1).T
    shuffles = [rng.permutation(count) for _ in range(200)]
    best = min(shuffles, key=lambda order: _unevenness(labels[order], columns))
    return [deck[i] for i in best]


def _deck(count: int, hint_share: float, rng: np.random.Generator, dealt: Sequence[Case]) -> list[Roles]:
    # 7 labels and 6 cases have no common divisor: (i mod 7, i mod 6) takes all 42 pairs before one repeats, and every
    # stretch of it is balanced in labels and in cases. So it is of 8 and 10 cases; plan.Params refuses multiples of 7.
    labels, cases = rng.permutation(np.array(LABELS)), [dealt[i] for i in rng.permutation(len(dealt))]
    pairs = [(str(labels[i % len(LABELS)]), cases[i % len(cases)]) for i in range(count)]
    loud = [i for i, (_, case) in enumerate(pairs) if case in CONFLICTS]
    hinted = set(rng.permutation(loud)[: round(hint_share * len(loud))].tolist())
    noise = _cycle(LABELS, len(loud), rng)
    rivals = {label: _cycle(others(label), count, rng) for label in LABELS}
    deck = []
    for i, (label, case) in enumerate(pairs):
        word = label if i in hinted else (noise.pop() if case in CONFLICTS else label)
        deck.append(roles(label, case, rivals[label].pop(), word))
    return deck


def _cycle(values: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """``count`` values in shuffled rounds of all ``values``."""
    rounds = -(-count // len(values))
    return [str(v) for _ in range(rounds) for v in rng.permutation(np.array(values))][:count]


def _unevenness(labels: NDArray[np.int64], columns: Iterable[NDArray[np.int64]]) -> float:
    """Chi-squared statistic of labels against every column, summed."""
    total = 0.0
    share = np.bincount(labels, minlength=len(LABELS)) / len(labels)
    for column in columns:
        counts = np.zeros((int(np.max(column)) + 1, len(LABELS)))
        np.add.at(counts, (column, labels), 1)
        expected = counts.sum(1, keepdims=True) * share
        total += float((((counts - expected) ** 2) / np.maximum(expected, 1e-9))[expected > 0].sum())
    return total
