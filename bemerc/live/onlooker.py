"""What is seen in a frame at once: faces, body, and the units of the largest face, or of every face.

While an utterance is measured, its own extractors tell; between utterances, and while one catches up with frames that
waited, a tracker that never ends.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import pack_landmarks, unpack_landmarks
from bemerc.extraction.face import action_units
from bemerc.extraction.face import extractor as face
from bemerc.extraction.face.detection import FaceTracker, TrackedFace
from bemerc.extraction.networks import Blendshapes, BodyPose
from bemerc.extraction.params import VideoParams
from bemerc.extraction.pose.body import within_picture
from bemerc.media.video import CroppedFrame

_REST_FRAMES = 1800  # a minute, within which a face shows where it rests
_REST_EVERY = 10
_GONE_S, _MOST_PEOPLE = 60.0, 64  # whose face was not seen for so long is somebody new


@dataclass(frozen=True)
class Observed:
    """A frame that was measured.

    size       width and height in pixels
    faces      all faces that are followed
    keypoints  (33, 4) of the body, from this frame or one shortly before; None where there is none
    utterance  number of the utterance that it belongs to, None between utterances
    """

    time_s: float
    size: tuple[int, int]
    faces: tuple[TrackedFace, ...]
    keypoints: NDArray[np.float32] | None
    utterance: int | None = None

    @property
    def main(self) -> TrackedFace | None:
        """The largest face, which stands for the measured one until the utterance's end has shown who speaks."""
        return max(self.faces, key=lambda one: float(np.ptp(one.landmarks[:, :2], axis=0).prod()), default=None)


class _Person:
    """Somebody's face: where it was seen last, and where its action units rest."""

    def __init__(self) -> None:
        self.position, self.last_s = np.zeros(2), -math.inf
        self._raw: deque[NDArray[np.float64]] = deque(maxlen=_REST_FRAMES)
        self._rest = np.zeros(len(action_units.COLUMNS))
        self._measured = 0

    def intensities(self, linear: NDArray[np.float64]) -> NDArray[np.float64]:
        """The next frame's units (1, U), linear, above where they rested so far."""
        self._raw.append(linear[0].copy())
        self._measured += 1
        if self._measured % _REST_EVERY == 1:
            self._rest = action_units.rest(np.array(self._raw))
        return action_units.intensities(linear, self._rest)


class Onlooker:
    """Follows faces and body through all frames."""

    def __init__(self, params: VideoParams) -> None:
        of_face, of_body = params.face, params.pose
        task = None if of_face.task is None else Path(of_face.task)
        self._tracker = FaceTracker(of_face.faces, of_face.detection_confidence, of_face.tracking_confidence, task)
        self._shapes = Blendshapes(task)
        self._body = BodyPose(of_body.detection_confidence, of_body.tracking_confidence)
        self._rate_hz, self._slot = of_body.rate_hz, -1
        self._keypoints: NDArray[np.float32] | None = None
        self._columns, self._everybody = face.columns(of_face), of_face.keep == "all"
        self._people: list[_Person] = []

    def look(self, frame: Any, utterance: int | None) -> Observed:
        """Measure a frame (media.video.Frame, or what is like one)."""
        view = CroppedFrame(frame)
        if (slot := math.floor(frame.timestamp_s * self._rate_hz)) > self._slot:
            detected = self._body(view.rgb(), frame.timestamp_s)
            self._slot, self._keypoints = slot, None if detected is None else within_picture(detected)
        faces = tuple(self._tracker(view, frame.timestamp_s))
        return Observed(frame.timestamp_s, frame.size, faces, self._keypoints, utterance)

    def units(self, observed: Observed) -> dict[str, float]:
        """The face columns of the largest face by name, but for the rest's; empty without a face.

        They are the extractor's, with two that there depend on what is yet to come: units stand above where the face
        rested in the last minute, and quality knows no next frame.
        """
        return {} if (main := observed.main) is None else self._units_of(main, observed)

    def others(self, observed: Observed) -> list[dict[str, float]] | None:
        """The same of every other face; None unless params keep everybody's (``keep: all``)."""
        if not self._everybody:
            return None
        return [self._units_of(one, observed) for one in observed.faces if one is not observed.main]

    def _units_of(self, one: TrackedFace, observed: Observed) -> dict[str, float]:
        points = unpack_landmarks(pack_landmarks(one.landmarks[None]))
        values = face.measure_frames(points, observed.size, np.array([one.presence], np.float32), self._shapes)
        units = slice(0, len(action_units.COLUMNS))
        values[:, units] = self._person(one, observed.time_s).intensities(values[:, units])
        return dict(zip(self._columns, values[0].tolist(), strict=False))

    def _person(self, one: TrackedFace, time_s: float) -> _Person:
        """Whose face this is: of the nearest one not yet seen in this frame, within a face's size; else of somebody new."""
        low, high = one.landmarks[:, :2].min(axis=0), one.landmarks[:, :2].max(axis=0)
        position, reach = (low + high) / 2, float(np.max(high - low))
        self._people = [person for person in self._people if person.last_s > time_s - _GONE_S][-_MOST_PEOPLE:]
        near = [p for p in self._people if p.last_s < time_s and np.linalg.norm(p.position - position) < reach]
        person = min(near, key=lambda p: float(np.linalg.norm(p.position - position)), default=None)
        if person is None:
            self._people.append(person := _Person())
        person.position, person.last_s = position, time_s
        return person
