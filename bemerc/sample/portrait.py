"""The picture half of the sample: one public-domain portrait, warped into any look, expression and posture.

The obvious choice, a rendered avatar, would need a model to download and is not what a face mesh was trained on. A
photograph bent by smooth displacement fields is, and it needs only scikit-image's copy of NASA's portrait of Eileen
Collins (public domain). The points below were measured by eye on a six-fold enlargement of that picture, in its own
pixels (512 x 512, x right, y down); no face model was asked, so that nothing that reads faces is fed its own ruler.

A frame is made in two passes. First the face, on a patch at twice the portrait's size: the fields of the facial units
add up, and three slits (two eyes, one mouth) open and close by moving their edges. Then the whole picture: the head
turns, nods and tilts on the trunk, the trunk leans, slumps and sways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.sample.recipes import SIDED, UNIT_NAMES

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Point = tuple[float, float]

# ---- what was measured on the portrait ------------------------------------------------------------------------------

LEFT_INNER_BROW, RIGHT_INNER_BROW = (213.0, 90.0), (239.0, 91.5)
LEFT_BROW, RIGHT_BROW = (202.0, 87.0), (250.5, 89.5)
LEFT_OUTER_BROW, RIGHT_OUTER_BROW = (196.0, 88.0), (257.0, 91.0)
LEFT_PUPIL, RIGHT_PUPIL = (203.7, 100.8), (246.7, 103.3)
LEFT_CHEEK, RIGHT_CHEEK = (198.0, 120.0), (251.0, 122.0)
LEFT_ALA, RIGHT_ALA = (213.0, 127.5), (237.0, 128.5)
NOSE_BRIDGE, NOSE_TIP = (225.5, 108.0), (225.3, 126.7)
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
    """A displacement: what comes to lie at ``point`` has moved by ``by`` pixels, its surroundings less and less.

    The weight is Gaussian with ``width``. With ``rise`` and ``reach`` the vertical profile is another: Gaussian with
    ``rise`` upwards, and ending altogether ``reach`` below the point, so that a brow does not take the lid along.
    """

    point: Point
    by: Point
    width: float
    rise: float | None = None
    reach: float | None = None


def _both(left: Point, right: Point, outward: float, down: float, width: float) -> tuple[Push, Push]:
    return Push(left, (-outward, down), width), Push(right, (outward, down), width)


def _brows(left: Point, right: Point, outward: float, down: float, width: float, reach: float) -> tuple[Push, Push]:
    ends = (left[0] - outward, left[1] + down), (right[0] + outward, right[1] + down)
    return Push(ends[0], (-outward, down), width, 8.0, reach), Push(ends[1], (outward, down), width, 8.0, reach)


# Facial units by their usual names. AU05, AU07 and AU45 have no field: the lids are slits (see _lids).
UNITS: dict[str, tuple[Push, ...]] = {
    "AU01": _brows(LEFT_INNER_BROW, RIGHT_INNER_BROW, 0.0, -8.5, 8.0, 18.0),
    "AU02": _brows(LEFT_OUTER_BROW, RIGHT_OUTER_BROW, 0.0, -8.5, 10.0, 17.0),
    "AU04": _brows(LEFT_INNER_BROW, RIGHT_INNER_BROW, -3.0, 5.0, 10.0, 12.0)
    + _brows(LEFT_BROW, RIGHT_BROW, -1.0, 3.4, 9.0, 10.0),
    "AU05": (),
    "AU06": _both(LEFT_CHEEK, RIGHT_CHEEK, 0.5, -7.0, 10.0),
    "AU07": (),
    "AU09": (*_both(LEFT_ALA, RIGHT_ALA, 1.0, -7.5, 7.5), Push(NOSE_TIP, (0.0, -2.5), 7.0)),
    "AU10": _both(LEFT_UPPER_LIP, RIGHT_UPPER_LIP, 0.5, -5.5, 6.5),
    "AU12": _both(LEFT_CORNER, RIGHT_CORNER, 5.0, -7.0, 9.0),
    "AU15": _both(LEFT_CORNER, RIGHT_CORNER, 0.0, 7.5, 9.0),
    "AU17": (Push(CHIN, (0.0, -8.0), 11.0), Push(LOWER_LIP, (0.0, -3.0), 8.0)),
    "AU20": _both(LEFT_CORNER, RIGHT_CORNER, 7.0, 1.5, 9.0),
    "AU25": (),
    "AU26": (Push(CHIN, (0.0, 8.0), 14.0), *_both((196.0, 167.0), (249.0, 169.0), 0.0, 4.0, 12.0)),
    "AU45": (),
}
assert tuple(UNITS) == UNIT_NAMES, "the recipes and the picture name the same units"

# The sitter smiles; this takes the smile back, and is part of every frame.
REST = _both(LEFT_CORNER, RIGHT_CORNER, -4.0, 6.5, 9.0) + _both(LEFT_CHEEK, RIGHT_CHEEK, 0.0, 2.0, 9.0)


# ---- slits: the two eyes and the mouth -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slit:
    """A lens between two corners. ``upper`` and ``lower``: its edges in the portrait, pixels below the chord at mid-width.

    ``above`` and ``below``: how far the skin outside is dragged along when an edge moves.
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
        """Where in the portrait's rows to read, so that at (x, y) the edges appear at ``upper`` and ``lower``."""
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


def _lids(eye: Slit, unit: Mapping[str, float], openness: float) -> tuple[float, float]:
    upper = eye.upper * openness * (1 + 0.85 * unit["AU05"] - 0.25 * unit["AU07"] - 0.15 * unit["AU04"])
    lower = eye.lower * openness * (1 - 0.6 * unit["AU07"] - 0.25 * unit["AU06"])
    shut = min(1.0, unit["AU45"]) * 0.94
    return upper + shut * (lower - upper), lower


def _lips(unit: Mapping[str, float]) -> tuple[float, float]:
    gap = 0.5 + 5.0 * unit["AU25"] + 6.0 * unit["AU26"]
    return CLOSED_MOUTH - 0.3 * gap - 1.5 * unit["AU10"], CLOSED_MOUTH + 0.7 * gap


# ---- looks -----------------------------------------------------------------------------------------------------------

# What makes a face somebody's: each row is one trait, -1 to 1, and the fields that it moves.
TRAITS: dict[str, tuple[Push, ...]] = {
    "brow_height": _both(LEFT_BROW, RIGHT_BROW, 0.0, -2.2, 14.0),
    "brow_slant": _both(LEFT_INNER_BROW, RIGHT_INNER_BROW, 0.0, -1.6, 9.0)
    + _both(LEFT_OUTER_BROW, RIGHT_OUTER_BROW, 0.0, 1.6, 9.0),
    "nose_width": _both(LEFT_ALA, RIGHT_ALA, 2.2, 0.0, 7.0),
    "nose_length": (Push(NOSE_TIP, (0.0, 2.2), 8.0),),
    "mouth_width": _both(LEFT_CORNER, RIGHT_CORNER, 1.5, 0.0, 10.0),
    "mouth_corners": _both(LEFT_CORNER, RIGHT_CORNER, 0.0, -1.2, 9.0),
    "lips": (Push(UPPER_LIP, (0.0, -1.4), 6.0), Push((222.3, 155.0), (0.0, 1.6), 6.0)),
    "chin": (Push((222.3, 178.0), (0.0, 4.0), 14.0),),
    "jaw_width": _both(LEFT_JAW, RIGHT_JAW, 4.0, 0.0, 16.0),
    "cheeks": _both(LEFT_CHEEK, RIGHT_CHEEK, 2.0, 0.0, 14.0),
    "eye_distance": _both(LEFT_PUPIL, RIGHT_PUPIL, 0.8, 0.0, 11.0),
}
TRAIT_NAMES = (*TRAITS, "eye_opening", "head_width", "shoulders", "framing", "warmth", "brightness", "suit")


@dataclass(frozen=True)
class Look:
    """One speaker's face: a value in -1 to 1 for each of TRAIT_NAMES, and whether the picture is mirrored."""

    traits: Mapping[str, float]
    mirror: bool


def looks(count: int, seed: int) -> tuple[Look, ...]:
    """``count`` faces spread evenly over every trait (a Latin hypercube), half of them mirrored."""
    rng = np.random.default_rng([seed, 11])
    levels = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    table = {name: rng.permutation(levels) for name in TRAIT_NAMES}
    mirrored = rng.permutation(count) < count // 2
    return tuple(Look({n: float(table[n][i]) for n in TRAIT_NAMES}, bool(mirrored[i])) for i in range(count))


# ---- the renderer ----------------------------------------------------------------------------------------------------


class Sitter:
    """One look, ready to be drawn: ``draw(unit, body)`` gives a frame (height, width, 3) uint8 RGB."""

    def __init__(self, look: Look, width: int, height: int) -> None:
        self._look = look
        self._openness = 1.0 + 0.12 * look.traits["eye_opening"]
        still = _tinted(portrait(), look)
        self._still = cv2.resize(still, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_CUBIC)
        self._canvas = self._still.copy()
        self._rest, self._fields = _face_fields(look)
        self._view, self._flows = _body_fields(look, width, height)
        self._size = (width, height)
        self._cavity = _cavity()

    def draw(self, unit: Mapping[str, float], body: Mapping[str, float]) -> Image:
        """One frame. ``unit``: UNIT_NAMES, 0 to about 1; ``body``: BODY_NAMES, angles in degrees, the rest in shares."""
        turn = -1.0 if self._look.mirror else 1.0
        held = {name: value * (turn if name in SIDED else 1.0) for name, value in body.items()}
        left, top, right, bottom = (FINE * edge for edge in PATCH)
        self._canvas[top:bottom, left:right] = self._face(unit, held)
        frame: Image = self._stage(held)
        return np.ascontiguousarray(cv2.flip(frame, 1)) if self._look.mirror else frame

    def _face(self, unit: Mapping[str, float], body: Mapping[str, float]) -> Image:
        moved = _mix([*(unit[name] for name in UNIT_NAMES), body["gaze_x"], body["gaze_y"]], self._fields)
        at = self._rest - cv2.resize(moved, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
        for slit, (upper, lower) in (
            (LEFT_EYE, _lids(LEFT_EYE, unit, self._openness)),
            (RIGHT_EYE, _lids(RIGHT_EYE, unit, self._openness)),
            (MOUTH, _lips(unit)),
        ):
            part = at[slit.window()]
            part[..., 1] = slit.pull(part[..., 0], part[..., 1], upper, lower)
        read = FINE * at + (FINE - 1) / 2
        face: Image = cv2.remap(self._still, read[..., 0], read[..., 1], cv2.INTER_LINEAR)
        self._shade_mouth(face, read, unit)
        return face

    def _shade_mouth(self, face: Image, read: Array, unit: Mapping[str, float]) -> None:
        """A wide-open mouth is dark below the teeth; the portrait only has teeth, and stretched teeth look clenched."""
        share = min(1.0, unit["AU26"] * 1.2)
        if share < 0.05:
            return
        window = MOUTH.window()
        dark = cv2.remap(self._cavity, read[window][..., 0], read[window][..., 1], cv2.INTER_LINEAR)[..., None] * share
        face[window] = (face[window] * (1 - dark) + np.array([52, 18, 20], np.float32) * dark).astype(np.uint8)

    def _stage(self, body: Mapping[str, float]) -> Image:
        moved = _mix([body[name] * scale for name, scale in FLOW_SCALES.items()], self._flows)
        flow = cv2.resize(moved, self._size, interpolation=cv2.INTER_LINEAR)
        read = self._view - FINE * flow
        frame: Image = cv2.remap(
            self._canvas, read[..., 0], read[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        return frame


# Body channels that are flows of the whole picture; angles come in degrees, the flows are per radian.
FLOW_SCALES: dict[str, float] = {
    "yaw": np.pi / 180, "pitch": np.pi / 180, "roll": np.pi / 180,
    "head_x": 1.0, "head_y": 1.0, "lean": 1.0, "slump": 1.0, "shrug": 1.0, "tilt": 1.0, "sway": 1.0,
}  # fmt: skip
FLOW_STEP = 4  # flows are smooth: one value per 4 x 4 output pixels


@cache
def portrait() -> Image:
    """The portrait, (512, 512, 3) uint8 RGB. BemercError where scikit-image, which carries it, is missing."""
    try:
        from skimage import data
    except ImportError:
        raise BemercError('The sample is made from scikit-image\'s portrait: pip install "bemerc[sample]".') from None
    return np.ascontiguousarray(data.astronaut())


def _tinted(picture: Image, look: Look) -> Image:
    """Another light and another suit; the hue of skin and hair stays believable."""
    warmth, brightness = look.traits["warmth"], look.traits["brightness"]
    gains = np.array([1 + 0.10 * warmth, 1.0, 1 - 0.14 * warmth]) * (1 - 0.04 + 0.13 * brightness)
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    share = _suit(hsv)[..., None]
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(85 + 85 * look.traits["suit"])) % 180
    hsv[..., 1] = hsv[..., 1] * 0.75
    dressed = picture * (1 - share) + cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * share
    tinted: Image = np.clip(dressed * gains, 0, 255).astype(np.uint8)
    return tinted


def _suit(hsv: Image) -> Array:
    """Which pixels are the orange suit, 0 to 1: red to orange, saturated, below the chin."""
    hue, saturation = hsv[..., 0].astype(np.float32), hsv[..., 1].astype(np.float32)
    colour = np.clip((saturation - 90) / 60, 0, 1) * (np.minimum(hue, 180 - hue) < 16)
    below = np.clip((np.arange(hsv.shape[0], dtype=np.float32)[:, None] - 185) / 10, 0, 1)
    share: Array = cv2.GaussianBlur((colour * below).astype(np.float32), (0, 0), 0.8)
    return share


def _field(pushes: tuple[Push, ...], x: Array, y: Array) -> Array:
    total = np.zeros((*x.shape, 2), np.float32)
    for push in pushes:
        across, below = (x - push.point[0]) / push.width, y - push.point[1]
        weight = np.exp(-(across**2 + (below / (push.rise or push.width)) ** 2) / 2)
        if push.reach is not None:
            weight = np.where(below > 0, np.exp(-(across**2) / 2) * _smooth(below, 0, push.reach), weight)
        total += weight[..., None] * np.array(push.by, np.float32)
    return total


def _face_fields(look: Look) -> tuple[Array, Array]:
    """(rest, fields): rest (2h, 2w, 2), where each fine patch pixel reads in the portrait when nothing moves; fields
    (units + 2, h, w, 2) at the portrait's grid, what each unit and the gaze take off that."""
    left, top, right, bottom = PATCH
    x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    shape = sum((look.traits[name] * _field(pushes, x, y) for name, pushes in TRAITS.items()), np.zeros((*x.shape, 2)))
    # A unit pushes the speaker's own corner of the mouth: its field is taken at where the look has moved that corner to.
    px, py = x - shape[..., 0], y - shape[..., 1]
    gaze = ((Push(LEFT_PUPIL, (1.0, 0.0), 4.5), Push(RIGHT_PUPIL, (1.0, 0.0), 4.5)),
            (Push(LEFT_PUPIL, (0.0, 1.0), 4.5), Push(RIGHT_PUPIL, (0.0, 1.0), 4.5)))  # fmt: skip
    fields = np.stack([_field(pushes, px, py) for pushes in (*UNITS.values(), *gaze)])
    rest = np.stack([px, py], axis=-1) - _field(REST, px, py)
    edge = _window(x.shape)[..., None]
    offset = (np.stack([x, y], axis=-1) - rest) * edge
    fine = cv2.resize(offset.astype(np.float32), None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
    fx = left + (np.arange(FINE * x.shape[1], dtype=np.float32) + 0.5) / FINE - 0.5
    fy = top + (np.arange(FINE * x.shape[0], dtype=np.float32) + 0.5) / FINE - 0.5
    return np.stack(np.meshgrid(fx, fy), axis=-1) - fine, (fields * edge).astype(np.float32)


def _mix(weights: Sequence[float], fields: Array) -> Array:
    """The weighted sum of ``fields``, added in order: a matrix product would depend on the machine's BLAS and threads."""
    total = np.zeros(fields.shape[1:], np.float32)
    for weight, field in zip(weights, fields, strict=True):
        if abs(weight) > 1e-4:
            total += np.float32(weight) * field
    return total


def _window(shape: tuple[int, ...]) -> Array:
    """1 inside, sinking to 0 over the last eight pixels, so that the patch joins the rest of the picture."""
    rows, columns = (np.clip(np.minimum(np.arange(n), n - 1 - np.arange(n)) / 8, 0, 1) for n in shape[:2])
    return np.outer(rows, columns).astype(np.float32)


def _cavity() -> Array:
    """How dark each canvas pixel gets when the mouth is wide open, 0 to 1: the lower part of what is between the lips."""
    x, y = np.meshgrid(*(np.arange(FINE * 512, dtype=np.float32) / FINE,) * 2)
    u = (x - (MOUTH.left[0] + MOUTH.right[0]) / 2) / ((MOUTH.right[0] - MOUTH.left[0]) / 2)
    lens = np.maximum(0.0, 1 - u * u)
    height = y - (MOUTH.left[1] + MOUTH.right[1]) / 2
    inside = (height > lens * (MOUTH.upper + 2.6)) & (height < lens * MOUTH.lower) & (lens > 0.05)
    dark: Array = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0)
    return dark


def _smooth(distance: Array, inner: float, outer: float) -> Array:
    """1 up to ``inner``, 0 from ``outer`` on, a smooth step between."""
    t = np.clip((outer - distance) / (outer - inner), 0, 1)
    step: Array = (t * t * (3 - 2 * t)).astype(np.float32)
    return step


def _body_fields(look: Look, width: int, height: int) -> tuple[Array, Array]:
    """(view, flows): view (height, width, 2), canvas position that each output pixel reads at rest; flows
    (FLOW_SCALES, height / 4, width / 4, 2), portrait pixels that each body channel moves what is seen there."""
    scale = VIEW_SIZE / width * (1 - 0.04 * look.traits["framing"])
    x, y = _grid(width, height, 1, scale)
    shape = sum(
        (look.traits[name] * flow for name, flow in _build(x, y).items()),
        np.zeros((*x.shape, 2), np.float32),
    )
    view = FINE * (np.stack([x, y], axis=-1) - shape) + (FINE - 1) / 2
    coarse_x, coarse_y = _grid(width, height, FLOW_STEP, scale)
    flows = _flows(coarse_x, coarse_y)
    return view.astype(np.float32), np.stack([flows[name] for name in FLOW_SCALES]).astype(np.float32)


def _grid(width: int, height: int, step: int, scale: float) -> tuple[Array, Array]:
    columns = (np.arange(0, width, step) + (step - width) / 2) * scale + VIEW_CENTRE[0]
    rows = (np.arange(0, height, step) + (step - height) / 2) * scale + VIEW_CENTRE[1]
    x, y = np.meshgrid(columns, rows)
    return x.astype(np.float32), y.astype(np.float32)


def _head_distance(x: Array, y: Array) -> Array:
    (cx, cy), (rx, ry) = HEAD_CENTRE, HEAD_RADII
    return np.hypot((x - cx) / rx, (y - cy) / ry).astype(np.float32)


def _build(x: Array, y: Array) -> dict[str, Array]:
    """The looks' traits that reach beyond the face: how wide the head and the shoulders are."""
    head = _smooth(_head_distance(x, y), 0.8, 1.5)
    trunk = 1 - _smooth(y, 190, 240)
    zero = np.zeros_like(x)
    return {
        "head_width": np.stack([0.055 * (x - HEAD_CENTRE[0]) * head, zero], axis=-1),
        "shoulders": np.stack([0.05 * (x - TRUNK[0]) * trunk, zero], axis=-1),
    }


def _flows(x: Array, y: Array) -> dict[str, Array]:
    """How the picture moves per unit of each body channel: a head that is an ellipsoid, a trunk that is a sheet."""
    distance = _head_distance(x, y)
    head = _smooth(distance, 1.0, 1.65)
    body = np.maximum(_smooth(distance, 1.2, 2.2), 1 - _smooth(y, 170, 230))
    bulge = 48 * np.sqrt(np.maximum(0, 1 - ((x - FACE_CENTRE[0]) / 60) ** 2 - ((y - FACE_CENTRE[1]) / 78) ** 2))
    left, right = (
        np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 46.0**2)) for px, py in (LEFT_SHOULDER, RIGHT_SHOULDER)
    )
    raised = (1 - _smooth(y, 150, 215)) * (1 - _smooth(distance, 0.85, 1.25))
    zero, high = np.zeros_like(x), np.clip((330 - y) / 200, 0, 1.4)

    def flow(dx: Array, dy: Array) -> Array:
        return np.stack([dx, dy], axis=-1).astype(np.float32)

    return {
        "yaw": flow(bulge + 12 * head, zero),
        "pitch": flow(zero, bulge + 14 * head),
        "roll": flow(-(y - NECK[1]) * head, (x - NECK[0]) * head),
        "head_x": flow(40 * head, zero),
        "head_y": flow(zero, 40 * head),
        "lean": flow((x - TRUNK[0]) * body * (1 + 0.3 * head), (y - 250) * body + 60 * head),
        "slump": flow(14 * (left - right), 24 * head + 12 * (left + right)),
        "shrug": flow(zero, np.float32(-28) * raised),
        "tilt": flow(zero, 14 * (right - left)),
        "sway": flow(40 * high * body, zero),
    }
