"""The warper and the action units together, through the real mesh: what is drawn is what is read, and how strongly."""

from __future__ import annotations

import numpy as np
import pytest

from bemerc.extraction.face import action_units, head_pose, mesh
from fits.face_warps import Look, Portrait, draw
from fits.photographs import CROP, Finder, meshed

STRENGTHS = (0, 1.5, 3, 4.5)


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder()


@pytest.fixture(scope="module")
def portrait(finder: Finder) -> Portrait:
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    crop = cv2.resize(data.astronaut()[:360, 60:420], (CROP, CROP))
    landmarks = meshed(finder, [crop] * 4)
    assert landmarks is not None
    return Portrait(crop, landmarks)


@pytest.mark.parametrize("unit", [1, 2, 4, 5, 10, 12, 15, 20, 26, 28, 45])
def test_a_drawn_unit_is_read_in_proportion(unit: int, portrait: Portrait, finder: Finder) -> None:
    column = action_units.UNITS.index(unit)
    still = Look(jitter=0)
    faces = []
    for strength in STRENGTHS:
        planted = np.where(np.arange(len(action_units.UNITS)) == column, strength, 0.0)
        faces.append(meshed(finder, [draw(portrait, planted, still, np.random.default_rng(0))] * 3))
    read = action_units.linear(mesh.align(np.array(faces, np.float32)))
    assert np.corrcoef(read[:, column], STRENGTHS)[0, 1] > 0.85
    others = np.delete(read[-1] - read[0], column)
    assert read[-1, column] - read[0, column] > np.median(others)


def test_nothing_drawn_is_the_picture_itself_and_a_turned_face_is_turned(portrait: Portrait, finder: Finder) -> None:
    rest = np.zeros(len(action_units.UNITS))
    same = draw(portrait, rest, Look(jitter=0), np.random.default_rng(0))
    assert np.abs(same.astype(int) - portrait.picture).mean() < 1
    turned = meshed(finder, [draw(portrait, rest, Look(jitter=0, yaw=12), np.random.default_rng(0))] * 3)
    assert turned is not None
    before, after = (head_pose.pose_deg(mesh.align(one[None]))[0] for one in (portrait.landmarks, turned))
    assert 5 < (after - before)[1] < 13
    assert np.abs((after - before)[[0, 2]]).max() < 4
