"""A lock on something that one process at a time may write: a file with the holder's process id, gone when it is released.

The system drops the lock with the process, so a killed one leaves a file that locks nobody out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from bemerc.core.atomic import PUBLIC, disk
from bemerc.core.errors import MachineError
from bemerc.core.terminal import printable


class LockedError(MachineError):
    """Another process is writing. ``path``: what is locked; ``holder``: its process id, as the lock file has it."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path}: process {printable(holder, 20) or 'unknown'} is writing there. Wait for it, or end it, and run again."
        )
        self.path, self.holder = path, holder


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``, by a file beside it; LockedError where another process does."""
    file = path.with_name(f"{path.name}.lock")
    with disk(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _locked(path, file)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, file: Path) -> int:
    """A descriptor of the lock file, locked, while the file still bears its name."""
    while True:
        with disk(file):
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PUBLIC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.exists() and os.path.samestat(os.fstat(descriptor), file.stat()):
                return descriptor
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace")
            os.close(descriptor)
            raise LockedError(path, holder) from None
        os.close(descriptor)  # its holder let go of it in between
