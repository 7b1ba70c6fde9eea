"""Action-unit intensities from the aligned mesh: OpenFace's seventeen and AU28, 0 to 5, uncalibrated.

The obvious choice is one distance per unit, lip corner to lip corner for a smile. But a frown lowers what raised brows
lift, and each distance reads its neighbours' work as its own. Here every unit is a weighted sum over all points of
the face, fitted to warped faces whose movements are known so that it answers to its own unit and not to the others,
blended with what MediaPipe's blendshape model says of the same points (bemerc.extraction.face.blendshapes). Each frame stands
alone: nothing is smoothed, so a burst of two frames keeps its height. What a person's resting face adds stays in;
taking it off is calibration, done later. docs/measurements/action_units.md tells per unit how well it is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import blendshapes
from bemerc.extraction.face.mesh import Aligned, Array, align, average_face

UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
Shapes = Callable[[Array], Array]  # aligned points (T, 478, 3), no NaN -> (T, 52)
COLUMNS: tuple[str, ...] = tuple(f"AU{unit:02d}_r" for unit in UNITS)


def from_landmarks(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (T, 478, 3) in pixels -> (T, 18) float32 in [0, 5], NaN rows where there is no face."""
    return intensities(align(landmarks))


def intensities(face: Aligned, shapes: Shapes = blendshapes.scores) -> NDArray[np.float32]:
    """(T, 18) float32 in [0, 5], in the order of COLUMNS; NaN rows where there is no face.

    shapes  who tells the blendshapes: the network, or MediaPipe's own model where the user has it
    """
    found = np.full((len(face.points), len(UNITS)), np.nan, np.float32)
    seen = np.isfinite(face.scale)
    if seen.any():
        found[seen] = _squeezed(linear(face.points[seen], shapes))
    return found


def linear(points: Array, shapes: Shapes = blendshapes.scores) -> Array:
    """Aligned points (T, 478, 3), no NaN -> (T, 18) intensities before they are squeezed into [0, 5]."""
    weights, blend, rest = _fitted()
    moved = (points - average_face())[:, :, :2].reshape(len(points), -1)
    return np.asarray(moved @ weights + shapes(points) @ blend - rest)


def _squeezed(raw: Array) -> Array:
    """Into [0, 5] without corners: a resting face near 0 keeps small movements that a hard floor would cut off."""
    return np.asarray(np.logaddexp(0, raw) - np.logaddexp(0, raw - 5))


@cache
def _fitted() -> tuple[Array, Array, Array]:
    """Weights of the points (956, 18), weights of the 52 shapes (52, 18), and the resting face's sum (18,)."""
    with np.load(str(files("bemerc.extraction.face") / "action_units.npz")) as file:
        points, blend, rest = (np.asarray(file[name], np.float64) for name in ("points", "blend", "rest"))
    return points.reshape(-1, len(UNITS)), blend, rest
