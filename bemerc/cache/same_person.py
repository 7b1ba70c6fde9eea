"""Mask pose rows that belong to a different person than the target face.

The target face is selected at the end of a clip; the pose model follows whom it takes for the main person, frame by
frame. Both caches keep what their models measured; whoever reads them together reads them here, where the rows of a
body that is not below the target face become NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features, FrameCache

# A nose belongs to a face when it is within three quarters of the face's height of its middle.
_REACH = 0.75
OTHER_PERSON = "The body in view is not below the measured face, and was left out."
_FACE, _NOSE = ("face_x", "face_y", "face_size"), ("nose_x", "nose_y")


def read(caches: Mapping[Any, FrameCache], kind: str, id_: str) -> Features:
    """One utterance's features. Pose rows are NaN where the body is another person's; where no face is visible they
    follow the majority of the other rows. CacheError as the cache raises it."""
    return read_with_reason(caches, kind, id_)[0]


def read_with_reason(caches: Mapping[Any, FrameCache], kind: str, id_: str) -> tuple[Features, str]:
    """As ``read``; and why nothing is left of what was measured, empty where something is, or nothing was there."""
    features = caches[kind][id_]
    masked = _masked(caches, kind, id_, features)
    if masked is None:
        return features, ""
    left = replace(features, values=np.where(masked[:, None], np.float32(np.nan), features.values))
    return left, OTHER_PERSON if masked.any() and not np.isfinite(left.values).any() else ""


def _masked(caches: Mapping[Any, FrameCache], kind: str, id_: str, features: Features) -> NDArray[np.bool_] | None:
    """(T,) the rows of another person's body; None where nobody can tell."""
    if kind != "pose" or not has_several_faces(caches, id_):
        return None
    other = is_other_person(caches["face"][id_], features)
    decided = np.isfinite(other)
    return np.where(decided, other == 1, np.mean(other[decided]) > 0.5) if decided.any() else None


def has_several_faces(caches: Mapping[Any, FrameCache], id_: str) -> bool:
    """Whether the utterance's target face was selected among several that were visible at a time."""
    choice = caches["face"].choices.get(id_) if "face" in caches else None
    return choice is not None and choice.faces > 1


def is_other_person(face: Features, pose: Features) -> NDArray[np.float64]:
    """Per row of the pose: 1 where the body is not below the target face, 0 where it is, NaN where that is
    undecidable."""
    undecided = np.full(len(pose.values), np.nan)
    if not {*_FACE} <= {*face.columns} or not {*_NOSE} <= {*pose.columns} or not len(face.values):
        return undecided
    rows = np.clip(np.searchsorted(face.timestamps_s, pose.timestamps_s - 1e-6), 0, len(face.values) - 1)
    x, y, size = (face.column(name)[rows] for name in _FACE)
    nose_x, nose_y = (pose.column(name) for name in _NOSE)
    away = np.maximum(np.abs(nose_x - x), np.abs(nose_y - y)) > _REACH * size
    return np.where(np.isfinite(x) & np.isfinite(nose_x), away, undecided)
