"""The ledger: what each part of its input counts for in a model's answer, and the JSON lines in which it is kept.

A part counts as log p(label) minus log p(label) with the part left out, in nats: above 0 it speaks for the label, below 0
against it. These are single parts left out, so they do not add up to the whole: of two parts that say the same each leaves the
other behind, and both count for less than they say. How they are computed: ledger.py. This needs no torch.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bemerc.core import atomic
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.ownership import lines_with, must_be_ours
from bemerc.core.terminal import printable
from bemerc.language.inputs.left_out import TURN
from bemerc.language.predict.records import SUM_TOLERANCE, PredictionError, best_label

LogProbs = Mapping[str, float]
OURS = lines_with("id", "labels", "log_probs")


@dataclass(frozen=True)
class Evidence:
    """One utterance's ledger.

    id         the utterance's id in the manifest
    log_probs  natural log-probability of every label, in the label set's order
    parts      part -> the same with the part left out: face, body, posture, voice, groups of one (face:brows), turn:ID of an
               earlier utterance, explanation (the sentences of another utterance in place of its own)
    """

    id: str
    log_probs: LogProbs
    parts: Mapping[str, LogProbs]

    @property
    def label(self) -> str:
        """The predicted label."""
        return best_label(self.log_probs)

    def counts(self, label: str | None = None) -> dict[str, float]:
        """Part -> nats for ``label``, the predicted one unless another is named; the largest first."""
        label = self.label if label is None else label
        nats = {part: self.log_probs[label] - left[label] for part, left in self.parts.items()}
        return dict(sorted(nats.items(), key=lambda pair: -abs(pair[1])))


@dataclass(frozen=True)
class PartSummary:
    """One part over many utterances: how many have it, mean |nats| for the predicted label, share of answers that change."""

    utterances: int
    mean_nats: float
    flips: float


def summary(ledger: Sequence[Evidence]) -> dict[str, PartSummary]:
    """Part -> its summary, the largest mean first; past turns as one part by how long ago they were: turn -1, turn -2."""
    nats: dict[str, list[float]] = {}
    flips: dict[str, list[bool]] = {}
    for one in ledger:
        names = _by_distance(one.parts)
        for part, count in one.counts().items():
            nats.setdefault(names[part], []).append(abs(count))
            flips.setdefault(names[part], []).append(best_label(one.parts[part]) != one.label)
    made = {
        part: PartSummary(len(of), sum(of) / len(of), sum(flips[part]) / len(of)) for part, of in sorted(nats.items())
    }
    return dict(sorted(made.items(), key=lambda pair: -pair[1].mean_nats))


def _by_distance(parts: Iterable[str]) -> dict[str, str]:
    names = {part: part for part in parts}
    turns = [part for part in names if part.startswith(TURN)]
    return names | {part: f"turn -{len(turns) - i}" for i, part in enumerate(turns)}


def write_evidence(path: Path, ledger: Iterable[Evidence]) -> None:
    """One JSON object per line, sorted by id; the file is whole or as it was before.
    WouldReplaceError where another file has this name."""
    must_be_ours(path, OURS)
    lines = [json.dumps(_row(one), ensure_ascii=False) + "\n" for one in sorted(ledger, key=lambda one: one.id)]
    atomic.write_text(path, "".join(lines))


def _row(one: Evidence) -> dict[str, Any]:
    parts = [{"part": part, "log_probs": dict(left)} for part, left in one.parts.items()]
    return {"id": one.id, "labels": list(one.log_probs), "log_probs": dict(one.log_probs), "parts": parts}


def read_evidence(path: Path) -> tuple[Evidence, ...]:
    """Read what ``write_evidence`` wrote. Raises PredictionError naming file, line and fault."""
    try:
        rows = list(read_json_lines(path))
    except JsonError as error:
        missing = "there is no evidence here. Run 'bemerc predict --evidence' first."
        raise error.become(PredictionError, missing, "Run 'bemerc predict --evidence' again.") from None
    made: dict[str, Evidence] = {}
    for number, value in rows:
        fault = functools.partial(PredictionError, path=path, line=number)
        one = _parsed(fault, value)
        if one.id in made:
            raise fault(f"a second line of {printable(one.id)}. Run 'bemerc predict --evidence' again.")
        made[one.id] = one
    return tuple(made.values())


Fault = Callable[..., PredictionError]


def _parsed(fault: Fault, value: Any) -> Evidence:
    keys = {"id", "labels", "log_probs", "parts"}
    if not isinstance(value, dict) or set(value) != keys or not isinstance(value["id"], str):
        raise fault(f"evidence has the keys {', '.join(sorted(keys))}; id is text.")
    labels, parts = value["labels"], value["parts"]
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise fault("labels must be a list of names.")
    if not isinstance(parts, list) or not all(isinstance(p, dict) and isinstance(p.get("part"), str) for p in parts):
        raise fault("parts must be a list of objects with the name of a part.")
    left = {
        one["part"]: _log_probs(functools.partial(fault, id=one["part"]), one.get("log_probs"), labels) for one in parts
    }
    if len(left) < len(parts):
        raise fault("a part is there twice.")
    return Evidence(value["id"], _log_probs(fault, value["log_probs"], labels), left)


def _log_probs(fault: Fault, value: Any, labels: Sequence[str]) -> dict[str, float]:
    if not isinstance(value, dict) or list(value) != labels or not all(type(x) in (int, float) for x in value.values()):
        raise fault("log_probs must hold a number for every label, in the labels' order.")
    if not abs(sum(math.exp(min(x, 1.0)) for x in value.values()) - 1) < SUM_TOLERANCE:
        raise fault("the probabilities do not sum to 1.")
    return {label: float(x) for label, x in value.items()}
