"""Clips whose frames change their size on the way: what is measured does not jump."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.face import extractor as face
from bemerc.extraction.pose import body
from bemerc.media.frame_view import Window
from bemerc.media.video import CroppedFrame, Video

REAL = Path(__file__).resolve().parents[3] / "shared" / "clips" / "single_face.mp4"
Frames = list[NDArray[np.uint8]]


def test_frames_of_all_sizes_are_laid_in_the_largest() -> None:
    window = Window([(100, 50), (200, 100), (100, 100), (400, 20)])
    assert window.size == (200, 100)
    corners = np.tile(np.float32([[0, 0, 0.1], [1, 1, 0.1]]), (4, 1, 1))
    np.testing.assert_allclose(
        window.map_points(corners)[..., :2],
        [[[0, 0], [1, 1]], [[0, 0], [1, 1]], [[0.25, 0], [0.75, 1]], [[0, 0.45], [1, 0.55]]],
        atol=1e-6,
    )
    np.testing.assert_allclose(window.map_points(corners)[:, 0, 2], [0.1, 0.1, 0.05, 0.1], atol=1e-6)


def test_frames_of_one_size_are_left_as_they_are() -> None:
    points = np.random.default_rng(0).random((3, 33, 4), np.float32)
    assert Window([(64, 48)] * 3).map_points(points) is points


@pytest.fixture(scope="module")
def frames() -> Frames:
    if not REAL.exists():
        pytest.skip("the shared clips are not here")
    with Video(REAL) as video:
        return [frame.rgb(longest_side=480) for frame, _ in zip(video, range(24), strict=False)]


def halved(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    quarters = picture[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return np.ascontiguousarray(quarters.mean(axis=(1, 3)).astype(np.uint8))


def bordered(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With the sides cut off: a taller shape, in which the face lies at another share of the width."""
    width = picture.shape[1]
    return np.ascontiguousarray(picture[:, width // 8 : width - width // 8])


@pytest.mark.parametrize("smaller", [halved, bordered])
@pytest.mark.parametrize("faces", [1, 4])
def test_a_face_stays_where_it_is(frames: Frames, smaller: object, faces: int) -> None:
    extractor = face.open_extractor(face.Params(faces=faces))
    positions = []
    for mixed in (frames, [smaller(p) if 6 <= i < 16 else p for i, p in enumerate(frames)]):  # type: ignore[operator]
        extractor.reset()
        for number, picture in enumerate(mixed):
            extractor.frame(picture, number / 25)
        features = extractor.finish()
        assert np.isfinite(features.values).all(axis=1).mean() > 0.9
        positions.append(features)
        assert extractor.landmarks is not None
    extractor.close()
    for name, allowed in (("face_x", 0.01), ("face_y", 0.01), ("face_size", 0.02), ("pose_roll_deg", 2.0)):
        apart = np.abs(positions[0].column(name) - positions[1].column(name))
        assert np.nanmax(apart) < allowed, name


def test_a_body_stays_where_it_is(frames: Frames) -> None:
    extractor = body.open_extractor(body.Params())
    positions = []
    for mixed in (frames, [bordered(p) if 6 <= i < 16 else p for i, p in enumerate(frames)]):
        extractor.reset()
        for number, picture in enumerate(mixed):
            extractor.frame(picture, number / 25)
        positions.append(extractor.finish())
    extractor.close()
    for name in ("left_ear_x", "right_ear_x", "left_shoulder_x", "nose_y"):
        apart = np.abs(positions[0].column(name) - positions[1].column(name))
        assert np.nanmedian(apart[6:16]) < 0.02, name


def test_a_crop_is_a_share_of_each_frame() -> None:
    if not REAL.exists():
        pytest.skip("the shared clips are not here")
    with Video(REAL) as video:
        frame = next(iter(video))
    width, height = frame.size
    assert CroppedFrame(frame, (0.0, 0.0, 0.5, 1.0)).size == (round(width / 2), height)
