"""Where landmarks, joints and hands are in the picture: as fractions of the whole frame, whatever part of it was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import VISIBLE, Features, FrameCache, split_other
from bemerc.corpus.crops import Crop
from bemerc.corpus.manifest import Utterance
from bemerc.view.lines import BONES, FINGERS, LINES

MESH = tuple(sorted({point for line in LINES for point in line}))
JOINTS = tuple(dict.fromkeys(name for bone in BONES for name in bone))
SIDES = ("left", "right")
HAND_POINTS = 1 + max(max(finger) for finger in FINGERS)
Matrix = NDArray[np.float64]


def mesh_of(cache: FrameCache, u: Utterance, face: Features, id_: str = "") -> Matrix:
    """(T, 2 P) x and y of the drawn landmarks as fractions of the whole frame; ``id_``: of the rows, the utterance's
    where it is empty."""
    landmarks = cache.landmarks(id_ or u.id)
    size = None if landmarks is None else frame_size(landmarks, face)
    if landmarks is None or size is None:
        return np.full((len(face.values), 2 * len(MESH)), np.nan)
    points = landmarks[:, list(MESH), :2].astype(np.float64) / size
    return _in_frame(points, crop_of(u, id_)).reshape(len(points), -1)


def frame_size(landmarks: NDArray[np.float32], face: Features) -> tuple[float, float] | None:
    """Width and height in pixels of the frame that landmarks (T, P, 3) lie in, from the place of the face, which is kept
    as fractions; None where no frame tells."""
    if not {"face_x", "face_size"} <= {*face.columns}:
        return None
    low, high = landmarks[..., :2].min(axis=1).astype(np.float64), landmarks[..., :2].max(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        widths = (low + high)[:, 0] / 2 / face.column("face_x")
        heights = (high - low)[:, 1] / face.column("face_size")
    widths, heights = (values[np.isfinite(values) & (values > 0)] for values in (widths, heights))
    return (float(np.median(widths)), float(np.median(heights))) if widths.size and heights.size else None


def joints_of(pose: Features, u: Utterance) -> Matrix | None:
    """(T, 2 J) joints as fractions of the whole frame, NaN where one is not visible; None without such columns."""
    if not all(f"{name}_{axis}" in pose.columns for name in JOINTS for axis in ("x", "y")):
        return None
    points = np.stack([[pose.column(f"{name}_{axis}") for axis in ("x", "y")] for name in JOINTS]).transpose(2, 0, 1)
    positions = points.astype(np.float64)
    for number, name in enumerate(JOINTS):
        if f"{name}_visibility" in pose.columns:
            positions[~(pose.column(f"{name}_visibility") >= VISIBLE), number] = np.nan
    return _in_frame(positions, u.crop).reshape(len(positions), -1)


def hands_of(pose: Features, u: Utterance) -> Matrix | None:
    """(T, 84) both hands' points as fractions of the whole frame; None where hands were not measured."""
    if "left_hand_00_x" not in pose.columns:
        return None
    names = [f"{side}_hand_{i:02d}" for side in SIDES for i in range(HAND_POINTS)]
    points = np.stack([[pose.column(f"{name}_{axis}") for axis in ("x", "y")] for name in names]).transpose(2, 0, 1)
    return _in_frame(points.astype(np.float64), u.crop).reshape(points.shape[0], -1)


def crop_of(u: Utterance, id_: str) -> Crop | None:
    """The part of the picture in which an utterance's rows were measured, or those of somebody else in it (``id_``)."""
    return dict(u.listeners or ()).get(split_other(id_)[1], u.crop) if id_ else u.crop


def _in_frame(points: Matrix, crop: Crop | None) -> Matrix:
    """Points (T, P, 2) in fractions of a crop -> of the whole frame."""
    if crop is None:
        return points
    left, top, right, bottom = crop
    return np.asarray(points * (right - left, bottom - top) + (left, top))
