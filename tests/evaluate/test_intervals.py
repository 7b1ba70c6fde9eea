"""Intervals by source: coverage of a planted truth, values computed by hand, cases without an interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bemerc.evaluate import intervals
from bemerc.evaluate.intervals import Estimate, Part, Repeated
from benchmarks import coverage
from tests.slow import beyond


def repeated(values: list[float], noise: float, own: float, seed: int, dialogues: int = 30) -> Repeated:
    """Draws that go up and down together by ``noise``, and each by itself by ``own``."""
    rng = np.random.default_rng(seed)
    draws = np.array(values) + rng.normal(0, noise, (20_000, 1)) + rng.normal(0, own, (20_000, len(values)))
    return Repeated(np.array(values), draws, dialogues)


def test_one_seed_is_students_t_over_dialogues() -> None:
    of = repeated([0.6], 0.04, 0.0, seed=0)
    estimate = intervals.level(of)
    deviation = of.draws.std() * np.sqrt(30 / 29)
    half = stats.t.ppf(0.975, 29) * deviation
    assert estimate.interval(0.95, 0, 1) == pytest.approx((0.6 - half, 0.6 + half), rel=1e-9)
    assert estimate.training == ()
    assert intervals.difference(repeated([0.5], 0.04, 0, 0), of).p() == pytest.approx(0.0, abs=1e-6)


def test_seeds_and_dialogues_are_counted_once_each() -> None:
    """What dialogues bring to each seed by itself is in the spread between seeds already."""
    values = [0.55, 0.60, 0.68]
    estimate = intervals.level(repeated(values, 0.03, 0.02, seed=1))
    assert estimate.sampling[0].variance == pytest.approx(0.03**2, rel=0.1)
    assert estimate.training == (Part(pytest.approx(np.var(values, ddof=1) / 3), 2),)
    gap = intervals.difference(repeated([0.5, 0.5], 0.03, 0.02, 2), repeated(values, 0.03, 0.02, 3))
    assert gap.value == pytest.approx(0.11)
    assert [part.df for part in gap.training] == [1, 2]


def test_seeds_drawn_with_replacement_would_be_too_narrow_by_a_third() -> None:
    """The variance of a resampled mean of two is half of the true one."""
    values = np.array([0.5, 0.7])
    drawn = np.random.default_rng(0).choice(values, (20_000, 2)).mean(1).var()
    assert intervals.level(repeated(list(values), 1e-6, 0, 0)).standard_error ** 2 == pytest.approx(2 * drawn, rel=0.05)


def test_p_is_one_minus_the_confidence_of_the_interval_that_ends_at_zero() -> None:
    estimate = Estimate(0.05, (Part(0.0003, 29),), (Part(0.0002, 1), Part(0.0001, 2)))
    assert estimate.interval(1 - estimate.p(), -1, 1)[0] == pytest.approx(0, abs=1e-9)
    assert Estimate(0.0, (Part(0.0003, 29),), ()).p() == 1
    assert Estimate(0.5, (Part(0.0, 2),), ()).p() == 0.25, "three dialogues that agree are no proof"


def test_welchs_degrees_of_freedom() -> None:
    one = Estimate(0.0, (Part(4.0, 5),), ())
    assert intervals._df(one.sampling) == pytest.approx(5)
    assert intervals._df((Part(1.0, 5), Part(1.0, 5))) == pytest.approx(2 * 5 + 2)
    assert intervals._df((Part(1.0, 1), Part(0.0, 1))) == pytest.approx(1)


def test_corpora_are_put_together_by_their_weights() -> None:
    a, b = Estimate(0.5, (Part(0.01, 9),), ()), Estimate(0.7, (Part(0.04, 19),), (Part(0.02, 2),))
    estimate = intervals.weighted([a, b], [0.75, 0.25])
    assert estimate.value == pytest.approx(0.55)
    assert estimate.standard_error**2 == pytest.approx(0.75**2 * 0.01 + 0.25**2 * 0.06)


# The whole table is benchmarks/coverage.py's, in docs/evaluation/intervals.md; here every setting is asked for briefly, with the
# three deviations of a share over so many repetitions allowed beyond 93 and 97 %.
REPETITIONS = 100


@pytest.mark.parametrize(
    "spread", ["equal", *(pytest.param(name, marks=pytest.mark.slow) for name in coverage.SPREADS if name != "equal")]
)
@pytest.mark.parametrize("seeds", beyond([3], [2, 3, 5]))
def test_intervals_over_few_seeds_hold_what_they_say(seeds: int, spread: str) -> None:
    shares = coverage.coverage(coverage.Setting(seeds, 40, spread), REPETITIONS, seed=seeds)
    slack = 3 * np.sqrt(0.05 * 0.95 / REPETITIONS)
    for metric in ("accuracy", "weighted_f1"):
        assert all(0.93 - slack < share <= 1 for share in shares[metric]), (metric, shares[metric])


@pytest.mark.slow
def test_what_a_table_calls_detectable_is_detected_four_times_in_five() -> None:
    """Holm's correction for five runs is in it: the difference that one run needs would be detected far less often."""
    share, naive = coverage.detected_shares(dialogues=40, runs=5, count=250, seed=5)
    assert 0.70 < share < 0.90
    assert naive < share - 0.08
