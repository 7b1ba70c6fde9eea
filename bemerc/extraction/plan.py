"""The plan of a run, made before any clip is opened: which results the store has, and tasks for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bemerc.cache.texts import Texts, TextTable
from bemerc.core.objects import Url
from bemerc.core.progress import bar
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import (
    FileHashCache,
    FileIdentity,
    HashedFile,
    UnreadableFile,
)
from bemerc.extraction.jobs import ExtractorSpec, Job, Request, Task, segment_error
from bemerc.extraction.leases import Leases
from bemerc.extraction.shared_hashing import Clip, Hashing, hash_shared
from bemerc.extraction.store import Store

_Files = dict[str, HashedFile | UnreadableFile]


@dataclass(frozen=True)
class Plan:
    """Every job is in ``clip_hashes`` or in one of ``failures``, ``retryable`` and ``absent``.

    clip_hashes  id -> the clip's SHA-256, for utterances whose clip could be hashed, in the order of ids
    keys         modality -> id -> store key, for the same ones
    failures     id -> reason, where the clip or the segment cannot exist
    retryable    id -> reason, where the disk did not give the clip this time
    absent       id -> reason, where there is no clip
    tasks        what the store lacks, one task per clip, largest file first
    listeners    ids, among all of these, that are of listeners and no utterances
    """

    clip_hashes: Mapping[str, str]
    keys: Mapping[str, Mapping[str, str]]
    failures: Mapping[str, str]
    retryable: Mapping[str, str]
    absent: Mapping[str, str]
    tasks: Sequence[Task]
    listeners: Collection[str] = frozenset()

    @property
    def utterances(self) -> int:
        """How many utterances there are in all."""
        every = len(self.clip_hashes) + len(self.failures) + len(self.retryable) + len(self.absent)
        return every - len(self.listeners)

    def modalities(self, specs: Iterable[ExtractorSpec]) -> list[str]:
        """The modalities of which anything is to be extracted."""
        wanted = {modality for task in self.tasks for request in task.requests for modality in request.keys}
        return [spec.modality for spec in specs if spec.modality in wanted]


def make_plan(
    jobs: Sequence[Job],
    specs: Sequence[ExtractorSpec],
    store: Store,
    leases: Leases | None = None,
    *,
    retry_failed: bool = False,
) -> Plan:
    """Hash the clips (by the store's hash cache) and look up every result.

    leases        those of the store, by which processes share the hashing of new clips; None: hash all of them here
    retry_failed  drop stored failures first
    """
    paths = {_text(path): path for job in jobs for path in (job.path, job.sound) if path is not None}
    files = _hashes(paths, FileHashCache(store.folder), leases)
    ids: list[str] = []
    hashes = Texts()
    keys_of: dict[str, Texts] = {spec.modality: Texts() for spec in specs}
    failures: dict[str, str] = {}
    retryable: dict[str, str] = {}
    absent: dict[str, str] = {}
    for job in sorted(jobs, key=lambda job: job.id):
        error = segment_error(job.segment)
        if job.path is None:
            absent[job.id] = "The corpus has no clip for it."
            continue
        file, sound = files[_text(job.path)], None if job.sound is None else files[_text(job.sound)]
        if error is not None:
            failures[job.id] = error
        elif isinstance(file, UnreadableFile):
            (retryable if file.retryable else failures)[job.id] = file.reason
        elif isinstance(sound, UnreadableFile):
            (retryable if sound.retryable else failures)[job.id] = f"The speaker's own sound: {sound.reason}"
        else:
            ids.append(job.id)
            hashes.append(file[1])
            for spec in specs:
                keys_of[spec.modality].append(spec.key(file[1], _segment(job, files)))
    positions = {id_: i for i, id_ in enumerate(ids)}
    keys = {modality: TextTable(positions, of) for modality, of in keys_of.items()}
    tasks, listeners = _tasks(jobs, keys, files, store, retry_failed), {job.id for job in jobs if job.listener}
    return Plan(TextTable(positions, hashes), keys, failures, retryable, absent, tasks, listeners)


def _segment(job: Job, files: _Files) -> Segment:
    """The job's segment, with the hash of the sound that it names."""
    sound = None if job.sound is None else files[_text(job.sound)]
    return replace(job.segment, sound=sound[1]) if isinstance(sound, tuple) else job.segment


def _tasks(
    jobs: Sequence[Job], keys: Mapping[str, Mapping[str, str]], files: _Files, store: Store, retry_failed: bool
) -> list[Task]:
    """A task for every clip of which the store lacks something; largest file first."""
    missing = _missing(keys, store, retry_failed)
    clips: dict[str, tuple[Path | Url, FileIdentity, dict[Segment, Request]]] = {}
    for job in jobs if missing else ():
        wanted = {m: of[job.id] for m, of in keys.items() if job.id in of and of[job.id] in missing}
        file = files[_text(job.path)] if wanted and job.path is not None else None
        if isinstance(file, tuple) and job.path is not None:
            (identity, clip_hash), segment = file, _segment(job, files)
            request = Request(segment, wanted, job.sound)
            clips.setdefault(clip_hash, (job.path, identity, {}))[2][segment] = request
    tasks = [
        _task(clip_hash, path, identity, tuple(requests.values()))
        for clip_hash, (path, identity, requests) in clips.items()
    ]
    return sorted(tasks, key=lambda task: (-task.identity.size, task.clip_hash))


def _text(path: Path | Url) -> str:
    return path.text if isinstance(path, Url) else str(path)


def _task(clip_hash: str, clip: Path | Url, identity: FileIdentity, requests: tuple[Request, ...]) -> Task:
    if isinstance(clip, Url):
        return Task(clip_hash, Path(clip.name), identity, requests, url=clip)
    return Task(clip_hash, clip, identity, requests)


def _missing(keys: Mapping[str, Mapping[str, str]], store: Store, retry_failed: bool) -> set[str]:
    """The keys of which the store has neither a result nor a failure."""
    for modality, of in keys.items() if retry_failed else ():
        for key in of.values():
            store.drop_failures(modality, key)
    unfinished = [store.unfinished(modality, of.values()) for modality, of in keys.items()]
    return {key for states in unfinished for key, state in states.items() if state is None}


def _hashes(clips: Mapping[str, Path | Url], cache: FileHashCache, leases: Leases | None) -> _Files:
    """Each clip's identity and hash, or why it cannot be read. Clips and answers by their paths' texts, which take a
    third of a hashed Path's memory."""
    remote = {clip for clip in clips.values() if isinstance(clip, Url)}
    local = {text: clip for text, clip in clips.items() if not isinstance(clip, Url)}
    there: dict[Url, HashedFile | UnreadableFile] = {}
    if remote:
        from bemerc.extraction.remote_clips import RemoteHashing, identities

        fetching = RemoteHashing(cache, identities(remote))
        there = fetching.looked_up_again(remote)
        there |= _hashed("Fetching and hashing clips", remote - there.keys(), fetching, len(remote), leases)
    hashes: _Files = {url.text: file for url, file in there.items()}
    new = []
    for path, file in cache.looked_up(local.values()):
        if file is None:
            new.append(path)
        else:
            hashes[str(path)] = file
    hashes |= {str(path): file for path, file in _hashed("Hashing clips", new, cache, len(local), leases).items()}
    return hashes


def _hashed(
    what: str, new: Iterable[Clip], hashing: Hashing[Clip], of: int, leases: Leases | None
) -> dict[Clip, HashedFile | UnreadableFile]:
    """Hash new clips, with a bar that says ``what``; ``of`` as of ``hash_shared``."""
    clips = sorted(new, key=_text)
    if not clips:
        return {}
    with bar(what, len(clips), "clips") as advance:
        if leases is None:
            return hashing.hash(clips, advance, lambda: None)
        return hash_shared(clips, hashing, leases, of, advance)
