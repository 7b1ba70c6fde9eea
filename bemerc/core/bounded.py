"""Files from strangers, read whole: only ordinary files, and only up to a size that the caller states."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """The bytes of an ordinary file. OSError, whose ``strerror`` says why, for anything else and for a larger file.

    A pipe would be waited for and a device such as /dev/zero never ends; so the file is opened without waiting, and what
    was opened is asked what it is, not its name.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise OSError(errno.EINVAL, f"it is {kind}, not an ordinary file", str(path))
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes / 2**20:.4g} MB", str(path))
    return data
