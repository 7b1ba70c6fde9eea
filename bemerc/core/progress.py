"""Progress of long work on stderr: a live bar on a terminal; elsewhere a line every 20 s, so that logs stay short."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PLAIN_INTERVAL_S = 20.0
_TRANSFORMERS_LOGGING = threading.RLock()


@contextmanager
def bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of ``what`` over ``total`` units; call the yielded function with the number of units just done.

    Nothing is shown where warnings of the package are switched off, as ``bemerc -q`` does.
    """
    if not logging.getLogger("bemerc").isEnabledFor(logging.WARNING):
        yield lambda count: None
    elif sys.stderr.isatty():
        with _live(what, total, unit) as advance:
            yield advance
    else:
        with _plain(what, total, unit) as advance:
            yield advance


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
def _live(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, rate="")
        start, done = time.monotonic(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.update(task, advance=count, rate=_rate(done, time.monotonic() - start))

        yield advance


@contextmanager
def _plain(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S and 0 < done < total:
            left_s = (now - start) / done * (total - done)
            print(
                f"{what}: {done}/{total} {unit}, {_rate(done, now - start)}, {left_s:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            last = now

    yield advance
    print(f"{what}: {done}/{total} {unit} in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def _rate(done: int, seconds: float) -> str:
    """Units per second, or per minute where that is less than one."""
    per_s = done / max(seconds, 1e-9)
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{60 * per_s:.1f}/min"
