"""The door for people: ``bemerc extract``, ``describe``, ``predict``, ``train``, ``evaluate``, ``inspect``, ``doctor``, ``corpus``.

Only typer is imported here; what a command needs is imported inside it, so that ``--help`` answers at once. What a user
can cause ends in one sentence and exit code 1, never in a stack trace; Ctrl-C ends in a sentence and exit code 130.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bemerc.errors import BemercError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bemerc.corpus import Manifest
    from bemerc.prediction import Prediction

app = typer.Typer(
    name="bemerc",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Emotion recognition in conversation from cached behavior tokens: extract once, then tune an LLM.",
)
corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at a corpus before the work begins.")
app.add_typer(corpus_app, name="corpus")

VideoDir = Annotated[Path, typer.Option("--video-dir", help="A folder of clips; subfolders are dialogues.")]
ModelDir = Annotated[Path, typer.Option("--model", help="A model folder, such as models/merc/TVB.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="The params file.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Worker processes; 0 = one per core.")]


def main() -> NoReturn:
    """Run the command line; the console script ``bemerc`` enters here."""
    try:
        app(standalone_mode=False)
    except BemercError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("Interrupted. What was finished is kept; the same command goes on from there.", 130)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except Exception as error:  # usage errors of typer's own; anything else is ours and keeps its trace
        if type(error).__module__.split(".")[0] in ("click", "typer"):
            _usage(error)
        raise
    sys.exit(0)
