"""MediaPipe's palm detector and full hand model, for two hands followed from frame to frame."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.detector import PALM, Detection, Detector
from bemerc.extraction.networks.regions import Rect, cut, project, square_at, to_frame, upright
from bemerc.extraction.networks.runtime import Network

HAND_POINTS = 21
_HANDS = 2
_PALM_MARGIN, _PALM_SHIFT = 2.6, -0.5
_HAND_MARGIN, _HAND_SHIFT = 2.0, -0.1
_SAME_HAND = 0.5  # boxes of a greater intersection over union are of one hand
# The points that give the next region: wrist, and the lower joints of thumb and fingers.
_PALM_POINTS = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)


class Hands:
    """Palm detector and full hand model, for two hands; frames of one clip in their order, ``reset`` before each clip.

    As in MediaPipe's graph, palms are detected only while fewer than two hands are followed.
    """

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        self._tracking_confidence = tracking_confidence
        self._detector = Detector(PALM, detection_confidence)
        self._network = Network("hand_landmark_full", ("Identity", "Identity_1", "Identity_2"))
        self._side = self._network.shape[1]
        self.reset()

    def reset(self) -> None:
        """Forget every earlier frame."""
        self._rects: list[Rect] = []

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> list[tuple[float, NDArray[np.float32]]]:
        """``rgb`` (H, W, 3), contiguous -> per hand the probability that it is the person's left one, and its points
        (21, 3): x and y in fractions of width and height, z in fractions of the width, zero at the wrist, negative
        towards the camera."""
        del timestamp_s
        size = rgb.shape[1], rgb.shape[0]
        rects = self._rects
        if len(rects) < _HANDS:
            palms = [_rect_of_palm(palm, size) for palm in self._detector(rgb)[:_HANDS]]
            rects = [*rects, *(palm for palm in palms if not any(_iou(palm, rect) > _SAME_HAND for rect in rects))]
        self._rects, hands = [], []
        for rect in rects[:_HANDS]:
            matrix = to_frame(rect, size)
            raw, presence, handedness = self._network.run(cut(rgb, matrix, self._side), 1 / 255)
            if presence.item() < self._tracking_confidence:
                continue
            points = raw.reshape(HAND_POINTS, 3).astype(np.float64) / self._side
            projected = project(points[:, :2], matrix)
            self._rects.append(_rect_of_hand(projected, size))
            landmarks = np.column_stack([projected / size, points[:, 2] * rect.width]).astype(np.float32)
            # The model was trained on mirrored frames of front cameras: its right is the left here.
            hands.append((1 - float(handedness.item()), landmarks))
        return hands


def _rect_of_palm(palm: Detection, size: tuple[int, int]) -> Rect:
    """The square around a hand, from its palm: the wrist below the middle finger's first joint."""
    left, top, right, bottom = palm.box
    angle = upright(palm.keypoints[0], palm.keypoints[2])
    return _moved(
        (left + right) / 2, (top + bottom) / 2, right - left, bottom - top, angle, size, _PALM_SHIFT, _PALM_MARGIN
    )


def _rect_of_hand(points: NDArray[np.float64], size: tuple[int, int]) -> Rect:
    """The square around a hand in the next frame, from its points in pixels."""
    palm = points[list(_PALM_POINTS)]
    knuckles = ((points[5] + points[13]) / 2 + points[9]) / 2
    angle = upright(points[0], knuckles)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    center = (palm.min(axis=0) + palm.max(axis=0)) / 2
    turned = (palm - center) @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    x, y = (low + high) / 2 @ turn + center
    width, height = high - low
    return _moved(x, y, width, height, angle, size, _HAND_SHIFT, _HAND_MARGIN)


def _moved(
    x: float, y: float, width: float, height: float, angle: float, size: tuple[int, int], shift: float, margin: float
) -> Rect:
    """A square around (x, y), moved along its own upright by a ``shift`` of its height and enlarged by ``margin``."""
    x, y = x - math.sin(angle) * height * shift, y + math.cos(angle) * height * shift
    return square_at(x, y, margin * max(width, height), angle, size)


def _iou(a: Rect, b: Rect) -> float:
    across = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    down = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / (a.width * a.height + b.width * b.height - shared)
