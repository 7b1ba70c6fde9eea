"""Shot boundary detection: frames in order -> whether a new shot begins, and which earlier shot has the same view.

Consecutive frames are compared as thumbnails of 12 x 16 pixels. At a cut their correlation falls, or their difference
is large against that of the frames before; a pan changes everything too, but as much in every frame. (A threshold on a
histogram's difference, as PySceneDetect has it, takes a person who comes near for a cut and misses cuts within a room.)
Dissolves and fades are not detected.

Films cut back and forth between a few camera positions: a shot that begins as an earlier one ended has the same view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.media.frame_view import FrameView, as_frame_view

Thumbnail = NDArray[np.float32]

_ROWS, _COLUMNS, _SAMPLES = 12, 16, 2
# A cut: the thumbnails correlate less than this; or differ by so many grey levels and correlate less than that.
_CUT_CORRELATION = 0.55
_MIN_CHANGE = 4.0
_LARGE_CHANGE = 18.0
_MIN_SPREAD = 2.0
_CHANGED_CORRELATION = 0.85
_CHANGE_FACTOR = 3.0
_HISTORY = 6
# A shot whose first frame correlates this much with an earlier one's last has the same view; so many views are kept.
_SAME_VIEW = 0.9
_MAX_VIEWS = 12


def thumbnail(frame: FrameView | NDArray[np.uint8]) -> Thumbnail:
    """(H, W, 3) uint8 -> (12, 16, 3) float32, means over a sparse grid of pixels: some 50 us whatever the size."""
    view = as_frame_view(frame)
    width, height = view.size
    rows = (np.arange(_ROWS * _SAMPLES) * height) // (_ROWS * _SAMPLES)
    columns = (np.arange(_COLUMNS * _SAMPLES) * width) // (_COLUMNS * _SAMPLES)
    picked = view.pixels(rows, columns).astype(np.float32)
    pairs = picked[::2] + picked[1::2]
    return np.asarray((pairs[:, ::2] + pairs[:, 1::2]) / np.float32(_SAMPLES * _SAMPLES))


class ShotDetector:
    """Called with the frames of one clip in their order; returns whether a shot begins with this frame.

    shot  number of the current shot, from 0
    view  number of the first shot with the same view
    """

    def __init__(self) -> None:
        self.shot = self.view = 0
        self._previous: Thumbnail | None = None
        self._changes: list[float] = []
        self._views: dict[int, Thumbnail] = {}

    def __call__(self, frame: FrameView | NDArray[np.uint8]) -> bool:
        current, previous = thumbnail(frame), self._previous
        self._previous = current
        if previous is None or not self._is_cut(previous, current):
            return False
        self._views[self.view] = previous
        while len(self._views) > _MAX_VIEWS:
            del self._views[next(iter(self._views))]
        self.shot += 1
        correlations = {view: correlation(last, current) for view, last in self._views.items()}
        view = max(correlations, key=lambda number: correlations[number])
        self.view = view if correlations[view] >= _SAME_VIEW else self.shot
        return True

    def _is_cut(self, previous: Thumbnail, current: Thumbnail) -> bool:
        change = float(np.abs(current - previous).mean())
        median_change = sorted(self._changes)[len(self._changes) // 2] if self._changes else 0.0
        self._changes = [*self._changes[1 - _HISTORY :], change]
        if change < max(_MIN_CHANGE, _CHANGE_FACTOR * median_change):
            return False
        similarity = correlation(previous, current)
        return similarity < _CUT_CORRELATION or (change > _LARGE_CHANGE and similarity < _CHANGED_CORRELATION)


def correlation(previous: Thumbnail, current: Thumbnail) -> float:
    """The correlation of two thumbnails, -1 to 1; 0 where one of them is flat, as a blank frame is."""
    a, b = (picture.reshape(-1, 3) - picture.reshape(-1, 3).mean(axis=0) for picture in (current, previous))
    spreads = float(np.sqrt((a**2).mean())), float(np.sqrt((b**2).mean()))
    return 0.0 if min(spreads) < _MIN_SPREAD else float((a * b).mean()) / (spreads[0] * spreads[1])
