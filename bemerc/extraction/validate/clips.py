"""A cache against the clips that it was extracted from, and against the extraction store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.cache import FrameCache, id_of_other
from bemerc.core.errors import CacheError, MediaError
from bemerc.core.objects import Url
from bemerc.core.progress import bar
from bemerc.corpus.manifest import Manifest
from bemerc.extraction.fingerprint import DECODING, Segment, fingerprint
from bemerc.extraction.hash_cache import FileHashCache, HashedFile, UnreadableFile, file_identity, hash_files
from bemerc.extraction.jobs import Job, jobs_from_manifest
from bemerc.extraction.store import Result, Store
from bemerc.extraction.validate.report import MISSING_SHARE, Issue
from bemerc.extraction.write_caches import contents_digest


def check_against_clips(cache: FrameCache, manifest: Manifest, store_dir: Path | None) -> list[Issue]:
    """Hash every clip anew and compare with the cache's sources, its fingerprint and the store. A damaged result of the
    store is removed, as it is whenever it is read."""
    if cache.params.get("imported"):
        return [Issue("", "imported", "It was imported: its rows come from files, not from clips.", "warning")]
    if not cache.sources:
        message = (
            "It does not say from which clips it was extracted. Run the extraction again; nothing is extracted anew."
        )
        return [Issue("", "source", message, "warning")]
    jobs = {job.id: job for job in _jobs(cache, manifest)}
    used = [job for job in jobs.values() if job.id in cache or job.listener]
    remote = sum(isinstance(job.path, Url) for job in used)
    paths = sorted({path for job in used for path in (job.path, job.sound) if isinstance(path, Path)})
    with bar("Hashing clips", len(paths), "clips") as advance:
        hashes = hash_files(paths, advance)
    issues = [
        Issue(id_, "missing", "The manifest has it and the cache does not. Extract again.", "error")
        for id_ in sorted({id_ for id_, job in jobs.items() if not job.listener} - set(cache.ids))
    ]
    if remote:
        message = f"{remote} clips lie in an object store and were not looked at: check a copy of them."
        issues.append(Issue("", "clip", message, "warning"))
    for id_ in cache:
        if id_ in jobs:
            issues += _check_clip(cache, jobs[id_], hashes)
        else:
            issues.append(Issue(id_, "extra", "The cache has it and the manifest does not.", "warning"))
    store = Store(store_dir) if store_dir is not None and store_dir.is_dir() else None
    if store is not None:
        issues += _check_hash_cache(store, paths, hashes)
    for id_ in cache:
        issues += _check_frames(cache, jobs[id_]) if id_ in jobs else ()
    segments = {job.id: _segment(job, hashes) for job in used}
    return issues + _check_fingerprint(cache, segments, store)


def _jobs(cache: FrameCache, manifest: Manifest) -> list[Job]:
    """The jobs that a cache was made by."""
    listeners = cache.modality in ("face", "pose") and cache.others is not None
    jobs = jobs_from_manifest(manifest, listeners=listeners)
    return jobs if cache.modality in ("face", "pose") else [job.of_sound() for job in jobs]


def _segment(job: Job, hashes: Mapping[Path, HashedFile | UnreadableFile]) -> Segment:
    """A job's segment, with the hash of the sound that it names."""
    sound = None if job.sound is None else hashes[job.sound]
    return replace(job.segment, sound=sound[1]) if isinstance(sound, tuple) else job.segment


def _check_clip(cache: FrameCache, job: Job, hashes: Mapping[Path, HashedFile | UnreadableFile]) -> Iterator[Issue]:
    """The clip's hash against the one that the cache records."""
    file = hashes[job.path] if isinstance(job.path, Path) else None
    if isinstance(file, UnreadableFile) and job.id in cache.sources:
        yield Issue(job.id, "clip", f"{file.reason} It was extracted from a clip that could be read.", "error")
    elif isinstance(file, tuple) and file[1] != cache.sources.get(job.id):
        message = f"Its clip {job.path} is not the one that was extracted. Extract again, which extracts it anew."
        yield Issue(job.id, "clip", message, "error")


def _check_hash_cache(
    store: Store, paths: Sequence[Path], hashes: Mapping[Path, HashedFile | UnreadableFile]
) -> Iterator[Issue]:
    """Clips whose content changed while size, time and inode did not."""
    cached_hashes = FileHashCache(store.folder)
    for path in paths:
        file, cached = hashes[path], cached_hashes.lookup(path, file_identity(path)) if path.exists() else None
        if isinstance(file, tuple) and cached is not None and cached != file[1]:
            message = f"{path} changed but kept size, time and inode: the store takes it for unchanged. Touch the file."
            yield Issue("", "hash cache", message, "error")


def _check_frames(cache: FrameCache, job: Job) -> Iterator[Issue]:
    """Rows at the clip's own rate, against the frames that the clip's container lists, undecoded."""
    from bemerc.media.listing import listed_frames  # imports PyAV

    rows = cache.frames(job.id)
    if cache.rate != "clip" or cache.modality not in ("face", "pose") or not rows or not isinstance(job.path, Path):
        return
    try:
        listed = listed_frames(job.path, job.segment.start_s, job.segment.end_s)
    except MediaError:  # it was measured, so another issue says that this is not that clip
        return
    if rows < (1 - MISSING_SHARE) * listed:  # containers list some frames that are never shown
        severity: Any = "warning" if job.id in cache.notes else "error"
        yield Issue(job.id, "frames", f"It has {rows} rows, and its clip lists {listed} frames.", severity)


def _check_fingerprint(cache: FrameCache, segments: Mapping[str, Segment], store: Store | None) -> list[Issue]:
    """The cache's fingerprint computed anew from what it records, and its rows against the store's."""
    if set(_sources(cache)) - set(segments):
        return []  # utterances that the manifest lost have an issue already; their segment of the clip is lost too
    version = next(
        (n for n in range(DECODING, 0, -1) if _digest(cache, _keys(cache, segments, n)) == cache.contents), None
    )
    issues = []
    if version is None:
        message = "Its fingerprint does not match its clips, params and failures: it was changed after it was written, or the manifest was."
        issues.append(Issue("", "fingerprint", message, "error"))
    elif version < DECODING:
        message = "It was extracted by an earlier bemerc, which decoded clips in another way. Extract again, which extracts anew."
        issues.append(Issue("", "decoding", message, "warning"))
    return issues + (
        _check_store(cache, _keys(cache, segments, version or DECODING), store) if store is not None else []
    )


def _keys(cache: FrameCache, segments: Mapping[str, Segment], decoding: int) -> dict[str, str]:
    """id -> store key."""
    sources, failures = _sources(cache), _failures(cache)
    extractor = cache.modality, cache.extractor, cache.params, decoding
    return {id_: fingerprint(sources[id_], segments[id_], *extractor) for id_ in sorted(sources) if id_ not in failures}


def _digest(cache: FrameCache, keys: Mapping[str, str]) -> str:
    return contents_digest(cache.extractor, cache.params, keys, _failures(cache), _sources(cache))


def _sources(cache: FrameCache) -> Mapping[str, str]:
    """id -> hash of its clip, of the utterances and of listeners with a part of the picture of their own."""
    return {**cache.sources, **(cache.others.sources if cache.others is not None else {})}


def _failures(cache: FrameCache) -> Mapping[str, str]:
    return {**cache.failures, **(cache.others.failures if cache.others is not None else {})}


def _check_store(cache: FrameCache, keys: Mapping[str, str], store: Store) -> list[Issue]:
    issues, missing = [], 0
    for id_, key in keys.items():
        if id_ not in cache:  # a listener's rows have a checksum
            continue
        if store.state(cache.modality, key) is not Result:
            missing += 1
            continue
        try:
            same = _is_same(cache, id_, store.result(cache.modality, key, cache.columns))
        except CacheError as error:  # a damaged result, or damaged rows: the others are checked all the same
            issues.append(Issue(id_, "store", str(error), "error"))
            continue
        if not same:
            message = "It differs from the store. Delete the cache and extract again; nothing is extracted anew."
            issues.append(Issue(id_, "store", message, "error"))
    if missing:
        message = f"{missing} results are not in the store; losing them costs time only."
        issues.append(Issue("", "store", message, "warning"))
    return issues


def _is_same(cache: FrameCache, id_: str, stored: Result) -> bool:
    features, landmarks = cache.unchecked(id_), cache.packed_landmarks(id_)
    pairs: list[tuple[Any, Any]] = [
        (stored.features.values, features.values),
        (stored.features.timestamps_s, features.timestamps_s),
        (np.float64(stored.duration_s), np.float64(cache.duration_s(id_))),
    ]
    if stored.landmarks is not None and landmarks is not None and len(landmarks.points):
        pairs += [(stored.landmarks.points, landmarks.points), (stored.landmarks.scale, landmarks.scale)]
    ours = {id_of_other(id_, other.name): other for other in stored.others}
    if cache.others is not None:
        if not {*ours} <= {*cache.others_of(id_)}:
            return False
        pairs += [(other.features.values, cache.others.unchecked(name).values) for name, other in ours.items()]
    same = stored.note == cache.notes.get(id_, "") and stored.choice == cache.choices.get(id_)
    return same and all(np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f") for ours, theirs in pairs)
