"""The crew: worker processes that are replaced when they die, and the one clip that each of them may cost.

concurrent.futures gives up the whole pool when one process dies, and cannot tell a slow clip from a hung one. Here every
worker holds one task at a time, says once a second that it lives, and is killed when it stops doing so. Only a process that
has a GPU to itself holds several, since a GPU is fast at many sounds at once; if it dies, each is tried again alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import IO

from bemerc.errors import BemercError, CacheError
from bemerc.extract.jobs import Setup, Task, Want
from bemerc.extract.store import Claims, Store

_START_S = 300.0
_POLL_S = 0.2
# A process that dies of a signal needs a moment to write its core before the system tells the signal.
_DYING_S = 10.0
# The crew is the parallel part; libraries that start threads of their own only get into each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Crew:
    """Up to ``workers`` processes that hold ``hand`` tasks at most; use it in a ``with`` block, at whose end none is left.

    After ``measure``, ``lost`` holds the reason for each piece that a worker did not survive, and ``measured`` says how many
    parts of clips were measured here, not by another process.
    """

    def __init__(
        self, setup: Setup, store: Store, claims: Claims, workers: int, clip_timeout_s: float, hand: int = 1
    ) -> None:
        self.lost: dict[str, str] = {}
        self.measured = 0
        self._setup, self._store, self._claims = setup, store, claims
        self._most, self._timeout_s, self._hand = workers, clip_timeout_s, hand
        self._workers: list[_Worker] = []
        self._queue: deque[Task] = deque()
        self._advance: Callable[[int], None] = lambda _: None

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end()

    def measure(self, tasks: Iterable[Task], advance: Callable[[int], None]) -> None:
        """Work until every piece of ``tasks`` is in the store, here or by another process, or is lost.

        ``advance`` is told how many utterances' parts are done. Raises BemercError when workers cannot start, CacheError
        when the store refuses.
        """
        self._queue.extend(tasks)
        self._advance = advance
        while self._queue or any(worker.tasks for worker in self._workers):
            self._hand_out()
            busy = {worker.connection: worker for worker in self._workers if worker.tasks}
            if not busy:
                time.sleep(_POLL_S)  # all that is left is in other processes' hands
                continue
            for connection in wait(list(busy), _POLL_S):
                self._hear(busy[connection])  # type: ignore[index]
            for worker in [worker for worker in self._workers if worker.tasks]:
                limit_s = self._timeout_s if worker.ready else max(_START_S, self._timeout_s)
                if worker.silent_s() > limit_s:
                    worker.end()
                    self._bury(worker, f"its worker gave no sign of life for {limit_s:g} s and was stopped.")

    def _hand_out(self) -> None:
        for worker in [worker for worker in self._workers if not worker.tasks and worker.is_dead()]:
            self._workers.remove(worker)
            worker.end()
        free = [worker for worker in self._workers if not worker.tasks]
        while free or len(self._workers) < self._most:
            tasks = self._next_hand()
            if not tasks:
                return
            if not free:
                self._workers.append(_Worker(self._setup))
                free = self._workers[-1:]
            free.pop().give(tasks)

    def _next_hand(self) -> tuple[Task, ...]:
        """What a worker is given at once. Suspects are first in the queue and come one at a time."""
        tasks: list[Task] = []
        while len(tasks) < self._hand and not (tasks and (tasks[0].alone or (self._queue and self._queue[0].alone))):
            task = self._next()
            if task is None:
                break
            tasks.append(task)
        return tuple(tasks)

    def _next(self) -> Task | None:
        """The next task that no other process is at, less what was finished since it was planned."""
        for _ in range(len(self._queue)):
            task = self._queue.popleft()
            if not self._claims.take(task.content):
                self._queue.append(task)
                continue
            wants = tuple(want for want in map(self._left, task.wants) if want.names)
            self._advance(len(task.wants) - len(wants))
            if wants:
                return replace(task, wants=wants)
            self._claims.give_back(task.content)
        return None

    def _left(self, want: Want) -> Want:
        return replace(want, names={m: name for m, name in want.names.items() if not self._store.state(m, name)})

    def _hear(self, worker: _Worker) -> None:
        try:
            kind, *rest = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._bury(worker, worker.end(_DYING_S))
            return
        worker.heard()
        if kind == "stop":
            raise CacheError(rest[0])
        if kind == "ready":
            worker.ready = True
        elif kind == "end":
            for task in worker.done():
                self._claims.give_back(task.content)
        elif kind in ("done", "lost"):
            want = worker.finish(rest[0], rest[1])
            self.measured += 1
            self.lost |= dict.fromkeys(want.names.values(), rest[2]) if kind == "lost" else {}
            self._advance(1)

    def _bury(self, worker: _Worker, reason: str) -> None:
        """A worker has ended, and its clip is the suspect. Of several clips each is tried alone, of several utterances in one
        clip halves are tried again."""
        self._workers.remove(worker)
        if not worker.ready:
            raise BemercError(
                f"A worker process could not start: {reason} 'bemerc doctor' says what this machine lacks."
            )
        tasks = worker.done()
        for task in tasks:
            self._claims.give_back(task.content)
        left = [replace(task, wants=wants, alone=True) for task in tasks if (wants := worker.open_wants(task))]
        if len(left) == 1:
            self._try_halves(left[0], reason)
        else:
            self._queue.extendleft(reversed(left))

    def _try_halves(self, task: Task, reason: str) -> None:
        if len(task.wants) == 1:
            self.lost |= dict.fromkeys(task.wants[0].names.values(), f"While it was measured, {reason}")
            self._advance(1)
            return
        half = len(task.wants) // 2
        self._queue.extendleft([replace(task, wants=task.wants[half:]), replace(task, wants=task.wants[:half])])


class _Worker:
    """One process, the pipe to it, and the tasks in its hands."""

    def __init__(self, setup: Setup) -> None:
        self.connection, far = Pipe()
        self.ready = False
        self.tasks: tuple[Task, ...] = ()
        self._open: dict[tuple[int, int], Want] = {}
        self._heard_at = time.monotonic()
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when the worker is
        self._process = _start(far, self._words)
        far.close()
        self._send(setup)

    def give(self, tasks: tuple[Task, ...]) -> None:
        """Hand over tasks."""
        self.tasks = tasks
        self._open = {(i, at): want for i, task in enumerate(tasks) for at, want in enumerate(task.wants)}
        self.heard()
        self._send(tasks)

    def _send(self, message: Setup | tuple[Task, ...]) -> None:
        # To a process that has died nothing can be sent; that shows at the next wait, which tells how it died.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def heard(self) -> None:
        self._heard_at = time.monotonic()

    def silent_s(self) -> float:
        """Seconds since the last message."""
        return time.monotonic() - self._heard_at

    def finish(self, task: int, at: int) -> Want:
        """One part of a task is done, both by their places."""
        return self._open.pop((task, at))

    def open_wants(self, task: Task) -> tuple[Want, ...]:
        """The parts of a task that are not done."""
        return tuple(want for want in task.wants if any(want is left for left in self._open.values()))

    def done(self) -> tuple[Task, ...]:
        """The tasks leave the worker's hands."""
        tasks, self.tasks = self.tasks, ()
        return tasks

    def is_dead(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process.poll() is not None

    def end(self, patience_s: float = 0.0) -> str:
        """Kill the process unless it ends by itself within ``patience_s``; how it went, as the end of a sentence."""
        self.connection.close()
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        words = _last_line(self._words)
        self._words.close()
        return _manner(code, words)


def _start(far: Connection, words: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bemerc.extract.worker", str(far.fileno())],
        pass_fds=[far.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=words,
        stderr=words,
        env=dict.fromkeys(_ONE_THREAD, "1") | os.environ | quiet,
        process_group=0,  # Ctrl-C is for the caller, who tells the crew
    )


def _last_line(words: IO[bytes]) -> str:
    words.seek(0, os.SEEK_END)
    words.seek(max(0, words.tell() - 2000))
    lines = words.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""


def _manner(code: int, words: str) -> str:
    if code == -signal.SIGKILL:
        return "its worker was killed (SIGKILL), as the system does when memory runs out."
    if code < 0:
        return f"its worker crashed ({signal.Signals(-code).name})."
    return f"its worker stopped: {words or f'exit code {code}'}"
