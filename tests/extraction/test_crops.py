"""Small pictures of faces: cut upright from wherever the face is, and how far a mouth is open by them alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.face.crops import MOUTH_PX, color_distance, crop_mouth_and_head, mouth_opening
from bemerc.extraction.face.mesh import average_face
from bemerc.media.frame_view import Crop

Array = NDArray[np.float64]


def texture(seed: int, size: int = 400) -> Array:
    """(size, size) soft spots of 60 to 200."""
    spots = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (size, size)), (0, 0), size / 40)
    return np.asarray(130 + 25 * spots / spots.std())


def placed(turn_deg: float, scale: float, x: float, y: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A frame (600, 800, 3) with a flat face in it, and its landmarks: turned, so many pixels between the eyes, there."""
    face = np.stack([texture(seed) for seed in (1, 2, 3)], axis=2).clip(0, 255).astype(np.uint8)
    angle = np.radians(turn_deg)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    per_px = 4 / 400
    lay = np.column_stack([turn * per_px, turn @ (-2, -2) + (x, y)])
    frame = cv2.warpAffine(face, lay, (800, 600), flags=cv2.INTER_LINEAR)
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[:, :2] = average_face()[:, :2] @ turn.T + (x, y)
    return np.asarray(frame, np.uint8), landmarks


def test_a_face_s_pictures_are_the_same_wherever_it_is() -> None:
    frame, landmarks = placed(0, 100, 400, 250)
    mouth, head = crop_mouth_and_head(Crop(frame, (0, 0)), landmarks)
    assert (mouth.shape, head.shape, mouth.dtype) == ((MOUTH_PX, MOUTH_PX), (8, 8, 3), np.uint8)
    for turn_deg, scale, x, y in ((25, 100, 380, 260), (-70, 140, 390, 280), (0, 60, 500, 200), (0, 40, 600, 400)):
        other, points = placed(turn_deg, scale, x, y)
        again, colours = crop_mouth_and_head(Crop(other, (0, 0)), points)
        assert np.abs(again.astype(float) - mouth).mean() < 4
        assert color_distance(colours.astype(float), head.astype(float)) < 4
    assert (
        color_distance(crop_mouth_and_head(Crop(255 - frame, (0, 0)), landmarks)[1].astype(float), head.astype(float))
        > 10
    )


def test_a_part_of_the_frame_is_enough() -> None:
    frame, landmarks = placed(20, 90, 400, 250)
    patch = Crop(frame[60:500, 200:640], (200, 60))
    for whole, cut in zip(
        crop_mouth_and_head(Crop(frame, (0, 0)), landmarks), crop_mouth_and_head(patch, landmarks), strict=True
    ):
        np.testing.assert_array_equal(whole, cut)


def test_beyond_what_is_shown_the_border_goes_on() -> None:
    frame, landmarks = placed(0, 100, 400, 250)
    mouth, head = crop_mouth_and_head(Crop(np.full_like(frame[:300, :420], 77), (0, 0)), landmarks)
    assert (mouth == 77).all()
    assert (head == 77).all()


def below(down_px: Array) -> NDArray[np.uint8]:
    """(n, 24, 24) a face whose part below the lips is so far down."""
    base, mouths = texture(4, 24 * 16), []
    lips = int((0.757 - 0.35) / 1.1 * 24 * 16)
    y, x = np.mgrid[0 : 24 * 16, 0 : 24 * 16].astype(np.float32)
    for down in down_px:
        moved = cv2.remap(
            base, x, y - (y > lips) * np.float32(16 * down), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mouths.append(cv2.resize(moved, (24, 24), interpolation=cv2.INTER_AREA).clip(0, 255).astype(np.uint8))
    return np.array(mouths)


def test_a_chin_that_goes_down_is_a_mouth_that_opens() -> None:
    down = np.abs(np.sin(np.arange(40) / 3))
    opening = mouth_opening(below(down))
    assert np.corrcoef(opening, down)[0, 1] > 0.9
    assert opening.max() - opening.min() == pytest.approx(1.1 / 24, rel=0.6), "in distances of the eyes"


def test_light_and_a_face_that_is_cut_askew_open_no_mouth() -> None:
    down = np.abs(np.sin(np.arange(40) / 3))
    moved = mouth_opening(below(down)).std()
    still = below(np.zeros(40)).astype(float)
    lit = (still * (0.8 + 0.3 * down[:, None, None]) + 5 * down[:, None, None]).clip(0, 255).astype(np.uint8)
    assert mouth_opening(lit).std() < 0.05 * moved
    large = texture(4, 26 * 16)
    askew = [
        cv2.resize(large[16 + k : 16 + k + 384, 16 - k : 16 - k + 384], (24, 24), interpolation=cv2.INTER_AREA)
        for k in (12 * down).astype(int)
    ]
    assert mouth_opening(np.array(askew).clip(0, 255).astype(np.uint8)).std() < 0.3 * moved


def test_a_long_shot_is_read_in_blocks_with_the_same_answers() -> None:
    mouths = below(np.abs(np.sin(np.arange(60) / 3)))
    np.testing.assert_allclose(
        mouth_opening(np.tile(mouths, (40, 1, 1))), np.tile(mouth_opening(mouths), 40), atol=1e-12
    )


def test_too_few_pictures_tell_nothing() -> None:
    assert (mouth_opening(below(np.array([0.0, 1.0, 0.0]))) == 0).all()
    assert np.isfinite(mouth_opening(np.full((9, 24, 24), 50, np.uint8))).all()
