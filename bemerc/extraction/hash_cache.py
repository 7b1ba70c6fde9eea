"""SHA-256 of clips, cached in the store by path, size, modification time and inode."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bemerc.core import atomic
from bemerc.core.errors import DiskError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.core.objects import Url
from bemerc.core.terminal import printable
from bemerc.extraction.errors import check_regular

# A file changed twice within one tick of a disk's clock looks unchanged: younger files are hashed anew each time.
_TICK_S = 2.0
# Seconds between two heartbeats while one large file is hashed.
_HEARTBEAT_S = 5.0
# A line: the path's hash, size, time, inode, and the content's hash.
_LINE = re.compile(r'\["([0-9a-f]{32})", (\d{1,20}, -?\d{1,20}, \d{1,20}, "[0-9a-f]{64}"\])\n?', re.ASCII)
_DIGEST_AND_END = 66

_From = TypeVar("_From")
_To = TypeVar("_To")


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells, without reading it, that a file has not changed."""

    size: int
    mtime_ns: int
    inode: int


def file_identity(path: Path) -> FileIdentity:
    """The identity of the file at ``path`` (links followed); OSError where there is none."""
    stat = path.stat()
    return FileIdentity(stat.st_size, stat.st_mtime_ns, stat.st_ino)


@dataclass(frozen=True)
class UnreadableFile:
    """Why a file could not be hashed. ``retryable``: by a fault of the machine, not of the file."""

    reason: str
    retryable: bool = False


HashedFile = tuple[FileIdentity, str]


class FileHashCache:
    """SHA-256 of files by their identity, in the file ``contents.jsonl`` of a store, or in one of another name.

    The file is append-only, so processes that share it at worst hash a clip twice. It holds a hash of each path, not
    the path, because folders have people's names in them. A cache that cannot be read or written costs time only.
    """

    def __init__(self, folder: Path, name: str = "contents.jsonl") -> None:
        self._path = folder / name
        self._entries: dict[str, str] = {}  # hash of the path -> the rest of its line
        self._read_to = 0
        if self.refresh():  # an earlier release wrote the paths themselves
            with contextlib.suppress(DiskError):
                atomic.write_text(self._path, "".join(f'["{key}", {rest}\n' for key, rest in self._entries.items()))

    def refresh(self) -> bool:
        """Read what other processes have added meanwhile; returns whether a line holds a path in clear."""
        with_path = False
        with contextlib.suppress(OSError, ValueError):
            check_regular(self._path)
            with self._path.open("rb") as lines:
                lines.seek(self._read_to)
                for line in lines:
                    if not line.endswith(b"\n"):  # another process is at it
                        break
                    self._read_to += len(line)
                    with_path |= self._add(line.decode(errors="replace"))
        return with_path

    def _add(self, line: str) -> bool:
        """Add one line of the file; returns whether it holds a path in clear."""
        match = _LINE.fullmatch(line)
        if match:
            self._entries[match[1]] = match[2]
        return match is None and self._add_earlier(line)

    def _add_earlier(self, line: str) -> bool:
        try:
            path, size, mtime_ns, inode, digest = parse_json(line, "a line of the hash cache")
        except (ValueError, TypeError, JsonError):  # a line that two machines wrote into each other
            return False
        numbers = (size, mtime_ns, inode)
        if not (
            isinstance(path, str) and os.sep in path and all(type(n) is int for n in numbers) and _is_sha256(digest)
        ):
            return False
        self._entries[_hashed_path(path)] = _rest(FileIdentity(*numbers), digest)
        return True

    def lookup(self, path: Path | Url, identity: FileIdentity) -> str | None:
        """The hash of ``path`` if the file was hashed before and has this identity since."""
        rest = self._entries.get(cache_key(path), "")
        digest = rest[-_DIGEST_AND_END:-2]
        return digest if rest and rest == _rest(identity, digest) else None

    def looked_up(self, paths: Iterable[Path]) -> Iterator[tuple[Path, HashedFile | UnreadableFile | None]]:
        """Each file with its identity and hash, why it cannot be read, or None where it is to be hashed."""
        for path in paths:
            try:
                identity = file_identity(path)
            except OSError as error:
                yield path, unreadable_file(path, error)
                continue
            digest = self.lookup(path, identity)
            yield path, None if digest is None else (identity, digest)

    def looked_up_again(self, paths: Iterable[Path]) -> dict[Path, HashedFile | UnreadableFile]:
        """Those that other processes hashed meanwhile, and those that cannot be read."""
        self.refresh()
        return {path: file for path, file in self.looked_up(paths) if file is not None}

    def hash(
        self, paths: Iterable[Path], advance: Callable[[int], None], heartbeat: Callable[[], None] = lambda: None
    ) -> dict[Path, HashedFile | UnreadableFile]:
        """Hash files and add them to the cache; see the function ``hash_files``."""
        hashes = hash_files(paths, advance, heartbeat)
        self.add({path: result for path, result in hashes.items() if not isinstance(result, UnreadableFile)})
        return hashes

    def add(self, hashes: Mapping[Path, HashedFile] | Mapping[Url, HashedFile]) -> None:
        """Add files that were not changed just now."""
        lines = [
            _line(cache_key(path), identity, digest)
            for path, (identity, digest) in hashes.items()
            if time.time() - identity.mtime_ns / 1e9 > _TICK_S
        ]
        if lines:
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
                with os.fdopen(os.open(self._path, flags, atomic.PRIVATE), "wb", 0) as file:
                    file.write("".join(lines).encode())  # at once, so that no other process writes in between


def hash_files(
    paths: Iterable[Path], advance: Callable[[int], None], heartbeat: Callable[[], None] = lambda: None
) -> dict[Path, HashedFile | UnreadableFile]:
    """Hash files, four at a time: path -> its identity and SHA-256 (hex), or why it cannot be read.
    ``advance(1)`` is called after each, ``heartbeat`` every few seconds meanwhile."""
    return dict(in_threads(_hash_file, paths, advance, heartbeat))


def in_threads(
    work: Callable[[_From], _To],
    items: Iterable[_From],
    advance: Callable[[int], None],
    heartbeat: Callable[[], None],
) -> Iterator[_To]:
    """``work`` on each item, four at a time; calls as of ``hash_files``."""
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                while wait([future], _HEARTBEAT_S).not_done:
                    heartbeat()
                yield future.result()
                advance(1)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _hash_file(path: Path) -> tuple[Path, HashedFile | UnreadableFile]:
    try:
        before = file_identity(path)
        if not path.is_file():
            return path, UnreadableFile("The clip is not a regular file (a pipe, device or folder).")
        return path, (before, sha256(path))
    except OSError as error:
        return path, unreadable_file(path, error)


def unreadable_file(path: Path, error: OSError) -> UnreadableFile:
    """An OSError as a reason. A missing file, or a chain of links without end, is no fault of the machine."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnreadableFile(f"There is no file '{printable(path.name)}'.")
    return UnreadableFile(f"The clip cannot be read ({error.strerror or error}).", retryable=error.errno != errno.ELOOP)


def _line(key: str, identity: FileIdentity, digest: str) -> str:
    return f'["{key}", {_rest(identity, digest)}\n'


def _rest(identity: FileIdentity, digest: str) -> str:
    return f'{identity.size}, {identity.mtime_ns}, {identity.inode}, "{digest}"]'


def cache_key(path: Path | Url) -> str:
    return _hashed_path(path.text if isinstance(path, Url) else os.path.abspath(path))  # noqa: PTH100  no link is followed


def _hashed_path(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None
