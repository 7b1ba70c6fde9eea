"""Lids that hide the eyes: blinks, and eyes that are shut or lowered for longer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.series import duration_s, series_of
from bemerc.behavior.signals import events
from bemerc.behavior.signals.events import Run
from bemerc.cache import Features

CLOSURE, REST = "AU45_r", "rest_AU45"
# Lids this far down, above the usual person's and not the own rest (who cries with shut eyes rests with them), for longer than
# a blink lasts. Shut eyes of two people read 1.8 to 2.3, eyes that look down 1.0 to 1.9, open ones at most 1.0: who looks
# down and who shuts the eyes cannot be told apart.
SHUT, LEAST_S = 1.5, events.BRIEF_S[1]


def blinks(face: Features) -> list[Run]:
    """The frames of each blink; none without the column AU45_r."""
    if CLOSURE not in face.columns:
        return []
    return events.blinks(series_of(face, CLOSURE), events.frame_s(face.timestamps_s), events.BLINK)


def shut(face: Features) -> list[Run]:
    """The frames in which the eyes are shut, or lowered, for longer than a blink; none without the column AU45_r."""
    if CLOSURE not in face.columns:
        return []
    closure = series_of(face, CLOSURE)
    if REST in face.columns:
        closure = closure + series_of(face, REST)
    step_s = events.frame_s(face.timestamps_s)
    return [run for run in events.runs(closure, SHUT) if (run.last - run.first + 1) * step_s > LEAST_S]


def hidden(face: Features) -> NDArray[np.bool_]:
    """(T,) whether lids hide the eyes, with a frame before and after."""
    result = np.zeros(len(face.values), bool)
    for run in (*blinks(face), *shut(face)):
        result[max(0, run.first - 1) : run.last + 2] = True
    return result


def shut_share(face: Features) -> float:
    """The part of the clip in which the eyes are shut or lowered, 0 to 1."""
    frames = sum(run.last - run.first + 1 for run in shut(face))
    return frames * events.frame_s(face.timestamps_s) / duration_s(face) if frames else 0.0
