"""What an extractor is shown of a frame: all of it, or a part, which is then all that has to be turned into RGB.

Handing over the whole picture is the obvious way, and for a face that is followed most of that work is thrown away. A sight is
asked for what is needed. Two kinds exist: a clip's frame, which converts what it is asked for (bemerc.media.Picture), and
a picture that is there already. Both give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Box = tuple[int, int, int, int]


class Sight(Protocol):
    """A frame (H, W, 3) uint8 RGB that is not there before somebody asks."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""

    @property
    def is_there(self) -> bool:
        """Whether ``rgb()`` costs nothing any more."""

    def rgb(self) -> Rgb:
        """All of it, contiguous."""

    def part(self, box: Box) -> Rgb:
        """``rgb()[top:bottom, left:right]`` for a box (left, top, right, bottom)."""

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rgb:
        """(R, C, 3), the pixels where these rows and columns cross."""


@dataclass(frozen=True)
class Still:
    """A picture (H, W, 3) uint8, contiguous, that is there already."""

    picture: Rgb

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.shape[1], self.picture.shape[0]

    @property
    def is_there(self) -> bool:
        return True

    def rgb(self) -> Rgb:
        return self.picture

    def part(self, box: Box) -> Rgb:
        left, top, right, bottom = box
        return self.picture[top:bottom, left:right]

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Rgb:
        return np.asarray(self.picture[rows[:, None], columns])


@dataclass(frozen=True)
class Patch:
    """A part of a frame (H, W, 3) uint8 RGB, and where its corner (x, y) lies in the frame."""

    pixels: Rgb
    corner: tuple[int, int]


def sight_of(shown: Sight | Rgb) -> Sight:
    """A picture as a sight; a sight as it is."""
    return Still(shown) if isinstance(shown, np.ndarray) else shown
