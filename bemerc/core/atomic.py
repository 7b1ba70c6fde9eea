"""Atomic file writes: a temporary name in the same folder, fsync, rename.

A temporary name holds the machine and the process that made it, so that ``sweep_partials``, which commands call before
they write into a folder, can remove what killed processes left.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bemerc.core.errors import DiskError
from bemerc.core.processes import is_alive, machine, start_of

log = logging.getLogger(__name__)

# File modes. What holds people's faces, voices or words is for its owner alone.
PRIVATE = 0o600
PUBLIC = 0o644

# .NAME.MACHINE-PID-START.RANDOM.partial; earlier releases wrote .NAME.PID.partial and .NAME.PID.RANDOM.partial.
# NAME is as short as it can be (".+?"): else a RANDOM of decimal digits alone, one in 43, would be read as a PID.
_PARTIAL = re.compile(r"\..+?\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<pid>\d+)(?:-(?P<start>\d+))?(?:\.[0-9a-f]+)?\.partial")
# A partial file of another machine counts as abandoned after a day: nothing here takes that long to write one file.
_ABANDONED_AFTER_S = 86_400.0


@contextlib.contextmanager
def disk(path: Path, doing: str = "cannot be written") -> Iterator[None]:
    """Raise an OSError of the block (disk full, read-only, a folder in the way) as a DiskError about ``path``.

    ``doing``: the predicate of the message, after the path.
    """
    try:
        yield
    except OSError as error:
        raise DiskError(path, doing, error.strerror or str(error)) from None


def partial_path(path: Path, folder: Path | None = None) -> Path:
    """A temporary name for ``path``, in its own folder or in ``folder`` on the same disk, that names this process."""
    pid = os.getpid()
    name = f".{path.name}.{machine()}-{pid}-{start_of(pid)}.{secrets.token_hex(4)}.partial"
    return (folder or path.parent) / name


def sweep_partials(folder: Path, *, other_machines: bool = False) -> None:
    """Remove the partial files and folders that dead processes left in ``folder``, not in folders below it.

    A process of this machine counts as dead when its id is free or belongs to a process that started later. Partial
    files of other machines, and of earlier releases, whose names hold no machine, go after a day; with
    ``other_machines`` at once. A folder that cannot be read and files that cannot be removed are skipped.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208  names are all that is needed
    except OSError:
        return
    for name in names:
        match = _PARTIAL.fullmatch(name)
        if match is not None and _is_abandoned(folder / name, match, other_machines):
            with contextlib.suppress(OSError):
                shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def _is_abandoned(path: Path, name: re.Match[str], other_machines: bool) -> bool:
    if name["machine"] in (machine(), None) and not is_alive(int(name["pid"]), name["start"]):
        return name["machine"] is not None or other_machines or _age_s(path) > 3600
    return name["machine"] not in (machine(), None) and (other_machines or _age_s(path) > _ABANDONED_AFTER_S)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process was quicker
        return 0.0


@contextlib.contextmanager
def replacing(path: Path, mode: int = PRIVATE, folder: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces ``path`` when the block ends without an error; else ``path`` stays as it was.

    mode    permissions of the new file
    folder  where the partial file lies, on the same disk; None = beside ``path``

    Parent folders are made. A link at ``path`` is replaced, never written through. Raises DiskError.
    """
    with (
        disk(path),
        replacing_path(path, folder) as partial,
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing_path(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """The path of a partial file, for a library that opens files itself; it replaces ``path`` when the block ends
    without an error. Parent folders are made. OSError where the disk refuses, and where ``path`` is a device or a pipe,
    which root would replace for every program of the machine."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "this is a device or a pipe, not a file")
    partial = partial_path(path, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        partial.replace(path)
        log.debug("%s is written", path)
    finally:
        partial.unlink(missing_ok=True)


def is_free(path: Path) -> bool:
    """Whether ``new_folder`` may make ``path``: nothing is there, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name ``path`` (free, or an empty folder) when the block ends well; else it is removed.

    Parent folders are made, and what killed processes left of such folders beside it is removed. Raises DiskError where
    the disk refuses.
    """
    sweep_partials(path.parent)
    partial = partial_path(path)
    with disk(path):
        partial.mkdir(parents=True)
    try:
        yield partial
        with disk(path):
            if path.exists():
                path.rmdir()
            partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def replacing_files(folder: Path, last: str) -> Iterator[Path]:
    """A folder to fill, whose files move into ``folder`` one by one when the block ends well, the one called ``last`` last.

    Other files of ``folder`` stay. What killed processes left of such folders is removed. OSError where the disk refuses.
    """
    sweep_partials(folder.parent)
    partial = partial_path(folder)
    partial.mkdir(parents=True)
    try:
        yield partial
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(partial.iterdir(), key=lambda path: path.name == last):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_bytes(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a whole file atomically; see ``replacing``."""
    with replacing(path, mode) as file:
        file.write(data)


def write_text(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Write a whole file of UTF-8 atomically; see ``replacing``."""
    write_bytes(path, text.encode(), mode)
