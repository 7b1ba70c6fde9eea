"""The faces of a folder of photographs, cut out, with their meshes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import mesh
from bemerc.extraction.face.head_pose import pose_deg
from bemerc.extraction.networks import MARGIN, FaceModels, Rect, rect_around
from fits.face_warps import Portrait

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
    models, finder = FaceModels(0.4), Finder()
    persons = []
    for path in sorted(folder.iterdir()):
        picture = cv2.imread(str(path))
        if picture is None:
            continue
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        for x, y, side in _boxes(rgb, models):
            scale = CROP / (2.2 * side)
            place = np.array([[scale, 0, CROP / 2 - x * scale], [0, scale, CROP / 2 - y * scale]])
            crop = cv2.warpAffine(rgb, place, (CROP, CROP), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            landmarks = meshed(finder, [crop] * 4)
            if landmarks is not None and abs(pose_deg(mesh.align(landmarks[None]))[0, 1]) < MAX_YAW:
                persons.append(Person(path.name, crop, landmarks))
    return persons


class Finder:
    """The mesh of one face, followed from picture to picture; ``reset`` before others."""

    def __init__(self, confidence: float = 0.5) -> None:
        self._confidence, self._models = confidence, FaceModels(confidence)
        self.reset()

    def reset(self) -> None:
        """Forget the pictures so far."""
        self._rect: Rect | None = None

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """``rgb`` (H, W, 3), contiguous -> landmarks (478, 3) in pixels, z on the scale of x; None without a face."""
        size = rgb.shape[1], rgb.shape[0]
        self._models.set_frame(rgb)
        rect = self._rect or self._in_the_middle()
        if rect is None:
            return None
        landmarks, presence = self._models.mesh(rect)
        self._rect = rect_around(landmarks, size) if presence >= self._confidence else None
        return landmarks * np.array([size[0], size[1], size[0]], np.float32) if self._rect is not None else None

    def _in_the_middle(self) -> Rect | None:
        """Where the face nearest to the picture's middle is: a crop shows neighbours, too."""
        found = [face.rect for face in self._models.detect("near")]
        return min(found, key=lambda one: math.hypot(one.x - 0.5, one.y - 0.5), default=None)


def _boxes(rgb: NDArray[np.uint8], models: FaceModels) -> list[tuple[float, float, float]]:
    """Middle and longer side of every face found on the picture and on its overlapping halves and thirds."""
    height, width = rgb.shape[:2]
    boxes: list[tuple[float, float, float, float]] = []
    models.set_frame(rgb)
    for parts in (1, 2, 3):
        across, down = 1 / parts, 1 / parts
        for y in np.linspace(down / 2, 1 - down / 2, 2 * parts - 1):
            for x in np.linspace(across / 2, 1 - across / 2, 2 * parts - 1):
                tile = Rect(float(x), float(y), across, down)
                for face in (*models.detect("near", tile), *models.detect("far", tile)):
                    side = face.rect.width * width / MARGIN
                    boxes.append((face.score, face.rect.x * width, face.rect.y * height, side))
    kept: list[tuple[float, float, float]] = []
    for score, x, y, side in sorted(boxes, reverse=True):
        if score >= MIN_SCORE and all(max(abs(x - a), abs(y - b)) > max(side, c) / 2 for a, b, c in kept):
            kept.append((x, y, side))
    return kept


def meshed(finder: Finder, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32] | None:
    """The mesh of the last of these pictures, in its pixels; the ones before let the tracker settle."""
    finder.reset()
    landmarks = None
    for picture in pictures:
        landmarks = finder(np.ascontiguousarray(picture))
    return landmarks


def portraits(folder: Path, which: int) -> list[Portrait]:
    """Every second person of the photographs (which: 0 to be fitted on, 1 to be shown), as a square picture each."""
    scale = np.float32(DRAWN / 384)
    return [
        Portrait(cv2.resize(one.crop, (DRAWN, DRAWN), interpolation=cv2.INTER_AREA), one.landmarks * scale)
        for one in people(folder)[which::2]
    ]
