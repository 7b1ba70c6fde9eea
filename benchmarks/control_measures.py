"""The controls' interventions on a corpus, and the measures by which they are judged: is behavior used, does anything
leak?

Each control removes what a model should need (an utterance's own behavior, its label) or gives it only what must carry
no label (masks, lengths, bytes, position, speaker); the numbers must then fall to chance. Chance is not 1/C but a
band: of regressions, the same procedure on permuted labels, a few hundred times (labels of one dialogue go together, so a
permutation keeps dialogues whole, see ``permuted``); of trained models, their answers under other names of the labels
(``answer_band``). All of this is ours; benchmarks/controls.py runs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.file import TokenFile
from bemerc.cache import FrameCache
from bemerc.corpus.manifest import Manifest
from bemerc.evaluate import baselines, bootstrap, evaluation, intervals, test_set
from bemerc.evaluate.metrics import Floats, Ints
from bemerc.evaluate.test_set import Answers, Reference

# Standard deviation over a clip from which on a planted intensity (0 to 1) counts as moving.
MOVES = 0.1
# So many dialogues next to each other in length exchange their labels in a permutation.
ALIKE = 8
# The share of chance that a band holds.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Runs:
    """Everything answered on one corpus: system -> one Answers per training seed, in the same order for all systems."""

    judged: Reference
    answers: Mapping[str, Sequence[Answers]]


@dataclass(frozen=True)
class Band:
    """An accuracy and the band that chance would put it into, fractions."""

    value: float
    low: float
    high: float
    utterances: int

    @property
    def inside(self) -> bool:
        """Whether chance explains the value."""
        return self.low <= self.value <= self.high


# --------------------------------------------------------------------------------------------------- what is taken away


def swap_within_speaker(manifest: Manifest, source: TokenFile, out: Path, seed: int) -> int:
    """Write ``source`` with test's rows changed: every utterance gets the tokens of another one of its speaker.

    A speaker with a single test utterance gets somebody else's. Returns how many utterances that were.
    """
    partner, strangers = partners(manifest, seed)
    stacked = {
        m: (
            np.stack([source[partner.get(i, i)][m].values for i in source.ids]),
            np.stack([source[partner.get(i, i)][m].mask for i in source.ids]),
        )
        for m in source.widths
    }
    file.write_tokens(out, source.ids, stacked, source.calibration, file.Params(**source.params))
    return strangers


def partners(manifest: Manifest, seed: int) -> tuple[dict[str, str], int]:
    """Every test id -> another test id, of the same speaker where there is one; and for how many there is none."""
    rng = np.random.default_rng(seed)
    test = manifest.by_split("test")
    ids_of: dict[str, list[str]] = {}
    for utterance in test:
        ids_of.setdefault(utterance.speaker, []).append(utterance.id)
    alone = [ids[0] for ids in ids_of.values() if len(ids) == 1]
    partner_of: dict[str, str] = {}
    for ids in ids_of.values():
        circle = list(rng.permutation(ids))
        partner_of |= {a: b for a, b in zip(circle, circle[1:] + circle[:1], strict=True) if a != b}
    for id_ in alone:
        partner_of[id_] = str(rng.choice([u.id for u in test if u.id != id_]))
    return {str(a): str(b) for a, b in partner_of.items()}, len(alone)


def shuffle_labels(manifest: Manifest, seed: int) -> Manifest:
    """The manifest with the labels of train and of dev each dealt out anew, one by one; test keeps its own."""
    rng, gold = np.random.default_rng(seed), baselines.codes(manifest)
    for split in ("train", "dev"):
        rows = np.concatenate(turns(manifest, split))
        gold[rows] = gold[rng.permutation(rows)]
    labels = [None if code < 0 else manifest.labels[code] for code in gold]
    changed = [dataclasses.replace(u, label=label) for u, label in zip(manifest.utterances, labels, strict=True)]
    return dataclasses.replace(manifest, utterances=tuple(changed))


def turns(manifest: Manifest, split: str) -> list[Ints]:
    """The rows in the manifest of every dialogue's labelled utterances in ``split``, in the order of the turns."""
    row = {u.id: i for i, u in enumerate(manifest.utterances)}
    rows_of = [
        [row[u.id] for u in dialogue.utterances if u.split == split and u.label is not None]
        for dialogue in manifest.dialogues()
    ]
    return [np.array(rows, dtype=np.int64) for rows in rows_of if rows]


def permuted(gold: Ints, dialogues: Sequence[Ints], rng: np.random.Generator) -> Ints:
    """``gold`` (N,) with the labels of the rows in ``dialogues`` permuted so that dialogues stay together.

    Shuffling single labels would take the dialogues' moods apart and make chance look narrower than it is. So every
    dialogue gets the labels of another one of about its length, turned round by a random number of turns (else what
    position predicts would stay) and begun again where they are too few. Where all are equally long that is a
    permutation; where they are not, the counts of labels change a little.
    """
    lengths, rows = np.array([len(of) for of in dialogues]), np.concatenate(dialogues)
    starts = np.cumsum(lengths) - lengths
    by_length = np.lexsort((rng.random(len(lengths)), lengths))
    partner = np.empty_like(by_length)
    partner[by_length] = by_length[np.lexsort((rng.random(len(lengths)), np.arange(len(lengths)) // ALIKE))]
    source, turn = np.repeat(partner, lengths), np.repeat(rng.integers(lengths), lengths)
    position = np.arange(len(rows)) - np.repeat(starts, lengths)
    result = gold.copy()
    result[rows] = gold[rows[starts[source] + (position + turn) % lengths[source]]]
    return result


# --------------------------------------------------------------------------------------------- what must carry no label


def masks(manifest: Manifest, source: TokenFile) -> Floats:
    """(N, modalities * K): which tokens are there at all."""
    return np.array(
        [np.concatenate([of.mask for _, of in sorted(source[u.id].items())]) for u in manifest.utterances],
        dtype=np.float64,
    )


def metadata(manifest: Manifest, face: FrameCache) -> Floats:
    """(N, D): seconds, frames, bytes of the clip, position in the dialogue (as a number and one-hot), speaker."""
    speakers = sorted({u.speaker for u in manifest.utterances})
    longest = max(u.index for u in manifest.utterances) + 1
    rows = []
    for u in manifest.utterances:
        clip = manifest.clip_path(u)
        size = clip.stat().st_size if clip is not None and clip.is_file() else np.nan
        numbers = [face.duration_s(u.id), len(face[u.id].values), size, u.index]
        rows.append(np.concatenate([numbers, np.arange(longest) == u.index, [name == u.speaker for name in speakers]]))
    return np.array(rows, dtype=np.float64)


# --------------------------------------------------------------------------------------------------------------- chance


def regression_band(parts: Sequence[tuple[Manifest, Floats]], permutations: int, seed: int) -> Band:
    """Test accuracy of the regression on (manifest, features) of one or more corpora, pooled, and its permutation band.

    Each permutation deals the labels out anew within train, dev and test and repeats everything, the choice on dev too.
    """
    rng = np.random.default_rng(seed)
    total = sum(int(_judged(manifest).sum()) for manifest, _ in parts)
    value = sum(_right(manifest, features, baselines.codes(manifest)) for manifest, features in parts) / total
    splits = [[turns(manifest, split) for split in ("train", "dev", "test")] for manifest, _ in parts]
    chance = np.zeros(permutations)
    for number in range(permutations):
        for (manifest, features), dialogues in zip(parts, splits, strict=True):
            gold = baselines.codes(manifest)
            for of in dialogues:
                gold = permuted(gold, of, rng)
            chance[number] += _right(manifest, features, gold) / total
    return _band(value, chance, total)


def answer_band(parts: Sequence[tuple[Manifest, Answers]], draws: int, seed: int) -> Band:
    """Accuracy on test of given answers, pooled over corpora, and the band of the same answers with the labels' names dealt
    out anew.

    A model that was trained on labels without meaning may well tell behaviors apart, and calls each of them anything: which
    name a behavior gets is chance, and two models differ by more than permuted utterances would. Meant for labels that are about
    equally frequent; where one has most of the utterances, a model that prefers it leaves the band.
    """
    rng = np.random.default_rng(seed)
    value, total, chance = 0, 0, np.zeros(draws)
    for manifest, given in parts:
        gold, labels = test_set.reference(manifest).gold, len(manifest.labels)
        table = np.zeros((labels, labels), np.int64)
        np.add.at(table, (gold, given.predicted), 1)
        value, total = value + int(np.trace(table)), total + len(gold)
        chance += [int(table[np.arange(labels), rng.permutation(labels)].sum()) for _ in range(draws)]
    return _band(value / total, chance / total, total)


def _right(manifest: Manifest, features: Floats, gold: Ints) -> int:
    scores = baselines.regress(manifest, {"all": [baselines.Block(features)]}, gold).scores
    test = _judged(manifest)
    return int((scores[test].argmax(1) == gold[test]).sum())


def _judged(manifest: Manifest) -> NDArray[np.bool_]:
    return np.array([u.split == "test" and u.label is not None for u in manifest.utterances], dtype=np.bool_)


def _band(value: float, chance: Floats, total: int) -> Band:
    low, high = np.percentile(chance, [50 - 50 * CONFIDENCE, 50 + 50 * CONFIDENCE])
    return Band(value, float(low), float(high), total)


# -------------------------------------------------------------------------------------------- several corpora and seeds


def accuracy(runs: Sequence[Runs], name: str, params: evaluation.Params) -> dict[str, float]:
    """One system's accuracy over all utterances of several corpora, averaged over training seeds: {value, low, high}.

    The interval holds dialogues and training seeds (evaluate/intervals.py); the corpora are as they are.
    """
    estimate = _over_corpora(runs, [intervals.level(of[name]) for of in _repeated(runs, params)])
    return _with_interval(estimate, params.confidence, 0.0)


def accuracy_gap(runs: Sequence[Runs], a: str, b: str, params: evaluation.Params) -> dict[str, float]:
    """b's accuracy minus a's, on the same dialogues; the rest as of ``accuracy``."""
    estimate = _over_corpora(runs, [intervals.difference(of[a], of[b]) for of in _repeated(runs, params)])
    return _with_interval(estimate, params.confidence, -1.0)


def _repeated(runs: Sequence[Runs], params: evaluation.Params) -> list[dict[str, intervals.Repeated]]:
    """Per corpus: system -> its accuracy per training seed, on the dialogues as they are and resampled."""
    result = []
    for place, of in enumerate(runs):
        weights = bootstrap.dialogue_weights(of.judged.dialogues, params.resamples, params.seed + place)
        result.append(
            {name: bootstrap.repeated(of.judged, given, weights)["accuracy"] for name, given in of.answers.items()}
        )
    return result


def _over_corpora(runs: Sequence[Runs], estimates: Sequence[intervals.Estimate]) -> intervals.Estimate:
    sizes = np.array([len(of.judged.gold) for of in runs])
    return intervals.weighted(estimates, list(sizes / sizes.sum()))


def _with_interval(estimate: intervals.Estimate, confidence: float, least: float) -> dict[str, float]:
    low, high = estimate.interval(confidence, least, 1.0)
    return {"value": estimate.value, "low": low, "high": high}


# -------------------------------------------------------------------------------------------- agreement of action units


@dataclass(frozen=True)
class UnitAgreement:
    """How stored action units follow planted ones, U units; r is Pearson's, stored (row) with planted (column).

    stored  (U, U) over all frames of all clips, exactly as they are stored: faces differ at rest, so this is lowest
    pooled  (U, U) over all frames, each speaker's own mean subtracted, as calibration does for a model's tokens:
            the diagonal should be high, the rest low
    within  (U,) median r within the clips whose planted intensity moves
    """

    stored: Floats
    pooled: Floats
    within: Floats


def unit_agreement(clips: Sequence[tuple[Floats, Floats]], speakers: Sequence[str]) -> UnitAgreement:
    """From every clip's (stored (T, U), planted (T, U)) over frames with a face, and the clips' speakers."""
    stored, planted = (np.concatenate([clip[side] for clip in clips]) for side in (0, 1))
    speaker_codes = np.repeat(np.unique(speakers, return_inverse=True)[1], [len(a) for a, _ in clips])
    means = [_group_means(values, speaker_codes) for values in (stored, planted)]
    each = np.array([np.where(b.std(0) > MOVES, np.diag(correlations(a, b)), np.nan) for a, b in clips if len(a)])
    measured = [column[np.isfinite(column)] for column in each.T]
    return UnitAgreement(
        correlations(stored, planted),
        correlations(stored - means[0], planted - means[1]),
        np.array([np.median(of) if len(of) else np.nan for of in measured]),
    )


def _group_means(values: Floats, groups: NDArray[np.intp]) -> Floats:
    """Every row's own group's mean: (N, U) and (N,) group numbers -> (N, U)."""
    sums = np.zeros((int(groups.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return np.asarray((sums / np.maximum(np.bincount(groups), 1)[:, None])[groups])


def correlations(measured: Floats, planted: Floats) -> Floats:
    """Pearson r of the columns of measured (T, U) and planted (T, V): (U, V); NaN where one is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = ((x - x.mean(0)) / x.std(0) for x in (measured, planted))
        return np.asarray(a.T @ b / len(a))
