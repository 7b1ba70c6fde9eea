"""Head pose, gaze and the quality of a frame's face, from the aligned mesh.

Angles are those of the face as seen along the camera's line of sight to it, not of the camera's axis: somebody at the
frame's edge who faces the camera has yaw 0 here and some 15 degrees in OpenFace, which corrects for perspective with
an assumed lens. Without the lens that correction is a guess, so it is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.mesh import Aligned, Array, average_face

POSE_COLUMNS = ("pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg")
GAZE_COLUMNS = ("gaze_x_deg", "gaze_y_deg")

# Iris centre and the two corners of the eye on the image's left, then of the other.
_EYES = ((468, 33, 133), (473, 263, 362))
# An eyeball's radius, about 12 mm, where the outer eye corners are about 88 mm apart.
_EYEBALL = 0.14

# Quality: below the first value of a pair a face counts fully, from the second on not at all.
_TURNED_DEG = (25.0, 75.0)
_SMALL_PX = (32.0, 8.0)  # distance of the outer eye corners in the frame that the mesh saw
_STEP = (0.25, 1.0)  # of the same distance, from one frame to the next


def pose_deg(face: Aligned) -> Array:
    """(T, 3) pitch, yaw, roll in degrees: pitch + nodding down, yaw + turned to the image's right, roll + clockwise
    in the image. NaN where there is no face."""
    forward, across = -face.rotation[:, :, 2], face.rotation[:, :, 0]
    roll = np.arctan2(across[:, 1], across[:, 0])
    cos, sin = np.cos(roll), np.sin(roll)
    # Pitch and yaw are along the tilted head's own axes: a nod stays a nod on somebody who lies on one ear.
    right, down = cos * forward[:, 0] + sin * forward[:, 1], cos * forward[:, 1] - sin * forward[:, 0]
    pitch, yaw = np.arcsin(np.clip(down, -1, 1)), np.arctan2(right, -forward[:, 2])
    return np.asarray(np.degrees(np.stack([pitch, yaw, roll], axis=1)))


def gaze_deg(face: Aligned) -> Array:
    """(T, 2) where the eyes look, in degrees: x + to the image's right, y + down; head pose included.

    The iris centre's way from the middle of the eye's corners, over an eyeball's radius, is the sine of the eye's
    angle in the head (mean of both eyes); the head's rotation then turns it into the camera's frame.
    """
    away = np.clip((_iris_offset(face.points) - _iris_offset(average_face()[None])) / _EYEBALL, -0.95, 0.95)
    depth = np.sqrt(np.clip(1 - (away**2).sum(axis=1), 0.05, None))
    look = np.einsum("tij,tj->ti", face.rotation, np.column_stack([away, -depth]))
    right, down = np.arctan2(look[:, 0], -look[:, 2]), np.arctan2(look[:, 1], -look[:, 2])
    return np.asarray(np.degrees(np.stack([right, down], axis=1)))


def _iris_offset(points: Array) -> Array:
    eyes = [points[:, iris, :2] - (points[:, outer, :2] + points[:, inner, :2]) / 2 for iris, outer, inner in _EYES]
    return np.asarray(np.mean(eyes, axis=0))


def quality(
    face: Aligned, landmarks: NDArray[np.float32], frame_size: tuple[int, int], presence: NDArray[np.float32]
) -> Array:
    """(T,) in [0, 1], NaN where there is no face: how reliable the frame's measurements are.

    The product of five numbers, each 1 when all is well: the mesh model's presence; size (outer eye corners 32 px
    apart or more; nothing at 8); how far the face is turned from the camera (full to 25 degrees, nothing at 75); the
    share of landmarks inside the frame; and steadiness: the step of the face's middle from the nearer neighbour frame
    (full up to a quarter of the eye distance, nothing at a whole one).
    """
    width, height = frame_size
    angle_deg = np.degrees(np.arccos(np.clip(face.rotation[:, 2, 2], -1, 1)))
    inside = ((landmarks[:, :, :2] >= 0) & (landmarks[:, :, :2] <= (width, height))).all(axis=2).mean(axis=1)
    product = (
        presence
        * inside
        * _fade(face.scale, *_SMALL_PX)
        * _fade(angle_deg, *_TURNED_DEG)
        * _fade(_step_size(landmarks, face.scale), *_STEP)
    )
    return np.where(np.isfinite(face.scale), product, np.nan)


def _fade(value: Array, full: float, nothing: float) -> Array:
    return np.asarray(np.clip((value - nothing) / (full - nothing), 0, 1))


def _step_size(landmarks: NDArray[np.float32], scale: Array) -> Array:
    """The smaller of the steps from the previous and to the next frame: a cut affects neither side."""
    middle = landmarks[:, :, :2].mean(axis=1)
    distance = np.linalg.norm(np.diff(middle, axis=0), axis=1) / scale[1:]
    steps = np.stack([np.append(np.nan, distance), np.append(distance, np.nan)])
    return np.asarray(np.nan_to_num(np.fmin(steps[0], steps[1]), nan=0.0))
