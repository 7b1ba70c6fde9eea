"""Rotated regions of a frame, cut out at a network's input size, and points of such a region in the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rect:
    """A region of a frame: center, width and height in fractions of the frame's width and height, and its rotation
    clockwise, in radians."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0


WHOLE = Rect(0.5, 0.5, 1.0, 1.0)


def to_frame(rect: Rect, size: tuple[int, int]) -> NDArray[np.float64]:
    """(2, 3): maps fractions (x, y, 1) of a region to pixels of a frame of ``size`` (width, height)."""
    width, height = size
    across, down = rect.width * width, rect.height * height
    cosine, sine = math.cos(rect.angle), math.sin(rect.angle)
    (a, b), (c, d) = (cosine * across, -sine * down), (sine * across, cosine * down)
    return np.array([[a, b, rect.x * width - (a + b) / 2], [c, d, rect.y * height - (c + d) / 2]])


def square(rect: Rect, size: tuple[int, int]) -> Rect:
    """The square around the middle of a region that holds it all."""
    width, height = size
    side = max(rect.width * width, rect.height * height)
    return replace(rect, width=side / width, height=side / height)


def square_at(x: float, y: float, side: float, angle: float, size: tuple[int, int]) -> Rect:
    """The square around (x, y) with this ``side``, all in pixels of a frame of ``size``."""
    width, height = size
    return Rect(x / width, y / height, side / width, side / height, angle)


def upright(below: NDArray[np.float64], above: NDArray[np.float64]) -> float:
    """The angle, clockwise in [-pi, pi), by which what reaches from one point up to another is turned from upright."""
    right, down = above - below
    angle = math.pi / 2 - math.atan2(-down, right)
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def cut(
    rgb: NDArray[np.uint8],
    matrix: NDArray[np.float64],
    side: int,
    *,
    corner: tuple[int, int] = (0, 0),
    black: bool = False,
) -> NDArray[np.uint8]:
    """The region that ``matrix`` (``to_frame``) maps to, (side, side, 3), bilinear. Outside of the frame it is ``black``
    or repeats the frame's edge.

    ``rgb`` may be a part of the frame that holds the region, with its left upper ``corner`` in the frame: the pixels
    are the same (with OpenCV 5 to one grey level, in a few of 10,000). Pixel i of the result is at i / side of the region,
    as MediaPipe has it.
    """
    import cv2

    (a, b, x), (c, d, y) = matrix.tolist()
    inverse = np.array([[a / side, b / side, x - corner[0]], [c / side, d / side, y - corner[1]], [0, 0, 1]])
    # warpAffine rounds positions along a row, and costs the same.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_CONSTANT if black else cv2.BORDER_REPLICATE
    cut_out: NDArray[np.uint8] = cv2.warpPerspective(rgb, inverse, (side, side), flags=flags, borderMode=border)
    return cut_out


def project(points: NDArray[np.floating[Any]], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (..., 2) in fractions of a region -> pixels of the frame."""
    projected: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return projected
