"""Checksums of a cache: one per utterance and one for the rest, so that damage is detected and located.

gzip's own checksum finds a flipped bit in most chunks, but not swapped rows, a changed duration, or another id. The
writer stores these hashes; ``cache validate`` and ``state_of`` compute them anew. They do not protect against somebody
who changes the file and the hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bemerc.cache.schema import NO_POINT, Features, PackedLandmarks

# The row of hex texts, one per utterance, and the attribute over everything else.
DATASET, ATTRIBUTE = "sha256", "sha256"


def of_rows(id_: str, duration_s: float, features: Features, landmarks: PackedLandmarks | None) -> str:
    """The SHA-256 (hex) of one utterance: its id, duration, values, times, and landmarks where any frame has some."""
    rows, columns = features.values.shape
    digest = hashlib.sha256(json.dumps([id_, repr(float(duration_s)), rows, columns]).encode())
    digest.update(np.ascontiguousarray(features.values, "<f4").data)
    digest.update(np.ascontiguousarray(features.timestamps_s, "<f8").data)
    # A cache with landmarks of other utterances reads as NO_POINT where this one has none.
    if landmarks is not None and (landmarks.points != NO_POINT).any():
        digest.update(np.ascontiguousarray(landmarks.points, "<i2").data)
        digest.update(np.ascontiguousarray(landmarks.scale, "<f4").data)
    return digest.hexdigest()


def of_head(
    attributes: Mapping[str, Any],
    columns: Sequence[str],
    ids: Sequence[str],
    rows: Sequence[str],
    pairs: Mapping[str, Mapping[str, str]],
) -> str:
    """The SHA-256 (hex) of everything but the rows, with the rows' own."""
    parts = [attributes, list(columns), list(ids), list(rows), pairs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
