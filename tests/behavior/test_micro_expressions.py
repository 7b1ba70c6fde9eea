"""Micro-expressions, blinks and shut eyes: short bursts are spotted with their frames, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.describe import micro_expressions
from bemerc.cache import Features
from bemerc.corpus.manifest import Modality

Array = NDArray[np.float64]
COLUMNS = ("AU01_r", "AU02_r", "AU04_r", "AU12_r", "AU25_r", "AU45_r", "pose_yaw_deg", "face_x", "quality")


def face(rate_hz: float = 25.0, seconds: float = 4.0, **series: Array) -> Features:
    """Units that tremble a little, and what is added to them."""
    count = round(seconds * rate_hz)
    values = np.random.default_rng(3).normal(0.7, 0.04, (count, len(COLUMNS)))
    values[:, COLUMNS.index("face_x") :] = 0.5, 1.0
    for name, added in series.items():
        values[:, COLUMNS.index(name)] += added
    return Features(values.astype(np.float32), np.arange(count) / rate_hz, COLUMNS)


def spot(clip: Features, audio: Features | None = None) -> list[micro_expressions.Event]:
    frames: dict[Modality, Features] = {"face": clip} | ({"audio": audio} if audio is not None else {})
    return micro_expressions.spot(frames)


def burst(first: int, last: int, height: float, count: int = 100) -> Array:
    """Up and down again, from frame first to last."""
    out = np.zeros(count)
    length = last - first + 1
    wave = np.sin(np.pi * np.arange(1, length + 1) / (length + 1))
    out[first : last + 1] = height * wave / wave.max()
    return out


@pytest.mark.parametrize("frames", [2, 4, 7, 12])
def test_a_micro_expression_is_spotted_with_onset_apex_and_offset(frames: int) -> None:
    (event,) = spot(face(AU12_r=burst(40, 39 + frames, 1.4)))
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
        spotted = spot(face(rate_hz, AU01_r=burst(first, first + frames - 1, 1.4, count)))
        assert [event.kind for event in spotted] == ["micro-expression"]
        assert abs(spotted[0].onset - first) / rate_hz <= 0.08


def test_units_that_burst_together_are_one_event_and_the_clearest_names_it() -> None:
    both = face(AU01_r=burst(50, 54, 1.0), AU02_r=burst(50, 54, 2.0))
    (event,) = spot(both)
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
    assert spot(face(**{name: added})) == []


def test_what_comes_with_a_blink_is_the_blinks() -> None:
    blinking = face(AU45_r=burst(40, 44, 3.0), AU04_r=burst(40, 44, 1.5))
    (event,) = spot(blinking)
    assert (event.kind, event.unit) == ("blink", "AU45_r")
    assert event.onset <= 42 <= event.offset


def test_what_comes_with_a_blink_of_lowered_eyes_is_the_blinks_too() -> None:
    blinking = face(AU45_r=burst(40, 44, 3.0), AU04_r=burst(40, 44, 1.5))
    values = np.column_stack([blinking.values, np.full(len(blinking.values), 1.6, np.float32)])
    (event,) = spot(Features(values, blinking.timestamps_s, (*COLUMNS, "rest_AU45")))
    assert (event.kind, event.onset, event.offset) == ("eyes shut", 0, len(values) - 1)
    assert event.units["AU45_r"] >= 1.6, "lids of eyes that are shut all the time are down, too"


def test_frames_without_a_face_and_single_frames_do_no_harm() -> None:
    gone = face(AU12_r=burst(40, 43, 1.4))
    gone.values[44:60] = np.nan
    assert spot(gone) == []
    gone.values[:] = np.nan
    assert spot(gone) == []
    assert spot(Features(gone.values[:1], gone.timestamps_s[:1], COLUMNS)) == []
    assert spot(Features(gone.values[:0], gone.timestamps_s[:0], COLUMNS)) == []


def test_a_line_holds_the_times() -> None:
    line = json.loads(micro_expressions.to_line("a/b", {"face": face(AU12_r=burst(40, 43, 1.4))}))
    assert line["id"] == "a/b"
    (event,) = line["events"]
    assert event["kind"] == "micro-expression"
    assert 1.5 <= event["onset_s"] <= event["apex_s"] <= event["offset_s"] <= 1.8
    assert list(event["units"]) == ["AU12"]


# -------------------------------------------------------------------------------------------- what else makes brief peaks


def voice(first_s: float, last_s: float, seconds: float = 4.0) -> Features:
    """A voice between two seconds, and silence around it."""
    stamps = np.arange(round(seconds * 100)) / 100
    speaks = (stamps >= first_s) & (stamps < last_s)
    energy = np.where(speaks, -20 + 6 * np.sin(2 * np.pi * 4 * stamps), -70)
    values = np.column_stack([np.where(speaks, 160.0, np.nan), energy]).astype(np.float32)
    return Features(values, stamps, ("pitch_hz", "energy_db"))


@pytest.mark.parametrize(("unit", "counts"), [("AU12_r", False), ("AU04_r", True)])
def test_while_the_voice_speaks_only_what_lies_outside_the_mouth_counts(unit: str, counts: bool) -> None:
    clip = face(**{unit: burst(50, 54, 2.0)})
    assert bool(spot(clip, voice(1.0, 3.5))) is counts
    assert len(spot(clip, voice(2.8, 3.9))) == 1, "before the words a mouth counts too"


def test_no_micro_expression_while_the_head_turns() -> None:
    turn = np.interp(np.arange(100), (48, 56), (0, 12))
    assert len(spot(face(AU04_r=burst(50, 54, 2.0)))) == 1
    assert spot(face(AU04_r=burst(50, 54, 2.0), pose_yaw_deg=turn)) == []


def test_no_micro_expression_across_a_cut_or_in_a_blur() -> None:
    other_place = np.where(np.arange(100) >= 52, 0.3, 0.0)
    blurred = np.where(np.abs(np.arange(100) - 52) <= 2, -0.6, 0.0)
    assert spot(face(AU04_r=burst(50, 54, 2.0), face_x=other_place)) == []
    assert spot(face(AU04_r=burst(50, 54, 2.0), quality=blurred)) == []
