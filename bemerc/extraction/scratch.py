"""Clips of an object store on this machine's disk, while they are measured and as long as there is room.

The folder is BEMERC_SCRATCH, else one of this user in the system's temporary folder; all processes of the machine share
it. Together its clips take BEMERC_SCRATCH_GB at most, 20 if nothing is said, and half of what is free on the disk; clips
in use may exceed that. What was used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bemerc.core import atomic, objects
from bemerc.core.errors import BemercError, DiskError
from bemerc.core.objects import ObjectInfo, Url

_DEFAULT_GB = 20.0


class Scratch:
    """Copies of objects in ``folder``, of ``limit_bytes`` together. DiskError where the disk refuses."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        with atomic.disk(folder, "cannot be made"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise DiskError(folder, "cannot be used", "it belongs to somebody else; name another in BEMERC_SCRATCH")
        atomic.sweep_partials(folder)

    @contextlib.contextmanager
    def copy(self, url: Url, info: ObjectInfo, heartbeat: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """The path of a copy of an object, which stays while the block runs. Raises as ``objects.fetch`` does."""
        path = self._folder / (hashlib.sha256(f"{url.text} {info.stamp}".encode()).hexdigest()[:32] + _suffix(url))
        with contextlib.ExitStack() as stack:
            while not self._use(path, info.size, stack):
                self._make_room(info.size)
                with atomic.replacing(path) as file:
                    objects.fetch(url, info.size, file, heartbeat)
            yield path

    def drop(self, path: Path) -> None:
        """Remove a copy that is not what it should be."""
        with atomic.disk(path, "cannot be removed"):
            path.unlink(missing_ok=True)

    def copies(self) -> list[Path]:
        """All of them, whatever they are of."""
        with atomic.disk(self._folder, "cannot be read"):
            return sorted(path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith("."))

    def _use(self, path: Path, size: int, stack: contextlib.ExitStack) -> bool:
        """Keep others from removing a copy until the stack is closed; False where there is none."""
        try:
            file = stack.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_SH)
            os.utime(path)
            return os.path.samestat(os.fstat(file.fileno()), path.stat()) and path.stat().st_size == size
        except OSError:  # removed meanwhile
            return False

    def _make_room(self, size: int) -> None:
        with atomic.disk(self._folder, "cannot be read"):
            limit = min(self._limit, shutil.disk_usage(self._folder).free // 2 + self._used())
            copies = sorted((path for path in self._folder.iterdir() if path.is_file()), key=_last_used)
        for path in copies:
            if self._used() + size <= limit:
                return
            if not path.name.startswith("."):
                _remove_unused(path)

    def _used(self) -> int:
        return sum(_size(path) for path in self._folder.iterdir())


def of_this_machine() -> Scratch:
    """The scratch folder that the environment names. BemercError where it says no number of gigabytes."""
    given = os.environ.get("BEMERC_SCRATCH_GB", "")
    try:
        limit = float(given) if given else _DEFAULT_GB
        if not 0 < limit < 1e9:
            raise ValueError
    except ValueError:
        raise BemercError(
            f"BEMERC_SCRATCH_GB is '{given}'; it must be a number of gigabytes, such as 20.", name="BEMERC_SCRATCH_GB"
        ) from None
    return Scratch(root(), int(limit * 1e9))


def root() -> Path:
    """The scratch folder's path."""
    return Path(os.environ.get("BEMERC_SCRATCH") or Path(tempfile.gettempdir(), f"bemerc-{os.getuid()}"))


def _suffix(url: Url) -> str:
    suffix = Path(url.name).suffix
    return suffix if suffix[1:].isalnum() and len(suffix) < 10 else ""


def _remove_unused(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def _last_used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
