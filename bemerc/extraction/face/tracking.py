"""Which face is which from frame to frame: places in, track numbers out. Nothing here sees a picture.

A track is one person's face in one shot, as far as places can tell. A face that is followed keeps its number; one that was
lost for a while and is found again where it was gets its old number back, since a hand before the face is no
new person; a cut ends all tracks, since whoever stands at the same place in the next shot may be anybody. Which tracks of a clip are one
person's, is asked by bemerc.extraction.face.target_face, and answered by place and a few colours: no model here knows people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from bemerc.extraction.networks import Rect

# Two places are one face where they share this part of the smaller one, and are about as large or lie in each other.
_SHARED = 0.5
_AS_LARGE = 0.5
_ROOM = 1.5  # a place is this much larger than the face in it
# A lost face's number is kept for so long.
_KEPT_S = 2.0
_MISSED_S = 1.0
# From one frame to the next a face moves by less than this part of its size; a larger leap is another face.
_LEAP = 0.6


@dataclass(frozen=True)
class Track:
    """A face and where it was last seen."""

    number: int
    rect: Rect
    seen_s: float


class Tracks:
    """The faces of one clip, ``most`` at a time. Per frame: ``cut`` where a shot begins, then ``followed`` says where to
    look, ``moved`` or ``lost`` what was seen there; ``new`` which of a detector's finds are nobody yet, and ``enter``
    takes one in."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._live: list[Track] = []
        self._lost: list[Track] = []
        self._next = 0

    @property
    def followed(self) -> tuple[Track, ...]:
        """Who is followed, oldest first."""
        return tuple(self._live)

    @property
    def full(self) -> bool:
        return len(self._live) >= self.most

    def missing(self, now_s: float) -> tuple[Track, ...]:
        """Who was lost so lately that one looks for them where they were."""
        return tuple(track for track in self._lost if now_s - track.seen_s <= _MISSED_S)

    def cut(self) -> None:
        """A new shot: every track has ended."""
        self._live, self._lost = [], []

    def moved(self, track: Track, rect: Rect, now_s: float) -> bool:
        """A followed face was seen at ``rect``; False, and the track is lost, where that is a leap or somebody else's
        place."""
        others = [other for other in self._live if other.number != track.number]
        if leapt(track.rect, rect) or any(same(other.rect, rect) for other in others):
            self.lost(track)
            return False
        self._live = [replace(t, rect=rect, seen_s=now_s) if t.number == track.number else t for t in self._live]
        return True

    def lost(self, track: Track) -> None:
        """A followed face was not seen; its number waits for it."""
        self._lost.append(next(t for t in self._live if t.number == track.number))
        self._live = [t for t in self._live if t.number != track.number]

    def new(self, rects: Iterable[Rect]) -> list[Rect]:
        """Those places where nobody is followed, each once, in their order."""
        taken = [track.rect for track in self._live]
        found: list[Rect] = []
        for rect in rects:
            if not any(same(rect, other) for other in (*taken, *found)):
                found.append(rect)
        return found

    def enter(self, rect: Rect, now_s: float) -> Track | None:
        """A face is followed from here on; a lost one if it is where that was. None where its place is taken."""
        if self.full or not self.new([rect]):
            return None
        self._lost = [track for track in self._lost if now_s - track.seen_s <= _KEPT_S]
        back = max(self._lost, key=lambda track: overlap(track.rect, rect), default=None)
        if back is not None and same(back.rect, rect) and not leapt(back.rect, rect):
            self._lost.remove(back)
            track = replace(back, rect=rect, seen_s=now_s)
        else:
            track = Track(self._next, rect, now_s)
            self._next += 1
        self._live = sorted([*self._live, track], key=lambda t: t.number)
        return track


def overlap(a: Rect, b: Rect) -> float:
    """Intersection over the smaller area, in [0, 1]; turns are left out of account."""
    across = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    down = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    smaller = min(a.width * a.height, b.width * b.height)
    return max(across, 0.0) * max(down, 0.0) / smaller if smaller > 0 else 0.0


def same(a: Rect, b: Rect) -> bool:
    """Whether two places are one face. A small face beside a large one's cheek is another; one on its nose is not."""
    small, large = sorted((a, b), key=lambda rect: rect.width * rect.height)
    if overlap(a, b) <= _SHARED:
        return False
    inside = abs(small.x - large.x) < large.width / _ROOM / 2 and abs(small.y - large.y) < large.height / _ROOM / 2
    return inside or small.width > _AS_LARGE * large.width


def leapt(before: Rect, now: Rect) -> bool:
    """Whether a face cannot have gone from one place to the other: too far, or twice or half as large."""
    far = max(abs(now.x - before.x) / before.width, abs(now.y - before.y) / before.height) > _LEAP
    return far or not 0.5 < now.width / before.width < 2
