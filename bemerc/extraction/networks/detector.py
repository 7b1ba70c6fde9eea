"""Single-shot detectors of MediaPipe's kind: anchors, decoding, weighted non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.regions import WHOLE, Rect, cut, project, square, to_frame
from bemerc.extraction.networks.runtime import Network

_MAX_LOGIT = 80.0  # beyond it float32 overflows


@dataclass(frozen=True)
class DetectorSpec:
    """A detector's file and shape.

    outputs    its tensors' names: boxes with keypoints, scores
    grids      per anchor grid its cells per side and its anchors per cell
    low        the value of a black pixel; white is 1
    overlap    boxes with a greater intersection over union are averaged to one
    """

    name: str
    outputs: tuple[str, str]
    grids: tuple[tuple[int, int], ...]
    low: float
    overlap: float = 0.3


SHORT_RANGE = DetectorSpec("face_detector", ("regressors", "classificators"), ((16, 2), (8, 6)), -1.0)
FULL_RANGE = DetectorSpec("face_detection_full_range_sparse", ("Identity", "Identity_1"), ((48, 1),), -1.0)
BODY = DetectorSpec("pose_detection", ("Identity", "Identity_1"), ((28, 2), (14, 2), (7, 6)), -1.0)
PALM = DetectorSpec("palm_detection_full", ("Identity", "Identity_1"), ((24, 2), (12, 6)), 0.0)


@dataclass(frozen=True)
class Detection:
    """What was detected: box (left, top, right, bottom) and keypoints (K, 2) in pixels of the frame, and the score."""

    box: NDArray[np.float64]
    keypoints: NDArray[np.float64]
    score: float


class Detector:
    """A detector on a region of a frame, its shorter side padded with black."""

    def __init__(self, spec: DetectorSpec, min_score: float) -> None:
        self._spec, self._min_score = spec, min_score
        self._network = Network(spec.name, spec.outputs)
        self._side = self._network.shape[1]
        self._anchors = anchors(spec.grids)

    def __call__(self, rgb: NDArray[np.uint8], region: Rect = WHOLE) -> list[Detection]:
        """Detections in a frame (H, W, 3), best first."""
        size = rgb.shape[1], rgb.shape[0]
        matrix = to_frame(square(region, size), size)
        low = self._spec.low
        raw, logits = self._network.run(cut(rgb, matrix, self._side, black=True), (1 - low) / 255, low)
        scores = np.asarray(1 / (1 + np.exp(-np.clip(logits[0, :, 0], -_MAX_LOGIT, _MAX_LOGIT))), np.float32)
        kept = np.flatnonzero(scores >= self._min_score)
        boxes, keypoints = _decode(raw[0, kept], self._anchors[kept], self._side)
        return [
            _in_frame(detection, matrix) for detection in suppress(boxes, keypoints, scores[kept], self._spec.overlap)
        ]


def anchors(grids: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
    """Centers (A, 2) of the anchors in fractions of the input, row by row of each grid."""
    centers = []
    for cells, per_cell in grids:
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        centers.append(np.repeat((np.column_stack([x, y]) + 0.5) / cells, per_cell, axis=0))
    return np.concatenate(centers).astype(np.float32)


def _decode(
    raw: NDArray[np.float32], centers: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 4 + 2K) in pixels around anchors -> boxes (N, 4) and keypoints (N, K, 2), in fractions of the input."""
    points = raw.reshape(len(raw), raw.shape[1] // 2, 2) / np.float32(side)
    middle, extent = points[:, 0] + centers, points[:, 1]
    return np.hstack([middle - extent / 2, middle + extent / 2]), points[:, 2:] + centers[:, None]


def suppress(
    boxes: NDArray[np.float32], keypoints: NDArray[np.float32], scores: NDArray[np.float32], overlap: float
) -> list[Detection]:
    """Weighted non-maximum suppression (BlazeFace, arXiv:1907.05047): what overlaps the best box is averaged into it by
    score; it keeps the best score."""
    detections = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        similar = _iou(boxes[left[0]], boxes[left]) > overlap
        similar[0] = True
        group = left[similar]
        weights = scores[group].astype(np.float64) / scores[group].sum()
        box, points = weights @ boxes[group], np.tensordot(weights, keypoints[group], 1)
        detections.append(Detection(box, points, float(scores[group[0]])))
        left = left[~similar]
    return detections


def _iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    shared = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = np.prod(np.maximum(shared, 0), axis=1)
    union = np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - intersection
    iou: NDArray[np.float32] = np.where(union > 0, intersection / np.where(union > 0, union, 1), 0)
    return iou


def _in_frame(detection: Detection, matrix: NDArray[np.float64]) -> Detection:
    """From fractions of the region to pixels of the frame; of a turned region the upright box around the turned one."""
    left, top, right, bottom = detection.box
    corners = project(np.array([[left, top], [right, top], [left, bottom], [right, bottom]]), matrix)
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return Detection(box, project(detection.keypoints, matrix), detection.score)
