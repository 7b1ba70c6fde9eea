"""The commands ``bemerc conflict ...``: utterances whose face and voice disagree, and whom a model believes there."""

from pathlib import Path
from typing import Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, ParamsFile, Settings, path_of, read_params

conflict_app = App(no_args_is_help=True, help="When face and voice disagree: whom does a model believe?")


@conflict_app.callback()
def _group() -> None:
    """When face and voice disagree: whom does a model believe?"""


@conflict_app.command()
def build(
    manifest: Annotated[
        Path, typer.Argument(parser=path_of, metavar="MANIFEST", help="The corpus's manifest.jsonl.")
    ] = Path("data/manifest.jsonl"),
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="Its behavior tokens; else tokens.h5 beside the manifest.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; else conflict.jsonl beside the manifest.")
    ] = None,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Find the utterances in which face and voice agree or disagree, and recombine those that agree.

    By labels of each modality (label_voice, label_face), where people gave them; else by regressions on the face alone
    and the voice alone, which must be better than chance; and by pairing the face of one utterance with the voice of
    another of the same speaker. Settings: the section conflict of the params file.

    Example: bemerc conflict build data/manifest.jsonl
    """
    from bemerc.pipeline import conflict_build
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=manifest.parent)
    place, made = conflict_build.run(project, manifest, tokens, out)
    if json:
        output.print_json({"conflict": str(place), "items": len(made.items), "cuts": made.cuts, **made.made})
        return
    for side, facts in made.made["predictors"].items():
        typer.echo(
            f"{side} alone: balanced accuracy {facts['accuracy']:.3f} on dev, {facts['chance']:.3f} by chance (p = {facts['p_value']:.2g})"
        )
    for split, ways in made.made["counts"].items():
        for way, subsets in ways.items():
            typer.echo(f"{split:5s} {way:10s} " + ", ".join(f"{subset} {n:,}" for subset, n in subsets.items()))
    if made.made["left_out"]:
        typer.echo("left out: " + ", ".join(f"{n:,} {reason}" for reason, n in made.made["left_out"].items()))
    typer.echo(f"{len(made.items):,} conflict items are in {place}")
