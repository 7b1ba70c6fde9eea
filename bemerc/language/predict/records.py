"""What a model said of one utterance, and the JSON lines in which it is kept.

This stands apart from ``predict`` so that everything after prediction (metrics, reports, comparisons with other
people's systems) runs without torch: a predictions file is all that ``evaluate`` needs of a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bemerc.core import atomic
from bemerc.core.errors import BemercError
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.ownership import lines_with, must_be_ours
from bemerc.core.terminal import printable

# Scores are written with all their digits, so the sum differs from one by rounding alone.
SUM_TOLERANCE = 1e-6


class PredictionError(BemercError):
    """A predictions file is missing, is not JSON lines, or holds a prediction that cannot be."""


@dataclass(frozen=True)
class Prediction:
    """One utterance, labelled.

    id          the utterance's id in the manifest
    gold        its label there, None where unknown
    label       the predicted label: the one with the highest score, the first in the label set's order on a tie
    scores      probability of every label of the label set, in the label set's order; they sum to one
    description behavior in words, slot name -> sentence, where the run made or used one; else None
    manifest    fingerprint of what the model learned from (corpus.provenance); None for clips of no corpus and for others' systems
    speaker, text, start_s, end_s  of the utterance, where people's own clips were predicted; seconds on the clip's clock
    unmeasured  modalities that the model reads and of which nothing was measured
    note        what else one should know, such as words that were left out
    corpora     those that the model was trained on, where people's own clips were predicted
    """

    id: str
    gold: str | None
    label: str
    scores: dict[str, float]
    description: dict[str, str] | None = None
    manifest: str | None = None
    speaker: str | None = None
    text: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    unmeasured: tuple[str, ...] | None = None
    note: str | None = None
    corpora: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Unlabelled:
    """An utterance that has no label, and the reason; see Prediction for the rest."""

    id: str
    reason: str
    speaker: str | None = None
    text: str | None = None
    start_s: float | None = None
    end_s: float | None = None


# A line always has these; the others where they hold something.
_ALWAYS = ("id", "gold", "label", "scores", "description")
OURS = lines_with(*_ALWAYS)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "manifest": (str,),
    "speaker": (str,),
    "text": (str,),
    "start_s": (int, float),
    "end_s": (int, float),
    "unmeasured": (list,),
    "note": (str,),
    "corpora": (list,),
}
_NAMES = tuple(name for name, kinds in _KINDS.items() if kinds == (list,))


def write_predictions(path: Path, predictions: Iterable[Prediction], without: Iterable[Unlabelled] = ()) -> None:
    """Check and write one JSON object per line, sorted by id; the file is whole or as it was before.

    ``without``: utterances that have no label, whose lines hold null and the reason. Raises PredictionError listing every
    fault, DiskError where the disk refuses, WouldReplaceError where another file has this name.
    """
    must_be_ours(path, OURS)
    ordered = sorted(predictions, key=lambda p: p.id)
    faults = [f"{p.id}: {fault}" for p in ordered for fault in _faults(p)] + _file_faults(ordered)
    if faults:
        raise PredictionError("\n".join(faults))
    rows = [asdict(p) for p in ordered]
    rows += [{**dict.fromkeys(_ALWAYS), **asdict(one)} for one in without]
    rows = [{k: v for k, v in row.items() if k in _ALWAYS or v is not None} for row in rows]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in sorted(rows, key=lambda row: str(row["id"]))]
    atomic.write_text(path, "".join(lines))


def read_predictions(path: Path) -> tuple[Prediction, ...]:
    """Read what write_predictions wrote, sorted by id, without the lines that hold no label. Raises PredictionError naming
    file, line, id and fault."""
    try:
        rows = list(read_json_lines(path))
    except JsonError as error:
        missing = "there are no predictions here. Run 'bemerc predict' first."
        raise error.become(PredictionError, missing, "Predict again.") from None
    read = [one for number, value in rows if (one := _parse(path, number, value)) is not None]
    faults = [f"{path}: {fault}" for fault in _file_faults(read)]
    if faults:
        raise PredictionError("\n".join(faults))
    return tuple(sorted(read, key=lambda p: p.id))


def predictions_beside(named: Path | None, folders: Iterable[Path]) -> Path | None:
    """The predictions file that is named, else the predictions.jsonl of the first of these folders that has one."""
    beside = (folder / "predictions.jsonl" for folder in folders)
    return named or next((file for file in beside if file.is_file()), None)


def best_label(scores: Mapping[str, float]) -> str:
    """The label with the highest score; the first one on a tie, so that equal runs give equal files."""
    return max(scores, key=lambda label: scores[label])


def _parse(path: Path, line: int, value: Any) -> Prediction | None:
    names = {f.name for f in fields(Prediction)}
    if not isinstance(value, dict) or not set(_ALWAYS) <= set(value) <= names | {"reason"}:
        given = ", ".join(sorted(value)) if isinstance(value, dict) else type(value).__name__
        keys = ", ".join(_ALWAYS)
        raise PredictionError(f"a prediction has the keys {keys}, not {printable(given)}.", path=path, line=line)
    if value["label"] is None and isinstance(value.get("reason"), str):
        return None
    fault = _type_fault(value)
    if fault:
        raise PredictionError(fault, path=path, line=line)
    scores = {k: float(v) for k, v in value["scores"].items()}
    names_of = {key: tuple(value[key]) for key in _NAMES if value.get(key) is not None}
    prediction = Prediction(**{**value, "scores": scores, **names_of})
    if faults := _faults(prediction):
        where = f"\n{path}, line {line}, {printable(prediction.id)}: "
        raise PredictionError(where.join(faults), path=path, line=line, id=prediction.id)
    return prediction


def _type_fault(value: Mapping[str, Any]) -> str | None:
    if not isinstance(value["id"], str) or not isinstance(value["label"], str) or "reason" in value:
        return "id and label must be text."
    if not isinstance(value["gold"], str | None) or not isinstance(value["description"], dict | None):
        return "gold must be text or null, description an object or null."
    scores = value["scores"]
    if not isinstance(scores, dict) or not all(type(p) in (int, float) for p in scores.values()):
        return "scores must be an object of numbers, one for every label."
    for name, kinds in _KINDS.items():
        if value.get(name) is not None and type(value[name]) not in kinds:
            return f"{name} must be {kinds[-1].__name__} or null."
    for key in _NAMES:
        if not all(isinstance(name, str) for name in value.get(key) or ()):
            return f"{key} must be a list of names."
    return None


def _faults(prediction: Prediction) -> list[str]:
    scores = prediction.scores
    labels = ", ".join(scores)
    if not scores or any(not (math.isfinite(p) and 0 <= p <= 1) for p in scores.values()):
        return [f"scores must be probabilities, one for every label, not {scores}."]
    faults = []
    if abs(sum(scores.values()) - 1) > SUM_TOLERANCE:
        faults.append(f"the scores sum to {sum(scores.values())}, not to 1.")
    if prediction.label not in scores:
        faults.append(f"the label '{prediction.label}' has no score; the labels are {labels}.")
    elif scores[prediction.label] < max(scores.values()):
        best = best_label(scores)
        faults.append(
            f"the label is '{prediction.label}' ({scores[prediction.label]}), but '{best}' scores {scores[best]}."
        )
    if prediction.gold is not None and prediction.gold not in scores:
        faults.append(f"the gold label '{prediction.gold}' has no score; the labels are {labels}.")
    return faults


def _file_faults(predictions: list[Prediction]) -> list[str]:
    """Faults that show only between lines: an id twice, or two label sets in one file."""
    faults: list[str] = []
    ids: set[str] = set()
    for p in predictions:
        if p.id in ids:
            faults.append(f"{p.id}: two predictions share this id.")
        ids.add(p.id)
        if list(p.scores) != list(predictions[0].scores):
            first = ", ".join(predictions[0].scores)
            faults.append(f"{p.id}: scores the labels {', '.join(p.scores)}, but {predictions[0].id} scores {first}.")
    return faults
