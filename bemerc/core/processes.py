"""Which process of which machine left a file behind, and whether it still runs."""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import socket
from pathlib import Path


@functools.cache
def machine() -> str:
    """Eight hex digits for the scope in which process ids are unique: the host, and on Linux the container."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


machine()  # now: asked for the first time while /proc cannot be read, a process would be another machine to itself


def is_alive(pid: int, start: str | None) -> bool:
    """Whether a process of this machine runs; with ``start``, whether it is still the one that started then."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM and start in (None, start_of(pid))
    return start in (None, start_of(pid))


def start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot, or "0" where there is no /proc: ids alone are reused."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "0"
