"""Classification metrics as pure functions of confusion counts. numpy only.

Each takes counts (..., C, C), counts[i, j] = gold label i predicted as j, with any leading axes: a bootstrap of 10,000
resamples is one call. The numbers are scikit-learn's with zero_division=0, to 1e-12 (tests/evaluate): averages are
weighted by support, or macro over the labels that occur in gold or prediction; 0 where nothing is divided by nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Metric = Callable[[NDArray[Any]], Floats]

ECE_BINS = 15


def confusion(gold: Ints, predicted: Ints, classes: int) -> Ints:
    """(N,) and (N,) codes -> counts (C, C), rows gold, columns predicted.

    >>> counts = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), 3)
    >>> counts.tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    >>> float(accuracy(counts))
    0.75
    """
    return (
        np.bincount(gold * classes + predicted, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    )


def accuracy(counts: NDArray[Any]) -> Floats:
    """Share on the diagonal. counts (..., C, C) -> (...); NaN where there is nothing to judge."""
    return _divide(np.trace(counts, axis1=-2, axis2=-1), counts.sum((-2, -1)), empty=np.nan)


def support(counts: NDArray[Any]) -> Floats:
    """How often each label is gold. counts (..., C, C) -> (..., C)."""
    return np.asarray(counts.sum(-1), dtype=np.float64)


def precision(counts: NDArray[Any]) -> Floats:
    """Right answers / answers, per label. counts (..., C, C) -> (..., C); 0 for a label that was never answered."""
    return _divide(_diagonal(counts), counts.sum(-2))


def recall(counts: NDArray[Any]) -> Floats:
    """Right answers / gold, per label. counts (..., C, C) -> (..., C); 0 for a label that is never gold."""
    return _divide(_diagonal(counts), counts.sum(-1))


def f1(counts: NDArray[Any]) -> Floats:
    """2 * right / (answers + gold), per label. counts (..., C, C) -> (..., C); 0 for a label in neither."""
    return _divide(2 * _diagonal(counts), counts.sum(-2) + counts.sum(-1))


def weighted_f1(counts: NDArray[Any]) -> Floats:
    """F1 averaged by support, the field's headline number. counts (..., C, C) -> (...); NaN without any."""
    return _divide((f1(counts) * support(counts)).sum(-1), counts.sum((-2, -1)), empty=np.nan)


def macro_f1(counts: NDArray[Any]) -> Floats:
    """F1 averaged over the labels in gold or answers. counts (..., C, C) -> (...); NaN where nothing is judged."""
    return _divide(f1(counts).sum(-1), (counts.sum(-2) + counts.sum(-1) > 0).sum(-1), empty=np.nan)


def ece(gold: Ints, predicted: Ints, scores: Floats) -> float:
    """Expected calibration error: |share right - mean probability| of the answer, averaged over bins by their size.

    gold, predicted (N,) codes; scores (N, C) probabilities. Bins are (0, 1/15], (1/15, 2/15], ...
    """
    probability = scores[np.arange(len(gold)), predicted]
    bins = np.clip(np.ceil(probability * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=(gold == predicted) - probability, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(gold))


METRICS: dict[str, Metric] = {"accuracy": accuracy, "weighted_f1": weighted_f1, "macro_f1": macro_f1}


def _diagonal(counts: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _divide(top: NDArray[Any], bottom: NDArray[Any], empty: float = 0.0) -> Floats:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    out: Floats = np.full(np.broadcast(top, bottom).shape, empty)
    np.divide(top, bottom, out=out, where=bottom != 0)
    return out
