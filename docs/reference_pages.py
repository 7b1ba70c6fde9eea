"""A mkdocs hook: the pages on the command line, the params and the functions are made from the code with the site."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
import yaml

CLI, PARAMS, FUNCTIONS = "reference/cli.md", "reference/params.md", "reference/functions.md"  # as in tests/test_docs.py
WIDTH = 100


def on_files(files: Any, config: Any) -> Any:
    """Add the made pages to the site's files. mkdocs calls this by its name."""
    from mkdocs.structure.files import File

    for name, text in pages(Path(config.config_file_path).parent).items():
        files.append(File.generated(config, name, content=text))
    return files


def pages(root: Path) -> dict[str, str]:
    """Page -> its Markdown."""
    settings = (root / "params.yaml").read_text(encoding="utf-8")
    return {CLI: command_line(), PARAMS: params(settings), FUNCTIONS: functions()}


def command_line() -> str:
    """What `bemerc ... --help` prints, command after command."""
    from bemerc.cli.main import app

    command = typer.main.get_command(app)
    context = click.Context(command, info_name="bemerc", terminal_width=WIDTH, max_content_width=WIDTH)
    return "\n".join(["# Command line", "", "Made from the code: what `--help` prints.", "", *_help(command, context)])


def _help(command: Any, context: Any) -> Iterator[str]:
    yield from (f"## {context.command_path}", "", "```text", command.get_help(context), "```", "")
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        inner = command.get_command(context, name)
        if not inner.hidden:
            yield from _help(inner, type(context)(inner, parent=context, info_name=name, terminal_width=WIDTH))


def params(text: str) -> str:
    """params.yaml, section by section."""
    head, *sections = re.split(r"(?m)^(?=[a-z_]+:)", text)
    assert [next(iter(yaml.safe_load(section))) for section in sections] == list(yaml.safe_load(text))
    lines = ["# Params", "", "Made from `params.yaml`, which holds every key with its default.", ""]
    lines += [line.lstrip("# ") for line in head.splitlines()]
    for section in sections:
        lines += ["", f"## {section.partition(':')[0]}", "", "```yaml", section.rstrip(), "```"]
    return "\n".join([*lines, ""])


def functions() -> str:
    """The functions of bemerc and the classes that they return, with signatures and docstrings."""
    import bemerc
    from bemerc.cache import Features, FrameCache
    from bemerc.pipeline.clip_predictions import Predicted
    from bemerc.pipeline.clips import Measured

    lines = ["# Python, function by function", "", "Made from the code: signatures and docstrings."]
    for name in bemerc.__all__:
        if inspect.isfunction(getattr(bemerc, name)):
            lines += _described(f"bemerc.{name}", getattr(bemerc, name), "##")
    for kind in (Measured, Predicted, FrameCache, Features):
        lines += _described(kind.__name__, kind, "##")
        for name, member in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(member) and member.__doc__:
                lines += _described(f"{kind.__name__}.{name}", member, "###")
    return "\n".join([*lines, ""])


def _described(name: str, item: Any, heading: str) -> list[str]:
    """A function or class under a heading: its parameters one a line, and its docstring as it stands."""
    lines = ["", f"{heading} {name}", ""]
    if inspect.isfunction(item):
        lines += ["```python", *_signature(name, inspect.signature(item)), "```", ""]
    return [*lines, "```text", inspect.getdoc(item) or "", "```"]


def _signature(name: str, signature: inspect.Signature) -> Iterator[str]:
    """The lines of a signature whose annotations are texts."""
    yield f"{name}("
    keywords = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            yield "    *,"
        if parameter.name != "self":
            default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
            yield f"    {parameter.name}: {parameter.annotation}{default},"
    yield f") -> {signature.return_annotation}"
