"""A new project's files: params.yaml, dvc.yaml, pipeline/, recipes/ and what DVC and git want beside them.

They are those of bemerc's own repository (files/ holds links to them, and a wheel their text), so that there is one
set of stages and defaults. Stages there depend on bemerc's code; in a project they depend on bemerc.txt, which names
the release.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from bemerc.core import atomic
from bemerc.core.errors import BemercError

FILES = Path(__file__).parent / "files"
VERSION_FILE = "bemerc.txt"
_COMMAND = re.compile(r'^COMMAND = "(.+)"$', re.MULTILINE)
_CODE = re.compile(r"\s+- bemerc/\S+\n")


def run(folder: Path, corpus: str, *, force: bool = False) -> list[str]:
    """Write the files of a project that trains on ``corpus``; returns their names.

    Raises BemercError, before anything is written, where one of them is there and ``force`` is not set.
    """
    texts = {name: text for name, text in _texts(folder, corpus)}
    there = [name for name in texts if (folder / name).exists()]
    if there and not force:
        some = ", ".join(there[:2]) + (" and others" if there[2:] else "")
        raise BemercError(f"there is {some} already. Name another folder, or replace it with --force.", path=folder)
    for name, text in texts.items():
        atomic.write_text(folder / name, text, mode=atomic.PUBLIC)
    (folder / "data").mkdir(exist_ok=True)
    return list(texts)


def _texts(folder: Path, corpus: str) -> Iterator[tuple[str, str]]:
    params = (FILES / "params.yaml").read_text(encoding="utf-8")
    yield "params.yaml", params.replace("\n  corpora: [sample]", f"\n  corpora: [{corpus}]", 1)
    yield "dvc.yaml", without_code((FILES / "dvc.yaml").read_text(encoding="utf-8"))
    for script in sorted((FILES / "pipeline").glob("*.py")):
        yield f"pipeline/{script.name}", script.read_text(encoding="utf-8")
    recipes = FILES / "recipes"  # for the corpus, and for trainings of several processes
    for recipe in sorted(path for kind in (f"{corpus}_*.yaml", "*/*") for path in recipes.glob(kind)):
        yield f"recipes/{recipe.relative_to(recipes).as_posix()}", recipe.read_text(encoding="utf-8")
    yield VERSION_FILE, f"{_release()}\n"
    yield ".dvcignore", (FILES / "dvcignore").read_text(encoding="utf-8")
    yield ".gitignore", "/data/\n/models/\n/results/\n*.h5\n/page.html\n/page_videos/\n"
    scm = "" if _in_git(folder) else "    no_scm = true\n"
    yield ".dvc/config", (FILES / "dvc_config").read_text(encoding="utf-8") + scm
    yield ".dvc/.gitignore", "/config.local\n/tmp\n/cache\n"


def without_code(text: str) -> str:
    """The stages of ``text`` with the release in place of bemerc's own files among their deps."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if not _CODE.fullmatch(line):
            lines.append(line)
        elif not lines[-1].endswith(f"- {VERSION_FILE}\n"):
            lines.append(f"{line[: line.index('-')]}- {VERSION_FILE}\n")
    return "".join(lines)


def commands(folder: Path) -> Iterator[str]:
    """What to run in a project without DVC, one after the other: its stages' commands, a matrix's once for each item.

    What only DVC needs, and what a new project's params switch off, is left out; face, body and voice are measured by one
    command.
    """
    document: dict[str, Any] = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))
    params: dict[str, Any] = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    left_out = {"survey", "crossfit", "extract_audio"}
    if "sample" not in params["prepare"]["corpora"]:
        left_out.add("sample")
    for name, stage in document["stages"].items():
        if name in left_out:
            continue
        command = _COMMAND.search((folder / "pipeline" / f"{name}.py").read_text(encoding="utf-8"))
        assert command is not None, f"pipeline/{name}.py names no command"
        lists = stage.get("matrix", {}).values()
        for item in [item for listed in lists for item in _value(params, listed)] or [""]:
            yield f"bemerc {command[1].format(item)}".removesuffix(" --only video --part-clips 0")


def _value(params: dict[str, Any], name: str) -> list[Any]:
    """``${evaluate.variants}`` -> what the params file has there."""
    value: Any = params
    for key in name.strip("${}").split("."):
        value = value[key]
    return list(value)


def _release() -> str:
    try:
        return f"bemerc {version('bemerc')}"
    except PackageNotFoundError:
        return "bemerc"


def _in_git(folder: Path) -> bool:
    """Whether the folder will lie in a git repository, without which DVC needs no_scm."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        command = ["git", "rev-parse", "--git-dir"]
        return subprocess.run(command, cwd=existing, capture_output=True, check=False).returncode == 0
    except OSError:  # no git here
        return False
