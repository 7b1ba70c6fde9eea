"""Files that appear whole or not at all: a temporary name in the same folder, fsync, rename.

A plain ``write_text`` leaves half a file when the disk is full or the process is killed, and the next command reads it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bemerc.errors import DiskError

# What holds people's faces, voices or words is for its owner alone.
PRIVATE = 0o600
PUBLIC = 0o644


@contextlib.contextmanager
def disk(path: Path, doing: str = "cannot be written") -> Iterator[None]:
    """Turn the disk's refusals (full, read-only, a folder in the way) into DiskError, a sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise DiskError(path, doing, error.strerror or str(error)) from None


@contextlib.contextmanager
def replacing(path: Path, mode: int = PRIVATE) -> Iterator[IO[bytes]]:
    """A file open for writing bytes that takes the place of ``path`` when the block ends well; else ``path`` stays as it was.

    Parent folders are made. A link at ``path`` is replaced, never written through. Raises DiskError where the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
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
