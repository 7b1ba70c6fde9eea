"""What a cache holds as one hash per utterance and one for the rest, so that damage shows and says where it is.

gzip's own checksum finds a flipped bit in most chunks, but not swapped rows, a changed duration, or another id. The
writer leaves these hashes, ``cache validate`` and whoever asks for the state of a cache work them out anew. They are no
seal against somebody who changes the file and the hashes.
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
    found = hashlib.sha256(json.dumps([id_, repr(float(duration_s)), rows, columns]).encode())
    found.update(np.ascontiguousarray(features.values, "<f4").data)
    found.update(np.ascontiguousarray(features.timestamps_s, "<f8").data)
    # A cache with landmarks of other utterances reads as NO_POINT where this one has none.
    if landmarks is not None and (landmarks.points != NO_POINT).any():
        found.update(np.ascontiguousarray(landmarks.points, "<i2").data)
        found.update(np.ascontiguousarray(landmarks.scale, "<f4").data)
    return found.hexdigest()


def of_head(
    attributes: Mapping[str, Any],
    columns: Sequence[str],
    ids: Sequence[str],
    rows: Sequence[str],
    pairs: Mapping[str, Mapping[str, str]],
) -> str:
    """The SHA-256 (hex) of everything but the rows, with the rows' own."""
    told = [attributes, list(columns), list(ids), list(rows), pairs]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
