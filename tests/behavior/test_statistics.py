"""Statistics of measured values: numpy's of the values that are not NaN, and NaN without a warning where there is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.behavior.signals import statistics

Array = NDArray[np.float64]
PAIRS: tuple[tuple[Callable[..., Array], Callable[..., Array]], ...] = (
    (statistics.mean, np.nanmean),
    (statistics.median, np.nanmedian),
    (statistics.maximum, np.nanmax),
    (
        lambda values, axis: statistics.quantile(values, 0.1, axis),
        lambda values, axis: np.nanquantile(values, 0.1, axis),
    ),
)


@pytest.mark.parametrize(("ours", "numpys"), PAIRS, ids=["mean", "median", "maximum", "quantile"])
@pytest.mark.parametrize("axis", [0, 1])
def test_nan_counts_for_nothing(ours: Callable[..., Array], numpys: Callable[..., Array], axis: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 30))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[7] = values[:, 3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = numpys(values, axis=axis)
    np.testing.assert_allclose(ours(values, axis=axis), expected, rtol=1e-12)
    assert np.isnan(ours(values[:0], axis=0)).all()


def test_measured_are_the_finite_ones() -> None:
    assert statistics.measured(np.array([1.0, np.nan, np.inf, 2.0])).tolist() == [1.0, 2.0]
