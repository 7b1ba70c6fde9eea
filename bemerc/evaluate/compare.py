"""Compare runs with a baseline on test: paired differences with intervals, corrected p-values, detectable differences.

Every metric is computed per training seed and averaged. Dialogues are resampled, the same for every run, and the
variance between seeds is added (intervals.py). p-values are corrected over the table (Holm 1979). Where no difference
is shown, the smallest one that the test set could have shown says how little that means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest
from bemerc.evaluate import bootstrap, evaluation, intervals, metrics, test_set
from bemerc.evaluate.formatting import HEADLINE, METRIC_TITLES, cell, ranged, signed, table
from bemerc.evaluate.intervals import ALPHA, Repeated
from bemerc.language.predict.records import read_predictions

# LaTeX's special characters, replaced in one pass, so that no character of a replacement is replaced.
TEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"<": "$<$", ">": "$>$", "\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
)


# Below this many training seeds a sentence says why intervals are wide.
FEW_SEEDS = 5


class CompareError(BemercError):
    """Runs cannot be compared: too few, of one name, or without predictions."""


@dataclass(frozen=True)
class Run:
    """One system: its name, and its answers on test, one per training seed."""

    name: str
    answers: tuple[test_set.Answers, ...]


@dataclass(frozen=True)
class Measured:
    """A number with its interval, all as fractions; no interval where test is a single dialogue."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A run minus the baseline in one metric.

    gap         the difference with its interval
    p           two-sided: 1 - confidence of the interval that ends at zero; 1 where there is no interval
    p_holm      the same, corrected for the number of runs in the table
    detectable  the smallest true difference that four tables in five of this size would show, if it is the only
                one, with Holm's correction for the number of runs; None where there is no interval
    """

    gap: Measured
    p: float
    p_holm: float
    detectable: float | None


@dataclass(frozen=True)
class Row:
    """One run of the table: metric -> its value, and metric -> its difference (None for the baseline itself)."""

    name: str
    seeds: int
    measured: Mapping[str, Measured]
    against: Mapping[str, Difference] | None


@dataclass(frozen=True)
class Comparison:
    """The whole table; the first row is the baseline."""

    rows: tuple[Row, ...]
    utterances: int
    dialogues: int
    confidence: float
    resamples: int

    def to_plain(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return asdict(self)


def load(manifest: Manifest, paths: Sequence[Path]) -> list[Run]:
    """A run per path: a predictions file, or a folder with one such file per training seed.

    Raises CompareError where paths are missing or share a name, EvaluationError or PredictionError where predictions
    do not fit the manifest.
    """
    runs = [Run(_name(path), tuple(answers(manifest, file) for file in _files(path))) for path in paths]
    names = [run.name for run in runs]
    if len(runs) < 2:
        raise CompareError("A comparison needs two runs or more: a baseline, and what is compared with it.")
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
        runs = [Run(name, run.answers) for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        raise CompareError(f"One run is named twice: {', '.join(names)}. Name each once.")
    return runs


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".jsonl" else path.name or str(path)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise CompareError(
            "there is no predictions file (.jsonl) in this folder. Name a file, or a folder with one per "
            "training seed.",
            path=path,
            missing=True,
        )
    return files


def answers(manifest: Manifest, file: Path) -> test_set.Answers:
    """One predictions file on test."""
    return test_set.answers(manifest, read_predictions(file), name=str(file))


def compare(manifest: Manifest, runs: Sequence[Run], params: evaluation.Params) -> Comparison:
    """Evaluate all runs on test, and each against the first."""
    reference = test_set.reference(manifest)
    weights = bootstrap.dialogue_weights(reference.dialogues, params.resamples, params.seed)
    base, *others = [bootstrap.repeated(reference, run.answers, weights) for run in runs]
    against = [_against(base, other, len(others), params.confidence) for other in others]
    corrected = [with_holm([one[m] for one in against]) for m in metrics.METRICS]
    rows = [
        Row(
            run.name,
            len(run.answers),
            {m: Measured(*intervals.measured(repeated[m], params.confidence)) for m in metrics.METRICS},
            None if number == 0 else {m: corrected[k][number - 1] for k, m in enumerate(metrics.METRICS)},
        )
        for number, (run, repeated) in enumerate(zip(runs, (base, *others), strict=True))
    ]
    return Comparison(tuple(rows), len(reference.gold), reference.dialogues, params.confidence, params.resamples)


def _against(
    base: Mapping[str, Repeated], other: Mapping[str, Repeated], tests: int, confidence: float
) -> dict[str, Difference]:
    return {m: difference(base[m], other[m], tests, confidence) for m in metrics.METRICS}


def difference(base: Repeated, other: Repeated, tests: int, confidence: float, most: float = 1.0) -> Difference:
    """``other`` minus ``base``, which cannot leave -``most`` to ``most``; p_holm is p as yet (``with_holm``)."""
    if base.dialogues < 2:
        return Difference(Measured(float(other.values.mean() - base.values.mean()), None, None), 1.0, 1.0, None)
    estimate = intervals.difference(base, other)
    gap = Measured(estimate.value, *estimate.interval(confidence, -most, most))
    return Difference(gap, estimate.p(), estimate.p(), estimate.detectable(tests))


def with_holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same, p_holm corrected for their number."""
    corrected = holm([one.p for one in differences])
    return [replace(one, p_holm=p) for one, p in zip(differences, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of n times n - k + 1, none below a smaller one's."""
    order, running, result = np.argsort(p, kind="stable"), 0.0, [0.0] * len(p)
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        result[index] = running
    return result


# ----------------------------------------------------------------------------------------------------------------- text


def markdown(comparison: Comparison) -> str:
    """The table and a paragraph on what it shows."""
    base = comparison.rows[0].name
    minus = f"{METRIC_TITLES[HEADLINE]}, minus {cell(base)}"
    head = ["run", "seeds", *METRIC_TITLES.values(), minus, "p (Holm)"]
    rows = [[cell(row.name), *_cells(row)] for row in comparison.rows]
    return "\n".join([table(head, rows), "", paragraph(comparison)])


def latex(comparison: Comparison) -> str:
    """The same table for a paper (booktabs)."""
    head = ["Run", "Seeds", "Acc.", "WF1", "MF1", r"$\Delta$WF1", "$p$"]
    lines = [r"\begin{tabular}{lrrrrrr}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join([tex(row.name), *map(tex, _cells(row))]) + r" \\" for row in comparison.rows]
    return "\n".join(
        [*lines, r"\bottomrule", r"\end{tabular}", *[f"% {s}" for s in paragraph(comparison).splitlines()]]
    )


def _cells(row: Row) -> list[str]:
    levels = [ranged(asdict(measured)) for measured in row.measured.values()]
    if row.against is None:
        return [str(row.seeds), *levels, "", ""]
    difference = row.against[HEADLINE]
    gap = ranged(asdict(difference.gap), signed)
    return [str(row.seeds), *levels, gap, p_value(difference.p_holm)]


def p_value(p: float) -> str:
    """With three digits, "<0.001" below them."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"


def tex(text: str) -> str:
    """Text for LaTeX."""
    return text.translate(TEX)


def paragraph(comparison: Comparison) -> str:
    """What the table shows and what it does not, in sentences."""
    base, others = comparison.rows[0], comparison.rows[1:]
    sentences = [
        f"Test: {comparison.utterances} utterances in {comparison.dialogues} "
        f"dialogue{'s' * (comparison.dialogues != 1)}.",
        _of_intervals(comparison),
        f"p is Holm's over the {len(others)} run{'s' * (len(others) > 1)} compared with {base.name}.",
    ]
    for row in others:
        assert row.against is not None
        sentences.append(_verdict(row.name, base.name, row.against[HEADLINE], len(others)))
    return " ".join([*sentences, *_of_seeds(comparison)])


def _of_intervals(comparison: Comparison) -> str:
    if comparison.dialogues < 2:
        return "One dialogue is too little for intervals, and for saying that any run is better."
    sources = "dialogues and training seeds" if any(row.seeds > 1 for row in comparison.rows) else "dialogues"
    return (
        f"Every metric is computed per training seed and averaged; intervals hold {100 * comparison.confidence:g} % "
        f"over {sources} ({comparison.resamples} resamples of dialogues, the same for all runs)."
    )


def _verdict(name: str, base: str, difference: Difference, tests: int) -> str:
    if difference.p_holm < ALPHA:
        better = "better" if difference.gap.value > 0 else "worse"
        return f"{name} is {better} than {base} by {abs(100 * difference.gap.value):.1f} points of {METRIC_TITLES[HEADLINE]}."
    verdict = f"Between {name} and {base} no difference is shown"
    if difference.detectable is None:
        return f"{verdict}."
    corrected = f" (Holm's correction for {tests} runs included)" if tests > 1 else ""
    return (
        f"{verdict}; a true one of {100 * difference.detectable:.1f} points would have been found four times in "
        f"five{corrected}, a smaller one often not."
    )


def _of_seeds(comparison: Comparison) -> list[str]:
    """What the intervals leave out or know badly, by the number of seeds."""
    single = [row.name for row in comparison.rows if row.seeds == 1]
    few = [row.name for row in comparison.rows if 1 < row.seeds < FEW_SEEDS]
    sentences = []
    if single:
        sentences.append(
            f"Training variation is not included for {', '.join(single)}: one training seed says nothing of what "
            "another would change."
        )
    if few:
        sentences.append(
            f"With fewer than {FEW_SEEDS} training seeds the spread between them is hardly known, so intervals are "
            "wide."
        )
    return sentences
