"""The store of finished clips: what was measured once stays measured, whatever becomes of the run or of the sealed files.

One small file per piece of work (utterance and modality), named by a fingerprint of everything that its numbers depend
on: the clip's content, the part of it, the extractor with its version and params. The obvious choices fail where it
hurts: looking whether an output file exists takes half-written work for done and old params for new ones, and one big
file that grows is lost with the process that held it open. Here a piece appears under its name complete or not at
all (written elsewhere, renamed), so that kill -9 costs at most the pieces in work, and any number of processes may share
a store. Two kinds of pieces exist: ``.npz`` holds features, ``.json`` says why there are none.

The store is no output of a DVC stage, since DVC deletes outputs before it runs a stage. Deleting it loses time only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import time
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

from bemerc.cache import Choice, Features, PackedLandmarks
from bemerc.errors import CacheError
from bemerc.hashing import sha256
from bemerc.progress import bar

# Raised when media/ comes to give other pixels, times or samples, or when a piece comes to be written in another way.
DECODING = 2

# A file changed twice within one tick of a disk's clock looks unchanged: young files are hashed anew each time.
_TICK_S = 2.0
_STALE_S = 3600.0

# At the end of a name: the same piece without its landmarks. The name tells, so that no file is opened to see what it holds.
BARE = ".bare"
_LANDMARKS = ("points", "scale")
# What reading an archive raises that a failing disk has changed.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


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
    """Why a piece has no features. ``absent``: the clip lacks the track (a silent film), which is no damage."""

    reason: str
    absent: bool = False


def fingerprint(
    content: str, part: Part, modality: str, version: str, params: Mapping[str, Any], decoding: int = DECODING
) -> str:
    """The name of a piece: 40 hex digits over everything that its numbers depend on.

    Leaving out landmarks changes no number, so a piece without them has the name of the one with them, and a mark.
    """
    bare = params.get("landmarks") is False
    told = [decoding, content, asdict(part), modality, version, {**params, "landmarks": True} if bare else params]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40] + (BARE if bare else "")


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn the disk's refusals into CacheError, a sentence."""
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"{folder}: finished clips cannot be kept here ({error.strerror or error}). What was kept before is safe; make room "
            "or name another folder, and run the same command again."
        ) from None


class Store:
    """A folder of finished pieces; see the module's text. Raises CacheError when the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._partial = folder / "partial"
        with disk(folder):
            self._partial.mkdir(parents=True, exist_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes left half-written, unless it is so young that somebody may be at it."""
        for path in self._partial.iterdir():
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink(missing_ok=True)

    def state(self, modality: str, name: str) -> type[Finished] | type[Refused] | None:
        """Whether a piece has features, a reason against them, or is still to do."""
        if self._path(modality, name, ".npz").exists():
            return Finished
        return Refused if self._path(modality, name, ".json").exists() else None

    def put(self, modality: str, name: str, result: Finished | Refused) -> None:
        """Keep a result under its name. CacheError if the disk refuses; the store is as it was then."""
        self._write(modality, name, ".npz" if isinstance(result, Finished) else ".json", _encoded(result))

    def _write(self, modality: str, name: str, suffix: str, data: bytes) -> None:
        """The file is there whole or not at all."""
        partial = self._partial / f"{name}.{secrets.token_hex(8)}{suffix}"
        target = self._path(modality, name, suffix)
        try:
            with disk(self.folder):
                target.parent.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

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
                    dropped += self._drop(modality, path)
                advance(1)
        return dropped

    def _drop(self, modality: str, path: Path) -> bool:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if not set(_LANDMARKS) & set(arrays.files):
                    return False
                kept = {name: arrays[name] for name in arrays.files if name not in _LANDMARKS}
        except FileNotFoundError:  # another process was quicker
            return False
        except _DAMAGE:
            kept = None  # it is measured anew when it is asked for
        if kept is not None:
            self._write(modality, f"{path.stem}{BARE}", ".npz", _zipped(kept))
        path.unlink(missing_ok=True)
        return kept is not None

    def finished(self, modality: str, name: str, columns: tuple[str, ...]) -> Finished:
        """Read features back. A piece that a failing disk has damaged is removed, and CacheError says to run again."""
        path = self._path(modality, name, ".npz")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return _from_arrays(arrays, columns)
        except (OSError, *_DAMAGE) as error:
            path.unlink(missing_ok=True)
            raise CacheError(
                f"{path}: this finished clip is damaged ({error}) and was removed. Run the same command again to measure it anew."
            ) from None

    def refused(self, modality: str, name: str) -> Refused:
        """Read the reason back; the same CacheError as ``finished`` if it is damaged."""
        path = self._path(modality, name, ".json")
        try:
            return Refused(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            path.unlink(missing_ok=True)
            raise CacheError(
                f"{path}: this reason is damaged ({error}) and was removed. Run the same command again."
            ) from None

    def _path(self, modality: str, name: str, suffix: str) -> Path:
        if suffix == ".json":  # why there is nothing is the same with and without landmarks
            name = name.removesuffix(BARE)
        return self.folder / modality / name[:2] / f"{name}{suffix}"


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


def _from_arrays(arrays: Any, columns: tuple[str, ...]) -> Finished:
    values, timestamps_s = arrays["values"], arrays["timestamps_s"]
    if values.shape != (len(timestamps_s), len(columns)):
        raise ValueError(f"values of {values.shape} for {len(columns)} columns")
    landmarks = PackedLandmarks(*(arrays[name] for name in _LANDMARKS)) if _LANDMARKS[0] in arrays else None
    return Finished(
        Features(values, timestamps_s, columns),
        float(arrays["duration_s"]),
        landmarks,
        arrays["note"].tobytes().decode(),
        Choice.from_json(arrays["choice"].tobytes().decode()) if "choice" in arrays else None,
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
    stat = path.stat()
    return Identity(stat.st_size, stat.st_mtime_ns, stat.st_ino)


class Contents:
    """SHA-256 of clips, remembered in the store by path, size, time of change and inode.

    The memory is a file of lines that is only ever appended to: processes that share it at worst hash a clip twice.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.folder / "contents.jsonl"
        self._known: dict[str, tuple[Identity, str]] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                self._remember(line)

    def _remember(self, line: str) -> None:
        try:
            path, size, mtime_ns, inode, content = json.loads(line)
        except ValueError:  # a line that two machines wrote into each other
            return
        self._known[path] = (Identity(size, mtime_ns, inode), content)

    def known(self, path: Path, now: Identity) -> str | None:
        """The hash of ``path`` if it was read before and is unchanged since."""
        seen, content = self._known.get(os.path.abspath(path), (None, ""))  # noqa: PTH100  no link is followed
        return content if seen == now else None

    def read(self, paths: Iterable[Path], advance: Callable[[int], None]) -> dict[Path, tuple[Identity, str] | str]:
        """Hash files and remember; see ``hash_files``."""
        found = hash_files(paths, advance)
        lines = []
        for path, result in found.items():
            if not isinstance(result, str) and time.time() - result[0].mtime_ns / 1e9 > _TICK_S:
                name = os.path.abspath(path)  # noqa: PTH100
                lines.append(json.dumps([name, *asdict(result[0]).values(), result[1]]) + "\n")
        if lines:
            with disk(self._path.parent), self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        return found


def hash_files(paths: Iterable[Path], advance: Callable[[int], None]) -> dict[Path, tuple[Identity, str] | str]:
    """Hash files, four at a time; each becomes its identity and hash, or the sentence why it cannot be read."""
    found: dict[Path, tuple[Identity, str] | str] = {}
    with ThreadPoolExecutor(4) as pool:
        for path, result in pool.map(_hashed, paths):
            found[path] = result
            advance(1)
    return found


def _hashed(path: Path) -> tuple[Path, tuple[Identity, str] | str]:
    try:
        before = identity(path)
        if not path.is_file():  # a pipe is waited for, a device has no end
            return path, "The clip is no ordinary file."
        return path, (before, sha256(path))
    except OSError as error:
        return path, f"The clip cannot be read ({error.strerror})."


# -------------------------------------------------------------------------------------------------------------- claims


class Claims:
    """Who is at work on what: one byte of a file per clip, locked by the process that measures it.

    The system frees a lock when its process ends, however it ends, on a shared disk too: there is nothing to clean up and
    no clock to trust. Locks belong to a process, so one process must not hold two Claims on one store.
    """

    def __init__(self, store: Store) -> None:
        with disk(store.folder):
            self._file = (store.folder / "claims").open("a+b")
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
