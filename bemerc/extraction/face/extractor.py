"""The face extractor: frames of a clip -> action units, head pose, gaze, place and quality, one row per frame.

Per frame, faces are detected and tracked, and their landmarks kept. At the end of the clip the target face is selected
(bemerc.extraction.face.target_face) and the columns are computed for it, from landmarks that were rounded to the
cache's grid: a better formula, applied to the cache later, starts from exactly the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, PackedLandmarks, pack_landmarks, unpack_landmarks
from bemerc.core.hashing import sha256
from bemerc.core.renames import formerly
from bemerc.extraction.face import action_units, head_pose, lip_sync, target_face
from bemerc.extraction.face.crops import Colors, Grey
from bemerc.extraction.face.detection import FaceTracker, TrackedFace
from bemerc.extraction.face.mesh import align
from bemerc.extraction.face.target_face import FaceTrack, Policy
from bemerc.extraction.networks import MESH_POINTS, Blendshapes
from bemerc.media.frame_view import ArrayFrame, FrameView, Window

MODELS = "mediapipe-face-landmarker-1"  # MediaPipe's release of the mesh that action units are fitted to
VERSION = f"{MODELS}/10"
_PACK_FRAMES = 32  # faces that are packed at once, which costs half as much
PLACE_COLUMNS = ("face_x", "face_y", "face_size")
_BLOCK = 1024


@dataclass(frozen=True)
class Params:
    """Section ``extract_video.face`` of params.yaml.

    faces                 how many faces are tracked at a time; 1 = the first one detected, and nothing is selected
    policy                the target face where several are visible: speaking (the mouth that moves with the sound;
                          without sound the largest) | largest | longest (visible) | left | right (in the frame)
    least_score           below this score (0 to 1) of the target face the utterance is marked uncertain
    detection_confidence  a face is detected when the detector's score is at least this
    tracking_confidence   a face is lost when the mesh's confidence falls below this
    landmarks             keep the raw points in the cache (they can identify people)
    task                  a face_landmarker.task of MediaPipe, whose landmark and blendshape models are then used; null for
                          the packaged ones, which are those of its release 1
    """

    faces: int = 4
    policy: Policy = "speaking"
    least_score: float = 0.7
    detection_confidence: float = 0.5
    tracking_confidence: float = 0.5
    landmarks: bool = True
    task: str | None = field(default=None, metadata=formerly("blendshapes"))

    def recorded(self) -> dict[str, Any]:
        """The params for store keys and caches: of the model's file only the name, since ``version`` has its hash and a
        cache that is handed on should name no folder of yours."""
        return asdict(self) | ({"task": Path(self.task).name} if self.task is not None else {})

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 1 <= self.faces <= 16:
            yield f"faces: {self.faces} must lie between 1 and 16."
        for name in ("least_score", "detection_confidence", "tracking_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: {getattr(self, name)} must lie between 0 and 1."
        if self.task is not None and not Path(self.task).is_file():
            yield f"task: there is no file {self.task}; null for the models that come with bemerc."


def version(params: Params) -> str:
    """VERSION, and the hash of the user's models: another file under the same name is another measurement."""
    return VERSION if params.task is None else f"{VERSION}+{sha256(Path(params.task))[:16]}"


def columns(params: Params) -> tuple[str, ...]:
    """The names of the face columns, in order."""
    del params
    return (*action_units.COLUMNS, *head_pose.POSE_COLUMNS, *head_pose.GAZE_COLUMNS, *PLACE_COLUMNS, "quality")


def open_extractor(params: Params) -> FaceExtractor:
    """Load the models (some 20 ms, and the imports the first time)."""
    return FaceExtractor(params)


class FaceExtractor:
    """``reset()``, then ``frame()`` for each frame of one clip in order, then ``finish()``; and again for the next.

    Set from outside: ``load_audio``, called at the end where the policy is ``speaking``, gives the clip's waveform, (N,)
    float32 mono at 16 kHz, or None; ``heartbeat`` is called meanwhile (the end of a film takes minutes). After
    ``finish``, ``landmarks`` holds the clip's packed points, or None where params do not keep them, and ``choice`` the
    selection of the target face, None where params track one face only.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.landmarks: PackedLandmarks | None = None
        self.choice: Choice | None = None
        self.load_audio: Callable[[], NDArray[np.float32] | None] = lambda: None
        self.heartbeat: Callable[[], None] = lambda: None
        task = None if params.task is None else Path(params.task)
        self._tracker = FaceTracker(params.faces, params.detection_confidence, params.tracking_confidence, task)
        self._shapes = Blendshapes(task)
        self._clear()

    def reset(self) -> None:
        """Forget the previous clip: the same clip gives the same bytes whatever came before it."""
        self._tracker.reset()
        self._clear()

    def _clear(self) -> None:
        self._faces = _ClipFaces()
        self._timestamps_s: list[float] = []
        self._sizes: list[tuple[int, int]] = []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8, contiguous; its size may be another than that of the frame before."""
        self.view(ArrayFrame(rgb), timestamp_s)

    def view(self, view: FrameView, timestamp_s: float) -> None:
        """As ``frame``; of most frames only the region around the faces is converted."""
        self._sizes.append(view.size)
        for face in self._tracker(view, timestamp_s):
            self._faces.add(len(self._timestamps_s), self._tracker.shot, self._tracker.view, face)
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
        packed, presence = self._faces.selected(self.choice, window)
        self.landmarks = packed if self.params.landmarks else None
        values = measure_packed(packed, window.size, presence, self._shapes, self.heartbeat)
        return Features(values, timestamps_s, names)

    def _choose(self, timestamps_s: NDArray[np.float64], window: Window) -> Choice:
        tracks = self._faces.tracks(window)
        audio = self.load_audio() if self.params.policy == "speaking" and tracks else None
        return target_face.select(
            tracks, timestamps_s, self.params.policy, audio, self.params.least_score, self.heartbeat
        )

    def close(self) -> None:
        """Nothing to free: the models are memory of this process."""


class _ClipFaces:
    """All faces of a clip: landmarks packed some at a time, 2.9 KB each, and 0.8 KB for the selection, which is not
    stored."""

    def __init__(self) -> None:
        self._unpacked: list[NDArray[np.float32]] = []
        self._points: list[NDArray[np.int16]] = []
        self._scales: list[NDArray[np.float32]] = []
        self._presence: list[float] = []
        self._positions: list[tuple[int, int, int, int]] = []  # row, shot, view, track
        self._measures: list[NDArray[np.float32]] = []  # left, right, height, and the mouth's four, (n, 7) each
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
            np.column_stack([low[:, 0], high[:, 0], high[:, 1] - low[:, 1], lip_sync.mouth(landmarks)])
        )
        self._unpacked = []

    def tracks(self, window: Window) -> list[FaceTrack]:
        """The tracks to select from, by growing number."""
        self._pack()
        positions = np.array(self._positions, np.int64).reshape(-1, 4)
        measures = (
            np.concatenate([np.empty((0, 7)), *self._measures]).astype(np.float64) * window.scale[positions[:, 0], None]
        )
        left, right, height = measures[:, :3].T
        middle, (width, frame_height) = (left + right) / 2 + window.corner[positions[:, 0], 0], window.size
        x, area = middle / width, (right - left) * height / (width * frame_height)
        tracks = []
        order = np.argsort(positions[:, 3], kind="stable")
        numbers, starts = np.unique(positions[order, 3], return_index=True)
        for number, of_track in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
            rows, shot, view = positions[of_track, 0], int(positions[of_track[0], 1]), int(positions[of_track[0], 2])
            mouths, heads = (np.stack([crops[i] for i in of_track]) for crops in (self._mouths, self._heads))
            movements = lip_sync.movements(measures[of_track, 3:])
            tracks.append(FaceTrack(number, shot, view, rows, x[of_track], area[of_track], movements, mouths, heads))
        return tracks

    def selected(self, choice: Choice | None, window: Window) -> tuple[PackedLandmarks, NDArray[np.float32]]:
        """Per frame the landmarks of the target face in pixels of the window, and the mesh's confidence in it; without
        a choice those of any face."""
        self._pack()
        frames = len(window.sizes)
        empty = pack_landmarks(np.full((1, MESH_POINTS, 3), np.nan, np.float32))
        points, scale = np.repeat(empty.points, frames, axis=0), np.repeat(empty.scale, frames, axis=0)
        presence = np.full(frames, np.nan, np.float32)
        selected = {stretch.track for stretch in choice.spans} if choice is not None else None
        for i, (row, _, _, track) in enumerate(self._positions):
            if selected is None or track in selected:
                points[row], scale[row], presence[row] = self._points[i], self._scales[i], self._presence[i]
        # Points are stored as steps from an origin: scaling and moving these scales and moves all.
        scale *= window.scale[:, None].astype(np.float32)
        scale[:, :2] += window.corner.astype(np.float32)
        return PackedLandmarks(points, scale), presence


def measure_packed(
    packed: PackedLandmarks,
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes | None = None,
    heartbeat: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """``measure`` of stored points, in blocks of frames, so that memory does not grow with the clip. ``heartbeat`` is
    called with each."""
    frames, parts = len(packed.points), []
    for start in range(0, frames, _BLOCK):
        heartbeat()
        # A frame before and one after: quality depends on the step between frames.
        before, end = max(0, start - 1), min(frames, start + _BLOCK)
        block = slice(before, end + 1)
        points = unpack_landmarks(PackedLandmarks(packed.points[block], packed.scale[block]))
        parts.append(measure(points, frame_size, presence[block], shapes)[start - before : end - before])
    return np.concatenate(parts)


def measure(
    landmarks: NDArray[np.float32],
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes | None = None,
) -> NDArray[np.float32]:
    """All columns of a clip: landmarks (T, 478, 3) in pixels of a frame of ``frame_size`` (width, height), presence
    (T,) -> (T, D) float32. shapes as in action_units."""
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
