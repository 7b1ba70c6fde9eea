"""A mkdocs hook: the pages on the command line and on the params are made from the code when the site is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
import yaml

CLI, PARAMS = "reference/cli.md", "reference/params.md"  # tests/test_docs.py knows them as made
WIDTH = 100


def on_files(files: Any, config: Any) -> Any:
    """Add the made pages to the site's files. mkdocs calls this by its name."""
    from mkdocs.structure.files import File

    for name, text in pages(Path(config.config_file_path).parent).items():
        files.append(File.generated(config, name, content=text))
    return files


def pages(root: Path) -> dict[str, str]:
    """Page -> its Markdown."""
    return {CLI: command_line(), PARAMS: params((root / "params.yaml").read_text(encoding="utf-8"))}


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
