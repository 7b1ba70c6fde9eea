"""Conflict items of a corpus: utterances whose face and voice disagree, those where both agree, and recombinations.

Three ways, the first that an utterance allows: labels that people gave each modality; predictors of one side alone
(unimodal.py), which decide only where they are sure; and recombinations (recombine.py).

By predictors, a side is *right* where it gives the label at least ``confidence``, and ``lift`` times the odds that the label has
in train; it is *wrong* where it gives another label as much, and the label no more than its share in train. Everything between is left
out and counted. (The rule is ours.)
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import ConfigError, CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import provenance
from bemerc.corpus.conflict import SUBSETS, WAYS, ConflictItem, ConflictSet, Subset, Way, subset_of
from bemerc.corpus.manifest import NOBODY, SPLITS, Manifest, Utterance
from bemerc.evaluate import baselines
from bemerc.evaluate.conflict import recombine, unimodal
from bemerc.evaluate.conflict.items import JUDGED
from bemerc.evaluate.conflict.unimodal import ChanceError, MissingSideError, Predictor, Side

Floats = NDArray[np.float64]
_LOG = logging.getLogger(__name__)
_SIDES: tuple[Side, Side] = ("voice", "face")


class NoConflictError(CorpusError):
    """There is no conflict in a corpus. ``counts``: split -> way -> subset -> items; ``left_out``: reason -> utterances."""

    def __init__(self, counts: Mapping[str, Any], left_out: Mapping[str, int]) -> None:
        listed = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "none"
        super().__init__(
            "Face and voice contradict each other in no utterance of this corpus, and none could be recombined (left out: "
            f"{listed}). Lower conflict.confidence, or use a corpus with labels per modality, or one whose speakers are named "
            "and show different emotions."
        )
        self.counts, self.left_out = counts, left_out


@dataclass(frozen=True)
class Params:
    """params.yaml: conflict.

    ways           labels | predictors | recombined: which may be used
    folds          of train, by which the predictors are crossed
    confidence     the probability that a predictor gives to what a side shows, at least
    lift           its odds over the odds of the label in train, at least
    per_utterance  recombinations that an utterance may be part of, at most
    seed           of the recombinations
    """

    ways: tuple[Way, ...] = WAYS
    folds: int = 5
    confidence: float = 0.4
    lift: float = 2.0
    per_utterance: int = 4
    seed: int = 0

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        faults = [] if self.folds >= 2 else [f"folds: must be 2 or more, not {self.folds}."]
        if not 0 < self.confidence <= 1:
            faults.append(f"confidence: must be above 0 and at most 1, not {self.confidence}.")
        if self.lift < 1:
            faults.append(f"lift: must be 1 or more, not {self.lift}.")
        if self.per_utterance < 1:
            faults.append(f"per_utterance: must be 1 or more, not {self.per_utterance}.")
        if not set(self.ways) & {"labels", "predictors"}:
            faults.append("ways: needs labels or predictors; recombinations are made of what these decide.")
        return faults


@dataclass(frozen=True)
class _Decided:
    """An utterance with what its voice and its face show."""

    row: int
    way: Way
    utterance: Utterance
    voice: str
    face: str
    confidence: float

    @property
    def subset(self) -> Subset:
        """Which sides show the label of the whole."""
        return subset_of(self.utterance.label, self.voice, self.face)


def run(manifest: Manifest, tokens: TokenFile, params: Params) -> ConflictSet:
    """Build the conflict items of a corpus.

    Raises StaleError where the tokens are of another manifest, MissingSideError where no face or no voice was measured,
    ChanceError where the predictors are needed and no better than chance, NoConflictError where there is no conflict.
    """
    provenance.must_match(tokens.path, tokens.calibration.fitted, provenance.fitted(manifest), "bemerc tokens")
    present = np.ones(len(manifest.utterances), dtype=np.bool_)
    for side in _SIDES:
        mine = unimodal.measured(manifest, tokens, side)
        if not mine.any():
            raise MissingSideError(side, tokens.path)
        present &= mine
    labelled = _by_labels(manifest, present) if "labels" in params.ways else []
    predictors, notes = _predictors(manifest, tokens, params, needed=not labelled)
    shown = _shown_by(manifest, predictors, params)
    decided, left_out = _by_predictors(manifest, predictors, shown, present, labelled)
    items = [_item(one, predictors) for one in decided]
    if "recombined" in params.ways:
        items += _recombined(_sure(manifest, predictors, shown, present, labelled), predictors, params)
    counts = count(items)
    if not any(item.label_voice != item.label_face for item in items):
        raise NoConflictError(counts, left_out)
    cuts, cut_on = _cuts(items)
    notes += _missing(items, decided, params)
    for note in notes:
        _LOG.warning("%s", note)
    made = {
        "params": asdict(params) | {"ways": list(params.ways)},
        "counts": counts,
        "left_out": left_out,
        "predictors": {side: predictor.summary() for side, predictor in predictors.items()},
        "cuts_on": cut_on,
        "notes": notes,
    }
    ordered = tuple(sorted(items, key=lambda item: item.id))
    return ConflictSet(ordered, manifest.labels, provenance.learned(manifest), made, cuts)


def empty(manifest: Manifest, why: str) -> ConflictSet:
    """The set of a corpus in which there is no conflict; ``why``: a sentence."""
    made = {"counts": {}, "left_out": {}, "predictors": {}, "nothing": why}
    return ConflictSet((), manifest.labels, provenance.learned(manifest), made, (0.0, 0.0, 0.0))


def count(items: Iterable[ConflictItem]) -> dict[str, dict[str, dict[str, int]]]:
    """Split -> way -> subset -> items; splits and ways without any are not there."""
    tally = Counter((item.split, item.way, item.subset) for item in items)
    return {
        split: {
            way: {subset: tally[split, way, subset] for subset in SUBSETS if tally[split, way, subset]}
            for way in WAYS
            if any(tally[split, way, subset] for subset in SUBSETS)
        }
        for split in SPLITS
    }


def distance(a: Floats, b: Floats) -> Floats:
    """Jensen-Shannon distance, base 2, of distributions (..., C): 0 where they are the same, 1 where nothing is shared."""
    middle = (a + b) / 2

    def divergence(p: Floats) -> Floats:
        ratio = np.divide(p, middle, out=np.ones_like(p), where=p > 0)
        return np.asarray((p * np.log2(ratio)).sum(-1))

    return np.asarray(np.sqrt(np.clip((divergence(a) + divergence(b)) / 2, 0, 1)))


# -------------------------------------------------------------------------------------------------- which side shows what


def _by_labels(manifest: Manifest, present: NDArray[np.bool_]) -> list[_Decided]:
    return [
        _Decided(row, "labels", u, u.label_voice, u.label_face, 1.0)
        for row, u in enumerate(manifest.utterances)
        if present[row] and u.label is not None and u.label_voice is not None and u.label_face is not None
    ]


def _predictors(
    manifest: Manifest, tokens: TokenFile, params: Params, *, needed: bool
) -> tuple[dict[Side, Predictor], list[str]]:
    """The predictors of voice, face and, for information, words; none, with a note, where they fail and are not needed."""
    if "predictors" not in params.ways:
        if needed:
            raise ConfigError(
                "conflict.ways names labels alone, and no utterance with face and voice has label_voice and label_face. Add "
                "predictors to it, or give the corpus such labels."
            )
        return {}, []
    try:
        fitted = {side: unimodal.fit(manifest, tokens, side, params.folds) for side in _SIDES}
        for predictor in fitted.values():
            predictor.must_beat_chance()
    except (ChanceError, CorpusError) as error:
        if needed:
            raise
        return {}, [f"Only what people labelled is used. {error}"]
    try:
        fitted["text"] = unimodal.fit(manifest, tokens, "text", params.folds)
    except CorpusError:  # a corpus without words
        _LOG.info("There is no predictor of the words, which is made for information alone.")
    return fitted, []


def _shown_by(manifest: Manifest, predictors: Mapping[Side, Predictor], params: Params) -> dict[Side, list[int | None]]:
    """Side -> per utterance, the code of what the side shows; None where its predictor is not sure, or there is no label."""
    if not predictors:
        return {}
    gold, shares = baselines.codes(manifest), baselines.majority(manifest)[0]
    return {
        side: [
            _shown(one, right, shares, params) if right >= 0 else None
            for one, right in zip(predictors[side].probabilities, gold, strict=True)
        ]
        for side in _SIDES
    }


def _by_predictors(
    manifest: Manifest,
    predictors: Mapping[Side, Predictor],
    shown: Mapping[Side, Sequence[int | None]],
    present: NDArray[np.bool_],
    labelled: Sequence[_Decided],
) -> tuple[list[_Decided], dict[str, int]]:
    """``labelled``, and what the predictors decide of the other utterances; and why the rest is left out."""
    decided, done = list(labelled), {one.row for one in labelled}
    left_out: Counter[str] = Counter()
    for row, u in enumerate(manifest.utterances):
        if row in done:
            continue
        if not present[row] or u.label is None:
            left_out["without a label" if present[row] else "without face or voice"] += 1
            continue
        codes = [of[row] for of in shown.values()]
        if None in codes or not codes:
            left_out["undecided"] += 1
            continue
        voice, face = (code for code in codes if code is not None)
        sure = min(predictors[side].probabilities[row][code] for side, code in zip(_SIDES, (voice, face), strict=True))
        decided.append(_Decided(row, "predictors", u, manifest.labels[voice], manifest.labels[face], float(sure)))
    return decided, dict(left_out)


def _shown(probabilities: Floats, gold: int, shares: Floats, params: Params) -> int | None:
    """The code of what a side shows; None where it is not sure, or torn between another label and ``gold``."""
    first = int(np.argmax(probabilities))
    odds = params.lift * shares[first] / max(1 - shares[first], 1e-9)
    sure = probabilities[first] >= max(params.confidence, odds / (1 + odds))
    return first if sure and (first == gold or probabilities[gold] <= shares[gold]) else None


# ---------------------------------------------------------------------------------------------------------------- items


def _item(one: _Decided, predictors: Mapping[Side, Predictor]) -> ConflictItem:
    u = one.utterance
    strength = _strength(one, one, predictors)
    return ConflictItem(
        u.id,
        one.way,
        one.subset,
        u.split,
        u.dialogue,
        u.id,
        u.id,
        u.label,
        one.voice,
        one.face,
        one.confidence,
        strength,
    )


def _strength(voice_of: _Decided, face_of: _Decided, predictors: Mapping[Side, Predictor]) -> float:
    """Distance of the voice's and the face's distributions; of the labels themselves where there are no predictors."""
    if not predictors:
        return float(voice_of.voice != face_of.face)
    voice, face = predictors["voice"].probabilities[voice_of.row], predictors["face"].probabilities[face_of.row]
    return round(float(distance(voice, face)), 6)


def _sure(
    manifest: Manifest,
    predictors: Mapping[Side, Predictor],
    shown: Mapping[Side, Sequence[int | None]],
    present: NDArray[np.bool_],
    labelled: Sequence[_Decided],
) -> dict[Side, dict[str, _Decided]]:
    """Side -> id -> the utterances of which this side shows the label, whatever the other one shows."""
    sure: dict[Side, dict[str, _Decided]] = {
        side: {one.utterance.id: one for one in labelled if getattr(one, side) == one.utterance.label}
        for side in _SIDES
    }
    done = {one.row for one in labelled}
    for row, u in enumerate(manifest.utterances):
        if row in done or not present[row] or u.label is None:
            continue
        gold = manifest.labels.index(u.label)
        for side, codes in shown.items():
            if codes[row] == gold:
                confidence = float(predictors[side].probabilities[row][gold])
                sure[side][u.id] = _Decided(row, "predictors", u, u.label, u.label, confidence)
    return sure


def _recombined(
    sure: Mapping[Side, Mapping[str, _Decided]], predictors: Mapping[Side, Predictor], params: Params
) -> list[ConflictItem]:
    voices, faces = (
        [recombine.Shows(one.utterance, one.utterance.label or "") for _, one in sorted(sure[side].items())]
        for side in _SIDES
    )
    items = []
    for v, f in recombine.pairs(voices, faces, params.per_utterance, params.seed):
        voice, face = sure["voice"][v.id], sure["face"][f.id]
        items.append(
            ConflictItem(
                id=f"{v.id} ~ {f.id}",
                way="recombined",
                subset="other",
                split=v.split,
                dialogue=v.dialogue,
                voice_of=v.id,
                face_of=f.id,
                label=None,
                label_voice=voice.voice,
                label_face=face.face,
                confidence=min(voice.confidence, face.confidence),
                strength=_strength(voice, face, predictors),
            )
        )
    return items


def _cuts(items: Sequence[ConflictItem]) -> tuple[tuple[float, float, float], str]:
    """The quartiles of the conflicts' strength, and on which conflicts: train's own, else the next that there are."""
    conflicts = [item for item in items if item.label_voice != item.label_face]
    own = [item for item in conflicts if item.way != "recombined"]
    train = [item for item in own if item.split == "train"]
    recombined = [item for item in conflicts if item.split == "train"]
    used, name = next(
        (group, name)
        for group, name in ((train, "train"), (recombined, "train, recombined"), (conflicts, "all splits"))
        if group
    )
    first, second, third = (round(float(q), 6) for q in np.quantile([i.strength for i in used], (0.25, 0.5, 0.75)))
    return (first, second, third), name


def _missing(items: Sequence[ConflictItem], decided: Sequence[_Decided], params: Params) -> list[str]:
    """Sentences on sides and splits without items."""
    notes = []
    for split in SPLITS:
        lacking = [s for s in JUDGED if not any(i.split == split and i.subset == s for i in items)]
        if lacking:
            notes.append(
                f"{split} has no {' and no '.join(lacking)} item, so nothing can be said there of that side. Lower "
                "conflict.confidence, or use a larger corpus."
            )
    if "recombined" in params.ways and not any(item.way == "recombined" for item in items):
        named = any(one.utterance.speaker != NOBODY for one in decided)
        notes.append(
            "Nothing could be recombined: "
            + (
                "no speaker is sure to show one emotion by voice and another by face."
                if named
                else "no utterance that was decided has a named speaker."
            )
        )
    return [printable(note, 1000) for note in notes]
