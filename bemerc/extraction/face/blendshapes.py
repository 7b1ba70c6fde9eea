"""MediaPipe's blendshape scores from the landmarks alone: 52 named movements of a face, each 0 to 1.

MediaPipe's blendshape model needs a file that no wheel contains. It depends only on 146 points of the mesh, so a small
network imitates it: two hidden layers in numpy, fitted by fits/action_units.py to its outputs on about 90,000 landmark
sets. docs/measurements/action_units.md says how closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.mesh import Array, average_face

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

# The points that the model reads, in its order (MediaPipe's face_blendshapes_graph.cc); the irises' ten come last.
_POINTS = """
0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91 93 95 103 105
107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161 162 163 168 172 173 176 178 181
185 191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285 288 291 293 295 296 297 300 308 310 311 312 314
317 318 321 323 324 332 334 336 338 356 361 362 365 373 374 375 377 378 379 380 381 382 384 385 386 387 388 389 390
397 398 400 402 405 409 415 454 466
"""
READ = np.array([*map(int, _POINTS.split()), *range(468, 478)])


def scores(points: Array) -> Array:
    """(T, 478, 2 or 3) landmarks of faces seen from the front, at any place, size and tilt -> (T, 52) in [0, 1].

    No NaN may be among them. Shapes that the model itself never moves (seven, of which four are cheek squints and
    nose sneers) are 0.
    """
    net = network()
    values = (upright(points) - net.mean) / net.spread
    for weights, bias in net.layers[:-1]:
        values = values @ weights.T + bias
        values = values / (1 + np.exp(-values))
    weights, bias = net.layers[-1]
    result = np.zeros((len(points), len(SHAPES)))
    result[:, net.shapes] = 1 / (1 + np.exp(-(values @ weights.T + bias)))
    return result


def upright(points: Array) -> Array:
    """(T, 292) how the 146 points differ from the average face's once place, size and tilt are taken out (a
    similarity in the plane, least squares)."""
    target = average_face()[READ, :2]
    target = target - target.mean(axis=0)
    centered = points[:, READ, :2].astype(np.float64)
    centered = centered - centered.mean(axis=1, keepdims=True)
    squared_size = (centered**2).sum(axis=(1, 2))
    along = (centered * target).sum(axis=(1, 2)) / squared_size
    across = (centered[..., 0] * target[:, 1] - centered[..., 1] * target[:, 0]).sum(axis=1) / squared_size
    x = along[:, None] * centered[..., 0] - across[:, None] * centered[..., 1]
    y = across[:, None] * centered[..., 0] + along[:, None] * centered[..., 1]
    return np.asarray((np.stack([x, y], axis=-1) - target).reshape(len(points), -1))


@dataclass(frozen=True)
class Network:
    """shapes (S,) which of SHAPES it outputs; mean and spread (292,) of its input; layers of (out, in) weights and
    (out,) bias."""

    shapes: NDArray[np.int16]
    mean: Array
    spread: Array
    layers: tuple[tuple[Array, Array], ...]


@cache
def network() -> Network:
    """The bundled network."""
    with np.load(str(files("bemerc.extraction.face") / "action_units.npz")) as file:
        layers = tuple(
            (np.asarray(file[f"net{i}"], np.float64), np.asarray(file[f"net{i + 1}"], np.float64)) for i in (0, 2, 4)
        )
        mean, spread = (np.asarray(file[name], np.float64) for name in ("shape_mean", "shape_spread"))
        return Network(file["shapes"], mean, spread, layers)
