"""MediaPipe's face landmarks with irises, of the FaceLandmarker's models, and their blendshapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks.regions import Rect, cut, to_frame
from bemerc.extraction.networks.runtime import Network

MESH_POINTS = 478
# In the model's own order, left and right being the filmed person's.
_NAMES = """
_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
"""
BLENDSHAPES: tuple[str, ...] = tuple(_NAMES.split())
# The points that the blendshape model reads (mediapipe/tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc).
BLENDSHAPE_POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251,
    263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318,
    321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386,
    387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip


class FaceLandmarks:
    """The landmark model on a region of a frame; ``task`` as in ``Network``."""

    def __init__(self, task: Path | None = None) -> None:
        self._network = Network("face_landmarks_detector", ("Identity", "Identity_1"), task)
        self._side = self._network.shape[1]

    def __call__(
        self, rgb: NDArray[np.uint8], rect: Rect, size: tuple[int, int], corner: tuple[int, int] = (0, 0)
    ) -> tuple[NDArray[np.float32], float]:
        """Landmarks (478, 3) float32 of the face in ``rect`` of a frame of ``size`` (width, height), and the model's
        confidence in [0, 1] that there is one. ``rgb``: the frame, or a part of it, see ``cut``.

        x and y are fractions of width and height; z is in fractions of the width, grows away from the camera and is
        zero near the head's centre.
        """
        matrix = to_frame(rect, size)
        outputs, logit = self._network.run(cut(rgb, matrix, self._side, corner=corner), 1 / 255)
        # One product: after a network has filled the caches, every call of numpy takes three times as long.
        (width, height), side, ((a, b, x), (c, d, y)) = size, self._side, matrix.tolist()
        turn = np.array([[a / width, c / height, 0], [b / width, d / height, 0], [0, 0, rect.width]]) / side
        landmarks = outputs.reshape(MESH_POINTS, 3) @ turn + [x / width, y / height, 0]
        return landmarks.astype(np.float32), float(1 / (1 + np.exp(-logit.item())))


class Blendshapes:
    """The blendshape model: landmarks in, the scores of BLENDSHAPES out; ``task`` as in ``Network``."""

    def __init__(self, task: Path | None = None) -> None:
        self._network = Network("face_blendshapes", ("StatefulPartitionedCall:0",), task)

    def __call__(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(T, 478, 2 or 3) landmarks, no NaN, in pixels or any one unit -> (T, 52) float32 in [0, 1]."""
        chosen = points[:, BLENDSHAPE_POINTS, :2]
        rows = [self._network.run(face)[0] for face in chosen]
        return np.array(rows, np.float32).reshape(len(points), len(BLENDSHAPES))
