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
from bemerc.evaluate.test_set import Answers, Gold


def dialogue_counts(reference: Gold, answers: Answers, mask: NDArray[np.bool_] | None = None) -> Ints:
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


def repeated(
    reference: Gold, answers: Sequence[Answers], weights: Floats, mask: NDArray[np.bool_] | None = None
) -> dict[str, intervals.Repeated]:
    """Every metric of one system from one Answers per training seed, each seed by itself, with its draws; of all that
    is judged, or of what is in the mask (N,).

    F1 of the seeds' pooled counts would be another number than the mean of their F1.
    """
    counts = [dialogue_counts(reference, one, mask) for one in answers]
    dialogues = int((counts[0].sum((1, 2)) > 0).sum())
    drawn = [resampled(one_seed, weights) for one_seed in counts]
    return {
        name: intervals.Repeated(
            np.array([metric(one_seed.sum(0)) for one_seed in counts]),
            np.stack([metric(one_seed) for one_seed in drawn], 1),
            dialogues,
        )
        for name, metric in METRICS.items()
    }


def repeated_mean(
    reference: Gold, values: Floats, weights: Floats, mask: NDArray[np.bool_] | None = None
) -> intervals.Repeated:
    """The mean of numbers, ``values`` (S, N) per training seed, of all that is judged or of what is in the mask (N,)."""
    rows = np.ones(len(reference.gold), dtype=np.bool_) if mask is None else mask
    dialogue, groups = reference.dialogue[rows], reference.dialogues
    sums = np.stack([np.bincount(dialogue, one, groups) for one in values[:, rows]], 1)
    counts = np.bincount(dialogue, minlength=groups).astype(np.float64)
    drawn = (weights @ counts)[:, None]
    draws = np.divide(weights @ sums, drawn, out=np.full((len(weights), len(values)), np.nan), where=drawn > 0)
    return intervals.Repeated(values[:, rows].mean(1), draws, int((counts > 0).sum()))


def resampled(counts: NDArray[Any], weights: Floats) -> Floats:
    """Counts (G, C, C) per dialogue and weights (R, G) -> counts (R, C, C) per resample."""
    return np.tensordot(weights, counts.astype(np.float64), axes=1)
