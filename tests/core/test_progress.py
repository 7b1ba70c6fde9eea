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


def test_what_is_left_is_told_from_the_last_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first step takes ten minutes and the others 50 s each: after six of 26, 20 of those are left."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.bar("merc T", 26, "steps") as advance:
        for step in range(6):
            now += 50.0 if step else 600.0
            advance(1, f"loss {step}")
    told = capsys.readouterr().err.splitlines()[5]
    assert told == "merc T: 6/26 steps, 1.2/min, loss 5, 17 min left"


def test_a_resumed_run_says_nothing_of_the_speed_of_what_was_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress.bar("merc T", 2000, "tokens", done=1000) as advance:
        now += 100.0
        advance(200)
    assert capsys.readouterr().err.splitlines()[0] == "merc T: 1200/2000 tokens, 2.0/s, 7 min left"


@pytest.mark.parametrize(("seconds", "told"), [(45.4, "45 s"), (720, "12 min"), (7500, "2 h 5 min")])
def test_time_in_words(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == told
