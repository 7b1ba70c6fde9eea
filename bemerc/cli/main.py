"""The command line ``bemerc``: its commands, in the order in which data passes through them."""

import sys
from typing import Annotated, Any

import typer

from bemerc.cli import (
    clips,
    conflict_attention,
    corpus,
    evaluate,
    evidence,
    exchange,
    forget,
    live,
    look,
    predict,
    project,
    train,
)
from bemerc.cli.app import EXIT_CODES, App, ErrorHandlingGroup
from bemerc.cli.cache import cache_app
from bemerc.cli.conflict import conflict_app
from bemerc.cli.pretrained import model_app
from bemerc.core.errors import BemercError

ORDER = (
    "init", "sample", "corpus", "prepare", "extract", "cache", "inspect", "view", "tokens", "describe", "model", "backbone", "train", "crossfit",
    "predict", "live", "evidence", "evaluate", "conflict", "compare", "card", "export", "forget", "doctor",
)  # fmt: skip
START = """bemerc: faces, bodies and voices in videos, and emotions by a language model.
  your own clips:  bemerc extract CLIPS, bemerc describe CLIPS  (folder, video)
  with a model:    bemerc predict CLIPS --model MODEL
  to train one:    bemerc init PROJECT --corpus sample          (meld, iemocap)
  if it fails:     bemerc doctor                   (all commands: bemerc --help)"""


class Commands(ErrorHandlingGroup):
    """The commands in their order."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = App(invoke_without_command=True, epilog=EXIT_CODES, group=Commands)
for part in (project, corpus, clips, look, train, predict, live, evidence, evaluate, forget):
    part.register(app)
exchange.register(cache_app)
conflict_attention.register(conflict_app)
app.add_typer(cache_app, name="cache")
app.add_typer(model_app, name="model")
app.add_typer(conflict_app, name="conflict")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bemerc {version('bemerc')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("-V", "--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Emotion recognition in conversation from cached behavior tokens: extract once, then tune an LLM."""
    if context.invoked_subcommand is None:
        typer.echo(START)
    elif sys.platform == "win32" and context.invoked_subcommand != "doctor":
        raise BemercError("bemerc runs on Linux and macOS; on Windows, in WSL (the Linux that comes with it).")


def main(*arguments: str) -> None:
    """The console script ``bemerc``; ``arguments`` in place of the process's own, where a DVC stage names them."""
    app(list(arguments) or None, prog_name="bemerc")
