"""The face extractor: frames of a clip -> action units, head pose, gaze, place and quality, one row per frame.

Per frame, faces are detected and tracked, and their landmarks kept. At the end of the clip the target face is selected
(bemerc.extraction.face.target_face) and the columns are computed for it, from landmarks that were rounded to the
cache's grid: a better formula, applied to the cache later, starts from exactly the same points.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, Other, PackedLandmarks, pack_landmarks, unpack_landmarks
from bemerc.core.errors import BemercError
from bemerc.core.hashing import sha256
from bemerc.core.renames import formerly
from bemerc.core.terminal import printable
from bemerc.extraction.face import action_units, head_pose, target_face
from bemerc.extraction.face.clip_faces import ClipFaces
from bemerc.extraction.face.detection import FaceTracker, TrackedFace
from bemerc.extraction.face.mesh import align
from bemerc.extraction.face.speaker_scores import SpeakerScores, open_scores
from bemerc.extraction.face.target_face import Policy
from bemerc.extraction.networks import MESH_POINTS, Blendshapes
from bemerc.media.frame_view import ArrayFrame, FrameView, Window

MODELS = "mediapipe-face-landmarker-1"  # MediaPipe's release of the mesh that action units are fitted to
VERSION = f"{MODELS}/17"
POSITION_COLUMNS = ("face_x", "face_y", "face_size")
_BLOCK = 1024


@dataclass(frozen=True)
class Params:
    """Section ``extract_video.face`` of params.yaml.

    faces                 how many faces are tracked at a time; 1 = the first one detected, and nothing is selected
    policy                the target face where several are visible: speaking (the mouth that moves with the sound;
                          without sound the largest) | largest | longest (visible) | left | right (in the frame) |
                          network (as speaking, by the user's network)
    least_score           below this score (0 to 1) of the target face the utterance is marked uncertain
    detection_confidence  a face is detected when the detector's score is at least this
    tracking_confidence   a face is lost when the mesh's confidence falls below this
    keep                  target: the rows of the target face | all: those of every other face beside them, for views of a
                          conversation and for listeners
    landmarks             keep the raw points in the cache (they can identify people)
    task                  a face_landmarker.task of MediaPipe, whose landmark and blendshape models are then used; null for
                          the packaged ones, which are those of its release 1
    network               for the policy network: an ONNX file of the form of Light-ASD and LR-ASD
    """

    faces: int = 4
    policy: Policy = "speaking"
    least_score: float = 0.7
    detection_confidence: float = 0.5
    tracking_confidence: float = 0.5
    keep: Literal["target", "all"] = "target"
    landmarks: bool = True
    task: str | None = field(default=None, metadata=formerly("blendshapes"))
    network: str | None = None

    @property
    def speaker_network(self) -> Path | None:
        """The network that selects the target face, if one does."""
        return Path(self.network) if self.policy == "network" and self.network is not None else None

    def recorded(self) -> dict[str, Any]:
        """The params for store keys and caches: of the model's file only the name, since ``version`` has its hash and a
        cache that is handed on should name no folder of yours; of the network, where it decides, the hash alone; ``keep``
        only where it keeps more than ever was kept."""
        named = asdict(self) | ({"task": Path(self.task).name} if self.task is not None else {})
        del named["network"]
        if self.speaker_network is not None:
            named["network"] = f"sha256:{sha256(self.speaker_network)}"
        return {name: value for name, value in named.items() if (name, value) != ("keep", "target")}

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 1 <= self.faces <= 16:
            yield f"faces: {self.faces} must lie between 1 and 16."
        if self.keep == "all" and self.faces == 1:
            yield "keep: all keeps the faces beside the target's, and faces: 1 tracks none; set faces to 2 or more."
        for name in ("least_score", "detection_confidence", "tracking_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                yield f"{name}: {getattr(self, name)} must lie between 0 and 1."
        if self.task is not None and not Path(self.task).is_file():
            yield f"task: there is no file {self.task}; null for the models that come with bemerc."
        if self.policy == "network" and (fault := self._network_fault()):
            yield (
                f"network: the policy network needs an ONNX file, and {fault}. Name one by --set "
                "extract_video.face.network=FILE.onnx, or in the params file; docs/measurements/target_face.md says how to "
                "make one."
            )

    def _network_fault(self) -> str:
        """Why there can be no network; what is in the file is judged where it is opened."""
        if not self.network:
            return "none is named"
        path, name = Path(self.network), printable(self.network, 1000)
        if path.is_dir():
            return f"{name} is a folder"
        return "" if path.is_file() else f"there is no file {name}"


def version(params: Params) -> str:
    """VERSION, and the hash of the user's models: another file under the same name is another measurement. BemercError
    where what runs the network is not installed."""
    if params.policy == "network" and importlib.util.find_spec("onnxruntime") is None:
        raise BemercError('network needs ONNX Runtime: pip install "bemerc[network]".', key="face.policy")
    return VERSION if params.task is None else f"{VERSION}+{sha256(Path(params.task))[:16]}"


def columns(params: Params) -> tuple[str, ...]:
    """The names of the face columns, in order."""
    del params
    measured = (*action_units.COLUMNS, *head_pose.POSE_COLUMNS, *head_pose.GAZE_COLUMNS, *POSITION_COLUMNS, "quality")
    return (*measured, *action_units.REST_COLUMNS)


def open_extractor(params: Params) -> FaceExtractor:
    """Load the models (some 20 ms, and the imports the first time)."""
    return FaceExtractor(params)


class FaceExtractor:
    """``reset()``, then ``frame()`` for each frame of one clip in order, then ``finish()``; and again for the next.
    ``faces`` holds those of the latest frame.

    Set from outside: ``load_audio``, called where the policy is ``speaking`` at the end, and ``network`` on the way too,
    gives the clip's waveform, (N,) float32 mono at 16 kHz, or None; ``heartbeat`` is called meanwhile (the end of a film
    takes minutes). After
    ``finish``, ``landmarks`` holds the clip's packed points, or None where params do not keep them, ``choice`` the
    selection of the target face, None where params track one face only, and ``others`` the other faces where they are kept.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.landmarks: PackedLandmarks | None = None
        self.choice: Choice | None = None
        self.others: tuple[Other, ...] = ()
        self.load_audio: Callable[[], NDArray[np.float32] | None] = lambda: None
        self.heartbeat: Callable[[], None] = lambda: None
        task = None if params.task is None else Path(params.task)
        self._tracker = FaceTracker(params.faces, params.detection_confidence, params.tracking_confidence, task)
        self._shapes = Blendshapes(task)
        self._scores: SpeakerScores | None = None
        if params.speaker_network is not None and params.faces > 1:
            self._scores = open_scores(params.speaker_network, lambda: self.load_audio(), lambda: self.heartbeat())
        self._clear()

    def reset(self) -> None:
        """Forget the previous clip: the same clip gives the same bytes whatever came before it."""
        self._tracker.reset()
        self._clear()

    def _clear(self) -> None:
        self.faces: list[TrackedFace] = []
        self._faces = ClipFaces()
        if self._scores is not None:
            self._scores.reset()
        self._timestamps_s: list[float] = []
        self._sizes: list[tuple[int, int]] = []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        """One frame (H, W, 3) uint8, contiguous; its size may be another than that of the frame before."""
        self.view(ArrayFrame(rgb), timestamp_s)

    def view(self, view: FrameView, timestamp_s: float) -> None:
        """As ``frame``; of most frames only the region around the faces is converted."""
        self._sizes.append(view.size)
        self.faces = self._tracker(view, timestamp_s)
        for face in self.faces:
            self._faces.add(len(self._timestamps_s), self._tracker.shot, self._tracker.view, face)
        if self._scores is not None:
            self._scores.add(len(self._timestamps_s), timestamp_s, view, self.faces)
        self._timestamps_s.append(timestamp_s)

    def finish(self) -> Features:
        """The clip's features: one row per frame, NaN where there was no face."""
        names = columns(self.params)
        timestamps_s = np.array(self._timestamps_s, np.float64)
        self.landmarks = self.choice = None
        self.others = ()
        if not len(timestamps_s):
            if self.params.landmarks:
                self.landmarks = pack_landmarks(np.empty((0, MESH_POINTS, 3), np.float32))
            return Features(np.empty((0, len(names)), np.float32), timestamps_s, names)
        window = Window(self._sizes)
        people = self._select(timestamps_s, window) if self.params.faces > 1 else {}
        packed, presence = self._faces.selected(self.choice, window)
        self.landmarks = packed if self.params.landmarks else None
        values = measure_packed(packed, window.size, presence, self._shapes, self.heartbeat)
        self.others = tuple(self._other(number, person, timestamps_s, window) for number, person in people.items())
        return Features(values, timestamps_s, names)

    def _select(self, timestamps_s: NDArray[np.float64], window: Window) -> dict[int, Choice]:
        """Select the target face; returns the other people whose rows are to be kept."""
        tracks = self._faces.tracks(window)
        audio = self.load_audio() if self.params.policy in target_face.BY_SOUND and tracks else None
        log_odds = self._scores.finish() if self._scores is not None else {}
        how = self.params.policy, audio, self.params.least_score, self.heartbeat, log_odds
        self.choice, scores = target_face.select(tracks, timestamps_s, *how)
        return target_face.others(tracks, self.choice, scores, self.heartbeat) if self.params.keep == "all" else {}

    def _other(self, number: int, person: Choice, timestamps_s: NDArray[np.float64], window: Window) -> Other:
        """The rows of somebody else: the frames in which that face was detected."""
        rows, packed, presence = self._faces.of_tracks({span.track for span in person.spans}, window)
        values = _measure_with_gaps(rows, packed, window.size, presence, self._shapes, self.heartbeat)
        features = Features(values, timestamps_s[rows], columns(self.params))
        return Other(str(number), features, packed if self.params.landmarks else None, person)

    def close(self) -> None:
        """Nothing to free: the models are memory of this process."""


def measure_packed(
    packed: PackedLandmarks,
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes | None = None,
    heartbeat: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """All columns of a clip, (T, D): stored points, in pixels of a frame of ``frame_size`` (width, height), and the
    mesh's presence (T,). In blocks of frames, so that memory does not grow with the clip; ``heartbeat`` is called with
    each. shapes as in action_units."""
    frames, parts = len(packed.points), []
    for start in range(0, frames, _BLOCK):
        heartbeat()
        # A frame before and one after: quality depends on the step between frames.
        before, end = max(0, start - 1), min(frames, start + _BLOCK)
        block = slice(before, end + 1)
        points = unpack_landmarks(PackedLandmarks(packed.points[block], packed.scale[block]))
        parts.append(measure_frames(points, frame_size, presence[block], shapes)[start - before : end - before])
    values = np.concatenate(parts)
    units = slice(0, len(action_units.COLUMNS))  # above the person's rest, which only the whole clip shows
    raw = values[:, units].copy()
    rest = action_units.rest(raw)
    values[:, units] = action_units.intensities(raw, rest)
    return np.column_stack([values, raw - action_units.bounded(raw - rest)]).astype(np.float32)


def _measure_with_gaps(
    rows: NDArray[np.int64],
    packed: PackedLandmarks,
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes,
    heartbeat: Callable[[], None],
) -> NDArray[np.float32]:
    """``measure_packed`` of some frames of a clip, whose numbers are ``rows``: a face that is back after a gap took no
    step in it."""
    before_gap = np.flatnonzero(np.diff(rows) > 1) + 1
    empty = pack_landmarks(np.full((1, MESH_POINTS, 3), np.nan, np.float32))
    points, scale = (
        np.insert(getattr(packed, name), before_gap, getattr(empty, name), axis=0) for name in ("points", "scale")
    )
    filled = np.insert(presence, before_gap, np.float32(np.nan))
    values = measure_packed(PackedLandmarks(points, scale), frame_size, filled, shapes, heartbeat)
    return np.delete(values, before_gap + np.arange(len(before_gap)), axis=0)


def measure_frames(
    landmarks: NDArray[np.float32],
    frame_size: tuple[int, int],
    presence: NDArray[np.float32],
    shapes: action_units.Shapes | None,
) -> NDArray[np.float64]:
    """The columns of some frames but for the rest's: landmarks (T, 478, 3), presence (T,) -> (T, 27), the action units
    linear."""
    face = align(landmarks)
    return np.column_stack(
        [
            action_units.linear(face, shapes),
            head_pose.pose_deg(face),
            head_pose.gaze_deg(face),
            _position(landmarks, frame_size),
            head_pose.quality(face, landmarks, frame_size, presence),
        ]
    )


def _position(landmarks: NDArray[np.float32], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """(T, 3) middle of the face's box as fractions of width and height, and its height over the frame's."""
    low, high = landmarks[:, :, :2].min(axis=1), landmarks[:, :, :2].max(axis=1)
    return np.column_stack([(low + high) / 2 / frame_size, (high - low)[:, 1] / frame_size[1]])
