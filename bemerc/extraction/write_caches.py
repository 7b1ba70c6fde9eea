"""Writing frame caches from the store: all results of one modality in one file, always to the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bemerc.cache import (
    SCHEMA_VERSION,
    CacheState,
    Choice,
    Features,
    Others,
    PackedLandmarks,
    id_of_other,
    state_of,
    write_cache,
    write_nothing,
)
from bemerc.core.errors import CacheError
from bemerc.core.progress import bar
from bemerc.extraction.errors import DamagedError
from bemerc.extraction.jobs import ExtractorSpec
from bemerc.extraction.plan import Plan
from bemerc.extraction.store import Store


def write_modality(
    path: Path, spec: ExtractorSpec, plan: Plan, store: Store, reasons: Mapping[str, str], existing: CacheState
) -> None:
    """Write the cache of one modality, unless the ``existing`` file is sound and made of the same results.

    reasons  id -> why an utterance has no features
    """
    keys = {id_: plan.keys[id_][spec.modality] for id_ in sorted(plan.keys) if id_ not in reasons}
    sources = {id_: plan.clip_hashes[id_] for id_ in sorted(plan.clip_hashes)}
    contents = contents_digest(spec.version, spec.recorded_params, keys, reasons, sources)
    if existing.kind == "sound" and existing.contents == contents and path.exists():
        return
    notes: dict[str, str] = {}
    choices: dict[str, Choice] = {}
    with bar(f"Writing {path.name}", len(keys), "utterances") as advance:
        write_cache(
            path,
            modality=spec.modality,
            columns=spec.columns,
            rate=spec.rate,
            extractor=spec.version,
            params=spec.recorded_params,
            clips=_results(spec, keys, store, notes, choices, advance),
            failures=reasons,
            notes=notes,
            sources=sources,
            choices=choices,
            others=_others(spec, keys, store) if spec.recorded_params.get("keep") == "all" else None,
            contents=contents,
        )


def _results(
    spec: ExtractorSpec,
    keys: Mapping[str, str],
    store: Store,
    notes: dict[str, str],
    choices: dict[str, Choice],
    advance: Callable[[int], None],
) -> Iterator[tuple[str, Features, float, PackedLandmarks | None]]:
    """All results; DamagedError at the end where some were damaged: all of these have been removed by then."""
    damaged: DamagedError | None = None
    for id_, key in keys.items():
        advance(1)
        try:
            result = store.result(spec.modality, key, spec.columns)
        except DamagedError as error:
            damaged = error
            continue
        if result.note:
            notes[id_] = result.note
        if result.choice is not None:
            choices[id_] = result.choice
        yield id_, result.features, result.duration_s, result.landmarks
    if damaged is not None:
        raise damaged


def _others(spec: ExtractorSpec, keys: Mapping[str, str], store: Store) -> Others:
    """Other people in the utterances' pictures. The results are read a second time, since their rows follow the
    targets'."""
    choices: dict[str, Choice] = {}

    def rows() -> Iterator[tuple[str, Features, float, PackedLandmarks | None]]:
        for id_, key in keys.items():
            result = store.result(spec.modality, key, spec.columns)
            for other in sorted(result.others, key=lambda other: other.name):
                name = id_of_other(id_, other.name)
                if other.choice is not None:
                    choices[name] = other.choice
                yield name, other.features, result.duration_s, other.landmarks

    return Others(rows(), choices=choices)


def contents_digest(
    version: str, params: Any, keys: Mapping[str, str], reasons: Mapping[str, str], sources: Mapping[str, str]
) -> str:
    """What a cache is made of, as one hash: extractor, params, store keys, failures, clips' hashes."""
    parts = [SCHEMA_VERSION, version, params, keys, reasons, sources]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def replaceable(path: Path) -> CacheState:
    """The state of the file at a cache's place. CacheError where it was not extracted: extracted features can be
    extracted again; an imported cache, or somebody's file, may exist nowhere else."""
    state = state_of(path)
    if state.kind == "imported":
        raise CacheError(
            f"{path}: this cache was imported, and extracting would replace it. Name another folder, or move it."
        )
    if state.kind == "foreign":
        raise CacheError(
            f"{path}: extracting would replace this file, which was not made by 'bemerc extract'. Move it, or name another "
            f"folder. ({state.reason})"
        )
    return state


def write_no_speech(out_dir: Path) -> Path:
    """An empty cache at ``out_dir/speech.h5``, since DVC wants every output of a stage to exist; returns its path."""
    path = out_dir / "speech.h5"
    replaceable(path)
    write_nothing(path, "speech")
    return path
