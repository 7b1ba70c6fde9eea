"""Views of a video frame from which extractors take pixels, as RGB, whole or in part.

``media.video.CroppedFrame`` converts only the part that is asked for, which saves most of the work while a face is
tracked; ``ArrayFrame`` wraps an array. Both give the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Box = tuple[int, int, int, int]


class FrameView(Protocol):
    """A frame, (H, W, 3) uint8 RGB, that may not have been converted yet."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def is_decoded(self) -> bool:
        """Whether all pixels have been converted, so that ``rgb()`` costs nothing."""

    def rgb(self) -> Rgb:
        """The whole frame, contiguous."""

    def part(self, box: Box) -> Rgb:
        """``rgb()[top:bottom, left:right]`` for a box (left, top, right, bottom)."""

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rgb:
        """(R, C, 3): ``rgb()[rows[:, None], columns]``."""


@dataclass(frozen=True)
class ArrayFrame:
    """A view of a contiguous array (H, W, 3) uint8."""

    picture: Rgb

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def is_decoded(self) -> bool:
        return True

    def rgb(self) -> Rgb:
        return self.picture

    def part(self, box: Box) -> Rgb:
        left, top, right, bottom = box
        return self.picture[top:bottom, left:right]

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rgb:
        return np.asarray(self.picture[rows[:, None], columns])


@dataclass(frozen=True)
class Crop:
    """A part of a frame, (H, W, 3) uint8 RGB, and its upper left ``corner`` (x, y) in the frame."""

    pixels: Rgb
    corner: tuple[int, int]


def as_frame_view(frame: FrameView | Rgb) -> FrameView:
    """Wrap an array; return a view unchanged."""
    return ArrayFrame(frame) if isinstance(frame, np.ndarray) else frame


class Window:
    """One coordinate system for a clip whose frames change size: a window as large as the largest frame, in which the
    others are enlarged and centred, as a player does.

    sizes   (T, 2) width and height of each frame
    size    width and height of the window
    scale   (T,) how much each frame is enlarged
    corner  (T, 2) its upper left corner, in pixels of the window
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        largest = self.sizes[np.argmax(self.sizes.prod(axis=1))] if len(self.sizes) else np.ones(2, np.int64)
        self.size: tuple[int, int] = int(largest[0]), int(largest[1])
        self.scale = (largest / self.sizes).min(axis=1)
        self.corner = (largest - self.sizes * self.scale[:, None]) / 2

    def map_points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points (T, ..., 2 or 3) in fractions of their frames (z: of the width) -> in fractions of the window."""
        if (self.sizes == self.size).all():
            return points
        mapped, per_frame = points.copy(), (-1, *[1] * (points.ndim - 2))
        (width, height), (left, top) = (self.sizes * self.scale[:, None]).T, self.corner.T
        mapped[..., 0] = (points[..., 0] * width.reshape(per_frame) + left.reshape(per_frame)) / self.size[0]
        mapped[..., 1] = (points[..., 1] * height.reshape(per_frame) + top.reshape(per_frame)) / self.size[1]
        mapped[..., 2:3] = points[..., 2:3] * width.reshape((*per_frame, 1)) / self.size[0]
        return mapped
