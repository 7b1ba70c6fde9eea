"""Checks of a frame cache when it is opened: its head, and whether its parts fit together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bemerc.cache.guard import DamagedCacheError, GuardedFile
from bemerc.cache.schema import KINDS, MOST_HZ, SCHEMA, SCHEMA_VERSION, Kind, split_other
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import parse_json
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    from bemerc.cache.read import FrameCache


def check_head(file: GuardedFile, modality: Kind | None, readable: int = SCHEMA_VERSION) -> None:
    """CacheError unless the file says that it is a frame cache of this schema version (and of ``modality``)."""
    if file.attribute("schema") != SCHEMA:
        raise CacheError(
            f"this HDF5 file is not a frame cache (its schema is {printable(file.attribute('schema'))!r}, not {SCHEMA!r}).",
            path=file.path,
            name=printable(file.attribute("schema")),
        )
    version = file.attribute("schema_version")
    if version != readable:
        raise CacheError(
            f"this cache has schema version {printable(version)}; this bemerc reads version {readable}. Extract it "
            "again, which reads the clips anew.",
            path=file.path,
            name=printable(version),
        )
    missing = [n for n in ("modality", "rate", "extractor", "params", "contents") if file.attribute(n) is None]
    if missing:
        raise file.damaged(f"this cache lacks the attributes {', '.join(missing)}.")
    actual = file.attribute("modality")
    if actual not in KINDS:
        raise CacheError(
            f"the modality {printable(actual)!r} is none of {', '.join(KINDS)}.", path=file.path, name=str(actual)
        )
    if modality is not None and actual != modality:
        raise CacheError(
            f"this cache holds {actual}, and {modality} is wanted here. Name the {modality} cache.",
            path=file.path,
            name=actual,
        )


def params_of(file: GuardedFile, text: str) -> dict[str, Any]:
    """The params from their JSON; CacheError where it is no mapping."""
    params = parse_json(text, "its params")
    if not isinstance(params, dict):
        raise file.damaged("its params are no mapping.")
    return params


def rate_of(file: GuardedFile) -> Literal["clip"] | float:
    """The rate: "clip", or a number of Hz that extraction can have."""
    rate = file.attribute("rate")
    if rate == "clip":
        return "clip"
    if isinstance(rate, str) or not (math.isfinite(rate) and 0 < rate <= MOST_HZ):
        raise file.damaged(f"its rate is {printable(rate)}; it is 'clip' or more than 0 and at most {MOST_HZ} Hz.")
    return float(rate)


def check_shapes(cache: FrameCache, again: str) -> None:
    """CacheError where ids, offsets, rows and checksums contradict each other."""
    offsets, values, stamps = cache._offsets, cache._datasets["values"], cache._datasets["timestamps_s"]
    n, total = len(cache.ids), values.shape[0] if values.ndim else 0
    faults = []
    if not in_order(cache.ids, cache.group):
        faults.append("the ids are not unique and sorted")
    if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != total or (offsets[1:] < offsets[:-1]).any():
        faults.append(f"{len(offsets)} offsets do not divide {total} rows among {n} ids")
    if len(cache._duration_s) != n:
        faults.append(f"{len(cache._duration_s)} durations for {n} ids")
    if cache.has_checksums and len(cache._checksums) != n:
        faults.append(f"{len(cache._checksums)} checksums for {n} ids")
    if values.ndim != 2 or values.dtype != np.dtype("<f4") or values.shape[1] != len(cache.columns):
        faults.append(f"values of {values.dtype} {values.shape} for {len(cache.columns)} columns")
    if len(set(cache.columns)) != len(cache.columns):
        faults.append("two columns share a name")
    if stamps.shape != (total,) or stamps.dtype != np.dtype("<f8"):
        faults.append(f"timestamps of {stamps.dtype} {stamps.shape} for {total} rows")
    if any(id_ not in cache for of in (cache.failures, cache.notes, cache.sources, cache.choices) for id_ in of):
        faults.append("failures, notes, sources or choices of ids that are not in the cache")
    if cache.has_landmarks:
        faults += _landmark_faults(cache, total)
    if faults:
        raise DamagedCacheError(f"this cache contradicts itself: {'; '.join(faults)}. {again}", path=cache.path)


def in_order(ids: Sequence[str], group: str) -> bool:
    """Whether ids of a cache, or of a ``group`` of one, are different and in the order that they are written in."""
    key: Callable[[str], Any] = split_other if group else str
    return all(key(a) < key(b) for a, b in itertools.pairwise(ids))


def _landmark_faults(cache: FrameCache, total: int) -> list[str]:
    points, scale = cache._datasets["landmarks"], cache._datasets["landmarks_scale"]
    if points.ndim != 3 or points.shape[0] != total or points.shape[2] != 3 or points.dtype != np.dtype("<i2"):
        return [f"landmarks of {points.dtype} {points.shape} for {total} rows"]
    if scale.shape != (total, 4) or scale.dtype != np.dtype("<f4"):
        return [f"landmark scales of {scale.dtype} {scale.shape} for {total} rows"]
    return []
