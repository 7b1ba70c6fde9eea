"""The commands ``bemerc conflict calibrate`` and ``attention``: where a model looks when it names an emotion, and moving that."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, Backbone, DataDir, ModelFolder, ParamsFile, Settings, read_params

if TYPE_CHECKING:
    from bemerc.language.predict.reallocation_file import Reallocation

Items = Annotated[Path | None, typer.Option("--items", help="Conflict items; else conflict.jsonl in the data folder.")]


def register(conflict_app: App) -> None:
    """Add these commands to the group ``conflict``."""
    conflict_app.command()(calibrate)
    conflict_app.command()(attention)


def calibrate(
    model: ModelFolder,
    items: Items = None,
    data: DataDir = Path("data"),
    beta: Annotated[
        float | None, typer.Option("--beta", min=0, max=1, help="The strength; else dev decides.", show_default=False)
    ] = None,
    share: Annotated[float, typer.Option("--heads", min=0, max=1, help="Share of the heads that are chosen.")] = 0.25,
    skip_first: Annotated[int, typer.Option(min=0, help="First layers in which nothing is moved.")] = 2,
    skip_last: Annotated[int, typer.Option(min=0, help="Last layers in which nothing is moved.")] = 1,
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Choose the strengths of presoftmax and text_prior too.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of the heads drawn for comparison.")] = 0,
    backbone: Backbone = None,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Measure on dev how a model's attention is to be moved between voice and face.

    Writes reallocate.json into the model's folder; predict.reallocate says whether and how it is used. The strength is
    the smallest that is as good as the best on dev's conflicts, while items in which face and voice agree lose nothing;
    0 where nothing helps.

    Example: bemerc conflict calibrate models/merc/TVB
    """
    from bemerc.language.predict.calibrate_reallocation import Params
    from bemerc.pipeline import conflict_attention
    from bemerc.pipeline.project import Project

    how = Params(skip_first, skip_last, share, beta=beta, controls=controls, seed=seed)
    project = Project(read_params(params, settings), data=data)
    file, made = conflict_attention.calibrate(project, model, how, items, backbone)
    if json:
        output.print_json({"file": str(file), **_json(made)})
        return
    typer.echo(f"heads, as layer.head: {_listed(made.chosen)}")
    typer.echo(f"{'strength':18s} consistent  video-aligned  audio-aligned (accuracy on dev)")
    for name, grid in made.made["dev"].items():
        for strength, accuracies in grid.items():
            mark = "*" if float(strength) == getattr(made, name) else " "
            typer.echo(f"{name:6s} {strength:>10s}{mark} " + "".join(f"{_percent(of):>11s}" for of in accuracies))
    if not made.beta:
        typer.echo(
            "Nothing is moved: dev shows no gain that is more than chance, or consistent items lose. --beta overrules it."
        )
    typer.echo(f"{file} is written; predict with --set predict.reallocate=reallocate uses it.")


def attention(
    model: ModelFolder,
    items: Items = None,
    data: DataDir = Path("data"),
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG to write: a map by layer and head per subset.")
    ] = None,
    backbone: Backbone = None,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Show how a model divides its attention between voice and face where it names an emotion.

    By layer and head, the median over dev's items of each subset: 1 is the voice alone, 0 face and body alone.

    Example: bemerc conflict attention models/merc/TVB --plot attention.png
    """
    from bemerc.pipeline import conflict_attention
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=data)
    maps = conflict_attention.attention(project, model, "dev", items, backbone)
    if plot is not None:
        from bemerc.evaluate.conflict import attention_plot

        attention_plot.save(plot, maps)
    if json:
        output.print_json({"rho": {name: of.tolist() for name, of in maps.items()}})
        return
    for name, of in maps.items():
        typer.echo(name)
        for layer, heads in enumerate(of):
            typer.echo(f"  layer {layer:<3d} " + " ".join("   -" if head != head else f"{head:.2f}" for head in heads))
    if plot is not None:
        typer.echo(f"The picture is {plot}")


def _listed(heads: Any) -> str:
    return ", ".join(f"{layer}.{head}" for layer, of in heads.items() for head in of)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _json(made: "Reallocation") -> dict[str, Any]:
    return {
        "beta": made.beta,
        "boost": made.boost,
        "gamma": made.gamma,
        "heads": {layer: list(of) for layer, of in made.chosen.items()},
        "sinks": {layer: list(of) for layer, of in made.sinks.items()},
        **made.made,
    }
