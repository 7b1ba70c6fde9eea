"""MediaPipe's blendshape scores from the landmarks alone: 52 named movements of a face, each 0 to 1.

The obvious choice, the Tasks face landmarker, needs a model file that no wheel carries, and runs a mesh of its own on
the picture. Its blendshape model reads nothing but 146 points of that mesh, so a small network can learn it from its
answers to any number of faces: this one is two hidden layers in numpy, fitted by benchmarks/fit_action_units.py to
about 90,000 landmark sets. docs/action_units.md says how closely it follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extract.mesh import Array, average_face

# In the model's own order, left and right being the filmed person's.
_NAMES = """
_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
"""
SHAPES: tuple[str, ...] = tuple(_NAMES.split())


def scores(points: Array) -> Array:
    """(T, 478, 2 or 3) landmarks of faces seen from the front, at any place, size and tilt -> (T, 52) in [0, 1].

    No NaN may be among them. Shapes that the model itself never moves (seven, of which four are cheek squints and
    nose sneers) are 0.
    """
    net = _network()
    values = (upright(points) - net.mean) / net.spread
    for weights, bias in net.layers[:-1]:
        values = values @ weights.T + bias
        values = values / (1 + np.exp(-values))
    weights, bias = net.layers[-1]
    found = np.zeros((len(points), len(SHAPES)))
    found[:, net.shapes] = 1 / (1 + np.exp(-(values @ weights.T + bias)))
    return found


def upright(points: Array) -> Array:
    """(T, 292) how the 146 points differ from the average face's once place, size and tilt are taken out (a
    similarity in the plane, least squares)."""
    read = _network().read
    target = average_face()[read, :2]
    target = target - target.mean(axis=0)
    at = points[:, read, :2].astype(np.float64)
    at = at - at.mean(axis=1, keepdims=True)
    square = (at**2).sum(axis=(1, 2))
    along = (at * target).sum(axis=(1, 2)) / square
    across = (at[..., 0] * target[:, 1] - at[..., 1] * target[:, 0]).sum(axis=1) / square
    x = along[:, None] * at[..., 0] - across[:, None] * at[..., 1]
    y = across[:, None] * at[..., 0] + along[:, None] * at[..., 1]
    return np.asarray((np.stack([x, y], axis=-1) - target).reshape(len(points), -1))


@dataclass(frozen=True)
class _Network:
    """shapes (S,) which of SHAPES it tells; read (146,) the points it reads, in the model's order (MediaPipe's
    face_blendshapes_graph.cc); mean, spread (292,) of its input; layers of (out, in) weights and (out,) bias."""

    shapes: NDArray[np.int16]
    read: NDArray[np.int16]
    mean: Array
    spread: Array
    layers: tuple[tuple[Array, Array], ...]


@cache
def _network() -> _Network:
    with np.load(str(files("bemerc.extract") / "action_units.npz")) as file:
        layers = tuple(
            (np.asarray(file[f"net{i}"], np.float64), np.asarray(file[f"net{i + 1}"], np.float64)) for i in (0, 2, 4)
        )
        mean, spread = (np.asarray(file[name], np.float64) for name in ("shape_mean", "shape_spread"))
        return _Network(file["shapes"], file["read"], mean, spread, layers)
