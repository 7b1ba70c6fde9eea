"""The crew: worker processes that are replaced when they die, and the one clip that each of them may cost.

concurrent.futures gives up the whole pool when one process dies, and cannot tell a slow clip from a hung one. Here every
worker holds one task at a time, says once a second that it lives, and is killed when it stops doing so. Only a process that
has a GPU to itself holds several, since a GPU is fast at many sounds at once; if it dies, each is tried again alone.

Nothing seeks, so each further try at an utterance of a long recording decodes from its start. Cutting the suspects in halves
would decode a recording of 300 utterances up to 599 times. A worker leaves behind what it was at: an extractor's death
costs the utterance that it was at and one more pass; when the decoder dies twice without a result in between, what lies
behind that place is given up.
"""

from __future__ import annotations

import contextlib
import logging
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

from bemerc.core.errors import BemercError, CacheError
from bemerc.core.terminal import printable
from bemerc.extraction.jobs import Setup, Task, Want
from bemerc.extraction.store import Claims, Store
from bemerc.extraction.worker_state import DECODING, PLACE

log = logging.getLogger(__name__)

_START_S = 300.0
_POLL_S = 0.2
# What lies beyond this between two looks at the workers is time in which this process did not run: frozen, paused, starved.
_LONGEST_TICK_S = 2.0
# Workers that may be killed one after the other before any has started.
_MOST_STARTS = 3
# Workers that may end over one clip without a result in between: then it is no single utterance's fault.
_MOST_DEATHS = 4
# A sound decoder is asked for a second beyond an utterance's end.
_BEYOND_S = 1.5
# When nothing is left but what other processes are at, it is said after so long, and then now and then.
_WAITING_S, _AGAIN_S = 10.0, 600.0
# A process that dies of a signal needs a moment to write its core before the system tells the signal.
_DYING_S = 10.0
# The crew is the parallel part; libraries that start threads of their own only get into each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Crew:
    """Up to ``workers`` processes that hold ``hand`` tasks at most; use it in a ``with`` block, at whose end none is left.

    After ``measure``, ``done`` holds the pieces that were measured here, not by another process, and ``lost`` the reason for
    each that could not be this time: a worker did not survive it, or the machine was at fault.
    """

    def __init__(
        self, setup: Setup, store: Store, claims: Claims, workers: int, clip_timeout_s: float, hand: int = 1
    ) -> None:
        self.lost: dict[str, str] = {}
        self.done: set[str] = set()
        self._setup, self._store, self._claims = setup, store, claims
        self._most, self._timeout_s, self._hand = workers, clip_timeout_s, hand
        self._workers: list[_Worker] = []
        self._queue: deque[Task] = deque()
        self._advance: Callable[[int], None] = lambda _: None
        self._bad_starts = 0
        self._looked_at = time.monotonic()
        self._waited_s, self._told_at_s = 0.0, _WAITING_S

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
        self._looked_at = time.monotonic()
        while self._queue or any(worker.tasks for worker in self._workers):
            self._hand_out()
            busy = {worker.connection: worker for worker in self._workers if worker.tasks}
            if not busy:
                time.sleep(_POLL_S)
                self._wait_for_others(self._tick_s())
                continue
            for connection in wait(list(busy), _POLL_S):
                self._hear(busy[connection])  # type: ignore[index]
            self._stop_silent(self._tick_s())

    def _tick_s(self) -> float:
        """Seconds since the last look, without those in which this process did not run. Silence is measured by what passes
        here: after a freeze of the whole machine every worker would else have been silent for too long."""
        now = time.monotonic()
        passed_s, self._looked_at = now - self._looked_at, now
        return min(passed_s, _LONGEST_TICK_S, self._timeout_s / 2)

    def _stop_silent(self, passed_s: float) -> None:
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.silent_s += passed_s
            limit_s = self._timeout_s if worker.ready else max(_START_S, self._timeout_s)
            if worker.silent_s > limit_s:
                worker.end()
                self._bury(worker, f"its worker gave no sign of life for {limit_s:g} s and was stopped.", hung=True)

    def _wait_for_others(self, passed_s: float) -> None:
        """All that is left is in other processes' hands. Who waits long is told for whom: it may be stopped, or hang."""
        self._waited_s += passed_s
        if self._queue and self._waited_s > self._told_at_s:
            self._told_at_s += _AGAIN_S
            pids = sorted({pid for task in self._queue if (pid := self._claims.holder(task.content)) is not None})
            who = f"process {', '.join(map(str, pids))} of this machine" if pids else "a process of another machine"
            log.warning(
                "Waiting for %s, which is at the %d clips that are left (such as '%s'). If it is stopped or hangs, end it: they are "
                "then measured here.",
                who,
                len(self._queue),
                printable(self._queue[0].path.name),
            )

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
                self._waited_s, self._told_at_s = 0.0, _WAITING_S
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
        worker.silent_s = 0.0
        if kind == "stop":
            raise CacheError(rest[0])
        if kind == "ready":
            worker.ready = True
            self._bad_starts = 0
        elif kind == "end":
            for task in worker.take():
                self._claims.give_back(task.content)
        elif kind == "done":
            task, at, lost = rest
            self.lost |= lost
            self.done |= {*worker.finish(task, at).names.values()} - {*lost}
            self._advance(1)

    def _bury(self, worker: _Worker, reason: str, *, hung: bool = False) -> None:
        """A worker has ended, and its clip is the suspect. Of several clips each is tried again alone."""
        self._workers.remove(worker)
        given = worker.take()
        for task in given:
            self._claims.give_back(task.content)
        if not worker.ready:
            self._bad_starts += 1
            if (
                hung or worker.code >= 0 or self._bad_starts > _MOST_STARTS
            ):  # not killed by anybody: something is lacking
                raise BemercError(
                    f"A worker process could not start: {reason} 'bemerc doctor' says what this machine lacks."
                )
            self._queue.extendleft(reversed(given))
            return
        left = [(task, wants) for i, task in enumerate(given) if (wants := worker.open_wants(i))]
        if len(given) == 1 and left:
            self._try_rest(*left[0], worker.place, reason)
        else:
            self._queue.extendleft(replace(task, wants=wants, alone=True) for task, wants in reversed(left))

    def _try_rest(self, task: Task, left: tuple[Want, ...], place: tuple[int, float], reason: str) -> None:
        """Give up what a worker has died over, and queue the rest of its clip."""
        at, now_s = place
        deaths = 1 if len(left) < len(task.wants) else task.deaths + 1
        given_up = left
        if len(left) > 1 and deaths < _MOST_DEATHS:
            if at >= 0:  # an extractor, over one utterance
                given_up = tuple(want for want in left if want is task.wants[at])
            elif at == DECODING and deaths > 1:  # the decoder, at the same place again
                given_up = tuple(want for want in left if _is_beyond(want, now_s)) or left
            else:
                given_up = ()
        gone = {*map(id, given_up)}
        rest = tuple(want for want in left if id(want) not in gone)
        for want in given_up:
            self.lost |= dict.fromkeys(want.names.values(), f"While it was measured, {reason}")
        self._advance(len(given_up))
        if rest:
            self._queue.appendleft(replace(task, wants=rest, alone=True, deaths=deaths))


def _is_beyond(want: Want, now_s: float) -> bool:
    """Whether a decoder that comes as far as ``now_s`` has not yet given all of an utterance."""
    return want.part.end_s is None or want.part.end_s + _BEYOND_S > now_s


class _Worker:
    """One process, the pipe to it, and the tasks in its hands.

    silent_s  seconds since its last message, as the crew counts them
    place     once it has ended: what it was at, see bemerc.extraction.worker_state
    code      once it has ended: its exit code, negative for a signal
    """

    def __init__(self, setup: Setup) -> None:
        self.connection, far = Pipe()
        self.ready = False
        self.tasks: tuple[Task, ...] = ()
        self.silent_s = 0.0
        self.code = 0
        self.place = (DECODING, 0.0)
        self._open: dict[tuple[int, int], Want] = {}
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when the worker is
        self._at: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  the same
        self._at.write(PLACE.pack(*self.place))
        self._at.flush()
        self._process = _start(far, self._words, self._at)
        far.close()
        self._send(setup)

    def give(self, tasks: tuple[Task, ...]) -> None:
        """Hand over tasks."""
        self.tasks = tasks
        self._open = {(i, at): want for i, task in enumerate(tasks) for at, want in enumerate(task.wants)}
        self.silent_s = 0.0
        self._send(tasks)

    def _send(self, message: Setup | tuple[Task, ...]) -> None:
        # To a process that has died nothing can be sent; that shows at the next wait, which tells how it died.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def finish(self, task: int, at: int) -> Want:
        """One part of a task is done, both by their places."""
        return self._open.pop((task, at))

    def open_wants(self, task: int) -> tuple[Want, ...]:
        """The parts of a task that are not done."""
        return tuple(want for (i, _), want in self._open.items() if i == task)

    def take(self) -> tuple[Task, ...]:
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
            self.code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.code = self._process.wait()
        words = _last_line(self._words)
        self._at.seek(0)
        self.place = PLACE.unpack(self._at.read(PLACE.size))
        for file in (self._words, self._at):
            file.close()
        return _manner(self.code, words)


def _start(far: Connection, words: IO[bytes], at: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bemerc.extraction.worker", str(far.fileno()), str(at.fileno())],
        pass_fds=[far.fileno(), at.fileno()],
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
    return printable(lines[-1].strip()) if lines else ""


def _manner(code: int, words: str) -> str:
    if code == -signal.SIGKILL:
        return "its worker was killed (SIGKILL), as the system does when memory runs out."
    if code < 0:
        return f"its worker crashed ({signal.Signals(-code).name})."
    return f"its worker stopped: {words or f'exit code {code}'}"
