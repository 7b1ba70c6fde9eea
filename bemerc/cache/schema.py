"""The values in a frame cache: an utterance's features, its raw landmarks, the choice of its target face."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import parse_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "bemerc-frames"
SCHEMA_VERSION = 1
# Of an index: earlier releases say that they cannot read it.
INDEX_VERSION = 2
# What a cache can hold: a modality's measurements; and speech, an encoder's rows beside audio's prosody.
Kind = Literal["face", "pose", "audio", "speech"]
KINDS: tuple[Kind, ...] = ("face", "pose", "audio", "speech")

# No camera and no extractor gives more rows a second; what sizes its work by the step between rows is bounded by it.
MOST_HZ = 1000

# Between an utterance's id and the name of somebody else in it: the id of that person's rows.
OTHER = "#"
# The group of a cache with their rows.
OTHERS = "others"

# With less visibility (columns ``*_visibility``) a keypoint is the model's guess, not a measurement.
VISIBLE = 0.5

# Failures that are properties of the clip, not errors: it has no such track.
NO_TRACK = frozenset({"The clip has no sound track.", "The clip has no video track."})

# Group of texts -> the name of its texts beside the ids.
PAIRS = {"failures": "reasons", "notes": "reasons", "sources": "sha256", "choices": "json"}

# Steps between the outermost points of a face: with 1024 a 100-pixel face is kept to a tenth of a pixel.
_LANDMARK_STEPS = 1024
NO_POINT = np.int16(-32768)


@dataclass(frozen=True)
class Head:
    """How everything in a cache was measured.

    rate       rows a second, or "clip": one per frame of the clip
    extractor  its name and version
    params     those that the numbers depend on
    """

    modality: Kind
    columns: tuple[str, ...]
    rate: Literal["clip"] | float
    extractor: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Features:
    """What one modality measured of one utterance.

    values        (T, D) float32; a NaN row = nothing was detected at that moment; T = 0 = nothing at all
    timestamps_s  (T,) float64, increasing, seconds from the utterance's start
    columns       D names, the contract with everything downstream

    >>> smile = Features(np.float32([[0.5], [2.5]]), np.array([0.0, 0.04]), ("AU12_r",))
    >>> smile
    Features(2 frames x 1 column, 0.04 s)
    >>> smile.column("AU12_r")
    array([0.5, 2.5], dtype=float32)
    """

    values: NDArray[np.float32]
    timestamps_s: NDArray[np.float64]
    columns: tuple[str, ...]

    def __repr__(self) -> str:
        rows, width = self.values.shape
        frames, columns = f"{rows} frame{'s' * (rows != 1)}", f"{width} column{'s' * (width != 1)}"
        return f"Features({frames} x {columns}, {self.timestamps_s[-1] if rows else 0:.2f} s)"

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with one row per frame, indexed by ``time_s``; needs pandas."""
        from bemerc.cache.notebook import frame_of

        return frame_of(self)

    def plot(self, columns: Sequence[str] | None = None, title: str = "") -> Any:
        """A matplotlib figure of ``columns`` over time, the liveliest six where None; needs matplotlib."""
        from bemerc.cache.notebook import plot

        return plot(self, columns, title)

    def column(self, name: str) -> NDArray[np.float32]:
        """The (T,) series of one column; CacheError if there is no such column."""
        if name not in self.columns:
            raise CacheError(f"There is no column '{name}'; the columns are {', '.join(self.columns)}.", name=name)
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True)
class PackedLandmarks:
    """Raw points as they are stored: points (T, P, 3) int16, scale (T, 4) float32 (x, y, z of the origin, then the
    step)."""

    points: NDArray[np.int16]
    scale: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrackSpan:
    """The rows first to end - 1 are of one face: its track's number, the score of that choice (0 to 1), and how many
    tracks its shot had. Rows in between that do not show it are NaN."""

    first: int
    end: int
    track: int
    score: float
    tracks: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of an utterance's target face.

    policy     the policy in the params: speaking, largest, longest, left, right, network
    by         the policy that decided: alone where there was at most one face, largest for speaking and network without
               sound, or without a score of any face
    faces      the most faces in one frame
    score      mean of the spans' scores, weighted by their frames
    uncertain  the score is below the limit in the params
    """

    policy: str
    by: str
    faces: int
    score: float
    uncertain: bool
    spans: tuple[TrackSpan, ...] = ()

    def as_json(self) -> str:
        """One line; scores to four places."""
        rows = [[s.first, s.end, s.track, round(s.score, 4), s.tracks] for s in self.spans]
        fields = {"policy": self.policy, "by": self.by, "faces": self.faces, "score": round(self.score, 4)}
        return json.dumps({**fields, "uncertain": self.uncertain, "stretches": rows})

    @staticmethod
    def from_json(text: str) -> Choice:
        """The inverse; JsonError, ValueError, KeyError or TypeError where it is no such line."""
        fields = parse_json(text, "a choice of a face")
        spans = tuple(
            TrackSpan(int(first), int(end), int(track), float(score), int(tracks))
            for first, end, track, score, tracks in fields["stretches"]
        )
        score, uncertain = float(fields["score"]), bool(fields["uncertain"])
        return Choice(str(fields["policy"]), str(fields["by"]), int(fields["faces"]), score, uncertain, spans)


@dataclass(frozen=True)
class Other:
    """Somebody else in an utterance's picture than the target face.

    name       of that person within the utterance: a number, or a participant's name; without OTHER
    features   the frames in which that face was detected and not measured as the target's, on the utterance's clock
    landmarks  of the same frames; None where none are kept
    choice     its spans are this person's tracks, with their scores; frame numbers as in the target's choice
    """

    name: str
    features: Features
    landmarks: PackedLandmarks | None = None
    choice: Choice | None = None


def id_of_other(utterance: str, name: str) -> str:
    """The id of somebody else's rows during an utterance."""
    return f"{utterance}{OTHER}{name}"


def split_other(id_: str) -> tuple[str, str]:
    """The inverse: (utterance, name)."""
    utterance, _, name = id_.rpartition(OTHER)
    return utterance, name


def pack_landmarks(landmarks: NDArray[np.float32]) -> PackedLandmarks:
    """(T, P, 3) float32 in any one unit -> int16 steps around each frame's centre, so that small faces lose no more
    than large ones."""
    with np.errstate(invalid="ignore"):
        low, high = landmarks.min(axis=1), landmarks.max(axis=1)
        step = np.maximum((high - low).max(axis=1), 1e-6) / _LANDMARK_STEPS
        scale = np.concatenate([(low + high) / 2, step[:, None]], axis=1).astype(np.float32)
        steps = np.rint((landmarks - scale[:, None, :3]) / scale[:, None, 3:])
    return PackedLandmarks(np.where(np.isfinite(steps), steps, np.float32(NO_POINT)).astype(np.int16), scale)


def unpack_landmarks(packed: PackedLandmarks) -> NDArray[np.float32]:
    """The inverse of pack_landmarks, to half a step."""
    points = np.where(packed.points == NO_POINT, np.float32(np.nan), packed.points.astype(np.float32))
    return np.asarray(points * packed.scale[:, None, 3:] + packed.scale[:, None, :3], np.float32)
