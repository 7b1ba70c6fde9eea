"""Face detectors and landmarks for one frame at a time, on LiteRT."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.face_models import FaceDetection, box_around
from bemerc.extraction.networks.graph import WHOLE, Rect
from bemerc.extraction.networks.litert.detector import FULL_RANGE, SHORT_RANGE, Detection, Detector
from bemerc.extraction.networks.litert.face import FaceLandmarks
from bemerc.media.frame_view import ArrayFrame, Box, Crop, FrameView, as_frame_view

_MARGIN = 1.5
_SPECS = {"near": SHORT_RANGE, "far": FULL_RANGE}


class FaceModels:
    """Face detectors and landmarks for one frame at a time: ``set_frame``, then ``detect`` and ``mesh``.

    Nothing carries over from frame to frame: tracking is done by bemerc.extraction.face.detection.
    """

    def __init__(self, detection_confidence: float) -> None:
        self._detection_confidence = detection_confidence
        self._landmarks = FaceLandmarks()
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

    def close(self) -> None:
        """Nothing to free: the models are memory of this process."""


def _rect_of(face: Detection, size: tuple[int, int]) -> Rect:
    """The square that the landmarks need: half as large again as the box, turned with the eyes, as MediaPipe has it."""
    (left, top, right, bottom), (across, down) = face.box, face.keypoints[1] - face.keypoints[0]
    width, height = size
    side = _MARGIN * max(right - left, bottom - top)
    middle = (left + right) / 2 / width, (top + bottom) / 2 / height
    return Rect(*middle, side / width, side / height, math.atan2(down, across))
