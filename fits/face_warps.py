"""Portraits with known facial movements: one picture and its mesh in, the same person with given action units out.

Used to fit the action-unit head (fits/action_units.py) and to check it. The embedded sample has a warper of its own
(bemerc/sample/portrait.py) that shares no point, size or code with this one: what is fitted here is checked there.
Movements are soft displacements of skin around mesh points, in units of the eye distance; lids and lips, which have
edges, are moved by maps of their own. Sizes are guesses from looking at faces, and vary at random from call to call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import mesh
from bemerc.extraction.face.action_units import UNITS

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Mesh points around which skin is moved: the image's left side, the right side; or in the middle.
SIDES = {
    "inner": ([107, 55, 66, 65], [336, 285, 296, 295]),
    "outer": ([70, 63, 105, 46, 53], [300, 293, 334, 276, 283]),
    "brow": ([105, 66, 107, 52, 65, 55], [334, 296, 336, 282, 295, 285]),
    "cheek": ([118, 50, 101, 117], [347, 280, 330, 346]),
    "wing": ([129, 98, 203], [358, 327, 423]),
    "corner": ([61], [291]),
    "upper": ([37, 40], [267, 270]),
    "lower": ([84, 181], [314, 405]),
}
MIDDLE = {"chin": [200, 199, 18], "jaw": [152, 148, 377, 199], "upper_lip": [0], "lower_lip": [17], "root": [8, 9, 168]}
# Outer corner, inner corner, upper lid's edge, lower lid's edge.
EYES = (
    (33, 133, [246, 161, 160, 159, 158, 157, 173], [7, 163, 144, 145, 153, 154, 155]),
    (362, 263, [398, 384, 385, 386, 387, 388, 466], [382, 381, 380, 374, 373, 390, 249]),
)
UPPER_EDGE = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
LOWER_EDGE = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
# unit -> (where, outward, down, width, height of the patch that moves), at full strength.
MOVES: dict[int, tuple[tuple[str, float, float, float, float], ...]] = {
    1: (("inner", 0, -0.11, 0.12, 0.12),),
    2: (("outer", 0, -0.11, 0.14, 0.14),),
    4: (("brow", -0.04, 0.07, 0.16, 0.16),),
    6: (("cheek", -0.01, -0.07, 0.15, 0.15),),
    9: (("wing", 0.01, -0.07, 0.10, 0.10), ("root", 0, 0.03, 0.12, 0.12)),
    10: (("upper", 0, -0.07, 0.10, 0.10),),
    12: (("corner", 0.09, -0.09, 0.14, 0.14), ("cheek", 0, -0.01, 0.15, 0.15)),
    14: (("corner", 0.05, -0.005, 0.07, 0.07),),
    15: (("corner", 0.01, 0.09, 0.12, 0.12),),
    17: (("chin", 0, -0.08, 0.15, 0.15), ("lower", 0, -0.03, 0.09, 0.09)),
    20: (("corner", 0.11, 0.02, 0.14, 0.14),),
    23: (("upper_lip", 0, 0.03, 0.12, 0.04), ("lower_lip", 0, -0.035, 0.12, 0.04), ("corner", -0.03, 0, 0.07, 0.07)),
    26: (("jaw", 0, 0.20, 0.30, 0.22),),
    28: (("upper_lip", 0, 0.05, 0.16, 0.05), ("lower_lip", 0, -0.06, 0.16, 0.06)),
}
# The face's outline, and rings around it: how many times as far out, how far behind it, how much of a turn they follow.
OVAL = [
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
]
RINGS = ((1.25, 0.075, 1.0), (1.6, 0.175, 0.8), (2.4, 0.2, 0.25), (4.5, 0.2, 0.0))
DARK = (45, 18, 18)  # the inside of a mouth


@dataclass
class Portrait:
    """A picture (H, W, 3) and its mesh (478, 3) in pixels; inside, everything is in a frame whose origin lies between
    the outer eye corners, x along them, 1 their distance."""

    picture: Picture
    landmarks: Floats
    axes: NDArray[np.float64] = field(init=False)
    origin: NDArray[np.float64] = field(init=False)
    unit: float = field(init=False)
    points: NDArray[np.float64] = field(init=False)
    grid: Floats = field(init=False)

    def __post_init__(self) -> None:
        a, b = self.landmarks[33, :2].astype(np.float64), self.landmarks[263, :2].astype(np.float64)
        self.origin, self.unit = (a + b) / 2, float(np.hypot(*(b - a)))
        x, y = (b - a) / self.unit
        self.axes = np.array([[x, y], [-y, x]])
        self.points = (self.landmarks[:, :2] - self.origin) @ self.axes.T / self.unit
        rows, columns = np.mgrid[0 : self.picture.shape[0], 0 : self.picture.shape[1]]
        pixels = np.stack([columns, rows], axis=-1) - self.origin
        self.grid = (pixels @ self.axes.T / self.unit).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """How a face is drawn: jitter (0 to 1) of the movements' places and sizes; identity, the seed of a random change of
    the head's shape (0 none); turn in degrees, yaw to the image's right and pitch down; soft lids, drawn as skin."""

    jitter: float = 1.0
    identity: int = 0
    yaw: float = 0.0
    pitch: float = 0.0
    soft_lids: bool = False


Patch = tuple[NDArray[np.float64], tuple[float, float], float, float]


def draw(portrait: Portrait, intensities: NDArray[np.float64], look: Look, rng: np.random.Generator) -> Picture:
    """The portrait with these intensities (18,), 0 to 5, in the order of UNITS. rng gives the jitter."""
    strength = dict(zip(UNITS, np.asarray(intensities, np.float64) / 5, strict=True))
    at = _turned(portrait, look.yaw, look.pitch) if look.yaw or look.pitch else portrait.grid
    patches = _patches(portrait, strength, look.jitter, rng)
    if look.soft_lids:
        patches += _soft_lids(portrait, strength, rng)
    at = _before(at, patches)
    size = np.exp(rng.normal(0, 0.15 * look.jitter))
    up, down = 0.025 * strength[25] * size, (0.055 * strength[25] + 0.136 * strength[26]) * size
    mouth = None
    if up or down:
        at, mouth = _open_mouth(portrait, at, up, down)
    if not look.soft_lids:
        wide, tight = (strength[unit] * np.exp(rng.normal(0, 0.15 * look.jitter)) for unit in (5, 7))
        at = _lids(portrait, at, (strength[45], wide, tight), rng.uniform(0.06, 0.12))
    if look.identity:
        at = at - _bumps(at, _other_head(look.identity))
    return _sampled(portrait, at, mouth)


def _sampled(portrait: Portrait, at: Floats, mouth: NDArray[np.bool_] | None) -> Picture:
    pixels = (at @ portrait.axes * portrait.unit + portrait.origin).astype(np.float32)
    drawn = cv2.remap(
        portrait.picture, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if mouth is None or not mouth.any():
        return np.asarray(drawn, np.uint8)
    dark = cv2.GaussianBlur(mouth.astype(np.float32), (0, 0), 0.8)[..., None]
    return np.asarray(drawn * (1 - dark) + dark * np.array(DARK), np.uint8)


# -------------------------------------------------------------------------------------------------------- soft skin


def _patches(portrait: Portrait, strength: dict[int, float], jitter: float, rng: np.random.Generator) -> list[Patch]:
    result: list[Patch] = []
    for unit, moves in MOVES.items():
        for where, outward, down, width, height in moves if strength[unit] else ():
            size = np.exp(rng.normal(0, 0.2 * jitter))
            sides = ((1.0, MIDDLE[where]),) if where in MIDDLE else tuple(zip((-1.0, 1.0), SIDES[where], strict=True))
            for side, points in sides:
                at = portrait.points[points].mean(axis=0) + rng.normal(0, 0.02 * jitter, 2)
                by = strength[unit] * (1 + rng.uniform(-0.2, 0.2) * jitter * (where not in MIDDLE))
                result.append((at, (side * outward * by, down * by), width * size, height * size))
    return result


def _soft_lids(portrait: Portrait, strength: dict[int, float], rng: np.random.Generator) -> list[Patch]:
    result: list[Patch] = []
    for _, _, upper, lower in EYES:
        up, low = portrait.points[upper].mean(axis=0), portrait.points[lower].mean(axis=0)
        height = 0.05 * np.exp(rng.normal(0, 0.2))
        lowered = strength[45] * (low[1] - up[1]) * 0.9 - strength[5] * 0.05 + strength[7] * 0.015
        result.append((up, (0.0, float(lowered)), 0.12, height))
        result.append((low, (0.0, -0.035 * strength[7]), 0.12, height))
    return result


def _other_head(seed: int) -> list[Patch]:
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform((-0.7, -0.4), (0.7, 1.3)), tuple(rng.normal(0, 0.045, 2)), size, size)
        for size in rng.uniform(0.2, 0.5, 8)
    ]


def _bumps(at: Floats, patches: list[Patch]) -> Floats:
    moved = np.zeros_like(at)
    for (x, y), (by_x, by_y), width, height in patches:
        near = np.exp(-((at[..., 0] - x) ** 2 / (2 * width**2) + (at[..., 1] - y) ** 2 / (2 * height**2)))
        moved[..., 0] += near * by_x
        moved[..., 1] += near * by_y
    return moved


def _before(at: Floats, patches: list[Patch]) -> Floats:
    """Where each point was before it moved: three rounds of putting the movement back."""
    was = at
    for _ in range(3 if patches else 0):
        was = at - _bumps(was, patches)
    return was


# ----------------------------------------------------------------------------------------------------- lids and lips


def _edge(x: Floats, points: NDArray[np.float64]) -> Floats:
    order = np.argsort(points[:, 0])
    return np.asarray(np.interp(x, points[order, 0], points[order, 1]), np.float32)


def _lids(portrait: Portrait, at: Floats, strength: tuple[float, float, float], reach: float) -> Floats:
    """Close, widen and tighten the eyes: each lid's edge moves, the skin beyond it stretches over ``reach``."""
    close, wide, tight = strength
    if not (close or wide or tight):
        return at
    was = at.copy()
    for corner, other, upper, lower in EYES:
        up, low = portrait.points[[corner, *upper, other]], portrait.points[[corner, *lower, other]]
        left, right = sorted((portrait.points[corner, 0], portrait.points[other, 0]))
        x, y = at[..., 0], at[..., 1]
        near = (x > left - 0.3 * (right - left)) & (x < right + 0.3 * (right - left))
        near &= (y > min(up[:, 1].min(), low[:, 1].min()) - 0.35) & (y < low[:, 1].max() + 0.3)
        xs, ys = x[near], y[near]
        old_up, old_low = _edge(xs, up), _edge(xs, low)
        gap = np.maximum(old_low - old_up, 0.012)
        old_low = old_up + gap
        across = (xs - (left + right) / 2) / ((right - left) / 2)
        taper = np.clip(1.25 - np.abs(across), 0, 0.25) / 0.25
        bulge = np.clip(1 - across**2, 0, 1)
        new_up = old_up + taper * (close * gap * 0.97 + bulge * (0.015 * tight - 0.055 * wide))
        new_low = old_low - taper * tight * 0.035 * np.clip(1 - 0.7 * across**2, 0, 1)
        new_up = np.minimum(new_up, new_low - 0.004)
        top, bottom = old_up - reach, old_low + 1.2 * reach
        stops = np.stack([top, new_up, new_low, bottom]), np.stack([top, old_up, old_low, bottom])
        was[..., 1][near] = _restretched(ys, *stops)
    return was


def _restretched(y: Floats, new: Floats, old: Floats) -> Floats:
    """Piecewise linear per column: new (4, n) stops back onto old (4, n); outside them nothing moves."""
    out = y.copy()
    for a in range(3):
        inside = (y > new[a]) & (y <= new[a + 1])
        share = (y - new[a]) / np.maximum(new[a + 1] - new[a], 1e-6)
        out = np.where(inside, old[a] + share * (old[a + 1] - old[a]), out)
    return out.astype(np.float32)


def _open_mouth(portrait: Portrait, at: Floats, up: float, down: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Part the lips, the upper by ``up`` and the lower by ``down``; the second answer is where the inside shows."""
    upper, lower = portrait.points[UPPER_EDGE], portrait.points[LOWER_EDGE]
    x, y = at[..., 0], at[..., 1]
    left, right = upper[:, 0].min(), upper[:, 0].max()
    across = (x - (left + right) / 2) / ((right - left) / 2 * 1.02)
    arch = np.sqrt(np.clip(1 - across**2, 0, 1))
    old_up = _edge(x, upper)
    old_low = np.maximum(_edge(x, lower), old_up)
    new_up, new_low = old_up - up * arch, old_low + down * arch
    above, below = y <= new_up, y >= new_low
    fade_up, fade_down = np.exp(-np.maximum(new_up - y, 0) / 0.12), np.exp(-np.maximum(y - new_low, 0) / 0.22)
    between = old_up + (y - new_up) * (old_low - old_up) / np.maximum(new_low - new_up, 1e-4)
    was = at.copy()
    was[..., 1] = np.where(above, y + up * arch * fade_up, np.where(below, y - down * arch * fade_down, between))
    return was, ~above & ~below & (old_low - old_up < 0.03)


# ------------------------------------------------------------------------------------------------------------ turning


def rotation(yaw: float, pitch: float) -> NDArray[np.float64]:
    """Of a head seen by a camera (x right, y down, z away): yaw to the image's right, pitch down, in degrees."""
    y, p = np.radians([yaw, pitch])
    shake = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return np.asarray(shake @ nod)


def _turned(portrait: Portrait, yaw: float, pitch: float) -> Floats:
    """Turn the head in depth: where each pixel of the picture came from. Good up to about 40 degrees.

    The mesh and rings around it are triangles; the nearest triangle over a pixel says where it came from. The head around the face turns along,
    the picture's edge stays where it is.
    """
    flat, solid = _with_rings(portrait)
    along = np.concatenate([np.ones(len(portrait.points)), *(np.full(len(OVAL), along) for _, _, along in RINGS)])
    there = solid + along[:, None] * (solid @ rotation(yaw, pitch).T - solid)
    which = _nearest_triangle(portrait, there)
    shown = which >= 0
    corners = _triangles()[which[shown]]
    first, sides = there[corners[:, 0], :2], there[corners[:, 1:], :2] - there[corners[:, :1], :2]
    determinant = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
    away = portrait.grid[shown] - first
    shares = (
        np.stack(
            [
                away[:, 0] * sides[:, 1, 1] - away[:, 1] * sides[:, 1, 0],
                away[:, 1] * sides[:, 0, 0] - away[:, 0] * sides[:, 0, 1],
            ],
            axis=1,
        )
        / np.where(np.abs(determinant) < 1e-9, 1e-9, determinant)[:, None]
    )
    was = portrait.grid.copy()
    old = flat[corners[:, 1:]] - flat[corners[:, :1]]
    was[shown] = flat[corners[:, 0]] + np.einsum("nk,nki->ni", np.clip(shares, -0.2, 1.2), old)
    return was


def _with_rings(portrait: Portrait) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mesh's points and the rings' in the picture (N, 2), and in depth (N, 3); depth 0 lies at the ears."""
    depth = (portrait.landmarks[:, 2] - portrait.landmarks[[127, 356], 2].mean()) / portrait.unit
    solid = np.column_stack([portrait.points, depth])
    middle, oval = solid[OVAL].mean(axis=0), solid[OVAL]
    rings = [middle + (oval - middle) * out for out, _, _ in RINGS]
    for ring, (_, back, _) in zip(rings, RINGS, strict=True):
        ring[:, 2] = oval[:, 2] + back
    solid = np.concatenate([solid, *rings])
    return solid[:, :2], solid


@cache
def _triangles() -> NDArray[np.intp]:
    """(M, 3) triangles of the average face's points and the rings around it."""
    from scipy.spatial import Delaunay

    face = mesh.average_face()[:, :2]
    middle = face[OVAL].mean(axis=0)
    return np.asarray(
        Delaunay(np.concatenate([face, *(middle + (face[OVAL] - middle) * out for out, _, _ in RINGS)])).simplices
    )


def _nearest_triangle(portrait: Portrait, there: NDArray[np.float64]) -> NDArray[np.int32]:
    """(H, W) the number of the triangle that is seen at each pixel, -1 where there is none."""
    pixels = there[:, :2] @ portrait.axes * portrait.unit + portrait.origin
    corners, which = np.round(pixels * 16).astype(np.int32), np.full(portrait.grid.shape[:2], -1, np.int32)
    for number in np.argsort(-there[_triangles(), 2].mean(axis=1)):  # the nearest is painted last
        cv2.fillConvexPoly(which, corners[_triangles()[number]], int(number), lineType=cv2.LINE_8, shift=4)
    return which
