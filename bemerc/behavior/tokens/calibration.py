"""Train's statistics and what each turn is measured against: calibration per speaker, with nothing taken from later turns.

The plain choice subtracts each speaker's mean over all clips, which looks at turns that are yet to come and needs to
know the speakers of test. Here a turn is measured against what its speaker did earlier in the same dialogue, shrunk
towards train's mean, in the same way on every split.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.tokens import pooling
from bemerc.cache import FrameCache, Kind
from bemerc.core.errors import CacheError, CorpusError
from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, Utterance

LIMIT = 6.0  # standard deviations; what lies further out is an accident of measurement
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
    """What tokens need to know of train; a model folder carries it, so that new clips become the same tokens.

    ``fitted``: the fingerprint of the train and dev that it was fitted on (corpus.provenance), empty where it is not known.
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
            found = dict(parse_json(text, "a calibration"))
            if not found:
                raise ValueError("it is empty")
            statistics = {m: _statistics(found[m]) for m in MODALITIES if m in found}
            return Calibration(statistics, str(found.get("fitted", "")))
        except (JsonError, ValueError, TypeError, KeyError) as error:
            raise CacheError(f"This is not a token calibration ({error}). Run the tokens stage again.") from error


def _statistics(found: Mapping[str, Any]) -> Statistics:
    numbers = {key: tuple(float(v) for v in found[key]) for key in ("mean", "deviation")}
    statistics = Statistics(str(found["extractor"]), tuple(map(str, found["columns"])), **numbers)
    if not len(statistics.columns) == len(statistics.mean) == len(statistics.deviation):
        raise ValueError("columns, mean and deviation differ in length")
    if (
        not all(map(math.isfinite, (*statistics.mean, *statistics.deviation)))
        or min(statistics.deviation, default=0) < 0
    ):
        raise ValueError("means and deviations are no numbers")
    return statistics


# Which caches a modality's tokens are made of: what an encoder says of the sound stands beside the prosody.
SOURCES: Mapping[Modality, tuple[Kind, ...]] = {"face": ("face",), "pose": ("pose",), "audio": ("audio", "speech")}
Caches = Mapping[Kind, FrameCache]


def sources(modality: Modality, caches: Caches) -> tuple[FrameCache, ...]:
    """The caches at hand that a modality's tokens are made of, in the order of their columns."""
    return tuple(caches[kind] for kind in SOURCES[modality] if kind in caches)


def fit(manifest: Manifest, caches: Caches, pooled: Pooled) -> Calibration:
    """Train's statistics; dev and test are not looked at. CorpusError where the manifest has no train utterances."""
    train = np.array([u.split == "train" for u in manifest.utterances], bool)
    if not train.any():
        raise CorpusError(
            "The manifest has no train utterances to calibrate the tokens on. Name a trained model: its folder holds them."
        )
    statistics = {m: _fit_one(sources(m, caches), pooled[m][train]) for m in MODALITIES if m in pooled}
    return Calibration(statistics, provenance.fitted(manifest))


def _fit_one(made_of: Sequence[FrameCache], train: NDArray[np.float32]) -> Statistics:
    rows = train.astype(np.float64)
    mean = mean_known(mean_known(rows))
    known = ~np.isnan(rows)
    squares = np.where(known, rows - np.nan_to_num(mean), 0) ** 2
    deviation = np.sqrt(squares.sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1))
    deviation = np.where(deviation > 1e-6 * (1 + np.abs(np.nan_to_num(mean))), deviation, 0)
    extractor = " + ".join(cache.extractor for cache in made_of)
    numbers = tuple(np.nan_to_num(mean).tolist()), tuple(deviation.tolist())
    return Statistics(extractor, token_columns(made_of), *numbers)


def known(caches: Caches, calibration: Calibration | None) -> Caches:
    """The caches less a speech cache that says nothing (none was asked for), or that a calibration was fitted without."""
    if "speech" not in caches:
        return caches
    rest: Caches = {kind: cache for kind, cache in caches.items() if kind != "speech"}
    audio = calibration.modalities.get("audio") if calibration is not None else None
    spare = audio is not None and audio.columns == token_columns(sources("audio", rest))
    return rest if spare or not token_columns((caches["speech"],)) else caches


def check_fit(caches: Caches, calibration: Calibration) -> None:
    """CacheError where caches give other token columns than the calibration knows."""
    for modality, statistics in calibration.modalities.items():
        made_of = sources(modality, caches)
        found = token_columns(made_of)
        if made_of and found != statistics.columns:
            odd = sorted(set(found) ^ set(statistics.columns)) or ["their order"]
            raise CacheError(
                f"{modality}: the cache (by {' + '.join(cache.extractor for cache in made_of)}) gives {len(found)} token columns, "
                f"the calibration (by {statistics.extractor}) knows {len(statistics.columns)}; they differ in "
                f"{', '.join(odd[:4])}. Extract the clips with the extractor that the model was trained with (a params file "
                "with the same extract_audio, say), or train again."
            )


def token_columns(made_of: Sequence[FrameCache]) -> tuple[str, ...]:
    """The names of the D' columns of a token that the frames of these caches give, one cache's after the other's."""
    return tuple(p.name for cache in made_of for p in pooling.plan(cache.columns))


def calibrate(
    manifest: Manifest, pooled: NDArray[np.float32], statistics: Statistics, mode: Mode, prior: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One modality's pooled rows (N, K, D') in the manifest's order -> values (N, K, D') and mask (N, K).

    causal, for turn t of speaker s: mean = (n * mean of the n earlier turns of s in this dialogue + prior * train's
    mean) / (n + prior), per column, n counting the turns that know the column; then divided by train's deviation.
    """
    mask = ~np.isnan(pooled).all(axis=2)
    mean, deviation = np.array(statistics.mean), np.array(statistics.deviation)
    if mode == "none":
        return np.where(mask[:, :, None], np.where(np.isnan(pooled), mean, pooled), 0).astype(np.float32), mask
    centre = np.tile(mean, (len(pooled), 1))
    if mode == "causal":
        centre = _causal_centres(manifest, mean_known(pooled.astype(np.float64)), mean, prior)
    scaled = (pooled - centre[:, None]) / np.where(deviation > 0, deviation, np.inf)
    return np.clip(np.nan_to_num(scaled), -LIMIT, LIMIT).astype(np.float32), mask


def _causal_centres(
    manifest: Manifest, turns: NDArray[np.float64], mean: NDArray[np.float64], prior: float
) -> NDArray[np.float64]:
    """Turn means (N, D') -> what each turn is measured against (N, D')."""
    centres = np.tile(mean, (len(turns), 1))
    row_of = {u.id: row for row, u in enumerate(manifest.utterances)}
    for key, earlier in earlier_turns(manifest).items():
        said = turns[[row_of[u.id] for u in earlier]]
        count = (~np.isnan(said)).sum(axis=0)
        weight = np.where(count + prior > 0, count + prior, 1)
        centre = (np.nan_to_num(said).sum(axis=0) + prior * mean) / weight
        centres[row_of[key]] = np.where(count + prior > 0, centre, mean)
    return centres


def mean_known(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last axis but one of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(rows)
    count = known.sum(axis=-2)
    total = np.where(known, rows, 0).sum(axis=-2)
    result: NDArray[np.float64] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return result


def earlier_turns(manifest: Manifest) -> dict[str, tuple[Utterance, ...]]:
    """Of each utterance, the turns of the same speaker before it in its dialogue, in order; none without a name."""
    earlier: dict[str, tuple[Utterance, ...]] = {}
    for dialogue in manifest.dialogues():
        said: dict[str, tuple[Utterance, ...]] = {}
        for utterance in dialogue.utterances:
            earlier[utterance.id] = said.get(utterance.speaker, ()) if utterance.speaker else ()
            said[utterance.speaker] = (*said.get(utterance.speaker, ()), utterance)
    return earlier
