"""Write an evaluation's files: metrics.json, plot files for DVC, plots, mistakes.csv, report.md and report.html.

Numbers come from results.py, sentences from report_text.py, plots from plots.py. The same inputs give the same bytes,
plots included, so that a second run changes nothing for DVC.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.behavior.tokens import file, words_alone
from bemerc.cache import open_cache
from bemerc.core import atomic, terminal
from bemerc.corpus.manifest import read_manifest
from bemerc.evaluate import evaluation, mistakes, plots, report_page, test_access, test_set
from bemerc.evaluate.conflict import summary
from bemerc.evaluate.formatting import METRIC_TITLES
from bemerc.evaluate.report_text import markdown, title
from bemerc.evaluate.results import METRICS, METRICS_FILE, Results, SampleTruth, headline, in_groups, judge
from bemerc.language.inputs import prompts
from bemerc.language.predict.records import Prediction, read_predictions


def run(
    manifest_path: Path,
    predictions: Mapping[str, Path],
    tokens_path: Path,
    out: Path,
    params: evaluation.Params,
    prompt_params: prompts.Params,
    truth: SampleTruth | None = None,
    epochs: Mapping[str, Path] | None = None,
    face_cache: Path | None = None,
) -> dict[str, Any]:
    """Evaluate the variants and their baselines on test; write metrics.json, plots/, mistakes.csv, report.md and
    report.html to ``out``, and the access to test to test_access.jsonl.

    predictions    variant -> its predictions file, for every one of ``params.variants``
    tokens_path    the token file, for the regressions on behavior; where there is none they are left out
    prompt_params  how many turns a prompt shows, for the baselines on the same window
    epochs         variant -> epochs.csv in its model's folder, for the training curves
    face_cache     face.h5, which holds how many faces each clip shows; None: no groups by faces

    Returns the content of metrics.json. Raises EvaluationError, PredictionError, CorpusError or CacheError where the
    inputs are damaged or do not fit each other.
    """
    manifest = read_manifest(manifest_path)
    predictions_of = _read(predictions, params)
    with words_alone.open_if_read(tokens_path, manifest, file.Params().k, ()) as tokens:
        results = judge(manifest, predictions_of, tokens, params, prompt_params, truth, _faces(face_cache))
    before = test_access.note(out, manifest, {name: predictions[name] for name in params.variants})
    curves, conflict = read_curves(epochs or {}), summary.section(out)
    metrics = headline(results.numbers)
    write_plot_files(out / "plots", results, curves)
    draw(out / "plots", results, curves)
    mistakes.write(out / "mistakes.csv", manifest, predictions_of)
    atomic.write_text(out / METRICS_FILE, json.dumps(metrics, indent=2, allow_nan=False) + "\n", atomic.PUBLIC)
    text = markdown(results, bool(curves), before, conflict)
    atomic.write_text(out / "report.md", text, atomic.PUBLIC)
    # Strangers' words are in it, as in mistakes.csv.
    atomic.write_text(out / "report.html", report_page.page(text, out, manifest, predictions_of))
    return metrics


def _faces(face_cache: Path | None) -> dict[str, int]:
    """Id -> the most faces in one frame, for the utterances whose target face was chosen."""
    if face_cache is None:
        return {}
    with open_cache(face_cache, "face") as cache:
        return {id_: choice.faces for id_, choice in cache.choices.items()}


def _read(predictions: Mapping[str, Path], params: evaluation.Params) -> dict[str, Sequence[Prediction]]:
    missing = [name for name in params.variants if name not in predictions]
    if missing:
        raise test_set.EvaluationError(
            f"No predictions were named for {', '.join(missing)}; the variants in params are "
            f"{', '.join(params.variants)}. Train and predict them, or leave those variants out of evaluate.variants."
        )
    return {name: read_predictions(predictions[name]) for name in params.variants}


# ------------------------------------------------------------------------------------------------- plot files, pictures


def write_plot_files(folder: Path, results: Results, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """ladder.csv, per_class.csv, confusion_<variant>.csv (rows actual,predicted: DVC's template), training.csv."""
    systems, labels = results.numbers["systems"], results.numbers["labels"]
    ladder = [[name, m, *systems[name][m].values()] for group in in_groups(results) for name in group for m in METRICS]
    _write_csv(folder / "ladder.csv", ["system", "metric", "value", "low", "high"], ladder)
    measures = ["precision", "recall", "f1", "support", "f1_low", "f1_high"]
    each = [
        [name, label, *(systems[name]["per_class"][label][m] for m in measures)] for name in systems for label in labels
    ]
    _write_csv(folder / "per_class.csv", ["system", "label", *measures], each)
    for name in results.variants:
        counts = systems[name]["confusion"]
        pairs = [[a, b] for i, a in enumerate(labels) for j, b in enumerate(labels) for _ in range(counts[i][j])]
        _write_csv(folder / f"confusion_{name}.csv", ["actual", "predicted"], pairs)
    if curves:
        columns = list(dict.fromkeys(key for rows in curves.values() for row in rows for key in row))
        lines = [[name, *(row.get(key) for key in columns)] for name, rows in curves.items() for row in rows]
        _write_csv(folder / "training.csv", ["variant", *columns], lines)


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with io.StringIO(newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([terminal.cell(value) for value in row] for row in rows)
        atomic.write_text(path, text.getvalue(), atomic.PUBLIC)


def draw(folder: Path, results: Results, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """ladder.png, confusion.png, per_class.png and, where there are curves, training.png."""
    systems, labels = results.numbers["systems"], results.numbers["labels"]
    panels = {
        f"{METRIC_TITLES[m]} (%)": [[_bar(results, name, m) for name in group] for group in in_groups(results)]
        for m in ("accuracy", "weighted_f1")
    }
    plots.save_ladder(folder / "ladder.png", panels, results.numbers["confidence"])
    plots.save_confusions(
        folder / "confusion.png", labels, {v: np.array(systems[v]["confusion"]) for v in results.variants}
    )
    f1 = {v: [_f1_bar(results, v, label) for label in labels] for v in results.variants}
    support = [int(systems[results.variants[0]]["per_class"][label]["support"]) for label in labels]
    plots.save_per_class(folder / "per_class.png", labels, f1, support)
    if curves:
        plots.save_curves(folder / "training.png", _panels(curves))


def _bar(results: Results, name: str, metric: str) -> plots.Bar:
    measured = results.numbers["systems"][name][metric]
    ceiling = results.ceilings.get(name) if metric == "accuracy" else None
    return plots.Bar(
        title(name), name in results.variants, measured["value"], measured["low"], measured["high"], ceiling
    )


def _f1_bar(results: Results, name: str, label: str) -> plots.Bar:
    measures = results.numbers["systems"][name]["per_class"][label]
    return plots.Bar(name, True, measures["f1"], measures["f1_low"], measures["f1_high"])


def read_curves(epochs: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    """Variant -> one row per epoch: ``epoch``, its mean loss, dev's metrics; without variants that have no file."""
    curves = {}
    for name, path in epochs.items():
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                curves[name] = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return {name: rows for name, rows in curves.items() if rows}


def _panels(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """One panel per logged number: title -> variant -> (epochs, values)."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name, rows in curves.items():
        for key in dict.fromkeys(key for row in rows for key in row if key != "epoch"):
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            panels.setdefault(key.replace("_", " "), {})[name] = ([x for x, _ in points], [y for _, y in points])
    return panels
