"""The plan of a run, made before any clip is opened: which results the store has, and tasks for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bemerc.core.objects import Url
from bemerc.core.progress import bar
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import (
    FileHashCache,
    FileIdentity,
    HashedFile,
    UnreadableFile,
    file_identity,
    unreadable_file,
)
from bemerc.extraction.jobs import ExtractorSpec, Job, Request, Task, segment_error
from bemerc.extraction.store import Store


@dataclass(frozen=True)
class Plan:
    """Every job is in ``keys`` or in one of ``failures``, ``retryable`` and ``absent``.

    keys         id -> modality -> store key, for utterances whose clip could be hashed
    clip_hashes  id -> the clip's SHA-256, for the same ones
    failures     id -> reason, where the clip or the segment cannot exist
    retryable    id -> reason, where the disk did not give the clip this time
    absent       id -> reason, where there is no clip
    tasks        what the store lacks, one task per clip, largest file first
    listeners    ids, among all of these, that are of listeners and no utterances
    """

    keys: Mapping[str, Mapping[str, str]]
    clip_hashes: Mapping[str, str]
    failures: Mapping[str, str]
    retryable: Mapping[str, str]
    absent: Mapping[str, str]
    tasks: Sequence[Task]
    listeners: Collection[str] = frozenset()

    @property
    def utterances(self) -> int:
        """How many utterances there are in all."""
        every = len(self.keys) + len(self.failures) + len(self.retryable) + len(self.absent)
        return every - len(self.listeners)

    def modalities(self, specs: Iterable[ExtractorSpec]) -> list[str]:
        """The modalities of which anything is to be extracted."""
        wanted = {modality for task in self.tasks for request in task.requests for modality in request.keys}
        return [spec.modality for spec in specs if spec.modality in wanted]


def make_plan(jobs: Sequence[Job], specs: Sequence[ExtractorSpec], store: Store, *, retry_failed: bool = False) -> Plan:
    """Hash the clips (by the store's hash cache) and look up every result. ``retry_failed`` drops stored failures
    first."""
    paths = {path for job in jobs for path in (job.path, job.sound) if path is not None}
    files = _hashes(paths, FileHashCache(store.folder))
    keys: dict[str, dict[str, str]] = {}
    clip_hashes: dict[str, str] = {}
    failures: dict[str, str] = {}
    retryable: dict[str, str] = {}
    absent: dict[str, str] = {}
    clips: dict[str, tuple[Path | Url, FileIdentity, dict[Segment, Request]]] = {}
    for job in jobs:
        error = segment_error(job.segment)
        if job.path is None:
            absent[job.id] = "The corpus has no clip for it."
            continue
        file, sound = files[job.path], None if job.sound is None else files[job.sound]
        if error is not None:
            failures[job.id] = error
        elif isinstance(file, UnreadableFile):
            (retryable if file.retryable else failures)[job.id] = file.reason
        elif isinstance(sound, UnreadableFile):
            (retryable if sound.retryable else failures)[job.id] = f"The speaker's own sound: {sound.reason}"
        else:
            identity, clip_hash = file
            segment = job.segment if sound is None else replace(job.segment, sound=sound[1])
            clip_hashes[job.id] = clip_hash
            keys[job.id] = {spec.modality: spec.key(clip_hash, segment) for spec in specs}
            missing = _missing(keys[job.id], store, retry_failed)
            if missing:
                request = Request(segment, missing, job.sound)
                clips.setdefault(clip_hash, (job.path, identity, {}))[2][segment] = request
    tasks = [
        _task(clip_hash, path, identity, tuple(requests.values()))
        for clip_hash, (path, identity, requests) in clips.items()
    ]
    tasks.sort(key=lambda task: (-task.identity.size, task.clip_hash))
    return Plan(keys, clip_hashes, failures, retryable, absent, tasks, {job.id for job in jobs if job.listener})


def _task(clip_hash: str, clip: Path | Url, identity: FileIdentity, requests: tuple[Request, ...]) -> Task:
    if isinstance(clip, Url):
        return Task(clip_hash, Path(clip.name), identity, requests, url=clip)
    return Task(clip_hash, clip, identity, requests)


def _missing(keys: Mapping[str, str], store: Store, retry_failed: bool) -> dict[str, str]:
    """The keys, by modality, of which the store has neither a result nor a failure."""
    if retry_failed:
        for modality, key in keys.items():
            store.drop_failures(modality, key)
    return {modality: key for modality, key in keys.items() if store.state(modality, key) is None}


def _hashes(clips: Collection[Path | Url], cache: FileHashCache) -> Mapping[Path | Url, HashedFile | UnreadableFile]:
    """Each clip's identity and hash, or why it cannot be read."""
    remote = {clip for clip in clips if isinstance(clip, Url)}
    local = {clip for clip in clips if not isinstance(clip, Url)}
    return dict((*_local_hashes(local, cache).items(), *(_remote_hashes(remote, cache).items() if remote else ())))


def _remote_hashes(urls: Collection[Url], cache: FileHashCache) -> dict[Url, HashedFile | UnreadableFile]:
    from bemerc.extraction import remote_clips

    hashes: dict[Url, HashedFile | UnreadableFile] = {}
    new = []
    for url, identity in sorted(remote_clips.identities(urls).items(), key=lambda item: item[0].text):
        if isinstance(identity, UnreadableFile):
            hashes[url] = identity
        elif clip_hash := cache.lookup(url, identity):
            hashes[url] = identity, clip_hash
        else:
            new.append(url)
    if new:
        with bar("Fetching and hashing clips", len(new), "clips") as advance:
            hashed = remote_clips.hash_clips(new, advance)
        cache.add({url: result for url, result in hashed.items() if not isinstance(result, UnreadableFile)})
        hashes |= hashed
    return hashes


def _local_hashes(paths: Collection[Path], cache: FileHashCache) -> dict[Path, HashedFile | UnreadableFile]:
    hashes: dict[Path, HashedFile | UnreadableFile] = {}
    new = []
    for path in sorted(paths):
        try:
            identity = file_identity(path)
        except OSError as error:
            hashes[path] = unreadable_file(path, error)
            continue
        clip_hash = cache.lookup(path, identity)
        if clip_hash is None:
            new.append(path)
        else:
            hashes[path] = identity, clip_hash
    if new:
        with bar("Hashing clips", len(new), "clips") as advance:
            hashes |= cache.hash_files(new, advance)
    return hashes
