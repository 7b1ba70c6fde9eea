"""Errors of the extraction store, each with the ``path`` concerned."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from bemerc.core.errors import CacheError, DiskError, MachineError


class StoreError(CacheError):
    """The store cannot be written. ``reason``: what the system says."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"Cannot write to the extraction store {path}: {reason}. Earlier results are safe. Make room or name another "
            "folder, then run the same command again."
        )
        self.path, self.reason = path, str(reason)


class DamagedError(CacheError):
    """A stored result is not what was written, and was removed: it has to be extracted again."""

    path: Path

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"this stored result is damaged ({reason}) and was removed. Run the same command again to extract it anew.",
            path=path,
        )


class UnreadableError(CacheError, MachineError):
    """The disk did not give a stored result this time; it was left as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"this stored result cannot be read now ({reason}). It was left as it is: check the disk and the file's owner, and "
            "run the same command again. If it stays so, delete the file, and it is extracted anew.",
            path=path,
        )


@contextlib.contextmanager
def store_errors(folder: Path) -> Iterator[None]:
    """Turn the disk's refusals into StoreError."""
    try:
        yield
    except DiskError as error:
        raise StoreError(folder, error.reason) from None
    except OSError as error:
        raise StoreError(folder, error.strerror or error) from None


def check_regular(path: Path) -> None:
    """ValueError where a file of the store is a link, a pipe or a device: none of ours is, and a pipe would block."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("not a regular file")
