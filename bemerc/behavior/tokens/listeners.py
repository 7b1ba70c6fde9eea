"""Behavior tokens of the listeners, as rows of their own, by ``listener_id``."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.tokens import pooling
from bemerc.behavior.tokens.calibration import Caches, Calibration, Mode, Pooled, calibrate
from bemerc.cache.listener import features_of
from bemerc.core.errors import CacheError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest, Modality

Tokens = dict[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]
_LOG = logging.getLogger(__name__)


def pool(manifest: Manifest, caches: Caches, fitted: Calibration, k: int) -> Pooled:
    """The listeners' frames pooled: modality -> (N, K, D') in the manifest's order, NaN where there is no listener;
    empty where no cache keeps other people."""
    if not any(cache.others is not None for cache in caches.values()):
        return {}
    pooled: Pooled = {
        m: np.full((len(manifest.utterances), k, len(statistics.columns)), np.nan, np.float32)
        for m, statistics in fitted.modalities.items()
    }
    for row, u in enumerate(manifest.utterances):
        try:
            features = features_of(caches, u.id) if "face" in caches and u.id in caches["face"] else {}
        except CacheError as error:  # one damaged clip costs itself alone
            _LOG.warning("The listener of %s counts as not measured: %s", printable(u.id), error)
            continue
        for modality in pooled.keys() & features.keys():
            frames, duration_s = features[modality], caches["face"].duration_s(u.id)
            pooled[modality][row] = pooling.pool(frames.values, frames.timestamps_s, frames.columns, duration_s, k)
    return pooled


def added(manifest: Manifest, tokens: Tokens, pooled: Pooled, fitted: Calibration, calibration: Mode) -> Tokens:
    """The tokens of the utterances, and then the listeners' in the same order. Whose earlier turns a listener would be
    measured against is not known, so it is against train's mean."""
    mode: Mode = "none" if calibration == "none" else "global"
    result: Tokens = {}
    for modality, (values, mask) in tokens.items():
        theirs, measured = calibrate(manifest, pooled[modality], fitted.modalities[modality], mode, 0.0)
        result[modality] = np.concatenate([values, theirs]), np.concatenate([mask, measured])
    return result
