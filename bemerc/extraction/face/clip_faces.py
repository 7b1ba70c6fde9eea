"""All faces that were detected in a clip, by track: what the target face is selected from, and whose rows are measured."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, PackedLandmarks, pack_landmarks
from bemerc.extraction.face import lip_sync
from bemerc.extraction.face.crops import Colors, Grey
from bemerc.extraction.face.detection import TrackedFace
from bemerc.extraction.face.target_face import FaceTrack
from bemerc.extraction.networks import MESH_POINTS
from bemerc.media.frame_view import Window

_PACK_FRAMES = 32  # faces that are packed at once, which costs half as much


class ClipFaces:
    """All faces of a clip: landmarks packed some at a time, 2.9 KB each, and 0.8 KB for the selection, which is not
    stored."""

    def __init__(self) -> None:
        self._unpacked: list[NDArray[np.float32]] = []
        self._points: list[NDArray[np.int16]] = []
        self._scales: list[NDArray[np.float32]] = []
        self._presence: list[float] = []
        self._positions: list[tuple[int, int, int, int]] = []  # row, shot, view, track
        self._measures: list[NDArray[np.float32]] = []  # left, right, height, turn, and the mouth's four, (n, 8)
        self._mouths: list[Grey] = []
        self._heads: list[Colors] = []

    def add(self, row: int, shot: int, view: int, face: TrackedFace) -> None:
        self._unpacked.append(face.landmarks)
        self._presence.append(face.presence)
        self._positions.append((row, shot, view, face.track))
        self._mouths.append(face.mouth)
        self._heads.append(face.head)
        if len(self._unpacked) == _PACK_FRAMES:
            self._pack()

    def _pack(self) -> None:
        if not self._unpacked:
            return
        landmarks = np.stack(self._unpacked)
        packed = pack_landmarks(landmarks)
        self._points.extend(packed.points)
        self._scales.extend(packed.scale)
        low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
        self._measures.append(
            np.column_stack(
                [
                    low[:, 0],
                    high[:, 0],
                    high[:, 1] - low[:, 1],
                    lip_sync.cosine_of_turn(landmarks),
                    lip_sync.mouth(landmarks),
                ]
            )
        )
        self._unpacked = []

    def tracks(self, window: Window) -> list[FaceTrack]:
        """The tracks to select from, by growing number."""
        self._pack()
        positions = np.array(self._positions, np.int64).reshape(-1, 4)
        measures = np.concatenate([np.empty((0, 8)), *self._measures]).astype(np.float64)
        turns, measures = measures[:, 3], measures * window.scale[positions[:, 0], None]
        left, right, height = measures[:, :3].T
        middle, (width, frame_height) = (left + right) / 2 + window.corner[positions[:, 0], 0], window.size
        x, area = middle / width, (right - left) * height / (width * frame_height)
        tracks = []
        order = np.argsort(positions[:, 3], kind="stable")
        numbers, starts = np.unique(positions[order, 3], return_index=True)
        for number, of_track in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
            rows, shot, view = positions[of_track, 0], int(positions[of_track[0], 1]), int(positions[of_track[0], 2])
            mouths, heads = (np.stack([crops[i] for i in of_track]) for crops in (self._mouths, self._heads))
            mouth = lip_sync.movements(measures[of_track, 4:]), turns[of_track]
            tracks.append(FaceTrack(number, shot, view, rows, x[of_track], area[of_track], *mouth, mouths, heads))
        return tracks

    def selected(self, choice: Choice | None, window: Window) -> tuple[PackedLandmarks, NDArray[np.float32]]:
        """Per frame the landmarks of the target face in pixels of the window, and the mesh's confidence in it; without
        a choice those of any face."""
        self._pack()
        frames = len(window.sizes)
        empty = pack_landmarks(np.full((1, MESH_POINTS, 3), np.nan, np.float32))
        points, scale = np.repeat(empty.points, frames, axis=0), np.repeat(empty.scale, frames, axis=0)
        presence = np.full(frames, np.nan, np.float32)
        for i in self._of(None if choice is None else {stretch.track for stretch in choice.spans}):
            row = self._positions[i][0]
            points[row], scale[row], presence[row] = self._points[i], self._scales[i], self._presence[i]
        return PackedLandmarks(points, _in_window(scale, window, np.arange(frames))), presence

    def of_tracks(
        self, tracks: Collection[int], window: Window
    ) -> tuple[NDArray[np.int64], PackedLandmarks, NDArray[np.float32]]:
        """The frames (n,), n > 0, in which these tracks, never two at a time, were detected; the landmarks and the
        mesh's confidence there."""
        self._pack()
        at = self._of(tracks)
        rows = np.array([self._positions[i][0] for i in at], np.int64)
        scale = np.stack([self._scales[i] for i in at])
        packed = PackedLandmarks(np.stack([self._points[i] for i in at]), _in_window(scale, window, rows))
        return rows, packed, np.array([self._presence[i] for i in at], np.float32)

    def _of(self, tracks: Collection[int] | None) -> list[int]:
        """Which of the faces are of these tracks; all where ``tracks`` is None."""
        return [i for i, (_, _, _, track) in enumerate(self._positions) if tracks is None or track in tracks]


def _in_window(scale: NDArray[np.float32], window: Window, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The scales of landmarks of the frames ``rows`` in pixels of the window: points are stored as steps from an origin,
    so scaling and moving these scales and moves all."""
    scale = scale * window.scale[rows, None].astype(np.float32)
    scale[:, :2] += window.corner[rows].astype(np.float32)
    return scale
