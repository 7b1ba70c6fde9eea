"""Test metrics for a model's card: accuracy and F1 on test, per label, per speaker and, where it is given, per gender.

They are kept as test.json in the model's folder, with the hash of the predictions that they were computed from. A
manifest has no gender, which nothing else needs; it comes from a table of speakers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bemerc.core import atomic
from bemerc.core.config import from_mapping, to_mapping
from bemerc.core.errors import ConfigError, ModelError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.corpus.delimited import read_table
from bemerc.corpus.reading import nearest
from bemerc.evaluate import evaluation, metrics, test_set
from bemerc.evaluate.intervals import Interval
from bemerc.language.model import card
from bemerc.language.model.metadata import must_name_emotions
from bemerc.language.predict.records import read_predictions

if TYPE_CHECKING:
    from bemerc.corpus.manifest import Manifest, Utterance
    from bemerc.language.model.behavior_model import ModelMetadata

TEST = "test.json"
# IEMOCAP's speakers are named by session and gender, such as Ses05_F.
NO_GENDERS: Mapping[str, str] = MappingProxyType({})
GENDERS = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class GroupF1:
    """The F1 of a group of utterances, and their number."""

    utterances: int
    f1: float | None


@dataclass(frozen=True)
class SplitMetrics:
    """test.json: the metrics of predictions of test; ``predictions`` is the hash of their file."""

    predictions: str
    utterances: int
    dialogues: int
    confidence: float
    accuracy: Interval
    weighted_f1: Interval
    macro_f1: Interval
    labels: Mapping[str, GroupF1]
    speakers: Mapping[str, GroupF1]
    genders: Mapping[str, GroupF1]


def run(
    folder: Path,
    metadata: ModelMetadata,
    manifest: Manifest,
    predictions: Path,
    params: evaluation.Params,
    genders: Mapping[str, str] = NO_GENDERS,
    names: bool = False,
) -> dict[str, Any]:
    """Evaluate a predictions file on test, and write the metrics to the model's folder and card.

    genders  speaker -> gender, as ``read_genders`` gives it
    names    whether speakers are named; else they are numbered, since a card is made to be published

    Raises ModelError where the model is no merc model or has other labels, EvaluationError or PredictionError where the
    predictions do not fit.
    """
    must_name_emotions(metadata, folder)
    if set(metadata.labels) != set(manifest.labels):
        raise ModelError(
            f"a model of the labels {', '.join(metadata.labels)}, but the manifest's are "
            f"{', '.join(manifest.labels)}. Name the model that the predictions are of.",
            path=folder,
        )
    result = compute(manifest, predictions, params, genders)
    if not names:
        speakers = sorted(result["speakers"].items(), key=lambda one: (-one[1]["utterances"], one[0]))
        result["speakers"] = {f"speaker {number}": one for number, (_, one) in enumerate(speakers, 1)}
    write(folder, metadata, result)
    return result


def write(folder: Path, metadata: ModelMetadata, metrics_of_test: Mapping[str, Any]) -> None:
    """Write test.json to a model folder, and its card anew. DiskError where the disk refuses."""
    text = json.dumps(metrics_of_test, indent=1, ensure_ascii=False)
    atomic.write_text(folder / TEST, text + "\n", atomic.PUBLIC)
    card.write(folder, metadata, metrics_of_test)


def read(folder: Path) -> Mapping[str, Any] | None:
    """test.json of a model folder, None where there is none. ModelError where it is damaged."""
    path = folder / TEST
    if not path.exists():
        return None
    try:
        stored = from_mapping(read_json(path), SplitMetrics, TEST)
    except (JsonError, ConfigError) as error:
        raise ModelError(f"these are no test metrics ({error}). Run `bemerc card` again.", path=path) from None
    result: Mapping[str, Any] = to_mapping(stored)
    return result


def read_genders(path: Path, manifest: Manifest) -> dict[str, str]:
    """Speaker -> gender from a table with columns ``speaker`` and ``gender``; any words for gender, blank is unknown.

    Raises CorpusError where the file cannot be read, ModelError where a column is missing, a row is broken, or a
    speaker occurs twice or is not in the manifest.
    """
    table = read_table(path)
    if not {"speaker", "gender"} <= set(table.columns):
        raise ModelError(
            f"it needs the columns speaker and gender, and has {', '.join(table.columns)}.", path=path, line=1
        )
    faults, genders, speakers = list(table.faults), dict[str, str](), {u.speaker for u in manifest.utterances}
    for row in table.rows:
        name = row.cells["speaker"].strip()
        if name not in speakers:
            faults.append(f"{path}, line {row.line}: the manifest has no speaker '{name}'{nearest(name, speakers)}")
        elif name in genders:
            faults.append(f"{path}, line {row.line}: '{name}' stands there twice.")
        genders[name] = row.cells["gender"].strip()
    if faults:
        raise ModelError("\n".join(faults))
    return {name: gender for name, gender in genders.items() if gender}


def compute(
    manifest: Manifest, predictions: Path, params: evaluation.Params, genders: Mapping[str, str] = NO_GENDERS
) -> dict[str, Any]:
    """The content of test.json: fractions, and the number of utterances of each."""
    prediction_list = read_predictions(predictions)
    test_set.validate(manifest, prediction_list, name=str(predictions))
    evaluated = evaluation.evaluate(manifest, {"it": prediction_list}, params)
    system = evaluated["systems"]["it"]
    gold, answers = test_set.reference(manifest), test_set.answers(manifest, prediction_list, "test", "it")
    by_id = {u.id: u for u in manifest.utterances}
    gender_of = [genders.get(by_id[id].speaker) or _gender(by_id[id]) for id in gold.ids]
    return {
        "predictions": sha256(predictions),
        **{key: evaluated[key] for key in ("utterances", "dialogues", "confidence")},
        **{key: system[key] for key in ("accuracy", "weighted_f1", "macro_f1")},
        "labels": {
            name: {"utterances": int(one["support"]), "f1": one["f1"]} for name, one in system["per_class"].items()
        },
        "speakers": _group_f1(gold.speakers, gold.gold, answers.predicted, len(gold.labels)),
        "genders": _group_f1(gender_of, gold.gold, answers.predicted, len(gold.labels)),
    }


def _gender(utterance: Utterance) -> str:
    named = utterance.id.startswith("iemocap") and utterance.speaker[-2:-1] == "_"
    return GENDERS.get(utterance.speaker[-1:], "") if named else ""


def _group_f1(names: Any, gold: metrics.Ints, predicted: metrics.Ints, labels: int) -> dict[str, dict[str, float]]:
    """Weighted F1 of each name's utterances; those without a name are left out."""
    result: dict[str, dict[str, float]] = {}
    for name in sorted(set(names) - {""}):
        rows = np.array([one == name for one in names])
        counts = metrics.confusion(gold[rows], predicted[rows], labels)
        result[name] = {"utterances": int(rows.sum()), "f1": float(metrics.METRICS["weighted_f1"](counts))}
    return result
