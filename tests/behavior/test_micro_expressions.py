"""Micro-expressions and blinks: short bursts are spotted with their frames, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.describe import micro_expressions
from bemerc.cache import Features

Array = NDArray[np.float64]
COLUMNS = ("AU01_r", "AU02_r", "AU04_r", "AU12_r", "AU25_r", "AU45_r", "pose_yaw_deg")


def face(rate_hz: float = 25.0, seconds: float = 4.0, **series: Array) -> Features:
    """Units that tremble a little, and what is added to them."""
    count = round(seconds * rate_hz)
    values = np.random.default_rng(3).normal(0.7, 0.04, (count, len(COLUMNS)))
    for name, added in series.items():
        values[:, COLUMNS.index(name)] += added
    return Features(values.astype(np.float32), np.arange(count) / rate_hz, COLUMNS)


def burst(first: int, last: int, height: float, count: int = 100) -> Array:
    """Up and down again, from frame first to last."""
    out = np.zeros(count)
    length = last - first + 1
    wave = np.sin(np.pi * np.arange(1, length + 1) / (length + 1))
    out[first : last + 1] = height * wave / wave.max()
    return out


@pytest.mark.parametrize("frames", [2, 4, 7, 12])
def test_a_micro_expression_is_spotted_with_onset_apex_and_offset(frames: int) -> None:
    (event,) = micro_expressions.spot(face(AU12_r=burst(40, 39 + frames, 1.4)))
    assert (event.kind, event.unit) == ("micro-expression", "AU12_r")
    assert abs(event.onset - 40) <= 1
    assert abs(event.offset - (39 + frames)) <= 1
    assert event.onset <= event.apex <= event.offset
    assert event.units["AU12_r"] == pytest.approx(1.4, abs=0.3)
    assert event.score > micro_expressions.MIN_SCORE


def test_the_same_burst_is_spotted_at_the_clips_own_rate() -> None:
    for rate_hz, frames in ((12.5, 2), (50.0, 8), (100.0, 16)):
        count = round(4 * rate_hz)
        first = round(1.6 * rate_hz)
        spotted = micro_expressions.spot(face(rate_hz, AU01_r=burst(first, first + frames - 1, 1.4, count)))
        assert [event.kind for event in spotted] == ["micro-expression"]
        assert abs(spotted[0].onset - first) / rate_hz <= 0.08


def test_units_that_burst_together_are_one_event_and_the_clearest_names_it() -> None:
    both = face(AU01_r=burst(50, 54, 1.0), AU02_r=burst(50, 54, 2.0))
    (event,) = micro_expressions.spot(both)
    assert list(event.units) == ["AU02_r", "AU01_r"]


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("AU12_r", np.zeros(100)),
        ("AU12_r", burst(30, 60, 2.0)),  # a smile of 1.2 s
        ("AU12_r", burst(40, 40, 2.0)),  # one frame
        ("AU12_r", burst(96, 103, 2.0, 104)[:100]),  # cut off by the end of the clip
        ("AU25_r", burst(40, 43, 2.0)),  # a syllable
        ("AU04_r", 1.5 * np.abs(np.sin(2 * np.pi * 2.2 * np.arange(100) / 25))),  # talking
    ],
)
def test_what_is_no_micro_expression_is_none(name: str, added: Array) -> None:
    assert micro_expressions.spot(face(**{name: added})) == []


def test_what_comes_with_a_blink_is_the_blinks() -> None:
    blinking = face(AU45_r=burst(40, 44, 3.0), AU04_r=burst(40, 44, 1.5))
    (event,) = micro_expressions.spot(blinking)
    assert (event.kind, event.unit) == ("blink", "AU45_r")
    assert event.onset <= 42 <= event.offset


def test_frames_without_a_face_and_single_frames_do_no_harm() -> None:
    gone = face(AU12_r=burst(40, 43, 1.4))
    gone.values[44:60] = np.nan
    assert micro_expressions.spot(gone) == []
    gone.values[:] = np.nan
    assert micro_expressions.spot(gone) == []
    assert micro_expressions.spot(Features(gone.values[:1], gone.timestamps_s[:1], COLUMNS)) == []
    assert micro_expressions.spot(Features(gone.values[:0], gone.timestamps_s[:0], COLUMNS)) == []


def test_a_line_holds_the_times() -> None:
    line = json.loads(micro_expressions.to_line("a/b", face(AU12_r=burst(40, 43, 1.4))))
    assert line["id"] == "a/b"
    (event,) = line["events"]
    assert event["kind"] == "micro-expression"
    assert 1.5 <= event["onset_s"] <= event["apex_s"] <= event["offset_s"] <= 1.8
    assert list(event["units"]) == ["AU12"]
