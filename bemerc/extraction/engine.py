"""Where workers run: on this machine (worker_process.py) or on the nodes of a Ray cluster (ray_engine.py).

The pool (worker_pool.py) hands out clips, counts deaths and gives up, in the same way for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bemerc.core.closeable import Closeable
from bemerc.extraction.jobs import Request, Task
from bemerc.extraction.worker_status import DECODING

# A process that dies of a signal needs a moment to write its core before the system reports the signal.
DYING_S = 10.0


@dataclass(frozen=True)
class RayWorkers:
    """Workers on a Ray cluster.

    count    how many; 0 = as many as its nodes have cores, those that join later included
    address  of the cluster (HOST:PORT); None = RAY_ADDRESS, else a new one on this machine
    """

    count: int = 0
    address: str | None = None


# A number of processes of this machine (0 = one per core), or a cluster.
Workers = int | RayWorkers


class Worker(ABC):
    """A worker as the pool sees it.

    ready      whether it has opened its extractors
    silent_s   seconds since its last message, as the pool counts them
    status     once it has ended: what it was doing, see bemerc.extraction.worker_status
    exit_code  once it has ended: negative for a signal
    vanished   once it has ended: its machine went away or was asked to kill it, so no clip is to blame
    """

    def __init__(self) -> None:
        self.ready = False
        self.tasks: tuple[Task, ...] = ()
        self.silent_s = 0.0
        self.status: tuple[int, float] = (DECODING, 0.0)
        self.exit_code = 0
        self.vanished = False
        self._open: dict[tuple[int, int], Request] = {}

    def give(self, tasks: tuple[Task, ...]) -> None:
        """Hand over tasks."""
        self.tasks = tasks
        self._open = {(i, at): request for i, task in enumerate(tasks) for at, request in enumerate(task.requests)}
        self.silent_s = 0.0
        self.send(tasks)

    @abstractmethod
    def send(self, tasks: tuple[Task, ...]) -> None:
        """Send tasks; where it has ended, nothing happens, and ``receive`` says so."""

    @abstractmethod
    def receive(self) -> tuple[Any, ...]:
        """Its next message, as the reporter (reporter.py) sent it. EOFError or ConnectionResetError where it has ended."""

    @abstractmethod
    def is_dead(self) -> bool:
        """Whether it is seen to have ended by itself."""

    @abstractmethod
    def end(self, grace_s: float = 0.0) -> str:
        """Kill it unless it ends by itself within ``grace_s``; how it ended, as the end of a sentence."""

    def finish(self, task: int, request: int) -> Request:
        """Mark one request of a task as done, both by their index; returns it."""
        return self._open.pop((task, request))

    def open_requests(self, task: int) -> tuple[Request, ...]:
        """The requests of a task that are not done."""
        return tuple(request for (i, _), request in self._open.items() if i == task)

    def take_back(self) -> tuple[Task, ...]:
        """Take its tasks from the worker; returns them."""
        tasks, self.tasks = self.tasks, ()
        return tasks


class Engine(Closeable):
    """What starts workers. ``batch_size``: how many clips one of them holds."""

    batch_size: int = 1

    @abstractmethod
    def can_start(self, running: int) -> bool:
        """Whether a worker can be started now, beside those that run."""

    @abstractmethod
    def start(self) -> Worker:
        """Start a worker. BemercError where that can never succeed."""

    @abstractmethod
    def wait(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        """Those of the workers that have a message or have ended; none after ``timeout_s``."""

    def lacks(self) -> str:
        """What has to come before a worker can be started, as the object of "waiting for"; empty where nothing has."""
        return ""
