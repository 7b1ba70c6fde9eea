"""Detection and tracking of several faces: frames in order -> per frame the tracked faces with their landmarks.

The mesh follows each face from its last place. Detectors run only when there is a reason: at the start of a shot, while
no face is tracked or one was just lost, and for further faces twice a second in the whole frame and every four seconds
in its halves. They run in the order of their cost: the short-range one (1 ms), the full-range one (2 ms), and the
full-range one on overlapping tiles, in which a face of 20 to 30 pixels is large enough. (MediaPipe's own graph runs its
short-range detector on every frame that shows fewer faces than it may track, which for four faces and one person costs
half as much again as the mesh, and it never finds a small face.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.crops import Colors, Grey, crop_mouth_and_head
from bemerc.extraction.face.shots import ShotDetector
from bemerc.extraction.face.tracking import ActiveTracks, Track, is_same_face
from bemerc.extraction.networks import WHOLE, FaceModels, Rect, rect_around
from bemerc.media.frame_view import FrameView, as_frame_view

# Intervals of detection: for further faces while one is tracked, in the whole frame and in its halves; and while none
# is, in the whole frame and in tiles, whose side is a half or a third of the longer side, and which overlap by a third.
_MORE_S = 0.5
_TILES_S = 4.0
_WIDE_S = 0.12
_TILES = ((1 / 2, 0.6), (1 / 3, 2.0))
_OVERLAP = 1 / 3
_MIN_TILE_PX = 200  # below that a face large enough for the mesh is detected in larger tiles as well
# Such detections are confirmed: the short-range detector runs on a region this many times as large as the face, and its
# score must be this high. Small real faces reach .87 (19 in 20), lettering and clouds at most .70.
_CLOSE_UP = 2.5
_SURE_SCORE = 0.75
_NO_CROPS = np.zeros((0, 0), np.uint8), np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class TrackedFace:
    """A face in a frame.

    track      its track's number
    landmarks  (478, 3) float32 in pixels, z on the scale of x
    presence   the mesh's confidence that there is a face, 0 to 1
    mouth, head  small crops, see crop_mouth_and_head; empty where only one face is tracked, so that nothing is selected
    """

    track: int
    landmarks: NDArray[np.float32]
    presence: float
    mouth: Grey
    head: Colors


class FaceTracker:
    """``reset()``, then called with the frames of one clip in their order.

    ``shot`` and ``view`` are those of the latest frame (see ShotDetector). Where ``most`` is 1 the first detected face
    is tracked until it is lost. ``task``: a user's models, as in ``networks.runtime.Network``.
    """

    def __init__(
        self, most: int, detection_confidence: float, tracking_confidence: float, task: Path | None = None
    ) -> None:
        self._most, self._tracking_confidence = most, tracking_confidence
        self._models = FaceModels(detection_confidence, task)
        self.reset()

    def reset(self) -> None:
        """Forget every earlier frame: the same clip gives the same numbers whatever came before it."""
        self._tracks, self._shots = ActiveTracks(self._most), ShotDetector()
        self._last_run_s: dict[str, float] = {}
        self._turns = 0

    @property
    def shot(self) -> int:
        """Number of the current shot."""
        return self._shots.shot

    @property
    def view(self) -> int:
        """Number of the first shot with the same view."""
        return self._shots.view

    def __call__(self, frame: FrameView | NDArray[np.uint8], now_s: float) -> list[TrackedFace]:
        """A frame (H, W, 3) uint8, or a view of one, at ``now_s`` -> its faces, by growing track number."""
        view = as_frame_view(frame)
        self._models.set_frame(view)
        self._size = view.size
        if self._shots(view):
            self._tracks.end_all()
            self._last_run_s = {}
        faces = [face for track in self._tracks.active if (face := self._follow(track, now_s)) is not None]
        for rects in self._detections(now_s):
            faces += self._start_tracks(rects, now_s)
        return sorted(faces, key=lambda face: face.track)

    def _follow(self, track: Track, now_s: float) -> TrackedFace | None:
        landmarks, presence = self._models.mesh(track.rect)
        if presence < self._tracking_confidence:
            self._tracks.lose(track)
            return None
        rect = rect_around(landmarks, self._size)
        number: int | None = track.number
        if not self._tracks.update(track, rect, now_s):
            started = self._tracks.start(rect, now_s)  # another face, unless that one is tracked already
            number = None if started is None else started.number
        return None if number is None else self._tracked_face(number, landmarks, presence, track.rect)

    def _tracked_face(self, number: int, landmarks: NDArray[np.float32], presence: float, rect: Rect) -> TrackedFace:
        """``rect``: the place that the mesh ran on."""
        width, height = self._size
        points = landmarks * np.array([width, height, width], np.float32)
        crops = crop_mouth_and_head(self._models.crop_around(rect), points) if self._most > 1 else _NO_CROPS
        return TrackedFace(number, points, presence, *crops)

    def _detections(self, now_s: float) -> Iterator[list[Rect]]:
        """The boxes of new faces, one detector after the other, as long as there is a reason to go on."""
        if self._tracks.full:
            return
        for track in self._tracks.recently_lost(now_s):
            if not self._tracks.full:
                yield self._tracks.untracked(rect for rect in [self._confirm(track.rect)] if rect is not None)
        if self._tracks.active:
            if self._is_due("more", now_s, _MORE_S):
                self._turns += 1
                yield self._detect("far" if self._turns % 2 else "near")
            if self._is_due("beside", now_s, _TILES_S):
                yield from self._detect_in_tiles(_TILES[0][0])
            return
        yield self._detect("near")
        if not self._tracks.full:
            yield from self._widening_detections(now_s)

    def _widening_detections(self, now_s: float) -> Iterator[list[Rect]]:
        if self._is_due("far", now_s, _WIDE_S):
            yield self._detect("far")
        for share, every_s in _TILES:
            if not self._tracks.active and self._is_due(f"{share:.2f}", now_s, every_s):
                yield from self._detect_in_tiles(share)
        if self._tracks.active:
            self._last_run_s["more"] = now_s

    def _detect_in_tiles(self, share: float) -> Iterator[list[Rect]]:
        for tile in tiles(*self._size, share):
            if not self._tracks.full:
                yield self._detect("far", tile)

    def _is_due(self, detector: str, now_s: float, every_s: float) -> bool:
        due = now_s - self._last_run_s.get(detector, -np.inf) >= every_s - 1e-6
        if due:
            self._last_run_s[detector] = now_s
        return due

    def _detect(self, reach: Literal["near", "far"], tile: Rect = WHOLE) -> list[Rect]:
        rects = self._tracks.untracked(face.rect for face in self._models.detect(reach, tile))
        # The first face is accepted without confirmation, since it may be half hidden. Further ones must be confirmed:
        # the mesh accepts buckles and lettering.
        trusted = 1 if reach == "near" and not self._tracks.active else 0
        return rects[:trusted] + [rect for rect in rects[trusted:] if self._confirm(rect) is not None]

    def _confirm(self, rect: Rect) -> Rect | None:
        """The box of the face that the short-range detector confirms in a close-up of ``rect``; None if it does not."""
        close_up = replace(rect, width=_CLOSE_UP * rect.width, height=_CLOSE_UP * rect.height)
        faces = self._models.detect("near", close_up)
        return next((face.rect for face in faces if face.score >= _SURE_SCORE and is_same_face(face.rect, rect)), None)

    def _start_tracks(self, rects: list[Rect], now_s: float) -> list[TrackedFace]:
        faces = []
        for rect in rects:
            if self._tracks.full:
                break
            landmarks, presence = self._models.mesh(rect)
            if presence < self._tracking_confidence:
                continue
            track = self._tracks.start(rect_around(landmarks, self._size), now_s)
            if track is not None:
                faces.append(self._tracked_face(track.number, landmarks, presence, rect))
        return faces


def tiles(width: int, height: int, share: float) -> tuple[Rect, ...]:
    """Overlapping squares that cover the frame, their side a ``share`` of its longer one; none where they are so small
    that larger tiles show as much."""
    side = share * max(width, height)
    if side < _MIN_TILE_PX and share < max(share for share, _ in _TILES):
        return ()
    return tuple(
        Rect(x / width, y / height, side / width, side / height)
        for y in _centers(height, side)
        for x in _centers(width, side)
    )


def _centers(length: int, side: float) -> list[float]:
    if side >= length:
        return [length / 2]
    count = int(np.ceil((length - side) / (side * (1 - _OVERLAP)))) + 1
    return [float(middle) for middle in np.linspace(side / 2, length - side / 2, count)]
