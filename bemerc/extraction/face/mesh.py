"""Alignment of face meshes: landmarks rotated, moved and scaled onto an average face, so that only shape is left.

Action units, head pose, gaze and quality all start from it. It is a rigid fit in three dimensions to points that
expressions do not move; distances in the image would take a nod for raised brows and a turned head for a smile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Points by which a face is aligned, and their weights: nose bridge, eye corners, the hairline and temples, the nose's
# base; not brows, lids, cheeks, lips and jaw, which expressions move.
_ANCHORS = {
    **dict.fromkeys((168, 6, 197, 195), 2.0),
    **dict.fromkeys((5, 4, 2, 98, 327), 1.0),
    **dict.fromkeys((33, 263), 3.0),
    **dict.fromkeys((133, 362, 127, 356), 2.0),
    **dict.fromkeys((10, 109, 338, 67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 234, 454), 1.0),
    **dict.fromkeys((93, 323), 0.5),
}
ANCHORS = np.array(list(_ANCHORS))
_WEIGHTS = np.array(list(_ANCHORS.values())) / sum(_ANCHORS.values())


@dataclass(frozen=True)
class Aligned:
    """T faces in the average face's frame; NaN where there was none.

    points    (T, 478, 3) x to the image's right, y down, z away from the camera when the head is straight; the origin
              lies between the outer eye corners, whose distance on the average face is 1
    rotation  (T, 3, 3) from the face's frame to the camera's: column j is the face's axis j as the camera sees it
    scale     (T,) pixels per unit, that is the distance of the outer eye corners as seen from the front
    """

    points: Array
    rotation: Array
    scale: Array


@cache
def average_face() -> Array:
    """(478, 3) the average of about 70 people's meshes, made symmetric; see fits/action_units.py."""
    with np.load(str(files("bemerc.extraction.face") / "average_face.npz")) as file:
        return np.asarray(file["points"], np.float64)


def align(landmarks: NDArray[np.float32], target: Array | None = None) -> Aligned:
    """Landmarks (T, 478, 3) in pixels (z on the scale of x), NaN rows where there is no face -> Aligned, onto the
    average face or another (478, 3).

    A similarity (rotation, uniform scale, shift) in three dimensions, least squares over the anchors (Umeyama 1991).
    """
    valid = np.isfinite(landmarks).all(axis=(1, 2))
    points = np.full(landmarks.shape, np.nan)
    rotation = np.full((len(landmarks), 3, 3), np.nan)
    scale = np.full(len(landmarks), np.nan)
    if valid.any():
        points[valid], rotation[valid], scale[valid] = _fit(
            landmarks[valid].astype(np.float64), average_face() if target is None else target
        )
    return Aligned(points, rotation, scale)


def _fit(landmarks: Array, target: Array) -> tuple[Array, Array, Array]:
    middle = _WEIGHTS @ target[ANCHORS]
    centre = np.einsum("n,tnj->tj", _WEIGHTS, landmarks[:, ANCHORS])[:, None]
    source = landmarks[:, ANCHORS] - centre
    covariance = np.einsum("n,tni,nj->tij", _WEIGHTS, source, target[ANCHORS] - middle)
    left, stretch, right = np.linalg.svd(covariance)
    sign = np.ones_like(stretch)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))  # a mirrored face is never the answer
    rotation = (left * sign[:, None]) @ right
    spread = np.einsum("n,tnj,tnj->t", _WEIGHTS, source, source)
    units_per_pixel = (stretch * sign).sum(axis=1) / spread
    points = (landmarks - centre) @ rotation * units_per_pixel[:, None, None] + middle
    return points, rotation, 1 / units_per_pixel
