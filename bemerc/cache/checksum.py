"""Checksums of a cache: one per utterance and one for the rest, so that damage is detected and located.

gzip's own checksum finds a flipped bit in most chunks, but not swapped rows, a changed duration, or another id. The
writer stores these hashes; ``cache validate`` and ``state_of`` compute them anew. They do not protect against somebody
who changes the file and the hashes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bemerc.cache.schema import NO_POINT, Features, PackedLandmarks

# The row of hex texts, one per utterance, and the attribute over everything else.
DATASET, ATTRIBUTE = "sha256", "sha256"
_BLOCK = 256


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
    return of_json([attributes, columns, ids, rows, pairs])


def of_json(parts: Sequence[Any], *, ensure_ascii: bool = True) -> str:
    """The SHA-256 (hex) of a list's JSON with sorted keys. Written in pieces: the text as a whole would take more memory
    than all else that is known of a large corpus."""
    digest = hashlib.sha256()
    for piece in _pieces(parts, functools.partial(json.dumps, sort_keys=True, ensure_ascii=ensure_ascii)):
        digest.update(piece.encode())
    return digest.hexdigest()


def _pieces(value: Any, dumps: Callable[[Any], str]) -> Iterator[str]:
    """The JSON of a value; lists and mappings that hold no others, a block of items at a time."""
    if isinstance(value, str) or not isinstance(value, Mapping | Sequence):
        yield dumps(value)
        return
    mapping = isinstance(value, Mapping)
    names: Sequence[Any] = sorted(value) if mapping else range(len(value))
    nested = any(isinstance(value[name], list | tuple | Mapping) for name in names)
    step, separator = 1 if nested else _BLOCK, ""
    yield "{" if mapping else "["
    for start in range(0, len(names), step):
        block = names[start : start + step]
        yield separator
        if nested:
            yield f"{dumps(block[0])}: " if mapping else ""
            yield from _pieces(value[block[0]], dumps)
        else:
            yield dumps({name: value[name] for name in block} if mapping else [value[i] for i in block])[1:-1]
        separator = ", "
    yield "}" if mapping else "]"
