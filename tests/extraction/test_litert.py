"""Models on LiteRT against MediaPipe's own interfaces on the same frames, and the parts around the networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.extraction.networks import face_models as today
from bemerc.extraction.networks.graph import WHOLE, Rect, quiet
from bemerc.extraction.networks.litert import detector, filter, regions, runtime

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TASK = SHARED / "models" / "face_landmarker.task"
CLIP = SHARED / "clips" / "single_face.mp4"
TURNED = Rect(0.3, 0.4, 0.5, 0.8, 0.4)
needs_shared = pytest.mark.skipif(not CLIP.is_file(), reason="needs ../shared")


def frames(count: int, every: int = 1) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    from bemerc.media.video import Video

    with Video(CLIP) as video:
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
        left, top, right, bottom = today.box_around(rect, size) or pytest.fail("outside")
        part = regions.cut(whole[top:bottom, left:right], matrix, 64, corner=(left, top))
        assert (part == regions.cut(whole, matrix, 64)).all()


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


@needs_shared
@pytest.mark.parametrize("reach", ["near", "far"])
def test_detectors_find_the_faces_that_mediapipe_finds(reach: str) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("mediapipe")
    from bemerc.extraction.networks.litert.face_models import FaceModels

    old, new, compared = today.FaceModels(0.5), FaceModels(0.5), 0
    for _, rgb in frames(6, every=10):
        old.set_frame(rgb)
        new.set_frame(rgb)
        for region in (WHOLE, Rect(0.5, 0.5, 0.6, 0.9, 0.2)):
            expected, detected = old.detect(reach, region), new.detect(reach, region)  # type: ignore[arg-type]
            assert len(expected) == len(detected)
            for a, b in zip(expected, detected, strict=True):
                assert a.score == pytest.approx(b.score, abs=0.01)
                np.testing.assert_allclose(
                    [a.rect.x, a.rect.y, a.rect.width, a.rect.height, a.rect.angle],
                    [b.rect.x, b.rect.y, b.rect.width, b.rect.height, b.rect.angle],
                    atol=0.01,
                )
                compared += 1
    assert compared >= 6


@needs_shared
def test_landmarks_and_blendshapes_are_those_of_the_tasks_api() -> None:
    pytest.importorskip("ai_edge_litert")
    mediapipe = pytest.importorskip("mediapipe")
    from mediapipe.tasks.python import BaseOptions, vision

    from bemerc.extraction.networks.litert.face import Blendshapes
    from bemerc.extraction.networks.litert.face_models import FaceModels

    options = vision.FaceLandmarkerOptions(BaseOptions(str(TASK)), output_face_blendshapes=True)
    new, shapes = FaceModels(0.5), Blendshapes()
    with quiet(), vision.FaceLandmarker.create_from_options(options) as tasks:
        for _, rgb in frames(6, every=10):
            size = np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]])
            result = tasks.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, rgb))
            expected = np.array([[point.x, point.y, point.z] for point in result.face_landmarks[0]]) * size
            new.set_frame(rgb)
            landmarks, presence = new.mesh(new.detect("near")[0].rect)
            assert np.median(np.linalg.norm(landmarks * size - expected, axis=1)) < 0.2
            assert presence > 0.9
            np.testing.assert_allclose(
                shapes(expected[None])[0], [shape.score for shape in result.face_blendshapes[0]], atol=0.002
            )


@needs_shared
def test_the_body_is_followed_as_in_mediapipes_graph() -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("mediapipe")
    from bemerc.extraction.networks import BodyPose as Today
    from bemerc.extraction.networks.litert.body import BodyPose

    old, new, distances = Today(0.5, 0.5), BodyPose(0.5, 0.5), []
    for time_s, rgb in frames(8, every=3):
        expected, keypoints = old(rgb, time_s), new(rgb, time_s)
        assert expected is not None
        assert keypoints is not None
        seen = expected[:, 3] > 0.9
        distances.append(np.linalg.norm((expected - keypoints)[seen, :2] * [rgb.shape[1], rgb.shape[0]], axis=1))
        np.testing.assert_allclose(keypoints[:, 3], expected[:, 3], atol=0.05)
    assert np.median(np.concatenate(distances)) < 0.5
