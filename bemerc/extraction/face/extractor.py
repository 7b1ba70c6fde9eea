"""Face frames: the mesh on every frame, and per clip the action units, head pose, gaze and quality read off it.

The mesh runs frame by frame because it follows faces, several at a time where params say so; whose face it is is decided
once per clip, when all has been seen and the sound can be heard (bemerc.extraction.face.target_face), and everything after it is worked
out for that face alone, over all frames at a time. The landmarks are rounded to the cache's grid first and the columns are
worked out from the rounded ones, so that a better formula, applied to the cache later, starts from exactly what this one
saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, PackedLandmarks, pack_landmarks, unpack_landmarks
from bemerc.core.hashing import sha256
from bemerc.extraction.face import action_units, head_pose, lip_sync, target_face
from bemerc.extraction.face.blendshapes import scores
from bemerc.extraction.face.crops import Colours, Grey
from bemerc.extraction.face.detection import FaceFinder, Seen
from bemerc.extraction.face.mesh import align
from bemerc.extraction.face.target_face import Policy, Sightings
from bemerc.extraction.networks import MESH_POINTS, RELEASE, BlendshapeModel
from bemerc.media.frame_view import ArrayFrame, FrameView, Window

VERSION = f"mediapipe-mesh-{RELEASE}/9"
_LOOSE = 32  # faces that wait to be packed together, which costs half as much
PLACE_COLUMNS = ("face_x", "face_y", "face_size")
_BLOCK = 1024


@dataclass(frozen=True)
class Params:
    """Section ``extract_video.face`` of params.yaml.

    faces                 how many faces are followed at a time; 1 = the first one found, and nothing is chosen
    policy                whose face is measured where several are seen: speaking (the mouth that moves with the sound;
                          without sound the largest) | largest | longest (in sight) | left | right (in the picture)
    least_score           below this score (0 to 1) of the choice the utterance is marked uncertain
    detection_confidence  a face is found when the detector's score is at least this
    tracking_confidence   a face is lost when the mesh's belief in it falls below this
    landmarks             keep the raw points in the cache (they can identify people)
    blendshapes           a face_landmarker.task of MediaPipe, whose blendshape model then tells the action units their
                          shapes; null for the network that comes with bemerc and repeats that model
    """

    faces: int = 4
    policy: Policy = "speaking"
    least_score: float = 0.7
    detection_confidence: float = 0.5
    tracking_confidence: float = 0.5
    landmarks: bool = True
    blendshapes: str | None = None

    def recorded(self) -> dict[str, Any]:
        """As they are, but of the model's file the name alone: where it lies changes no number (``version`` has its hash), and a
        cache that is handed on names no folder of yours."""
        return asdict(self) | ({"blendshapes": Path(self.blendshapes).name} if self.blendshapes is not None else {})

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 1 <= self.faces <= 16:
            yield f"faces: {self.faces} must lie between 1 and 16."
        for name in ("least_score", "detection_confidence", "tracking_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: {getattr(self, name)} must lie between 0 and 1."
        if self.blendshapes is not None and not Path(self.blendshapes).is_file():
            yield f"blendshapes: there is no file {self.blendshapes}; null for the network that comes with bemerc."


def version(params: Params) -> str:
    """VERSION, and the user's model by its content: another file under the same name is another measurement."""
    if params.blendshapes is None:
        return VERSION
    return f"{VERSION}+{sha256(Path(params.blendshapes))[:16]}"


def columns(params: Params) -> tuple[str, ...]:
    """The names of the face columns, in order."""
    del params
    return (*action_units.COLUMNS, *head_pose.POSE_COLUMNS, *head_pose.GAZE_COLUMNS, *PLACE_COLUMNS, "quality")


def open_extractor(params: Params) -> FaceExtractor:
    """Load the mesh (some 10 ms, and half a second of imports the first time)."""
    return FaceExtractor(params)


class FaceExtractor:
    """``reset()``, then ``frame()`` for each frame of one clip in order, then ``finish()``; and again for the next.

    ``load_audio`` is called at the end, and only where it decides: the clip's waveform, (N,) float32 mono at 16 kHz from its
    start, or None where it has none. ``heartbeat`` is called meanwhile, so that the caller knows that this process does not hang:
    of a film of two hours the end takes minutes. After ``finish`` the attribute ``landmarks`` holds the clip's packed points, or None
    where params do not keep them, and ``choice`` whose face it is, None where params follow one face only.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.landmarks: PackedLandmarks | None = None
        self.choice: Choice | None = None
        self.load_audio: Callable[[], NDArray[np.float32] | None] = lambda: None
        self.heartbeat: Callable[[], None] = lambda: None
        self._finder = FaceFinder(params.faces, params.detection_confidence, params.tracking_confidence)
        self._shapes = scores if params.blendshapes is None else BlendshapeModel(Path(params.blendshapes))
        self._clear()

    def reset(self) -> None:
        """Forget the clip before: the same clip gives the same bytes whatever came before it."""
        self._finder.reset()
        self._clear()

    def _clear(self) -> None:
        self._seen = _Seen()
        self._timestamps_s: list[float] = []
        self._sizes: list[tuple[int, int]] = []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8, contiguous; its size may be another than that of the frame before."""
        self.view(ArrayFrame(rgb), timestamp_s)

    def view(self, sight: FrameView, timestamp_s: float) -> None:
        """As ``frame``; of most frames only the part around the faces is needed, and asked for."""
        self._sizes.append(sight.size)
        for face in self._finder(sight, timestamp_s):
            self._seen.add(len(self._timestamps_s), self._finder.shot, self._finder.view, face)
        self._timestamps_s.append(timestamp_s)

    def finish(self) -> Features:
        """The clip's features: one row per frame, NaN where there was no face."""
        names = columns(self.params)
        timestamps_s = np.array(self._timestamps_s, np.float64)
        self.landmarks = self.choice = None
        if not len(timestamps_s):
            if self.params.landmarks:
                self.landmarks = pack_landmarks(np.empty((0, MESH_POINTS, 3), np.float32))
            return Features(np.empty((0, len(names)), np.float32), timestamps_s, names)
        window = Window(self._sizes)
        if self.params.faces > 1:
            self.choice = self._choose(timestamps_s, window)
        packed, presence = self._seen.chosen(self.choice, window)
        self.landmarks = packed if self.params.landmarks else None
        values = measure_packed(packed, window.size, presence, self._shapes, self.heartbeat)
        return Features(values, timestamps_s, names)

    def _choose(self, timestamps_s: NDArray[np.float64], window: Window) -> Choice:
        tracks = self._seen.tracks(window)
        heard = self.load_audio() if self.params.policy == "speaking" and len(tracks) > 1 else None
        return target_face.choose(
            tracks, timestamps_s, self.params.policy, heard, self.params.least_score, self.heartbeat
        )

    def close(self) -> None:
        """Free the models."""
        self._finder.close()


class _Seen:
    """All faces seen in a clip: packed some at a time, 2.9 KB each, and .8 KB that the choice needs and nobody keeps."""

    def __init__(self) -> None:
        self._loose: list[NDArray[np.float32]] = []
        self._points: list[NDArray[np.int16]] = []
        self._scales: list[NDArray[np.float32]] = []
        self._presence: list[float] = []
        self._where: list[tuple[int, int, int, int]] = []  # row, shot, view, track
        self._told: list[NDArray[np.float32]] = []  # left, right, height, and the mouth's four, some rows each
        self._mouths: list[Grey] = []
        self._heads: list[Colours] = []

    def add(self, row: int, shot: int, view: int, face: Seen) -> None:
        self._loose.append(face.landmarks)
        self._presence.append(face.presence)
        self._where.append((row, shot, view, face.track))
        self._mouths.append(face.mouth)
        self._heads.append(face.head)
        if len(self._loose) == _LOOSE:
            self._pack()

    def _pack(self) -> None:
        if not self._loose:
            return
        landmarks = np.stack(self._loose)
        packed = pack_landmarks(landmarks)
        self._points.extend(packed.points)
        self._scales.extend(packed.scale)
        low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
        self._told.append(np.column_stack([low[:, 0], high[:, 0], high[:, 1] - low[:, 1], lip_sync.mouth(landmarks)]))
        self._loose = []

    def tracks(self, window: Window) -> list[Sightings]:
        """What the choice is made of, by growing track number."""
        self._pack()
        where = np.array(self._where, np.int64).reshape(-1, 4)
        told = np.concatenate([np.empty((0, 7)), *self._told]).astype(np.float64) * window.scale[where[:, 0], None]
        left, right, height = told[:, :3].T
        middle, (width, whole) = (left + right) / 2 + window.corner[where[:, 0], 0], window.size
        x, area = middle / width, (right - left) * height / (width * whole)
        found = []
        order = np.argsort(where[:, 3], kind="stable")
        numbers, starts = np.unique(where[order, 3], return_index=True)
        for number, mine in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
            rows, shot, view = where[mine, 0], int(where[mine[0], 1]), int(where[mine[0], 2])
            mouths, heads = (np.stack([some[i] for i in mine]) for some in (self._mouths, self._heads))
            moved = lip_sync.movements(told[mine, 3:])
            found.append(Sightings(number, shot, view, rows, x[mine], area[mine], moved, mouths, heads))
        return found

    def chosen(self, choice: Choice | None, window: Window) -> tuple[PackedLandmarks, NDArray[np.float32]]:
        """The points of the chosen face in pixels of the window, and the mesh's belief in it, per frame; without a choice of
        whatever was seen."""
        self._pack()
        frames = len(window.sizes)
        empty = pack_landmarks(np.full((1, MESH_POINTS, 3), np.nan, np.float32))
        points, scale = np.repeat(empty.points, frames, axis=0), np.repeat(empty.scale, frames, axis=0)
        presence = np.full(frames, np.nan, np.float32)
        numbers = {stretch.track for stretch in choice.spans} if choice is not None else None
        for i, (row, _, _, track) in enumerate(self._where):
            if numbers is None or track in numbers:
                points[row], scale[row], presence[row] = self._points[i], self._scales[i], self._presence[i]
        # The points are steps from an origin, so that to enlarge and move these is to enlarge and move all.
        scale *= window.scale[:, None].astype(np.float32)
        scale[:, :2] += window.corner.astype(np.float32)
        return PackedLandmarks(points, scale), presence


def measure_packed(
    packed: PackedLandmarks,
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes = scores,
    heartbeat: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """``measure`` of stored points, a block of frames at a time, so that its memory does not grow with the clip. ``heartbeat`` is
    called with each."""
    frames, parts = len(packed.points), []
    for start in range(0, frames, _BLOCK):
        heartbeat()
        # A frame before and one after: the quality asks whether the face leapt.
        low, end = max(0, start - 1), min(frames, start + _BLOCK)
        block = slice(low, end + 1)
        points = unpack_landmarks(PackedLandmarks(packed.points[block], packed.scale[block]))
        parts.append(measure(points, frame_size, presence[block], shapes)[start - low : end - low])
    return np.concatenate(parts)


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
            head_pose.pose_deg(face),
            head_pose.gaze_deg(face),
            _place(landmarks, frame_size),
            head_pose.quality(face, landmarks, frame_size, presence),
        ]
    ).astype(np.float32)


def _place(landmarks: NDArray[np.float32], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """(T, 3) middle of the face's box as fractions of width and height, and its height over the frame's."""
    low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
    return np.column_stack([(low + high) / 2 / frame_size, (high - low)[:, 1] / frame_size[1]])
