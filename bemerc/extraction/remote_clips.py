"""Clips in an object store: what tells that they have not changed, their hash, and a local copy to measure."""

from __future__ import annotations

import contextlib
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bemerc.core import objects
from bemerc.core.errors import MachineError
from bemerc.core.hashing import sha256
from bemerc.core.objects import ObjectInfo, Url
from bemerc.core.terminal import printable
from bemerc.extraction import scratch
from bemerc.extraction.hash_cache import (
    FileHashCache,
    FileIdentity,
    HashedFile,
    UnreadableFile,
    file_identity,
    in_threads,
)
from bemerc.extraction.jobs import Task

# So many clips of one folder are asked about by listing it.
_LISTED = 20
_AT_ONCE = 8


def identities(urls: Collection[Url]) -> dict[Url, FileIdentity | UnreadableFile]:
    """What tells that the clips have not changed, or why one cannot be read."""
    folders: dict[Url, list[Url]] = defaultdict(list)
    for url in urls:
        folders[url.parent].append(url)
    identities: dict[Url, FileIdentity | UnreadableFile] = {}
    single: list[Url] = []
    for folder, inside in folders.items():
        if len(inside) < _LISTED:
            single += inside
            continue
        there = objects.listed(folder)
        identities |= {url: _identity(url, there.get(url.name)) for url in inside}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        identities |= dict(zip(single, pool.map(_look_up, single), strict=True))
    return identities


@dataclass(frozen=True)
class RemoteHashing:
    """Hashing of clips by URL: each is fetched, and its hash is added to ``cache``. ``identities``: of all of them."""

    cache: FileHashCache
    identities: Mapping[Url, FileIdentity | UnreadableFile]

    def looked_up_again(self, urls: Iterable[Url]) -> dict[Url, HashedFile | UnreadableFile]:
        """Those whose hash is in the cache, from here or from another process, and those that cannot be read."""
        self.cache.refresh()
        hashes: dict[Url, HashedFile | UnreadableFile] = {}
        for url in urls:
            identity = self.identities[url]
            if isinstance(identity, UnreadableFile):
                hashes[url] = identity
            elif digest := self.cache.lookup(url, identity):
                hashes[url] = identity, digest
        return hashes

    def hash(
        self, urls: Iterable[Url], advance: Callable[[int], None], heartbeat: Callable[[], None] = lambda: None
    ) -> dict[Url, HashedFile | UnreadableFile]:
        """Fetch the clips, a few at a time, and hash them; see ``hash_cache.hash_files``."""
        hashes = dict(in_threads(_hash, urls, advance, heartbeat))
        self.cache.add({url: result for url, result in hashes.items() if not isinstance(result, UnreadableFile)})
        return hashes


@contextlib.contextmanager
def on_this_machine(task: Task, heartbeat: Callable[[], None]) -> Iterator[Task]:
    """The task with a copy of its clip, where that lies in an object store. MachineError where it cannot be fetched, or is
    not what was hashed."""
    if task.url is None:
        yield task
        return
    info = objects.info(task.url, heartbeat)
    if info is None or _stamped(info) != task.identity:
        raise MachineError("The clip changed in its object store meanwhile. Run the same command again.")
    here = scratch.of_this_machine()
    with here.copy(task.url, info, heartbeat) as path:
        if sha256(path) != task.clip_hash:
            here.drop(path)
            raise MachineError("The clip did not come whole from its object store. Run the same command again.")
        yield replace(task, path=path, identity=file_identity(path))


def _look_up(url: Url) -> FileIdentity | UnreadableFile:
    try:
        return _identity(url, objects.info(url))
    except MachineError as error:
        return UnreadableFile(str(error), retryable=True)


def _identity(url: Url, info: ObjectInfo | None) -> FileIdentity | UnreadableFile:
    if info is None:
        return UnreadableFile(f"There is no object '{printable(url.name)}'.")
    return _stamped(info)


def _stamped(info: ObjectInfo) -> FileIdentity:
    return FileIdentity(info.size, 0, int(hashlib.sha256(info.stamp.encode()).hexdigest()[:15], 16))


def _hash(url: Url) -> tuple[Url, HashedFile | UnreadableFile]:
    try:
        info = objects.info(url)
        if info is None:
            return url, UnreadableFile(f"There is no object '{printable(url.name)}'.")
        with scratch.of_this_machine().copy(url, info) as path:
            return url, (_stamped(info), sha256(path))
    except MachineError as error:
        return url, UnreadableFile(str(error), retryable=True)
    except OSError as error:
        return url, UnreadableFile(f"The clip cannot be read ({error.strerror or error}).", retryable=True)
