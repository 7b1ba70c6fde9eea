"""Two small pictures of each face, cut upright out of the frame: its mouth in grey, and its head in a few colours.

The mesh now and then loses a mouth: lips that part over teeth, a small face, and the gap between its points stands still while
everybody can see the chin go down. So how far a mouth is open is measured a second time, from the picture alone: which
part of the change against the person's mean picture is what a lower lip and a chin that move down would make of it
(Lucas and Kanade 1981, with a mouth's movements for the one shift). It knows neither lips nor teeth, only that
below the mouth things move and above it they do not; a head that turns and light that changes have terms of their own.

The colours tell one person of a clip from another where the camera changes its place. They are means over a track, never stored,
and of no use beyond the clip: hair, skin, what is behind. The choice of these movements is ours.
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
Colours = NDArray[np.uint8]
Laid = tuple[float, float, float, float]

# In the average face's frame: the outer eye corners are 1 apart, the origin between them, y down. Left, top, side.
_MOUTH = (-0.55, 0.35, 1.1)
_HEAD = (-0.85, -0.85, 1.75)
MOUTH_PX = 24
HEAD_PX = 8
_LIPS_Y = 0.757
# By these points, which no mouth moves, the cut is laid: eye corners and the nose.
_ANCHORS = (33, 263, 133, 362, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327)
_EACH, _FINE = 2, 2.5  # samples per pixel and side; twice as many where they would be farther apart than this
_RIDGE = 1e-3
_LEAST = 5
_BLOCK = 1024


def cut_out(shown: Crop, landmarks: NDArray[np.float32]) -> tuple[Grey, Colours]:
    """(24, 24) uint8, the face's lower half, and (8, 8, 3), the head above the mouth; both upright and always as large.
    landmarks (478, 3) in the frame's pixels."""
    import cv2

    laid = _laid(landmarks)
    mouth, head = (_cut(shown, laid, *area) for area in ((_MOUTH, MOUTH_PX), (_HEAD, HEAD_PX)))
    return np.asarray(cv2.cvtColor(mouth, cv2.COLOR_RGB2GRAY), np.uint8), head


def opened(mouths: Grey) -> Array:
    """(n, 24, 24) of one person in one shot -> (n,) how far the chin is below its mean place, over the distance of the eyes."""
    if len(mouths) < _LEAST:
        return np.zeros(len(mouths))
    mean = mouths.mean(axis=0)
    down, across = np.gradient(mean)
    slopes = [(across * x + down * y)[:, _columns()].ravel() for x, y in _movements()]
    usual = mean[:, _columns()].ravel()
    told = np.stack([*slopes, np.ones(len(usual)), usual])
    gram = told @ told.T
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = -np.linalg.solve(gram, told)[0] * _MOUTH[2] / MOUTH_PX
    found = np.empty(len(mouths))
    for start in range(0, len(mouths), _BLOCK):  # a film's worth of pictures in floats would be a gigabyte
        grey = mouths[start : start + _BLOCK, :, _columns()]
        found[start : start + len(grey)] = (grey.reshape(len(grey), -1) - usual) @ weights
    return found


def unlike(one: Array, other: Array) -> float:
    """How different two heads' mean pictures are, in grey levels."""
    return float(np.abs(one - other).mean())


@cache
def _places() -> tuple[Array, Array]:
    """(24, 24) each: x and y of the mouth picture's pixels, y from the lips."""
    left, top, side = _MOUTH
    steps = (np.arange(MOUTH_PX) + 0.5) * side / MOUTH_PX
    x, y = np.meshgrid(left + steps, top + steps)
    return x, y - _LIPS_Y


@cache
def _columns() -> slice:
    inside = np.flatnonzero(np.abs(_places()[0][0]) < 0.5)
    return slice(int(inside[0]), int(inside[-1]) + 1)


@cache
def _movements() -> tuple[tuple[Array, Array], ...]:
    """What may move, as (x, y) each (24, 24): the lower lip and the chin down, which is the one asked for; and besides all of
    it to either side, the corners apart, and what a head that turns, nods or comes near does."""
    x, y = _places()
    one, none = np.ones_like(x), np.zeros_like(x)
    opening = np.clip(y / 0.03, 0, 1) * np.exp(-((x / 0.4) ** 2))
    spreading = x * np.exp(-((y / 0.15) ** 2))
    return ((none, opening), (one, none), (none, one), (spreading, none), (x, none), (none, y), (y, none), (none, x))


@cache
def _layout() -> tuple[NDArray[np.intp], Array]:
    """The anchors, and (4, 28) what makes of their x and y in turn how the average face lies: least squares (turned, scaled, moved)
    is linear in them, and one product takes a fifth of the time of the formulas."""
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


def _laid(landmarks: NDArray[np.float32]) -> Laid:
    """(a, b, x, y): the average face's (u, v) lies at (a u - b v + x, b u + a v + y) in the frame's pixels."""
    anchors, weights = _layout()
    a, b, x, y = (weights @ landmarks[anchors, :2].ravel()).tolist()
    return a, b, x, y


def _cut(shown: Crop, laid: Laid, area: tuple[float, float, float], px: int) -> Colours:
    """(px, px, 3): means of a few samples each. Beyond what is shown its border goes on."""
    import cv2

    left, top, side = area
    a, b, x, y = laid
    each = _EACH * (1 if math.hypot(a, b) * side / (px * _EACH) <= _FINE else 2)
    step = side / (px * each)
    u, v = left + step / 2, top + step / 2
    across, down = a * u - b * v + x - shown.corner[0], b * u + a * v + y - shown.corner[1]
    place = np.array([[a * step, -b * step, across], [b * step, a * step, down]])
    fine = cv2.warpAffine(
        shown.pixels,
        place,
        (px * each, px * each),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.resize(fine, (px, px), interpolation=cv2.INTER_AREA), np.uint8)
