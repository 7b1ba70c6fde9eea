"""Recombinations: the face and body of one utterance with the words and voice of another of the same speaker.

Both are utterances in which face and voice agree, and they agree on different emotions, so that the pair disagrees. Nothing
is copied: an item names its two utterances. Ours; the kin of it are AVERE's preferences over input pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from bemerc.corpus.manifest import NOBODY, Utterance

# (voice, face), both utterances.
Pair = tuple[Utterance, Utterance]


@dataclass(frozen=True)
class Consistent:
    """An utterance whose face and voice both show ``label``."""

    utterance: Utterance
    label: str


def pairs(consistent: Sequence[Consistent], per_utterance: int, seed: int) -> list[Pair]:
    """Pairs within a split and a named speaker; each utterance is in ``per_utterance`` of them at most.

    The pairs of labels take turns, and none gets more than the median one of its split could get: the most frequent two
    emotions would otherwise be nearly all. The same input and seed give the same pairs.
    """
    rng = np.random.default_rng(seed)
    shuffled = [consistent[i] for i in rng.permutation(len(consistent))]
    chosen: list[Pair] = []
    for split in ("train", "dev", "test"):
        mine = [c for c in shuffled if c.utterance.split == split and c.utterance.speaker != NOBODY]
        chosen += _balanced(_candidates(mine, per_utterance), per_utterance)
    return chosen


def _candidates(consistent: Sequence[Consistent], per_utterance: int) -> dict[tuple[str, str], list[Pair]]:
    """(voice's label, face's label) -> pairs of one speaker each, enough for every utterance to be used up."""
    groups: dict[str, dict[str, list[Utterance]]] = {}
    for c in consistent:
        groups.setdefault(c.utterance.speaker, {}).setdefault(c.label, []).append(c.utterance)
    of_labels: dict[tuple[str, str], dict[Pair, None]] = {}
    for speaker in sorted(groups):
        for labels in permutations(sorted(groups[speaker]), 2):
            voices, faces = (groups[speaker][label] for label in labels)
            of_labels.setdefault(labels, {}).update(dict.fromkeys(_rounds(voices, faces, per_utterance)))
    return {labels: list(ordered) for labels, ordered in of_labels.items()}


def _rounds(voices: Sequence[Utterance], faces: Sequence[Utterance], rounds: int) -> Iterator[Pair]:
    """Every utterance of the longer list with another partner in each round. Linear: all pairs would be millions."""
    for shift in range(rounds):
        for i in range(max(len(voices), len(faces))):
            yield voices[i % len(voices)], faces[(i + shift) % len(faces)]


def _balanced(candidates: Mapping[tuple[str, str], Sequence[Pair]], per_utterance: int) -> list[Pair]:
    waiting = {labels: iter(candidates[labels]) for labels in sorted(candidates)}
    taken: dict[tuple[str, str], list[Pair]] = {labels: [] for labels in waiting}
    uses: dict[str, int] = {}
    while waiting:
        for labels in list(waiting):
            pair = next((p for p in waiting[labels] if all(uses.get(u.id, 0) < per_utterance for u in p)), None)
            if pair is None:
                del waiting[labels]
                continue
            taken[labels].append(pair)
            for u in pair:
                uses[u.id] = uses.get(u.id, 0) + 1
    most = int(np.median([len(mine) for mine in taken.values()])) if taken else 0
    return [pair for mine in taken.values() for pair in mine[: max(1, most)]]
