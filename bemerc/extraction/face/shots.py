"""Where one shot ends and the next begins, told by the pictures alone.

The obvious choice, a threshold on the difference between two histograms, takes a person who comes near for a cut and
misses the cut between two people in one room. Here two small pictures are compared: after a cut they do not look alike
in any place (their correlation falls), which neither a person who moves nor a light that is switched does to all of
a picture. A pan moves everything, but as much in every frame: a cut is a change that its neighbours do not share.
Dissolves and fades are not found; tracks that jump end all the same.

Films cut to and fro between the same few set-ups of the camera. A shot that begins as an earlier one ended is taken
for the same view, which is how the same people are known again without looking at their faces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.media.frame_view import FrameView, as_frame_view

Small = NDArray[np.float32]

_ROWS, _COLUMNS, _EACH = 12, 16, 2
# A cut: the two pictures have at most this correlation, or differ by so many grey levels and this much less in likeness.
_ALIKE = 0.55
_LEAST_CHANGE = 4.0
_LEVELS = 18.0
_FLAT = 2.0
_RATHER_ALIKE = 0.85
_TIMES = 3.0
_MEMORY = 6
# A shot that begins this much like the end of an earlier one is the same view; so many views are kept in mind.
_SAME_VIEW = 0.9
_VIEWS = 12


def small(shown: FrameView | NDArray[np.uint8]) -> Small:
    """(H, W, 3) uint8 -> (12, 16, 3) float32, means over a sparse grid of pixels: some 50 us whatever the size."""
    sight = as_frame_view(shown)
    width, height = sight.size
    rows = (np.arange(_ROWS * _EACH) * height) // (_ROWS * _EACH)
    columns = (np.arange(_COLUMNS * _EACH) * width) // (_COLUMNS * _EACH)
    picked = sight.pixels(rows, columns).astype(np.float32)
    pairs = picked[::2] + picked[1::2]
    return np.asarray((pairs[:, ::2] + pairs[:, 1::2]) / np.float32(_EACH * _EACH))


class Cuts:
    """Frames of one clip in their order; each call says whether a shot begins with this frame.

    shot  how many shots came before this one
    view  the number of the first shot that was seen from where this one is
    """

    def __init__(self) -> None:
        self.shot = self.view = 0
        self._before: Small | None = None
        self._changes: list[float] = []
        self._views: dict[int, Small] = {}

    def __call__(self, shown: FrameView | NDArray[np.uint8]) -> bool:
        now, before = small(shown), self._before
        self._before = now
        if before is None or not self._is_cut(before, now):
            return False
        self._views[self.view] = before
        while len(self._views) > _VIEWS:
            del self._views[next(iter(self._views))]
        self.shot += 1
        alike = {view: likeness(last, now) for view, last in self._views.items()}
        view = max(alike, key=lambda known: alike[known])
        self.view = view if alike[view] >= _SAME_VIEW else self.shot
        return True

    def _is_cut(self, before: Small, now: Small) -> bool:
        change = float(np.abs(now - before).mean())
        usual = sorted(self._changes)[len(self._changes) // 2] if self._changes else 0.0
        self._changes = [*self._changes[1 - _MEMORY :], change]
        if change < max(_LEAST_CHANGE, _TIMES * usual):
            return False
        alike = likeness(before, now)
        return alike < _ALIKE or (change > _LEVELS and alike < _RATHER_ALIKE)


def likeness(before: Small, now: Small) -> float:
    """The correlation of two pictures, -1 to 1; 0 where one of them is flat, as a blank frame is."""
    a, b = (picture.reshape(-1, 3) - picture.reshape(-1, 3).mean(axis=0) for picture in (now, before))
    spreads = float(np.sqrt((a**2).mean())), float(np.sqrt((b**2).mean()))
    return 0.0 if min(spreads) < _FLAT else float((a * b).mean()) / (spreads[0] * spreads[1])
