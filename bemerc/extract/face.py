"""Face frames: MediaPipe's mesh on every frame, and per clip the action units, head pose, gaze and quality read off it.

The mesh runs frame by frame because it follows the face; everything after it is worked out once per clip, over all
frames at a time. The landmarks are rounded to the cache's grid first and the columns are worked out from the rounded
ones, so that a better formula, applied to the cache later, starts from exactly what this one saw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features, PackedLandmarks, pack_landmarks, unpack_landmarks
from bemerc.extract import action_units, head
from bemerc.extract.blendshapes import scores
from bemerc.extract.mediapipe_models import MESH_POINTS, RELEASE, BlendshapeModel, FaceMesh
from bemerc.extract.mesh import align

VERSION = f"mediapipe-mesh-{RELEASE}/4"
PLACE_COLUMNS = ("face_x", "face_y", "face_size")


@dataclass(frozen=True)
class Params:
    """Section ``face``.

    detection_confidence  a face is found when the detector's score is at least this
    tracking_confidence   a face is lost when the mesh's belief in it falls below this
    landmarks             keep the raw points in the cache (they can identify people)
    blendshapes           a face_landmarker.task of MediaPipe, whose blendshape model then tells the action units their
                          shapes; null for the network that comes with bemerc and repeats that model
    """

    detection_confidence: float = 0.5
    tracking_confidence: float = 0.5
    landmarks: bool = True
    blendshapes: str | None = None

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name in ("detection_confidence", "tracking_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: {getattr(self, name)} must lie between 0 and 1."
        if self.blendshapes is not None and not Path(self.blendshapes).is_file():
            yield f"blendshapes: there is no file {self.blendshapes}; null for the network that comes with bemerc."


def version(params: Params) -> str:
    """VERSION, and the user's model by its content: another file under the same name is another measurement."""
    if params.blendshapes is None:
        return VERSION
    return f"{VERSION}+{hashlib.sha256(Path(params.blendshapes).read_bytes()).hexdigest()[:16]}"


def columns(params: Params) -> tuple[str, ...]:
    """The names of the face columns, in order."""
    del params
    return (*action_units.COLUMNS, *head.POSE_COLUMNS, *head.GAZE_COLUMNS, *PLACE_COLUMNS, "quality")


def open_extractor(params: Params) -> FaceExtractor:
    """Load the mesh (some 10 ms, and half a second of imports the first time)."""
    return FaceExtractor(params)


class FaceExtractor:
    """``reset()``, then ``frame()`` for each frame of one clip in order, then ``finish()``; and again for the next.

    After ``finish`` the attribute ``landmarks`` holds the clip's packed points, or None where params do not keep them.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.landmarks: PackedLandmarks | None = None
        self._mesh = FaceMesh(params.detection_confidence, params.tracking_confidence)
        self._shapes = scores if params.blendshapes is None else BlendshapeModel(Path(params.blendshapes))
        self._clear()

    def reset(self) -> None:
        """Forget the clip before: the same clip gives the same bytes whatever came before it."""
        self._mesh.reset()
        self._clear()

    def _clear(self) -> None:
        self._points: list[NDArray[np.float32]] = []
        self._presence: list[float] = []
        self._timestamps_s: list[float] = []
        self._size = (1, 1)

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8, contiguous; all frames of a clip have one size."""
        height, width = rgb.shape[:2]
        self._size = (width, height)
        found = self._mesh(rgb, timestamp_s)
        points, presence = found if found is not None else (np.full((MESH_POINTS, 3), np.nan, np.float32), np.nan)
        self._points.append(points * np.array([width, height, width], np.float32))
        self._presence.append(presence)
        self._timestamps_s.append(timestamp_s)

    def finish(self) -> Features:
        """The clip's features: one row per frame, NaN where there was no face."""
        names = columns(self.params)
        timestamps_s = np.array(self._timestamps_s, np.float64)
        if not self._points:
            self.landmarks = None
            return Features(np.empty((0, len(names)), np.float32), timestamps_s, names)
        packed = pack_landmarks(np.stack(self._points))
        self.landmarks = packed if self.params.landmarks else None
        values = measure(unpack_landmarks(packed), self._size, np.array(self._presence, np.float32), self._shapes)
        return Features(values, timestamps_s, names)

    def close(self) -> None:
        """Free the mesh."""
        self._mesh.close()


def measure(
    landmarks: NDArray[np.float32],
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes = scores,
) -> NDArray[np.float32]:
    """All columns of a clip: landmarks (T, 478, 3) in pixels of a frame of ``frame_size`` (width, height), presence (T,)
    -> (T, D) float32. shapes as in action_units."""
    face = align(landmarks)
    return np.column_stack(
        [
            action_units.intensities(face, shapes),
            head.pose_deg(face),
            head.gaze_deg(face),
            _place(landmarks, frame_size),
            head.quality(face, landmarks, frame_size, presence),
        ]
    ).astype(np.float32)


def _place(landmarks: NDArray[np.float32], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """(T, 3) middle of the face's box as fractions of width and height, and its height over the frame's."""
    low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
    return np.column_stack([(low + high) / 2 / frame_size, (high - low)[:, 1] / frame_size[1]])
