"""The store of finished clips: what was measured once stays measured, whatever becomes of the run or of the sealed files.

One small file per piece of work (utterance and modality), named by a fingerprint of everything that its numbers depend
on: the clip's content, the part of it, the extractor with its version and params. The obvious choices fail where it
hurts: looking whether an output file exists takes half-written work for done and old params for new ones, and one big
file that grows is lost with the process that held it open. Here a piece appears under its name complete or not at
all (written elsewhere, renamed), so that kill -9 costs at most the pieces in work, and any number of processes may share
a store. Two kinds of pieces exist: ``.npz`` holds features, ``.json`` says why the clip has none.

Only what the clip itself is to blame for is kept as such a verdict, and only for the decoder that gave it: its name holds the
decoder's version, so that an upgrade tries again. A fault of the machine is never kept.

The store is no output of a DVC stage, since DVC deletes outputs before it runs a stage. Deleting it loses time only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import re
import stat
import struct
import sys
import time
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, PackedLandmarks
from bemerc.core import atomic
from bemerc.core.errors import CacheError, DiskError, MachineError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import MAX_LINE_BYTES, JsonError, parse_json
from bemerc.core.progress import bar
from bemerc.core.terminal import printable

# Raised when media/ comes to give other pixels, times or samples, or when a piece comes to be written in another way.
DECODING = 2

# A file changed twice within one tick of a disk's clock looks unchanged: young files are hashed anew each time.
_TICK_S = 2.0

# At the end of a name: the same piece without its landmarks. The name tells, so that no file is opened to see what it holds.
BARE = ".bare"
_LANDMARKS = ("points", "scale")
# What reading an archive raises that a failing disk has changed.
_DAMAGE = (
    *(ValueError, KeyError, TypeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, JsonError),
)
# What earlier releases wrote into partial/, of which nothing says who was at it: swept after an hour.
_EARLIER = re.compile(r"[0-9a-f]{40}(\.bare)?\.[0-9a-f]{16}\.(npz|json)")
_EARLIER_S = 3600.0


@dataclass(frozen=True)
class Part:
    """A part of a clip: seconds from its start and fractions of the frame, None = all of it."""

    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Finished:
    """What one piece of work gave. ``note`` is a sentence on what one should know of it, empty where all was well;
    ``choice`` says whose face it is, where the extractor chose."""

    features: Features
    duration_s: float
    landmarks: PackedLandmarks | None = None
    note: str = ""
    choice: Choice | None = None


@dataclass(frozen=True)
class Refused:
    """Why a piece has no features: a verdict on the clip's content. ``absent``: the clip lacks the track (a silent film),
    which is no damage."""

    reason: str
    absent: bool = False


class DamagedError(CacheError):
    """A piece of the store is not what was written, and was removed: it is to be measured again."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path}: this finished clip is damaged ({reason}) and was removed. Run the same command again to measure it anew."
        )
        self.path = path


class UnreadableError(CacheError, MachineError):
    """The disk did not give a piece of the store this time; it was left as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: this finished clip cannot be read now ({reason}). It was left as it is: see to the disk or to the file's "
            "owner, and run the same command again. If it stays so, delete the file, and it is measured anew."
        )
        self.path = path


def fingerprint(
    content: str, part: Part, modality: str, version: str, params: Mapping[str, Any], decoding: int = DECODING
) -> str:
    """The name of a piece: 40 hex digits over everything that its numbers depend on.

    Leaving out landmarks changes no number, so a piece without them has the name of the one with them, and a mark.
    """
    bare = params.get("landmarks") is False
    told = [decoding, content, vars(part), modality, version, {**params, "landmarks": True} if bare else params]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40] + (BARE if bare else "")


@functools.cache
def decoder() -> str:
    """PyAV with the FFmpeg libraries that came with it, as 8 hex digits; without importing it, which the caller never does."""
    try:
        names = [file.name for file in importlib.metadata.files("av") or () if file.name.startswith("libav")]
        told = [importlib.metadata.version("av"), *sorted(names)]
    except importlib.metadata.PackageNotFoundError:
        told = []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn the disk's refusals into CacheError, a sentence."""
    try:
        yield
    except (OSError, DiskError) as error:
        reason = error.reason if isinstance(error, DiskError) else error.strerror or error
        raise CacheError(
            f"{folder}: finished clips cannot be kept here ({reason}). What was kept before is safe; make room "
            "or name another folder, and run the same command again."
        ) from None


class Store:
    """A folder of finished pieces; see the module's text. Raises CacheError when the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder / "partial"
        self._bare = folder / "no-landmarks"
        with disk(folder):
            self._partial.mkdir(parents=True, exist_ok=True)

    @property
    def keeps_landmarks(self) -> bool:
        """Whether raw points of faces may be kept here. That is a wish of the store, not of a cache made from it: it outlives
        the cache."""
        return not self._bare.exists()

    def set_landmarks(self, keep: bool) -> None:
        """Say whether raw points may be kept from now on; those that are there stay until ``drop_landmarks``."""
        with disk(self.folder):
            if keep:
                self._bare.unlink(missing_ok=True)
            elif self.keeps_landmarks:
                atomic.write_text(self._bare, "bemerc extract --no-landmarks was said; --landmarks takes it back.\n")

    def sweep(self) -> None:
        """Remove what killed processes left half-written. Where landmarks are not to be kept, also what somebody on another
        machine may be at."""
        bare = not self.keeps_landmarks
        atomic.sweep_partials(self._partial, other_machines=bare)
        with contextlib.suppress(OSError):
            for path in self._partial.iterdir():
                # Whatever else lies here, such as somebody's folder, is not ours.
                with contextlib.suppress(OSError):
                    if _EARLIER.fullmatch(path.name) and (bare or time.time() - path.stat().st_mtime > _EARLIER_S):
                        path.unlink()

    def state(self, modality: str, name: str) -> type[Finished] | type[Refused] | None:
        """Whether a piece has features, a reason against them that this decoder gave, or is still to do."""
        with disk(self.folder):
            if self._path(modality, name).exists():
                return Finished
            return Refused if self._verdict(modality, name).exists() else None

    def put(self, modality: str, name: str, result: Finished | Refused) -> None:
        """Keep a result under its name. CacheError if the disk refuses; the store is as it was then."""
        finished = isinstance(result, Finished)
        path = self._path(modality, name) if finished else self._verdict(modality, name)
        self._write(path, _encoded(result))
        self.forget(modality, name, but=path)

    def forget(self, modality: str, name: str, but: Path | None = None) -> bool:
        """Drop the verdicts on a piece, of whatever decoder, but the one named; whether there were any."""
        verdict = self._verdict(modality, name)
        first = verdict.name.partition(".")[0]
        found = False
        with disk(self.folder):
            for path in verdict.parent.glob(f"{first}.*json"):
                if path != but:
                    path.unlink(missing_ok=True)
                    found = True
        return found

    def _write(self, path: Path, data: bytes) -> None:
        """The file is there whole or not at all."""
        with disk(self.folder), atomic.replacing(path, folder=self._partial) as file:
            file.write(data)

    def drop_landmarks(self, modality: str) -> int:
        """Rewrite every finished piece that keeps landmarks as one without; how many there were.

        All of the modality, whatever params they were measured with and whether or not their clips are still at hand: what
        can identify people is to be gone. A piece without landmarks is there before the one with them goes, so that a kill
        loses neither, and other processes may do the same. CacheError if the disk refuses.
        """
        paths = [p for p in sorted((self.folder / modality).glob("*/*.npz")) if not p.stem.endswith(BARE)]
        if not paths:
            return 0
        dropped = 0
        with bar("Looking for landmarks to drop", len(paths), "finished clips") as advance:
            for path in paths:
                with disk(self.folder):
                    dropped += self._drop(path)
                advance(1)
        return dropped

    def _drop(self, path: Path) -> bool:
        try:
            _check_ordinary(path)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if not set(_LANDMARKS) & set(arrays.files):
                    return False
                kept = {name: _array(arrays, name) for name in arrays.files if name not in _LANDMARKS}
        except FileNotFoundError:  # another process was quicker
            return False
        except _DAMAGE:
            kept = None  # it is measured anew when it is asked for
        if kept is not None:
            self._write(path.with_name(f"{path.stem}{BARE}.npz"), _zipped(kept))
        path.unlink(missing_ok=True)
        return kept is not None

    def finished(self, modality: str, name: str, columns: tuple[str, ...]) -> Finished:
        """Read features back. DamagedError: the piece was removed; UnreadableError: the disk did not give it this time."""
        path = self._path(modality, name)
        with _intact(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _from_arrays(arrays, columns)

    def refused(self, modality: str, name: str) -> Refused:
        """Read the reason back; raises as ``finished`` does."""
        path = self._verdict(modality, name)
        with _intact(path), path.open("rb") as file:
            return _verdict(parse_json(file.read(MAX_LINE_BYTES), "a reason"))

    def _path(self, modality: str, name: str) -> Path:
        return self.folder / f"{modality}/{name[:2]}/{name}.npz"

    def _verdict(self, modality: str, name: str) -> Path:
        """Why there is nothing is the same with and without landmarks."""
        return self.folder / f"{modality}/{name[:2]}/{name.removesuffix(BARE)}.{decoder()}.json"


def _check_ordinary(path: Path) -> None:
    """ValueError where a piece is a link, a pipe or a device: nothing of ours is one, and a pipe would be waited for."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is no ordinary file")


@contextlib.contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Tell a piece that is damaged, which is removed, from a disk that does not give it, which may pass."""
    try:
        _check_ordinary(path)
        yield
    except OSError as error:
        # A damaged archive makes Python seek to where no file is.
        if error.errno not in (None, errno.EINVAL):
            raise UnreadableError(path, error.strerror or str(error)) from None
        found: Exception = error
    except _DAMAGE as error:
        found = error
    else:
        return
    with disk(path.parent):
        path.unlink(missing_ok=True)
    raise DamagedError(path, found) from None


def _verdict(told: Any) -> Refused:
    if not (isinstance(told, dict) and isinstance(told.get("reason"), str) and isinstance(told.get("absent"), bool)):
        raise ValueError("it is no reason")
    return Refused(told["reason"], told["absent"])


def _encoded(result: Finished | Refused) -> bytes:
    if isinstance(result, Refused):
        return json.dumps(asdict(result), ensure_ascii=False).encode()
    arrays: dict[str, Any] = {
        "values": result.features.values,
        "timestamps_s": result.features.timestamps_s,
        "duration_s": np.float64(result.duration_s),
        "note": np.frombuffer(result.note.encode(), np.uint8),
    }
    if result.landmarks is not None:
        arrays |= dict(zip(_LANDMARKS, (result.landmarks.points, result.landmarks.scale), strict=True))
    if result.choice is not None:
        arrays["choice"] = np.frombuffer(result.choice.as_json().encode(), np.uint8)
    return _zipped(arrays)


def _zipped(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _array(arrays: Any, name: str) -> NDArray[Any]:
    """An array of an archive; ValueError where the file of that name is none, of which numpy gives the bytes."""
    found = arrays[name]
    if not isinstance(found, np.ndarray):
        raise ValueError(f"'{name}' is no array")
    return found


def _text(arrays: Any, name: str) -> str:
    return _array(arrays, name).tobytes().decode()


def _from_arrays(arrays: Any, columns: tuple[str, ...]) -> Finished:
    values, timestamps_s = _array(arrays, "values"), _array(arrays, "timestamps_s")
    if values.shape != (len(timestamps_s), len(columns)):
        raise ValueError(f"values of {values.shape} for {len(columns)} columns")
    landmarks = PackedLandmarks(*(_array(arrays, name) for name in _LANDMARKS)) if _LANDMARKS[0] in arrays else None
    return Finished(
        Features(values, timestamps_s, columns),
        float(_array(arrays, "duration_s")),
        landmarks,
        _text(arrays, "note"),
        Choice.from_json(_text(arrays, "choice")) if "choice" in arrays else None,
    )


# ------------------------------------------------------------------------------------------------------------- content


@dataclass(frozen=True)
class Identity:
    """By what a file is known not to have changed, short of reading it."""

    size: int
    mtime_ns: int
    inode: int


def identity(path: Path) -> Identity:
    """The identity of the file at ``path`` (links followed); OSError if it is not there."""
    found = path.stat()
    return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


class Contents:
    """SHA-256 of clips, remembered in the store by path, size, time of change and inode.

    The memory is a file of lines that is only ever appended to: processes that share it at worst hash a clip twice. Of a path
    only a hash is kept, because folders have people's names in them. A memory that cannot be read or written costs time only.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.folder / "contents.jsonl"
        self._known: dict[str, tuple[Identity, str]] = {}
        try:
            _check_ordinary(self._path)
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (OSError, ValueError):
            return
        named = [self._remember(line) for line in lines]
        if any(named):  # an earlier release wrote the paths themselves
            with contextlib.suppress(DiskError):
                atomic.write_text(self._path, "".join(_memory(key, *known) for key, known in self._known.items()))

    def _remember(self, line: str) -> bool:
        """Take up one line; whether it named a path."""
        try:
            key, size, mtime_ns, inode, content = parse_json(line, "a line of the memory")
        except (ValueError, TypeError, JsonError):  # a line that two machines wrote into each other
            return False
        numbers = (size, mtime_ns, inode)
        if not (isinstance(key, str) and all(type(n) is int for n in numbers) and _is_sha256(content)):
            return False
        named = os.sep in key
        self._known[_hidden(key) if named else key] = (Identity(*numbers), content)
        return named

    def known(self, path: Path, now: Identity) -> str | None:
        """The hash of ``path`` if it was read before and is unchanged since."""
        seen, content = self._known.get(_hidden(os.path.abspath(path)), (None, ""))  # noqa: PTH100  no link is followed
        return content if seen == now else None

    def read(self, paths: Iterable[Path], advance: Callable[[int], None]) -> dict[Path, tuple[Identity, str] | Unread]:
        """Hash files and remember; see ``hash_files``."""
        found = hash_files(paths, advance)
        lines = []
        for path, result in found.items():
            if not isinstance(result, Unread) and time.time() - result[0].mtime_ns / 1e9 > _TICK_S:
                lines.append(_memory(_hidden(os.path.abspath(path)), *result))  # noqa: PTH100
        if lines:
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
                with os.fdopen(os.open(self._path, flags, atomic.PRIVATE), "w", encoding="utf-8") as file:
                    file.writelines(lines)
        return found


def _memory(key: str, identity: Identity, content: str) -> str:
    return json.dumps([key, *asdict(identity).values(), content]) + "\n"


def _hidden(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _is_sha256(text: object) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


@dataclass(frozen=True)
class Unread:
    """Why a file could not be read. ``passing``: by a fault of the machine, not of the file."""

    reason: str
    passing: bool = False


def hash_files(paths: Iterable[Path], advance: Callable[[int], None]) -> dict[Path, tuple[Identity, str] | Unread]:
    """Hash files, four at a time; each becomes its identity and hash, or why it cannot be read."""
    found: dict[Path, tuple[Identity, str] | Unread] = {}
    with ThreadPoolExecutor(4) as pool:
        for path, result in pool.map(_hashed, paths):
            found[path] = result
            advance(1)
    return found


def _hashed(path: Path) -> tuple[Path, tuple[Identity, str] | Unread]:
    try:
        before = identity(path)
        if not path.is_file():  # a pipe is waited for, a device has no end
            return path, Unread("The clip is not a regular file (a pipe, device or folder).")
        return path, (before, sha256(path))
    except OSError as error:
        return path, unread(path, error)


def unread(path: Path, error: OSError) -> Unread:
    """What the disk says of a clip. That it is not there, or is a chain of links without end, is no fault of the machine."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unread(f"There is no file '{printable(path.name)}'.")
    return Unread(f"The clip cannot be read ({error.strerror or error}).", passing=error.errno != errno.ELOOP)


# -------------------------------------------------------------------------------------------------------------- claims

# Linux's struct flock: type, whence, start, length, process.
_FLOCK = "hhqqi4x"


class Claims:
    """Who is at work on what: one byte of a file per clip, locked by the process that measures it.

    The system frees a lock when its process ends, however it ends, on a shared disk too: there is nothing to clean up and
    no clock to trust. Locks belong to a process, so one process must not hold two Claims on one store.
    """

    def __init__(self, store: Store) -> None:
        with disk(store.folder):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._file = os.fdopen(os.open(store.folder / "claims", flags, atomic.PRIVATE), "a+b")
        self._held: Counter[int] = Counter()

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def take(self, name: str) -> bool:
        """Try to claim ``name`` (hex digits); False while another process holds it. Taken twice it must be given back twice."""
        at = int(name[:15], 16)
        if not self._held[at]:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                # A disk without locks: two processes may then measure a clip twice, and the same bytes win twice.
        self._held[at] += 1
        return True

    def give_back(self, name: str) -> None:
        """Let other processes have ``name``."""
        at = int(name[:15], 16)
        self._held[at] -= 1
        if not self._held[at]:
            with contextlib.suppress(OSError):  # a disk without locks
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, at)

    def holder(self, name: str) -> int | None:
        """The process of this machine that holds ``name``; None where nobody does, or where the system does not say who."""
        if not sys.platform.startswith("linux"):
            return None
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, int(name[:15], 16), 1, 0)
        try:
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, asked))
        except OSError:
            return None
        return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None
