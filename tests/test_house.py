"""The house rules as tests: who may import whom, no cycles, light doors, no shared tables, nothing from outside."""

from __future__ import annotations

import ast
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

# Module (or package) -> the bemerc modules that it may import. errors, config, hashing, atomic, bounded, terminal and jsonfile are open to all.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": set(),
    "atomic": set(),
    "bounded": set(),
    "terminal": set(),
    "jsonfile": set(),
    "hashing": set(),
    "huggingface": set(),
    "locking": set(),
    "prediction": set(),
    "evaluate.mistakes": {"corpus", "prediction"},
    "evaluate.figures": set(),
    "evaluate.looks": {"corpus", "evaluate"},
    "evaluate.compare": {"corpus", "prediction", "evaluate", "evaluate.figures", "evaluate.intervals"},
    "evaluate.intervals": set(),
    "cache": {"cache"},
    "pitch": set(),
    "media": {"media", "pitch"},
    "backbone": {"primer", "progress"},
    "progress": set(),
    "corpus": {"corpus", "progress"},
    "corpus.check": {"corpus", "media", "progress"},
    "corpus.sample": {"corpus", "media", "progress"},
    "corpus.recording": {"corpus", "media"},
    "transcribe": {"corpus", "huggingface", "media", "progress"},
    "extract": {"huggingface", "extract", "corpus", "media", "cache", "openface_tables", "pitch", "progress"},
    "exchange": {"exchange", "corpus", "cache", "openface_tables", "progress"},
    "openface_tables": {"cache", "events"},
    "audit": {"audit", "belonging", "corpus", "cache", "extract", "media", "progress"},
    "voice": set(),
    "belonging": {"cache"},
    "events": set(),
    "describe.spotting": {"cache", "events"},
    "tokens.pooling": {"events", "voice"},
    "tokens.calibration": {"cache", "corpus", "tokens.pooling"},
    "tokens": {"belonging", "cache", "corpus", "tokens.calibration", "tokens.pooling", "progress"},
    "describe.references": {"events"},
    "description": {"corpus"},
    "describe.phrases": {"description", "describe.references"},
    "describe.acts": {"cache", "corpus", "events", "describe.phrases", "describe.references", "describe.spotting"},
    "describe.gestures": {"cache", "events", "describe.phrases", "describe.spotting"},
    "describe": {
        "describe.acts",
        "describe.gestures",
        "belonging",
        "cache",
        "corpus",
        "tokens.calibration",
        "description",
        "events",
        "describe.phrases",
        "describe.references",
        "describe.spotting",
        "voice",
        "progress",
    },
    "prompt": {"corpus"},
    "primer": {"corpus", "prompt"},
    "chat": {"prompt"},
    "describe.lexicon": set(),
    "describe.answers": {"describe.lexicon", "prompt"},
    "describe.teacher": {
        "huggingface",
        "describe.answers",
        "corpus",
        "media",
        "prompt",
        "describe",
        "description",
        "progress",
    },
    "variant": {"corpus", "description", "describe.phrases"},
    "student": {"align", "corpus", "description", "model", "describe.phrases", "predict", "tokens"},
    "dataset": {"corpus", "tokens", "describe", "prompt"},
    "model.masks": set(),
    "model.paths": {"dataset", "model.masks"},
    "model.pretrained": {"huggingface", "progress"},
    "model.metadata": {"corpus", "prompt"},
    "model.card": {"huggingface"},
    "model.tested": {"model.card", "corpus", "evaluate", "model", "prediction"},
    "train.walk": {"dataset", "model"},
    "train.estimate": {
        "chat",
        "corpus",
        "dataset",
        "description",
        "huggingface",
        "model",
        "model.pretrained",
        "prompt",
        "tokens",
        "train",
        "train.walk",
    },
    "model.export": {"model", "model.pretrained", "model.tested", "variant"},
    "model": {
        "model.card",
        "model.metadata",
        "corpus",
        "huggingface",
        "model.masks",
        "model.paths",
        "model.pretrained",
        "progress",
    },
    "align": {"locking", "dataset", "model", "predict", "prompt", "train", "corpus", "describe", "tokens"},
    "merc": {"align", "dataset", "model", "predict", "prompt", "temperature", "train", "corpus", "tokens", "variant"},
    "temperature": set(),
    "train.weights": set(),
    "train.journal": set(),
    "train.checkpoint": {"train.journal", "train.weights"},
    "train.processes": {"model"},
    "train.soundness": set(),
    "train": {
        "train.checkpoint",
        "dataset",
        "train.journal",
        "model",
        "train.processes",
        "progress",
        "train.soundness",
        "train.weights",
    },
    "predict": {
        "chat",
        "dataset",
        "model",
        "prompt",
        "temperature",
        "corpus",
        "prediction",
        "model.pretrained",
        "tokens",
        "description",
        "progress",
        "variant",
    },
    "evaluate": {"corpus", "evaluate.intervals", "prediction"},
    "evaluate.baselines": {"corpus", "prompt", "tokens"},
    "evaluate.findings": {
        "corpus",
        "prediction",
        "prompt",
        "evaluate",
        "evaluate.baselines",
        "tokens",
        "evaluate.figures",
    },
    "evaluate.wording": {"corpus", "evaluate.baselines", "evaluate.figures", "evaluate.findings"},
    "evaluate.plots": set(),
    "evaluate.report": {
        "cache",
        "corpus",
        "prediction",
        "prompt",
        "evaluate",
        "tokens",
        "evaluate.figures",
        "evaluate.findings",
        "evaluate.wording",
        "evaluate.plots",
        "evaluate.looks",
        "evaluate.mistakes",
    },
    "picture": {"cache", "corpus", "media", "extract"},
}
ANYTHING = {"api", "cli", "cli_cache", "cli_model", "doctor"}


def module_name(path: Path) -> str:
    """bemerc/corpus/meld.py -> corpus.meld; a package's __init__ is the package."""
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


def rule(name: str) -> set[str]:
    while name not in ALLOWED:
        assert "." in name, f"bemerc/{name}.py is not in the import table: decide what it may import"
        name = name.rpartition(".")[0]
    return ALLOWED[name]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: module_name(p) or "bemerc")
def test_a_module_imports_only_what_the_table_allows(path: Path) -> None:
    name = module_name(path)
    if name == "" or name in ANYTHING:
        return
    allowed = rule(name) | {"errors", "config", "hashing", "atomic", "bounded", "terminal", "jsonfile"}
    family = name.split(".")[0]
    strangers = {i for i in bemerc_imports(path) if i.split(".")[0] not in allowed and i not in allowed}
    if family in ("tokens", "describe"):
        strangers = {i for i in strangers if not i.startswith(family)}
    assert not strangers, f"{name} imports {sorted(strangers)}; the table allows {sorted(allowed)}"


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
        ("bemerc.cli", HEAVY | {"numpy", "h5py"}),
        ("bemerc.corpus", HEAVY),
        ("bemerc.extract.loop", HEAVY),
        ("bemerc.extract.face", {"torch", "transformers", "peft"}),
        ("bemerc.extract.openface", HEAVY),
        ("bemerc.extract.pose", {"torch", "transformers", "peft"}),
        ("bemerc.extract.audio", {"torch", "transformers", "peft"}),
        ("bemerc.extract.audio.encoder", HEAVY),
        ("bemerc.extract.audio.egemaps", HEAVY | {"opensmile", "pandas"}),
        ("bemerc.extract.worker", {"torch", "transformers", "peft", "opensmile"}),
        ("bemerc.audit", HEAVY),
        ("bemerc.exchange.incoming", HEAVY),
        ("bemerc.exchange.outgoing", HEAVY),
        ("bemerc.tokens", HEAVY),
        ("bemerc.describe", HEAVY),
        ("bemerc.prediction", HEAVY),
        ("bemerc.evaluate", HEAVY),
        ("bemerc.train", {"cv2", "av", "mediapipe"}),
        ("bemerc.predict", {"cv2", "av", "mediapipe"}),
    ],
)
def test_a_door_stays_light(module: str, unwanted: set[str]) -> None:
    assert not loaded_by(module) & unwanted


def source_of(module: str) -> Path | None:
    """The file of a module by its dotted name, None where there is no such module."""
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def names_in(module: str) -> set[str]:
    """What a module holds at its top level: definitions, assignments, imports, and a package's modules."""
    source = source_of(module)
    assert source is not None, f"there is no module {module}"
    body = [
        node for top in ast.parse(source.read_text(encoding="utf-8")).body for node in (top, *ast.iter_child_nodes(top))
    ]
    found = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found |= {node.id for node in body if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    found |= {a.asname or a.name for node in body if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names}
    return found | ({path.stem for path in source.parent.iterdir()} if source.name == "__init__.py" else set())


def borrowed(script: Path) -> Iterator[tuple[str, str]]:
    """(module of bemerc, name) for what a script takes from one: imported by name, or as ``module.name``."""
    nodes = list(ast.walk(ast.parse(script.read_text(encoding="utf-8"))))
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


@pytest.mark.parametrize(
    "script", sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("pipeline/*.py")]), ids=lambda path: path.stem
)
def test_a_script_takes_only_what_is_there(script: Path) -> None:
    """mypy looks at the package alone, and a benchmark that nobody had run for a day asked for a function that had moved."""
    taken = set(borrowed(script))
    assert not {
        f"{module}.{name}" for module, name in taken if name not in names_in(module) and not name.startswith("__")
    }


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
    makers = sorted((PACKAGE / "corpus").glob("sample*.py"))
    readers = [
        *sorted((PACKAGE / "extract").rglob("*.py")),
        *sorted((PACKAGE / "describe").glob("*.py")),
        *sorted((PACKAGE / "tokens").glob("*.py")),
        *(PACKAGE / f"{name}.py" for name in ("voice", "events", "description")),
    ]
    assert makers
    assert readers
    for maker in makers:
        assert not {i for i in bemerc_imports(maker) if i.startswith(("extract", "describe", "tokens"))}
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
