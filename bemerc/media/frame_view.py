"""What an extractor is shown of a frame: all of it, or a part, which is then all that has to be turned into RGB.

Handing over the whole picture is the obvious way, and for a face that is followed most of that work is thrown away. A sight is
asked for what is needed. Two kinds exist: a clip's frame, which converts what it is asked for (bemerc.media.Picture), and
a picture that is there already. Both give the same pixels.
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
    """A frame (H, W, 3) uint8 RGB that is not there before somebody asks."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def is_decoded(self) -> bool:
        """Whether ``rgb()`` costs nothing any more."""

    def rgb(self) -> Rgb:
        """All of it, contiguous."""

    def part(self, box: Box) -> Rgb:
        """``rgb()[top:bottom, left:right]`` for a box (left, top, right, bottom)."""

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rgb:
        """(R, C, 3), the pixels where these rows and columns cross."""


@dataclass(frozen=True)
class ArrayFrame:
    """A picture (H, W, 3) uint8, contiguous, that is there already."""

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
    """A part of a frame (H, W, 3) uint8 RGB, and where its corner (x, y) lies in the frame."""

    pixels: Rgb
    corner: tuple[int, int]


def as_frame_view(shown: FrameView | Rgb) -> FrameView:
    """A picture as a sight; a sight as it is."""
    return ArrayFrame(shown) if isinstance(shown, np.ndarray) else shown


class Window:
    """A clip's frames as a player shows them in one window, for clips whose size changes on the way: the window is as large as
    the largest frame, and every other fills it as far as its shape allows, in the middle.

    sizes   (T, 2) width and height of each frame
    size    width and height of the window
    share   (T,) by how much a frame is enlarged
    corner  (T, 2) where its upper left corner lies, in pixels of the window
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self.sizes = np.array(sizes, np.int64).reshape(-1, 2)
        largest = self.sizes[self.sizes.prod(axis=1).argmax()] if len(self.sizes) else np.ones(2, np.int64)
        self.size: tuple[int, int] = int(largest[0]), int(largest[1])
        self.share = (largest / self.sizes).min(axis=1)
        self.corner = (largest - self.sizes * self.share[:, None]) / 2

    def map_points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points (T, ..., 2 or more) in fractions of their frames, z in fractions of the width -> of the window."""
        if (self.sizes == self.size).all():
            return points
        laid, across = points.copy(), (-1, *[1] * (points.ndim - 2))
        (width, height), (left, top) = (self.sizes * self.share[:, None]).T, self.corner.T
        laid[..., 0] = (points[..., 0] * width.reshape(across) + left.reshape(across)) / self.size[0]
        laid[..., 1] = (points[..., 1] * height.reshape(across) + top.reshape(across)) / self.size[1]
        laid[..., 2:3] = points[..., 2:3] * width.reshape((*across, 1)) / self.size[0]
        return laid
