"""Statistics of measured values: NaN stands for "not measured" and counts for nothing; the statistic of nothing is NaN.

Unlike numpy's nanmean and its like these do not warn where nothing was measured.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def measured(values: Array) -> Array:
    """The finite ones of (T,) values."""
    return np.asarray(values[np.isfinite(values)])


def mean(values: Array, axis: int = 0) -> Array:
    """Means over one axis."""
    valid = ~np.isnan(values)
    count = valid.sum(axis=axis)
    total = np.where(valid, values, 0).sum(axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def quantile(values: Array, q: float, axis: int = 0) -> Array:
    """The q-quantiles over one axis, interpolated linearly."""
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)  # NaN sorts last
    last = np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    position = q * last
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, last)
    low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (below, above))
    return np.asarray(low + (position - below) * (high - low))


def median(values: Array, axis: int = 0) -> Array:
    """Medians over one axis: the middle value, or the mean of the two middle ones."""
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    count = (~np.isnan(ordered)).sum(axis=0)
    last = np.maximum(count - 1, 0)
    low, high = (np.take_along_axis(ordered, at[None], axis=0)[0] for at in (last // 2, np.minimum(count // 2, last)))
    return np.asarray((low + high) / 2)


def maximum(values: Array, axis: int = 0) -> Array:
    """Maxima over one axis."""
    valid = ~np.isnan(values)
    highest = np.where(valid, values, -np.inf).max(axis=axis, initial=-np.inf)
    return np.asarray(np.where(valid.any(axis=axis), highest, np.nan))
