"""Standard error without the lines that LiteRT's C++ side prints while it starts."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

# Abseil's log lines, and TensorFlow Lite's.
_STARTUP_LOG = re.compile(rb"[IWE]\d{4} |WARNING: |INFO: ")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what the C++ side prints at start-up: no environment variable does.

    The file descriptor of stderr belongs to the whole process: it is redirected once, however many threads are inside,
    and other output is passed on when the last of them leaves.
    """
    _STDERR.redirect()
    try:
        yield
    finally:
        _STDERR.restore()


class _Stderr:
    """Redirection of file descriptor 2, counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._saved = -1
        self._file: IO[bytes] | None = None

    def redirect(self) -> None:
        with self._lock:
            if self._users == 0:
                sys.stderr.flush()
                self._saved, self._file = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115
                os.dup2(self._file.fileno(), 2)
            self._users += 1

    def restore(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._file is not None:
                sys.stderr.flush()
                os.dup2(self._saved, 2)
                os.close(self._saved)
                with self._file as file:
                    file.seek(0)
                    kept = b"".join(line for line in file if not _STARTUP_LOG.match(line))
                if kept:
                    os.write(2, kept)


_STDERR = _Stderr()
