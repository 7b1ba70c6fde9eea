"""Coverage of the intervals and power of the comparison, in a simulation with known truth.

    python -m benchmarks.coverage [--repetitions 2000] [--out FILE]

A world has dialogues of uneven length, labels that go on from turn to turn, utterances and dialogues that are hard for
every system, and training seeds that are better or worse than the mean by a standard deviation that is small, equal or
large beside the variation between draws of dialogues. Two systems answer; their true metrics are those of the answers'
probabilities in a world of many dialogues, averaged over seeds. Every repetition draws dialogues and seeds anew and
computes the 95 % intervals, p-values and detectable differences of bemerc/evaluate.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.core import atomic
from bemerc.evaluate import bootstrap, compare, intervals, metrics, test_set

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
    """Dialogues: gold (N,) and dialogue (N,) codes; hard (2, N): how hard each utterance is for a system, logit."""

    gold: Ints
    dialogue: Ints
    hard: Floats

    @property
    def reference(self) -> test_set.Gold:
        return test_set.Gold(tuple(map(str, range(len(self.gold)))), LABELS, self.gold, self.dialogue)


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


def answer(world: World, system: int, better: float, effect: float, rng: np.random.Generator) -> test_set.Answers:
    """One trained model's answers; a wrong one is any other label, by how frequent it is."""
    wrong = rng.choice(len(SHARES), len(world.gold), p=SHARES)
    wrong = np.where(wrong == world.gold, (wrong + 1) % len(SHARES), wrong)
    hit = rng.random(len(world.gold)) < right(world, system, better, effect)
    return test_set.Answers(np.where(hit, world.gold, wrong), None)


def expected(world: World, system: int, better: float, effect: float) -> Floats:
    """Counts (C, C) that ``answer`` gives on the average."""
    size, hit = len(SHARES), right(world, system, better, effect)
    spread = np.tile(SHARES, (size, 1))
    for i in range(size):
        spread[i, (i + 1) % size] += spread[i, i]
        spread[i, i] = 0
    sums = np.bincount(world.gold, weights=hit, minlength=size)
    return np.asarray(np.diag(sums) + (np.bincount(world.gold, minlength=size) - sums)[:, None] * spread)


def truth(system: int, better: float, deviation: float) -> dict[str, float]:
    """Every metric in a world of many dialogues, averaged over seeds (Gauss-Hermite)."""
    world = draw(MANY, np.random.default_rng(1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    counts = np.stack([expected(world, system, better, deviation * node) for node in nodes])
    return {name: float(of(counts) @ weights / weights.sum()) for name, of in metrics.METRICS.items()}


def deviation_for(spread: float, dialogues: int) -> float:
    """Logit deviation of seeds at which their accuracies vary ``spread`` times as much as dialogues' draws."""
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
        weights = bootstrap.dialogue_weights(of.dialogues, RESAMPLES, number)
        runs = []
        for system in (0, 1):
            given = [answer(world, system, better, rng.normal(0, deviation), rng) for _ in range(of.seeds)]
            runs.append(bootstrap.repeated(judged, given, weights))
        yield {m: (intervals.level(runs[0][m]), intervals.difference(runs[0][m], runs[1][m])) for m in metrics.METRICS}


def coverage(of: Setting, count: int, seed: int) -> dict[str, tuple[float, float]]:
    """metric -> share of 95 % intervals that hold the truth: (of a level, of a difference)."""
    deviation = deviation_for(SPREADS[of.spread], of.dialogues) if of.seeds > 1 else 0.0
    a, b = (truth(system, BETTER, deviation) for system in (0, 1))
    held = {m: np.zeros(2) for m in metrics.METRICS}
    for estimates in repetitions(of, BETTER, count, seed):
        for m, (one, gap) in estimates.items():
            for place, (estimate, true, least) in enumerate(((one, a[m], 0.0), (gap, b[m] - a[m], -1.0))):
                low, high = estimate.interval(0.95, least, 1.0)
                held[m][place] += low <= true <= high
    return {m: (share[0] / count, share[1] / count) for m, share in held.items()}


def detected_shares(dialogues: int, runs: int, count: int, seed: int) -> tuple[float, float]:
    """(share of tables that find it, share that would by the rule without Holm): one of ``runs`` has the difference in
    accuracy that the table calls detectable, the others none. One training seed each.

    The system's answers are made better until its expected gain is what its own table calls detectable on average.
    """
    better = _detected_by(dialogues, runs, seed)
    naive = _detected_by(dialogues, 1, seed)
    return _detected(dialogues, runs, better, count, seed), _detected(dialogues, runs, naive, count, seed)


def _gain(better: float) -> float:
    world = draw(MANY, np.random.default_rng(3))
    return float(right(world, 1, better, 0).mean() - right(world, 1, 0, 0).mean())


def _detected_by(dialogues: int, runs: int, seed: int) -> float:
    """The logit gain at which the second system is as much better as a table of so many runs calls detectable."""
    better = 0.3
    for _ in range(6):
        tables = _estimates(dialogues, better, 60, seed + 1)
        wanted = float(np.mean([one.detectable(runs) for one in tables]))
        better *= wanted / _gain(better)
    return better


def _estimates(dialogues: int, better: float, count: int, seed: int) -> Iterator[intervals.Estimate]:
    """The second system with and without a gain, on the same dialogues: their difference in accuracy."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        world = draw(dialogues, rng)
        weights = bootstrap.dialogue_weights(dialogues, RESAMPLES, number)
        a, b = (
            bootstrap.repeated(world.reference, [answer(world, 1, gain, 0, rng)], weights)["accuracy"]
            for gain in (0, better)
        )
        yield intervals.difference(a, b)


def _detected(dialogues: int, runs: int, better: float, count: int, seed: int) -> float:
    """Share of tables whose better run has a p below 5 % after Holm, the other runs' p being those of no difference."""
    p = [one.p() for one in _estimates(dialogues, better, count, seed + 2)]
    null = [one.p() for one in _estimates(dialogues, 0, count, seed + 3)]
    rng = np.random.default_rng(seed)
    tables = [[one, *rng.choice(null, runs - 1)] for one in p]
    return float(np.mean([compare.holm(table)[0] < intervals.ALPHA for table in tables]))


def tables(count: int) -> Iterator[str]:
    """The document's lines, one by one as they are computed."""
    yield (
        "| training seeds | their spread beside that of dialogues | dialogues | accuracy | weighted F1 | macro F1 | "
        "difference in accuracy | in weighted F1 | in macro F1 |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    settings = [Setting(1, n, "small") for n in (15, 40, 280)]
    settings += [Setting(seeds, 40, spread) for seeds in (2, 3, 5) for spread in SPREADS]
    for place, of in enumerate(settings):
        shares = coverage(of, count, place)
        cells = [f"{100 * shares[m][side]:.1f}" for side in (0, 1) for m in metrics.METRICS]
        spread = f"{of.spread} ({SPREADS[of.spread]:g} x)" if of.seeds > 1 else "not in it"
        yield f"| {of.seeds} | {spread} | {of.dialogues} | {' | '.join(cells)} |"
    yield ""
    yield "| runs compared | found | found at the difference that is named without Holm |"
    yield "| ---: | ---: | ---: |"
    for runs in (1, 5, 14):
        detected, naive = detected_shares(40, runs, count, seed=runs)
        yield f"| {runs} | {100 * detected:.0f} % | {100 * naive:.0f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the intervals and power of the table, on known truth.")
    parser.add_argument("--repetitions", type=int, default=2000, help="worlds per setting; an hour of one core at 2000")
    parser.add_argument("--out", type=Path, help="a file for the tables, beside the terminal")
    given = parser.parse_args()
    lines = []
    for line in tables(given.repetitions):
        print(line, flush=True)
        lines.append(line)
    if given.out:
        atomic.write_text(given.out, "\n".join([*lines, ""]), atomic.PUBLIC)


if __name__ == "__main__":
    main()
