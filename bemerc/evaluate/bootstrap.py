"""Bootstrap over whole dialogues, since turns of one dialogue are not independent: counts per dialogue, weights per
resample.

The same weights serve all systems, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.evaluate import intervals
from bemerc.evaluate.metrics import METRICS, Floats, Ints
from bemerc.evaluate.test_set import Answers, Reference


def dialogue_counts(reference: Reference, answers: Answers, mask: NDArray[np.bool_] | None = None) -> Ints:
    """Confusion counts per dialogue (G, C, C), of all utterances or of those in the mask ``where`` (N,)."""
    rows = np.ones(len(reference.gold), dtype=np.bool_) if mask is None else mask
    size = len(reference.labels)
    cell = (reference.dialogue * size + reference.gold) * size + answers.predicted
    return np.bincount(cell[rows], minlength=reference.dialogues * size * size).reshape(-1, size, size).astype(np.int64)


def dialogue_weights(dialogues: int, resamples: int, seed: int) -> Floats:
    """How often each dialogue is drawn in each resample: (R, G), rows sum to G. Use the same for all systems."""
    return (
        np.random.default_rng(seed)
        .multinomial(dialogues, np.full(dialogues, 1 / dialogues), size=resamples)
        .astype(np.float64)
    )


def repeated(reference: Reference, answers: Sequence[Answers], weights: Floats) -> dict[str, intervals.Repeated]:
    """Every metric of one system from one Answers per training seed, each seed by itself, with its draws.

    F1 of the seeds' pooled counts would be another number than the mean of their F1.
    """
    counts = [dialogue_counts(reference, one) for one in answers]
    drawn = [resampled(one_seed, weights) for one_seed in counts]
    return {
        name: intervals.Repeated(
            np.array([metric(one_seed.sum(0)) for one_seed in counts]),
            np.stack([metric(one_seed) for one_seed in drawn], 1),
            reference.dialogues,
        )
        for name, metric in METRICS.items()
    }


def resampled(counts: NDArray[Any], weights: Floats) -> Floats:
    """Counts (G, C, C) per dialogue and weights (R, G) -> counts (R, C, C) per resample."""
    return np.tensordot(weights, counts.astype(np.float64), axes=1)
