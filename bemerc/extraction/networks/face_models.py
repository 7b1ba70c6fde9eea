"""Face detectors and landmarks for one frame at a time, on LiteRT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.detector import FULL_RANGE, SHORT_RANGE, Detection, Detector
from bemerc.extraction.networks.face import FaceLandmarks
from bemerc.extraction.networks.regions import WHOLE, Rect, square_at
from bemerc.media.frame_view import ArrayFrame, Box, Crop, FrameView, as_frame_view

MARGIN = 1.5  # a face's region is this much larger than its box
# Samples are taken between two pixels; and parts of a frame begin where a converter's stride does (media/).
_MARGIN_PX = 2
_GRID_PX = 32
_EYE_CORNERS = (33, 263)
_SPECS = {"near": SHORT_RANGE, "far": FULL_RANGE}


@dataclass(frozen=True)
class FaceDetection:
    """A detected face: the box that the mesh needs of it, and the detector's score in [0, 1]."""

    rect: Rect
    score: float


class FaceModels:
    """Face detectors and landmarks for one frame at a time: ``set_frame``, then ``detect`` and ``mesh``.

    Nothing carries over from frame to frame: tracking is done by bemerc.extraction.face.detection. ``task`` as in ``Network``.
    """

    def __init__(self, detection_confidence: float, task: Path | None = None) -> None:
        self._detection_confidence = detection_confidence
        self._landmarks = FaceLandmarks(task)
        self._detectors: dict[str, Detector] = {}
        self._view: FrameView = ArrayFrame(np.zeros((1, 1, 3), np.uint8))
        self._box: Box | None = None
        self._region = Crop(self._view.rgb(), (0, 0))

    def set_frame(self, frame: FrameView | NDArray[np.uint8]) -> None:
        """Set the frame (H, W, 3) uint8. Detectors need all of it converted, landmarks only a part."""
        self._view, self._box = as_frame_view(frame), None

    def detect(self, reach: Literal["near", "far"], region: Rect = WHOLE) -> list[FaceDetection]:
        """Faces in a region of the frame, best first. ``near`` is the short-range detector (128 x 128 pixels), ``far``
        the full-range one (192 x 192; it detects smaller faces)."""
        if reach not in self._detectors:
            self._detectors[reach] = Detector(_SPECS[reach], self._detection_confidence)
        faces = self._detectors[reach](self._view.rgb(), region)
        return [FaceDetection(_rect_of(face, self._view.size), face.score) for face in faces]

    def mesh(self, rect: Rect) -> tuple[NDArray[np.float32], float]:
        """As ``FaceLandmarks``, of the face in ``rect``."""
        region = self.crop_around(rect)
        return self._landmarks(region.pixels, rect, self._view.size, region.corner)

    def crop_around(self, rect: Rect) -> Crop:
        """The region that ``mesh`` reads at ``rect``; the same pixels whether or not the whole frame was converted."""
        box = box_around(rect, self._view.size)
        if box is None:
            return Crop(self._view.rgb(), (0, 0))
        if box != self._box:
            self._box, self._region = box, Crop(self._view.part(box), box[:2])
        return self._region


def _rect_of(face: Detection, size: tuple[int, int]) -> Rect:
    """The square that the landmarks need: half as large again as the box, turned with the eyes, as MediaPipe has it."""
    (left, top, right, bottom), (across, down) = face.box, face.keypoints[1] - face.keypoints[0]
    side = MARGIN * max(right - left, bottom - top)
    return square_at((left + right) / 2, (top + bottom) / 2, side, math.atan2(down, across), size)


def rect_around(landmarks: NDArray[np.float32], size: tuple[int, int]) -> Rect:
    """Where to look for a face in the next frame: around its landmarks (478, 3) in fractions of ``size``, as
    MediaPipe's own graph does it."""
    width, height = size
    xy = np.ascontiguousarray(landmarks[:, :2].T)
    (left, top), (right, bottom) = xy.min(axis=1).tolist(), xy.max(axis=1).tolist()
    across, down = (landmarks[_EYE_CORNERS[1], :2] - landmarks[_EYE_CORNERS[0], :2]).tolist()
    side = MARGIN * max((right - left) * width, (bottom - top) * height)
    angle = math.atan2(down * height, across * width)
    return Rect((left + right) / 2, (top + bottom) / 2, side / width, side / height, angle)


def box_around(rect: Rect, size: tuple[int, int]) -> Box | None:
    """The region of a frame of ``size`` that the mesh samples, in pixels, a little larger so that a video's frame can
    be cut there (media.video); None where the rect lies outside of the frame."""
    width, height = size
    across, down = rect.width * width / 2, rect.height * height / 2
    cosine, sine = abs(math.cos(rect.angle)), abs(math.sin(rect.angle))
    half_width, half_height = cosine * across + sine * down + _MARGIN_PX, sine * across + cosine * down + _MARGIN_PX
    left, right = _on_grid(rect.x * width - half_width, rect.x * width + half_width, width)
    top, bottom = _on_grid(rect.y * height - half_height, rect.y * height + half_height, height)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _on_grid(low: float, high: float, length: int) -> tuple[int, int]:
    return max(0, math.floor(low / _GRID_PX) * _GRID_PX), min(length, math.ceil(high / _GRID_PX) * _GRID_PX)
