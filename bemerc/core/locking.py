"""A lock that one process at a time holds on something it writes: a lock file, with the holder's process id, beside it.

The system releases the lock when the process ends, so the file of a killed one locks nobody out.
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
            f"process {printable(holder, 20) or 'unknown'} is writing there. Wait for it, or end it, and run again.",
            path=path,
        )
        self.holder = holder


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on ``path`` while the block runs.

    Raises LockedError where another process holds it, DiskError where the disk cannot be written or has no locks.
    """
    file = path.with_name(f"{path.name}.lock")
    with disk(file, "cannot be locked"):
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path, file)
    try:
        with disk(file):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, file: Path) -> int:
    """The open descriptor of the lock file, locked. Tries again where the previous holder removed the file
    meanwhile."""
    while True:
        with contextlib.ExitStack() as stack:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PUBLIC)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(path, os.pread(descriptor, 20, 0).decode(errors="replace")) from None
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    stack.pop_all()
                    return descriptor
