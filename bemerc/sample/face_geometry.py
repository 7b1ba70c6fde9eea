"""The face of the portrait: measured points, displacement fields of the facial units, and slits for eyes and mouth.

The points were measured by eye on a six-fold enlargement of the portrait, in its pixels (512 x 512, x right, y down),
and not by a face model, so that models that read faces are not tested on their own output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.sample.recipes import UNIT_NAMES

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Point = tuple[float, float]

# ---- points of the portrait ----

LEFT_INNER_BROW, RIGHT_INNER_BROW = (213.0, 90.0), (239.0, 91.5)
LEFT_BROW, RIGHT_BROW = (202.0, 87.0), (250.5, 89.5)
LEFT_OUTER_BROW, RIGHT_OUTER_BROW = (196.0, 88.0), (257.0, 91.0)
LEFT_PUPIL, RIGHT_PUPIL = (203.7, 100.8), (246.7, 103.3)
LEFT_CHEEK, RIGHT_CHEEK = (198.0, 120.0), (251.0, 122.0)
LEFT_ALA, RIGHT_ALA = (213.0, 127.5), (237.0, 128.5)
NOSE_TIP = (225.3, 126.7)
LEFT_CORNER, RIGHT_CORNER = (203.7, 140.3), (243.8, 141.3)
LEFT_UPPER_LIP, RIGHT_UPPER_LIP = (214.0, 139.5), (231.5, 140.0)
UPPER_LIP, LOWER_LIP = (222.5, 140.5), (222.3, 153.0)
CHIN, LEFT_JAW, RIGHT_JAW = (222.3, 170.0), (193.0, 158.0), (252.0, 160.0)
FACE_CENTRE = (224.5, 118.0)
HEAD_CENTRE, HEAD_RADII = (226.0, 108.0), (62.0, 84.0)
NECK = (223.0, 186.0)
LEFT_SHOULDER, RIGHT_SHOULDER = (113.0, 246.0), (312.0, 258.0)
TRUNK = (215.0, 300.0)

PATCH = (164, 58, 292, 202)  # left, top, right, bottom of the face patch
FINE = 2  # the patch and the canvas are kept at this many times the portrait's size
VIEW_CENTRE, VIEW_SIZE = (215.0, 160.0), 300.0  # what the camera shows at rest

# ---- fields: what moves where, at full intensity, in portrait pixels ------------------------------------------------


@dataclass(frozen=True)
class Push:
    """A displacement field: the pixel that ends up at ``point`` has moved by ``by`` pixels, its surroundings less and
    less.

    The weight is Gaussian with ``width``. With ``rise`` and ``reach`` the vertical profile is another: Gaussian with
    ``rise`` upwards, and ending altogether ``reach`` below the point, so that a brow does not take the lid along.
    """

    point: Point
    by: Point
    width: float
    rise: float | None = None
    reach: float | None = None


def both_sides(left: Point, right: Point, outward: float, down: float, width: float) -> tuple[Push, Push]:
    return Push(left, (-outward, down), width), Push(right, (outward, down), width)


def _brows(left: Point, right: Point, outward: float, down: float, width: float, reach: float) -> tuple[Push, Push]:
    ends = (left[0] - outward, left[1] + down), (right[0] + outward, right[1] + down)
    return Push(ends[0], (-outward, down), width, 8.0, reach), Push(ends[1], (outward, down), width, 8.0, reach)


# Facial units by their usual names. AU05, AU07 and AU45 have no field: the lids are slits (see eyelids).
UNITS: dict[str, tuple[Push, ...]] = {
    "AU01": _brows(LEFT_INNER_BROW, RIGHT_INNER_BROW, 0.0, -8.5, 8.0, 18.0),
    "AU02": _brows(LEFT_OUTER_BROW, RIGHT_OUTER_BROW, 0.0, -8.5, 10.0, 17.0),
    "AU04": _brows(LEFT_INNER_BROW, RIGHT_INNER_BROW, -3.0, 5.0, 10.0, 12.0)
    + _brows(LEFT_BROW, RIGHT_BROW, -1.0, 3.4, 9.0, 10.0),
    "AU05": (),
    "AU06": both_sides(LEFT_CHEEK, RIGHT_CHEEK, 0.5, -7.0, 10.0),
    "AU07": (),
    "AU09": (*both_sides(LEFT_ALA, RIGHT_ALA, 1.0, -7.5, 7.5), Push(NOSE_TIP, (0.0, -2.5), 7.0)),
    "AU10": both_sides(LEFT_UPPER_LIP, RIGHT_UPPER_LIP, 0.5, -5.5, 6.5),
    "AU12": both_sides(LEFT_CORNER, RIGHT_CORNER, 5.0, -7.0, 9.0),
    "AU15": both_sides(LEFT_CORNER, RIGHT_CORNER, 0.0, 7.5, 9.0),
    "AU17": (Push(CHIN, (0.0, -8.0), 11.0), Push(LOWER_LIP, (0.0, -3.0), 8.0)),
    "AU20": both_sides(LEFT_CORNER, RIGHT_CORNER, 7.0, 1.5, 9.0),
    "AU25": (),
    "AU26": (Push(CHIN, (0.0, 8.0), 14.0), *both_sides((196.0, 167.0), (249.0, 169.0), 0.0, 4.0, 12.0)),
    "AU45": (),
}
assert tuple(UNITS) == UNIT_NAMES, "the recipes and the picture name the same units"

# The portrait smiles; this undoes the smile in every frame.
REST = both_sides(LEFT_CORNER, RIGHT_CORNER, -4.0, 6.5, 9.0) + both_sides(LEFT_CHEEK, RIGHT_CHEEK, 0.0, 2.0, 9.0)


# ---- slits: the two eyes and the mouth -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slit:
    """A lens between two corners. ``upper`` and ``lower``: its edges in the portrait, pixels below the chord at
    mid-width.

    ``above`` and ``below``: how far the skin outside follows when an edge moves.
    """

    left: Point
    right: Point
    upper: float
    lower: float
    above: float
    below: float

    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the face patch, at its fine grid, that can change when this slit moves."""
        top = min(self.left[1], self.right[1]) + self.upper - self.above - SLIT_MARGIN
        bottom = max(self.left[1], self.right[1]) + self.lower + self.below + SLIT_MARGIN
        rows = slice(*(int(FINE * (y - PATCH[1])) for y in (top, bottom)))
        columns = slice(
            *(int(FINE * (x - PATCH[0])) for x in (self.left[0] - SLIT_MARGIN, self.right[0] + SLIT_MARGIN))
        )
        return rows, columns

    def pull(self, x: Array, y: Array, upper: float, lower: float) -> Array:
        """The portrait's rows to sample, so that at (x, y) the edges appear at ``upper`` and ``lower``."""
        u = (x - (self.left[0] + self.right[0]) / 2) / ((self.right[0] - self.left[0]) / 2)
        chord = (self.left[1] + self.right[1]) / 2 + u * ((self.right[1] - self.left[1]) / 2)
        lens = np.maximum(0.0, 1.0 - u * u)
        height = y - chord
        over, under = lens * upper - height, height - lens * lower
        inside = lens * (
            self.upper + (self.lower - self.upper) / max(lower - upper, 1e-3) * (-over / np.maximum(lens, 1e-6))
        )
        outside = height + lens * np.where(
            over > 0,
            (self.upper - upper) * np.maximum(0.0, 1.0 - over / self.above),
            (self.lower - lower) * np.maximum(0.0, 1.0 - under / self.below),
        )
        rows: Array = (chord + np.where((over > 0) | (under > 0) | (lens <= 0), outside, inside)).astype(np.float32)
        return rows


SLIT_MARGIN = 12.0
LEFT_EYE = Slit((192.8, 99.7), (213.0, 103.0), -4.6, 3.2, above=11.0, below=9.0)
RIGHT_EYE = Slit((235.8, 104.7), (258.3, 103.3), -4.8, 3.0, above=11.0, below=9.0)
MOUTH = Slit(LEFT_CORNER, RIGHT_CORNER, 2.4, 8.4, above=12.0, below=18.0)
CLOSED_MOUTH = 4.6  # where the lips meet when shut, pixels below the chord


def eyelids(eye: Slit, unit: Mapping[str, float], openness: float) -> tuple[float, float]:
    upper = eye.upper * openness * (1 + 0.85 * unit["AU05"] - 0.25 * unit["AU07"] - 0.15 * unit["AU04"])
    lower = eye.lower * openness * (1 - 0.6 * unit["AU07"] - 0.25 * unit["AU06"])
    shut = min(1.0, unit["AU45"]) * 0.94
    return upper + shut * (lower - upper), lower


def lips(unit: Mapping[str, float]) -> tuple[float, float]:
    gap = 0.5 + 5.0 * unit["AU25"] + 6.0 * unit["AU26"]
    return CLOSED_MOUTH - 0.3 * gap - 1.5 * unit["AU10"], CLOSED_MOUTH + 0.7 * gap
