"""The command ``bemerc forget``: what was made of a person or a clip is removed."""

from pathlib import Path
from typing import Annotated

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson, DataDir, ModelsDir, ParamsFile, Settings, read_params, text_of
from bemerc.core.errors import BemercError
from bemerc.core.objects import Url, location
from bemerc.core.terminal import printable


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(forget)


def forget(
    whom: Annotated[str, typer.Argument(metavar="WHOM", help="A speaker's name, an utterance's id, or a clip.")],
    data: DataDir = Path("data"),
    models: ModelsDir = Path("models"),
    results: Annotated[Path, typer.Option("--results", help="Folder of predictions and reports.")] = Path("results"),
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            parser=text_of,
            metavar="PATH",
            help="A folder, or a URL, that 'bemerc extract CLIPS' filled; no manifest is needed.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", parser=text_of, metavar="PATH", help="What 'bemerc extract data/manifest.jsonl --out' named."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be removed.")] = False,
    params: ParamsFile = None,
    settings: Settings = None,
    json: AsJson = False,
) -> None:
    """Remove what was made of a person or a clip, and list what is left.

    From the manifest, the store, caches, tokens, descriptions, transcripts, predictions, and from DVC's cache in this
    folder. Nobody else is measured again: the next `dvc repro`, or `bemerc extract data/manifest.jsonl`, makes caches
    from the store. The corpus itself and trained models are not touched: they are listed with what to do.
    With --features, of a folder that was made of clips: from its caches, which keep everybody else's rows, its tables
    and its store. Both --features and --out may be in an object store.

    Example: bemerc forget Ada --yes
    Example: bemerc forget Ada --out s3://bucket/features --yes
    """
    from bemerc.pipeline import forget, forget_features, forget_remote
    from bemerc.pipeline.project import Project

    given = location(text) if (text := features or out) else None
    there = given if isinstance(given, Url) else None
    folder = None if given is None else forget_remote.folder_of(given)
    if features is not None and folder is not None:
        done = forget_features.run(folder, whom, really=yes, out=there)
    else:
        store = None if folder is None else folder / "store"
        project = Project(read_params(params, settings), data, models, results, folder, store)
        if not project.manifest_file.exists():
            raise BemercError(
                f"there is no manifest here. Go to the project's folder, or name it with --data; "
                f"of features that were made of clips name their folder: bemerc forget {printable(whom, 100)} --features features",
                path=project.manifest_file,
            )
        done = forget.run(project, whom, really=yes, out=there)
    if json:
        lines = {str(path): count for path, count in done.shortened.items()}
        files = {"removed": list(map(str, done.removed)), "dvc_cache": list(map(str, done.objects))}
        rows = {str(path): count for path, count in done.rows.items()}
        about = {
            "done": yes,
            "utterances": list(done.utterances),
            "lines": lines,
            "rows": rows,
            "results": done.results,
        }
        output.print_json(about | files | {"left": done.left})
        return
    would = "Removed" if yes else "Would be removed"
    typer.echo(f"{printable(whom)}: {len(done.utterances)} utterances.\n{would}:")
    typer.echo(f"  {done.results} results of the store: theirs, and those of settings that no cache has any more")
    for path, count in done.rows.items():
        typer.echo(f"  {count} utterances' rows of {printable(path, 1000)}")
    for path, count in done.shortened.items():
        typer.echo(f"  {count} lines of {printable(path, 1000)}")
    for path in done.removed:
        typer.echo(f"  {printable(path, 1000)}")
    if features is None:
        typer.echo(f"  {len(done.objects)} files of DVC's cache")
    typer.echo("Left:")
    for sentence in done.left:
        typer.echo(f"  {sentence}")
    typer.echo("" if yes else "\nNothing was changed. To do it, add --yes.")
