"""dvc.yaml, params.yaml and bemerc/pipeline say the same thing, and DVC re-runs what it must and nothing else."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bemerc.core import config
from bemerc.language.train import log
from tests.cli.test_cli import bemerc
from tests.test_house import bemerc_imports

ROOT = Path(__file__).resolve().parents[1]
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# Stages whose module has another name: the command says what is done.
RENAMED: dict[str, str] = {}
SCRIPTS = {name: ROOT / "bemerc" / "pipeline" / f"{RENAMED.get(name, name)}.py" for name in STAGES}
# They shape no number: sentences, how files are read and written, bars on the terminal, where files lie.
FREE = {"core", "pipeline.project"}
# Folders whose parts serve different stages: a stage depends on the parts that it runs, so that a new corpus reader retrains
# nothing and a change of prediction does not train anew.
IN_PARTS = {"behavior", "corpus", "language", "pipeline"}


def source_of(module: str) -> str:
    inner = ROOT / "bemerc" / Path(*module.split("."))
    path = inner / "__init__.py" if inner.is_dir() else inner.with_suffix(".py")
    return path.relative_to(ROOT).as_posix()


def reached(path: Path) -> set[str]:
    """Every bemerc module that ``path`` imports, directly or through others."""
    found: set[str] = set()
    waiting = list(bemerc_imports(path))
    while waiting:
        module = waiting.pop()
        if module not in found and not {module, module.split(".")[0]} & FREE:
            found.add(module)
            waiting.extend(bemerc_imports(ROOT / source_of(module)))
    return found


def loads(path: Path) -> Iterator[tuple[str, type]]:
    """The (section, dataclass) pairs of every ``project.load("section", module.Params)`` in a stage's module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    origins = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "project.load":
            section, reference = ast.literal_eval(node.args[0]), ast.unparse(node.args[1])
            first, *rest = reference.split(".")
            module, name = origins[first]
            value: Any = getattr(importlib.import_module(module), name, None) or importlib.import_module(
                f"{module}.{name}"
            )
            for part in rest:
                value = getattr(value, part)
            yield section, value


def strings(items: list[Any]) -> list[str]:
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_script_that_is_one_command(name: str) -> None:
    script = ROOT / "pipeline" / f"{name}.py"
    assert STAGES[name]["cmd"].split(" ${item.")[0] == f"python -m pipeline.{name}"
    command = runpy.run_path(str(script))["COMMAND"].format("T")
    assert bemerc(*command.split(), "--help").returncode == 0


def test_every_script_has_its_stage() -> None:
    assert {path.stem for path in (ROOT / "pipeline").glob("*.py")} == set(STAGES)


def code_of(module: str) -> str:
    """What a stage that runs ``module`` depends on: its folder below bemerc/, or its part of a folder IN_PARTS."""
    names = module.split(".")
    path = ROOT.joinpath("bemerc", *names[: 2 if names[0] in IN_PARTS else 1])
    return (path if path.is_dir() else path.with_suffix(".py")).relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_it_runs(name: str) -> None:
    code = {dep for dep in strings(STAGES[name]["deps"]) if dep.startswith(("bemerc/", "pipeline/"))}
    wanted = (
        {f"pipeline/{name}.py"}
        | {code_of(module) for module in reached(SCRIPTS[name])}
        | {f"bemerc/pipeline/{SCRIPTS[name].name}"}
    )
    assert code == wanted, f"missing {sorted(wanted - code)}, not imported {sorted(code - wanted)}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_the_params_that_dvc_watches(name: str) -> None:
    watched = [section for section in STAGES[name].get("params", []) if "." not in section]
    assert sorted({section for section, _ in loads(SCRIPTS[name])}) == sorted(watched)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda p: p.stem)
def test_params_yaml_holds_every_key_of_every_section_with_its_default(script: Path) -> None:
    for section, cls in loads(script):
        raw = config.read_section(ROOT / "params.yaml", section)
        assert config.load(ROOT / "params.yaml", section, cls) == cls()
        assert set(raw) == {field.name for field in dataclasses.fields(cls)}, f"section {section}"


def test_every_dep_is_a_file_of_the_project_or_some_stages_output() -> None:
    outs = {
        out for stage in STAGES.values() for key in ("outs", "metrics", "plots") for out in strings(stage.get(key, []))
    }
    for name, stage in STAGES.items():
        for dep in strings(stage["deps"]):
            made = any(dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/") for out in outs)
            assert made or (ROOT / dep).exists() or "${item" in dep, f"{name}: nothing makes {dep}"


@pytest.mark.slow
def test_what_lies_beside_a_model_is_not_in_the_hash_of_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("dvc", reason="dvc is an extra")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    model = tmp_path / "models" / "merc" / "TVB"
    model.mkdir(parents=True)
    (model / "steps.csv").write_text("step,loss,lr\n")

    def tree() -> str:
        subprocess.run([*dvc, "add", "--quiet", "models/merc"], cwd=tmp_path, check=True)
        return (tmp_path / "models" / "merc.dvc").read_text()

    before = tree()
    log.log_of(model).write_text("1 s\n")
    model.with_name("TVB.checkpoint").write_bytes(b"half")
    model.with_name("TVB.lock").write_text("1")
    assert tree() == before
    (model / "steps.csv").write_text("step,loss,lr\n1,2,3\n")
    assert tree() != before


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=lambda p: p.stem)
def test_a_stages_module_is_thin(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    assert "out:" in (ast.get_docstring(tree) or ""), "a module says what goes in and what comes out"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 40, f"{node.name} is long"
