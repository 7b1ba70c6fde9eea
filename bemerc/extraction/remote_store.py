"""An extraction store in an object store: what is finished is an immutable object, put if absent.

A folder of this machine stands before it: workers write there as into any store, and the process that hands out the work
uploads each result as it is finished. A result that another machine has finished is read from the object store when
caches are written, and not kept here. Two machines may measure the same clip at once; both have the same bytes, and the
second one's are not stored again.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bemerc.core import atomic, objects
from bemerc.core.errors import CacheError
from bemerc.core.objects import Url
from bemerc.extraction.errors import DamagedError, store_errors
from bemerc.extraction.failures import Failure
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS
from bemerc.extraction.store import Result, Store

# In the folder: the URL that it stands before.
_MARK = "object-store"
_HASHES = "contents.jsonl"
_AT_ONCE = 8


def store_at(folder: Path) -> Store:
    """The store of a folder, which may stand before an object store."""
    mark = folder / _MARK
    return RemoteStore(folder, Url.parse(mark.read_text(encoding="utf-8"))) if mark.is_file() else Store(folder)


def stand_before(folder: Path, url: Url) -> None:
    """Have ``folder`` stand before the object store at ``url``."""
    with store_errors(folder):
        atomic.write_text(folder / _MARK, url.text)


class RemoteStore(Store):
    """See the module's docstring. Raises ObjectError where the object store does not answer, beside what Store raises."""

    def __init__(self, folder: Path, url: Url) -> None:
        super().__init__(folder)
        self._url = url
        self._listed: dict[str, set[str]] = {}
        self._uploads: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._hash_lines = self._read_hashes()

    @property
    def keeps_landmarks(self) -> bool:
        return super().keeps_landmarks and objects.info(self._url / self._no_landmarks.name) is None

    def set_landmarks(self, keep: bool) -> None:
        super().set_landmarks(keep)
        mark = self._url / self._no_landmarks.name
        if keep:
            objects.remove(mark)
        else:
            objects.put(mark, b"Landmarks are not kept here.\n")

    def sweep(self) -> None:
        """As of every store; and results that could not be uploaded before are uploaded."""
        super().sweep()
        for path in self.folder.glob("*/[0-9a-f][0-9a-f]/*"):
            if self._name(path) not in self._there(path.parts[-3]):
                self._upload(path)

    def state(self, modality: str, key: str) -> type[Result] | type[Failure] | None:
        here = super().state(modality, key)
        if here is not None:
            return here
        there = self._there(modality)
        if self._name(self._result_path(modality, key)) in there:
            return Result
        return Failure if self._name(self._failure_path(modality, key)) in there else None

    def publish(self, modality: str, key: str) -> None:
        """Begin to upload a finished result."""
        state = super().state(modality, key)
        if state is not None:
            self._upload(self._result_path(modality, key) if state is Result else self._failure_path(modality, key))

    def flush(self) -> None:
        """Wait until everything is uploaded. ObjectError where something was not: it stays here for the next run."""
        uploads, self._uploads = self._uploads, []
        for upload in uploads:
            upload.result()
        lines = self._lines() - self._hash_lines
        self._put_hashes(lines)
        self._hash_lines |= lines

    def names(self) -> set[str]:
        there = {name for name in objects.listed(self._url) if re.fullmatch(r"[^/]+/../[^/]+", name)}
        return super().names() | there

    @contextlib.contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        with self._copy(self.folder / name):
            yield self.folder / name

    def remove(self, name: str) -> None:
        super().remove(name)
        objects.remove(self._url / name)

    def forget_hashes(self, clip_hashes: Collection[str]) -> None:
        """Rewrite the objects with hashes of clips that hold one of these."""
        for name in objects.listed(self._url / "hashes"):
            lines = (
                (objects.read(self._url / "hashes" / name) or b"").decode(errors="replace").splitlines(keepends=True)
            )
            kept = {line for line in lines if not any(one in line for one in clip_hashes)}
            if len(kept) < len({*lines}):
                self._put_hashes(kept)
                objects.remove(self._url / "hashes" / name)

    def drop_failures(self, modality: str, key: str, but: Path | None = None) -> None:
        super().drop_failures(modality, key, but)
        stem = self._name(self._failure_path(modality, key)).partition(".")[0]
        for name in [name for name in self._there(modality) if name.startswith(f"{stem}.") and name.endswith(".json")]:
            if but is None or name != self._name(but):
                objects.remove(self._url / name)
                self._there(modality).discard(name)

    def drop_landmarks(self, modality: str) -> int:
        here = super().drop_landmarks(modality)
        names = [name for name in self._there(modality) if name.endswith(".npz") and WITHOUT_LANDMARKS not in name]
        for name in names:
            path = self.folder / name
            with self._copy(path):
                self._drop(path)
            bare = path.with_name(f"{path.stem}{WITHOUT_LANDMARKS}.npz")
            if bare.is_file():
                self._upload(bare)
        self.flush()
        for name in names:  # only now: a kill before loses nothing
            objects.remove(self._url / name)
            self._there(modality).discard(name)
        return max(here, len(names))

    def result(self, modality: str, key: str, columns: tuple[str, ...]) -> Result:
        with self._copy(self._result_path(modality, key)):
            return super().result(modality, key, columns)

    def failure(self, modality: str, key: str) -> Failure:
        with self._copy(self._failure_path(modality, key)):
            return super().failure(modality, key)

    @contextlib.contextmanager
    def _copy(self, path: Path) -> Iterator[None]:
        """A copy of a result here while the block runs, where it is not here anyway. Damaged, it is removed there too."""
        was_here, name = path.exists(), self._name(path)
        if not was_here:
            data = objects.read(self._url / name)
            if data is None:
                raise CacheError(
                    "a stored result was deleted meanwhile. Run the same command again.", path=str(self._url / name)
                )
            self._write(path, data)
        try:
            yield
        except DamagedError:
            objects.remove(self._url / name)
            self._there(path.parts[-3]).discard(name)
            raise
        finally:
            if not was_here:
                path.unlink(missing_ok=True)

    def _there(self, modality: str) -> set[str]:
        """Names of the objects of a modality."""
        if modality not in self._listed:
            self._listed[modality] = {f"{modality}/{name}" for name in objects.listed(self._url / modality)}
        return self._listed[modality]

    def _upload(self, path: Path) -> None:
        def upload() -> None:
            objects.put(self._url / self._name(path), path.read_bytes())
            self._there(path.parts[-3]).add(self._name(path))

        self._uploads.append(self._pool.submit(upload))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read_hashes(self) -> set[str]:
        """Hashes of clips that were read before, here or elsewhere, so that no clip is fetched for its hash again."""
        parts = objects.listed(self._url / "hashes")
        text = "".join((objects.read(self._url / "hashes" / name) or b"").decode(errors="replace") for name in parts)
        there, here = set(text.splitlines(keepends=True)), self._lines()
        if there - here:
            with store_errors(self.folder):
                atomic.write_text(self.folder / _HASHES, "".join(sorted(there | here)))
        return there

    def _put_hashes(self, lines: Collection[str]) -> None:
        if lines:
            data = "".join(sorted(lines)).encode()
            objects.put(self._url / "hashes" / f"{hashlib.sha256(data).hexdigest()[:32]}.jsonl", data)

    def _lines(self) -> set[str]:
        try:
            text = (self.folder / _HASHES).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return set()
        return set(text.splitlines(keepends=True))
