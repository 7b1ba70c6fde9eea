"""SIGTERM, which a cluster sends before the time is up: a command ends at once, a training after a checkpoint."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Whatever ends well on Ctrl-C ends well on it too."""


_deferring = 0
_arrived = False


def listen() -> None:
    """Raise Terminated in the main thread when SIGTERM arrives; only where nobody else has arranged for it."""
    with contextlib.suppress(ValueError):  # another thread than the main one: a command called by somebody's program
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(*_: object) -> None:
    global _arrived
    _arrived = True
    if not _deferring:
        check()


def arrived() -> bool:
    """Whether SIGTERM has arrived and waits for ``check``."""
    return _arrived


def check() -> None:
    """Raise Terminated if SIGTERM has arrived: a good place to end."""
    if _arrived:
        end()


def end() -> NoReturn:
    """Raise Terminated, whether SIGTERM came to this process or to another one that works with it."""
    global _arrived
    _arrived = False
    raise Terminated


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """SIGTERM waits until ``check`` is called, or until the block ends."""
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1
    if not _deferring:
        check()
