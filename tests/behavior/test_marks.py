"""Marks on the axis of time: each kind where it was put, and nothing where nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest

from bemerc.behavior.describe import listening
from bemerc.behavior.describe.marks import Mark, marks
from bemerc.behavior.describe.references import GENERAL
from bemerc.behavior.signals import voice
from bemerc.cache import Choice, Features
from bemerc.cache.schema import TrackSpan
from bemerc.view.marks import of_clip

COLUMNS = ("AU12_r", "AU45_r", "pose_pitch_deg", "pose_yaw_deg")


def face(rows: int = 100) -> Features:
    """Four seconds: a smile from 1.0 to 2.0 s, a blink at 3.0 s, two nods from 2.0 s."""
    stamps = np.arange(rows) / 25
    values = np.zeros((rows, len(COLUMNS)), np.float32)
    values[25:50, 0] = 3.0
    values[75:78, 1] = 2.0
    values[50:100, 2] = 5 * np.sin(2 * np.pi * np.clip(stamps[50:100] - 2, 0, 1.5)) ** 2
    return Features(values, stamps, COLUMNS)


def by_tier(listed: list[Mark]) -> dict[str, list[tuple[float, float, str]]]:
    tiers: dict[str, list[tuple[float, float, str]]] = {}
    for mark in listed:
        tiers.setdefault(mark.tier, []).append((round(mark.onset_s, 2), round(mark.offset_s, 2), mark.value))
    return tiers


def test_marks_are_where_the_behavior_is() -> None:
    tiers = by_tier(marks({"face": face()}, GENERAL))
    ((onset, offset, value),) = tiers["AU12"]
    assert (onset, offset) == pytest.approx((1.0, 2.0), abs=0.05)
    assert value.startswith("lip corners pulled up strongly")
    assert value.endswith("3.0")
    assert tiers["blink"] == [(3.0, 3.12, "blink")]
    ((onset, offset, value),) = tiers["nod"]
    assert 1.9 <= onset < offset <= 3.7
    assert value.endswith("nods")
    assert "target face" not in tiers


def test_the_target_face_and_where_it_changes() -> None:
    spans = (TrackSpan(0, 40, 2, 0.9, 2), TrackSpan(40, 70, 5, 0.6, 2), TrackSpan(75, 100, 6, 1.0, 1))
    tiers = by_tier(marks({"face": face()}, GENERAL, choice=Choice("speaking", "speaking", 2, 0.8, False, spans)))
    assert tiers["target face"] == [
        (0.0, 1.6, "face 3, score 0.90"),
        (1.6, 2.8, "face 6, score 0.60"),
        (3.0, 4.0, "face 7, score 1.00"),
    ]
    assert tiers["shot cut"] == [(1.6, 1.64, "shot cut")]
    beyond = Choice("speaking", "speaking", 2, 0.8, False, (TrackSpan(0, 400, 2, 0.9, 2),))
    assert "target face" not in by_tier(marks({"face": face()}, GENERAL, choice=beyond))


def test_speech_is_marked_between_pauses() -> None:
    pitch, energy = np.full(300, np.nan), np.full(300, -80.0)
    for first, last in (
        (20, 100),
        (110, 150),
        (183, 185),
        (220, 280),
    ):  # 0.1 s of silence is no pause, 0.02 s of sound no speech
        pitch[first:last], energy[first:last] = 120.0, -20.0
    audio = Features(np.stack([pitch, energy], 1).astype(np.float32), np.arange(300) / 100, ("pitch_hz", "energy_db"))
    assert by_tier(marks({"audio": audio}, GENERAL)) == {"speech": [(0.2, 1.5, "speech"), (2.2, 2.8, "speech")]}
    assert voice.speech(voice.Sound(np.full(300, np.nan), energy, 0.01)) == []


def test_music_is_marked_as_speech_only_where_no_detector_was_asked() -> None:
    rows = np.tile(np.float32([120.0, -20.0, 0.9]), (300, 1))
    rows[:150, 2] = 0.1  # music, then somebody speaks
    rows[200, 2] = 0.4  # less sure for a moment
    stamps, names = np.arange(300) / 100, ("pitch_hz", "energy_db", "speech")
    assert by_tier(marks({"audio": Features(rows, stamps, names)}, GENERAL)) == {"speech": [(1.5, 3.0, "speech")]}
    before = Features(rows[:, :2], stamps, names[:2])
    assert by_tier(marks({"audio": before}, GENERAL)) == {"speech": [(0.0, 3.0, "speech")]}
    rows[:, 2] = 0.4  # never sure
    assert marks({"audio": Features(rows, stamps, names)}, GENERAL) == []


def test_eyes_that_stay_shut_are_a_mark_of_their_own() -> None:
    values = np.zeros((50, len(COLUMNS)), np.float32)
    values[10:35, COLUMNS.index("AU45_r")] = 2.5
    (mark,) = [
        m for m in marks({"face": Features(values, np.arange(50) / 25, COLUMNS)}, GENERAL) if m.tier == "eyes shut"
    ]
    assert (mark.onset_s, mark.offset_s) == pytest.approx((0.4, 1.4))
    assert mark.value == "eyes shut or lowered"
    shown = of_clip({"face": Features(values, np.arange(50) / 25, COLUMNS)}, 1.0)
    assert [(one["kind"], one["start_s"], one["end_s"]) for one in shown] == [("eyes shut", 1.4, 2.4)]


def test_what_was_not_measured_has_no_marks() -> None:
    nothing = Features(np.full((50, len(COLUMNS)), np.nan, np.float32), np.arange(50) / 25, COLUMNS)
    assert marks({"face": nothing}, GENERAL) == []
    assert marks({"face": Features(np.empty((0, len(COLUMNS)), np.float32), np.empty(0), COLUMNS)}, GENERAL) == []
    assert marks({}, GENERAL) == []


def test_a_blink_of_one_frame_lasts_that_frame_on_the_page_too() -> None:
    values = np.zeros((50, 1), np.float32)
    values[20] = 3.0
    blink = Features(values, np.arange(50) / 25, ("AU45_r",))
    (mark,) = of_clip({"face": blink}, 1.0)
    assert (mark["kind"], mark["start_s"], mark["end_s"]) == ("blink", 1.8, 1.84)


def test_another_cameras_view_is_no_nod() -> None:
    def clip(elsewhere: float) -> dict[str, Features]:
        values = np.full((100, 4), (0.3, 2.0, 0.5, 0.2), np.float32)
        values[:40, 1] = np.interp(np.arange(40), (0, 12, 39), (9.0, 2.05, 2.0))
        values[40:50, :2] = (0.3 + elsewhere, 8.0)
        return {"face": Features(values, np.arange(100) / 25, ("face_x", "pose_pitch_deg", "face_y", "face_size"))}

    for elsewhere, nods in ((0.0, 1), (0.3, 0)):
        assert [mark["kind"] for mark in of_clip(clip(elsewhere), 0.0)] == ["nod"] * nods
        assert [mark.tier for mark in marks(clip(elsewhere), GENERAL)].count("nod") == nods
        assert listening.nods_and_shakes(clip(elsewhere)["face"]) == (nods, 0)
