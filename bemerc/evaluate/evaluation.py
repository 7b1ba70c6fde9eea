"""Evaluate several systems on one split: metrics with intervals, per label, per group and per speaker, and paired
differences.

intervals  Student's t around the value, with the variance over resamples of whole dialogues, and that of the training
           seeds where there are several (intervals.py); None with fewer than two dialogues
ece        expected calibration error of the label's probability, 15 equally wide bins (Guo et al. 2017)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.manifest import Manifest, Split
from bemerc.evaluate import intervals, test_set
from bemerc.evaluate.bootstrap import dialogue_counts, dialogue_weights, resampled
from bemerc.evaluate.metrics import METRICS, Floats, Ints, Metric, ece, f1, precision, recall, support
from bemerc.evaluate.test_set import Answers, Reference
from bemerc.language.predict.records import Prediction


@dataclass(frozen=True)
class Params:
    """Section ``evaluate`` of params.yaml.

    variants    the ladder of inputs, in the order of tables and plots
    resamples   bootstrap resamples of dialogues
    seed        of the bootstrap
    confidence  of the intervals
    """

    variants: tuple[str, ...] = ("T", "TV", "TVB")
    resamples: int = 10_000
    seed: int = 0
    confidence: float = 0.95

    def check(self) -> list[str]:
        """Faults of the values, empty if there are none."""
        faults = []
        if not self.variants or len(set(self.variants)) != len(self.variants):
            faults.append(f"variants: must name each variant once, not {list(self.variants)}.")
        if any(not name or not name.replace("_", "").replace("-", "").isalnum() for name in self.variants):
            faults.append(
                f"variants: names are letters, digits, _ and -, since files bear them, not {list(self.variants)}."
            )
        if self.resamples < 100:
            faults.append(f"resamples: {self.resamples} are too few for an interval; at least 100.")
        if not 0 < self.confidence < 1:
            faults.append(f"confidence: {self.confidence} must lie between 0 and 1.")
        return faults


def evaluate(
    manifest: Manifest,
    predictions: Mapping[str, Sequence[Prediction]],
    params: Params,
    pairs: Sequence[tuple[str, str]] = (),
    split: Split = "test",
    faces: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Evaluate every system on the labelled utterances of ``split``.

    predictions  system's name -> its predictions
    pairs        (a, b): the paired differences b - a to compute
    faces        utterance id -> the most faces in one frame of its clip, for those where that was measured

    Returns plain dicts, lists, str, int, float and None, ready for JSON; fractions, not per cent::

        split, utterances, dialogues, labels, resamples, confidence
        systems:     {name: {accuracy | weighted_f1 | macro_f1: {value, low, high}, ece,
                             per_class: {label: {precision, recall, f1, support, f1_low, f1_high}}, confusion: [[...]],
                             groups: {train_speakers | new_speakers | shift | steady | one_face | several_faces:
                                      {utterances, accuracy, weighted_f1}},
                             speakers: {name: {utterances, accuracy}}}}
        differences: {"b - a": {accuracy | weighted_f1 | macro_f1: {value, low, high}}}

    Raises EvaluationError where predictions do not fit the manifest.
    """
    reference = test_set.reference(manifest, split)
    answers_of = {name: test_set.answers(manifest, given, split, name) for name, given in predictions.items()}
    weights = dialogue_weights(reference.dialogues, params.resamples, params.seed) if reference.dialogues > 1 else None
    masks = groups(reference, faces or {})
    return {
        "split": split,
        "utterances": len(reference.ids),
        "dialogues": reference.dialogues,
        "labels": list(reference.labels),
        "resamples": params.resamples,
        "confidence": params.confidence,
        "systems": {
            name: _system(reference, answers, masks, weights, params.confidence) for name, answers in answers_of.items()
        },
        "differences": {
            f"{b} - {a}": _differences(reference, answers_of[a], answers_of[b], weights, params.confidence)
            for a, b in pairs
        },
    }


@dataclass(frozen=True)
class _Counts:
    """Confusion counts of one system: (C, C) as they are, (R, C, C) resampled; None where one dialogue alone has any."""

    whole: Ints
    drawn: Floats | None
    dialogues: int


def _counts(
    reference: Reference, answers: Answers, weights: Floats | None, mask: NDArray[np.bool_] | None = None
) -> _Counts:
    counts = dialogue_counts(reference, answers, mask)
    dialogues = int((counts.sum((1, 2)) > 0).sum())
    return _Counts(counts.sum(0), None if weights is None or dialogues < 2 else resampled(counts, weights), dialogues)


def _system(
    reference: Reference,
    answers: Answers,
    masks: Mapping[str, NDArray[np.bool_]],
    weights: Floats | None,
    confidence: float,
) -> dict[str, Any]:
    counts = _counts(reference, answers, weights)
    return {
        **{name: _measured(metric, counts, confidence) for name, metric in METRICS.items()},
        "ece": None if answers.scores is None else ece(reference.gold, answers.predicted, answers.scores),
        "per_class": {label: _label(i, counts, confidence) for i, label in enumerate(reference.labels)},
        "confusion": counts.whole.tolist(),
        "groups": {name: _group(reference, answers, mask, weights, confidence) for name, mask in masks.items()},
        "speakers": _speakers(reference, answers),
    }


def _label(code: int, counts: _Counts, confidence: float) -> dict[str, float | None]:
    measures = (("precision", precision), ("recall", recall), ("f1", f1), ("support", support))
    with_interval = _measured(lambda c: np.asarray(f1(c)[..., code]), counts, confidence)
    values = {name: float(measure(counts.whole)[code]) for name, measure in measures}
    return {**values, "f1_low": with_interval["low"], "f1_high": with_interval["high"]}


def groups(reference: Reference, faces: Mapping[str, int]) -> dict[str, NDArray[np.bool_]]:
    """Groups of a test set as masks (N,). An utterance that ``faces`` does not have is in none of the last two."""
    face_counts = np.array([faces.get(id_, 0) for id_ in reference.ids])
    return {
        "train_speakers": reference.in_train,
        "new_speakers": ~reference.in_train,
        "shift": reference.shift == 1,
        "steady": reference.shift == 0,
        "one_face": face_counts == 1,
        "several_faces": face_counts > 1,
    }


def _group(
    reference: Reference, answers: Answers, mask: NDArray[np.bool_], weights: Floats | None, confidence: float
) -> dict[str, Any]:
    counts = _counts(reference, answers, weights, mask)
    measured = {name: _measured(METRICS[name], counts, confidence) for name in ("accuracy", "weighted_f1")}
    return {"utterances": int(mask.sum()), **measured}


def _speakers(reference: Reference, answers: Answers) -> dict[str, dict[str, float]]:
    right = reference.gold == answers.predicted
    result: dict[str, dict[str, float]] = {}
    for name in sorted(set(reference.speakers)):
        rows = np.array([speaker == name for speaker in reference.speakers])
        result[name] = {"utterances": int(rows.sum()), "accuracy": float(right[rows].mean())}
    return result


def _measured(metric: Metric, counts: _Counts, confidence: float) -> dict[str, float | None]:
    value = float(metric(counts.whole))
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    draws = None if counts.drawn is None else metric(counts.drawn)
    return _with_interval(value, draws, counts.dialogues, 0.0, confidence)


def _differences(
    reference: Reference, a: Answers, b: Answers, weights: Floats | None, confidence: float
) -> dict[str, dict[str, float | None]]:
    counts_a, counts_b = (_counts(reference, answers, weights) for answers in (a, b))
    result = {}
    for name, metric in METRICS.items():
        value = float(metric(counts_b.whole) - metric(counts_a.whole))
        draws = (
            None
            if counts_a.drawn is None or counts_b.drawn is None
            else metric(counts_b.drawn) - metric(counts_a.drawn)
        )
        result[name] = _with_interval(value, draws, counts_a.dialogues, -1.0, confidence)
    return result


def _with_interval(
    value: float, draws: Floats | None, dialogues: int, least: float, confidence: float
) -> dict[str, float | None]:
    if draws is None:
        return {"value": value, "low": None, "high": None}
    repeated = intervals.Repeated(np.array([value]), draws[:, None], dialogues)
    low, high = intervals.level(repeated).interval(confidence, least, 1.0)
    return {"value": value, "low": low, "high": high}


def ladder_pairs(variants: Sequence[str]) -> list[tuple[str, str]]:
    """(a, b) wherever b is a with one more letter of T, V, B. Behavior's worth is (TV, TVB).

    Variants with other names give no pair.
    """
    rungs = [name for name in variants if name and set(name) <= set("TVB")]
    return [(a, b) for b in rungs for a in rungs if len(a) + 1 == len(b) and set(a) < set(b)]
