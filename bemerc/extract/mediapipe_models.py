"""The only module that touches mediapipe: its bundled face mesh and body pose, frame in, numpy array out.

mediapipe 0.10.21 is the last release whose wheel carries its models; from 0.10.30 on there is only the Tasks API with
files that the user downloads. Keeping both graphs behind two small classes makes that move one file. Unlike the
``solutions`` API these classes return arrays (a protobuf is read as bytes at once, six times quicker than point by
point), can be set back to their first state between clips, and keep the graphs' start-up chatter off the terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RELEASE = "0.10.21"
MESH_POINTS = 478
POSE_POINTS = 33


class FaceMesh:
    """The bundled face mesh with irises; frames of one clip in their order, ``reset`` before each clip.

    Between frames the graph follows the face from its last position and runs its detector only when it lost it: that
    is what makes a frame cost 2 ms, and why the state must be put back between clips.
    """

    def __init__(self, max_faces: int, detection_confidence: float, tracking_confidence: float) -> None:
        with _quiet():
            from mediapipe.python.solutions.face_mesh import FaceMesh as Solution

            self._graph: Any = Solution(
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=detection_confidence,
                min_tracking_confidence=tracking_confidence,
            )
            _wait_until_open(self._graph)
        self._chatty = True

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        with _quiet():
            self._graph.reset()
            _wait_until_open(self._graph)
        self._chatty = True

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``rgb`` (H, W, 3) -> (faces, 478, 3) float32: x, y as fractions of width and height, z in fractions of width.

        x grows to the image's right, y down, z away from the camera (zero near the head's centre). (0, 478, 3) where
        the graph saw no face.
        """
        with _quiet() if self._chatty else contextlib.nullcontext():
            faces = self._graph.process(rgb).multi_face_landmarks
        if not faces:
            return np.empty((0, MESH_POINTS, 3), np.float32)
        self._chatty = False
        return np.stack([_coordinates(face, MESH_POINTS) for face in faces])

    def close(self) -> None:
        self._graph.close()


class BodyPose:
    """The bundled full pose model for one person; frames of one clip in their order, ``reset`` before each clip.

    The graph's own smoothing is off: it assumes 30 frames per second, and at 8 per second it lags by half a second.
    """

    def __init__(self, detection_confidence: float, tracking_confidence: float) -> None:
        with _quiet():
            from mediapipe.python.solutions.pose import Pose as Solution

            self._graph: Any = Solution(
                model_complexity=1,
                smooth_landmarks=False,
                min_detection_confidence=detection_confidence,
                min_tracking_confidence=tracking_confidence,
            )
            _wait_until_open(self._graph)
        self._chatty = True

    def reset(self) -> None:
        """Forget every earlier frame; the next clip gets the numbers that a new graph would give (bit-equal)."""
        with _quiet():
            self._graph.reset()
            _wait_until_open(self._graph)
        self._chatty = True

    def __call__(self, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """``rgb`` (H, W, 3) -> keypoints (33, 4) and world keypoints (33, 3), both float32; None where nobody is seen.

        Keypoints are x, y as fractions of width and height, z in fractions of width with the hips at zero and minus
        towards the camera, visibility in [0, 1]. World keypoints are metres from between the hips, same directions.
        """
        with _quiet() if self._chatty else contextlib.nullcontext():
            result = self._graph.process(rgb)
        if result.pose_landmarks is None:
            return None
        self._chatty = False
        keypoints = np.array([(p.x, p.y, p.z, p.visibility) for p in result.pose_landmarks.landmark], np.float32)
        world = np.array([(p.x, p.y, p.z) for p in result.pose_world_landmarks.landmark], np.float32)
        return keypoints, world

    def close(self) -> None:
        self._graph.close()


# A serialised landmark is 0a 0f, then tag and little-endian float for x, y and z: 17 bytes while all three are set.
_RECORD = 17
_FLOATS = np.array([3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15, 16])


def _coordinates(landmarks: Any, points: int) -> NDArray[np.float32]:
    raw = np.frombuffer(landmarks.SerializeToString(), np.uint8)
    if raw.size != points * _RECORD:  # another field is set: slower, and right whatever the message holds
        return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)
    return np.ascontiguousarray(raw.reshape(points, _RECORD)[:, _FLOATS]).view("<f4").astype(np.float32, copy=False)


def _wait_until_open(solution: Any) -> None:
    # The graph opens its models on threads of its own, and what they print must fall inside _quiet.
    solution._graph.wait_until_idle()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send the C++ side's start-up lines to nowhere: no environment variable stops them, and each reset repeats them."""
    sys.stderr.flush()
    kept, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
