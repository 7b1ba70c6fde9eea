"""A pool of worker processes that are replaced when they die, and the one clip that each death may cost.

concurrent.futures gives up the whole pool when one process dies, and cannot tell a slow clip from a hung one. Here
every worker holds one task at a time, sends a heartbeat once a second, and is killed when that stops. Only a process
that has a GPU to itself holds several, since a GPU is fast on batches of sounds; if it dies, each of its clips is tried
again alone.

Decoding never seeks, so each retry of an utterance of a long recording decodes from the start: halving the clip until
the fault is alone would decode a recording of 300 utterances up to 599 times. Instead a worker leaves its status
behind: an extractor's crash costs the utterance that it worked on and one more pass; when the decoder dies twice
without a result in between, the rest of the clip from that place on is given up.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from bemerc.core.closeable import Closeable
from bemerc.core.errors import BemercError, CacheError
from bemerc.core.terminal import printable
from bemerc.extraction.engine import DYING_S, Engine, Worker
from bemerc.extraction.jobs import Request, Task
from bemerc.extraction.leases import STALE_S, Leases
from bemerc.extraction.store import Store
from bemerc.extraction.worker_status import DECODING

log = logging.getLogger(__name__)

_START_S = 300.0
_POLL_S = 0.2
# Time beyond this between two looks at the workers is time in which this process did not run: frozen, paused, starved.
_LONGEST_TICK_S = 2.0
# Workers that may be killed one after the other before any has started.
_MOST_BAD_STARTS = 3
# Workers that may die over one clip without a result in between: then it is no single utterance's fault.
_MOST_DEATHS = 4
# How often a clip is tried again whose worker's machine went away. One that fills every machine's memory must end.
_MOST_LOSSES = 6
# Sound is decoded a second beyond an utterance's end.
_BEYOND_S = 1.5
# When all that is left is in work elsewhere, the leases are looked at ever more rarely, down to this.
_RAREST_LOOK_S = 5.0
# That is logged after so long, and then now and then.
_FIRST_NOTICE_S, _NEXT_NOTICE_S = 10.0, 600.0


class WorkerPool(Closeable):
    """The workers of an engine, at work on tasks; use it in a ``with`` block, which ends them all.

    After ``run``, ``done`` holds the keys of the results that were extracted here, not by another process, and ``lost``
    maps a key to the reason why there is no result this time: a worker died over it, or the machine was at fault.
    """

    def __init__(self, engine: Engine, store: Store, leases: Leases, clip_timeout_s: float) -> None:
        self.lost: dict[str, str] = {}
        self.done: set[str] = set()
        self._engine, self._store, self._leases, self._timeout_s = engine, store, leases, clip_timeout_s
        self._workers: list[Worker] = []
        self._queue: deque[Task] = deque()
        self._advance: Callable[[int], None] = lambda _: None
        self._bad_starts = 0
        self._last_tick = time.monotonic()
        self._next_look, self._looks_in_vain = 0.0, 0
        self._waited_s, self._next_notice_s = 0.0, _FIRST_NOTICE_S

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.end()

    def run(self, tasks: Iterable[Task], advance: Callable[[int], None]) -> None:
        """Work until the result of every request is in the store, from here or from another process, or is lost.

        ``advance(n)`` is called when n more requests are done. Raises BemercError when workers cannot start, CacheError
        when the store cannot be written.
        """
        self._queue.extend(tasks)
        self._advance = advance
        self._last_tick = time.monotonic()
        while self._queue or any(worker.tasks for worker in self._workers):
            self._leases.beat()
            self._hand_out()
            busy = [worker for worker in self._workers if worker.tasks]
            if not busy:
                time.sleep(_POLL_S)
                self._notice_waiting(self._tick_s())
                continue
            for worker in self._engine.wait(busy, _POLL_S):
                self._receive(worker)
            self._end_silent_workers(self._tick_s())

    def _tick_s(self) -> float:
        """Seconds since the last call, without those in which this process did not run: after a freeze of the whole
        machine every worker would else have been silent for too long."""
        now = time.monotonic()
        passed_s, self._last_tick = now - self._last_tick, now
        return min(passed_s, _LONGEST_TICK_S, self._timeout_s / 2)

    def _end_silent_workers(self, passed_s: float) -> None:
        for worker in [worker for worker in self._workers if worker.tasks]:
            worker.silent_s += passed_s
            limit_s = self._timeout_s if worker.ready else max(_START_S, self._timeout_s)
            if worker.silent_s > limit_s:
                worker.end()
                reason = f"its worker gave no sign of life for {limit_s:g} s and was stopped."
                self._on_worker_death(worker, reason, hung=True)

    def _notice_waiting(self, passed_s: float) -> None:
        """Nothing can be handed out: log, now and then, what has to come first."""
        self._waited_s += passed_s
        if not self._queue or self._waited_s <= self._next_notice_s:
            return
        self._next_notice_s += _NEXT_NOTICE_S
        if lacking := self._engine.lacks():
            log.warning("Waiting for %s.", lacking)
        else:  # all that is left is in work in other processes, which may hang
            holders = sorted({holder for task in self._queue if (holder := self._leases.holder(task.clip_hash))})
            log.warning(
                "Waiting for %s, at work on the remaining %d clips (such as '%s'). What gives no sign of life for %g s is "
                "extracted here; if one hangs, end it.",
                ", ".join(holders) or "another process",
                len(self._queue),
                printable(self._queue[0].path.name),
                STALE_S,
            )

    def _hand_out(self) -> None:
        for worker in [worker for worker in self._workers if not worker.tasks and worker.is_dead()]:
            self._workers.remove(worker)
            worker.end()
        if time.monotonic() < self._next_look:
            return
        free = [worker for worker in self._workers if not worker.tasks]
        while free or self._engine.can_start(len(self._workers)):
            tasks = self._next_batch()
            if not tasks:
                self._wait_to_look_again()
                return
            if not free:
                self._workers.append(self._engine.start())
                free = self._workers[-1:]
            free.pop().give(tasks)

    def _wait_to_look_again(self) -> None:
        """Many processes that all wait for the last clips must not keep a shared disk busy."""
        if self._queue:
            self._looks_in_vain += 1
            self._next_look = time.monotonic() + min(_RAREST_LOOK_S, _POLL_S * self._looks_in_vain)

    def _next_batch(self) -> tuple[Task, ...]:
        """The next tasks for one worker. Clips that may have crashed a worker are first in the queue and come alone."""
        tasks: list[Task] = []
        while len(tasks) < self._engine.batch_size and not (
            tasks and (tasks[0].alone or (self._queue and self._queue[0].alone))
        ):
            task = self._next_task()
            if task is None:
                break
            tasks.append(task)
        return tuple(tasks)

    def _next_task(self) -> Task | None:
        """Lease the next clip that no other process has; its task, less what was finished since it was planned."""
        for _ in range(len(self._queue)):
            task = self._unfinished(self._queue.popleft())
            if task.requests and not self._leases.acquire(task.clip_hash):
                self._queue.append(task)
                continue
            if task.requests:
                task = self._unfinished(task)  # finished between the two looks, and then released
                if task.requests:
                    self._looks_in_vain = 0
                    self._waited_s, self._next_notice_s = 0.0, _FIRST_NOTICE_S
                    return task
                self._leases.release(task.clip_hash)
        return None

    def _unfinished(self, task: Task) -> Task:
        """The task less the results that the store has by now."""
        missing = (
            replace(request, keys={m: key for m, key in request.keys.items() if not self._store.state(m, key)})
            for request in task.requests
        )
        requests = tuple(request for request in missing if request.keys)
        self._advance(len(task.requests) - len(requests))
        return replace(task, requests=requests)

    def _receive(self, worker: Worker) -> None:
        try:
            kind, *rest = worker.receive()
        except (EOFError, ConnectionResetError):
            self._on_worker_death(worker, worker.end(DYING_S))
            return
        worker.silent_s = 0.0
        if kind == "stop":
            raise CacheError(rest[0])
        if kind == "ready":
            worker.ready = True
            self._bad_starts = 0
        elif kind == "end":
            for task in worker.take_back():
                self._leases.release(task.clip_hash)
        elif kind == "done":
            task, request, lost = rest
            self.lost |= lost
            finished = worker.finish(task, request).keys
            self.done |= {*finished.values()} - {*lost}
            for modality, key in finished.items():
                self._store.publish(modality, key)
            self._advance(1)
        elif kind == "result":  # of a worker that does not see the store
            self._store.put(*rest)

    def _on_worker_death(self, worker: Worker, reason: str, *, hung: bool = False) -> None:
        """Queue the unfinished requests of a dead worker again; of several clips each is tried again alone."""
        self._workers.remove(worker)
        self._next_look = 0.0
        tasks = worker.take_back()
        for task in tasks:
            self._leases.release(task.clip_hash)
        if worker.vanished:
            self._queue.extendleft(self._after_loss(worker, tasks, reason))
            return
        if not worker.ready:
            self._bad_starts += 1
            if hung or worker.exit_code >= 0 or self._bad_starts > _MOST_BAD_STARTS:  # not killed: something is missing
                raise BemercError(
                    f"A worker process could not start: {reason} 'bemerc doctor' says what this machine lacks."
                )
            self._queue.extendleft(reversed(tasks))
            return
        unfinished = [(task, requests) for i, task in enumerate(tasks) if (requests := worker.open_requests(i))]
        if len(tasks) == 1 and unfinished:
            self._retry_rest(*unfinished[0], worker.status, reason)
        else:
            again = (replace(task, requests=requests, alone=True) for task, requests in reversed(unfinished))
            self._queue.extendleft(again)

    def _after_loss(self, worker: Worker, tasks: tuple[Task, ...], reason: str) -> Iterator[Task]:
        """What a worker was at that its machine took away: each clip is tried again alone, a few times."""
        for i, task in enumerate(tasks):
            unfinished = worker.open_requests(i)
            if not unfinished:
                continue
            if task.losses < _MOST_LOSSES:
                yield replace(task, requests=unfinished, alone=True, losses=task.losses + 1)
            else:
                self._give_up(unfinished, f"{reason} It was tried {_MOST_LOSSES + 1} times.")

    def _give_up(self, requests: tuple[Request, ...], reason: str) -> None:
        for request in requests:
            self.lost |= dict.fromkeys(request.keys.values(), f"While it was measured, {reason}")
        self._advance(len(requests))

    def _retry_rest(self, task: Task, unfinished: tuple[Request, ...], status: tuple[int, float], reason: str) -> None:
        """Give up the request that a worker died over, and queue the rest of its clip."""
        at, decoded_s = status
        deaths = 1 if len(unfinished) < len(task.requests) else task.worker_deaths + 1
        given_up = unfinished
        if len(unfinished) > 1 and deaths < _MOST_DEATHS:
            if at >= 0:  # an extractor, over one request
                given_up = tuple(request for request in unfinished if request is task.requests[at])
            elif at == DECODING and deaths > 1:  # the decoder, at the same place again
                given_up = tuple(request for request in unfinished if _ends_after(request, decoded_s)) or unfinished
            else:
                given_up = ()
        gone = {*map(id, given_up)}
        rest = tuple(request for request in unfinished if id(request) not in gone)
        self._give_up(given_up, reason)
        if rest:
            self._queue.appendleft(replace(task, requests=rest, alone=True, worker_deaths=deaths))


def _ends_after(request: Request, decoded_s: float) -> bool:
    """Whether a decoder that came as far as ``decoded_s`` has not yet given all of the segment."""
    return request.segment.end_s is None or request.segment.end_s + _BEYOND_S > decoded_s
