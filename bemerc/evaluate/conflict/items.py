"""Conflict items of one split as arrays, and the answers of a system to them, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.core.terminal import printable
from bemerc.corpus.conflict import ConflictItem, ConflictSet, Subset
from bemerc.corpus.manifest import Split
from bemerc.evaluate.metrics import Floats, Ints
from bemerc.evaluate.test_set import EvaluationError, Gold, listed

CONFLICTS: tuple[Subset, ...] = ("video_aligned", "audio_aligned")
JUDGED: tuple[Subset, ...] = ("consistent", *CONFLICTS)
# Which side of an utterance another's is put into: face and body, or voice and words with the turns before them.
Side = Literal["face", "voice"]
SIDES: tuple[Side, ...] = ("face", "voice")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class System:
    """What one system says: per training seed, item id -> (C,) log-probabilities of the labels.

    Of every item with a label; of the recombined ones and of the utterances that they were made of, or of neither.
    """

    name: str
    seeds: tuple[Mapping[str, Floats], ...]


@dataclass(frozen=True)
class Items:
    """The items that are judged, as arrays over N.

    gold, voice, face  the label, and the emotion of each side, as codes; gold is 0 where nobody knows it
    masks              subset or "recombined" -> (N,)
    quartile           (N,) 0..3
    """

    items: tuple[ConflictItem, ...]
    gold: Gold
    voice: Ints
    face: Ints
    masks: Mapping[str, Mask]
    quartile: Ints

    @property
    def conflict(self) -> Mask:
        """Both conflicts with a label."""
        return self.masks["video_aligned"] | self.masks["audio_aligned"]


def items_of(conflicts: ConflictSet, split: Split) -> Items | None:
    """The items of ``split`` that can be judged; None where there is none."""
    items = tuple(item for item in conflicts.of(split) if kind_of(item) is not None)
    if not items:
        return None
    code = {label: i for i, label in enumerate(conflicts.labels)}
    dialogue = {name: i for i, name in enumerate(sorted({item.dialogue for item in items}))}
    kinds = np.array([kind_of(item) for item in items])
    return Items(
        items,
        Gold(
            tuple(item.id for item in items),
            conflicts.labels,
            np.array([code[item.label] if item.label is not None else 0 for item in items], dtype=np.int64),
            np.array([dialogue[item.dialogue] for item in items], dtype=np.int64),
        ),
        np.array([code[item.label_voice] for item in items], dtype=np.int64),
        np.array([code[item.label_face] for item in items], dtype=np.int64),
        {kind: kinds == kind for kind in (*JUDGED, "recombined")},
        np.array([conflicts.quartile(item) for item in items], dtype=np.int64),
    )


def kind_of(item: ConflictItem) -> str | None:
    if item.way == "recombined":
        return "recombined"
    return item.subset if item.subset in JUDGED and item.label is not None else None


def logs_of(system: System, ids: Sequence[str], needed: Mask, classes: int) -> Floats:
    """(S, N, C) log-probabilities, 0 where they are not needed. EvaluationError where they are no answers to the items."""
    logs = np.zeros((len(system.seeds), len(ids), classes))
    wanted = [(i, ids[i]) for i in np.flatnonzero(needed).tolist()]
    for seed, answers in enumerate(system.seeds):
        missing = [printable(id) for _, id in wanted if id not in answers]
        if missing:
            raise EvaluationError(
                f"{len(missing)} of {len(wanted)} conflict items have no prediction: {listed(missing)}. "
                "Predict all of them before evaluating.",
                path=system.name,
                name=missing[0],
            )
        for i, id in wanted:
            logs[seed, i] = _checked(system.name, id, answers[id], classes)
    return logs


def _checked(name: str, id: str, logs: Floats, classes: int) -> Floats:
    if np.shape(logs) != (classes,):
        raise EvaluationError(
            f"{printable(id)} has {np.size(logs)} scores, and there are {classes} labels. Judge a model of this "
            "label set.",
            path=name,
            name=id,
        )
    if np.isnan(logs).any() or not np.isfinite(np.max(logs)):
        raise EvaluationError(
            f"the scores of {printable(id)} are no numbers. The model that made them has diverged: look at "
            "steps.csv in its folder.",
            path=name,
            name=id,
        )
    return logs


def shifts_of(system: System, items: Items, side: Side, logs: Floats, mask: Mask) -> Floats | None:
    """(S, N, C): the probabilities of recombined items less those of the original in which ``side`` was swapped.

    The original of a swapped face is the utterance whose voice is read, and the other way around. None where the system
    has no scores of the originals.
    """
    originals = [one.voice_of if side == "face" else one.face_of for one in items.items]
    if any(originals[i] not in seed for i in np.flatnonzero(mask) for seed in system.seeds):
        return None
    before = logs_of(system, originals, mask, logs.shape[-1])
    return np.where(mask[:, None], np.exp(logs) - np.exp(before), 0.0)
