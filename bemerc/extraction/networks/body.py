"""MediaPipe's full pose model for one person, followed from frame to frame."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.detector import BODY, Detector
from bemerc.extraction.networks.filter import OneEuroFilter
from bemerc.extraction.networks.regions import Rect, cut, project, square_at, to_frame, upright
from bemerc.extraction.networks.runtime import Network

POSE_POINTS = 33
_ROI_POINTS = slice(33, 35)  # the middle of the hips, and a point on the circle around the body
_MARGIN = 5 / 4
_KERNEL = 9  # cells of the heatmap around a point
_MIN_PEAK = 0.5


class BodyPose:
    """The full pose model, for one person; frames of one clip in their order, ``reset`` before each clip.

    The region is followed and smoothed as MediaPipe's graph does it; the smoothing of keypoints is off: at 8 frames per
    second it lags behind gestures by several frames.
    """

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        self._tracking_confidence = tracking_confidence
        self._detector = Detector(BODY, detection_confidence)
        self._network = Network("pose_landmark_full", ("Identity", "Identity_1", "Identity_3"))
        self._side = self._network.shape[1]
        self.reset()

    def reset(self) -> None:
        """Forget every earlier frame."""
        self._roi: Rect | None = None
        self._filter = OneEuroFilter()
        self._time_s = -1e-6

    def __call__(self, rgb: NDArray[np.uint8], timestamp_s: float) -> NDArray[np.float32] | None:
        """``rgb`` (H, W, 3), contiguous -> keypoints (33, 4) float32, or None where no body was detected.

        x and y are fractions of width and height; z is in fractions of the width, zero at the hips, negative towards
        the camera; visibility in [0, 1].
        """
        size = rgb.shape[1], rgb.shape[0]
        if self._roi is None:
            bodies = self._detector(rgb)
            if not bodies:
                return None
            self._roi = _roi_of(bodies[0].keypoints[:2], size)
        matrix = to_frame(self._roi, size)
        raw, presence, heatmap = self._network.run(cut(rgb, matrix, self._side), 1 / 255)
        if presence.item() < self._tracking_confidence:
            self.reset()
            return None
        points = raw.reshape(-1, 5).astype(np.float64)
        points[:, :3] /= self._side
        projected = project(_refined(points[:, :2], heatmap[0]), matrix)
        z, visibility = points[:POSE_POINTS, 2] * self._roi.width, 1 / (1 + np.exp(-points[:POSE_POINTS, 3]))
        self._follow(projected[_ROI_POINTS], timestamp_s, size)
        return np.column_stack([projected[:POSE_POINTS] / size, z, visibility]).astype(np.float32)

    def _follow(self, pair: NDArray[np.float64], timestamp_s: float, size: tuple[int, int]) -> None:
        self._time_s = max(timestamp_s, self._time_s + 1e-6)  # broken files hold times that do not grow
        self._roi = _roi_of(self._filter(pair, self._time_s, 2 * math.dist(*pair)), size)


def _roi_of(pair: NDArray[np.float64], size: tuple[int, int]) -> Rect:
    """The square around a body, upright in it: from the middle of its hips and a point on the circle around it, in
    pixels."""
    (x, y), side = pair[0], _MARGIN * 2 * math.dist(*pair)
    return square_at(x, y, side, upright(*pair), size)


def _refined(points: NDArray[np.float64], heatmap: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points (N, 2) in fractions of the region, moved to the center of the heatmap (H, W, N) around them where it has a
    peak there."""
    height, width = heatmap.shape[:2]
    number, around = np.arange(len(points)), np.arange(_KERNEL) - _KERNEL // 2
    column, row = (points * (width, height)).astype(np.int64).T
    columns, rows = column[:, None] + around, row[:, None] + around
    inside_x, inside_y = (columns >= 0) & (columns < width), (rows >= 0) & (rows < height)
    logits = heatmap[
        rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :], number[:, None, None]
    ]
    weights = (inside_y[:, :, None] & inside_x[:, None, :]) / (1 + np.exp(-logits.astype(np.float64)))
    peaked = (weights.max(axis=(1, 2)) >= _MIN_PEAK) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    total = np.where(peaked, weights.sum(axis=(1, 2)), 1)
    centers = np.column_stack([(weights.sum(axis=1) * columns).sum(axis=1), (weights.sum(axis=2) * rows).sum(axis=1)])
    return np.where(peaked[:, None], centers / total[:, None] / (width, height), points)
