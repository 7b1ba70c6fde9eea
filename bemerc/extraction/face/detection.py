"""The faces of each frame, followed: detectors where somebody may have come, the mesh where somebody was.

MediaPipe's graph runs its short-range detector on every frame in which it follows fewer faces than it may, which
for four faces and one person in view costs half as much again as the mesh, and it never finds a small face. Here the
mesh follows each face from its last place, and detectors are asked when there is a reason: at the beginning of a shot,
while nobody is in sight or somebody was just lost, and for who is there besides: twice a second in the whole picture, and
every four seconds in its halves, where who sits farther back is large enough. They are asked in the order of their cost: the
short-range detector (1 ms), the full-range one (2 ms), and the full-range one on overlapping parts of the picture, in
which a face of 20 to 30 pixels is large enough. Where somebody was just lost one looks closely at that place first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.crops import Colours, Grey, cut_out
from bemerc.extraction.face.shots import Cuts
from bemerc.extraction.face.tracking import Track, Tracks, same
from bemerc.extraction.networks import WHOLE, FaceModels, Rect, rect_around
from bemerc.media.frame_view import FrameView, as_frame_view

# How often one looks: for more faces while somebody is in sight, at the whole picture and at its halves; and while nobody
# is, at the whole picture and at parts of it, which are a half and a third of its longer side and overlap by a third of theirs.
_MORE_S = 0.5
_BESIDE_S = 4.0
_WIDE_S = 0.12
_PARTS = ((1 / 2, 0.6), (1 / 3, 2.0))
_STEP = 1 / 3
_LEAST_PART_PX = 200  # below that a face large enough for the mesh is found in larger parts as well
# What a wide or close look finds is looked at once more: the short-range detector sees a part this many times as large,
# and must be this sure. Small real faces reach .87 (19 in 20), lettering and clouds at most .70.
_AROUND = 2.5
_SURE = 0.75
_NO_PICTURES = np.zeros((0, 0), np.uint8), np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Seen:
    """A face in a frame: its track's number, landmarks (478, 3) float32 in pixels (z on the scale of x), the mesh's
    belief in it, and the small pictures of its mouth and its head (see cut_out), which are empty where one face is followed
    and nobody has to choose."""

    track: int
    landmarks: NDArray[np.float32]
    presence: float
    mouth: Grey
    head: Colours


class FaceFinder:
    """``reset()``, then the frames of one clip in their order; each gives who is seen in it, by track number.

    ``shot`` and ``view`` are those of the frame (see Cuts). Where ``most`` is 1 the first face that is found is followed until it is lost.
    """

    def __init__(self, most: int, detection_confidence: float, tracking_confidence: float) -> None:
        self._most, self._least = most, tracking_confidence
        self._models = FaceModels(detection_confidence)
        self.reset()

    def reset(self) -> None:
        """Forget every earlier frame: the same clip gives the same numbers whatever came before it."""
        self._tracks, self._cuts = Tracks(self._most), Cuts()
        self._looked: dict[str, float] = {}
        self._turn = 0

    @property
    def shot(self) -> int:
        return self._cuts.shot

    @property
    def view(self) -> int:
        return self._cuts.view

    def __call__(self, shown: FrameView | NDArray[np.uint8], now_s: float) -> list[Seen]:
        """One frame (H, W, 3) uint8, or the sight of one; who is seen in it, by growing track number."""
        sight = as_frame_view(shown)
        self._models.show(sight)
        self._size = sight.size
        if self._cuts(sight):
            self._tracks.cut()
            self._looked = {}
        seen = [face for track in self._tracks.followed if (face := self._follow(track, now_s)) is not None]
        for rects in self._looks(now_s):
            seen += self._take_in(rects, now_s)
        return sorted(seen, key=lambda face: face.track)

    def close(self) -> None:
        """Free the models."""
        self._models.close()

    # ---- following

    def _follow(self, track: Track, now_s: float) -> Seen | None:
        landmarks, presence = self._models.mesh(track.rect)
        if presence < self._least:
            self._tracks.lost(track)
            return None
        rect = rect_around(landmarks, self._size)
        number: int | None = track.number
        if not self._tracks.moved(track, rect, now_s):
            entered = self._tracks.enter(rect, now_s)  # somebody else, unless that one is followed already
            number = None if entered is None else entered.number
        return None if number is None else self._seen(number, landmarks, presence, track.rect)

    def _seen(self, number: int, landmarks: NDArray[np.float32], presence: float, shown: Rect) -> Seen:
        """``shown``: the place that the mesh was asked about."""
        width, height = self._size
        points = landmarks * np.array([width, height, width], np.float32)
        pictures = cut_out(self._models.around(shown), points) if self._most > 1 else _NO_PICTURES
        return Seen(number, points, presence, *pictures)

    # ---- looking

    def _looks(self, now_s: float) -> Iterator[list[Rect]]:
        """What detectors find, one look after the other, as long as there is a reason to look on."""
        if self._tracks.full:
            return
        for track in self._tracks.missing(now_s):
            if not self._tracks.full:
                yield self._tracks.new(rect for rect in [self._closer(track.rect)] if rect is not None)
        if self._tracks.followed:
            if self._is_time("more", now_s, _MORE_S):
                self._turn += 1
                yield self._find("far" if self._turn % 2 else "near")
            if self._is_time("beside", now_s, _BESIDE_S):
                yield from self._in_parts(_PARTS[0][0])
            return
        yield self._find("near")
        if not self._tracks.full:
            yield from self._wider(now_s)

    def _wider(self, now_s: float) -> Iterator[list[Rect]]:
        if self._is_time("far", now_s, _WIDE_S):
            yield self._find("far")
        for share, every_s in _PARTS:
            if not self._tracks.followed and self._is_time(f"{share:.2f}", now_s, every_s):
                yield from self._in_parts(share)
        if self._tracks.followed:
            self._looked["more"] = now_s

    def _in_parts(self, share: float) -> Iterator[list[Rect]]:
        for part in parts(*self._size, share):
            if not self._tracks.full:
                yield self._find("far", part)

    def _is_time(self, look: str, now_s: float, every_s: float) -> bool:
        due = now_s - self._looked.get(look, -np.inf) >= every_s - 1e-6
        if due:
            self._looked[look] = now_s
        return due

    def _find(self, reach: Literal["near", "far"], part: Rect = WHOLE) -> list[Rect]:
        new = self._tracks.new(face.rect for face in self._models.find(reach, part))
        # A face where nobody was is taken on trust, since it may be half hidden; whoever is to be seen beside it must
        # be surely a face: the mesh believes in buckles and lettering.
        trusted = 1 if reach == "near" and not self._tracks.followed else 0
        return new[:trusted] + [rect for rect in new[trusted:] if self._closer(rect) is not None]

    def _closer(self, rect: Rect) -> Rect | None:
        """The face that the short-range detector, shown this place at full size, is sure of."""
        around = replace(rect, width=_AROUND * rect.width, height=_AROUND * rect.height)
        again = self._models.find("near", around)
        return next((face.rect for face in again if face.score >= _SURE and same(face.rect, rect)), None)

    def _take_in(self, rects: list[Rect], now_s: float) -> list[Seen]:
        seen = []
        for rect in rects:
            if self._tracks.full:
                break
            landmarks, presence = self._models.mesh(rect)
            if presence < self._least:
                continue
            track = self._tracks.enter(rect_around(landmarks, self._size), now_s)
            if track is not None:
                seen.append(self._seen(track.number, landmarks, presence, rect))
        return seen


def parts(width: int, height: int, share: float) -> tuple[Rect, ...]:
    """Overlapping squares that cover the picture, their side a share of its longer one; none where that is too few
    pixels to find more in them than in larger parts."""
    side = share * max(width, height)
    if side < _LEAST_PART_PX and share < max(share for share, _ in _PARTS):
        return ()
    return tuple(
        Rect(x / width, y / height, side / width, side / height)
        for y in _middles(height, side)
        for x in _middles(width, side)
    )


def _middles(length: int, side: float) -> list[float]:
    if side >= length:
        return [length / 2]
    count = int(np.ceil((length - side) / (side * (1 - _STEP)))) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]
