"""The faces of a folder of photographs, cut out, with their meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import mesh
from bemerc.extraction.face.head_pose import pose_deg
from fits.face_warps import Portrait
from fits.mediapipe_graphs import FaceMesh

CROP = 384
DRAWN = 224
MIN_SCORE = 0.85  # of a detection: below it hands, dogs and records are taken for faces
MAX_YAW = 40.0


@dataclass(frozen=True)
class Person:
    """One face of one picture: the crop (384, 384, 3), its mesh (478, 3) in pixels, and the picture's name."""

    picture: str
    crop: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


def people(folder: Path) -> list[Person]:
    """Every face in the folder's pictures with a high detection score that is not turned far."""
    from mediapipe.python.solutions.face_detection import FaceDetection

    detectors = [FaceDetection(model_selection=which, min_detection_confidence=0.4) for which in (0, 1)]
    finder = FaceMesh(0.5, 0.5)
    persons = []
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path))
        if picture is None:
            continue
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        for x, y, side in _boxes(rgb, detectors):
            scale = CROP / (2.2 * side)
            place = np.array([[scale, 0, CROP / 2 - x * scale], [0, scale, CROP / 2 - y * scale]])
            crop = cv2.warpAffine(rgb, place, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            landmarks = meshed(finder, [crop] * 4)
            if landmarks is not None and abs(pose_deg(mesh.align(landmarks[None]))[0, 1]) < MAX_YAW:
                persons.append(Person(path.name, crop, landmarks))
    return persons


def _boxes(rgb: NDArray[np.uint8], detectors: list[object]) -> list[tuple[float, float, float]]:
    """Middle and longer side of every face found on the picture and on its overlapping halves and thirds."""
    height, width = rgb.shape[:2]
    boxes: list[tuple[float, float, float, float]] = []
    for parts in (1, 2, 3):
        h, w = height // parts, width // parts
        for top in np.linspace(0, height - h, 2 * parts - 1).astype(int):
            for left in np.linspace(0, width - w, 2 * parts - 1).astype(int):
                tile = np.ascontiguousarray(rgb[top : top + h, left : left + w])
                for detector in detectors:
                    for hit in detector.process(tile).detections or ():  # type: ignore[attr-defined]
                        box = hit.location_data.relative_bounding_box
                        middle = (left + (box.xmin + box.width / 2) * w, top + (box.ymin + box.height / 2) * h)
                        boxes.append((hit.score[0], *middle, max(box.width * w, box.height * h)))
    kept: list[tuple[float, float, float]] = []
    for score, x, y, side in sorted(boxes, reverse=True):
        if score >= MIN_SCORE and all(max(abs(x - a), abs(y - b)) > max(side, c) / 2 for a, b, c in kept):
            kept.append((x, y, side))
    return kept


def meshed(finder: FaceMesh, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32] | None:
    """The mesh of the last of these pictures, in its pixels; the ones before let the tracker settle."""
    finder.reset()
    for number, picture in enumerate(pictures):
        detected = finder(np.ascontiguousarray(picture), number / 25)
    return None if detected is None else (detected[0] * picture.shape[1]).astype(np.float32)


def portraits(folder: Path, which: int) -> list[Portrait]:
    """Every second person of the photographs (which: 0 to be fitted on, 1 to be shown), as a square picture each."""
    scale = np.float32(DRAWN / 384)
    return [
        Portrait(cv2.resize(one.crop, (DRAWN, DRAWN), interpolation=cv2.INTER_AREA), one.landmarks * scale)
        for one in people(folder)[which::2]
    ]
