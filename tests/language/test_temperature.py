"""The temperature is the one that made the scores too sure, and it changes no answer."""

from __future__ import annotations

import numpy as np
import pytest

from bemerc.language.predict import temperature


def drawn(count: int, sharper: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from honest probabilities, and the scores of a model that is ``sharper`` times as sure."""
    rng = np.random.default_rng(0)
    honest = temperature.scaled(rng.normal(0, 1.5, (count, 5)), 1.0)
    right = np.array([rng.choice(5, p=np.exp(row)) for row in honest])
    return temperature.scaled(sharper * honest, 1.0), right


@pytest.mark.parametrize("sharper", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_the_scores_too_sure(sharper: float) -> None:
    logs, right = drawn(4000, sharper)
    found = temperature.fit(logs, right)
    assert found == pytest.approx(sharper, rel=0.1)
    assert temperature.loss(logs, right, found) <= temperature.loss(logs, right, 1.0)
    assert (temperature.scaled(logs, found).argmax(1) == logs.argmax(1)).all()


def test_probabilities_sum_to_one_and_extremes_are_held() -> None:
    logs, _ = drawn(50, 1.0)
    assert np.exp(temperature.scaled(logs, 2.5)).sum(1) == pytest.approx(np.ones(50))
    assert temperature.fit(logs, logs.argmax(1)) == pytest.approx(temperature.LEAST)
    assert temperature.fit(logs, logs.argmin(1)) == pytest.approx(temperature.MOST)


def test_a_loss_that_is_no_number_has_no_temperature() -> None:
    logs, right = drawn(50, 2.0)
    assert np.isnan(temperature.fit(logs * np.nan, right))
    one = logs.copy()
    one[3] = np.nan
    assert np.isnan(temperature.fit(one, right))
    hopeless = logs.copy()
    hopeless[0, right[0]] = -np.inf
    assert np.isnan(temperature.fit(hopeless, right))
