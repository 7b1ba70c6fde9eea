"""The house rules as tests: who may import whom, no cycles, light doors, no shared tables, nothing from outside."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bemerc"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
HEAVY = {
    "cv2",
    "av",
    "mediapipe",
    "librosa",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "sklearn",
    "matplotlib",
    "skimage",
}

# Folder of bemerc/ -> the folders that its modules may import, besides their own and core. The data goes from top to
# bottom: clips, features in a cache, what a model reads, the model, its report.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "media": set(),
    "corpus": {"media"},
    "sample": {"corpus"},
    "cache": set(),
    "interop": {"behavior.describe", "behavior.signals", "cache", "corpus"},
    "extraction": {"cache", "corpus", "interop", "media"},
    "behavior": {"cache", "corpus"},
    "language": {"behavior", "corpus", "media"},
    "evaluate": {"behavior", "cache", "corpus", "language", "sample"},
    "release": {"corpus", "evaluate", "language"},
    "live": {"behavior", "cache", "corpus", "extraction", "language", "media", "view"},
    "view": {"behavior", "cache", "corpus", "extraction", "interop", "language", "media"},
}
# What people call, and may take from every folder.
DOORS = {"api", "cli", "doctor", "pipeline"}


def module_name(path: Path) -> str:
    """bemerc/corpus/readers/meld.py -> corpus.meld; a package's __init__ is the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def runtime_imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that the code imports when it runs; imports under TYPE_CHECKING do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide who imports whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from runtime_imports(node)


@functools.cache
def bemerc_imports(path: Path) -> set[str]:
    """The bemerc modules that ``path`` imports, without the leading "bemerc."."""
    known = {module_name(p) for p in MODULES} - {""}
    found = set()
    for name in runtime_imports(ast.parse(path.read_text(encoding="utf-8"))):
        if not name.startswith("bemerc."):
            continue
        inner = name.removeprefix("bemerc.")
        while inner and inner not in known:
            inner = inner.rpartition(".")[0]
        if inner:
            found.add(inner)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: module_name(p) or "bemerc")
def test_a_module_imports_only_what_its_folder_may(path: Path) -> None:
    name = module_name(path)
    folder = name.split(".")[0]
    if name == "" or folder in DOORS or folder == "__main__":
        return
    assert folder in MAY_IMPORT, f"bemerc/{folder} is not in the import table: decide what it may import"
    allowed = MAY_IMPORT[folder] | {folder, "core"}
    others = {i for i in bemerc_imports(path) if not any(i == a or i.startswith(f"{a}.") for a in allowed)}
    assert not others, f"{name} imports {sorted(others)}; bemerc/{folder} may import {sorted(allowed)}"


def test_no_module_has_more_than_400_lines() -> None:
    lines = {module_name(path): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_only_one_module_of_the_language_wing_reads_clips() -> None:
    """The vision-language teacher does; whatever trains and predicts runs where no video library is installed."""
    readers = {module_name(p) for p in MODULES if any(i.split(".")[0] == "media" for i in bemerc_imports(p))}
    assert {name for name in readers if name.startswith("language")} == {"language.teacher.frames"}


def test_there_is_no_import_cycle() -> None:
    graph = {module_name(path): bemerc_imports(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def loaded_by(module: str) -> set[str]:
    """Top-level names in sys.modules after importing ``module`` in a fresh interpreter."""
    code = f"import sys, {module}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("bemerc.cli.main", HEAVY | {"numpy", "h5py", "yaml"}),
        ("bemerc.corpus.manifest", HEAVY),
        ("bemerc.extraction.run", HEAVY),
        ("bemerc.extraction.face.extractor", {"torch", "transformers", "peft"}),
        ("bemerc.extraction.face.openface", HEAVY),
        ("bemerc.extraction.pose.body", {"torch", "transformers", "peft"}),
        ("bemerc.extraction.audio.prosody", {"torch", "transformers", "peft"}),
        ("bemerc.extraction.audio.speech_encoder", HEAVY),
        ("bemerc.extraction.audio.egemaps", HEAVY | {"opensmile", "pandas"}),
        ("bemerc.extraction.worker", {"torch", "transformers", "peft", "opensmile"}),
        ("bemerc.extraction.validate", HEAVY),
        ("bemerc.interop.importers", HEAVY),
        ("bemerc.interop.exporters", HEAVY),
        ("bemerc.behavior.tokens.file", HEAVY),
        ("bemerc.behavior.describe.run", HEAVY),
        ("bemerc.language.predict.records", HEAVY),
        ("bemerc.evaluate.metrics", HEAVY),
        ("bemerc.language.train.loop", {"cv2", "av", "ai_edge_litert"}),
        ("bemerc.language.predict.score_labels", {"cv2", "av", "ai_edge_litert"}),
    ],
)
def test_a_door_stays_light(module: str, unwanted: set[str]) -> None:
    assert not loaded_by(module) & unwanted


def source_of(module: str) -> Path | None:
    """The file of a module by its dotted name, None where there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@functools.cache
def names_in(module: str) -> frozenset[str]:
    """What a module defines, assigns or imports, at whatever depth, and a package's modules."""
    source = source_of(module)
    assert source is not None, f"there is no module {module}"
    nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    imports = [a for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names]
    names |= {a.asname or a.name.split(".")[0] for a in imports}
    return frozenset(names | ({path.stem for path in source.parent.iterdir()} if source.stem == "__init__" else set()))


def borrowed(code: str) -> Iterator[tuple[str, str]]:
    """(module of bemerc, name) for what code takes from one: imported by name, or as ``module.name``, or so in a string
    that is code for a process of its own, which mypy does not see."""
    nodes = list(ast.walk(ast.parse(code)))
    modules: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bemerc":
            for alias in node.names:
                yield str(node.module), alias.name
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    own = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in nodes if isinstance(n, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in own:
            module = modules.get(node.value.id)
            if module is not None and source_of(module) is not None:
                yield module, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "from bemerc" in node.value:
            with contextlib.suppress(SyntaxError):  # a sentence
                yield from borrowed(node.value.replace("%r", "0").replace("%%", "%"))


@pytest.mark.parametrize(
    "script",
    sorted(path for folder in ("benchmarks", "fits", "tests") for path in (ROOT / folder).rglob("*.py")),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_a_script_takes_only_what_is_there(script: Path) -> None:
    """mypy does not look at tests; slow ones that nobody runs for a day ask for what has moved."""
    if script.parent.name == "old_files":  # the code of an earlier release wrote these
        return
    taken = set(borrowed(script.read_text(encoding="utf-8")))
    assert not {
        f"{module}.{name}" for module, name in taken if name not in names_in(module) and not name.startswith("__")
    }


def test_code_in_a_string_is_read() -> None:
    assert set(borrowed('RUN = "from bemerc.core import atomic; atomic.write_text"')) == {
        ("bemerc.core", "atomic"),
        ("bemerc.core.atomic", "write_text"),
    }


@functools.cache
def constants(path: Path) -> set[str]:
    """Tables and unusual numbers in a file: number sequences of four and more, and floats of three and more digits."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            numbers = [
                n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, int | float)
            ]
            if len(numbers) >= 4:
                found.add(repr(numbers))
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            digits = repr(node.value).partition("e")[0].replace(".", "").strip("0")  # 1.2 has two, 1e-9 one
            if len(digits) >= 3:
                found.add(repr(node.value))
    return found


def test_the_samples_recipes_share_nothing_with_those_who_read_them() -> None:
    makers = sorted((PACKAGE / "sample").glob("*.py"))
    readers = [path for folder in ("extraction", "behavior") for path in sorted((PACKAGE / folder).rglob("*.py"))]
    assert makers
    assert readers
    for maker in makers:
        assert not {i for i in bemerc_imports(maker) if i.startswith(("extraction", "behavior"))}
        for reader in readers:
            assert not {i for i in bemerc_imports(reader) if "sample" in i}, f"{reader} imports the sample maker"
            shared = constants(maker) & constants(reader)
            assert not shared, f"{maker.name} and {reader.name} share {sorted(shared)}"


def tracked_texts() -> Iterator[tuple[str, str]]:
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name in listing.splitlines():
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".cff", ".json", ""}
            and path.is_file()
            and name != "LICENSE"
        ):
            yield name, path.read_text(encoding="utf-8")


def test_no_machine_path_stands_in_a_tracked_file() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|root|home|tmp)/[\w.]")
    for name, text in tracked_texts():
        if name == "tests/test_house.py":
            continue
        hit = pattern.search(text)
        assert hit is None, f"{name} holds a machine's path: {text[hit.start() : hit.start() + 60]!r}"


def test_the_params_of_every_module_are_frozen() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Params"):
                assert any("frozen=True" in ast.unparse(d) for d in node.decorator_list), f"{path.name}: {node.name}"


def test_what_the_readmes_commands_leave_behind_is_never_committed() -> None:
    """Faces, voices and words of people, after ``git add -A`` in a clone; and nothing that is tracked is hit."""
    made = (
        "features/face.h5",
        "features/descriptions.jsonl",
        "my.h5",
        "imported/pose.h5",
        "talk_01.png",
        "dvc_plots/a.html",
    )
    hit = subprocess.run(["git", "check-ignore", *made], capture_output=True, text=True, check=False, cwd=ROOT)
    assert hit.stdout.split() == list(made)
    tracked = ["git", "ls-files", "--ignored", "--cached", "--exclude-standard"]
    assert subprocess.run(tracked, capture_output=True, text=True, check=True, cwd=ROOT).stdout == ""
