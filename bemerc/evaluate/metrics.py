"""What predictions are worth: validate them, one pure function per metric, evaluate() -> dict. numpy only.

The obvious choice is one scikit-learn call per number. Here every metric is a function of confusion counts with any
leading axes, so a bootstrap of 10,000 resamples of whole dialogues is one matrix product and one call; the numbers are
scikit-learn's to 1e-12 (tests/test_evaluate.py).

Conventions
  labels       the label set's order is the order of codes 0..C-1; counts[i, j] = gold i that was labelled j
  averages     weighted by support; macro over the labels that occur in gold or prediction; 0 where nothing is divided
               by nothing (scikit-learn's defaults with zero_division=0)
  seeds        every training seed is judged by itself, then the mean is taken: F1 of pooled counts is another number
  intervals    Student's t around the value, with the variance over resamples of whole dialogues, since turns of one
               dialogue are not independent, and with that of the training seeds where there are several (intervals.py);
               the same resamples for every system, so that differences are paired; None with fewer than two dialogues
  seen         the speaker has an utterance in train
  shift        the label differs from that of the speaker's own previous labelled turn in the dialogue; steady: it does
               not; a speaker's first turn is neither (Majumder et al. 2019, DialogueRNN, section 5.2)
  ece          expected calibration error of the label's probability, 15 equally wide bins (Guo et al. 2017)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest, Split, Utterance
from bemerc.evaluate import intervals
from bemerc.language.predict.records import Prediction

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Metric = Callable[[NDArray[Any]], Floats]

LISTED_IDS = 5
ECE_BINS = 15


class EvaluationError(BemercError):
    """Predictions do not fit the manifest: other, missing or double ids, labels outside the set, scores that are none."""


@dataclass(frozen=True)
class Params:
    """Section ``evaluate`` of params.yaml.

    variants    the rungs of the ladder, in the order of tables and pictures
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


# ---------------------------------------------------------------------------------------------------------- what is judged


@dataclass(frozen=True)
class Reference:
    """The labelled utterances of one split as arrays over N, sorted by id.

    gold      (N,) codes into ``labels``
    dialogue  (N,) codes 0..G-1
    seen      (N,) bool: the speaker occurs in train
    shift     (N,) 1 = another label than the speaker's previous turn, 0 = the same, -1 = the speaker's first turn
    """

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    speakers: tuple[str, ...]
    gold: Ints
    dialogue: Ints
    seen: NDArray[np.bool_]
    shift: Ints

    @property
    def dialogues(self) -> int:
        """G, the number of dialogues."""
        return int(self.dialogue.max()) + 1


@dataclass(frozen=True)
class Answers:
    """One system's answers in the order of a Reference: predicted (N,) codes, scores (N, C) probabilities or None."""

    predicted: Ints
    scores: Floats | None


def reference(manifest: Manifest, split: Split = "test") -> Reference:
    """The gold side of ``split``. EvaluationError if no utterance there has a label."""
    judged = [u for u in manifest.by_split(split) if u.label is not None]
    if not judged:
        raise EvaluationError(
            f"The manifest has no labelled utterance in {split}, so there is nothing to evaluate. Run 'dvc repro prepare'."
        )
    code = {label: i for i, label in enumerate(manifest.labels)}
    dialogue = {name: i for i, name in enumerate(sorted({u.dialogue for u in judged}))}
    trained = {u.speaker for u in manifest.by_split("train") if u.speaker}
    shift = shifts(manifest)
    return Reference(
        ids=tuple(u.id for u in judged),
        labels=manifest.labels,
        speakers=tuple(u.speaker for u in judged),
        gold=np.array([code[u.label] for u in judged if u.label is not None], dtype=np.int64),
        dialogue=np.array([dialogue[u.dialogue] for u in judged], dtype=np.int64),
        seen=np.array([u.speaker in trained for u in judged], dtype=np.bool_),
        shift=np.array([shift[u.id] for u in judged], dtype=np.int64),
    )


def shifts(manifest: Manifest) -> dict[str, int]:
    """Id of every labelled utterance -> 1 (label differs from the speaker's previous one), 0 (the same), -1 (the first, or
    nobody knows whose it is)."""
    found: dict[str, int] = {}
    for dialogue in manifest.dialogues():
        last: dict[str, Utterance] = {}
        for turn in dialogue.utterances:
            if turn.label is None:
                continue
            before = last.get(turn.speaker) if turn.speaker else None
            found[turn.id] = -1 if before is None else int(before.label != turn.label)
            last[turn.speaker] = turn
    return found


def validate(
    manifest: Manifest, predictions: Sequence[Prediction], split: Split = "test", name: str = "predictions"
) -> None:
    """Raise EvaluationError, one sentence per kind of fault with the ids, unless ``predictions`` can be judged on ``split``.

    Every labelled utterance of the split needs exactly one prediction; predictions for other utterances of the manifest
    are allowed and not judged. ``name`` opens the sentences. StaleError where they are of a model of another manifest or
    other splits.
    """
    if not predictions:
        raise EvaluationError(f"{name}: there are no predictions in it. Run 'dvc repro' (or 'bemerc predict') again.")
    for found in {p.manifest for p in predictions if p.manifest is not None}:
        provenance.must_match(name, found, provenance.learned(manifest), "dvc repro predict")
    faults = [
        *_id_faults(manifest, predictions, split),
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
    of = {p.id: p for p in predictions}
    ordered = [of[u.id] for u in manifest.by_split(split) if u.label is not None]
    scored = all(p.scores for p in ordered)
    scores = (
        np.array([[p.scores[label] for label in manifest.labels] for p in ordered], dtype=np.float64)
        if scored
        else None
    )
    return Answers(np.array([code[p.label] for p in ordered], dtype=np.int64), scores)


def _id_faults(manifest: Manifest, predictions: Sequence[Prediction], split: Split) -> list[str]:
    known = {u.id for u in manifest.utterances}
    needed = {u.id for u in manifest.by_split(split) if u.label is not None}
    counted = Counter(p.id for p in predictions)
    twice = [id_ for id_, times in counted.items() if times > 1]
    odd, missing = [id_ for id_ in counted if id_ not in known], sorted(needed - set(counted))
    faults = []
    if odd:
        faults.append(
            f"{len(odd)} of {len(counted)} ids are not in the manifest: {listed(odd)}. They were made from another manifest: run 'dvc repro predict'."
        )
    if twice:
        faults.append(f"{len(twice)} ids have more than one prediction: {listed(twice)}. Keep one line per utterance.")
    if missing:
        faults.append(
            f"{len(missing)} of {len(needed)} labelled utterances in {split} have no prediction: {listed(missing)}. Predict all of them before evaluating."
        )
    return faults


def _label_faults(manifest: Manifest, predictions: Sequence[Prediction]) -> list[str]:
    gold = {u.id: u.label for u in manifest.utterances}
    odd = [f"{p.id} says '{p.label}'" for p in predictions if p.label not in manifest.labels]
    other = [
        f"{p.id} says '{p.gold}', the manifest '{gold[p.id]}'"
        for p in predictions
        if p.gold is not None and gold.get(p.id, p.gold) != p.gold
    ]
    faults = []
    if odd:
        faults.append(f"{len(odd)} labels are outside the label set ({', '.join(manifest.labels)}): {listed(odd)}.")
    if other:
        faults.append(
            f"{len(other)} gold labels are not the manifest's: {listed(other)}. They were made from another manifest: run 'dvc repro predict'."
        )
    return faults


def _score_faults(manifest: Manifest, predictions: Sequence[Prediction]) -> list[str]:
    scored = [p for p in predictions if p.scores]
    if not scored:
        return []
    faults = []
    bare = [p.id for p in predictions if not p.scores]
    if bare:
        faults.append(
            f"{len(bare)} predictions have no scores while {len(scored)} have: {listed(bare)}. Give all or none."
        )
    other = [p.id for p in scored if set(p.scores) != set(manifest.labels)]
    if other:
        faults.append(
            f"{len(other)} predictions score other labels than the label set's ({', '.join(manifest.labels)}): {listed(other)}."
        )
    holes = [p.id for p in scored if not np.isfinite(list(p.scores.values())).all()]
    if holes:
        faults.append(
            f"{len(holes)} predictions hold NaN or infinite scores: {listed(holes)}. The model that made them has diverged: look at steps.csv in its folder."
        )
    sums = [
        f"{p.id} sums to {_total(p):.4g}"
        for p in scored
        if p.id not in set(holes) and (abs(_total(p) - 1) > 1e-3 or min(p.scores.values()) < 0)
    ]
    if sums:
        faults.append(
            f"{len(sums)} scores are no probabilities (at least 0, sum 1): {listed(sums)}. Leave scores empty if there are none."
        )
    return faults


def _total(prediction: Prediction) -> float:
    return float(sum(prediction.scores.values()))


def listed(items: Sequence[str]) -> str:
    """The first few items and how many more there are."""
    more = f" and {len(items) - LISTED_IDS} more" if len(items) > LISTED_IDS else ""
    return ", ".join(items[:LISTED_IDS]) + more


# ----------------------------------------------------------------------------------------------------------------- metrics


def confusion(gold: Ints, predicted: Ints, classes: int) -> Ints:
    """(N,) and (N,) codes -> counts (C, C), rows gold, columns predicted."""
    return (
        np.bincount(gold * classes + predicted, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    )


def accuracy(counts: NDArray[Any]) -> Floats:
    """Share on the diagonal. counts (..., C, C) -> (...); NaN where there is nothing to judge."""
    return _divide(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)), empty=np.nan)


def support(counts: NDArray[Any]) -> Floats:
    """How often each label is gold. counts (..., C, C) -> (..., C)."""
    return np.asarray(counts.sum(-1), dtype=np.float64)


def precision(counts: NDArray[Any]) -> Floats:
    """Right answers / answers, per label. counts (..., C, C) -> (..., C); 0 for a label that was never answered."""
    return _divide(_diagonal(counts), counts.sum(-2))


def recall(counts: NDArray[Any]) -> Floats:
    """Right answers / gold, per label. counts (..., C, C) -> (..., C); 0 for a label that is never gold."""
    return _divide(_diagonal(counts), counts.sum(-1))


def f1(counts: NDArray[Any]) -> Floats:
    """2 * right / (answers + gold), per label. counts (..., C, C) -> (..., C); 0 for a label in neither."""
    return _divide(2 * _diagonal(counts), counts.sum(-2) + counts.sum(-1))


def weighted_f1(counts: NDArray[Any]) -> Floats:
    """F1 averaged by support, the headline number of the field. counts (..., C, C) -> (...); NaN where nothing is judged."""
    return _divide((f1(counts) * support(counts)).sum(-1), counts.sum((-2, -1)), empty=np.nan)


def macro_f1(counts: NDArray[Any]) -> Floats:
    """F1 averaged over the labels in gold or answers. counts (..., C, C) -> (...); NaN where nothing is judged."""
    return _divide(f1(counts).sum(-1), (counts.sum(-2) + counts.sum(-1) > 0).sum(-1), empty=np.nan)


def ece(gold: Ints, predicted: Ints, scores: Floats) -> float:
    """Expected calibration error: mean |share right - mean probability| over bins of the answer's probability, by bin size.

    gold, predicted (N,) codes; scores (N, C) probabilities. Bins are (0, 1/15], (1/15, 2/15], ...
    """
    probability = scores[np.arange(len(gold)), predicted]
    bins = np.clip(np.ceil(probability * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=(gold == predicted) - probability, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(gold))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "weighted_f1": weighted_f1, "macro_f1": macro_f1}


def _diagonal(counts: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _divide(top: NDArray[Any], bottom: NDArray[Any], empty: float = 0.0) -> Floats:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, empty), where=bottom != 0)


# --------------------------------------------------------------------------------------------------------------- bootstrap


def dialogue_counts(judged: Reference, given: Answers, where: NDArray[np.bool_] | None = None) -> Ints:
    """Confusion counts per dialogue, (G, C, C), of all utterances or of those in the mask ``where`` (N,)."""
    chosen = np.ones(len(judged.gold), dtype=np.bool_) if where is None else where
    size = len(judged.labels)
    cell = (judged.dialogue * size + judged.gold) * size + given.predicted
    return np.bincount(cell[chosen], minlength=judged.dialogues * size * size).reshape(-1, size, size).astype(np.int64)


def dialogue_weights(dialogues: int, resamples: int, seed: int) -> Floats:
    """How often each dialogue is drawn in each resample with replacement: (R, G), rows sum to G; the same for all systems."""
    return (
        np.random.default_rng(seed)
        .multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=resamples)
        .astype(np.float64)
    )


def repeated(judged: Reference, given: Sequence[Answers], weights: Floats) -> dict[str, intervals.Repeated]:
    """Every metric of one system, one Answers per training seed, each seed judged by itself: F1 of the seeds' pooled counts
    is not the mean of their F1. ``weights``: dialogue_weights, the same for all systems."""
    counts = [dialogue_counts(judged, one) for one in given]
    drawn = [resampled(of, weights) for of in counts]
    return {
        name: intervals.Repeated(
            np.array([metric(of.sum(0)) for of in counts]), np.stack([metric(of) for of in drawn], 1), judged.dialogues
        )
        for name, metric in METRICS.items()
    }


def resampled(counts: NDArray[Any], weights: Floats) -> Floats:
    """Counts (G, C, C) per dialogue and weights (R, G) -> counts (R, C, C) per resample."""
    return np.tensordot(weights, counts.astype(np.float64), axes=1)


# ---------------------------------------------------------------------------------------------------------------- evaluate


def evaluate(
    manifest: Manifest,
    predictions: Mapping[str, Sequence[Prediction]],
    params: Params,
    pairs: Sequence[tuple[str, str]] = (),
    split: Split = "test",
    faces: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Judge every system on the labelled utterances of ``split``.

    predictions  system's name -> its predictions
    pairs        (a, b): the paired differences b - a to work out
    faces        utterance id -> the most faces seen in one frame of its clip, where that is known

    Returns plain dicts, lists, str, int, float and None, ready for JSON; fractions, not per cent::

        split, utterances, dialogues, labels, resamples, confidence
        systems:     {name: {accuracy | weighted_f1 | macro_f1: {value, low, high}, ece,
                             per_class: {label: {precision, recall, f1, support, f1_low, f1_high}}, confusion: [[...]],
                             groups: {seen_speakers | unseen_speakers | shift | steady | one_face | several_faces: {utterances, accuracy, weighted_f1}},
                             speakers: {name: {utterances, accuracy}}}}
        differences: {"b - a": {accuracy | weighted_f1 | macro_f1: {value, low, high}}}

    Raises EvaluationError where predictions do not fit the manifest.
    """
    judged = reference(manifest, split)
    given = {name: answers(manifest, of, split, name) for name, of in predictions.items()}
    weights = dialogue_weights(judged.dialogues, params.resamples, params.seed) if judged.dialogues > 1 else None
    apart = groups(judged, faces or {})
    return {
        "split": split,
        "utterances": len(judged.ids),
        "dialogues": judged.dialogues,
        "labels": list(judged.labels),
        "resamples": params.resamples,
        "confidence": params.confidence,
        "systems": {name: _system(judged, of, apart, weights, params.confidence) for name, of in given.items()},
        "differences": {
            f"{b} - {a}": _differences(judged, given[a], given[b], weights, params.confidence) for a, b in pairs
        },
    }


@dataclass(frozen=True)
class _Counts:
    """Confusion counts of one system: (C, C) as they are, (R, C, C) resampled or None where one dialogue alone has any."""

    whole: Ints
    drawn: Floats | None
    dialogues: int


def _counts(
    judged: Reference, given: Answers, weights: Floats | None, where: NDArray[np.bool_] | None = None
) -> _Counts:
    counts = dialogue_counts(judged, given, where)
    dialogues = int((counts.sum((1, 2)) > 0).sum())
    return _Counts(counts.sum(0), None if weights is None or dialogues < 2 else resampled(counts, weights), dialogues)


def _system(
    judged: Reference,
    given: Answers,
    apart: Mapping[str, NDArray[np.bool_]],
    weights: Floats | None,
    confidence: float,
) -> dict[str, Any]:
    counts = _counts(judged, given, weights)
    return {
        **{name: _measured(metric, counts, confidence) for name, metric in METRICS.items()},
        "ece": None if given.scores is None else ece(judged.gold, given.predicted, given.scores),
        "per_class": {label: _label(i, counts, confidence) for i, label in enumerate(judged.labels)},
        "confusion": counts.whole.tolist(),
        "groups": {name: _group(judged, given, where, weights, confidence) for name, where in apart.items()},
        "speakers": _speakers(judged, given),
    }


def _label(code: int, counts: _Counts, confidence: float) -> dict[str, float | None]:
    measures = (("precision", precision), ("recall", recall), ("f1", f1), ("support", support))
    measured = _measured(lambda of: np.asarray(f1(of)[..., code]), counts, confidence)
    single = {name: float(of(counts.whole)[code]) for name, of in measures}
    return {**single, "f1_low": measured["low"], "f1_high": measured["high"]}


def groups(judged: Reference, faces: Mapping[str, int]) -> dict[str, NDArray[np.bool_]]:
    """The parts of a test set that are looked at apart, as masks (N,). An utterance of unknown ``faces`` is in neither row."""
    most = np.array([faces.get(id_, 0) for id_ in judged.ids])
    return {
        "seen_speakers": judged.seen,
        "unseen_speakers": ~judged.seen,
        "shift": judged.shift == 1,
        "steady": judged.shift == 0,
        "one_face": most == 1,
        "several_faces": most > 1,
    }


def _group(
    judged: Reference, given: Answers, where: NDArray[np.bool_], weights: Floats | None, confidence: float
) -> dict[str, Any]:
    counts = _counts(judged, given, weights, where)
    measured = {name: _measured(METRICS[name], counts, confidence) for name in ("accuracy", "weighted_f1")}
    return {"utterances": int(where.sum()), **measured}


def _speakers(judged: Reference, given: Answers) -> dict[str, dict[str, float]]:
    right = judged.gold == given.predicted
    found: dict[str, dict[str, float]] = {}
    for name in sorted(set(judged.speakers)):
        own = np.array([speaker == name for speaker in judged.speakers])
        found[name] = {"utterances": int(own.sum()), "accuracy": float(right[own].mean())}
    return found


def _measured(metric: Metric, counts: _Counts, confidence: float) -> dict[str, float | None]:
    value = float(metric(counts.whole))
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    draws = None if counts.drawn is None else metric(counts.drawn)
    return _with_interval(value, draws, counts.dialogues, 0.0, confidence)


def _differences(
    judged: Reference, a: Answers, b: Answers, weights: Floats | None, confidence: float
) -> dict[str, dict[str, float | None]]:
    one, other = (_counts(judged, given, weights) for given in (a, b))
    found = {}
    for name, metric in METRICS.items():
        value = float(metric(other.whole) - metric(one.whole))
        draws = None if one.drawn is None or other.drawn is None else metric(other.drawn) - metric(one.drawn)
        found[name] = _with_interval(value, draws, one.dialogues, -1.0, confidence)
    return found


def _with_interval(
    value: float, draws: Floats | None, dialogues: int, least: float, confidence: float
) -> dict[str, float | None]:
    if draws is None:
        return {"value": value, "low": None, "high": None}
    of = intervals.Repeated(np.array([value]), draws[:, None], dialogues)
    low, high = intervals.level(of).interval(confidence, least, 1.0)
    return {"value": value, "low": low, "high": high}


def ladder_pairs(variants: Sequence[str]) -> list[tuple[str, str]]:
    """(a, b) wherever b is a with one more letter of T, V, B: what each modality adds. Behavior's worth is (TV, TVB).

    Variants with other names belong to no ladder and give no pair.
    """
    rungs = [name for name in variants if name and set(name) <= set("TVB")]
    return [(a, b) for b in rungs for a in rungs if len(a) + 1 == len(b) and set(a) < set(b)]
