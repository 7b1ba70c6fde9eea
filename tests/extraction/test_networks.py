"""Models on LiteRT against MediaPipe's own own answers on the same frames, and the parts around the networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.networks import (
    Blendshapes,
    BodyPose,
    FaceModels,
    Hands,
    Rect,
    detector,
    filter,
    regions,
    runtime,
)
from bemerc.extraction.networks.face_models import box_around
from bemerc.extraction.networks.quiet import quiet

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TASK = SHARED / "models" / "face_landmarker.task"
CLIP, TWO = SHARED / "clips" / "single_face.mp4", SHARED / "clips" / "talk" / "iia_video.mp4"
# mediapipe 0.10.21 is the last release with graphs of pose and hands that run without a file of the user's.
RECORDED = json.loads(Path(__file__).with_name("mediapipe_0_10_21.json").read_text(encoding="utf-8"))
TURNED = Rect(0.3, 0.4, 0.5, 0.8, 0.4)
needs_shared = pytest.mark.skipif(not CLIP.is_file(), reason="needs ../shared")


def frames(count: int, every: int = 1, clip: Path = CLIP) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    from bemerc.media.video import Video

    with Video(clip) as video:
        for frame in islice(video, 0, count * every, every):
            yield frame.timestamp_s, frame.rgb()


def picture(width: int = 320, height: int = 180) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_every_model_is_the_one_that_the_list_names() -> None:
    listed = json.loads((runtime.FOLDER / "models.json").read_text(encoding="utf-8"))
    files = {path.name: path for path in Path(str(runtime.FOLDER)).glob("*.tflite")}
    assert files.keys() == listed.keys()
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name]["sha256"]


def test_a_region_is_cut_from_a_part_of_the_frame_as_from_all_of_it() -> None:
    pytest.importorskip("cv2")
    whole, size = picture(), (320, 180)
    for rect in (TURNED, Rect(0.5, 0.5, 0.2, 0.3, -0.2), Rect(0.95, 0.1, 0.3, 0.5, 1.0)):
        matrix = regions.to_frame(rect, size)
        left, top, right, bottom = box_around(rect, size) or pytest.fail("outside")
        part = regions.cut(whole[top:bottom, left:right], matrix, 64, corner=(left, top))
        difference = part.astype(int) - regions.cut(whole, matrix, 64)
        assert np.abs(difference).max() <= 1  # OpenCV 5 rounds otherwise in a few of 10,000
        assert (difference != 0).mean() < 0.002


def test_points_of_a_region_are_where_its_pixels_are() -> None:
    pytest.importorskip("cv2")
    dark, size = np.zeros((180, 320, 3), np.uint8), (320, 180)
    dark[60, 100] = 255
    rect = Rect(0.3, 0.35, 0.1, 16 / 90, 0.5)
    matrix = regions.to_frame(rect, size)
    y, x = np.unravel_index(regions.cut(dark, matrix, 256)[:, :, 0].argmax(), (256, 256))
    np.testing.assert_allclose(regions.project(np.array([x, y]) / 256, matrix), [100, 60], atol=0.1)


def test_boxes_of_one_thing_become_their_mean_by_score() -> None:
    boxes = np.array([[0, 0, 1, 1], [0.1, 0, 1.1, 1], [3, 3, 4, 4]], np.float32)
    scores = np.array([0.6, 0.9, 0.5], np.float32)
    best, other = detector.suppress(boxes, boxes.reshape(3, 2, 2), scores, 0.3)
    np.testing.assert_allclose(best.box, [0.06, 0, 1.06, 1], atol=1e-6)
    np.testing.assert_allclose(best.keypoints.ravel(), best.box, atol=1e-6)
    assert best.score == pytest.approx(0.9)
    np.testing.assert_allclose(other.box, boxes[2])


def test_the_filter_follows_what_moves_and_holds_what_trembles() -> None:
    rest, smooth = np.random.default_rng(0).normal(0, 0.001, (100, 1)), filter.OneEuroFilter()
    held = np.array([smooth(value, 1 + i / 30, 1.0) for i, value in enumerate(rest)])
    assert held[50:].std() < rest[50:].std() / 3
    smooth = filter.OneEuroFilter()
    moved = [smooth(np.array([min(i, 30) / 30]), 1 + i / 30, 1.0).item() for i in range(60)]
    assert moved[-1] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("spec", [detector.SHORT_RANGE, detector.FULL_RANGE, detector.BODY, detector.PALM])
def test_a_detector_has_an_anchor_for_every_score(spec: detector.DetectorSpec) -> None:
    pytest.importorskip("ai_edge_litert")
    network = runtime.Network(spec.name, spec.outputs)
    _, scores = network.run(np.zeros(network.shape[1:], np.uint8))
    assert len(detector.anchors(spec.grids)) == scores.shape[1]


def oracle() -> Any:
    """MediaPipe, of any release: its Tasks API."""
    pytest.importorskip("ai_edge_litert")
    return pytest.importorskip("mediapipe")


@needs_shared
def test_the_short_range_detector_detects_the_faces_of_the_tasks_api() -> None:
    mediapipe = oracle()
    from mediapipe.tasks.python import BaseOptions, vision

    with resources.as_file(runtime.FOLDER / "face_detector.tflite") as model:
        options = vision.FaceDetectorOptions(BaseOptions(str(model)))
        ours, compared = detector.Detector(detector.SHORT_RANGE, 0.5), 0
        with quiet(), vision.FaceDetector.create_from_options(options) as tasks:
            for _, rgb in [*frames(6, every=10), *frames(4, every=10, clip=TWO)]:
                expected = tasks.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb)).detections
                detected = ours(rgb)
                assert len(expected) == len(detected)
                for theirs, face in zip(sorted(expected, key=lambda d: -d.categories[0].score), detected, strict=True):
                    box = theirs.bounding_box
                    edges = [box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height]
                    np.testing.assert_allclose(face.box, edges, atol=2)  # theirs are whole pixels
                    assert face.score == pytest.approx(theirs.categories[0].score, abs=0.01)
                    compared += 1
    assert compared >= 10


@needs_shared
def test_the_full_range_detector_detects_the_recorded_faces() -> None:
    pytest.importorskip("ai_edge_litert")
    models = FaceModels(0.5)
    for (_, rgb), recorded in zip(frames(4, every=10, clip=TWO), RECORDED["faces"], strict=True):
        models.set_frame(rgb)
        rects = [(face.rect, face.score) for face in models.detect("far")]
        detected = [(r.x, r.y, r.width, r.height, r.angle, score) for r, score in rects]
        np.testing.assert_allclose(detected, recorded, atol=0.01)


@needs_shared
def test_landmarks_and_blendshapes_are_those_of_the_tasks_api() -> None:
    mediapipe = oracle()
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(BaseOptions(str(TASK)), output_face_blendshapes=True)
    ours, shapes = FaceModels(0.5), Blendshapes()
    with quiet(), vision.FaceLandmarker.create_from_options(options) as tasks:
        for _, rgb in frames(6, every=10):
            size = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]])
            result = tasks.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb))
            expected = np.array([[point.x, point.y, point.z] for point in result.face_landmarks[0]]) * size
            ours.set_frame(rgb)
            landmarks, presence = ours.mesh(ours.detect("near")[0].rect)
            assert np.median(np.linalg.norm(landmarks * size - expected, axis=1)) < 0.2
            assert presence > 0.9
            np.testing.assert_allclose(
                shapes(expected[None])[0], [shape.score for shape in result.face_blendshapes[0]], atol=0.002
            )


@needs_shared
def test_a_users_task_file_gives_the_numbers_of_the_packaged_models() -> None:
    pytest.importorskip("ai_edge_litert")
    (_, rgb), rect = next(frames(1)), Rect(0.5, 0.4, 0.4, 0.7)
    packaged, own = FaceModels(0.5), FaceModels(0.5, TASK)
    for models in (packaged, own):
        models.set_frame(rgb)
    points, _ = packaged.mesh(rect)
    np.testing.assert_array_equal(points, own.mesh(rect)[0])
    np.testing.assert_array_equal(Blendshapes()(points[None]), Blendshapes(TASK)(points[None]))


@needs_shared
def test_the_body_is_followed_as_in_mediapipes_graph() -> None:
    pytest.importorskip("ai_edge_litert")
    pose, distances = BodyPose(0.5, 0.5), []
    for (time_s, rgb), recorded in zip(frames(4, every=5), np.array(RECORDED["body"]), strict=True):
        keypoints = pose(rgb, time_s)
        assert keypoints is not None
        visible = recorded[:, 2] > 0.9
        distances.append(
            np.linalg.norm((recorded[:, :2] - keypoints[:, :2])[visible] * [rgb.shape[1], rgb.shape[0]], axis=1)
        )
        np.testing.assert_allclose(keypoints[:, 3], recorded[:, 2], atol=0.05)
    assert np.median(np.concatenate(distances)) < 0.5


@needs_shared
def test_hands_are_followed_as_in_mediapipes_graph() -> None:
    pytest.importorskip("ai_edge_litert")
    hands, compared = Hands(0.5, 0.5), 0
    for (time_s, rgb), recorded in zip(frames(4, clip=TWO), RECORDED["hands"], strict=True):
        detected = hands(rgb, time_s)
        assert len(detected) == len(recorded)
        recorded = sorted(recorded, key=lambda hand: hand["left"])
        for (left, points), expected in zip(sorted(detected, key=lambda hand: hand[0]), recorded, strict=True):
            assert left == pytest.approx(expected["left"], abs=0.1)
            distances = np.linalg.norm((points[:, :2] - expected["points"]) * [rgb.shape[1], rgb.shape[0]], axis=1)
            assert np.median(distances) < 1.5
            compared += 1
    assert compared >= 4
