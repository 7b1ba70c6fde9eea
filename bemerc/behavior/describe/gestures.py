"""States of the hands: at the face, open or closed, moving much or little.

Other acts are departures from rest, but a hand that lies before the mouth from the first frame to the last departs from
nothing. So these are states, named where they last. A hand that is out of the picture is in none. Thresholds are ours;
columns are those of ``bemerc.extraction.pose.hands``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import phrases
from bemerc.behavior.describe.series import mean_of, series_of
from bemerc.behavior.signals import events
from bemerc.cache import Features

SIDES = ("left", "right")
COLUMNS = (*(f"{side}_hand_{what}" for side in SIDES for what in ("near_face", "open")), "hands_movement")
MIN_STATE_S = 0.35  # shorter is an error of the model: three frames at 8 Hz
AT_FACE = 0.5  # of hand_near_face: within one and three quarters of a palm's length of the nose
OPEN, CLOSED = 0.75, 0.25  # of hand_open; between them a hand is relaxed, which is not described
# Palm lengths per second, for where there are no references of train: a palm is some 10 cm.
MOVES = (0.8, 2.0)
THROUGHOUT = 0.75  # of the time in which the body or a hand was visible


@dataclass(frozen=True)
class HandState:
    """A state, and the frames (T,) in which the hand was in it."""

    state: str
    frames: NDArray[np.bool_]


def has_hands(pose: Features) -> bool:
    """Whether these frames have the columns of hands."""
    return set(COLUMNS) <= set(pose.columns)


def visible(pose: Features) -> NDArray[np.bool_]:
    """(T,) frames in which a hand was measured."""
    shapes = np.stack([series_of(pose, f"{side}_hand_open") for side in SIDES])
    return np.asarray(np.isfinite(shapes).any(axis=0))


def describe_hands(pose: Features, body_visible: NDArray[np.bool_]) -> list[str]:
    """A phrase per lasting state, those at the face first. ``body_visible`` (T,): frames with a body or a hand."""
    pairs = [[_state(pose, side, state) for side in SIDES] for state in phrases.HAND_STATES]
    return [phrase for pair in pairs for phrase in _phrases(pair, pose, body_visible)]


def covered(face: Features, pose: Features | None) -> NDArray[np.bool_] | None:
    """(T,) frames of the face at which a hand is at it; None where hands were not measured.

    Pose frames are fewer than face frames: each counts for the time to its neighbours on either side.
    """
    if pose is None or not has_hands(pose) or not len(pose.values):
        return None
    at_face = np.any([series_of(pose, f"{side}_hand_near_face") >= AT_FACE for side in SIDES], axis=0)
    next_pose = np.searchsorted(pose.timestamps_s, face.timestamps_s)
    before, after = np.clip(next_pose - 1, 0, None), np.clip(next_pose, None, len(at_face) - 1)
    return np.asarray(at_face[before] | at_face[after])


def movement(pose: Features) -> float:
    """Mean speed of the hands in palm lengths per second, NaN where none was visible for two frames."""
    return mean_of(pose, "hands_movement")


def movement_class(speed: float) -> int:
    """0 to 4 without train's quantiles: little, some, much."""
    return (0, 2, 4)[int(np.searchsorted(MOVES, speed, side="right"))]


def _state(pose: Features, side: str, state: str) -> HandState:
    if state == "at the face":
        return HandState(state, series_of(pose, f"{side}_hand_near_face") >= AT_FACE)
    shape = series_of(pose, f"{side}_hand_open")
    return HandState(state, shape >= OPEN if state == "open" else shape <= CLOSED)


def _phrases(pair: Sequence[HandState], pose: Features, body_visible: NDArray[np.bool_]) -> list[str]:
    """One state, as one phrase of both hands where they mostly share it, or of each."""
    step_s = events.frame_s(pose.timestamps_s)
    lasting = [(side, one) for side, one in zip(SIDES, pair, strict=True) if one.frames.sum() * step_s >= MIN_STATE_S]
    shared = pair[0].frames & pair[1].frames
    if len(lasting) == 2 and shared.sum() * 2 >= max(one.frames.sum() for one in pair):
        lasting = [("both", HandState(pair[0].state, pair[0].frames | pair[1].frames))]
    return [phrases.hand(side, one.state, _time(one.frames, pose, body_visible)) for side, one in lasting]


def _time(frames: NDArray[np.bool_], pose: Features, body_visible: NDArray[np.bool_]) -> int:
    """Index in phrases.TIMES."""
    if frames.sum() >= THROUGHOUT * body_visible.sum():
        return phrases.TIMES.index("throughout")
    stamps = pose.timestamps_s
    share = (float(stamps[frames].mean()) - stamps[0]) / max(stamps[-1] - stamps[0], 1e-9)
    return min(2, int(3 * share))
