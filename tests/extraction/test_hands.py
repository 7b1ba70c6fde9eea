"""Hands: points made up for the numbers, a real clip where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.tokens.pooling import plan
from bemerc.extraction.networks import HAND_POINTS
from bemerc.extraction.pose import body, hands
from bemerc.media.video import Video

CLIP = Path(__file__).resolve().parents[3] / "shared" / "clips" / "WolfgangLanger_Pexels.mp4"
SIZE = (200, 100)


def hand(x: float, y: float, bent: float = 0.0, palm_px: float = 20) -> NDArray[np.float32]:
    """A hand with its wrist at (x, y) pixels, fingers up, each joint bent by so many degrees; in fractions of SIZE."""
    points = np.zeros((HAND_POINTS, 3))
    for finger in range(5):
        at, turn = np.array([(finger - 2) * 0.2, -1.0, 0.0]), 0.0
        for joint in range(4):
            points[1 + 4 * finger + joint] = at
            turn += np.radians(bent)
            at = at + 0.3 * np.array([0.0, -np.cos(turn), -np.sin(turn)])
    return (((points * palm_px) + (x, y, 0)) / (SIZE[0], SIZE[1], SIZE[0])).astype(np.float32)


def measures_of(
    frames: list[NDArray[np.float32]], nose: tuple[float, float] = (0.5, 0.2)
) -> dict[str, NDArray[np.float32]]:
    stamps = np.arange(len(frames)) / 8
    measured = hands.measure(np.stack(frames), np.tile(np.float32(nose), (len(frames), 1)), stamps, SIZE)
    return dict(zip(hands.COLUMNS, measured.T, strict=True))


def test_a_fist_is_shut_and_a_flat_hand_open_at_any_size() -> None:
    for palm_px in (8, 40):
        pair = np.stack([hand(50, 80, 0, palm_px), hand(150, 80, 85, palm_px)])
        measured = measures_of([pair])
        assert measured["left_hand_open"][0] == pytest.approx(1)
        assert measured["right_hand_open"][0] < 0.2


def test_a_hand_at_the_face_is_near_it() -> None:
    measured = measures_of([np.stack([hand(100, 40), hand(190, 95)])])
    assert measured["left_hand_near_face"][0] == 1
    assert measured["right_hand_near_face"][0] == 0
    assert np.isnan(measures_of([np.stack([hand(100, 40)] * 2)], (np.nan, np.nan))["left_hand_near_face"][0])


def test_movement_is_in_palms_per_second_and_a_leap_is_none() -> None:
    gone = np.full((HAND_POINTS, 3), np.nan, np.float32)
    frames = [np.stack([hand(x, 80), gone]) for x in (50, 60, 60, 150, 155)]
    moved = measures_of(frames)["hands_movement"]
    assert np.isnan(moved[[0, 3]]).all()
    np.testing.assert_allclose(moved[[1, 2, 4]], [4.0, 0.0, 2.0], atol=1e-3)


def test_sides() -> None:
    a, b = hand(50, 80), hand(150, 80)
    none = hands.left_and_right([])
    assert np.isnan(none).all()
    np.testing.assert_array_equal(hands.left_and_right([(0.2, a), (0.9, b)]), np.stack([b, a]))
    np.testing.assert_array_equal(hands.left_and_right([(0.8, a), (0.9, b)]), np.stack([b, a]))
    only = hands.left_and_right([(0.1, a)])
    assert np.isnan(only[0]).all()
    np.testing.assert_array_equal(only[1], a)


def test_the_columns_are_there_when_asked_for_and_go_into_tokens() -> None:
    without, along = body.columns(body.Params()), body.columns(body.Params(hands=True))
    assert along[: len(without)] == without
    assert along[len(without) :] == hands.COLUMNS
    more = {pool.signal for pool in plan(along)} - {pool.signal for pool in plan(without)}
    assert more == set(hands.DERIVED)


@pytest.mark.skipif(not CLIP.is_file(), reason="the clip is not part of the repository")
def test_a_hand_before_a_mouth_is_seen_there() -> None:
    extractor = body.open_extractor(body.Params(hands=True))
    with Video(CLIP) as video:
        for i, frame in enumerate(video):
            if i % 6 == 0 and frame.timestamp_s < 9:
                extractor.frame(frame.rgb(), frame.timestamp_s)
    features = extractor.finish()
    extractor.close()
    near = np.fmax(features.column("left_hand_near_face"), features.column("right_hand_near_face"))
    late = features.timestamps_s > 5
    assert np.nanmean(near[late]) > 0.7
    assert np.isfinite(near[late]).mean() > 0.7
    assert not np.isfinite(near[features.timestamps_s < 1]).any()
