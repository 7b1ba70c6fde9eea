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
    ordered, count = _ordered(values, axis)
    last = np.maximum(count - 1, 0)
    position = q * last
    below = np.floor(position).astype(np.int64)
    low, high = _at(ordered, below), _at(ordered, np.minimum(below + 1, last))
    return np.asarray(low + (position - below) * (high - low))


def median(values: Array, axis: int = 0) -> Array:
    """Medians over one axis: the middle value, or the mean of the two middle ones."""
    ordered, count = _ordered(values, axis)
    last = np.maximum(count - 1, 0)
    return np.asarray((_at(ordered, last // 2) + _at(ordered, np.minimum(count // 2, last))) / 2)


def _ordered(values: Array, axis: int) -> tuple[Array, NDArray[np.int64]]:
    """Values in order along the first axis, NaN last, one row at least; and how many of each column are measured."""
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    if not len(ordered):
        ordered = np.full((1, *ordered.shape[1:]), np.nan)
    return ordered, np.asarray((~np.isnan(ordered)).sum(axis=0))


def _at(ordered: Array, row: NDArray[np.int64]) -> Array:
    return np.asarray(np.take_along_axis(ordered, row[None], axis=0)[0])


def maximum(values: Array, axis: int = 0) -> Array:
    """Maxima over one axis."""
    valid = ~np.isnan(values)
    highest = np.where(valid, values, -np.inf).max(axis=axis, initial=-np.inf)
    return np.asarray(np.where(valid.any(axis=axis), highest, np.nan))
