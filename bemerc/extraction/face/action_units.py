"""Action-unit intensities from the aligned mesh: OpenFace's seventeen and AU28, 0 to 5.

Every unit is a weighted sum over all points of the face, fitted by fits/action_units.py to warped faces with given
movements (a new unit is a name in UNITS and a fit), so that it responds to its own unit and not to the others (one
distance per unit would: a frown lowers what raised brows lift), nor to a turn of the head. It is blended with
MediaPipe's blendshape scores of the same points. Nothing is smoothed over frames, so a burst of two frames keeps its
height. A shut eye does not show how tight its lids are, so AU07 fades as AU45 rises.

0 is the person's own rest, as in OpenFace: what the unit falls below in a fifth of the clip's frames. A smile, lips or a
jaw held through the whole clip are still measured above rest, where they go further than mouths at rest do, and a mouth
that is rounded for most of the clip, since it talks, is not taken for one at rest. Brows and lids that are held are taken for
rest; brows rest as they do in the frames without a smile.
docs/measurements/action_units.md has zero, scale and accuracy per unit.
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
# Per frame what was taken away: where the unit is above the person's rest, that rest (above where people usually rest), elsewhere
# what was measured. Added to AUxx_r it gives what was measured, of AU07 while the eyes are open.
REST_COLUMNS: tuple[str, ...] = tuple(f"rest_AU{unit:02d}" for unit in UNITS)


REST_PERCENTILE = 20
# So many frames of the usual face at rest are added: a clip of one or two frames says little about its person.
USUAL_FRAMES = 3
HIDDEN_DEG = 60.0  # from here on half of the face is out of sight
BLINK, TIGHT, SMILE = UNITS.index(45), UNITS.index(7), UNITS.index(12)
BROWS = [UNITS.index(1), UNITS.index(2)]
SMILING = 2.0  # of AU12: from here on a face smiles, which makes raised brows read lower than they are
# Brows rest by the frames without a smile where these are more than the second part of the clip, by all frames where they
# are less than the first, and in between by both: live, a smile that goes on must not make brows leap.
_CALM_PART = (0.1, 0.3)
SHUT = 1.5  # of AU45: from here on an eye counts as shut
_KNEE = 6.0  # the higher, the sharper the floor at 0


def from_landmarks(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (T, 478, 3) of one clip in pixels -> (T, 18) float32 in [0, 5], NaN rows where there is no face."""
    raw = linear(align(landmarks))
    return intensities(raw, rest(raw)).astype(np.float32)


def linear(face: Aligned, shapes: Shapes | None = None) -> Array:
    """(T, 18) in the order of COLUMNS, how far each frame is above the usual person's rest, of any sign; NaN rows where
    there is no face, or one turned away by more than HIDDEN_DEG.

    shapes  computes the blendshapes; the packaged model where it is None
    """
    weights, blend, usual, _, _ = fitted()
    raw = np.full((len(face.points), len(UNITS)), np.nan)
    visible = face.rotation[:, 2, 2] >= np.cos(np.radians(HIDDEN_DEG))
    if visible.any():
        points = face.points[visible]
        moved = (points - average_face())[:, :, :2].reshape(len(points), -1)
        raw[visible] = moved @ weights + (shapes or packaged_shapes())(points) @ blend - usual
    return raw


def intensities(raw: Array, at_rest: Array) -> Array:
    """``linear`` values (T, 18) -> (T, 18) in [0, 5], above the person's ``rest`` (18,)."""
    units = bounded(raw - at_rest)
    units[:, TIGHT] *= open_eyes(units[:, BLINK])
    return units


def open_eyes(blink: Array) -> Array:
    """AU45's intensities (T,) -> how far the eyes are open, 1 to 0."""
    return np.asarray(1 - np.minimum(blink / SHUT, 1))


def bounded(above: Array) -> Array:
    """Values above rest, of any sign and shape -> in [0, 5], with a soft floor: rest reads near 0, and small movements
    about it are not cut off."""
    softplus = np.maximum(above, 0) + np.log1p(np.exp(-_KNEE * np.abs(above))) / _KNEE
    return np.asarray(np.minimum(softplus, 5))


def rest(raw: Array) -> Array:
    """(18,) where this person rests, from ``linear`` values (T, 18) of one clip; zeros where nothing was measured."""
    measured = raw[np.isfinite(raw).all(axis=1)]
    if not len(measured):
        return np.zeros(len(UNITS))
    weight = len(measured) / (len(measured) + USUAL_FRAMES)
    own = np.clip(np.percentile(measured, REST_PERCENTILE, axis=0) * weight, *fitted()[3:])
    calm = measured[:, SMILE] - own[SMILE] < SMILING
    trust = float(np.clip((calm.mean() - _CALM_PART[0]) / (_CALM_PART[1] - _CALM_PART[0]), 0, 1))
    if trust > 0:
        resting = np.percentile(measured[calm][:, BROWS], REST_PERCENTILE, axis=0) * weight
        own[BROWS] += trust * (resting - own[BROWS])
    return np.asarray(own)


@cache
def packaged_shapes() -> Blendshapes:
    """The packaged blendshape model."""
    return Blendshapes()


@cache
def fitted() -> tuple[Array, Array, Array, Array, Array]:
    """Weights of the points (956, 18), weights of the 52 shapes (52, 18), the usual person's rest (18,), and the least
    and the most that a clip's rest may be, above it (18,) each, infinite for some units."""
    names = ("points", "blend", "rest", "lowest_rest", "highest_rest")
    with np.load(str(files("bemerc.extraction.face") / "action_units.npz")) as file:
        points, blend, usual, lowest, highest = (np.asarray(file[name], np.float64) for name in names)
    return points.reshape(-1, len(UNITS)), blend, usual, lowest, highest
