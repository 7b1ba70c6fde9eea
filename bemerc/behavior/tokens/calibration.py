"""Calibrate pooled tokens: subtract what is usual for the speaker so far, and divide by train's standard deviation.

A turn is measured against the mean of its speaker's earlier turns in the same dialogue, shrunk towards train's mean,
in the same way on every split. A speaker's mean over all clips would contain turns that are yet to come.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import statistics
from bemerc.behavior.tokens import pooling
from bemerc.cache import FrameCache, Kind
from bemerc.core.errors import CacheError, CorpusError
from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance

log = logging.getLogger(__name__)
LIMIT = 6.0  # standard deviations; values are clipped there, since what lies further out is a measuring error
Mode = Literal["causal", "global", "none"]
Pooled = dict[Modality, NDArray[np.float32]]


@dataclass(frozen=True)
class Statistics:
    """One modality over train's utterances: its token columns, the mean of the turns' means, the tokens' deviation.

    deviation 0: the column never moved (or was never measured) in train, and tokens hold 0 there.
    """

    extractor: str
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """Train's statistics per modality; a model folder has a copy, so that new clips become the same tokens.

    ``fitted``: the fingerprint of the train and dev splits that it was fitted on (corpus.provenance); empty: unknown.
    """

    modalities: Mapping[Modality, Statistics]
    fitted: str = ""

    def to_json(self) -> str:
        document: dict[str, Any] = {m: asdict(s) for m, s in self.modalities.items()}
        return json.dumps(document | {"fitted": self.fitted}, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Calibration:
        """CacheError where the text is not what to_json wrote."""
        try:
            document = dict(parse_json(text, "a calibration"))
            if not document:
                raise ValueError("it is empty")
            modalities = {m: _statistics(document[m]) for m in MODALITIES if m in document}
            return Calibration(modalities, str(document.get("fitted", "")))
        except (JsonError, ValueError, TypeError, KeyError) as error:
            raise CacheError(f"This is not a token calibration ({error}). Run the tokens stage again.") from error


def _statistics(document: Mapping[str, Any]) -> Statistics:
    """One modality's statistics from JSON. ValueError, TypeError or KeyError where it is none."""
    mean, deviation = (tuple(float(v) for v in document[key]) for key in ("mean", "deviation"))
    result = Statistics(str(document["extractor"]), tuple(map(str, document["columns"])), mean, deviation)
    if not len(result.columns) == len(mean) == len(deviation):
        raise ValueError("columns, mean and deviation differ in length")
    if not all(map(math.isfinite, (*mean, *deviation))) or min(deviation, default=0) < 0:
        raise ValueError("means and deviations are no numbers")
    return result


# The caches that a modality's tokens are made of: the columns of a speech encoder follow those of the prosody.
SOURCES: Mapping[Modality, tuple[Kind, ...]] = {"face": ("face",), "pose": ("pose",), "audio": ("audio", "speech")}
Caches = Mapping[Kind, FrameCache]


def sources(modality: Modality, caches: Caches) -> tuple[FrameCache, ...]:
    """Those of the given caches that a modality's tokens are made of, in the order of their columns."""
    return tuple(caches[kind] for kind in SOURCES[modality] if kind in caches)


def fit(manifest: Manifest, caches: Caches, pooled: Pooled) -> Calibration:
    """Fit on the train utterances alone. CorpusError where the manifest has none."""
    train = np.array([u.split == "train" for u in manifest.utterances], bool)
    if not train.any():
        raise CorpusError(
            "The manifest has no train utterances to calibrate the tokens on. Name a trained model: its folder holds "
            "them."
        )
    modalities = {m: _fit_one(sources(m, caches), pooled[m][train]) for m in MODALITIES if m in pooled}
    return Calibration(modalities, provenance.fitted(manifest))


def _fit_one(made_of: Sequence[FrameCache], train: NDArray[np.float32]) -> Statistics:
    """One modality's statistics from its pooled rows of train (N, K, D')."""
    rows = train.astype(np.float64)
    mean = statistics.mean(statistics.mean(rows, axis=1))
    measured = ~np.isnan(rows)
    squares = np.where(measured, rows - np.nan_to_num(mean), 0) ** 2
    deviation = np.sqrt(squares.sum(axis=(0, 1)) / np.maximum(measured.sum(axis=(0, 1)), 1))
    deviation = np.where(deviation > 1e-6 * (1 + np.abs(np.nan_to_num(mean))), deviation, 0)
    extractor = " + ".join(cache.extractor for cache in made_of)
    numbers = tuple(np.nan_to_num(mean).tolist()), tuple(deviation.tolist())
    return Statistics(extractor, token_columns(made_of), *numbers)


def used_caches(caches: Caches, calibration: Calibration | None) -> Caches:
    """The caches without a speech cache that has no columns or that the calibration was fitted without."""
    if "speech" not in caches:
        return caches
    rest: Caches = {kind: cache for kind, cache in caches.items() if kind != "speech"}
    audio = calibration.modalities.get("audio") if calibration is not None else None
    spare = audio is not None and audio.columns == token_columns(sources("audio", rest))
    return rest if spare or not token_columns((caches["speech"],)) else caches


def check_fit(caches: Caches, calibration: Calibration) -> None:
    """CacheError where the caches give other token columns than the calibration has; a warning where the columns are the
    same and were measured by something else."""
    for modality, fitted in calibration.modalities.items():
        made_of = sources(modality, caches)
        columns, extractor = token_columns(made_of), " + ".join(cache.extractor for cache in made_of)
        if not made_of:
            continue
        if columns != fitted.columns:
            differing = sorted(set(columns) ^ set(fitted.columns)) or ["their order"]
            raise CacheError(
                f"{modality}: the cache (by {extractor}) gives {len(columns)} "
                f"token columns, the calibration (by {fitted.extractor}) has {len(fitted.columns)}; they differ in "
                f"{', '.join(differing[:4])}. Extract the clips with the extractor that the model was trained with (a "
                "params file with the same extract_audio, say), or train again.",
                name=modality,
            )
        if extractor != fitted.extractor:
            log.warning(
                "%s: measured by %s, and the model learned from what %s measured: its answers may be off. Measure its "
                "corpus again and train it again.",
                *(modality, extractor, fitted.extractor),
            )


def token_columns(made_of: Sequence[FrameCache]) -> tuple[str, ...]:
    """The names of the D' columns of a token that the frames of these caches give, one cache's after the other's."""
    return tuple(p.name for cache in made_of for p in pooling.plan(cache.columns))


def calibrate(
    manifest: Manifest, pooled: NDArray[np.float32], fitted: Statistics, mode: Mode, prior: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One modality's pooled rows (N, K, D') in the manifest's order -> values (N, K, D') and mask (N, K).

    causal, for turn t of speaker s: mean = (n * mean of the n earlier turns of s in this dialogue + prior * train's
    mean) / (n + prior), per column, n counting the turns in which the column was measured; then divided by train's
    deviation.
    """
    mask = ~np.asarray(np.isnan(pooled).all(axis=2))
    mean, deviation = np.array(fitted.mean), np.array(fitted.deviation)
    if mode == "none":
        return np.where(mask[:, :, None], np.where(np.isnan(pooled), mean, pooled), 0).astype(np.float32), mask
    centre = np.tile(mean, (len(pooled), 1))
    if mode == "causal":
        centre = _causal_centres(manifest, statistics.mean(pooled.astype(np.float64), axis=1), mean, prior)
    scaled = (pooled - centre[:, None]) / np.where(deviation > 0, deviation, np.inf)
    return np.clip(np.nan_to_num(scaled), -LIMIT, LIMIT).astype(np.float32), mask


def _causal_centres(
    manifest: Manifest, turns: NDArray[np.float64], mean: NDArray[np.float64], prior: float
) -> NDArray[np.float64]:
    """Turn means (N, D') -> what is subtracted from each turn (N, D')."""
    centres = np.tile(mean, (len(turns), 1))
    row_of = {u.id: row for row, u in enumerate(manifest.utterances)}
    for key, earlier in earlier_turns(manifest).items():
        rows = turns[[row_of[u.id] for u in earlier]]
        count = (~np.isnan(rows)).sum(axis=0)
        weight = np.where(count + prior > 0, count + prior, 1)
        centre = (np.nan_to_num(rows).sum(axis=0) + prior * mean) / weight
        centres[row_of[key]] = np.where(count + prior > 0, centre, mean)
    return centres


def earlier_turns(manifest: Manifest) -> dict[str, tuple[Utterance, ...]]:
    """Utterance id -> its speaker's earlier turns in the dialogue, in order; none for a speaker without a name."""
    earlier: dict[str, tuple[Utterance, ...]] = {}
    for dialogue in manifest.dialogues():
        turns: dict[str, tuple[Utterance, ...]] = {}
        for utterance in dialogue.utterances:
            earlier[utterance.id] = turns.get(utterance.speaker, ()) if utterance.speaker else ()
            turns[utterance.speaker] = (*turns.get(utterance.speaker, ()), utterance)
    return earlier
