"""The command ``bemerc forget``: what was made of a person or a clip is removed."""

from pathlib import Path
from typing import Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, DataDir, ModelsDir, ParamsFile, Settings, read_params
from bemerc.core.terminal import printable


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(forget)


def forget(
    whom: Annotated[
        str, typer.Argument(metavar="WHOM", help="A speaker as the manifest has it, an utterance's id, or a clip.")
    ],
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    results: Annotated[Path, typer.Option("--results", help="Folder of predictions and reports.")] = Path("results"),
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be removed.")] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Remove what was made of a person or a clip, and list what is left.

    From the manifest, the store, caches, tokens, descriptions, transcripts, predictions, and from DVC's cache in this
    folder. Nobody else is measured again: the next `dvc repro`, or `bemerc extract data/manifest.jsonl`, makes caches
    from the store. The corpus itself and trained models are not touched: they are listed with what to do.

    Example: bemerc forget Ada --yes
    """
    from bemerc.pipeline import forget
    from bemerc.pipeline.project import Project

    project = Project(read_params(params, settings), data=data, models=models, results=results)
    done = forget.run(project, whom, really=yes)
    if json:
        lines = {str(path): count for path, count in done.shortened.items()}
        files = {"removed": list(map(str, done.removed)), "dvc_cache": list(map(str, done.objects))}
        about = {"done": yes, "utterances": list(done.utterances), "lines": lines, "results": done.results}
        output.print_json(about | files | {"left": done.left})
        return
    would = "Removed" if yes else "Would be removed"
    typer.echo(f"{printable(whom)}: {len(done.utterances)} utterances.\n{would}:")
    typer.echo(f"  {done.results} results of the store: theirs, and those of settings that no cache has any more")
    for path, count in done.shortened.items():
        typer.echo(f"  {count} lines of {printable(path, 1000)}")
    for path in done.removed:
        typer.echo(f"  {printable(path, 1000)}")
    typer.echo(f"  {len(done.objects)} files of DVC's cache")
    typer.echo("Left:")
    for sentence in done.left:
        typer.echo(f"  {sentence}")
    typer.echo("" if yes else "\nNothing was changed. To do it, add --yes.")
