"""Conflict items by chance, and systems that follow face or voice with a given probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bemerc.corpus.conflict import ConflictItem, ConflictSet, Subset
from bemerc.evaluate.conflict.items import System
from bemerc.evaluate.metrics import Floats

LABELS = ("joy", "anger", "fear")
SUBSETS: tuple[Subset, ...] = ("consistent", "video_aligned", "audio_aligned")


def conflict_set(dialogues: int = 12, turns: int = 6, recombined: bool = True, seed: int = 0) -> ConflictSet:
    """Labelled items in turn of each subset, and between two consistent ones of a dialogue both recombinations; all test."""
    rng = np.random.default_rng(seed)
    items: list[ConflictItem] = []
    for d in range(dialogues):
        agreeing: list[ConflictItem] = []
        for t in range(turns):
            voice, face = (LABELS[i] for i in rng.permutation(len(LABELS))[:2])
            subset = SUBSETS[t % 3]
            shown = {"consistent": (voice, voice), "video_aligned": (voice, face), "audio_aligned": (voice, face)}[
                subset
            ]
            label = face if subset == "video_aligned" else voice
            id = f"d{d:02d}_u{t}"
            item = ConflictItem(
                id,
                "labels",
                subset,
                "test",
                f"d{d:02d}",
                id,
                id,
                label,
                *shown,
                1.0,
                0 if subset == "consistent" else rng.random(),
            )
            items.append(item)
            agreeing += [item] if subset == "consistent" else []
        if recombined:
            items += [mixed(a, b, rng.random()) for a in agreeing for b in agreeing if a.label != b.label]
    return ConflictSet(tuple(sorted(items, key=lambda one: one.id)), LABELS, "f" * 32, {}, (0.25, 0.5, 0.75))


def mixed(voice: ConflictItem, face: ConflictItem, strength: float) -> ConflictItem:
    return ConflictItem(
        f"{voice.id} ~ {face.id}", "recombined", "other", "test", voice.dialogue, voice.id, face.id, None,
        voice.label_voice, face.label_face, 1.0, strength,
    )  # fmt: skip


def swapped(of: ConflictSet) -> ConflictSet:
    """The same with face and voice in each other's place."""
    other: dict[Subset, Subset] = {"video_aligned": "audio_aligned", "audio_aligned": "video_aligned"}
    return replace(
        of,
        items=tuple(
            replace(
                one, subset=other.get(one.subset, one.subset), label_voice=one.label_face, label_face=one.label_voice,
                voice_of=one.face_of, face_of=one.voice_of,
            )
            for one in of.items
        ),
    )  # fmt: skip


def answers(of: ConflictSet, follows_face: float, right: float, seed: int) -> dict[str, Floats]:
    """Log-probabilities: with probability ``right`` the emotion of a side, which is the face's with ``follows_face``."""
    rng = np.random.default_rng(seed)
    scores = {}
    for item in of.items:
        side = item.label_face if rng.random() < follows_face else item.label_voice
        wanted = side if rng.random() < right else LABELS[rng.integers(len(LABELS))]
        weights = rng.random(len(LABELS)) + 2.0 * np.array([name == wanted for name in LABELS])
        scores[item.id] = np.log(weights / weights.sum())
    return scores


def system(of: ConflictSet, name: str, follows_face: float, seeds: Sequence[int] = (0,), right: float = 0.8) -> System:
    return System(name, tuple(answers(of, follows_face, right, seed) for seed in seeds))
