"""Action-unit intensities from the aligned mesh: OpenFace's seventeen and AU28, 0 to 5, uncalibrated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.extract.mesh import Aligned, Array, align, average_face

UNITS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
COLUMNS: tuple[str, ...] = tuple(f"AU{unit:02d}_r" for unit in UNITS)

_SOFT = 0.5


def from_landmarks(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks (T, 478, 3) in pixels -> (T, 18) float32 in [0, 5], NaN rows where there is no face."""
    return intensities(align(landmarks))


def intensities(face: Aligned) -> NDArray[np.float32]:
    """(T, 18) float32 in [0, 5], in the order of COLUMNS."""
    rest = _measures(average_face()[None])
    moved = _measures(face.points)
    raw = np.stack([gain * (moved[name] - rest[name]) for name, gain in _RULES], axis=1)
    soft = np.maximum(raw, 0) + _SOFT * np.log1p(np.exp(-np.abs(raw) / _SOFT))
    return np.asarray(np.minimum(soft, 5.0), np.float32)


# Interim rules: one distance per unit. (measure, intensity per unit of length)
_RULES: tuple[tuple[str, float], ...] = (
    ("inner_brow", 40.0),
    ("outer_brow", 40.0),
    ("frown", 40.0),
    ("lid_up", 60.0),
    ("cheek", 40.0),
    ("lower_lid", 60.0),
    ("nose", 50.0),
    ("upper_lip", 40.0),
    ("smile", 30.0),
    ("dimple", 20.0),
    ("corner_down", 30.0),
    ("chin_up", 30.0),
    ("stretch", 30.0),
    ("thin", 30.0),
    ("part", 25.0),
    ("jaw", 12.0),
    ("suck", 40.0),
    ("blink", 55.0),
)


def _measures(p: Array) -> dict[str, Array]:
    def y(*points: int) -> Array:
        return np.asarray(p[:, points, 1].mean(axis=1))

    def gap(a: int, b: int) -> Array:
        return np.asarray(np.linalg.norm(p[:, a, :2] - p[:, b, :2], axis=1))

    inner, outer = -y(107, 55, 336, 285), -y(70, 46, 63, 53, 300, 276, 293, 283)
    upper_lid, lower_lid = y(159, 158, 160, 386, 385, 387), y(145, 153, 144, 374, 380, 373)
    lips = gap(0, 13) + gap(14, 17)
    corners = y(61, 291)
    return {
        "inner_brow": inner,
        "outer_brow": outer,
        "frown": -inner - gap(55, 285),
        "lid_up": -upper_lid,
        "cheek": -y(50, 280, 205, 425, 118, 347),
        "lower_lid": -lower_lid,
        "nose": -y(48, 278, 64, 294),
        "upper_lip": -y(0, 37, 267),
        "smile": -corners + gap(61, 291) / 2,
        "dimple": gap(61, 291),
        "corner_down": corners - y(13, 14),
        "chin_up": -y(199, 200, 175) - y(17),
        "stretch": gap(61, 291),
        "thin": -lips,
        "part": gap(13, 14),
        "jaw": y(152, 148, 377),
        "suck": -lips,
        "blink": upper_lid - lower_lid,
    }
