"""Locks on clips, so that processes that share a store never extract the same clip at the same time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
from collections import Counter
from pathlib import Path

from bemerc.core.atomic import PRIVATE
from bemerc.core.closeable import Closeable
from bemerc.extraction.errors import store_errors

# Linux's struct flock: type, whence, start, length, process.
_FLOCK = "hhqqi4x"


class ClipLocks(Closeable):
    """One byte of the store's file ``claims`` per clip, locked by the process that extracts it.

    The system releases a lock when its process ends, however it ends, on a shared disk too: there is nothing to clean
    up and no clock to trust. Locks belong to a process, so one process must not hold two ClipLocks on one store.
    StoreError where the file cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        with store_errors(folder):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._file = os.fdopen(os.open(folder / "claims", flags, PRIVATE), "a+b")
        self._held: Counter[int] = Counter()

    def close(self) -> None:
        """Release every lock."""
        self._file.close()

    def acquire(self, clip_hash: str) -> bool:
        """Try to lock a clip by its hash (hex digits); False while another process holds it. Acquired twice, it must be
        released twice."""
        byte = int(clip_hash[:15], 16)
        if not self._held[byte]:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return False
                # A disk without locks: two processes may then extract one clip, and write the same bytes twice.
        self._held[byte] += 1
        return True

    def release(self, clip_hash: str) -> None:
        """Let other processes have the clip."""
        byte = int(clip_hash[:15], 16)
        self._held[byte] -= 1
        if not self._held[byte]:
            with contextlib.suppress(OSError):  # a disk without locks
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, byte)

    def holder(self, clip_hash: str) -> int | None:
        """The process of this machine that holds the clip; None where nobody does, or where the system does not say
        who."""
        if not sys.platform.startswith("linux"):
            return None
        query = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, int(clip_hash[:15], 16), 1, 0)
        try:
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, query))
        except OSError:
            return None
        return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None
