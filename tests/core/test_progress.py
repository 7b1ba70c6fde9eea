"""Progress without a terminal: lines that one can read, few of them."""

from __future__ import annotations

import itertools
import time

import pytest

from bemerc.core import progress


def test_long_work_tells_its_rate_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three clips of 100 s each: a rate per second would be 0.0."""
    clock = itertools.count(0.0, 100.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with progress.bar("Measuring", 3, "utterances") as advance:
        for _ in range(3):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Measuring: 1/3 utterances, 0.6/min, 200 s left",
        "Measuring: 2/3 utterances, 0.6/min, 100 s left",
        "Measuring: 3/3 utterances in 400.0 s",
    ]


def test_quick_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.bar("Sealing", 40, "utterances") as advance:
        for _ in range(4):
            advance(10)
    assert len(capsys.readouterr().err.splitlines()) == 1
