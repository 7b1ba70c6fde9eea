"""A cut turns heads and tips shoulders that did not move: angles and places count within each shot.

Another camera sees the same person from another side, and a cache does not say where the film cuts. It shows in where
the face or the shoulders are: they leap. The rule is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events, statistics
from bemerc.cache import Features

Array = NDArray[np.float64]

# From one frame to the next one in which it is measured, in parts of the picture.
LEAP = {"face_x": 0.1, "face_y": 0.1, "face_size": 0.1}
BODY_LEAP = {f"{side}_shoulder_{axis}": 0.1 for side in ("left", "right") for axis in "xy"}
MIN_SHOT_S = 0.5  # in less, a movement and the camera's angle look the same
COLUMNS = (
    *("pose_pitch_deg", "pose_yaw_deg", "pose_roll_deg", "gaze_x_deg", "gaze_y_deg"),
    *("lean_deg", "sway_deg", "shoulder_tilt_deg", "slump", *BODY_LEAP),
)

NONE: Array = np.empty(0)


def cuts(face: Features | None, pose: Features | None) -> Array:
    """The times in seconds at which a shot begins, the first one left out, in order; (0,) without any."""
    of_face, face_s = (np.empty(0), np.empty(0)) if face is None else (_leaps(face, LEAP), _face_times_s(face))
    if pose is None or not len(pose.timestamps_s):
        return of_face
    # Shoulders slip more often than faces, and are measured less often: they count where no face is in sight.
    near_s = 2 * events.frame_s(pose.timestamps_s)
    alone = [time_s for time_s in _leaps(pose, BODY_LEAP) if not (np.abs(face_s - time_s) <= near_s).any()]
    return np.sort(np.concatenate([of_face, alone]))


def leveled(frames: Features, cuts_s: Array) -> Features:
    """Frames whose COLUMNS have, in every shot, the clip's median; shots of under half a second have nothing else."""
    columns = [frames.columns.index(name) for name in COLUMNS if name in frames.columns]
    if not columns or not len(frames.values) or not cuts_s.size:
        return frames
    series, values = frames.values[:, columns].astype(np.float64), frames.values.copy()
    series[~np.isfinite(series)] = np.nan
    shots = np.searchsorted(cuts_s, frames.timestamps_s, side="right")
    for shot in np.unique(shots):
        inside = shots == shot
        there = np.isfinite(series[inside])
        long_enough = there.sum(axis=0) * events.frame_s(frames.timestamps_s) >= MIN_SHOT_S
        moved = np.where(long_enough, series[inside] - statistics.median(series[inside]), 0.0)
        values[np.ix_(inside, columns)] = np.where(there, statistics.median(series) + moved, np.nan)
    return replace(frames, values=values)


def _leaps(frames: Features, limits: Mapping[str, float]) -> Array:
    """The times of frames in which all that may leap is measured, and something lies that far from where it was in the one before."""
    if not set(limits) <= set(frames.columns):
        return np.empty(0)
    positions = np.column_stack([frames.column(name) for name in limits]).astype(np.float64)
    there = np.isfinite(positions).all(axis=1)
    leaps = (np.abs(np.diff(positions[there], axis=0)) >= list(limits.values())).any(axis=1)
    return np.asarray(frames.timestamps_s[there][1:][leaps], np.float64)


def _face_times_s(face: Features) -> Array:
    """When the face was measured."""
    there = np.isfinite(face.column("face_x")) if "face_x" in face.columns else np.zeros(len(face.values), bool)
    return np.asarray(face.timestamps_s[there], np.float64)
