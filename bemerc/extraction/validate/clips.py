"""A cache against the clips that it was measured of, and against the store of finished clips."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.cache import FrameCache
from bemerc.core.errors import CacheError, MediaError
from bemerc.core.progress import bar
from bemerc.corpus.manifest import Manifest
from bemerc.extraction.validate.report import Finding

# Of the frames that the clip lists: containers count some that nobody is shown.
_LACKING_SHARE = 0.1


def against_media(cache: FrameCache, manifest: Manifest, store_dir: Path | None) -> list[Finding]:
    """Hash every clip anew and compare with what the cache was measured of, what its fingerprint says, and what the
    store keeps. A store's damaged piece is removed, as it is whenever it is read."""
    if cache.params.get("imported"):
        return [Finding("", "imported", "It was imported: its rows come from files, not from clips.", False)]
    if not cache.sources:
        says = "It does not say of which clips it was measured. Run the extraction again; nothing is measured anew."
        return [Finding("", "source", says, False)]
    from bemerc.extraction.jobs import jobs_from_manifest
    from bemerc.extraction.store import Contents, Store, Unread, hash_files, identity

    jobs = {job.id: job for job in jobs_from_manifest(manifest)}
    paths = sorted({job.path for job in jobs.values() if job.path is not None and job.id in cache})
    with bar("Reading clips", len(paths), "clips") as advance:
        now = hash_files(paths, advance)
    findings = [
        Finding(id_, "missing", "The manifest has it and the cache does not. Extract again.", True)
        for id_ in sorted(set(jobs) - set(cache.ids))
    ]
    for id_ in cache:
        path = jobs[id_].path if id_ in jobs else None
        found = now.get(path) if path is not None else None
        if id_ not in jobs:
            findings.append(Finding(id_, "extra", "The cache has it and the manifest does not.", False))
        elif isinstance(found, Unread) and id_ in cache.sources:
            findings.append(Finding(id_, "clip", f"{found.reason} It was measured of a clip that could be read.", True))
        elif isinstance(found, tuple) and found[1] != cache.sources.get(id_):
            says = f"Its clip {path} is not the one that was measured. Extract again, which measures it anew."
            findings.append(Finding(id_, "clip", says, True))
    store = Store(store_dir) if store_dir is not None and store_dir.is_dir() else None
    if store is not None:
        known = Contents(store)
        for path in paths:
            found, remembered = now[path], known.known(path, identity(path)) if path.exists() else None
            if isinstance(found, tuple) and remembered is not None and remembered != found[1]:
                says = f"{path} changed without a trace in size, time and inode: the store takes it for what it was. Touch the file."
                findings.append(Finding("", "memory", says, True))
    findings += [found for id_ in cache if id_ in jobs for found in _frames(cache, jobs[id_])]
    return findings + _fingerprint(cache, {id_: jobs[id_].part for id_ in cache if id_ in jobs}, store)


def _frames(cache: FrameCache, job: Any) -> Iterator[Finding]:
    """Rows at the clip's own rate, against the frames that the clip's container lists, undecoded."""
    from bemerc.media.listing import listed_frames

    rows = cache.frames(job.id)
    if cache.rate != "clip" or cache.modality not in ("face", "pose") or not rows or job.path is None:
        return
    try:
        listed = listed_frames(job.path, job.part.start_s, job.part.end_s)
    except MediaError:  # it was measured, so another finding says that this is not that clip
        return
    if rows < (1 - _LACKING_SHARE) * listed:
        says = f"It has {rows} rows, and its clip lists {listed} frames."
        yield Finding(job.id, "frames", says, job.id not in cache.notes)


def _fingerprint(cache: FrameCache, parts: Mapping[str, Any], store: Any) -> list[Finding]:
    """The cache's fingerprint worked out anew from what it says of itself, and its rows against the store's."""
    from bemerc.extraction.store import DECODING

    if set(cache.sources) - set(parts):
        return []  # utterances that the manifest lost have a finding already; their part of the clip is not known
    made = next((n for n in range(DECODING, 0, -1) if _digest(cache, _names(cache, parts, n)) == cache.contents), None)
    findings = []
    if made is None:
        says = "Its fingerprint is not what its clips, params and failures give: it was changed after it was sealed, or the manifest was."
        findings.append(Finding("", "fingerprint", says, True))
    elif made < DECODING:
        says = "It was measured by an earlier bemerc, which decoded clips in another way. Extract again, which measures anew."
        findings.append(Finding("", "decoding", says, False))
    return findings + (
        _against_store(cache, _names(cache, parts, made or DECODING), store) if store is not None else []
    )


def _names(cache: FrameCache, parts: Mapping[str, Any], decoding: int) -> dict[str, str]:
    """id -> its piece in the store."""
    from bemerc.extraction.store import fingerprint

    ids = [id_ for id_ in sorted(cache.sources) if id_ not in cache.failures]
    told = cache.modality, cache.extractor, cache.params, decoding
    return {id_: fingerprint(cache.sources[id_], parts[id_], *told) for id_ in ids}


def _digest(cache: FrameCache, names: Mapping[str, str]) -> str:
    from bemerc.extraction.run import digest

    return digest(cache.extractor, cache.params, names, cache.failures, cache.sources)


def _against_store(cache: FrameCache, names: Mapping[str, str], store: Any) -> list[Finding]:
    from bemerc.extraction.store import Finished

    findings, gone = [], 0
    for id_, name in names.items():
        if store.state(cache.modality, name) is not Finished:
            gone += 1
            continue
        try:
            kept = store.finished(cache.modality, name, cache.columns)
            same = _same(cache, id_, kept)
        except CacheError as error:  # a damaged piece, or damaged rows: the others are looked at all the same
            findings.append(Finding(id_, "store", str(error), True))
            continue
        if not same:
            says = "It is not what the store keeps of it. Delete the cache and extract again; nothing is measured anew."
            findings.append(Finding(id_, "store", says, True))
    if gone:
        says = f"{gone} finished clips are not in the store; losing them costs time only."
        findings.append(Finding("", "store", says, False))
    return findings


def _same(cache: FrameCache, id_: str, kept: Any) -> bool:
    mine, points = cache.unchecked(id_), cache.packed_landmarks(id_)
    pairs: list[tuple[Any, Any]] = [
        (kept.features.values, mine.values),
        (kept.features.timestamps_s, mine.timestamps_s),
        (np.float64(kept.duration_s), np.float64(cache.duration_s(id_))),
    ]
    if kept.landmarks is not None and points is not None and len(points.points):
        pairs += [(kept.landmarks.points, points.points), (kept.landmarks.scale, points.scale)]
    told = kept.note == cache.notes.get(id_, "") and kept.choice == cache.choices.get(id_)
    return told and all(np.array_equal(theirs, ours, equal_nan=theirs.dtype.kind == "f") for theirs, ours in pairs)
