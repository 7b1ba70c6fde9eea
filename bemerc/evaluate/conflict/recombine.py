"""Recombinations: the face and body of one utterance with the words and voice of another of the same speaker.

The voice of the one is sure to show its label and so is the face of the other, and the labels differ, so that the pair
disagrees. What the sides that are not taken show does not matter: were they to agree too, few utterances would be left.
Nothing is copied: an item names its two utterances. Ours; the kin of it are AVERE's preferences over input pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bemerc.corpus.manifest import NOBODY, Utterance

# (voice, face), both utterances.
Pair = tuple[Utterance, Utterance]


@dataclass(frozen=True)
class Shows:
    """An utterance of which one side, its face or its voice, shows ``label``."""

    utterance: Utterance
    label: str


def pairs(voices: Sequence[Shows], faces: Sequence[Shows], per_utterance: int, seed: int) -> list[Pair]:
    """Pairs within a split and a named speaker; each utterance is in ``per_utterance`` of them at most.

    voices, faces  the utterances whose voice, and those whose face shows their label

    The pairs of labels take turns, and none gets more than the median one of its split could get: the most frequent two
    emotions would otherwise be nearly all. The same input and seed give the same pairs.
    """
    rng = np.random.default_rng(seed)
    voices, faces = ([side[i] for i in rng.permutation(len(side))] for side in (voices, faces))
    chosen: list[Pair] = []
    for split in ("train", "dev", "test"):
        candidates = _candidates(_by_speaker(voices, split), _by_speaker(faces, split), per_utterance)
        chosen += _balanced(candidates, per_utterance)
    return chosen


def _by_speaker(side: Sequence[Shows], split: str) -> dict[str, dict[str, list[Utterance]]]:
    """Named speaker -> label -> utterances of the split."""
    groups: dict[str, dict[str, list[Utterance]]] = {}
    for one in side:
        if one.utterance.split == split and one.utterance.speaker != NOBODY:
            groups.setdefault(one.utterance.speaker, {}).setdefault(one.label, []).append(one.utterance)
    return groups


def _candidates(
    voices: Mapping[str, Mapping[str, Sequence[Utterance]]],
    faces: Mapping[str, Mapping[str, Sequence[Utterance]]],
    per_utterance: int,
) -> dict[tuple[str, str], list[Pair]]:
    """(voice's label, face's label) -> pairs of one speaker each, enough for every utterance to be used up."""
    of_labels: dict[tuple[str, str], dict[Pair, None]] = {}
    for speaker in sorted(voices.keys() & faces.keys()):
        for voice, face in product(sorted(voices[speaker]), sorted(faces[speaker])):
            if voice != face:
                mixed = _rounds(voices[speaker][voice], faces[speaker][face], per_utterance)
                of_labels.setdefault((voice, face), {}).update(dict.fromkeys(mixed))
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
