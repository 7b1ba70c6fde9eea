"""The commands ``bemerc tokens``, ``backbone``, ``train`` and ``crossfit``: from caches to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, DataDir, ModelsDir, ParamsFile, Settings, TensorBoard, read_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bemerc.corpus.manifest import Manifest, Modality
    from bemerc.language.inputs.prompts import Params as PromptParams
    from bemerc.language.inputs.prompts import Prompt
    from bemerc.language.train.memory_estimate import Estimate
    from bemerc.pipeline.project import Project

Variant = Annotated[str, typer.Option("--variant", help="Stage 2: T, TV, TB, TVB, or a name of variants.")]


def register(app: App) -> None:
    """Add these commands to ``app``."""
    for command in (tokens, backbone, train, crossfit):
        app.command()(command)


def tokens(
    data: DataDir = Path("data"), params: ParamsFile = None, settings: Settings = None, json: AsJson = False
) -> None:
    """Frame caches -> tokens.h5, K behavior tokens per utterance.

    Values are scaled by train's statistics.

    Example: bemerc tokens --data data
    """
    from bemerc.pipeline import tokens

    project = _project(data, Path("models"), params, settings)
    calibration = tokens.run(project)
    columns = {modality: list(fitted.columns) for modality, fitted in calibration.modalities.items()}
    if json:
        output.print_json({"tokens": str(project.tokens), "columns": columns})
        return
    widths = ", ".join(f"{modality} {len(names)}" for modality, names in columns.items())
    typer.echo(f"Behavior tokens are in {project.tokens}; columns per token: {widths}")


def backbone(
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Train the tiny language model of the embedded default.

    It stands in where model.name_or_path names no other. It learns to read the corpus's own words and prompts in a
    minute or two, so that everything works without a download.

    Example: bemerc backbone
    """
    from bemerc.pipeline import backbone

    project = _project(data, models, params, settings)
    loss = backbone.run(project)
    if json:
        output.print_json({"model": str(project.backbone), "loss": loss})
        return
    typer.echo(f"The backbone is {project.backbone}; loss per token {loss:.2f}")


def train(
    stage: Annotated[int, typer.Option("--stage", min=1, max=2, help="1 = align, 2 = merc.")],
    variant: Variant = "TVB",
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    tensorboard: TensorBoard = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what the stage would need of a GPU, and load nothing.")
    ] = False,
    tflops: Annotated[
        float,
        typer.Option("--tflops", min=0.001, help="For --estimate: what the device sustains, not its datasheet's peak."),
    ] = 120.0,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Tune the LLM on behavior tokens, stage 1 or stage 2.

    In stage 1 (align) it learns to say what the behavior is, in stage 2 (merc) to name the emotion. Before it:
    prepare, extract, tokens, describe, and backbone unless model.name_or_path names another. Stage 2 starts from what
    stage 1 left in the models folder. Killed, the same command goes on where it stood. Several GPUs: accelerate
    launch --multi_gpu -m bemerc train --stage 2

    Example: bemerc train --stage 2 --variant TVB
    """
    from bemerc.language.train.processes import leads

    project = _project(data, models, params, settings)
    if estimate:
        _print_estimate(project, stage, variant, tflops, json)
        return
    if stage == 1:
        from bemerc.pipeline import align

        out = project.align
        best = align.run(project, None if tensorboard is None else tensorboard / "align")
        if best is None:
            _say_nothing_to_align(project, json)
            return
    else:
        from bemerc.pipeline import merc

        out = project.merc(variant)
        best = merc.run(project, variant, None if tensorboard is None else tensorboard / variant)
    if not leads():
        return
    if json:
        output.print_json({"model": str(out), "epoch": best.epoch, "dev": dict(best.dev)})
        return
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in best.dev.items())
    typer.echo(f"Best epoch on dev: {best.epoch} ({numbers}). The model is in {out}")


def crossfit(
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Have the align model describe every utterance.

    Variants may read its descriptions. Those of train are by models that were aligned without them. Does nothing
    unless crossfit.folds is set.

    Example: bemerc crossfit --set crossfit.folds=2
    """
    from bemerc.pipeline import crossfit

    result = crossfit.run(_project(data, models, params, settings))
    if json:
        output.print_json({"descriptions": len(result.descriptions), "agreement": dict(result.agreement)})
        return
    if not result.descriptions:
        typer.echo("Nothing was described: crossfit.folds is 0.")
        return
    scores = ", ".join(f"{split} {value:.2f}" for split, value in result.agreement.items())
    typer.echo(f"{len(result.descriptions)} descriptions. F1 against what align was taught: {scores}")


def _say_nothing_to_align(project: "Project", json: bool) -> None:
    if json:
        output.print_json({"model": None, "epoch": None, "dev": {}})
        return
    typer.echo(f"Nothing to align: {project.tokens} has no column of any modality, the corpus is words alone.")


def _project(data: Path, models: Path, params: Path | None, settings: list[str] | None) -> "Project":
    from bemerc.pipeline.project import Project

    return Project(read_params(params, settings), data=data, models=models)


def _print_estimate(project: "Project", stage: int, variant: str, tflops: float, json: bool) -> None:
    """What ``bemerc train --estimate`` says."""
    from dataclasses import asdict

    from bemerc.behavior.tokens import file
    from bemerc.corpus.manifest import MODALITIES, read_manifest
    from bemerc.language.inputs import prompts
    from bemerc.language.model import behavior_model
    from bemerc.language.train import loop, memory_estimate, merc

    manifest = read_manifest(project.manifest_file)
    tuning = project.load("align", loop.Params) if stage == 1 else project.load("merc", merc.Params)
    # Align's questions are plain text whatever the params say of prompts.
    shape, note = (prompts.Params() if stage == 1 else project.load("prompt", prompts.Params)), ""
    modalities: Sequence[Modality] = MODALITIES
    if stage == 1:
        asked, note = _align_prompts(manifest, project)
    else:
        asked, modalities = _merc_prompts(manifest, variant, project, shape)
    k, model = project.load("tokens", file.Params).k, project.load("model", behavior_model.Params)
    result: Estimate = memory_estimate.run(asked, modalities, k, shape, model, tuning)
    if json:
        output.print_json(asdict(result) | {"bytes": result.bytes, "seconds_per_epoch": result.flops / (tflops * 1e12)})
        return
    typer.echo(note + memory_estimate.in_words(result, tuning, tflops, "merc" if stage == 2 else "align"))


def _align_prompts(manifest: "Manifest", project: "Project") -> "tuple[list[Prompt], str]":
    """Stage 1's questions, and a line where the answers had to be made up."""
    from bemerc.behavior.describe import description, rules
    from bemerc.corpus.manifest import MODALITIES
    from bemerc.language.inputs import variants
    from bemerc.language.train import align, memory_estimate

    path = project.data / variants.FILES[project.load("describe", rules.Params).source]
    if path.is_file():
        return align.prompts(manifest, "train", description.read_descriptions(path), MODALITIES), ""
    typical = {u.id: memory_estimate.TYPICAL for u in manifest.utterances}
    note = f"{path} is not there yet: every description is taken to be a typical one of the rules\n"
    return align.prompts(manifest, "train", typical, MODALITIES), note


def _merc_prompts(
    manifest: "Manifest", variant: str, project: "Project", shape: "PromptParams"
) -> "tuple[list[Prompt], Sequence[Modality]]":
    """Stage 2's questions, and the modalities that they show."""
    from bemerc.language.inputs import variants
    from bemerc.language.predict import score_labels

    inputs = variants.named(variants.read(project.params), variant)
    described: Any = variants.read_described(inputs, project.data, manifest)
    sentences = variants.sentences(inputs, described, [u.id for u in manifest.utterances])
    split: Any = ("train",)
    asked = score_labels.prompts(
        manifest, split, manifest.labels, inputs.modalities, shape, inputs.behavior_of, sentences
    )
    return [one for one, _ in asked], inputs.modalities
