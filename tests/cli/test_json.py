"""What programs read: every command that makes or tells something has --json, and then prints JSON and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from bemerc.cli.main import app
from tests.cli.test_cli import bemerc

WITHOUT = {"init"}  # it writes files that are listed as they are


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below ``group``, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):  # typer's groups are not click's
            yield from commands(command, (*path, name))  # type: ignore[arg-type]
        else:
            yield (*path, name), command


def test_every_command_speaks_json() -> None:
    lacking = [
        " ".join(path)
        for path, command in commands(typer.main.get_command(app))  # type: ignore[arg-type]
        if path[-1] not in WITHOUT and not any("--json" in option.opts for option in command.params)
    ]
    assert lacking == []


@pytest.mark.parametrize("to", ["csv", "npy"])
def test_an_export_lists_its_files(tmp_path: Path, to: str) -> None:
    from tests.interop.test_exchange import face_cache

    cache = face_cache(tmp_path / "face.h5")
    answer = bemerc("cache", "export", cache, tmp_path / "out", "--to", to, "--json")
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)["face"]
    assert told["files"]
    assert all(Path(file).is_file() for file in told["files"].values())
    assert told["unreadable"] == {}


def test_survey_and_sample(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("prepare: {corpora: [folder]}\n")
    (tmp_path / "data" / "folder").mkdir(parents=True)
    answers = [bemerc(*words, "--json", cwd=tmp_path) for words in (("corpus", "survey", "folder"), ("sample",))]
    assert [answer.returncode for answer in answers] == [0, 0], answers[0].stderr + answers[1].stderr
    survey, sample = (json.loads(answer.stdout) for answer in answers)
    assert survey["files"] == 0
    assert Path(tmp_path / survey["file"]).is_file()
    assert sample == {"sample": "data/sample", "best_possible_accuracy": {}}
