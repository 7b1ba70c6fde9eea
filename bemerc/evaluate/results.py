"""The results of an evaluation: variants and baselines evaluated together, before anything is written.

Separate from the report, so that a program (the controls, a notebook) gets the numbers without files; and metrics.json.
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
from bemerc.evaluate import baselines, evaluation, metrics, test_set
from bemerc.evaluate.intervals import Interval
from bemerc.language.inputs import prompts
from bemerc.language.predict.records import Prediction, best_label
from bemerc.sample import cases as sample_cases

MAJORITY = "most_frequent_label"
METRICS_FILE = "metrics.json"
# The metrics of every system that have an interval, in the order of tables.
METRICS = tuple(metrics.METRICS)


@dataclass(frozen=True)
class SampleTruth:
    """What only a synthetic corpus has: which modalities carry the emotion, and the best possible accuracy.

    cases     utterance id -> the modalities that carry the emotion (sample/cases.py)
    ceilings  variant -> the best accuracy that is possible with its inputs, a fraction
    """

    cases: Mapping[str, str]
    ceilings: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """Everything in the report: ``numbers`` is evaluation.evaluate's dict."""

    manifest: Manifest
    numbers: dict[str, Any]
    variants: tuple[str, ...]
    fits: Mapping[str, baselines.Fit]
    cases: Mapping[str, Mapping[str, tuple[float, int]]]
    ceilings: Mapping[str, float]


def sample_truth(path: Path, hint_share: float, conflicts: int = 1) -> SampleTruth:
    """Read the cases from the sample's truth.jsonl; hint_share and conflicts as in section ``sample`` of params.yaml.

    CorpusError if there is no such file.
    """
    if not path.is_file():
        raise CorpusError("the sample's truth is not here. Run 'bemerc sample' first.", path=path, missing=True)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return SampleTruth({row["id"]: row["case"] for row in rows}, sample_cases.ceilings(hint_share, conflicts))


def judge(
    manifest: Manifest,
    predictions: Mapping[str, Sequence[Prediction]],
    tokens: TokenFile,
    params: evaluation.Params,
    prompt_params: prompts.Params,
    truth: SampleTruth | None = None,
    faces: Mapping[str, int] | None = None,
) -> Results:
    """Evaluate the variants and their baselines on test; the variants are validated before a baseline is fitted.

    ``prompt_params``: section ``prompt`` of params.yaml, for the baselines on the same window of turns.
    """
    for name, of_variant in predictions.items():
        test_set.validate(manifest, of_variant, name=name)
    fits = dict(baselines.regressions(manifest, tokens, prompt_params))
    others = {regression(name): as_predictions(manifest, fit.scores) for name, fit in fits.items()}
    systems = {**predictions, **others, MAJORITY: as_predictions(manifest, baselines.majority(manifest))}
    rivals = [
        (regression(name), rung) for name, rung in baselines.RUNG_OF.items() if name in fits and rung in predictions
    ]
    pairs = [*evaluation.ladder_pairs(list(predictions)), *rivals]
    numbers = evaluation.evaluate(manifest, systems, params, pairs, faces=faces)
    cases = {} if truth is None else by_case(manifest, systems, truth.cases)
    return Results(manifest, numbers, tuple(predictions), fits, cases, {} if truth is None else truth.ceilings)


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
    """Case -> system -> (accuracy, utterances) on test, in the order of CASES. CorpusError for an id without a case."""
    gold = {u.id: u.label for u in manifest.by_split("test") if u.label is not None}
    unknown = sorted(set(gold) - set(cases))
    if unknown:
        raise CorpusError(f"The sample's truth file lacks {test_set.listed(unknown)}. Run 'bemerc sample'.")
    result: dict[str, dict[str, tuple[float, int]]] = {}
    for case in (case for case in sample_cases.CASES if case in cases.values()):
        ids = {id_ for id_ in gold if cases[id_] == case}
        for name, predictions in systems.items():
            right = [p.label == gold[p.id] for p in predictions if p.id in ids]
            if right:
                result.setdefault(case, {})[name] = (float(np.mean(right)), len(right))
    return result


def headline(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The content of metrics.json: counts, and the metrics of systems and differences with intervals, fractions."""
    return {
        "test": {
            "utterances": numbers["utterances"],
            "dialogues": numbers["dialogues"],
            "confidence": numbers["confidence"],
        },
        "systems": {
            name: {metric: metrics_of[metric] for metric in METRICS} for name, metrics_of in numbers["systems"].items()
        },
        "differences": numbers["differences"],
    }


def read_metrics(path: Path) -> dict[str, Any]:
    """Read metrics.json, as ``headline`` gives it. EvaluationError where it is missing, damaged or of another kind."""
    try:
        document = from_mapping(read_json(path), _Metrics, "it")
    except JsonError as error:
        missing = "there are no metrics here yet. Run 'bemerc evaluate' first."
        raise error.become(test_set.EvaluationError, missing, REMAKE) from None
    except (ConfigError, AttributeError, TypeError) as error:
        raise test_set.EvaluationError(
            f"these are no metrics of bemerc ({printable(error)}). {REMAKE}", path=path
        ) from None
    return asdict(document)


REMAKE = "Remove the file and run 'bemerc evaluate', or judge the predictions again."


@dataclass(frozen=True)
class _Level:
    """Of a system every metric has a value, of a difference too: only a group of utterances may be empty."""

    accuracy: Interval
    weighted_f1: Interval
    macro_f1: Interval


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


def in_groups(results: Results) -> list[list[str]]:
    """The systems in the order of tables: each variant with the regressions beside it, then the other baselines."""
    systems = results.numbers["systems"]
    rivals = {v: [regression(name) for name, rung in baselines.RUNG_OF.items() if rung == v] for v in results.variants}
    groups = [[name for name in (v, *rivals[v]) if name in systems] for v in results.variants]
    placed = {name for group in groups for name in group}
    return [*groups, [name for name in systems if name not in placed]]
