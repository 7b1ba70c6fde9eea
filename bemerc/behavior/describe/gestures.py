"""What hands did, where hands were measured: at the face, open or closed, moving much or little.

Every other act is a departure from rest, and a hand that lies before the mouth from the first frame to the last departs
from nothing. So these are states: told when they last, whatever the hand did before. A hand that is out of sight is in no
state at all. Thresholds are ours; columns are those of ``extract_video.pose.hands``, without which nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe import phrases
from bemerc.behavior.describe.micro_expressions import series_of
from bemerc.behavior.signals import events
from bemerc.cache import Features

SIDES = ("left", "right")
COLUMNS = (*(f"{side}_hand_{what}" for side in SIDES for what in ("near_face", "open")), "hands_movement")
HELD_S = 0.35  # shorter is a slip of the model: three frames at 8 Hz
AT_FACE = 0.5  # of hand_near_face: within one and three quarters of a palm's length of the nose
OPEN, CLOSED = 0.75, 0.25  # of hand_open; between them a hand is at ease, which is nothing to tell
# Palm lengths per second, where there is no train to judge by: a palm is some 10 cm.
MOVES = (0.8, 2.0)
THROUGHOUT = 0.75  # of the time in which the body or a hand was seen


@dataclass(frozen=True)
class Held:
    """A hand's state and the frames (T,) in which it was in it."""

    state: str
    frames: NDArray[np.bool_]


def measured(pose: Features) -> bool:
    """Whether these frames tell of hands."""
    return set(COLUMNS) <= set(pose.columns)


def seen(pose: Features) -> NDArray[np.bool_]:
    """(T,) frames in which a hand was in sight."""
    shapes = np.stack([series_of(pose, f"{side}_hand_open") for side in SIDES])
    return np.asarray(np.isfinite(shapes).any(axis=0))


def told(pose: Features, watched: NDArray[np.bool_]) -> list[str]:
    """What each hand did, first what is at the face. ``watched`` (T,): frames in which anything was seen."""
    pairs = [[_held(pose, side, state) for side in SIDES] for state in phrases.HAND_STATES]
    return [piece for pair in pairs for piece in _pieces(pair, pose, watched)]


def covered(face: Features, pose: Features | None) -> NDArray[np.bool_] | None:
    """(T,) frames of the face around which a hand is at it; None where hands were not measured. The body's frames are
    fewer: one counts for the time to its neighbours on either side."""
    if pose is None or not measured(pose) or not len(pose.values):
        return None
    at_face = np.any([series_of(pose, f"{side}_hand_near_face") >= AT_FACE for side in SIDES], axis=0)
    places = np.searchsorted(pose.timestamps_s, face.timestamps_s)
    before, after = np.clip(places - 1, 0, None), np.clip(places, None, len(at_face) - 1)
    return np.asarray(at_face[before] | at_face[after])


def movement(pose: Features) -> float:
    """Mean speed of the hands in palm lengths per second, NaN where none was in sight for two frames."""
    moved = series_of(pose, "hands_movement")
    return float(moved[np.isfinite(moved)].mean()) if np.isfinite(moved).any() else float("nan")


def place(speed: float) -> int:
    """0 to 4 without train's quantiles: little, some, much."""
    return (0, 2, 4)[int(np.searchsorted(MOVES, speed, side="right"))]


def _held(pose: Features, side: str, state: str) -> Held:
    if state == "at the face":
        return Held(state, series_of(pose, f"{side}_hand_near_face") >= AT_FACE)
    shape = series_of(pose, f"{side}_hand_open")
    return Held(state, shape >= OPEN if state == "open" else shape <= CLOSED)


def _pieces(pair: Sequence[Held], pose: Features, watched: NDArray[np.bool_]) -> list[str]:
    """One state, of both hands at once where they mostly share it, or of each."""
    step_s = events.frame_s(pose.timestamps_s)
    lasting = [(side, held) for side, held in zip(SIDES, pair, strict=True) if held.frames.sum() * step_s >= HELD_S]
    shared = pair[0].frames & pair[1].frames
    if len(lasting) == 2 and shared.sum() * 2 >= max(held.frames.sum() for held in pair):
        lasting = [("both", Held(pair[0].state, pair[0].frames | pair[1].frames))]
    return [phrases.hand(side, held.state, _time(held.frames, pose, watched)) for side, held in lasting]


def _time(frames: NDArray[np.bool_], pose: Features, watched: NDArray[np.bool_]) -> int:
    """Index in phrases.TIMES."""
    if frames.sum() >= THROUGHOUT * watched.sum():
        return phrases.TIMES.index("throughout")
    stamps = pose.timestamps_s
    share = (float(stamps[frames].mean()) - stamps[0]) / max(stamps[-1] - stamps[0], 1e-9)
    return min(2, int(3 * share))
