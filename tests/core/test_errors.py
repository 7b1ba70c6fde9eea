"""Errors: the fields that open the message, and the way through a process boundary."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from bemerc.core.errors import BemercError, BusyError, CorpusError, DiskError
from bemerc.core.locking import LockedError
from bemerc.corpus.reading import FaultyCorpusError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "it is blank."),
        ({"path": Path("a/t.csv")}, "a/t.csv: it is blank."),
        ({"path": "t.csv", "line": 3}, "t.csv, line 3: it is blank."),
        ({"path": "t.csv", "line": 3, "id": "u\x1b"}, "t.csv, line 3, u\\x1b: it is blank."),
        ({"key": "prepare.labels"}, "prepare.labels: it is blank."),
        ({"name": "joy", "missing": True}, "it is blank."),
    ],
)
def test_what_an_error_is_about_opens_its_message(fields: dict[str, object], message: str) -> None:
    error = CorpusError("it is blank.", **fields)  # type: ignore[arg-type]
    assert str(error) == message
    assert {name: getattr(error, name) for name in fields} == fields


@pytest.mark.parametrize(
    "error",
    [
        CorpusError("it is blank.", path=Path("t.csv"), line=2),
        DiskError(Path("face.h5"), "cannot be read", "No space left on device"),
        BusyError(Path("face.h5")),
        LockedError(Path("models"), "123"),
        FaultyCorpusError(["a", "b"], "Correct them."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_whole_from_another_process(error: BemercError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
