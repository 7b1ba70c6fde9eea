"""The command ``bemerc init``: a folder in which a corpus becomes a trained model, with or without DVC."""

from pathlib import Path
from typing import Annotated

import typer

from bemerc.cli.app import App
from bemerc.cli.options import path_of
from bemerc.core.terminal import printable
from bemerc.corpus.corpora import CORPORA


def register(app: App) -> None:
    """Add this command to ``app``."""
    app.command()(init)


def corpus_of(name: str) -> str:
    """The name of a corpus; BadParameter where there is none of this name."""
    if name not in CORPORA:
        raise typer.BadParameter(f"'{printable(name, 60)}' is no corpus; the corpora are {', '.join(CORPORA)}.")
    return name


def init(
    folder: Annotated[Path, typer.Argument(parser=path_of, metavar="DIR", help="The project's folder; . is this one.")],
    corpus: Annotated[
        str,
        typer.Option(
            "--corpus",
            parser=corpus_of,
            metavar=f"[{'|'.join(CORPORA)}]",
            help="What it is trained on; sample: the embedded one.",
        ),
    ] = "sample",
    force: Annotated[bool, typer.Option("--force", help="Replace the files that are there.")] = False,
) -> None:
    """Make a project, in which a corpus becomes a model.

    That is params.yaml, and dvc.yaml for those who use DVC. Put the corpus, or a link to it, at data/CORPUS.

    Then, in the folder, either `dvc repro`, which runs what is missing and nothing else, or one after the other the
    commands that are printed. After an upgrade of bemerc the same command with --force writes the new files.

    Example: bemerc init my_project --corpus meld
    """
    from bemerc.pipeline import init

    init.run(folder, corpus, force=force)
    typer.echo(f"{folder} has params.yaml, dvc.yaml, pipeline/ and DVC's settings.")
    if corpus != "sample":
        typer.echo(
            f"Put the corpus, or a link to it, at {folder / 'data' / corpus}, then ask: bemerc corpus check {corpus}"
        )
    typer.echo(f"Then, in {folder}: dvc repro. Without DVC, one after the other:")
    for command in init.commands(folder):
        typer.echo(f"  {command}")
