"""The commands ``bemerc evaluate``, ``compare``, ``card`` and ``export``: what a model is worth, and its release."""

from pathlib import Path
from typing import Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, Backbone, DataDir, ModelFolder, ModelsDir, ParamsFile, Settings, read_params


def register(app: App) -> None:
    """Add these commands to ``app``."""
    for command in (evaluate, compare, card, export):
        app.command()(command)


def evaluate(
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PREDICTIONS", help="Prediction files; none: those of evaluate.variants.", show_default=False
        ),
    ] = None,
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    out: Annotated[
        Path, typer.Option("--out", help="Folder for metrics.json, plots/, report.md and report.html.")
    ] = Path("results"),
    show: Annotated[bool, typer.Option("--show", help="Print the metrics that are there, and judge nothing.")] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Judge predictions on test, and write the report.

    Accuracy and F1 with intervals, plain regressions beside them, pictures.

    Example: bemerc evaluate results/predictions/TV.jsonl results/predictions/TVB.jsonl --out judged
    """
    from bemerc.evaluate import report_text, results

    if show:
        metrics = results.read_metrics(out / results.METRICS_FILE)
    else:
        from bemerc.pipeline import evaluate
        from bemerc.pipeline.project import Project

        project = Project(read_params(params, settings), data=data, models=models)
        metrics = evaluate.run(project, predictions or (), out)
    if json:
        output.print_json(metrics)
        return
    typer.echo(report_text.format_table(metrics))
    typer.echo(f"The report is in {out / 'report.md'}, to look at in {out / 'report.html'}")


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Predictions files, or folders with one per training seed; the first is the baseline.",
        ),
    ],
    data: DataDir = Path("data"),
    latex: Annotated[bool, typer.Option("--latex", help="A table for a paper (booktabs).")] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Is a run better than the first one?

    Differences with intervals, Holm's p, and what could have been detected at all.

    Example: bemerc compare results/predictions/TV.jsonl results/predictions/TVB.jsonl --latex
    """
    from bemerc import api
    from bemerc.evaluate import compare

    result = api.compare(data / "manifest.jsonl", runs, read_params(params, settings))
    if json:
        output.print_json(result.to_plain())
    else:
        typer.echo(compare.latex(result) if latex else compare.markdown(result))


def card(
    model: ModelFolder,
    predictions: Annotated[Path, typer.Option("--predictions", help="The model's predictions of test.")],
    data: DataDir = Path("data"),
    speakers: Annotated[
        Path | None, typer.Option("--speakers", help="A table (CSV) with the columns speaker and gender.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Name the speakers in the card; without it they are numbered.")
    ] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Write into a model's card what it is worth on test.

    F1 per label, per speaker, per gender where that is known. Training writes the card (README.md in the model's
    folder) without looking at test; this adds the numbers. IEMOCAP's speakers are named by gender; for other corpora
    --speakers gives it, in any words, and blank where it is not known.

    Example: bemerc card models/merc/TVB --predictions results/predictions/TVB.jsonl
    """
    from bemerc.core.config import load
    from bemerc.corpus.manifest import read_manifest
    from bemerc.evaluate import evaluation
    from bemerc.language.model.behavior_model import read_metadata
    from bemerc.release import test_metrics

    manifest = read_manifest(data / "manifest.jsonl")
    genders = test_metrics.read_genders(speakers, manifest) if speakers else test_metrics.NO_GENDERS
    judging = load(read_params(params, settings), "evaluate", evaluation.Params)
    numbers = test_metrics.run(model, read_metadata(model), manifest, predictions, judging, genders, names)
    if json:
        output.print_json(numbers)
        return
    typer.echo(f"Weighted F1 {numbers['weighted_f1']['value']:.3f} on test; the card is {model / 'README.md'}")


def export(
    model: ModelFolder,
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must not exist yet.")],
    backbone: Backbone = None,
    device: Annotated[str, typer.Option("--device", help="Where to merge: cpu, cuda, spread.")] = "cpu",
    json: AsJson = False,
) -> None:
    """Merge adapter and backbone into one folder to deploy.

    It is an ordinary transformers folder with the projectors beside it; `bemerc predict --model` reads it like any
    model folder and gives the same scores, but for the rounding of a backbone's bfloat16.

    Example: bemerc export models/merc/TVB --out deployed
    """
    from bemerc.release import export as exporter

    metadata = exporter.run(model, out, backbone, device)
    if json:
        output.print_json({"model": str(out), "task": metadata.task, "variant": metadata.variant})
        return
    typer.echo(
        f"The {metadata.task} model with its backbone is in {out}. The backbone's licence holds for it: see README.md there."
    )
