"""Lids that hide the eyes: blinks, and eyes that are shut or lowered for longer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.series import series_of
from bemerc.behavior.signals import events
from bemerc.behavior.signals.events import Run
from bemerc.cache import Features

Array = NDArray[np.float64]

CLOSURE, REST = "AU45_r", "rest_AU45"
# Lids this far down, for longer than a blink lasts, are shut or lowered. Above the usual person's and not the own rest: who
# cries with shut eyes rests with them. Shut eyes of two people read 1.8 to 2.3, eyes that look down 1.0 to 1.9, open ones
# at most 1.0, so that nothing separates shut eyes from those that look down. A cache without the column rest_AU45 has the closure above the own
# rest, or whatever another program made of it, and shows no eyes that are shut all the time.
SHUT, LEAST_S = 1.5, events.BRIEF_S[1]
_LOST_FRAMES = 2  # so many frames without a measurement interrupt nothing
_GAP_S = 0.5  # frames further apart are two stretches, unless all of them are


def closures(face: Features) -> list[Run]:
    """The frames in which lids come down as in a blink, of lowered eyes as well; none without the column AU45_r."""
    if CLOSURE not in face.columns:
        return []
    return events.blinks(series_of(face, CLOSURE), events.frame_s(face.timestamps_s), events.BLINK)


def blinks(face: Features) -> list[Run]:
    """The frames of each blink: closures but for those of eyes that are shut or lowered anyway."""
    return _outside(closures(face), shut(face))


def _outside(short: list[Run], longer: list[Run]) -> list[Run]:
    return [run for run in short if not any(one.first <= run.apex <= one.last for one in longer)]


def shut(face: Features) -> list[Run]:
    """The frames in which the eyes are shut, or lowered, for longer than a blink; none without the column AU45_r."""
    if CLOSURE not in face.columns or not len(face.values):
        return []
    own = series_of(face, CLOSURE)
    closure = own + series_of(face, REST) if REST in face.columns else own
    down = closure >= SHUT
    if np.isfinite(own).any():  # lids take some frames to come down and to go up
        for run in events.runs(own - np.nanmedian(own), events.BLINK):
            inside = slice(run.first, run.last + 1)
            down[inside] |= 2 * down[inside].sum() >= run.last + 1 - run.first
    result, frame_s = list[Run](), events.frame_s(face.timestamps_s)
    for first, last in _stretches(down, np.isfinite(closure), face.timestamps_s):
        if last > first and face.timestamps_s[last] - face.timestamps_s[first] + frame_s > LEAST_S + 1e-6:
            apex = first + int(np.nanargmax(closure[first : last + 1]))
            result.append(Run(first, last, apex, float(closure[apex])))
    return result


def _stretches(down: NDArray[np.bool_], measured: NDArray[np.bool_], timestamps_s: Array) -> list[tuple[int, int]]:
    """First and last frames (inclusive) of what is down, over a few frames that were not measured, but over no gap of time."""
    result: list[tuple[int, int]] = []
    gap_s = max(_GAP_S, 2.5 * events.frame_s(timestamps_s))
    for frame in np.flatnonzero(down).tolist():
        if result:
            first, last = result[-1]
            lost = not measured[last + 1 : frame].any() and frame - last - 1 <= _LOST_FRAMES
            if lost and timestamps_s[frame] - timestamps_s[last] <= gap_s:
                result[-1] = (first, frame)
                continue
        result.append((frame, frame))
    return result


def hidden(face: Features) -> NDArray[np.bool_]:
    """(T,) whether lids hide the eyes, with a frame before and after."""
    result, longer = np.zeros(len(face.values), bool), shut(face)
    for run in (*_outside(closures(face), longer), *longer):
        result[max(0, run.first - 1) : run.last + 2] = True
    return result


def shut_share(face: Features) -> float:
    """The part of the measured frames in which the eyes are shut or lowered, 0 to 1."""
    measured = np.isfinite(series_of(face, CLOSURE)) if CLOSURE in face.columns else np.zeros(0, bool)
    frames = sum(int(measured[run.first : run.last + 1].sum()) for run in shut(face))
    return frames / int(measured.sum()) if frames else 0.0
