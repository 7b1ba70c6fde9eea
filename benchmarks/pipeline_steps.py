"""Run the stages of dvc.yaml in work folders: a step that is done is skipped while its params, code and earlier steps
are the same."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bemerc.core import atomic
from bemerc.core.jsonfile import JsonError, read_json

ROOT = Path(__file__).resolve().parents[1]
CORPUS_STEPS = ("sample", "prepare", "extract_video", "extract_audio", "tokens", "describe")
SEEDED = ("backbone", "align", "merc")
PLAN = "plan.json"


def read_plan(work: Path) -> dict[str, Any]:
    """A work folder's plan; ends with a sentence where there is none."""
    try:
        plan: dict[str, Any] = read_json(work / PLAN)
    except JsonError as error:
        sys.exit(f"{error} --from needs the work folder of a run that is done.")
    return plan


def save_plan(plan: Any, *names: str) -> None:
    """Keep these fields of a plan in its work folder, for ``read_plan``."""
    kept = {name: getattr(plan, name) for name in names}
    atomic.write_text(plan.work / PLAN, json.dumps(kept, indent=1) + "\n", atomic.PUBLIC)


def command_of_plan(module: str, plan: Any, *names: str, separator: str = ",") -> str:
    """The command that trains and judges a plan with these options, wherever its work lies; empty ones are left out.

    separator  what the command takes between the names of a tuple
    """
    given = {name: getattr(plan, name) for name in names if getattr(plan, name) != ""}
    listed = {name: separator.join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
    options = [part for name, value in listed.items() for part in (f"--{name.replace('_', '-')}", value)]
    return shlex.join(["python", "-m", module, *options])


@dataclass
class Steps:
    """Runs the pipeline's commands, skips what is done, and prints the progress."""

    total: int
    threads: int
    done: int = 0
    start: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, folder: Path, before: str, stage: str, variant: str | None = None) -> str:
        """Run one stage in ``folder`` after the steps of the fingerprint ``before``; returns that of all."""
        name = stage if variant is None else f"{stage}@{variant}"
        state = fingerprint(before, folder, stage, name)
        marker = folder / ".done" / name
        began = time.monotonic()
        fresh = not marker.is_file() or marker.read_text() != state
        if fresh:
            call(folder, stage, variant, self.threads)
            marker.parent.mkdir(exist_ok=True)
            marker.write_text(state)
        self._report(folder, name, time.monotonic() - began if fresh else None)
        return state

    def _report(self, folder: Path, name: str, seconds: float | None) -> None:
        with self.lock:
            self.done += 1
            passed = time.monotonic() - self.start
            took = "as before" if seconds is None else f"{seconds:.0f} s"
            where = "/".join(folder.parts[-2:])
            print(f"[{self.done}/{self.total}, {passed / 60:.0f} min] {where} {name}: {took}", flush=True)


def fingerprint(before: str, folder: Path, stage: str, name: str) -> str:
    """A hash of everything that a step's output depends on: earlier steps, its params, and its code as in dvc.yaml."""
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    sections = {key: value_of(params, key, name) for key in declared.get("params", []) if isinstance(key, str)}
    digest = hashlib.sha256(f"{before} {name} {json.dumps(sections, sort_keys=True)}".encode())
    for file in code_of(declared["deps"]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def code_of(deps: Sequence[Any]) -> list[Path]:
    """The files of code among a stage's deps, those of folders one by one."""
    named = [ROOT / d for d in deps if isinstance(d, str) and d.startswith("bemerc/")]
    return sorted(file for path in named for file in (path.rglob("*.py") if path.is_dir() else [path]))


def value_of(params: dict[str, Any], key: str, name: str) -> Any:
    """The value of ``key`` in a stage's params, nested as ``a.b``; a matrix's item follows @ in the name."""
    value: Any = params
    for part in key.replace("${item.variant}", name.partition("@")[2]).split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def command_of(stage: str, variant: str | None) -> list[str]:
    """The command of a stage in dvc.yaml, with this Python."""
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    program, *arguments = shlex.split(declared.replace("${item.variant}", variant or ""))
    return [sys.executable, *(["-m", "bemerc"] if program == "bemerc" else []), *arguments]


def call(folder: Path, stage: str, variant: str | None, threads: int) -> None:
    """Run a stage in ``folder``; its output goes to logs/, the last lines to the terminal if it fails."""
    command = command_of(stage, variant)
    log = folder / "logs" / f"{stage}{variant or ''}.txt"
    log.parent.mkdir(exist_ok=True)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with log.open("w", encoding="utf-8") as out:
        answer = subprocess.run(
            command, cwd=folder, env=surroundings, stdout=out, stderr=subprocess.STDOUT, check=False
        )
    if answer.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-15:])
        sys.exit(f"{stage} failed in {folder} (exit code {answer.returncode}). The end of {log}:\n{tail}")


def in_parallel(chains: Sequence[Callable[[], None]], jobs: int) -> None:
    """Run the chains, ``jobs`` at a time; the first that fails stops those that have not begun."""
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in [pool.submit(chain) for chain in chains]:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def write_params(folder: Path, changes: dict[str, dict[str, Any]]) -> None:
    """The project's params.yaml with ``changes`` to keys that are there."""
    document = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in changes.items():
        unknown = set(values) - set(document[section])
        assert not unknown, f"params.yaml has no {section}.{unknown}"
        document[section] |= values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def link(path: Path, target: Path) -> None:
    """A symbolic link to ``target``, relative, so that the work folder may be moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_symlink():
        path.symlink_to(os.path.relpath(target, path.parent))


def mirror(folder: Path, source: Path, without: str) -> None:
    """``folder`` holds a link to everything in ``source`` but ``without``."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in source.iterdir():
        if item.name != without:
            link(folder / item.name, item)


def where() -> str:
    """Commit, Python and cores that a table was made with."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain", "bemerc", "params.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return (
        f"commit {commit or 'unknown'}{' with changes' if changed.strip() else ''}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores"
    )
