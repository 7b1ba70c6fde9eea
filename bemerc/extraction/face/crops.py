"""Two small upright crops of each face: its mouth in grey (24, 24), and its head in color (8, 8, 3).

The mesh sometimes loses a mouth (lips that part over teeth, a small face): its points stand still while the chin goes
down. So the mouth's opening is measured a second time, from the pixels: which part of the difference from the person's
mean crop is what a lower lip and a chin moving down would cause (Lucas and Kanade 1981, with a mouth's movements
instead of the one shift). Head turns and changes of light have terms of their own. The choice of these movements is
ours.

The colors tell one person of a clip from another where the camera changes its position. They are means over a track,
never stored, and of no use beyond the clip: hair, skin, background.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.mesh import average_face
from bemerc.media.frame_view import Crop

Array = NDArray[np.float64]
Grey = NDArray[np.uint8]
Colors = NDArray[np.uint8]
Similarity = tuple[float, float, float, float]

# In the average face's frame: the outer eye corners are 1 apart, the origin between them, y down. Left, top, side.
_MOUTH = (-0.55, 0.35, 1.1)
_HEAD = (-0.85, -0.85, 1.75)
MOUTH_PX = 24
HEAD_PX = 8
_LIPS_Y = 0.757
# The crop is aligned by these points, which no mouth moves: eye corners and the nose.
_ANCHORS = (33, 263, 133, 362, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327)
_SAMPLES, _MAX_STEP_PX = 2, 2.5  # samples per pixel and side; twice as many where they would be farther apart than this
_RIDGE = 1e-3
_MIN_FRAMES = 5
_BLOCK = 1024


def crop_mouth_and_head(crop: Crop, landmarks: NDArray[np.float32]) -> tuple[Grey, Colors]:
    """Landmarks (478, 3) in the frame's pixels -> the face's lower half (24, 24) uint8 in grey, and the head above the
    mouth (8, 8, 3) uint8; both upright and always scaled alike."""
    import cv2

    similarity = _similarity_of(landmarks)
    mouth, head = (_cut(crop, similarity, *area) for area in ((_MOUTH, MOUTH_PX), (_HEAD, HEAD_PX)))
    return np.asarray(cv2.cvtColor(mouth, cv2.COLOR_RGB2GRAY), np.uint8), head


def mouth_opening(mouths: Grey) -> Array:
    """Mouth crops (n, 24, 24) of one person in one shot -> (n,) how far the chin is below its mean position, over the
    distance of the eyes."""
    if len(mouths) < _MIN_FRAMES:
        return np.zeros(len(mouths))
    mean = mouths.mean(axis=0)
    down, across = np.gradient(mean)
    slopes = [(across * x + down * y)[:, _used_columns()].ravel() for x, y in _movement_fields()]
    mean_pixels = mean[:, _used_columns()].ravel()
    basis = np.stack([*slopes, np.ones(len(mean_pixels)), mean_pixels])
    gram = basis @ basis.T
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = -np.linalg.solve(gram, basis)[0] * _MOUTH[2] / MOUTH_PX
    openings = np.empty(len(mouths))
    for start in range(0, len(mouths), _BLOCK):  # a film's worth of crops in floats would be a gigabyte
        grey = mouths[start : start + _BLOCK, :, _used_columns()]
        openings[start : start + len(grey)] = (grey.reshape(len(grey), -1) - mean_pixels) @ weights
    return openings


def color_distance(one: Array, other: Array) -> float:
    """The mean absolute difference of two heads' mean crops, in grey levels."""
    return float(np.abs(one - other).mean())


@cache
def _mouth_grid() -> tuple[Array, Array]:
    """(24, 24) each: x and y of the mouth crop's pixels, y from the lips."""
    left, top, side = _MOUTH
    steps = (np.arange(MOUTH_PX) + 0.5) * side / MOUTH_PX
    x, y = np.meshgrid(left + steps, top + steps)
    return x, y - _LIPS_Y


@cache
def _used_columns() -> slice:
    inside = np.flatnonzero(np.abs(_mouth_grid()[0][0]) < 0.5)
    return slice(int(inside[0]), int(inside[-1]) + 1)


@cache
def _movement_fields() -> tuple[tuple[Array, Array], ...]:
    """Displacement fields, as (x, y) each (24, 24). First the one that is measured, the lower lip and the chin down;
    then the others that explain changes: sideways shift, shift down, corners apart, and a head that turns, nods or
    comes near."""
    x, y = _mouth_grid()
    one, none = np.ones_like(x), np.zeros_like(x)
    opening = np.clip(y / 0.03, 0, 1) * np.exp(-((x / 0.4) ** 2))
    spreading = x * np.exp(-((y / 0.15) ** 2))
    return ((none, opening), (one, none), (none, one), (spreading, none), (x, none), (none, y), (y, none), (none, x))


@cache
def _similarity_solver() -> tuple[NDArray[np.intp], Array]:
    """The anchors, and the (4, 28) matrix that maps their x and y in turn to the similarity from the average face to
    the frame: the least-squares solution is linear in them, and one product takes a fifth of the time of the
    formulas."""
    points = average_face()[list(_ANCHORS), :2]
    (middle_x, middle_y), count = points.mean(axis=0), len(points)
    x, y = (points - points.mean(axis=0)).T
    along, across = np.zeros((2, 2 * count))
    along[::2], along[1::2] = x, y
    across[::2], across[1::2] = -y, x
    scaled = np.stack([along, across]) / (x @ x + y @ y)
    moved = []
    for axis, (one, other) in enumerate(((middle_x, -middle_y), (middle_y, middle_x))):
        mean = np.zeros(2 * count)
        mean[axis::2] = 1 / count
        moved.append(mean - scaled[0] * one - scaled[1] * other)
    return np.array(_ANCHORS), np.stack([*scaled, *moved])


def _similarity_of(landmarks: NDArray[np.float32]) -> Similarity:
    """(a, b, x, y): the average face's point (u, v) is at (a u - b v + x, b u + a v + y) in the frame's pixels."""
    anchors, weights = _similarity_solver()
    a, b, x, y = (weights @ landmarks[anchors, :2].ravel()).tolist()
    return a, b, x, y


def _cut(crop: Crop, similarity: Similarity, area: tuple[float, float, float], px: int) -> Colors:
    """(px, px, 3): means of a few samples each. Outside the crop its border pixels are repeated."""
    import cv2

    left, top, side = area
    a, b, x, y = similarity
    each = _SAMPLES * (1 if math.hypot(a, b) * side / (px * _SAMPLES) <= _MAX_STEP_PX else 2)
    step = side / (px * each)
    u, v = left + step / 2, top + step / 2
    across, down = a * u - b * v + x - crop.corner[0], b * u + a * v + y - crop.corner[1]
    affine = np.array([[a * step, -b * step, across], [b * step, a * step, down]])
    fine = cv2.warpAffine(
        crop.pixels,
        affine,
        (px * each, px * each),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, (px, px), interpolation=cv2.INTER_AREA), np.uint8)
