"""Temperature scaling: one number, fitted on dev, that divides the label scores so that probabilities are calibrated.

A model tuned on few labels is overconfident; the temperature corrects most of that and changes no label (Guo et al. 2017,
"On Calibration of Modern Neural Networks"). It is fitted for the epoch that is kept and stored among its dev numbers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Bounds: on a dev split of a few dozen utterances, more extreme temperatures are chance.
LEAST, MOST = 0.2, 10.0
STEPS = 200


def fit(logs: Floats, right: NDArray[np.int64]) -> float:
    """logs (N, C) log-probabilities of the labels, right (N,) codes -> the temperature with the smallest loss on them.

    The loss is convex in 1 / temperature, so a grid of 2 % steps finds its minimum. NaN where no loss is finite.
    """
    if np.isnan(logs).any():
        return math.nan
    temperatures = np.geomspace(LEAST, MOST, STEPS)
    losses = np.array([loss(logs, right, float(t)) for t in temperatures])
    return float(temperatures[int(np.argmin(losses))]) if np.isfinite(losses).any() else math.nan


def loss(logs: Floats, right: NDArray[np.int64], temperature: float) -> float:
    """Minus the mean log-probability of the right labels, nats."""
    return -float(scaled(logs, temperature)[np.arange(len(right)), right].mean())


def scaled(logs: Floats, temperature: float) -> Floats:
    """(..., C) label scores in nats -> log-probabilities at ``temperature``.

    >>> np.exp(scaled(np.log([0.9, 0.1]), 2.0)).round(2)
    array([0.75, 0.25])
    """
    divided = logs / temperature
    return np.asarray(divided - np.logaddexp.reduce(divided, axis=-1, keepdims=True))
