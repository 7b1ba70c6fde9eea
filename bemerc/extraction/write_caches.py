"""Writing frame caches from the store: all results of one modality in one file, always to the same bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bemerc.cache import (
    MOST_PARTS,
    SCHEMA_VERSION,
    CacheState,
    Features,
    PackedLandmarks,
    Rows,
    clips_per_part,
    id_of_other,
    open_cache,
    part_path,
    parts_of,
    split_other,
    state_of,
    sweep_parts,
    write_cache,
    write_index,
    write_nothing,
)
from bemerc.cache.checksum import of_json
from bemerc.cache.texts import SpooledTexts
from bemerc.core.atomic import disk
from bemerc.core.errors import BemercError, CacheError
from bemerc.core.ownership import WouldReplaceError
from bemerc.core.progress import bar
from bemerc.extraction.errors import DamagedError
from bemerc.extraction.hash_cache import FileHashCache, FileIdentity, file_identity
from bemerc.extraction.jobs import ExtractorSpec
from bemerc.extraction.plan import Plan
from bemerc.extraction.store import Result, Store


@dataclass(frozen=True)
class _Made:
    """What a cache, or a part of one, is made of; in the order of ids.

    keys     id -> store key, of those that have features
    reasons  id -> why there are none
    hashes   id -> hash of the clip
    """

    keys: Mapping[str, str]
    reasons: Mapping[str, str]
    hashes: Mapping[str, str]

    def contents(self, spec: ExtractorSpec) -> str:
        return contents_digest(spec.version, spec.recorded_params, self.keys, self.reasons, self.hashes)

    def parts(self, clips: int, listeners: Collection[str]) -> Iterator[_Made]:
        """The same in parts of so many utterances each, with their listeners."""

        def utterance(id_: str) -> str:
            return split_other(id_)[0] if id_ in listeners else id_

        firsts = sorted({utterance(id_) for of in (self.keys, self.reasons, self.hashes) for id_ in of})[::clips]
        parts = [_Made({}, {}, {}) for _ in firsts or [""]]
        for name in ("keys", "reasons", "hashes"):
            for id_, text in getattr(self, name).items():
                getattr(parts[bisect_right(firsts, utterance(id_)) - 1], name)[id_] = text
        yield from parts


def write_modality(
    path: Path,
    spec: ExtractorSpec,
    plan: Plan,
    store: Store,
    reasons: Mapping[str, str],
    existing: CacheState,
    beat: Callable[[], None],
    part_clips: int | None = None,
) -> None:
    """Write the cache of one modality, unless the ``existing`` file is sound and made of the same results.

    reasons     id -> why an utterance has no features
    beat        called with every utterance: a sign of life
    part_clips  utterances per file; 0 = all in one; None = as the cache at that place is, or was
    BemercError, before anything is written, where that makes too many files.
    """
    keys = plan.keys[spec.modality]
    if reasons:
        keys = {id_: key for id_, key in keys.items() if id_ not in reasons}
    made = _Made(keys, reasons, plan.clip_hashes)
    contents, before = made.contents(spec), clips_per_part(path) if path.exists() else 0
    if part_clips is None:
        part_clips = before if existing.kind == "sound" else before or store.part_clips(spec.modality)
    check_parts(part_clips, plan.utterances)
    parts: dict[Path, str] = {}
    if existing.kind == "sound" and existing.contents == contents and part_clips == before and path.exists():
        parts = parts_of(path)
    elif part_clips:
        parts = _write_parts(path, spec, plan, store, made, beat, part_clips)
        with open_cache(min(parts)) as like:
            write_index(path, like, contents, [*parts.values()], part_clips)
    else:
        _write_file(path, spec, plan, store, made, contents, beat)
    store.set_part_clips(spec.modality, part_clips)
    with disk(path, "the parts of a former cache cannot be removed"):
        sweep_parts(path, parts)


def _write_parts(
    path: Path,
    spec: ExtractorSpec,
    plan: Plan,
    store: Store,
    made: _Made,
    beat: Callable[[], None],
    part_clips: int,
) -> dict[Path, str]:
    """Write the parts of a cache that are not there yet; returns all, with the ``contents`` of each."""
    parts: dict[Path, str] = {}
    for number, part in enumerate(made.parts(part_clips, plan.listeners), 1):
        digest = part.contents(spec)
        file = part_path(path, number, digest)
        parts[file] = digest
        state = quickly_replaceable(file, store)
        if state.kind != "sound" or state.contents != digest:
            _write_file(file, spec, plan, store, part, digest, beat)
    return parts


def _write_file(
    path: Path, spec: ExtractorSpec, plan: Plan, store: Store, made: _Made, contents: str, beat: Callable[[], None]
) -> None:
    (keys, listeners), (sources, clips), (failures, lost) = (
        _parted(of, plan) for of in (made.keys, made.hashes, made.reasons)
    )
    with (
        SpooledTexts(path.parent) as notes,
        SpooledTexts(path.parent) as choices,
        SpooledTexts(path.parent, split_other) as others_choices,
        bar(f"Writing {path.name}", len(keys), "utterances") as shown,
    ):

        def advance(count: int) -> None:
            beat()
            shown(count)

        others = None
        if clips or lost or spec.recorded_params.get("keep") == "all":
            others = _others(spec, keys, listeners, Rows((), lost, sources=clips, choices=others_choices), store)

        results = _results(spec, keys, store, notes, choices, advance)
        write_cache(path, spec.head, Rows(results, failures, notes, sources, choices), others=others, contents=contents)


def _results(
    spec: ExtractorSpec,
    keys: Mapping[str, str],
    store: Store,
    notes: SpooledTexts,
    choices: SpooledTexts,
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
            notes.add(id_, result.note)
        if result.choice is not None:
            choices.add(id_, result.choice.as_json())
        yield id_, result.features, result.duration_s, result.landmarks
    if damaged is not None:
        raise damaged


def _parted(texts: Mapping[str, str], plan: Plan) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """id -> text of the utterances, and of the listeners."""
    if not plan.listeners:
        return texts, {}
    listeners = {id_: text for id_, text in texts.items() if id_ in plan.listeners}
    return {id_: text for id_, text in texts.items() if id_ not in listeners}, listeners


def _others(
    spec: ExtractorSpec, keys: Mapping[str, str], listeners: Mapping[str, str], about: Rows, store: Store
) -> Rows:
    """Other people during the utterances: those in the same picture, whose results are read a second time, since their
    rows follow the targets'; and listeners with a part of the picture of their own.

    keys, listeners  id -> store key of either
    about            failures and sources of the latter, and where the choices go
    """
    choices = about.choices
    assert isinstance(choices, SpooledTexts)
    of_utterance: dict[str, list[str]] = {}
    for id_ in listeners:
        of_utterance.setdefault(split_other(id_)[0], []).append(id_)

    def rows() -> Iterator[tuple[str, Features, float, PackedLandmarks | None]]:
        for utterance in sorted({*keys, *of_utterance}):
            in_picture = dict(_in_picture(utterance, keys, spec, store))
            for id_ in of_utterance.get(utterance, ()):
                in_picture[id_] = store.result(spec.modality, listeners[id_], spec.columns)
            for id_ in sorted(in_picture, key=split_other):
                result = in_picture[id_]
                if result.choice is not None:
                    choices.add(id_, result.choice.as_json())
                yield id_, result.features, result.duration_s, result.landmarks

    return replace(about, clips=rows())


def _in_picture(
    utterance: str, keys: Mapping[str, str], spec: ExtractorSpec, store: Store
) -> Iterator[tuple[str, Result]]:
    """Everybody else in one utterance's picture."""
    if utterance in keys:
        result = store.result(spec.modality, keys[utterance], spec.columns)
        for other in result.others:
            about = Result(other.features, result.duration_s, other.landmarks, choice=other.choice)
            yield id_of_other(utterance, other.name), about


def contents_digest(
    version: str, params: Any, keys: Mapping[str, str], reasons: Mapping[str, str], sources: Mapping[str, str]
) -> str:
    """What a cache is made of, as one hash: extractor, params, store keys, failures, clips' hashes."""
    parts = [SCHEMA_VERSION, version, params, keys, reasons, sources]
    return of_json(parts, ensure_ascii=False)


def replaceable(path: Path) -> CacheState:
    """The state of the file at a cache's place. WouldReplaceError where it was not extracted: extracted features can be
    extracted again; an imported cache, or somebody's file, may exist nowhere else."""
    state = state_of(path)
    if state.kind == "imported":
        raise WouldReplaceError(
            "this cache was imported, and extracting would replace it. Name another folder, or move it.", path=path
        )
    if state.kind == "foreign":
        raise WouldReplaceError(
            f"extracting would replace this file, which was not made by 'bemerc extract'. Move it, or name another "
            f"folder. ({state.reason})",
            path=path,
        )
    return state


def quickly_replaceable(path: Path, store: Store) -> CacheState:
    """As ``replaceable``; a file that was found sound before and has not changed since, nor a part of it, is not read
    again. What a disk spoils without a trace, ``bemerc cache validate`` finds."""
    checked = FileHashCache(store.folder, "sound.jsonl")
    parts, identities = _identities(path)
    cached = {file: checked.lookup(file, identity) for file, identity in identities.items()}
    contents = cached.get(path)
    if contents is not None and all(cached[part] == of for part, of in parts.items()):
        return CacheState("sound", "", contents)
    state = replaceable(path)
    if state.kind == "sound" and _identities(path) == (parts, identities):
        checked.add({file: (identity, parts.get(file, state.contents)) for file, identity in identities.items()})
    return state


def _identities(path: Path) -> tuple[dict[Path, str], dict[Path, FileIdentity]]:
    """The parts of a cache, and what tells that no file of it has changed; nothing where it cannot be read."""
    try:
        parts = parts_of(path) if path.is_file() else {}
        return parts, {file: file_identity(file) for file in (path, *parts)}
    except (CacheError, OSError):
        return {}, {}


def check_parts(part_clips: int | None, clips: int) -> None:
    """BemercError where a cache would come to lie in too many files."""
    if part_clips and clips > MOST_PARTS * part_clips:
        raise BemercError(
            f"{clips} clips in parts of {part_clips} are more than {MOST_PARTS} files. Name "
            f"{-(-clips // MOST_PARTS)} or more.",
            key="part_clips",
        )


def write_no_speech(out_dir: Path) -> Path:
    """An empty cache at ``out_dir/speech.h5``, since DVC wants every output of a stage to exist; returns its path."""
    path = out_dir / "speech.h5"
    replaceable(path)
    write_nothing(path, "speech")
    return path
