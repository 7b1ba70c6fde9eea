"""Hands: 21 points each, and readable numbers: open or closed, at the face or not, moving or still.

An option of the pose extractor, at its rate and in its cache. A hand's openness is how straight its fingers are in
three dimensions; the distance of the fingertips from the wrist would take a fist near the camera for an open hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks import HAND_POINTS

Array = NDArray[np.float64]

SIDES = ("left", "right")  # the person's own
DERIVED: tuple[str, ...] = (
    *(f"{side}_hand_{what}" for side in SIDES for what in ("open", "near_face")),
    "hands_movement",
)
COLUMNS: tuple[str, ...] = (
    *(f"{side}_hand_{point:02d}_{axis}" for side in SIDES for point in range(HAND_POINTS) for axis in "xyz"),
    *DERIVED,
)
WRIST, KNUCKLE = 0, 9
# Forefinger to little finger, each from knuckle to tip; the thumb is bent in open hands too.
_FINGERS = np.array([np.arange(first, first + 4) for first in (5, 9, 13, 17)])
_BENT, _STRAIGHT = 0.5, 0.95  # distance of knuckle and tip over the finger's length
# Distance of the nearest point of the hand from the nose, in lengths of the palm (wrist to knuckle): at the face, away.
_AT_FACE, _AWAY = 1.0, 2.5
_JUMP = 1.5  # palm lengths from frame to frame, at most, for a hand to be the same one


def left_and_right(detections: list[tuple[float, NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Hands of one frame, each with its probability of being the left one -> (2, 21, 3): left and right, NaN where
    there is none. Of two hands that both look like one side, the more likely one gets it."""
    hands = np.full((2, HAND_POINTS, 3), np.nan, np.float32)
    ranked = sorted(detections, key=lambda hand: -hand[0])[:2]
    if len(ranked) == 2:
        hands[0], hands[1] = ranked[0][1], ranked[1][1]
    elif ranked:
        hands[0 if ranked[0][0] >= 0.5 else 1] = ranked[0][1]
    return hands


def measure(
    hands: NDArray[np.float32],
    nose: NDArray[np.float32],
    timestamps_s: NDArray[np.float64],
    frame_size: tuple[int, int],
) -> NDArray[np.float32]:
    """hands (T, 2, 21, 3) and nose (T, 2) in fractions of ``frame_size`` (width, height) -> (T, len(COLUMNS)).

    left_hand_open       0 a fist, 1 fingers straight
    left_hand_near_face  1 a point of the hand within a palm's length of the nose, 0 two and a half away or more
    hands_movement       mean speed of both hands' middles since the frame before, in palm lengths per second
    """
    width, height = frame_size
    points = hands.astype(np.float64) * (width, height, width)
    palm = np.linalg.norm(points[:, :, KNUCKLE] - points[:, :, WRIST], axis=-1)
    palm = np.maximum(palm, 1e-6)
    away = np.linalg.norm(points[..., :2] - (nose * (width, height))[:, None, None], axis=-1).min(axis=-1) / palm
    near = np.clip((_AWAY - away) / (_AWAY - _AT_FACE), 0, 1)
    shape = np.stack([_open(points), near], axis=-1).reshape(len(hands), -1)
    moved = _movement(points[..., :2].mean(axis=2), palm, timestamps_s)
    return np.column_stack([hands.reshape(len(hands), -1), shape, moved]).astype(np.float32)


def _open(points: Array) -> Array:
    """(T, 2, 21, 3) -> (T, 2)."""
    joints = points[:, :, _FINGERS]
    length = np.linalg.norm(np.diff(joints, axis=3), axis=-1).sum(axis=-1)
    straight = np.linalg.norm(joints[..., -1, :] - joints[..., 0, :], axis=-1) / np.maximum(length, 1e-6)
    return np.asarray(np.clip((straight.mean(axis=-1) - _BENT) / (_STRAIGHT - _BENT), 0, 1))


def _movement(middles: Array, palm: Array, timestamps_s: NDArray[np.float64]) -> Array:
    """(T, 2, 2) and (T, 2) -> (T,); NaN for the first frame, and for a hand that jumps, since it is not the same
    one."""
    if len(middles) < 2:
        return np.full(len(middles), np.nan)
    steps = np.linalg.norm(np.diff(middles, axis=0), axis=-1) / palm[1:]
    speeds = np.where(steps <= _JUMP, steps, np.nan) / np.diff(timestamps_s)[:, None]
    valid = np.isfinite(speeds).sum(axis=1)
    return np.append(np.nan, np.where(valid > 0, np.nansum(speeds, axis=1) / np.maximum(valid, 1), np.nan))
