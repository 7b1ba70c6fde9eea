"""A worker process: tasks in by a pipe, results out into the store. ``python -m bemerc.extraction.worker FD FD``.

It is a program of its own, not a multiprocessing.Process: the caller's script is not imported a second time, Ctrl-C
reaches the caller alone, and the last line that a library prints before it dies becomes the reason. Nothing here
catches an unexpected error: it ends the process. Perception libraries are imported in workers only.
"""

from __future__ import annotations

import contextlib
import mmap
import signal
import sys
from multiprocessing.connection import Connection

from bemerc.core.errors import BemercError, MachineError
from bemerc.extraction.audio_pass import extract_audio_clips
from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.extraction.jobs import Task, WorkerSetup
from bemerc.extraction.remote_clips import on_this_machine
from bemerc.extraction.reporter import Reporter
from bemerc.extraction.store import Store
from bemerc.extraction.video_pass import extract_video_clip
from bemerc.extraction.worker_status import STATUS


def main() -> None:
    """Serve until the pipe closes, which it does when the caller ends, however it ends."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # for the caller, who ends the workers
        signal.signal(stop, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _serve(connection: Connection) -> None:
    setup: WorkerSetup = connection.recv()
    extractors = ExtractorPool(setup.specs)
    try:
        extractors.warm_up()
    except BemercError as error:
        connection.send(("stop", str(error)))
        return
    connection.send(("ready",))
    store = None if setup.store is None else Store(setup.store)
    reporter = Reporter(connection, store, mmap.mmap(int(sys.argv[2]), STATUS.size))
    extractors.heartbeat = reporter.heartbeat
    audio = all(spec.modality in ("audio", "speech") for spec in setup.specs)
    while True:
        tasks: tuple[Task, ...] = connection.recv()
        try:
            with contextlib.ExitStack() as copies:
                tasks = _fetched(tasks, reporter, copies)
                if audio:
                    extract_audio_clips(tasks, extractors, reporter)
                else:
                    for task in tasks:
                        extract_video_clip(task, extractors, reporter)
        except BemercError as error:  # not the clip's fault: the store cannot be written
            connection.send(("stop", str(error)))
            return
        connection.send(("end",))


def _fetched(tasks: tuple[Task, ...], reporter: Reporter, copies: contextlib.ExitStack) -> tuple[Task, ...]:
    """Begin the tasks: those whose clips are here, or could be fetched from their object store. The others are reported."""
    reporter.begin(tasks)
    fetched, here = list[Task](), list[Task]()
    errors: dict[int, MachineError] = {}
    for i, task in enumerate(tasks):
        try:
            fetched.append(copies.enter_context(on_this_machine(task, reporter.heartbeat)))
            here.append(fetched[-1])
        except MachineError as error:
            fetched.append(task)
            errors[i] = error
    reporter.begin(tuple(fetched))
    for i, fault in errors.items():
        for request in tasks[i].requests:
            reporter.failed(request, fault)
    return tuple(here)


if __name__ == "__main__":
    main()
