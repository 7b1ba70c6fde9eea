"""Is behavior worth anything, and does anything leak? What the controls do to a corpus, and how they judge it.

A model that is right says nothing about why. So: take away what it should need (another utterance's behavior in place
of the utterance's own; labels shuffled), give it only what must not tell (masks, lengths, bytes, position, speaker), and
see whether the numbers fall to where chance puts them. Chance is not 1/C but a permutation band: the same procedure on
shuffled labels, a few hundred times. All of this is ours; benchmarks/controls.py runs it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc import evaluate, tokens
from bemerc.cache import FrameCache
from bemerc.corpus import Manifest
from bemerc.evaluate import Answers, Floats, Ints, Reference, baselines
from bemerc.tokens import TokenFile

# Standard deviation over a clip from which on a planted intensity (0 to 1) counts as moving.
MOVES = 0.1
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


# ---------------------------------------------------------------------------------------------------- what is taken away


def swap_within_speaker(manifest: Manifest, source: TokenFile, out: Path, seed: int) -> int:
    """Write ``source`` with the rows of test changed: every test utterance gets another one's tokens, of its own speaker.

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
    tokens.write_tokens(out, source.ids, stacked, source.calibration, tokens.Params(**source.params))
    return strangers


def partners(manifest: Manifest, seed: int) -> tuple[dict[str, str], int]:
    """Every test id -> another test id, of the same speaker where there is one; and for how many there is none."""
    rng = np.random.default_rng(seed)
    test = manifest.by_split("test")
    own: dict[str, list[str]] = {}
    for utterance in test:
        own.setdefault(utterance.speaker, []).append(utterance.id)
    alone = [ids[0] for ids in own.values() if len(ids) == 1]
    found: dict[str, str] = {}
    for ids in own.values():
        circle = list(rng.permutation(ids))
        found |= {a: b for a, b in zip(circle, circle[1:] + circle[:1], strict=True) if a != b}
    for id_ in alone:
        found[id_] = str(rng.choice([u.id for u in test if u.id != id_]))
    return {str(a): str(b) for a, b in found.items()}, len(alone)


def shuffle_labels(manifest: Manifest, seed: int) -> Manifest:
    """The manifest with the labels of train and of dev each dealt out anew; test keeps its own."""
    gold = shuffled(manifest, np.random.default_rng(seed), ("train", "dev"))
    labels = [None if code < 0 else manifest.labels[code] for code in gold]
    changed = [dataclasses.replace(u, label=label) for u, label in zip(manifest.utterances, labels, strict=True)]
    return dataclasses.replace(manifest, utterances=tuple(changed))


def shuffled(manifest: Manifest, rng: np.random.Generator, splits: Sequence[str]) -> Ints:
    """(N,) codes of the labels, dealt out anew within each of ``splits``; unlabelled stays unlabelled."""
    gold = baselines.codes(manifest)
    for split in splits:
        rows = np.array(
            [i for i, u in enumerate(manifest.utterances) if u.split == split and u.label is not None], dtype=np.int64
        )
        gold[rows] = gold[rng.permutation(rows)]
    return gold


# ------------------------------------------------------------------------------------------------ what must not tell


def masks(manifest: Manifest, source: TokenFile) -> Floats:
    """(N, modalities * K): which tokens are there at all."""
    return np.array(
        [np.concatenate([of.mask for _, of in sorted(source[u.id].items())]) for u in manifest.utterances],
        dtype=np.float64,
    )


def metadata(manifest: Manifest, face: FrameCache) -> Floats:
    """(N, D): length in seconds, frames, bytes of the clip, position in the dialogue (as a number and each by itself), speaker."""
    speakers = sorted({u.speaker for u in manifest.utterances})
    longest = max(u.index for u in manifest.utterances) + 1
    rows = []
    for u in manifest.utterances:
        clip = manifest.clip_path(u)
        size = clip.stat().st_size if clip is not None and clip.is_file() else np.nan
        numbers = [face.duration_s(u.id), len(face[u.id].values), size, u.index]
        rows.append(np.concatenate([numbers, np.arange(longest) == u.index, [name == u.speaker for name in speakers]]))
    return np.array(rows, dtype=np.float64)


# ------------------------------------------------------------------------------------------------------------------ chance


def regression_band(parts: Sequence[tuple[Manifest, Floats]], permutations: int, seed: int) -> Band:
    """Test accuracy of the regression on (manifest, features) of one or more corpora, pooled, and its permutation band.

    Each permutation deals the labels out anew within train, dev and test and repeats everything, the choice on dev too.
    """
    rng = np.random.default_rng(seed)
    total = sum(int(_judged(manifest).sum()) for manifest, _ in parts)
    value = sum(_right(manifest, features, baselines.codes(manifest)) for manifest, features in parts) / total
    chance = np.array(
        [
            sum(_right(m, x, shuffled(m, rng, ("train", "dev", "test"))) for m, x in parts) / total
            for _ in range(permutations)
        ]
    )
    return _band(value, chance, total)


def answer_band(parts: Sequence[tuple[Reference, Answers]], permutations: int, seed: int) -> Band:
    """Accuracy of given answers, pooled over corpora, and the band of the same answers against shuffled gold labels."""
    rng = np.random.default_rng(seed)
    total = sum(len(judged.gold) for judged, _ in parts)
    value = sum(int((judged.gold == given.predicted).sum()) for judged, given in parts) / total
    chance = np.array(
        [
            sum(int((rng.permutation(j.gold) == g.predicted).sum()) for j, g in parts) / total
            for _ in range(permutations)
        ]
    )
    return _band(value, chance, total)


def _right(manifest: Manifest, features: Floats, gold: Ints) -> int:
    scores = baselines.regress(manifest, {"all": features}, gold).scores
    test = _judged(manifest)
    return int((scores[test].argmax(1) == gold[test]).sum())


def _judged(manifest: Manifest) -> NDArray[np.bool_]:
    return np.array([u.split == "test" and u.label is not None for u in manifest.utterances], dtype=np.bool_)


def _band(value: float, chance: Floats, total: int) -> Band:
    low, high = evaluate.interval(chance, CONFIDENCE)
    return Band(value, low, high, total)


# ----------------------------------------------------------------------------------------------- several corpora and seeds


def pooled(
    runs: Sequence[Runs], measure: Callable[[Mapping[str, Floats]], Floats], params: evaluate.Params
) -> dict[str, float]:
    """A measure over several corpora and training seeds with its interval: {value, low, high}.

    measure  system -> counts (..., C, C), averaged over seeds and summed over corpora -> (...)

    Dialogues are drawn within their corpus, and training seeds with them (nested_weights); the corpora are as they are.
    """
    names = list(runs[0].answers)
    whole: dict[str, Floats] = {}
    drawn: dict[str, Floats] = {}
    for place, of in enumerate(runs):
        for name in names:
            level, draws = evaluate.over_seeds(of.judged, of.answers[name], params.resamples, params.seed + place)
            whole[name] = whole.get(name, 0.0) + level
            drawn[name] = drawn.get(name, 0.0) + draws
    low, high = evaluate.interval(measure(drawn), params.confidence)
    return {"value": float(measure(whole)), "low": low, "high": high}


def accuracy_of(name: str) -> Callable[[Mapping[str, Floats]], Floats]:
    """For ``pooled``: one system's accuracy."""
    return lambda counts: evaluate.accuracy(counts[name])


def accuracy_gap(a: str, b: str) -> Callable[[Mapping[str, Floats]], Floats]:
    """For ``pooled``: b's accuracy minus a's, paired."""
    return lambda counts: evaluate.accuracy(counts[b]) - evaluate.accuracy(counts[a])


# -------------------------------------------------------------------------------------------------- action-unit plumbing


@dataclass(frozen=True)
class UnitAgreement:
    """How stored action units follow planted ones, U units; r is Pearson's, stored (row) with planted (column).

    stored  (U, U) over all frames of all clips, exactly as they are stored: faces differ at rest, so this is lowest
    pooled  (U, U) over all frames, each speaker's own mean taken off, as calibration does before a model sees them:
            the diagonal should be high, the rest low
    within  (U,) median r within the clips whose planted intensity moves
    """

    stored: Floats
    pooled: Floats
    within: Floats


def unit_agreement(clips: Sequence[tuple[Floats, Floats]], speakers: Sequence[str]) -> UnitAgreement:
    """From (stored (T, U), planted (T, U)) of every clip, the same units in the same order, frames with a face only;
    and whose clip it is."""
    stored, planted = (np.concatenate([clip[side] for clip in clips]) for side in (0, 1))
    whose = np.repeat(np.unique(speakers, return_inverse=True)[1], [len(a) for a, _ in clips])
    means = [_group_means(values, whose) for values in (stored, planted)]
    each = np.array([np.where(b.std(0) > MOVES, np.diag(correlations(a, b)), np.nan) for a, b in clips if len(a)])
    known = [column[np.isfinite(column)] for column in each.T]
    return UnitAgreement(
        correlations(stored, planted),
        correlations(stored - means[0], planted - means[1]),
        np.array([np.median(of) if len(of) else np.nan for of in known]),
    )


def _group_means(values: Floats, groups: NDArray[np.intp]) -> Floats:
    """Every row's own group's mean: (N, U) and (N,) group numbers -> (N, U)."""
    sums = np.zeros((int(groups.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return np.asarray((sums / np.maximum(np.bincount(groups), 1)[:, None])[groups])


def correlations(measured: Floats, planted: Floats) -> Floats:
    """Pearson r of every column of measured (T, U) with every column of planted (T, V): (U, V); NaN where one is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = ((x - x.mean(0)) / x.std(0) for x in (measured, planted))
        return np.asarray(a.T @ b / len(a))
