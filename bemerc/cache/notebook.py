"""A cache in a notebook: as a pandas DataFrame, and as curves over time.

pandas and matplotlib are imported when they are asked for: reading a cache needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bemerc.core.errors import BemercError

if TYPE_CHECKING:
    import pandas as pd

    from bemerc.cache.read import FrameCache
    from bemerc.cache.schema import Features

_CURVES = 6  # panels that fit on one screen
_HEIGHT_IN, _WIDTH_IN = 1.3, 9.0


def frame_of(features: Features) -> pd.DataFrame:
    """(T, D) one row per frame, indexed by ``time_s``; NaN where nothing was measured."""
    pandas = _library("pandas")
    index = pandas.Index(features.timestamps_s, name="time_s")
    return pandas.DataFrame(features.values, index=index, columns=list(features.columns))


def frame_of_cache(cache: FrameCache, ids: Iterable[str] | None = None) -> pd.DataFrame:
    """The rows of the utterances ``ids`` (all, where None) under each other, indexed by ``id`` and ``time_s``."""
    pandas = _library("pandas")
    wanted = list(cache.ids if ids is None else ids)
    if not wanted:
        levels = pandas.MultiIndex.from_arrays([[], []], names=["id", "time_s"])
        return pandas.DataFrame(
            np.empty((0, len(cache.columns)), np.float32), index=levels, columns=list(cache.columns)
        )
    return pandas.concat([frame_of(cache[id_]) for id_ in wanted], keys=wanted, names=["id"])


def plot(features: Features, columns: Sequence[str] | None = None, title: str = "") -> Any:
    """A matplotlib figure: one panel per column over seconds, gaps where nothing was measured.

    ``columns``: which, at most any number; None = the six that vary most beside their own median.
    Raises CacheError where there is no such column.
    """
    pyplot = _library("matplotlib.pyplot")
    names = list(columns) if columns is not None else _liveliest(features)
    curves = [features.column(name) for name in names]
    size = (_WIDTH_IN, _HEIGHT_IN * max(1, len(names)) + 0.7)
    figure, panels = pyplot.subplots(
        max(1, len(names)), 1, sharex=True, squeeze=False, figsize=size, layout="constrained"
    )
    for panel, name, curve in zip(panels[:, 0], names, curves, strict=False):
        panel.plot(features.timestamps_s, curve, linewidth=1)
        panel.set_ylabel(name, rotation=0, ha="right")
    panels[-1, 0].set_xlabel("seconds")
    figure.suptitle(title)
    pyplot.close(figure)  # a notebook shows what a cell returns; an open figure would be shown twice
    return figure


def _liveliest(features: Features) -> list[str]:
    """The columns with the largest spread (5th to 95th percentile) for their median size, in the columns' order."""
    if not len(features.values):
        return list(features.columns[:_CURVES])
    with np.errstate(all="ignore"):
        values = np.where(np.isfinite(features.values), features.values, np.nan).astype(np.float64)
        valid = np.isfinite(values).any(axis=0)
        low, middle, high = np.full((3, values.shape[1]), np.nan)
        low[valid], middle[valid], high[valid] = np.nanpercentile(values[:, valid], [5, 50, 95], axis=0)
        spread = np.nan_to_num((high - low) / (np.abs(middle) + 1))
    return [features.columns[i] for i in sorted(np.argsort(-spread, kind="stable")[:_CURVES])]


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise BemercError(f'{package} is not installed: pip install {package}, or "bemerc[notebook]".') from None
