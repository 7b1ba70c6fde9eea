"""Synthetic speech for the target face: mouths that follow phonemes, and how long people speak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fits.talker import MELD_S, lengths, meld_lengths
from fits.target_face import Habits, listening, spoken

MELD = Path(__file__).parents[3] / "shared" / "meld"


def test_mouths_open_for_vowels_and_shut_for_lips_whoever_speaks() -> None:
    for seed in range(20):
        rng, times_s = np.random.default_rng(seed), np.arange(50) / 25
        mouth = spoken([(0.0, "m"), (0.5, "a"), (1.0, "u:"), (1.5, "_")], 2.0, times_s, rng)
        assert mouth[16:20, 0].mean() > 0.3 > 0.1 > mouth[2:8, 0].mean()
        assert mouth[28:32, 1].mean() < -0.1
    drawn = [Habits(np.random.default_rng(seed)).place("a")[0] for seed in range(20)]
    assert np.std(drawn) > 0.1, "each in a way of its own"


def test_listeners_rest_or_move_as_they_like() -> None:
    moved = [listening(np.arange(150) / 25, np.random.default_rng(seed)) for seed in range(30)]
    assert {one.shape for one in moved} == {(150, 2)}
    still = sum(not one.any() for one in moved)
    assert 3 < still < 25


def test_lengths_follow_the_quantiles() -> None:
    drawn = lengths(MELD_S, 1000)
    np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [1.0, 2.46, 6.3], rtol=0.02)
    with pytest.raises(SystemExit, match="three tables"):
        meld_lengths(Path(__file__).parents[1] / "golden")


@pytest.mark.skipif(not MELD.is_dir(), reason="MELD's tables are not here")
def test_the_embedded_quantiles_are_meld_s() -> None:
    durations_s = meld_lengths(MELD)
    assert len(durations_s) == 13_708
    np.testing.assert_allclose(np.quantile(durations_s, MELD_S[0]), MELD_S[1], atol=0.006)
