"""Predictions of one split beside its gold labels, as arrays in one order, after a check that they fit the manifest.

shift: whether a turn's label differs from that of the speaker's own previous labelled turn in the dialogue; a
speaker's first turn has none (Majumder et al. 2019, DialogueRNN, section 5.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest, Split, Utterance
from bemerc.evaluate.metrics import Floats, Ints
from bemerc.language.predict.records import Prediction

LISTED_IDS = 5


class EvaluationError(BemercError):
    """Predictions do not fit the manifest: wrong, missing or duplicate ids, unknown labels, invalid scores."""


@dataclass(frozen=True)
class Gold:
    """What is judged, as arrays over N: labelled utterances of one split, or conflict items.

    gold      (N,) codes into ``labels``, whose order is the order of codes 0..C-1
    dialogue  (N,) codes 0..G-1
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    gold: Ints
    dialogue: Ints

    @property
    def dialogues(self) -> int:
        """G, the number of dialogues."""
        return int(np.max(self.dialogue)) + 1


@dataclass(frozen=True)
class Reference(Gold):
    """The labelled utterances of one split as arrays over N, sorted by id.

    in_train  (N,) bool: the speaker has an utterance in train
    shift     (N,) 1 = another label than the speaker's previous turn, 0 = the same, -1 = the speaker's first turn
    """

    speakers: tuple[str, ...]
    in_train: NDArray[np.bool_]
    shift: Ints


@dataclass(frozen=True)
class Answers:
    """One system's answers in the order of a Reference: predicted (N,) codes, scores (N, C) probabilities or None."""

    predicted: Ints
    scores: Floats | None


def reference(manifest: Manifest, split: Split = "test") -> Reference:
    """The gold labels of ``split``. EvaluationError if no utterance there has a label."""
    labelled = [u for u in manifest.by_split(split) if u.label is not None]
    if not labelled:
        raise EvaluationError(
            f"The manifest has no labelled utterance in {split}, so there is nothing to evaluate. Run 'bemerc prepare'.",
            name=split,
        )
    code = {label: i for i, label in enumerate(manifest.labels)}
    dialogue = {name: i for i, name in enumerate(sorted({u.dialogue for u in labelled}))}
    trained = {u.speaker for u in manifest.by_split("train") if u.speaker}
    shift = shifts(manifest)
    return Reference(
        ids=tuple(u.id for u in labelled),
        labels=manifest.labels,
        speakers=tuple(u.speaker for u in labelled),
        gold=np.array([code[u.label] for u in labelled if u.label is not None], dtype=np.int64),
        dialogue=np.array([dialogue[u.dialogue] for u in labelled], dtype=np.int64),
        in_train=np.array([u.speaker in trained for u in labelled], dtype=np.bool_),
        shift=np.array([shift[u.id] for u in labelled], dtype=np.int64),
    )


def shifts(manifest: Manifest) -> dict[str, int]:
    """Id of every labelled utterance -> 1 (another label than the speaker's previous one), 0 (the same), -1 (the
    speaker's first, or no speaker is named)."""
    result: dict[str, int] = {}
    for dialogue in manifest.dialogues():
        last: dict[str, Utterance] = {}
        for turn in dialogue.utterances:
            if turn.label is None:
                continue
            before = last.get(turn.speaker) if turn.speaker else None
            result[turn.id] = -1 if before is None else int(before.label != turn.label)
            last[turn.speaker] = turn
    return result


def validate(
    manifest: Manifest,
    predictions: Sequence[Prediction],
    split: Split = "test",
    name: str = "predictions",
    needed: Collection[str] | None = None,
) -> None:
    """Raise EvaluationError, one sentence per kind of fault, unless ``predictions`` can be evaluated on ``split``.

    Every labelled utterance of the split needs exactly one prediction, or every one of the ids ``needed``; those of
    other utterances of the manifest are ignored. ``name`` opens the sentences. StaleError where a model of another
    manifest or other splits made them.
    """
    if needed is None:
        needed = {u.id for u in manifest.by_split(split) if u.label is not None}
    if not predictions:
        raise EvaluationError("there are no predictions in it. Run 'bemerc predict' again.", path=name, missing=True)
    for fingerprint in {p.manifest for p in predictions if p.manifest is not None}:
        provenance.must_match(name, fingerprint, provenance.learned(manifest), "bemerc predict")
    faults = [
        *_id_faults(manifest, predictions, split, needed),
        *_label_faults(manifest, predictions),
        *_score_faults(manifest, predictions),
    ]
    if faults:
        raise EvaluationError("\n".join(f"{name}: {fault}" for fault in faults))


def answers(
    manifest: Manifest, predictions: Sequence[Prediction], split: Split = "test", name: str = "predictions"
) -> Answers:
    """Validated predictions in the order of ``reference(manifest, split)``."""
    validate(manifest, predictions, split, name)
    code = {label: i for i, label in enumerate(manifest.labels)}
    by_id = {p.id: p for p in predictions}
    ordered = [by_id[u.id] for u in manifest.by_split(split) if u.label is not None]
    scored = all(p.scores for p in ordered)
    scores = (
        np.array([[p.scores[label] for label in manifest.labels] for p in ordered], dtype=np.float64)
        if scored
        else None
    )
    return Answers(np.array([code[p.label] for p in ordered], dtype=np.int64), scores)


def _id_faults(
    manifest: Manifest, predictions: Sequence[Prediction], split: Split, needed: Collection[str]
) -> list[str]:
    manifest_ids = {u.id for u in manifest.utterances}
    counted = Counter(p.id for p in predictions)
    duplicates = [id_ for id_, times in counted.items() if times > 1]
    unknown, missing = [id_ for id_ in counted if id_ not in manifest_ids], sorted(set(needed) - set(counted))
    faults = []
    if unknown:
        faults.append(
            f"{len(unknown)} of {len(counted)} ids are not in the manifest: {listed(unknown)}. They were made from "
            "another manifest: run 'bemerc predict'."
        )
    if duplicates:
        faults.append(
            f"{len(duplicates)} ids have more than one prediction: {listed(duplicates)}. Keep one line per utterance."
        )
    if missing:
        faults.append(
            f"{len(missing)} of {len(needed)} labelled utterances in {split} have no prediction: {listed(missing)}. "
            "Predict all of them before evaluating."
        )
    return faults


def _label_faults(manifest: Manifest, predictions: Sequence[Prediction]) -> list[str]:
    gold = {u.id: u.label for u in manifest.utterances}
    unknown = [f"{p.id} says '{p.label}'" for p in predictions if p.label not in manifest.labels]
    differing = [
        f"{p.id} says '{p.gold}', the manifest '{gold[p.id]}'"
        for p in predictions
        if p.gold is not None and gold.get(p.id, p.gold) != p.gold
    ]
    faults = []
    if unknown:
        faults.append(
            f"{len(unknown)} labels are outside the label set ({', '.join(manifest.labels)}): {listed(unknown)}."
        )
    if differing:
        faults.append(
            f"{len(differing)} gold labels are not the manifest's: {listed(differing)}. They were made from another "
            "manifest: run 'bemerc predict'."
        )
    return faults


def _score_faults(manifest: Manifest, predictions: Sequence[Prediction]) -> list[str]:
    scored = [p for p in predictions if p.scores]
    if not scored:
        return []
    faults = []
    unscored = [p.id for p in predictions if not p.scores]
    if unscored:
        faults.append(
            f"{len(unscored)} predictions have no scores while {len(scored)} have: {listed(unscored)}. Give all or "
            "none."
        )
    mislabelled = [p.id for p in scored if set(p.scores) != set(manifest.labels)]
    if mislabelled:
        faults.append(
            f"{len(mislabelled)} predictions score other labels than the label set's ({', '.join(manifest.labels)}): "
            f"{listed(mislabelled)}."
        )
    non_finite = [p.id for p in scored if not np.isfinite(list(p.scores.values())).all()]
    if non_finite:
        faults.append(
            f"{len(non_finite)} predictions hold NaN or infinite scores: {listed(non_finite)}. The model that made "
            "them has diverged: look at steps.csv in its folder."
        )
    unnormalised = [
        f"{p.id} sums to {_total(p):.4g}"
        for p in scored
        if p.id not in set(non_finite) and (abs(_total(p) - 1) > 1e-3 or min(p.scores.values()) < 0)
    ]
    if unnormalised:
        faults.append(
            f"{len(unnormalised)} scores are no probabilities (at least 0, sum 1): {listed(unnormalised)}. Leave "
            "scores empty if there are none."
        )
    return faults


def _total(prediction: Prediction) -> float:
    return float(sum(prediction.scores.values()))


def listed(items: Sequence[str]) -> str:
    """The first few items and how many more there are."""
    more = f" and {len(items) - LISTED_IDS} more" if len(items) > LISTED_IDS else ""
    return ", ".join(printable(item, 80) for item in items[:LISTED_IDS]) + more
