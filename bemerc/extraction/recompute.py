"""Recompute action units, head pose and gaze from the landmarks in a face cache; no video is read.

For a better formula, for another blendshape model, and as a check of what is stored. Columns that need the
frames (the face's place, the quality) are copied. The new cache is a separate file, marked as imported, so that
extraction does not replace it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features, FrameCache, PackedLandmarks, Rows, open_cache, write_cache
from bemerc.core.errors import CacheError
from bemerc.core.hashing import sha256
from bemerc.core.progress import bar
from bemerc.extraction.face import action_units, extractor, head_pose
from bemerc.extraction.networks import MESH_POINTS, Blendshapes

_ANGLES = (*head_pose.POSE_COLUMNS, *head_pose.GAZE_COLUMNS)
_Row = tuple[str, Features, float, PackedLandmarks]
COLUMNS = (*action_units.COLUMNS, *_ANGLES, *action_units.REST_COLUMNS)


@dataclass(frozen=True)
class Recomputed:
    """What was recomputed.

    utterances   how many
    differences  column -> the largest difference from the stored values, NaN where nothing can be compared
    unreadable   id -> why its rows were skipped
    outdated     columns that were kept as stored: they need a new measurement of the clips, since the landmarks are of
                 another release of the mesh than the action units are fitted to
    extractor    what made the cache
    """

    utterances: int
    differences: Mapping[str, float]
    unreadable: Mapping[str, str]
    outdated: tuple[str, ...]
    extractor: str

    def sentence(self) -> str:
        """How far the new numbers are from the stored ones: intensities in steps of 5, angles in degrees."""
        parts = []
        for names, unit in ((action_units.COLUMNS, "of 5"), (_ANGLES, "degrees")):
            finite = [name for name in names if np.isfinite(self.differences.get(name, np.nan))]
            if finite:
                worst = max(finite, key=lambda name: self.differences[name])
                parts.append(f"by at most {self.differences[worst]:.4f} {unit} ({worst})")
        differences = ", ".join(parts) or "there is nothing to compare"
        outdated = (
            f" {self.outdated[0]} to {self.outdated[-1]} are kept as stored: they are of the mesh of {self.extractor}, and "
            "want a new `bemerc extract` of the clips."
            if self.outdated
            else ""
        )
        return (
            f"{self.utterances} utterances recomputed from their landmarks; difference from the stored values: "
            f"{differences}.{outdated}"
        )


def run(path: Path, out: Path | None, task: Path | None = None) -> Recomputed:
    """Recompute the face cache at ``path`` into the file ``out``, or only compare where that is None.

    task  a face_landmarker.task, whose blendshape model is used in place of the packaged one

    Raises CacheError where the cache keeps no landmarks of our mesh or lacks a column, or when ``out`` cannot be
    written.
    """
    shapes = Blendshapes(task)
    params = extractor.Params(task=None if task is None else str(task))
    with open_cache(path, "face") as cache:
        _check(path, cache)
        names = _computable(cache)
        differences = dict.fromkeys(names, math.nan)
        unreadable = _unreadable(cache)
        ids = [id_ for id_ in cache if id_ not in cache.failures and id_ not in unreadable]
        with bar("Recomputing", len(ids), "utterances") as advance:
            rows = _rows(cache, ids, shapes, differences, advance)
            if out is None:
                for _ in rows:
                    pass
            else:
                others = None if cache.others is None else _others(cache.others, shapes, names)
                _write(out, path, cache, params, rows, {**cache.failures, **unreadable}, others)
        outdated = tuple(name for name in _written(cache) if name in COLUMNS and name not in names)
        return Recomputed(len(ids), differences, unreadable, outdated, cache.extractor)


def _computable(cache: FrameCache) -> tuple[str, ...]:
    """The columns that the cache's landmarks give: action units only where their mesh is the one of the fit."""
    return COLUMNS if cache.extractor.startswith(extractor.MODELS) else _ANGLES


def _written(cache: FrameCache) -> tuple[str, ...]:
    """The new cache's columns: extraction's, as far as they can be computed or are stored."""
    computed = _computable(cache)
    return tuple(name for name in extractor.columns(extractor.Params()) if name in computed or name in cache.columns)


def _unreadable(cache: FrameCache) -> dict[str, str]:
    """id -> reason, for damaged rows: each costs itself alone."""
    reasons = {}
    for id_ in cache:
        try:
            cache[id_], cache.packed_landmarks(id_)
        except CacheError as error:
            reasons[id_] = str(error)
    return reasons


def _check(path: Path, cache: FrameCache) -> None:
    if not cache.has_landmarks:
        raise CacheError("this cache keeps no landmarks, so nothing can be recomputed. Extract with them.", path=path)
    if cache.landmark_points != MESH_POINTS:
        raise CacheError(
            f"its landmarks are {cache.landmark_points} per frame, and the mesh has {MESH_POINTS}.", path=path
        )
    computed = _computable(cache)
    missing = [
        name
        for name in extractor.columns(extractor.Params())
        if name not in cache.columns and name not in (*computed, *action_units.REST_COLUMNS)
    ]
    if missing:
        raise CacheError(
            f"it lacks {', '.join(missing)}, which cannot be computed from landmarks. Extract it again.", path=path
        )


def _rows(
    cache: FrameCache,
    ids: list[str],
    shapes: action_units.Shapes,
    differences: dict[str, float],
    advance: Callable[[int], None],
) -> Iterator[_Row]:
    names, all_names = _written(cache), extractor.columns(extractor.Params())
    for id_ in ids:
        stored, packed = cache[id_], cache.packed_landmarks(id_)
        assert packed is not None
        if not len(stored.values):
            yield (
                id_,
                Features(np.zeros((0, len(names)), np.float32), stored.timestamps_s, names),
                cache.duration_s(id_),
                packed,
            )
            advance(1)
            continue
        measured = extractor.measure_packed(packed, (1, 1), np.ones(len(packed.points), np.float32), shapes)
        new = {name: series for name, series in zip(all_names, measured.T, strict=True) if name in differences}
        for name, series in new.items():
            if name in stored.columns:
                differences[name] = _larger(differences[name], series - stored.column(name))
        values = np.column_stack([new[name] if name in new else stored.column(name) for name in names])
        yield id_, Features(values, stored.timestamps_s, names), cache.duration_s(id_), packed
        advance(1)


def _others(cache: FrameCache, shapes: action_units.Shapes, names: tuple[str, ...]) -> Rows:
    """The rows of other people, recomputed too; damaged ones are left out."""
    lost = _unreadable(cache)
    ids = [id_ for id_ in cache if id_ not in lost]
    rows = _rows(cache, ids, shapes, dict.fromkeys(names, math.nan), lambda _: None)
    return Rows(rows, choices={id_: choice for id_, choice in cache.choices.items() if id_ not in lost})


def _larger(so_far: float, difference: NDArray[np.float32]) -> float:
    distances = np.abs(difference[np.isfinite(difference)])
    return max(0.0 if math.isnan(so_far) else so_far, float(distances.max())) if distances.size else so_far


def _write(
    out: Path,
    path: Path,
    cache: FrameCache,
    params: extractor.Params,
    rows: Iterator[_Row],
    failures: Mapping[str, str],
    others: Rows | None,
) -> None:
    """``imported``: it was made of a cache, not of clips, so nothing that hashes clips takes it for extracted."""
    version = extractor.version(params) if _computable(cache) == COLUMNS else cache.extractor
    origin = {"from": "landmarks", "cache": sha256(path), "by": cache.extractor}
    recorded = {**cache.params, "task": params.recorded()["task"], "imported": origin}
    write_cache(
        out,
        replace(cache.head, columns=_written(cache), extractor=version, params=recorded),
        Rows(rows, failures, cache.notes, cache.sources, cache.choices),
        others=others,
        contents=hashlib.sha256(json.dumps([version, recorded], sort_keys=True).encode()).hexdigest(),
    )
