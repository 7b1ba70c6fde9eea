"""Leases on clips, so that processes of any machine that share a store do not extract the same clip at the same time.

    leases/OWNER.owner   one per process: who and where it is, and a count that it raises every few seconds
    leases/NAME          a lease: a hard link to the owner's file, made by one atomic step, on NFS too
    leases/OWNER.taken   a lease on its way from a stopped process to this one

No lock of the file system is needed, and no two clocks are compared: a process is taken for stopped when its count has
not changed for ``STALE_S`` of the observer's own time, or at once when it ran on this machine and is gone. Leases save
work and guard nothing: should two processes extract one clip after all (one was frozen and wakes up, or a disk shows a
change late), both store the same bytes under the same name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bemerc.core.atomic import PRIVATE
from bemerc.core.closeable import Closeable
from bemerc.core.processes import is_alive, machine, start_of
from bemerc.core.terminal import printable
from bemerc.extraction.errors import store_errors

log = logging.getLogger(__name__)

BEAT_S = 5.0
# NFS may show a file as it was up to a minute ago.
STALE_S = 90.0
# Between two looks at most so much counts as silence: the observer itself may have been frozen, the other one with it.
_LONGEST_LOOK_S = 10.0
_RECORD_BYTES = 200
_POLL_S = 0.5
# Files of other machines, by the disk's own clock, when nobody asks for their clips any more.
_ABANDONED_AFTER_S = 86_400.0


@dataclass(frozen=True)
class _Holder:
    """The process that a lease names; ``record``: the file's content, its count included."""

    record: bytes
    owner: str
    machine: str = ""
    pid: int = 0
    start: str = ""
    host: str = ""

    @classmethod
    def parse(cls, record: bytes) -> _Holder:
        """The holder that a file names. A file that is no record, such as one half written, names nobody."""
        try:
            owner, where, pid, start, _, host = record.decode("ascii").split()
            return cls(record, owner, where, int(pid), start, host)
        except ValueError:
            return cls(record, "")

    @property
    def has_ended(self) -> bool:
        """Whether it certainly runs no more: asked of this machine, which knows only its own processes."""
        return self.machine == machine() and not is_alive(self.pid, self.start)


@dataclass
class _Watch:
    """How long an owner's record has not changed, as this process saw it."""

    record: bytes
    at_s: float
    silent_s: float = 0.0


class Leases(Closeable):
    """The leases of this process in a store; see the module's docstring. StoreError where it cannot be written.

    clock  seconds that never go back
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._folder, self._clock = folder, folder / "leases", clock
        self._owner = secrets.token_hex(8)
        self._beats, self._last_beat_s = 0, clock()
        self._held: set[str] = set()
        self._copies: dict[str, int] = {}  # open files of leases, on a disk without hard links
        self._watches: dict[str, _Watch] = {}
        self._file = -1
        self._enter()
        self._sweep()

    def close(self) -> None:
        """Give every lease back."""
        for name in tuple(self._held):
            self.release(name)
        with contextlib.suppress(OSError):
            self._own_file.unlink(missing_ok=True)
        os.close(self._file)

    @property
    def _own_file(self) -> Path:
        return self._folder / f"{self._owner}.owner"

    def acquire(self, name: str) -> bool:
        """Try to get the lease ``name``; False while a process that gives signs of life has it."""
        self.beat()
        with store_errors(self._store):
            path = self._folder / name
            taken = self._make(path) or self._take_over(path)
        if taken:
            self._held.add(name)
        return taken

    def release(self, name: str) -> None:
        """Let other processes have it. One that has taken it over meanwhile keeps it."""
        self._held.discard(name)
        holder = self._read(self._folder / name)
        with store_errors(self._store):
            if holder is not None and holder.owner == self._owner:
                (self._folder / name).unlink(missing_ok=True)
        if name in self._copies:
            os.close(self._copies.pop(name))

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Hold a lease while the block runs, once the others have given it back; whether it was theirs before."""
        waited_s = 0.0
        while not self.acquire(name):
            if not waited_s:
                log.info("Waiting for %s.", self.holder(name) or "another process")
            time.sleep(_POLL_S)
            waited_s += _POLL_S
        try:
            yield waited_s > 0
        finally:
            self.release(name)

    def beat(self) -> None:
        """Give a sign of life, at most every few seconds. To be called more often than ``STALE_S`` while leases are
        held."""
        if self._clock() - self._last_beat_s < BEAT_S:
            return
        self._beats, self._last_beat_s = self._beats + 1, self._clock()
        for file in (self._file, *self._copies.values()):
            with contextlib.suppress(OSError):  # a disk that fails now: others may take over, which harms nothing
                os.pwrite(file, self._record(), 0)
                os.fsync(file)  # without it other machines see nothing

    def holder(self, name: str) -> str:
        """Who has the lease, in words; empty where nobody has."""
        holder = self._read(self._folder / name)
        return "" if holder is None or not holder.owner else f"process {holder.pid} of {printable(holder.host, 64)}"

    def _enter(self) -> None:
        with store_errors(self._store):
            self._folder.mkdir(exist_ok=True)
            file = os.open(self._own_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE)
            if self._file >= 0:
                os.close(self._file)
            self._file = file
            os.pwrite(file, self._record(), 0)
            os.fsync(file)

    def _record(self) -> bytes:
        pid = os.getpid()
        host = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname())[:64] or "-"
        text = f"{self._owner} {machine()} {pid} {start_of(pid)} {self._beats:012d} {host}"
        return text.encode("ascii").ljust(_RECORD_BYTES - 1) + b"\n"

    def _make(self, path: Path) -> bool:
        """Make a lease in one atomic step; False where there is one. OSError where the disk refuses."""
        try:
            os.link(self._own_file, path)
        except FileExistsError:
            return False
        except FileNotFoundError:  # somebody has tidied up
            self._enter()
            os.link(self._own_file, path)
        except OSError:  # a disk without hard links
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE)
            except FileExistsError:
                return False
            self._copies[path.name] = file
            os.pwrite(file, self._record(), 0)
            os.fsync(file)
        return True

    def _take_over(self, path: Path) -> bool:
        """Get a lease that there is: from a stopped process, or given back meanwhile."""
        holder = self._read(path)
        if holder is None:
            return self._make(path)
        if holder.owner == self._owner:  # NFS may do what it is asked and answer that it has been done before
            return True
        return self._has_stopped(holder) and self._take_away(path, holder.owner) and self._make(path)

    def _take_away(self, path: Path, owner: str) -> bool:
        """Remove a stopped owner's lease; False where another process was quicker. Of several that move it aside one
        succeeds, and one that has moved a new owner's by mistake puts it back."""
        aside = self._folder / f"{self._owner}.taken"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        holder = self._read(aside)
        if holder is not None and holder.owner != owner:
            aside.rename(path)
            return False
        aside.unlink(missing_ok=True)
        return True

    def _has_stopped(self, holder: _Holder) -> bool:
        if holder.has_ended:
            return True
        now_s = self._clock()
        watch = self._watches.get(holder.owner)
        if watch is None or watch.record != holder.record:
            self._watches[holder.owner] = _Watch(holder.record, now_s)
            return False
        watch.silent_s += min(now_s - watch.at_s, _LONGEST_LOOK_S)
        watch.at_s = now_s
        return watch.silent_s >= STALE_S

    def _read(self, path: Path) -> _Holder | None:
        """The holder of a lease; None where there is none. Opening makes NFS ask for the newest content."""
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", 0) as file:
                return _Holder.parse(file.read(_RECORD_BYTES))
        except FileNotFoundError:
            return None
        except OSError:  # somebody's link or folder: a lease that gives no sign of life
            return _Holder(b"", "")

    def _sweep(self) -> None:
        """Remove what processes left that have ended here, or a day ago elsewhere, by the disk's own clock."""
        now_s = os.fstat(self._file).st_mtime
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                with contextlib.suppress(OSError):
                    holder = self._read(path)
                    old = now_s - path.stat().st_mtime > _ABANDONED_AFTER_S
                    if holder is None or not (holder.has_ended or old):
                        continue
                    if path.suffix:
                        path.unlink()
                    else:
                        self._take_away(path, holder.owner)
