"""An estimate with its variance by source, and from them its interval, p-value and detectable difference.

A repeated experiment would have other dialogues in test and other training seeds. A bootstrap over dialogues gives
the variance of the first. Resampling the few seeds as well does not give the second: the variance of a resampled mean
of S values is (S - 1) / S of the true one, half of it for two seeds (Davison and Hinkley 1997, section 2.3). So the
two are estimated separately and added, as in a model with crossed random effects, seeds x dialogues::

    C               covariance (S, S) of the seeds' metric over resamples of the G dialogues, times G / (G - 1)
    sampling        mean of C off the diagonal: what dialogues do to all seeds alike; df G - 1.  One seed: C itself
    training        variance of the S values / S: seeds, and what dialogues do to each seed by itself; df S - 1
    standard error  sqrt(sampling + training)
    quantile        t(G - 1) + (t(S - 1) - t(G - 1)) * w,  w = (training / (sampling + training)) ** 1.15

The quantile goes between the two Student's t as in Cochran and Cox (1957, section 4.14), whose w has no power: that
holds 97 to 98 % instead of 95 with two or three seeds. Satterthwaite's degrees of freedom for the whole would hold 87
to 92 % with two seeds that vary more than the dialogues do. Several parts of one source (two systems' seeds, several
corpora) have the degrees of freedom of Welch (1947), less cautious than Satterthwaite's where each part has one or
two. The power is ours; benchmarks/coverage.py is the check of all this on known truth, and its numbers are in
docs/evaluation/intervals.md. Seeds of two systems count as independent, which is cautious where they share a start.
With one seed the intervals hold dialogues alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ALPHA = 0.05
POWER = 0.8
# Of the share of training in the variance, for its weight in the quantile.
EXPONENT = 1.15


@dataclass(frozen=True)
class Interval:
    """A number and its interval, as files hold it; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Part:
    """A variance and the degrees of freedom that it was estimated with."""

    variance: float
    df: float


@dataclass(frozen=True)
class Repeated:
    """One metric of one system: values (S,) per training seed, and draws (R, S) on resamples of the G dialogues.

    Row r of ``draws`` is the same resample for every seed and system, so that differences are paired.
    """

    values: Floats
    draws: Floats
    dialogues: int


@dataclass(frozen=True)
class Estimate:
    """A number with its variance by source; ``training`` is empty where every system has one seed."""

    value: float
    sampling: tuple[Part, ...]
    training: tuple[Part, ...]

    @property
    def standard_error(self) -> float:
        """Square root of the whole variance."""
        return float(np.sqrt(_sum(self.sampling) + _sum(self.training)))

    def interval(self, confidence: float, least: float, most: float) -> tuple[float, float]:
        """Low and high end; no further than ``least`` and ``most``, which the number cannot leave."""
        half = self._quantile(0.5 + confidence / 2) * self.standard_error
        return max(least, self.value - half), min(most, self.value + half)

    def p(self) -> float:
        """Two-sided p-value of "the true value is 0": 1 - confidence of the interval that ends at 0.

        Never less than a sign test on so many dialogues can give, since no variance is seen where all of few agree.
        """
        error = self.standard_error
        if self.value == 0 or error == 0:
            return 1.0 if self.value == 0 else self._least_p()
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            inside = abs(self.value) <= self._quantile(1 - middle / 2) * error
            low, high = (middle, high) if inside else (low, middle)
        return max(high, self._least_p())

    def detectable(self, tests: int) -> float:
        """The true value that differs significantly from 0 in four of five repetitions, were it the only one of
        ``tests``: Holm's first step compares the smallest p with ALPHA / tests."""
        return (self._quantile(1 - ALPHA / tests / 2) + self._quantile(POWER)) * self.standard_error

    def _quantile(self, share: float) -> float:
        """Of the estimate's error in standard errors."""
        from scipy.special import stdtrit

        sampling, training = _sum(self.sampling), _sum(self.training)
        of_sampling = float(stdtrit(_df(self.sampling), share))
        if not training:
            return of_sampling
        weight = float((training / (sampling + training)) ** EXPONENT)
        return of_sampling + weight * (float(stdtrit(_df(self.training), share)) - of_sampling)

    def _least_p(self) -> float:
        return float(2.0 ** -min(sum(part.df for part in self.sampling), 1000.0))


def combined(*parts: tuple[float, Repeated]) -> Repeated:
    """The sum of numbers of one system on the same resamples, each times its factor, seed by seed.

    Its degrees of freedom are those of the part with the fewest dialogues.
    """
    values = np.sum([factor * part.values for factor, part in parts], axis=0)
    draws = np.sum([factor * part.draws for factor, part in parts], axis=0)
    return Repeated(values, draws, min(part.dialogues for _, part in parts))


def measured(
    repeated: Repeated, confidence: float, least: float = 0.0, most: float = 1.0
) -> tuple[float, float | None, float | None]:
    """The mean over seeds with the ends of its interval; None where it is of a single dialogue."""
    if repeated.dialogues < 2:
        return float(repeated.values.mean()), None, None
    estimate = level(repeated)
    return estimate.value, *estimate.interval(confidence, least, most)


def level(repeated: Repeated) -> Estimate:
    """The mean over seeds."""
    return _estimate(float(repeated.values.mean()), repeated.draws.mean(1), [repeated])


def difference(a: Repeated, b: Repeated) -> Estimate:
    """b's mean over seeds minus a's, on the same dialogues."""
    return _estimate(float(b.values.mean() - a.values.mean()), b.draws.mean(1) - a.draws.mean(1), [a, b])


def _estimate(value: float, draws: Floats, systems: Sequence[Repeated]) -> Estimate:
    """``draws`` (R,) of the value; NaN (a resample without anything to judge) is left out."""
    dialogues = systems[0].dialogues
    spread = float(draws[np.isfinite(draws)].var()) * dialogues / (dialogues - 1)
    several = [system for system in systems if len(system.values) > 1]
    sampling = max(0.0, spread - sum(_interaction(system) / len(system.values) for system in several))
    training = tuple(
        Part(float(system.values.var(ddof=1)) / len(system.values), len(system.values) - 1) for system in several
    )
    return Estimate(value, (Part(sampling, dialogues - 1),), training)


def _interaction(system: Repeated) -> float:
    """The variance of seeds x dialogues, part of the spread between seeds too: mean diagonal of C minus the rest's."""
    seeds = len(system.values)
    covariance = np.cov(system.draws[np.isfinite(system.draws).all(1)].T) * system.dialogues / (system.dialogues - 1)
    diagonal = float(np.trace(covariance)) / seeds
    return diagonal - (float(covariance.sum()) - seeds * diagonal) / (seeds * (seeds - 1))


def weighted(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """The sum of independent estimates, each times its weight: several corpora in one number."""
    pairs = list(zip(estimates, weights, strict=True))

    def scaled(parts: Sequence[Part], weight: float) -> tuple[Part, ...]:
        return tuple(Part(weight**2 * part.variance, part.df) for part in parts)

    return Estimate(
        sum(w * one.value for one, w in pairs),
        tuple(part for one, w in pairs for part in scaled(one.sampling, w)),
        tuple(part for one, w in pairs for part in scaled(one.training, w)),
    )


def _sum(parts: Sequence[Part]) -> float:
    return float(sum(part.variance for part in parts))


def _df(parts: Sequence[Part]) -> float:
    """Degrees of freedom of a sum of independent variances (Welch 1947)."""
    squares = sum(part.variance**2 / (part.df + 2) for part in parts)
    return _sum(parts) ** 2 / squares - 2 if squares else sum(part.df for part in parts)
