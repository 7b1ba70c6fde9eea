"""Is one run better than another? Several runs against a baseline, with what chance, seeds and many tries may have done.

The usual comparison sets two accuracies beside each other. Here dialogues are drawn with replacement and training seeds
with them, the same draws for every run, so that a difference is judged on the same conversations; p-values are Holm's over
the table (Holm 1979); and where nothing is shown, the difference that could have been seen says how little that means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bemerc import evaluate
from bemerc.corpus import Manifest
from bemerc.errors import BemercError
from bemerc.evaluate.figures import HEADLINE, METRIC_TITLES, cell, ranged, signed, table
from bemerc.prediction import read_predictions

# A difference of (z for 5 % two-sided + z for 80 % power) standard errors is found four times in five.
DETECTABLE = 1.96 + 0.84
# What LaTeX would take for its own, in one pass, so that no mark of a replacement is replaced.
TEX = str.maketrans(
    {mark: f"\\{mark}" for mark in "&%$#_{}"}
    | {"<": "$<$", ">": "$>$", "\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
)


class CompareError(BemercError):
    """Runs cannot be compared: too few, of one name, or without predictions."""


@dataclass(frozen=True)
class Run:
    """One system: its name, and its answers on test, one per training seed."""

    name: str
    answers: tuple[evaluate.Answers, ...]


@dataclass(frozen=True)
class Measured:
    """A number with its interval, all as fractions."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A run minus the baseline in one metric.

    gap         with its interval
    p           two-sided, of the bootstrap: twice the smaller share of resamples on either side of zero
    p_holm      the same, corrected for the number of runs in the table
    detectable  the smallest true difference that four tables in five of this size would show
    """

    gap: Measured
    p: float
    p_holm: float
    detectable: float


@dataclass(frozen=True)
class Row:
    """One run of the table: metric -> what it reached, and against the baseline (None for the baseline itself)."""

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


def load(manifest: Manifest, places: Sequence[Path]) -> list[Run]:
    """A run per place: a predictions file, or a folder with one such file per training seed.

    Raises CompareError where places are not there or share a name, EvaluationError or PredictionError where predictions
    do not fit the manifest.
    """
    runs = [Run(_name(place), tuple(answers(manifest, file) for file in _files(place))) for place in places]
    names = [run.name for run in runs]
    if len(runs) < 2:
        raise CompareError("A comparison needs two runs or more: a baseline, and what is compared with it.")
    if len(set(names)) < len(names):
        names = [str(place) for place in places]
        runs = [Run(name, run.answers) for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        raise CompareError(f"One run is named twice: {', '.join(names)}. Name each once.")
    return runs


def _name(place: Path) -> str:
    return place.stem if place.suffix == ".jsonl" else place.name or str(place)


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    found = sorted(place.glob("*.jsonl"))
    if not found:
        raise CompareError(
            f"{place}: there is no predictions file (.jsonl) in this folder. Name a file, or a folder with one per training seed."
        )
    return found


def answers(manifest: Manifest, file: Path) -> evaluate.Answers:
    """One predictions file on test."""
    return evaluate.answers(manifest, read_predictions(file), name=str(file))


def compare(manifest: Manifest, runs: Sequence[Run], params: evaluate.Params) -> Comparison:
    """Judge all runs on test and each against the first."""
    judged = evaluate.reference(manifest)
    drawn, whole = {}, {}
    for run in runs:
        whole[run.name], drawn[run.name] = evaluate.over_seeds(judged, run.answers, params.resamples, params.seed)
    base, *others = [run.name for run in runs]
    raw = {m: [_difference(whole, drawn, base, name, m, params) for name in others] for m in evaluate.METRICS}
    against = {m: _with_holm(found) for m, found in raw.items()}
    rows = [
        Row(
            run.name,
            len(run.answers),
            {m: _measured(m, whole[run.name], drawn[run.name], params) for m in evaluate.METRICS},
            None if place == 0 else {m: against[m][place - 1] for m in evaluate.METRICS},
        )
        for place, run in enumerate(runs)
    ]
    return Comparison(tuple(rows), len(judged.gold), judged.dialogues, params.confidence, params.resamples)


def _measured(metric: str, whole: Any, drawn: Any, params: evaluate.Params) -> Measured:
    of = evaluate.METRICS[metric]
    return Measured(float(of(whole)), *evaluate.interval(of(drawn), params.confidence))


def _difference(
    whole: Mapping[str, Any], drawn: Mapping[str, Any], base: str, name: str, metric: str, params: evaluate.Params
) -> Difference:
    of = evaluate.METRICS[metric]
    gaps = of(drawn[name]) - of(drawn[base])
    gap = Measured(float(of(whole[name]) - of(whole[base])), *evaluate.interval(gaps, params.confidence))
    # The draw at hand counts as one more on each side, so that no p is 0 (Davison and Hinkley 1997, section 4.2).
    sides = (np.sum(gaps <= 0) + 1, np.sum(gaps >= 0) + 1)
    p = min(1.0, 2 * float(min(sides)) / (len(gaps) + 1))
    return Difference(gap, p, p, float(DETECTABLE * np.nanstd(gaps)))


def _with_holm(found: Sequence[Difference]) -> list[Difference]:
    corrected = holm([one.p for one in found])
    return [Difference(one.gap, one.p, p, one.detectable) for one, p in zip(found, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of n is multiplied by n - k + 1, and none falls below a smaller one's."""
    order, running, found = np.argsort(p, kind="stable"), 0.0, [0.0] * len(p)
    for rank, place in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[place]))
        found[place] = running
    return found


# ------------------------------------------------------------------------------------------------------------------ saying


def markdown(found: Comparison) -> str:
    """The table and a paragraph on what it shows."""
    base = found.rows[0].name
    minus = f"{METRIC_TITLES[HEADLINE]}, minus {cell(base)}"
    head = ["run", "seeds", *METRIC_TITLES.values(), minus, "p (Holm)"]
    rows = [[cell(row.name), *_cells(row)] for row in found.rows]
    return "\n".join([table(head, rows), "", paragraph(found)])


def latex(found: Comparison) -> str:
    """The same table for a paper (booktabs)."""
    head = ["Run", "Seeds", "Acc.", "WF1", "MF1", r"$\Delta$WF1", "$p$"]
    lines = [r"\begin{tabular}{lrrrrrr}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join([_tex(row.name), *map(_tex, _cells(row))]) + r" \\" for row in found.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *[f"% {s}" for s in paragraph(found).splitlines()]])


def _cells(row: Row) -> list[str]:
    levels = [ranged(asdict(one)) for one in row.measured.values()]
    if row.against is None:
        return [str(row.seeds), *levels, "", ""]
    one = row.against[HEADLINE]
    gap = ranged(asdict(one.gap), signed)
    return [str(row.seeds), *levels, gap, f"{one.p_holm:.3f}" if one.p_holm >= 0.001 else "<0.001"]


def _tex(text: str) -> str:
    return text.translate(TEX)


def paragraph(found: Comparison) -> str:
    """What is shown and what is not, in words."""
    base = found.rows[0].name
    said = [
        f"Test: {found.utterances} utterances in {found.dialogues} dialogues. Intervals hold {100 * found.confidence:.0f} % of "
        f"{found.resamples} resamples of dialogues and training seeds, paired between runs; p is Holm's over the {len(found.rows) - 1} "
        f"run{'s' if len(found.rows) > 2 else ''} compared with {base}."
    ]
    for row in found.rows[1:]:
        assert row.against is not None
        one = row.against[HEADLINE]
        if one.p_holm < 0.05:
            better = "better" if one.gap.value > 0 else "worse"
            said.append(
                f"{row.name} is {better} than {base} by {abs(100 * one.gap.value):.1f} points of {METRIC_TITLES[HEADLINE]}."
            )
        else:
            said.append(
                f"Between {row.name} and {base} no difference is shown; a true one of {100 * one.detectable:.1f} points would "
                "have been found four times in five, a smaller one often not."
            )
    if any(row.seeds == 1 for row in found.rows):
        said.append("Runs with one training seed say nothing of what another seed would change.")
    return " ".join(said)
