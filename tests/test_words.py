"""The words of the house as a test: no name in the package is built from a word of the earlier dialect."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bemerc"
RETIRED = {
    "told", "found", "known", "seen", "heard", "said", "laid", "whose", "sight", "sights", "crew", "bury", "mend",
    "heat", "flattened", "restless", "flash", "flashes", "swing", "swings", "belonging", "restate", "primer",
    "student", "unheard", "unseen", "door", "absent", "place", "places", "facts", "aim",
}  # fmt: skip
# Names that are not ours, or the field's as well: file -> words.
FOREIGN = {
    "language/train/meta_walk.py": {"flash"},  # PyTorch's flash attention
    "sample/plan.py": {"unseen"},  # unseen speakers: the field's own term, and a key of params.yaml
}
# A key of the store's failures and of extract --json.
FOREIGN |= {
    f"{module}.py": {"absent"}
    for module in (*(f"extraction/{n}" for n in ("failures", "plan", "outcome", "run")), "cli/clips", "live/turns")
}
# How far the puppet's head moves while it shakes or nods is a swing.
PUPPET = {"swing", "swings"}


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module names: variables, arguments, attributes, functions, classes, itself."""
    yield 0, path.stem
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "arg", "attr", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def words(name: str) -> set[str]:
    """``FrameSight._is_found`` -> {frame, sight, is, found}."""
    ours = re.sub("NotFound|NOT_FOUND", "", name)  # FileNotFoundError and its kin are Python's
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", ours)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_names_are_in_the_words_of_the_field(path: Path) -> None:
    module = path.relative_to(PACKAGE)
    allowed = FOREIGN.get(module.as_posix(), set()) | (PUPPET if module.parts[0] == "sample" else set())
    assert [f"{module}:{line}: {name}" for line, name in names(path) if words(name) & (RETIRED - allowed)] == []


def test_words_of_a_name() -> None:
    assert words("FrameSight._is_found2") == {"frame", "sight", "is", "found"}
    assert words("ABCDoor") == {"abc", "door"}
