"""The aligned mesh and what is read off its turn: head pose, gaze, quality. Faces are made by turning the average one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.face import head_pose, mesh
from bemerc.extraction.networks import MESH_POINTS

Array = NDArray[np.float64]
SIZE = (640, 480)


def turn(pitch: float = 0, yaw: float = 0, roll: float = 0) -> Array:
    """Rotation in a camera's frame (x right, y down, z away): nod down, turn to the image's right, tilt clockwise."""
    p, y, r = np.radians([pitch, yaw, roll])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    shake = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(tilt @ shake @ nod)


def seen(
    points: Array, rotation: Array | None = None, eyes_px: float = 80, at: tuple[float, float] = (300, 200)
) -> Array:
    """Landmarks in pixels of a face with these points in its own frame."""
    turned = points @ (np.eye(3) if rotation is None else rotation).T
    return turned * eyes_px + (*at, 0)


def batch(*faces: Array) -> NDArray[np.float32]:
    return np.stack(faces).astype(np.float32)


def test_the_average_face_is_symmetric_and_upright() -> None:
    face = mesh.average_face()
    assert face.shape == (MESH_POINTS, 3)
    np.testing.assert_allclose(face[263], -face[33] * (1, -1, -1), atol=1e-3)
    assert face[263, 0] - face[33, 0] == pytest.approx(1, abs=1e-3)
    assert face[10, 1] < face[168, 1] < face[4, 1] < face[0, 1] < face[152, 1], "forehead, nose, lips, chin"
    assert face[4, 2] < face[127, 2], "the nose is nearer than the temples"


@pytest.mark.parametrize("angles", [(0, 0, 0), (15, 0, 0), (0, -30, 0), (0, 0, 40), (-10, 25, -20)])
def test_alignment_takes_pose_and_size_out(angles: tuple[float, float, float]) -> None:
    points = mesh.average_face()
    aligned = mesh.align(batch(seen(points, turn(*angles), 57, (10, 400))))
    np.testing.assert_allclose(aligned.points[0], points, atol=1e-4)
    assert aligned.scale[0] == pytest.approx(57, rel=1e-4)


@pytest.mark.parametrize("angles", [(0, 0, 0), (15, 0, 0), (0, 30, 0), (0, 0, 40), (-10, -25, 20), (12, 35, -15)])
def test_head_pose_is_read_with_its_signs(angles: tuple[float, float, float]) -> None:
    aligned = mesh.align(batch(seen(mesh.average_face(), turn(*angles))))
    np.testing.assert_allclose(head_pose.pose_deg(aligned)[0], angles, atol=0.1)


def test_an_expression_does_not_turn_the_head() -> None:
    points = mesh.average_face().copy()
    points[[61, 291, 0, 17, 13, 14, 152, 107, 336, 50, 280], 1] += 0.1
    aligned = mesh.align(batch(seen(points)))
    np.testing.assert_allclose(head_pose.pose_deg(aligned), 0, atol=0.1)


def test_frames_without_a_face_stay_nan_and_disturb_nobody() -> None:
    face, nobody = seen(mesh.average_face(), turn(yaw=10)), np.full((MESH_POINTS, 3), np.nan)
    alone, among = mesh.align(batch(face)), mesh.align(batch(nobody, face, nobody))
    assert np.isnan(among.points[[0, 2]]).all()
    assert np.isnan(head_pose.pose_deg(among)[0]).all()
    assert np.isnan(head_pose.gaze_deg(among)[0]).all()
    np.testing.assert_array_equal(among.points[1], alone.points[0])
    assert mesh.align(batch(face)[:0]).points.shape == (0, MESH_POINTS, 3)


@pytest.mark.parametrize(("eyes", "expected"), [((0, 0), (0, 0)), ((0.05, 0), (21, 0)), ((0, 0.03), (0, 12.4))])
def test_gaze_follows_the_iris_and_the_head(eyes: tuple[float, float], expected: tuple[float, float]) -> None:
    points = mesh.average_face().copy()
    points[468:478, :2] += eyes
    straight = head_pose.gaze_deg(mesh.align(batch(seen(points))))[0]
    np.testing.assert_allclose(straight, expected, atol=0.5)
    turned = head_pose.gaze_deg(mesh.align(batch(seen(points, turn(yaw=-15)))))[0]
    assert turned[0] == pytest.approx(expected[0] - 15, abs=1)


def quality(*faces: Array, presence: float = 1.0) -> Array:
    landmarks = batch(*faces)
    return head_pose.quality(mesh.align(landmarks), landmarks, SIZE, np.full(len(faces), presence, np.float32))


def test_quality_falls_with_what_makes_a_face_hard_to_read() -> None:
    points = mesh.average_face()
    good = seen(points)
    assert quality(good, good, good) == pytest.approx([1, 1, 1])
    assert quality(good, presence=0.6)[0] == pytest.approx(0.6, abs=1e-6)
    assert 0 < quality(seen(points, eyes_px=20))[0] < 1
    assert quality(seen(points, eyes_px=8))[0] == pytest.approx(0, abs=1e-6)
    assert 0 < quality(seen(points, turn(yaw=50)))[0] < 0.7
    assert quality(seen(points, at=(0, 200)))[0] == pytest.approx(0.5, abs=0.1), "half of it is outside"


def test_a_leap_is_distrusted_and_a_cut_is_not() -> None:
    here, there = seen(mesh.average_face()), seen(mesh.average_face(), at=(420, 220))
    assert quality(here, here, there, here, here)[2] == pytest.approx(0, abs=1e-6)
    assert quality(here, here, there, there) == pytest.approx([1, 1, 1, 1])
    assert np.isnan(quality(here, np.full_like(here, np.nan), there)[1])
