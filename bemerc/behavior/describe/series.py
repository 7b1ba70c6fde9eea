"""Columns of one clip as series over its frames (T,), and what of them was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.references import Item
from bemerc.behavior.signals import events, voice
from bemerc.behavior.signals.statistics import measured
from bemerc.cache import Features

Array = NDArray[np.float64]


def series_of(frames: Features, name: str) -> Array:
    """One column (T,), NaN where it was not measured."""
    series = frames.column(name).astype(np.float64)
    return np.where(np.isfinite(series), series, np.nan)


def sound_of(audio: Features) -> voice.Sound | None:
    """The sound of frames of prosody; None where these are none."""
    if not {"pitch_hz", "energy_db"} <= set(audio.columns):
        return None
    probability = series_of(audio, "speech") if "speech" in audio.columns else None
    step_s = events.frame_s(audio.timestamps_s)
    return voice.Sound(series_of(audio, "pitch_hz"), series_of(audio, "energy_db"), step_s, probability)


def mean_of(frames: Features, name: str) -> float:
    """The mean of one column; NaN where it was never measured."""
    values = measured(series_of(frames, name))
    return float(values.mean()) if values.size else float("nan")


def any_measured(frames: Features, items: Sequence[Item]) -> NDArray[np.bool_]:
    """(T,) frames in which the column of any item was measured."""
    columns = [frames.columns.index(i.column) for i in items if i.column in frames.columns]
    return np.asarray(np.isfinite(frames.values[:, columns]).any(axis=1))


def duration_s(frames: Features) -> float:
    """Seconds from the first frame to the end of the last; 0 without frames."""
    stamps = frames.timestamps_s
    return float(stamps[-1] - stamps[0]) + events.frame_s(stamps) if len(stamps) else 0.0
