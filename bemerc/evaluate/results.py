"""Predictions -> everything that is found out about them: the variants and their baselines judged together.

This is apart from the report so that a program (the controls, a notebook) gets the findings without a file being
written, and a new sentence in the report shapes no number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.config import from_mapping
from bemerc.core.errors import ConfigError, CorpusError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.evaluate import baselines, metrics
from bemerc.language.inputs import prompts
from bemerc.language.predict.records import Prediction, best_label
from bemerc.sample import cases as sample_cases

MAJORITY = "most_frequent_label"
METRICS_FILE = "metrics.json"
# What is told of every system with an interval, in the order of tables.
METRICS = tuple(metrics.METRICS)


@dataclass(frozen=True)
class SampleTruth:
    """What the maker of the embedded sample knows, and nobody knows of a real corpus.

    cases     utterance id -> which modalities carry the emotion
    ceilings  variant -> the best accuracy that is possible with its inputs, a fraction
    """

    cases: Mapping[str, str]
    ceilings: Mapping[str, float]


@dataclass(frozen=True)
class Findings:
    """All that the report tells: evaluate()'s dict, and what stands beside it."""

    manifest: Manifest
    numbers: dict[str, Any]
    variants: tuple[str, ...]
    fits: Mapping[str, baselines.Fit]
    cases: Mapping[str, Mapping[str, tuple[float, int]]]
    ceilings: Mapping[str, float]


def sample_truth(path: Path, hint_share: float) -> SampleTruth:
    """Read the cases from the sample's truth.jsonl; hint_share as in section ``sample`` of params.yaml.

    Read here and not by the sample's maker, so that judging other corpora does not depend on how clips are drawn.
    CorpusError if there is no such file.
    """
    if not path.is_file():
        raise CorpusError(f"{path}: the sample's truth is not here. Run 'dvc repro sample' first.")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return SampleTruth({of["id"]: of["case"] for of in lines}, sample_cases.ceilings(hint_share))


def judge(
    manifest: Manifest,
    given: Mapping[str, Sequence[Prediction]],
    tokens: TokenFile,
    params: metrics.Params,
    shown: prompts.Params,
    truth: SampleTruth | None = None,
    faces: Mapping[str, int] | None = None,
) -> Findings:
    """Everything that is worked out before anything is written; the variants are validated before a baseline is fitted.

    ``shown``: section ``prompt`` of params.yaml, for the baselines that see the window that a prompt shows.
    """
    for name, of in given.items():
        metrics.validate(manifest, of, name=name)
    fits = dict(baselines.regressions(manifest, tokens, shown))
    others = {regression(name): as_predictions(manifest, fit.scores) for name, fit in fits.items()}
    systems = {**given, **others, MAJORITY: as_predictions(manifest, baselines.majority(manifest))}
    rivals = [(regression(name), rung) for name, rung in baselines.RUNG_OF.items() if name in fits and rung in given]
    pairs = [*metrics.ladder_pairs(list(given)), *rivals]
    numbers = metrics.evaluate(manifest, systems, params, pairs, faces=faces)
    cases = {} if truth is None else by_case(manifest, systems, truth.cases)
    return Findings(manifest, numbers, tuple(given), fits, cases, {} if truth is None else truth.ceilings)


def regression(inputs: str) -> str:
    """A baseline's key in metrics and plot files: "words + tokens" -> "regression_words_tokens"."""
    return "regression_" + inputs.replace(" + ", "_")


def as_predictions(manifest: Manifest, scores: baselines.Floats) -> list[Prediction]:
    """A baseline's scores (N, C), rows in the manifest's order, as predictions of test."""
    rows = [dict(zip(manifest.labels, map(float, row), strict=True)) for row in scores]
    return [
        Prediction(u.id, u.label, best_label(row), row, None)
        for u, row in zip(manifest.utterances, rows, strict=True)
        if u.split == "test"
    ]


def by_case(
    manifest: Manifest, systems: Mapping[str, Sequence[Prediction]], cases: Mapping[str, str]
) -> dict[str, dict[str, tuple[float, int]]]:
    """case -> system -> (accuracy, utterances) on test, in the maker's order. CorpusError if the truth file does not know an utterance."""
    gold = {u.id: u.label for u in manifest.by_split("test") if u.label is not None}
    unknown = sorted(set(gold) - set(cases))
    if unknown:
        raise CorpusError(f"The sample's truth file does not know {metrics.listed(unknown)}. Run 'dvc repro sample'.")
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for case in (case for case in sample_cases.CASES if case in cases.values()):
        ids = {id_ for id_ in gold if cases[id_] == case}
        for name, of in systems.items():
            right = [p.label == gold[p.id] for p in of if p.id in ids]
            if right:
                found.setdefault(case, {})[name] = (float(np.mean(right)), len(right))
    return found


def headline(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The part for metrics.json: counts, and per system and difference the three metrics with their intervals, fractions."""
    return {
        "test": {
            "utterances": numbers["utterances"],
            "dialogues": numbers["dialogues"],
            "confidence": numbers["confidence"],
        },
        "systems": {name: {metric: of[metric] for metric in METRICS} for name, of in numbers["systems"].items()},
        "differences": numbers["differences"],
    }


def read_metrics(path: Path) -> dict[str, Any]:
    """What ``headline`` made, read from metrics.json. EvaluationError where it is missing, damaged or of another kind."""
    try:
        found = from_mapping(read_json(path), _Metrics, "it")
    except JsonError as error:
        if error.missing:
            raise metrics.EvaluationError(
                f"{printable(path)}: there are no metrics here yet. Run 'dvc repro', or judge predictions first."
            ) from None
        raise metrics.EvaluationError(f"{error} {REMAKE}") from None
    except (ConfigError, AttributeError, TypeError) as error:
        raise metrics.EvaluationError(
            f"{printable(path)}: these are no metrics of bemerc ({printable(error)}). {REMAKE}"
        ) from None
    return asdict(found)


REMAKE = "Remove the file and run 'dvc repro evaluate', or judge the predictions again."


@dataclass(frozen=True)
class _Measured:
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class _Level:
    """Of a system every metric has a value, of a difference too: only a group of utterances may be empty."""

    accuracy: _Measured
    weighted_f1: _Measured
    macro_f1: _Measured


@dataclass(frozen=True)
class _Test:
    utterances: int
    dialogues: int
    confidence: float


@dataclass(frozen=True)
class _Metrics:
    """metrics.json."""

    test: _Test
    systems: Mapping[str, _Level]
    differences: Mapping[str, _Level]

    def check(self) -> list[str]:
        return [f"differences.{name}: must be named 'b - a'." for name in self.differences if name.count(" - ") != 1]


def in_groups(found: Findings) -> list[list[str]]:
    """Every variant with the regressions that are set against it, then the other baselines: the systems in the order of tables."""
    systems = found.numbers["systems"]
    rivals = {v: [regression(name) for name, rung in baselines.RUNG_OF.items() if rung == v] for v in found.variants}
    groups = [[name for name in (v, *rivals[v]) if name in systems] for v in found.variants]
    placed = {name for group in groups for name in group}
    return [*groups, [name for name in systems if name not in placed]]
