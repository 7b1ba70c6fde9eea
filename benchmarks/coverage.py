"""Do the intervals hold what they say? A simulation with known truth: ``python -m benchmarks.coverage [--out FILE]``

A world has dialogues of uneven length, labels that go on from turn to turn, utterances and dialogues that are hard for every
system, and training seeds that are better or worse than the mean by a standard deviation that is small, equal or large beside
what the choice of dialogues brings. Two systems answer; their truth is known from the answers' probabilities in a world of
many dialogues, averaged over seeds. Every repetition draws new dialogues and new seeds and asks bemerc/evaluate for its 95 %
intervals, p-values and detectable differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc import evaluate
from bemerc.evaluate import intervals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Shares of MELD's labels in train, rounded (Poria et al. 2019).
SHARES = np.array([0.47, 0.17, 0.12, 0.11, 0.07, 0.03, 0.03])
LABELS = tuple(f"label{i}" for i in range(len(SHARES)))
STAYS = 0.4  # a turn has the label of the one before
LENGTHS = np.arange(3, 19)
HARD_DIALOGUES, HARD_UTTERANCES = 0.7, 1.2  # standard deviations on the logit scale
BETTER = 0.25  # the second system beyond the first, logit
MANY = 20_000  # dialogues that stand for all of them
SPREADS = {"small": 0.25, "equal": 1.0, "large": 3.0}
RESAMPLES = 400


@dataclass(frozen=True)
class World:
    """Dialogues: gold (N,) codes, dialogue (N,) codes, and hard (2, N): how hard each utterance is for either system, logit."""

    gold: Ints
    dialogue: Ints
    hard: Floats

    @property
    def reference(self) -> evaluate.Reference:
        count = len(self.gold)
        ids, flags = tuple(map(str, range(count))), np.zeros(count, dtype=np.bool_)
        return evaluate.Reference(
            ids, LABELS, ("A",) * count, self.gold, self.dialogue, flags, -np.ones(count, np.int64)
        )


def draw(dialogues: int, rng: np.random.Generator) -> World:
    lengths = rng.choice(LENGTHS, dialogues)
    dialogue = np.repeat(np.arange(dialogues), lengths)
    fresh = rng.choice(len(SHARES), len(dialogue), p=SHARES)
    first = np.r_[True, dialogue[1:] != dialogue[:-1]]
    news = first | (rng.random(len(dialogue)) > STAYS)
    gold = fresh[np.maximum.accumulate(np.where(news, np.arange(len(dialogue)), 0))]
    shared = rng.normal(0, HARD_DIALOGUES, dialogues)[dialogue] + rng.normal(0, HARD_UTTERANCES, len(dialogue))
    own = rng.normal(0, HARD_DIALOGUES / 2, (2, dialogues))[:, dialogue] + rng.normal(
        0, HARD_UTTERANCES / 2, (2, len(dialogue))
    )
    return World(gold.astype(np.int64), dialogue, shared + own - 0.3 * (gold > 2))


def right(world: World, system: int, better: float, seed_effect: float) -> Floats:
    """(N,) probability of a right answer."""
    return np.asarray(1 / (1 + np.exp(world.hard[system] - 0.6 - system * better - seed_effect)))


def answer(world: World, system: int, better: float, effect: float, rng: np.random.Generator) -> evaluate.Answers:
    """One trained model's answers; a wrong one is any other label, by how frequent it is."""
    wrong = rng.choice(len(SHARES), len(world.gold), p=SHARES)
    wrong = np.where(wrong == world.gold, (wrong + 1) % len(SHARES), wrong)
    hit = rng.random(len(world.gold)) < right(world, system, better, effect)
    return evaluate.Answers(np.where(hit, world.gold, wrong), None)


def expected(world: World, system: int, better: float, effect: float) -> Floats:
    """Counts (C, C) that ``answer`` gives on the average."""
    size, hit = len(SHARES), right(world, system, better, effect)
    spread = np.tile(SHARES, (size, 1))
    for i in range(size):
        spread[i, (i + 1) % size] += spread[i, i]
        spread[i, i] = 0
    sums = np.bincount(world.gold, weights=hit, minlength=size)
    return np.diag(sums) + (np.bincount(world.gold, minlength=size) - sums)[:, None] * spread


def truth(system: int, better: float, deviation: float) -> dict[str, float]:
    """Every metric in a world of many dialogues, averaged over seeds (Gauss-Hermite)."""
    world = draw(MANY, np.random.default_rng(1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    counts = np.stack([expected(world, system, better, deviation * node) for node in nodes])
    return {name: float(of(counts) @ weights / weights.sum()) for name, of in evaluate.METRICS.items()}


def deviation_for(spread: float, dialogues: int) -> float:
    """Logit deviation of the seeds at which their accuracies vary ``spread`` times as much as those of draws of dialogues."""
    rng = np.random.default_rng(2)
    worlds = [draw(dialogues, rng) for _ in range(400)]
    sampling = np.std([right(world, 0, 0, 0).mean() for world in worlds])
    many, step = draw(MANY, rng), 0.05
    slope = (right(many, 0, 0, step).mean() - right(many, 0, 0, -step).mean()) / (2 * step)
    return float(spread * sampling / slope)


@dataclass(frozen=True)
class Setting:
    """Training seeds of both systems, dialogues in test, deviation of the seeds in ``SPREADS``."""

    seeds: int
    dialogues: int
    spread: str


def repetitions(
    of: Setting, better: float, count: int, seed: int
) -> Iterator[dict[str, tuple[intervals.Estimate, intervals.Estimate]]]:
    """metric -> (level of the first system, second minus first), for ``count`` draws of dialogues and seeds.

    With one seed the truth is that model's own, so the seeds do not vary.
    """
    rng = np.random.default_rng(seed)
    deviation = deviation_for(SPREADS[of.spread], of.dialogues) if of.seeds > 1 else 0.0
    for number in range(count):
        world = draw(of.dialogues, rng)
        judged = world.reference
        weights = evaluate.dialogue_weights(of.dialogues, RESAMPLES, number)
        runs = []
        for system in (0, 1):
            given = [answer(world, system, better, rng.normal(0, deviation), rng) for _ in range(of.seeds)]
            runs.append(evaluate.repeated(judged, given, weights))
        yield {m: (intervals.level(runs[0][m]), intervals.difference(runs[0][m], runs[1][m])) for m in evaluate.METRICS}


def coverage(of: Setting, count: int, seed: int) -> dict[str, tuple[float, float]]:
    """metric -> share of 95 % intervals that hold the truth: (of a level, of a difference)."""
    deviation = deviation_for(SPREADS[of.spread], of.dialogues) if of.seeds > 1 else 0.0
    a, b = (truth(system, BETTER, deviation) for system in (0, 1))
    held = {m: np.zeros(2) for m in evaluate.METRICS}
    for found in repetitions(of, BETTER, count, seed):
        for m, (one, gap) in found.items():
            for place, (estimate, true, least) in enumerate(((one, a[m], 0.0), (gap, b[m] - a[m], -1.0))):
                low, high = estimate.interval(0.95, least, 1.0)
                held[m][place] += low <= true <= high
    return {m: (share[0] / count, share[1] / count) for m, share in held.items()}
