"""Whose a file is: what bemerc wrote may be written anew; another file may be the only one of its kind, and stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from bemerc.core.atomic import disk
from bemerc.core.errors import BemercError

HEAD_BYTES = 1 << 16
ANOTHER_FOLDER = "Move it, or name another folder."


class WouldReplaceError(BemercError):
    """A file is in the place of a result, and would be lost. ``path``: the file."""

    path: Path


def must_be_ours(path: Path, ours: Callable[[str], bool], way: str = ANOTHER_FOLDER) -> None:
    """WouldReplaceError where there is a file of another kind; DiskError where it cannot be read.

    ours  whether a file is of the kind that will be written, by its first HEAD_BYTES as text
    way   the sentence that says what to do
    """
    if not path.is_file():
        return
    with disk(path, "cannot be read"), path.open("rb") as file:
        head = file.read(HEAD_BYTES).decode("utf-8-sig", errors="replace")
    if not ours(head):
        raise WouldReplaceError(
            f"this file was not written by the same command, and would be replaced. {way}", path=path
        )


def all_must_be_ours(
    about: Path, ours: Callable[[str], bool], others: Iterable[Path], way: str = ANOTHER_FOLDER
) -> None:
    """The same for files that do not say whose they are: ``about`` lies beside them, and tells. Without it none of the
    ``others`` may be there."""
    must_be_ours(about, ours, way)
    if not about.is_file():
        for path in others:
            must_be_ours(path, lambda head: False, way)


def lines_with(*keys: str) -> Callable[[str], bool]:
    """Whether a file is JSON lines of ours: the first one is an object with these keys, or there is none."""

    def ours(head: str) -> bool:
        first, newline, _ = head.lstrip().partition("\n")  # within a line other signs may break it, such as U+2028
        try:
            row = json.loads(first or "null")
        except (ValueError, RecursionError):  # a line may be longer than what was read of it; ours begin so
            return not newline and first.startswith(f'{{"{keys[0]}": "')
        return row is None or (isinstance(row, dict) and set(keys) <= set(row))

    return ours
