"""Which side a system follows where face and voice disagree: conflict items and label probabilities -> numbers.

With acc(s) the accuracy on subset s, and M and B a system and a baseline::

    conflict     mean of acc(video_aligned) and acc(audio_aligned)
    overall      mean of acc(consistent), acc(video_aligned) and acc(audio_aligned)
    gap          acc(video_aligned) - acc(audio_aligned): above 0 where the face is followed
    reliance     P(prediction = the voice's emotion | video_aligned) - P(prediction = the face's | audio_aligned): above 0
                 where the voice is followed, and it counts only mistakes that the other side explains
    specificity  S(M, B) = [conflict(M) - conflict(B)] - [acc(M, consistent) - acc(B, consistent)]

Subsets, conflict, overall and S are CA-MER's (arXiv 2508.01181), as arXiv 2609.37324 uses them; the signed gap, reliance
and what recombined items show are ours. A recombined item has no label: it is judged by which side's emotion is
predicted, and by how the probabilities of the original utterance move when one side is swapped. Every number is
computed per training seed and averaged; intervals are those of all other reports (intervals.py), over dialogues and
seeds, on the same resamples for all systems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from bemerc.corpus.conflict import ConflictSet, Subset
from bemerc.corpus.manifest import Split
from bemerc.evaluate import bootstrap, compare, evaluation, intervals
from bemerc.evaluate.conflict import sets
from bemerc.evaluate.conflict.items import (
    CONFLICTS,
    JUDGED,
    Items,
    Mask,
    Side,
    System,
    items_of,
    kind_of,
    logs_of,
    shifts_of,
)
from bemerc.evaluate.intervals import Interval, Repeated
from bemerc.evaluate.metrics import Floats, Ints
from bemerc.evaluate.test_set import Answers

QUARTILES = 4
Numbers = Mapping[str, Interval]


@dataclass(frozen=True)
class Counts:
    """How many items there are, of how many dialogues."""

    items: int
    dialogues: int


@dataclass(frozen=True)
class Recombined:
    """One system on recombined items.

    voice, face, neither  share of items on which the emotion of that side is predicted
    lean       face - voice: above 0 where the face is followed
    quartiles  lean by quartile of strength
    shifts     side -> what the probabilities do when that side is swapped: "to_new" of the emotion that comes in,
               "from_old" of the one that goes
    by_label   side -> label -> to_new of the items whose new emotion is this label
    """

    voice: Interval
    face: Interval
    neither: Interval
    lean: Interval
    quartiles: tuple[Interval, ...]
    shifts: Mapping[Side, Numbers]
    by_label: Mapping[Side, Numbers]


@dataclass(frozen=True)
class Against:
    """A system against the baseline: S, and the absolute value of the gap, less the baseline's."""

    specificity: compare.Difference | None
    absolute_gap: compare.Difference | None


@dataclass(frozen=True)
class Row:
    """One system: fractions, each with its interval; None where there is nothing to judge.

    subsets    subset -> accuracy, weighted_f1
    quartiles  accuracy on both conflicts together, by quartile of strength from the weakest
    sets       subset -> accuracy, recall, mean of the predicted sets (sets.py)
    """

    name: str
    seeds: int
    subsets: Mapping[Subset, Numbers]
    conflict: Interval
    overall: Interval
    gap: Interval
    reliance: Interval
    quartiles: tuple[Interval, ...]
    recombined: Recombined | None
    sets: Mapping[Subset, Numbers] | None
    against: Against | None


@dataclass(frozen=True)
class Judgment:
    """All systems on one split of a conflict set.

    counts     consistent, video_aligned, audio_aligned, recombined, and those with gold sets
    quartiles  items of both conflicts, and recombined ones, by quartile
    ways       how the labelled items came about -> how many
    left_out   items that are none of these: neither side shows the label
    """

    split: Split
    labels: tuple[str, ...]
    counts: Mapping[str, Counts]
    quartiles: Mapping[str, tuple[int, ...]]
    ways: Mapping[str, int]
    left_out: int
    baseline: str | None
    rows: tuple[Row, ...]
    confidence: float
    resamples: int

    def to_plain(self) -> dict[str, Any]:
        """As plain numbers, for JSON."""
        return asdict(self)


def judge(
    conflicts: ConflictSet,
    split: Split,
    systems: Sequence[System],
    params: evaluation.Params,
    baseline: str | None = None,
    gold_sets: Mapping[str, frozenset[str]] | None = None,
    threshold: float = sets.THRESHOLD,
) -> Judgment:
    """Judge all systems on ``split``, each against the one called ``baseline``.

    gold_sets  item id -> the labels that people gave it, for the set metric; ``threshold``: see sets.predicted

    Raises EvaluationError where a system's answers do not fit the items.
    """
    items = items_of(conflicts, split)
    counts, quartiles = _counts(items, gold_sets or {})
    of_split = conflicts.of(split)
    ways = [item.way for item in of_split if kind_of(item) in JUDGED]
    judged = Judgment(
        split,
        conflicts.labels,
        counts,
        quartiles,
        {way: ways.count(way) for way in sorted(set(ways))},
        sum(kind_of(item) is None for item in of_split),
        baseline,
        (),
        params.confidence,
        params.resamples,
    )
    if items is None or not systems:
        return judged
    weights = bootstrap.dialogue_weights(items.gold.dialogues, params.resamples, params.seed)
    measured = [_Measured(items, system, weights, params.confidence) for system in systems]
    against = _against(measured, baseline, params.confidence)
    rows = [
        replace(one.row(), sets=one.sets(gold_sets, threshold) if gold_sets else None, against=against.get(one.name))
        for one in measured
    ]
    return replace(judged, rows=tuple(rows))


def _counts(
    items: Items | None, gold_sets: Mapping[str, frozenset[str]]
) -> tuple[dict[str, Counts], dict[str, tuple[int, ...]]]:
    kinds = (*JUDGED, "recombined", "gold_sets")
    if items is None:
        return dict.fromkeys(kinds, Counts(0, 0)), dict.fromkeys(("conflict", "recombined"), (0,) * QUARTILES)
    masks = {**items.masks, "gold_sets": _with_sets(items, gold_sets)}
    counts = {kind: Counts(int(masks[kind].sum()), len(set(items.gold.dialogue[masks[kind]]))) for kind in kinds}
    by_quartile = {
        name: tuple(int((mask & (items.quartile == q)).sum()) for q in range(QUARTILES))
        for name, mask in (("conflict", items.conflict), ("recombined", items.masks["recombined"]))
    }
    return counts, by_quartile


def _with_sets(items: Items, gold_sets: Mapping[str, frozenset[str]]) -> Mask:
    return np.array([one.id in gold_sets and one.label is not None for one in items.items], dtype=np.bool_)


def _against(measured: Sequence[_Measured], baseline: str | None, confidence: float) -> dict[str, Against]:
    """System -> S and the difference in absolute gap; p-values are Holm's over the systems, for each of the two."""
    base = next((one for one in measured if one.name == baseline), None)
    others = [one for one in measured if one is not base]
    if base is None:
        return {}

    def differences(
        pairs: Sequence[tuple[Repeated | None, Repeated | None]], most: float
    ) -> list[compare.Difference | None]:
        made = [
            None if a is None or b is None else compare.difference(a, b, len(others), confidence, most)
            for a, b in pairs
        ]
        corrected = iter(compare.with_holm([one for one in made if one is not None]))
        return [None if one is None else next(corrected) for one in made]

    specificity = differences([(base.specific, one.specific) for one in others], 2.0)
    gaps = differences([(base.absolute_gap, one.absolute_gap) for one in others], 1.0)
    return {one.name: Against(s, g) for one, s, g in zip(others, specificity, gaps, strict=True)}


class _Measured:
    """One system's numbers with their draws, from which rows and differences are made."""

    def __init__(self, items: Items, system: System, weights: Floats, confidence: float) -> None:
        self.name, self.items, self.weights, self.confidence = system.name, items, weights, confidence
        self.seeds = len(system.seeds)
        recombined = items.masks["recombined"]
        self.has_recombined = any(
            items.items[i].id in seed for i in np.flatnonzero(recombined) for seed in system.seeds
        )
        needed = np.ones_like(recombined) if self.has_recombined else ~recombined
        self.system, self.logs = system, logs_of(system, items.gold.ids, needed, len(items.gold.labels))
        predicted = np.argmax(self.logs, -1)
        self.answers = [Answers(one, None) for one in predicted]
        self.right, self.says_voice, self.says_face = (
            (predicted == codes).astype(np.float64) for codes in (items.gold.gold, items.voice, items.face)
        )
        self.levels = {kind: self._mean(self.right, items.masks[kind]) for kind in JUDGED}
        video, audio = (self.levels[kind] for kind in CONFLICTS)
        self.conflict = _sum((1 / 2, video), (1 / 2, audio))
        self.gap = _sum((1, video), (-1, audio))
        self.specific = _sum((1, self.conflict), (-1, self.levels["consistent"]))

    @property
    def absolute_gap(self) -> Repeated | None:
        """|gap| of the mean over seeds, its sign held in every draw: |draw| has half the spread where the gap is small."""
        return None if self.gap is None else _sum((-1 if self.gap.values.mean() < 0 else 1, self.gap))

    def row(self) -> Row:
        """The numbers without sets and differences."""
        masks, items = self.items.masks, self.items
        reliance = _sum(
            (1, self._mean(self.says_voice, masks["video_aligned"])),
            (-1, self._mean(self.says_face, masks["audio_aligned"])),
        )
        overall = _sum(*((1 / 3, self.levels[kind]) for kind in JUDGED))
        by_strength = [self._mean(self.right, items.conflict & (items.quartile == q)) for q in range(QUARTILES)]
        return Row(
            self.name,
            self.seeds,
            {kind: self._subset(kind) for kind in JUDGED},
            self._interval(self.conflict, 0),
            self._interval(overall, 0),
            self._interval(self.gap, -1),
            self._interval(reliance, -1),
            tuple(self._interval(one, 0) for one in by_strength),
            self._recombined() if self.has_recombined else None,
            None,
            None,
        )

    def _subset(self, kind: Subset) -> Numbers:
        mask, f1 = self.items.masks[kind], None
        if mask.any():
            f1 = bootstrap.repeated(self.items.gold, self.answers, self.weights, mask)["weighted_f1"]
        return {"accuracy": self._interval(self.levels[kind], 0), "weighted_f1": self._interval(f1, 0)}

    def _recombined(self) -> Recombined:
        mask = self.items.masks["recombined"]
        none = (self.says_voice + self.says_face == 0).astype(np.float64)
        leans = self.says_face - self.says_voice
        by_strength = [self._mean(leans, mask & (self.items.quartile == q)) for q in range(QUARTILES)]
        shifts, by_label = self._shifts(mask)
        voice, face, neither = (
            self._interval(self._mean(one, mask), 0) for one in (self.says_voice, self.says_face, none)
        )
        return Recombined(
            voice,
            face,
            neither,
            self._interval(self._mean(leans, mask), -1),
            tuple(self._interval(one, -1) for one in by_strength),
            shifts,
            by_label,
        )

    def _shifts(self, mask: Mask) -> tuple[dict[Side, Numbers], dict[Side, Numbers]]:
        """By how much probabilities differ from those of the utterance that has the other side and this one's own."""
        voice, face, labels = self.items.voice, self.items.face, self.items.gold.labels
        shifts: dict[Side, Numbers] = {}
        by_label: dict[Side, Numbers] = {}
        pairs: tuple[tuple[Side, Ints, Ints], ...] = (("face", face, voice), ("voice", voice, face))
        for side, new, old in pairs:
            moved = shifts_of(self.system, self.items, side, self.logs, mask)
            if moved is None:
                continue
            rows = np.arange(len(new))
            to_new, from_old = moved[:, rows, new], moved[:, rows, old]
            shifts[side] = {
                "to_new": self._interval(self._mean(to_new, mask), -1),
                "from_old": self._interval(self._mean(from_old, mask), -1),
            }
            by_label[side] = {
                label: self._interval(self._mean(to_new, mask & (new == code)), -1) for code, label in enumerate(labels)
            }
        return shifts, by_label

    def sets(self, gold_sets: Mapping[str, frozenset[str]], threshold: float) -> Mapping[Subset, Numbers]:
        """The set metric on the items that have gold sets."""
        chosen = _with_sets(self.items, gold_sets)
        labels = self.items.gold.labels
        scores = np.zeros((self.seeds, len(sets.MEASURES), len(chosen)))
        for seed in range(self.seeds):
            for i in np.flatnonzero(chosen):
                predicted = sets.predicted(np.exp(self.logs[seed, i]), labels, threshold)
                scores[seed, :, i] = sets.measure(predicted, gold_sets[self.items.items[i].id])
        return {
            kind: {
                name: self._interval(self._mean(scores[:, k], chosen & self.items.masks[kind]), 0)
                for k, name in enumerate(sets.MEASURES)
            }
            for kind in JUDGED
        }

    def _mean(self, values: Floats, mask: Mask) -> Repeated | None:
        return bootstrap.repeated_mean(self.items.gold, values, self.weights, mask) if mask.any() else None

    def _interval(self, repeated: Repeated | None, least: float) -> Interval:
        if repeated is None:
            return Interval(None, None, None)
        return Interval(*intervals.measured(repeated, self.confidence, least))


def _sum(*parts: tuple[float, Repeated | None]) -> Repeated | None:
    """The sum, None where a part is not there."""
    there = [(factor, part) for factor, part in parts if part is not None]
    return intervals.combined(*there) if len(there) == len(parts) else None
