"""What a model's predictions are worth on test, for its card: F1 per label, per speaker and, where it is known, gender.

``evaluate`` says which variant is better; a card must say for whom a model works. The numbers are kept in test.json in
the model's folder, with the hash of the predictions that they were worked out of. Gender is no part of a manifest: nothing
else needs it, so it is told here, speaker by speaker, by whoever may know it.
"""

from __future__ import annotations

import difflib
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
from bemerc.corpus.text import read_table
from bemerc.evaluate import metrics
from bemerc.language.model import card
from bemerc.language.predict.records import read_predictions

if TYPE_CHECKING:
    from bemerc.corpus.manifest import Manifest, Utterance
    from bemerc.language.model.behavior_model import Facts

TEST = "test.json"
# IEMOCAP's speakers are named by session and gender; other corpora say nothing of it.
NOBODY: Mapping[str, str] = MappingProxyType({})
GENDERS = {"F": "female", "M": "male"}


@dataclass(frozen=True)
class Interval:
    """A number between 0 and 1, and the interval that it is known to; None where that cannot be said."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Part:
    """The F1 of some utterances by themselves, and how many there are."""

    utterances: int
    f1: float | None


@dataclass(frozen=True)
class Tested:
    """test.json: what predictions of test are worth; ``predictions`` is the hash of their file."""

    predictions: str
    utterances: int
    dialogues: int
    confidence: float
    accuracy: Interval
    weighted_f1: Interval
    macro_f1: Interval
    labels: Mapping[str, Part]
    speakers: Mapping[str, Part]
    genders: Mapping[str, Part]


def run(
    folder: Path,
    facts: Facts,
    manifest: Manifest,
    predictions: Path,
    params: metrics.Params,
    genders: Mapping[str, str] = NOBODY,
    names: bool = False,
) -> dict[str, Any]:
    """Judge a predictions file on test, keep the numbers in the model's folder and write them into its card.

    genders  speaker -> gender, as ``read_genders`` gives it
    names    whether speakers are named; else they are numbered, since a card is made to be published

    Raises ModelError where the model is no merc model or has
    other labels, and what ``evaluate`` raises.
    """
    if facts.task != "merc":
        raise ModelError(f"{folder}: this model was trained to {facts.task}, not to name emotions. Name a merc model.")
    if set(facts.labels) != set(manifest.labels):
        raise ModelError(
            f"{folder}: a model of the labels {', '.join(facts.labels)}, but the manifest's are "
            f"{', '.join(manifest.labels)}. Name the model that the predictions are of."
        )
    found = numbers(manifest, predictions, params, genders)
    if not names:
        speakers = sorted(found["speakers"].items(), key=lambda one: (-one[1]["utterances"], one[0]))
        found["speakers"] = {f"speaker {number}": one for number, (_, one) in enumerate(speakers, 1)}
    keep(folder, facts, found)
    return found


def keep(folder: Path, facts: Facts, found: Mapping[str, Any]) -> None:
    """Put the numbers into a model folder, and into its card. DiskError where the disk refuses."""
    atomic.write_text(folder / TEST, json.dumps(found, indent=1, ensure_ascii=False) + "\n", atomic.PUBLIC)
    card.write(folder, facts, found)


def known(folder: Path) -> Mapping[str, Any] | None:
    """What was found out about the model in ``folder`` before, if anything. ModelError where test.json is damaged."""
    path = folder / TEST
    if not path.exists():
        return None
    try:
        found = from_mapping(read_json(path), Tested, TEST)
    except (JsonError, ConfigError) as error:
        raise ModelError(f"{path}: this is not what was found on test ({error}). Run `bemerc card` again.") from None
    read: Mapping[str, Any] = to_mapping(found)
    return read


def read_genders(path: Path, manifest: Manifest) -> dict[str, str]:
    """Speaker -> gender from a table with the columns ``speaker`` and ``gender``; any words for gender, blank is unknown.

    Raises CorpusError where the file cannot be read, ModelError where a column is missing, a row is broken, or a speaker is
    told of twice or is none of the manifest's.
    """
    table = read_table(path)
    if not {"speaker", "gender"} <= set(table.columns):
        raise ModelError(
            f"{path}, line 1: it needs the columns speaker and gender, and has {', '.join(table.columns)}."
        )
    faults, found, known = list(table.faults), dict[str, str](), {u.speaker for u in manifest.utterances}
    for row in table.rows:
        name = row.cells["speaker"].strip()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            faults.append(f"{path}, line {row.line}: the manifest has no speaker '{name}'{hint}")
        elif name in found:
            faults.append(f"{path}, line {row.line}: '{name}' stands there twice.")
        found[name] = row.cells["gender"].strip()
    if faults:
        raise ModelError("\n".join(faults))
    return {name: gender for name, gender in found.items() if gender}


def numbers(
    manifest: Manifest, predictions: Path, params: metrics.Params, genders: Mapping[str, str] = NOBODY
) -> dict[str, Any]:
    """Test's numbers as plain values: fractions, and how many utterances each is of."""
    given = read_predictions(predictions)
    metrics.validate(manifest, given, name=str(predictions))
    judged = metrics.evaluate(manifest, {"it": given}, params)
    system = judged["systems"]["it"]
    gold, said = metrics.reference(manifest), metrics.answers(manifest, given, "test", "it")
    of = {u.id: u for u in manifest.utterances}
    told = [genders.get(of[id].speaker) or _gender(of[id]) for id in gold.ids]
    return {
        "predictions": sha256(predictions),
        **{key: judged[key] for key in ("utterances", "dialogues", "confidence")},
        **{key: system[key] for key in ("accuracy", "weighted_f1", "macro_f1")},
        "labels": {
            name: {"utterances": int(one["support"]), "f1": one["f1"]} for name, one in system["per_class"].items()
        },
        "speakers": _apart(gold.speakers, gold.gold, said.predicted, len(gold.labels)),
        "genders": _apart(told, gold.gold, said.predicted, len(gold.labels)),
    }


def _gender(utterance: Utterance) -> str:
    known = utterance.id.startswith("iemocap") and utterance.speaker[-2:-1] == "_"
    return GENDERS.get(utterance.speaker[-1:], "") if known else ""


def _apart(names: Any, gold: metrics.Ints, said: metrics.Ints, labels: int) -> dict[str, dict[str, float]]:
    """Weighted F1 of every name's utterances by themselves; the nameless are left out."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted(set(names) - {""}):
        own = np.array([one == name for one in names])
        counts = metrics.confusion(gold[own], said[own], labels)
        found[name] = {"utterances": int(own.sum()), "f1": float(metrics.METRICS["weighted_f1"](counts))}
    return found
