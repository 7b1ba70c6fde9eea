"""Progress of long work on stderr: a live bar on a terminal; elsewhere a line every 20 s, so that logs stay short."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

PLAIN_INTERVAL_S = 20.0
RECENT_S = 120.0  # what is left is told from the speed of so long: the first minute of a run is no measure of its hours
_TRANSFORMERS_LOGGING = threading.RLock()


class Advance(Protocol):
    """Tell a bar of units that were just done, and with ``note`` how it goes, such as the loss."""

    def __call__(self, count: int, note: str = "") -> None: ...


def silent(count: int, note: str = "") -> None:
    """An Advance that shows nothing."""


def say(line: str) -> None:
    """A line of its own, where bars are shown."""
    if logging.getLogger("bemerc").isEnabledFor(logging.WARNING):
        print(line, file=sys.stderr, flush=True)


@contextmanager
def bar(what: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """Show the progress of ``what`` over ``total`` units; call the yielded function with the number of units just done.

    ``done``: units that an earlier run did, which say nothing of this one's speed.

    Nothing is shown where warnings of the package are switched off, as ``bemerc -q`` does.
    """
    if _Hidden.depth or not logging.getLogger("bemerc").isEnabledFor(logging.WARNING):
        yield silent
    elif sys.stderr.isatty():
        with _live(what, total, unit, done) as advance:
            yield advance
    else:
        with _plain(what, total, unit, done) as advance:
            yield advance


class _Hidden:
    """How many want no bars, in whatever thread."""

    depth = 0


@contextmanager
def hidden() -> Iterator[None]:
    """Within it no bar is shown, in any thread: what goes on all the time makes no progress."""
    _Hidden.depth += 1
    try:
        yield
    finally:
        _Hidden.depth -= 1


@contextmanager
def transformers_quiet(*, advice: bool = True) -> Iterator[None]:
    """Switch off transformers' progress bars, and without ``advice`` its warnings too, while it loads a model.

    A second thread waits: it would take the first one's settings for the original ones, and restore those.
    """
    from transformers.utils import logging

    with _TRANSFORMERS_LOGGING:
        shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        if not advice:
            logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if shown:
                logging.enable_progress_bar()


@contextmanager
def _live(what: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, completed=done, rate="", left="")
        speed = _Speed(done, total)

        def advance(count: int, note: str = "") -> None:
            speed.add(count)
            progress.update(task, advance=count, rate=speed.in_words(note), left=speed.left())

        yield advance


@contextmanager
def _plain(what: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    speed = _Speed(done, total)
    last = speed.start

    def advance(count: int, note: str = "") -> None:
        nonlocal last
        now = speed.add(count)
        if now - last >= PLAIN_INTERVAL_S and 0 < speed.done < total:
            line = f"{what}: {speed.done}/{total} {unit}, {speed.in_words(note)}, {speed.left()}"
            print(line, file=sys.stderr, flush=True)
            last = now

    yield advance
    print(f"{what}: {speed.done}/{total} {unit} in {time.monotonic() - speed.start:.1f} s", file=sys.stderr, flush=True)


class _Speed:
    """How fast the last RECENT_S went, and what is left at that speed."""

    def __init__(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self.start = time.monotonic()
        self._recent = deque([(self.start, done)])

    def add(self, count: int) -> float:
        """Count units; the time at which they were done."""
        now = time.monotonic()
        self.done += count
        self._recent.append((now, self.done))
        while len(self._recent) > 2 and now - self._recent[1][0] > RECENT_S:
            self._recent.popleft()
        return now

    @property
    def per_s(self) -> float:
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        return (after - before) / max(last - first, 1e-9)

    def in_words(self, note: str) -> str:
        """Units per second, or per minute where that is less than one; and the note."""
        rate = f"{self.per_s:,.{0 if self.per_s >= 100 else 1}f}/s" if self.per_s >= 1 else f"{60 * self.per_s:.1f}/min"
        return f"{rate}, {note}" if note else rate

    def left(self) -> str:
        return f"{duration((self.total - self.done) / self.per_s)} left" if self.per_s > 0 else ""


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3 h 5 min": as exact as such a guess is."""
    minutes = round(seconds / 60)
    if seconds < 300:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
