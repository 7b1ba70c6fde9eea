"""Render the sample's frames: one public-domain portrait, warped into any look, expression and posture.

A photograph bent by smooth displacement fields suits a face mesh better than a rendered avatar, and needs only
scikit-image's copy of NASA's portrait of Eileen Collins (public domain).

A frame takes two passes. First the face, on a patch at twice the portrait's size: the fields of the facial units add
up, and three slits (two eyes, one mouth) open and close by moving their edges. Then the whole image: the head turns,
nods and tilts on the trunk, the trunk leans, slumps and sways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.sample.face_geometry import (
    FACE_CENTRE,
    FINE,
    HEAD_CENTRE,
    HEAD_RADII,
    LEFT_EYE,
    LEFT_PUPIL,
    LEFT_SHOULDER,
    MOUTH,
    NECK,
    PATCH,
    REST,
    RIGHT_EYE,
    RIGHT_PUPIL,
    RIGHT_SHOULDER,
    TRUNK,
    UNITS,
    VIEW_CENTRE,
    VIEW_SIZE,
    Array,
    Image,
    Push,
    eyelids,
    lips,
)
from bemerc.sample.looks import TRAITS, Look
from bemerc.sample.recipes import SIDED, UNIT_NAMES


class Sitter:
    """Renders one look: ``draw(unit, body)`` returns a frame (height, width, 3) uint8 RGB."""

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
        """One frame. ``unit``: UNIT_NAMES, 0 to about 1; ``body``: BODY_NAMES, angles in degrees, the rest in
        shares."""
        turn = -1.0 if self._look.mirror else 1.0
        sided = {name: value * (turn if name in SIDED else 1.0) for name, value in body.items()}
        left, top, right, bottom = (FINE * edge for edge in PATCH)
        self._canvas[top:bottom, left:right] = self._face(unit, sided)
        frame: Image = self._stage(sided)
        return np.ascontiguousarray(cv2.flip(frame, 1)) if self._look.mirror else frame

    def _face(self, unit: Mapping[str, float], body: Mapping[str, float]) -> Image:
        moved = _mix([*(unit[name] for name in UNIT_NAMES), body["gaze_x"], body["gaze_y"]], self._fields)
        at = self._rest - cv2.resize(moved, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
        for slit, (upper, lower) in (
            (LEFT_EYE, eyelids(LEFT_EYE, unit, self._openness)),
            (RIGHT_EYE, eyelids(RIGHT_EYE, unit, self._openness)),
            (MOUTH, lips(unit)),
        ):
            part = at[slit.window()]
            part[..., 1] = slit.pull(part[..., 0], part[..., 1], upper, lower)
        read = FINE * at + (FINE - 1) / 2
        face: Image = cv2.remap(self._still, read[..., 0], read[..., 1], cv2.INTER_LINEAR)
        self._shade_mouth(face, read, unit)
        return face

    def _shade_mouth(self, face: Image, read: Array, unit: Mapping[str, float]) -> None:
        """Darken a wide-open mouth below the teeth: the portrait has only teeth, and stretched teeth look clenched."""
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


# Body channel -> factor to the unit of its flow: angles are in degrees, their flows per radian.
FLOW_SCALES: dict[str, float] = {
    "yaw": np.pi / 180, "pitch": np.pi / 180, "roll": np.pi / 180,
    "head_x": 1.0, "head_y": 1.0, "lean": 1.0, "slump": 1.0, "shrug": 1.0, "tilt": 1.0, "sway": 1.0,
}  # fmt: skip
FLOW_STEP = 4  # flows are smooth: one value per 4 x 4 output pixels

Floats = NDArray[np.floating[Any]]


@cache
def portrait() -> Image:
    """The portrait, (512, 512, 3) uint8 RGB. BemercError where scikit-image, which carries it, is missing."""
    try:
        from skimage import data
    except ImportError:
        raise BemercError('The sample is made from scikit-image\'s portrait: pip install "bemerc[sample]".') from None
    return np.ascontiguousarray(data.astronaut())


def _tinted(picture: Image, look: Look) -> Image:
    """The portrait in the look's light and suit colour, with plausible skin and hair."""
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
    """Mask of the orange suit, 0 to 1: red to orange, saturated, below the chin."""
    hue, saturation = hsv[..., 0].astype(np.float32), hsv[..., 1].astype(np.float32)
    colour = np.clip((saturation - 90) / 60, 0, 1) * (np.minimum(hue, 180 - hue) < 16)
    below = np.clip((np.arange(hsv.shape[0], dtype=np.float32)[:, None] - 185) / 10, 0, 1)
    share: Array = cv2.GaussianBlur((colour * below).astype(np.float32), (0, 0), 0.8)
    return share


def _field(pushes: tuple[Push, ...], x: Floats, y: Floats) -> Array:
    total = np.zeros((*x.shape, 2), np.float32)
    for push in pushes:
        across, below = (x - push.point[0]) / push.width, y - push.point[1]
        weight = np.exp(-(across**2 + (below / (push.rise or push.width)) ** 2) / 2)
        if push.reach is not None:
            weight = np.where(below > 0, np.exp(-(across**2) / 2) * _smooth(below, 0, push.reach), weight)
        total += weight[..., None] * np.array(push.by, np.float32)
    return total


def _face_fields(look: Look) -> tuple[Array, Array]:
    """(rest, fields): rest (2h, 2w, 2), the portrait's position that each fine pixel of the patch samples at rest;
    fields (units + 2, h, w, 2) on the portrait's grid, what each unit and the gaze subtract from it."""
    left, top, right, bottom = PATCH
    x, y = np.meshgrid(np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32))
    shape = sum((look.traits[name] * _field(pushes, x, y) for name, pushes in TRAITS.items()), np.zeros((*x.shape, 2)))
    # A unit pushes the speaker's own corner of the mouth: its field is taken at where the look has moved that corner
    # to.
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
    """The weighted sum of ``fields``, added in order: a matrix product would depend on BLAS and its threads."""
    total = np.zeros(fields.shape[1:], np.float32)
    for weight, field in zip(weights, fields, strict=True):
        if abs(weight) > 1e-4:
            total += np.float32(weight) * field
    return total


def _window(shape: tuple[int, ...]) -> Array:
    """Weights of the patch: 1 inside, falling to 0 over the last eight pixels."""
    rows, columns = (np.clip(np.minimum(np.arange(n), n - 1 - np.arange(n)) / 8, 0, 1) for n in shape[:2])
    return np.outer(rows, columns).astype(np.float32)


def _cavity() -> Array:
    """Darkness of each canvas pixel in a wide-open mouth, 0 to 1: the lower part between the lips."""
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
    """(view, flows): view (height, width, 2), the canvas position that each output pixel samples at rest; flows
    (FLOW_SCALES, height / 4, width / 4, 2), the displacement by each body channel in portrait pixels."""
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
    distance: Array = np.hypot((x - cx) / rx, (y - cy) / ry).astype(np.float32)
    return distance


def _build(x: Array, y: Array) -> dict[str, Array]:
    """Displacements of the traits beyond the face: width of the head and of the shoulders."""
    head = _smooth(_head_distance(x, y), 0.8, 1.5)
    trunk = 1 - _smooth(y, 190, 240)
    zero = np.zeros_like(x)
    return {
        "head_width": np.stack([0.055 * (x - HEAD_CENTRE[0]) * head, zero], axis=-1),
        "shoulders": np.stack([0.05 * (x - TRUNK[0]) * trunk, zero], axis=-1),
    }


def _flows(x: Array, y: Array) -> dict[str, Array]:
    """Displacement of the image per unit of each body channel: the head as an ellipsoid, the trunk as a sheet."""
    distance = _head_distance(x, y)
    head = _smooth(distance, 1.0, 1.65)
    body = np.maximum(_smooth(distance, 1.2, 2.2), 1 - _smooth(y, 170, 230))
    bulge = 48 * np.sqrt(np.maximum(0, 1 - ((x - FACE_CENTRE[0]) / 60) ** 2 - ((y - FACE_CENTRE[1]) / 78) ** 2))
    left, right = (
        np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 46.0**2)) for px, py in (LEFT_SHOULDER, RIGHT_SHOULDER)
    )
    raised = (1 - _smooth(y, 150, 215)) * (1 - _smooth(distance, 0.85, 1.25))
    zero, high = np.zeros_like(x), np.clip((330 - y) / 200, 0, 1.4)

    def flow(dx: Floats, dy: Floats) -> Array:
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
