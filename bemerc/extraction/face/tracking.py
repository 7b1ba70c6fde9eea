"""Face tracking within a shot: face boxes in, track numbers out.

A face that is tracked keeps its number. One that was lost for a while and reappears at the same place gets its old
number back, since a hand before the face is no new person. A cut ends all tracks. Which tracks of a clip belong to one
person is decided later (bemerc.extraction.face.target_face); no model here recognises people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bemerc.extraction.networks import MARGIN, Rect

# Two boxes are one face where they share this part of the smaller one, and are about as large or one lies in the other.
_MIN_OVERLAP = 0.5
_MIN_SIZE_RATIO = 0.5
# A lost face's number is kept for so long, and it is searched for at its place for so long.
_KEEP_LOST_S = 2.0
_SEARCH_LOST_S = 1.0
# From one frame to the next a face moves by less than this part of its size; a larger step is another face.
_MAX_STEP = 0.6


@dataclass(frozen=True)
class Track:
    """A face's number, its latest box, and the time of that."""

    number: int
    rect: Rect
    updated_s: float


class ActiveTracks:
    """The tracks of one clip, ``most`` at a time. Per frame: ``end_all`` where a shot begins; then for each of
    ``active`` either ``update`` or ``lose``; ``untracked`` filters a detector's boxes, and ``start`` begins a track."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._active: list[Track] = []
        self._lost: list[Track] = []
        self._next = 0

    @property
    def active(self) -> tuple[Track, ...]:
        """The tracks that are followed, oldest first."""
        return tuple(self._active)

    @property
    def full(self) -> bool:
        """Whether no further face may be tracked."""
        return len(self._active) >= self.most

    def recently_lost(self, now_s: float) -> tuple[Track, ...]:
        """Tracks that were lost so recently that their place is searched first."""
        return tuple(track for track in self._lost if now_s - track.updated_s <= _SEARCH_LOST_S)

    def end_all(self) -> None:
        """A new shot: every track has ended."""
        self._active, self._lost = [], []

    def update(self, track: Track, rect: Rect, now_s: float) -> bool:
        """Move a track to ``rect``; False, and the track is lost, where that is too large a step or another track's
        box."""
        others = [other for other in self._active if other.number != track.number]
        if jumped(track.rect, rect) or any(is_same_face(other.rect, rect) for other in others):
            self.lose(track)
            return False
        self._active = [replace(t, rect=rect, updated_s=now_s) if t.number == track.number else t for t in self._active]
        return True

    def lose(self, track: Track) -> None:
        """The face of a track was not detected; its number is kept for a while."""
        self._lost.append(next(t for t in self._active if t.number == track.number))
        self._active = [t for t in self._active if t.number != track.number]

    def untracked(self, rects: Iterable[Rect]) -> list[Rect]:
        """The boxes where no face is tracked, each once, in their order."""
        taken = [track.rect for track in self._active]
        accepted: list[Rect] = []
        for rect in rects:
            if not any(is_same_face(rect, other) for other in (*taken, *accepted)):
                accepted.append(rect)
        return accepted

    def start(self, rect: Rect, now_s: float) -> Track | None:
        """Start a track at ``rect``, or resume a lost one that was there. None where its place is taken."""
        if self.full or not self.untracked([rect]):
            return None
        self._lost = [track for track in self._lost if now_s - track.updated_s <= _KEEP_LOST_S]
        lost = max(self._lost, key=lambda track: overlap(track.rect, rect), default=None)
        if lost is not None and is_same_face(lost.rect, rect) and not jumped(lost.rect, rect):
            self._lost.remove(lost)
            track = replace(lost, rect=rect, updated_s=now_s)
        else:
            track = Track(self._next, rect, now_s)
            self._next += 1
        self._active = sorted([*self._active, track], key=lambda t: t.number)
        return track


def overlap(a: Rect, b: Rect) -> float:
    """Intersection over the smaller area, in [0, 1]; the boxes' rotation is ignored."""
    across = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    down = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    smaller = min(a.width * a.height, b.width * b.height)
    return max(across, 0.0) * max(down, 0.0) / smaller if smaller > 0 else 0.0


def is_same_face(a: Rect, b: Rect) -> bool:
    """Whether two boxes are of one face. A small face beside a large one's cheek is another; one on its nose is not."""
    small, large = sorted((a, b), key=lambda rect: rect.width * rect.height)
    if overlap(a, b) <= _MIN_OVERLAP:
        return False
    inside = abs(small.x - large.x) < large.width / MARGIN / 2 and abs(small.y - large.y) < large.height / MARGIN / 2
    return inside or small.width > _MIN_SIZE_RATIO * large.width


def jumped(before: Rect, now: Rect) -> bool:
    """Whether a face cannot have moved from one box to the other: too far, or twice or half as large."""
    far = max(abs(now.x - before.x) / before.width, abs(now.y - before.y) / before.height) > _MAX_STEP
    return far or not 0.5 < now.width / before.width < 2
