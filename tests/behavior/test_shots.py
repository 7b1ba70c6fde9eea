"""Angles are judged within a shot: a cut turns no head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bemerc.behavior.describe import rules
from bemerc.behavior.describe.marks import marks
from bemerc.behavior.describe.references import GENERAL
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals.shots import cuts, leveled
from bemerc.behavior.tokens import file, pooling
from bemerc.cache import Features, Head, Rows, open_cache, write_cache
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.extraction.pose import body

FPS, POSE_HZ = 25, 8
FACE = ("pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg", "face_x", "face_y", "face_size", "quality")


def face(seconds: float = 4.0, cut_s: float | None = 2.0) -> Features:
    """A head that rests, and is seen from another side and at another place from ``cut_s`` on."""
    stamps = np.arange(round(seconds * FPS)) / FPS
    rows = np.tile(np.float32([3, -5, 1, 0.3, 0.4, 0.35, 0.9]), (len(stamps), 1))
    rows[:, :3] += np.random.default_rng(0).normal(0, 0.2, (len(stamps), 3))
    if cut_s is not None:
        rows[stamps >= cut_s] += np.float32([9, 24, -12, 0.35, 0.05, 0.2, 0])
    return Features(rows, stamps, FACE)


def pose(cut_s: float | None = 2.0) -> Features:
    """Shoulders of the same."""
    stamps = np.arange(4 * POSE_HZ) / POSE_HZ
    names = body.columns(body.Params())
    rows = np.zeros((len(stamps), len(names)), np.float32)
    for name, value, shift in (
        ("left_shoulder_x", 0.4, 0.35), ("right_shoulder_x", 0.2, 0.35), ("left_shoulder_y", 0.8, 0.1),
        ("right_shoulder_y", 0.8, 0.15), ("left_shoulder_visibility", 1, 0), ("right_shoulder_visibility", 1, 0),
        ("lean_deg", 2, 14), ("sway_deg", 1, 12), ("shoulder_tilt_deg", 0, 13), ("slump", 0.1, 0.4),
    ):  # fmt: skip
        column = names.index(name)
        rows[:, column] = value + np.random.default_rng(column).normal(0, 0.005, len(stamps))
        if cut_s is not None:
            rows[stamps >= cut_s, column] += shift
    return Features(rows, stamps, names)


def test_cuts_are_where_face_and_shoulders_leap() -> None:
    assert cuts(face(), None).tolist() == [2.0]
    assert cuts(None, pose()).tolist() == [2.0]
    assert cuts(face(), pose()).tolist() == [2.0]
    assert cuts(face(cut_s=None), pose(None)).size == 0
    assert cuts(face(cut_s=None), pose()).size == 0, "shoulders that leap below a face that stays have slipped"
    assert cuts(None, None).size == 0
    gap = face()
    gap.values[40:70] = np.nan  # nobody is seen around the cut
    assert cuts(gap, None).tolist() == [70 / FPS]
    without_places = Features(face().values[:, :3], face().timestamps_s, FACE[:3])
    assert cuts(without_places, None).size == 0


def test_frames_without_cuts_are_themselves() -> None:
    frames = face(cut_s=None)
    assert leveled(frames, cuts(frames, None)) is frames


def test_a_cut_turns_no_head_and_tips_nobody() -> None:
    clip = {"face": face(), "pose": pose()}
    quiet = rules.describe({"face": face(cut_s=None), "pose": pose(None)})
    assert rules.describe(clip).body_language == quiet.body_language
    assert rules.describe(clip).posture == quiet.posture
    assert not [mark for mark in marks(clip, GENERAL) if mark.tier.endswith("_deg")]


def test_what_moves_within_a_shot_is_told() -> None:
    turning = face()
    turning.values[70:90, 1] += 20
    said = rules.describe({"face": turning}).body_language
    assert "Head turned left" in said
    assert "tilted" not in said
    (turn,) = [mark for mark in marks({"face": turning}, GENERAL) if mark.tier == "pose_yaw_deg"]
    assert (turn.onset_s, turn.offset_s) == (pytest.approx(2.8, abs=0.1), pytest.approx(3.6, abs=0.1))


def test_shots_that_are_too_short_say_nothing_and_hide_nothing() -> None:
    flicker = face(cut_s=None)
    for first in range(0, 100, 20):
        flicker.values[first : first + 10] += np.float32([9, 24, -12, 0.35, 0.05, 0.2, 0])
    level = settled({"face": flicker})["face"]
    assert np.isfinite(level.values).all()
    assert np.ptp(level.values[:, 1]) < 1e-3
    assert "turned" not in rules.describe({"face": flicker}).body_language


def test_tokens_have_no_turn_of_the_camera() -> None:
    names = [item.name for item in pooling.plan(FACE)]
    swings = {}
    for kind, frames in (
        ("cut", face()),
        ("whole", face(cut_s=None)),
        ("leveled", leveled(face(), cuts(face(), None))),
    ):
        tokens = pooling.pool(frames.values, frames.timestamps_s, FACE, 4.0, 4)
        swings[kind] = np.abs(tokens[:, names.index("pose_yaw_deg.swing")]).max()
    assert swings["cut"] > 10
    assert swings["leveled"] == pytest.approx(swings["whole"], abs=0.5)


def test_a_token_file_reads_the_cuts_of_the_face_for_the_body_too(tmp_path: Path) -> None:
    utterance = Utterance("t/a", "t/0", 0, "Ann", "", None, "train", None)
    manifest = Manifest((utterance,), ("neutral",), ("t",), Path())
    frames, names = {"face": face(), "pose": pose()}, {}
    for modality, of in frames.items():
        names[modality] = write_cache(
            tmp_path / f"{modality}.h5", Head(modality, of.columns, 25.0, "made 1", {}), Rows([("t/a", of, 4.0, None)])
        )
    with open_cache(tmp_path / "face.h5") as of_face, open_cache(tmp_path / "pose.h5") as of_pose:
        both = file.pool(manifest, {"face": of_face, "pose": of_pose}, file.Params(k=4))
        alone = file.pool(manifest, {"pose": of_pose}, file.Params(k=4))
    for pooled, modality, column in (
        (both, "face", "pose_yaw_deg"),
        (both, "pose", "lean_deg"),
        (alone, "pose", "lean_deg"),
    ):
        at = [item.name for item in pooling.plan(frames[modality].columns)].index(f"{column}.swing")
        assert np.abs(pooled[modality][0, :, at]).max() < 1.0  # type: ignore[index]
