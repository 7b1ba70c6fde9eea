"""Predictions -> metrics, plots and a report, with regressions beside the models.

in: data/manifest.jsonl, data/tokens.h5, data/cache/face.h5 (which clips show several faces), predictions,
the models' epochs.csv, and for the embedded sample the truth beside it.  out: results/metrics.json, results/plots/,
results/mistakes.csv, results/report.md; and results/test_access.jsonl, which counts how often test was used and is no output, since DVC would remove it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError, ConfigError
from bemerc.evaluate import evaluation, report, results
from bemerc.language.inputs import prompts
from bemerc.pipeline.project import Project
from bemerc.sample import plan


def run(project: Project, predictions: Sequence[Path] = (), out: Path | None = None) -> dict[str, Any]:
    """Judge predictions on test and write the report; returns what metrics.json holds.

    predictions  the files to judge, each called after its variant; none: those of the variants that
                 ``evaluate.variants`` names, with their training curves
    out          folder of the report; None = the project's results
    """
    params, shown = project.load("evaluate", evaluation.Params), project.load("prompt", prompts.Params)
    given = {path.stem: path for path in predictions} or {v: project.predictions(v) for v in params.variants}
    if len(given) < len(predictions):
        raise BemercError("Two prediction files have one name; the name is the variant's, so rename one.")
    params = replace(params, variants=tuple(given))
    if faults := params.check():
        raise ConfigError("\n".join(faults))
    curves = None if predictions else {variant: project.merc(variant) / "epochs.csv" for variant in given}
    faces = project.cache_dir / "face.h5"
    return report.run(
        project.manifest_file,
        given,
        project.tokens,
        out or project.results,
        params,
        shown,
        None if predictions else _truth(project),
        curves,
        faces if faces.is_file() else None,
    )


def _truth(project: Project) -> results.SampleTruth | None:
    """What the maker of the embedded sample knows, where the sample is the only corpus in use."""
    if tuple(project.value("prepare", "corpora", ("sample",))) != ("sample",):
        return None
    hint_share = project.value("sample", "hint_share", plan.Params().hint_share)
    conflicts = project.value("sample", "conflicts", plan.Params().conflicts)
    return results.sample_truth(project.data / "sample" / "truth.jsonl", hint_share, conflicts)
