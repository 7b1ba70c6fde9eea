"""Temperature: how far a model's label probabilities must be flattened to mean what they say, learned on dev.

A model tuned on few labels is surer than it is right. One number that divides all label scores mends most of that and
changes no answer (Guo et al. 2017, "On Calibration of Modern Neural Networks"). It is fitted on dev alone, for the epoch
that is kept, and stands among its dev numbers; predict applies it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What a dev split of a few dozen utterances may ask for: beyond that it is chance that speaks.
LEAST, MOST = 0.2, 10.0
STEPS = 200


def fit(logs: Floats, right: NDArray[np.int64]) -> float:
    """logs (N, C) log-probabilities of the labels, right (N,) codes -> the temperature under which dev is likeliest.

    The loss is convex in 1 / temperature, so a search over a grid of 2 % steps finds its one valley. NaN where the loss is
    no number at any temperature.
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
    """(..., C) label scores in nats -> log-probabilities at ``temperature``."""
    divided = logs / temperature
    return np.asarray(divided - np.logaddexp.reduce(divided, axis=-1, keepdims=True))
