"""Files that appear whole or not at all: a temporary name in the same folder, fsync, rename.

A plain ``write_text`` leaves half a file when the disk is full or the process is killed, and the next command reads it.
What a killed process leaves under its temporary name is removed by ``sweep_partials``, which every command that writes into
a folder calls first: the name holds the machine and the process that made it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bemerc.core.errors import DiskError

# What holds people's faces, voices or words is for its owner alone.
PRIVATE = 0o600
PUBLIC = 0o644

# .NAME.MACHINE-PID-START.RANDOM.partial; earlier releases wrote .NAME.PID.partial and .NAME.PID.RANDOM.partial.
_PARTIAL = re.compile(r"\..+\.(?:(?P<machine>[0-9a-f]{8})-)?(?P<pid>\d+)(?:-(?P<start>\d+))?(?:\.[0-9a-f]+)?\.partial")
# What another machine left is taken for dead after so long: nothing here takes a day to write one file.
_STRANGE_S = 86_400.0


@contextlib.contextmanager
def disk(path: Path, doing: str = "cannot be written") -> Iterator[None]:
    """Turn the disk's refusals (full, read-only, a folder in the way) into DiskError, a sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise DiskError(path, doing, error.strerror or str(error)) from None


def partial_path(path: Path, folder: Path | None = None) -> Path:
    """A temporary name for ``path``, in its own folder or in ``folder`` on the same disk, that names this process."""
    pid = os.getpid()
    name = f".{path.name}.{_machine()}-{pid}-{_start(pid)}.{secrets.token_hex(4)}.partial"
    return (folder or path.parent) / name


def sweep_partials(folder: Path, *, strangers: bool = False) -> None:
    """Remove what processes that are no more left half-written in ``folder``; its own folders and all other files stay.

    A process of this machine counts as dead when its number is free or was given to another one since. What another
    machine left (or an earlier release, which did not say where) goes after a day, or at once with ``strangers``. A folder
    that cannot be read, or files of somebody else, are passed over: this is housekeeping.
    """
    try:
        names = os.listdir(folder)  # noqa: PTH208  names are all that is needed
    except OSError:
        return
    for name in names:
        found = _PARTIAL.fullmatch(name)
        if found is not None and _is_left(folder / name, found, strangers):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _is_left(path: Path, found: re.Match[str], strangers: bool) -> bool:
    if found["machine"] in (_machine(), None) and not _is_alive(int(found["pid"]), found["start"]):
        return found["machine"] is not None or strangers or _age_s(path) > 3600
    return found["machine"] not in (_machine(), None) and (strangers or _age_s(path) > _STRANGE_S)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process was quicker
        return 0.0


@functools.cache
def _machine() -> str:
    """Eight digits for the place in which process numbers are unique: the host, and on Linux the container."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _is_alive(pid: int, start: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM and start in (None, _start(pid))
    return start in (None, _start(pid))


def _start(pid: int) -> str:
    """When a process began, in the system's own ticks; 0 where the system does not say. Numbers are given out again, and in
    containers the same small ones soon."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"


@contextlib.contextmanager
def replacing(path: Path, mode: int = PRIVATE, folder: Path | None = None) -> Iterator[IO[bytes]]:
    """A file open for writing bytes that takes the place of ``path`` when the block ends well; else ``path`` stays as it was.

    Parent folders are made. A link at ``path`` is replaced, never written through. ``folder``: where the half-written file
    lies, on the same disk; None = beside ``path``. Raises DiskError where the disk refuses.
    """
    partial = partial_path(path, folder)
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with disk(path), os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with disk(path):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a whole file at once; see ``replacing``."""
    with replacing(path, mode) as file:
        file.write(data)


def write_text(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Write a whole file of UTF-8 at once; see ``replacing``."""
    write_bytes(path, text.encode(), mode)
