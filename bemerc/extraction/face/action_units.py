"""Action-unit intensities from the aligned mesh: OpenFace's seventeen and AU28, 0 to 5, uncalibrated.

Every unit is a weighted sum over all points of the face, fitted by fits/action_units.py to warped faces with given
movements (a new unit is a name in UNITS and a fit), so that it responds to its own unit and not to the others (one distance per unit would: a frown lowers what raised brows lift). It
is blended with MediaPipe's blendshape scores of the same points. Nothing is
smoothed over frames, so a burst of two frames keeps its height. A person's resting face is not subtracted; that is
calibration, done later. docs/measurements/action_units.md has the accuracy per unit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.mesh import Aligned, Array, align, average_face
from bemerc.extraction.networks import Blendshapes

UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
Shapes = Callable[[Array], NDArray[np.float32]]  # aligned points (T, 478, 3), no NaN -> (T, 52)
COLUMNS: tuple[str, ...] = tuple(f"AU{unit:02d}_r" for unit in UNITS)


def from_landmarks(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (T, 478, 3) in pixels -> (T, 18) float32 in [0, 5], NaN rows where there is no face."""
    return intensities(align(landmarks))


def intensities(face: Aligned, shapes: Shapes | None = None) -> NDArray[np.float32]:
    """(T, 18) float32 in [0, 5], in the order of COLUMNS; NaN rows where there is no face.

    shapes  computes the blendshapes; the packaged model where it is None
    """
    units = np.full((len(face.points), len(UNITS)), np.nan, np.float32)
    valid = np.isfinite(face.scale)
    if valid.any():
        units[valid] = _squeezed(linear(face.points[valid], shapes))
    return units


def linear(points: Array, shapes: Shapes | None = None) -> Array:
    """Aligned points (T, 478, 3), no NaN -> (T, 18) intensities before they are squeezed into [0, 5]."""
    weights, blend, rest = fitted()
    moved = (points - average_face())[:, :, :2].reshape(len(points), -1)
    return np.asarray(moved @ weights + (shapes or packaged_shapes())(points) @ blend - rest)


@cache
def packaged_shapes() -> Blendshapes:
    """The packaged blendshape model."""
    return Blendshapes()


def _squeezed(raw: Array) -> Array:
    """Into [0, 5] without corners: a resting face near 0 keeps small movements that a hard floor would cut off."""
    return np.asarray(np.logaddexp(0, raw) - np.logaddexp(0, raw - 5))


@cache
def fitted() -> tuple[Array, Array, Array]:
    """Weights of the points (956, 18), weights of the 52 shapes (52, 18), and the resting face's sum (18,)."""
    with np.load(str(files("bemerc.extraction.face") / "action_units.npz")) as file:
        points, blend, rest = (np.asarray(file[name], np.float64) for name in ("points", "blend", "rest"))
    return points.reshape(-1, len(UNITS)), blend, rest
