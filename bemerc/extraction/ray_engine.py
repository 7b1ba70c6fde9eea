"""Workers on a Ray cluster: one actor per worker, which declares the cores, the memory and the GPU that it needs.

Ray finds the nodes, says when one is gone, and starts actors where there is room. What is retried, and how often, is
the pool's decision, so Ray's own retries are off. Results come back through Ray, so that nodes need not see the store.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bemerc.core.cpu import usable_cores
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable
from bemerc.extraction.engine import Engine, RayWorkers, Worker
from bemerc.extraction.jobs import ExtractorSpec, Task, WorkerSetup
from bemerc.extraction.ray_host import ENDED, RayHost, installed

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError:
    raise BemercError(
        "The engine ray needs Ray, which is not installed here. Install it with: pip install 'bemerc[ray]'."
    ) from None


# What one worker needs on long 1080p clips, with the actor that holds it; and with a speech encoder in it.
_MEMORY_BYTES = 700 * 2**20
_ENCODER_BYTES = 3 * 2**30
_ENDING_S = 5.0
_CONNECT_S = 10.0
_LOOK_S = 1.0
# What ends before it has started is one thing too many on a cluster where nodes come and go.
_MOST_FAILED_STARTS = 20


class RayEngine(Engine):
    """Workers on the cluster that ``workers`` names, as many as it has room for, and at most ``tasks``.

    BemercError where there is no such cluster.
    """

    def __init__(self, setup: WorkerSetup, workers: RayWorkers, tasks: int) -> None:
        self._setup, self._most, self._count = setup, tasks, workers.count
        self._disconnect = _connect(workers.address)
        self._needs = _needs(setup.specs)
        self._host = ray.remote(**self._needs, max_restarts=0, max_task_retries=0)(RayHost)
        self._starting: dict[Any, Any] = {}  # reference to its environment -> actor
        self._started: list[Any] = []
        self._failed_starts = 0
        self._next_look, self._last_room = 0.0, 0

    def close(self) -> None:
        for actor in (*self._starting.values(), *self._started):
            _kill(actor)
        self._disconnect()

    def can_start(self, running: int) -> bool:
        # One more than the cluster has room for now: a node that joins is used, and a cluster that can grow does.
        wanted = min(self._most, self._count or self._room() + 1)
        for _ in range(wanted - running - len(self._starting) - len(self._started)):
            actor = self._host.options(scheduling_strategy="SPREAD").remote(self._setup, "num_gpus" in self._needs)
            self._starting[actor.environment.remote()] = actor
        self._look_for_started()
        return bool(self._started)

    def start(self) -> RayWorker:
        return RayWorker(self._started.pop())

    def wait(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        ours = [worker for worker in workers if isinstance(worker, RayWorker)]
        with_message: list[Worker] = [worker for worker in ours if worker.has_message()]
        if with_message:
            return with_message
        by_answer = {worker.answer: worker for worker in ours}
        ready, _ = ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0.0)
        if not ready:
            ready, _ = ray.wait(list(by_answer), timeout=timeout_s)
        for answer in ready:
            by_answer[answer].take()
        return [worker for worker in ours if worker.has_message()]

    def lacks(self) -> str:
        if not self._starting:
            return ""
        free = ", ".join(f"{name} {amount:g}" for name, amount in sorted(_amounts(ray.available_resources()).items()))
        need = ", ".join(f"{name} {amount:g}" for name, amount in sorted(_amounts(self._needs).items()))
        return f"a node of the Ray cluster with room for a worker ({need}); free in all of it now: {free or 'nothing'}"

    def _room(self) -> int:
        """How many workers the nodes that are there have room for, if nothing else runs; looked up now and then."""
        if time.monotonic() < self._next_look:
            return self._last_room
        self._next_look = time.monotonic() + _LOOK_S
        amounts = _amounts(self._needs)
        nodes = [_amounts(node["Resources"]) for node in ray.nodes() if node["Alive"]]
        fitting = (min(int(node.get(name, 0) / amount) for name, amount in amounts.items()) for node in nodes)
        self._last_room = sum(fitting)
        return self._last_room

    def _look_for_started(self) -> None:
        if not self._starting:
            return
        ready, _ = ray.wait(list(self._starting), num_returns=len(self._starting), timeout=0.0)
        for reference in ready:
            actor = self._starting.pop(reference)
            try:
                versions, self.batch_size = ray.get(reference)
            except RayError as error:
                self._failed_starts += 1
                if self._failed_starts > _MOST_FAILED_STARTS or not _vanished(error):
                    raise BemercError(
                        f"A worker could not start on a node of the Ray cluster: {_last_line(error)} Install the same bemerc, "
                        "with its extra extract, on every node, and try 'bemerc doctor' there."
                    ) from None
                continue
            _check_same(versions)
            self._started.append(actor)


class RayWorker(Worker):
    """A worker process on a node, behind its actor."""

    def __init__(self, actor: Any) -> None:
        super().__init__()
        self._actor = actor
        self._messages: deque[tuple[Any, ...]] = deque()
        self._reason = ""
        self.answer: Any = None

    def send(self, tasks: tuple[Task, ...]) -> None:
        if not self._reason:  # it may have ended right after its last task; ``receive`` says so
            self.answer = self._actor.work.remote(tasks)

    def has_message(self) -> bool:
        """Whether ``receive`` has something to say without waiting."""
        return bool(self._messages) or bool(self._reason)

    def take(self) -> None:
        """Take over the actor's answer, which is there, and ask for the next."""
        try:
            messages = ray.get(self.answer)
        except RayTaskError:
            raise
        except RayError as error:
            self.vanished, self._reason = True, f"its worker's process or node was lost ({type(error).__name__})."
            return
        for message in messages:
            if message[0] == ENDED:
                _, self._reason, self.exit_code, self.status = message
                self.vanished = self.exit_code == -9
            else:
                self._messages.append(message)
        if not self._reason:
            self.answer = self._actor.messages.remote()

    def receive(self) -> tuple[Any, ...]:
        if not self._messages:
            raise EOFError
        return self._messages.popleft()

    def is_dead(self) -> bool:
        return False  # one that was lost while it had nothing to do shows when it is given something

    def end(self, grace_s: float = 0.0) -> str:
        if not self._reason:
            with contextlib.suppress(RayError):
                _, self._reason, self.exit_code, self.status = ray.get(self._actor.end.remote(), timeout=_ENDING_S)
        _kill(self._actor)
        return self._reason


def _connect(address: str | None) -> Callable[[], None]:
    """Connect to the cluster, or start one on this machine; returns what disconnects again."""
    if ray.is_initialized():  # a notebook's own connection
        return lambda: None
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    named = address or os.environ.get("RAY_ADDRESS") or "local"
    connected, on_sigterm = contextlib.ExitStack(), signal.getsignal(signal.SIGTERM)
    # What dies on a node Ray prints on the standard output, which is for what the command prints, JSON say.
    connected.enter_context(contextlib.redirect_stdout(sys.stderr))
    try:
        _check_answers(named)
        if named == "local":
            ray.init(address="local", include_dashboard=False, num_cpus=usable_cores(), **quiet)
        else:
            ray.init(address=named, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        connected.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _last_line(error)
        raise BemercError(
            f"No connection to the Ray cluster {printable(named, 200)} ({reason.rstrip('.')}). The address is HOST:PORT of its "
            "head node (see 'ray status' there), and Ray and Python must be the same as here."
        ) from None
    with contextlib.suppress(ValueError):  # another thread than the main one
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own prints a stack and aborts
    connected.callback(ray.shutdown)
    return connected.close


def _check_answers(address: str) -> None:
    """OSError or ValueError where nothing answers at HOST:PORT: Ray itself would try for many minutes."""
    if address not in ("auto", "local"):
        host, _, port = address.rpartition("://")[2].rpartition(":")
        if not (host and port.isdecimal()):
            raise ValueError("it is no HOST:PORT")
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()


def _needs(specs: Sequence[ExtractorSpec]) -> dict[str, float]:
    """What one worker declares: a core, memory, and a GPU where an extractor can use one and the cluster has one."""
    encoders = [spec for spec in specs if hasattr(importlib.import_module(spec.module), "batch_size")]
    needs: dict[str, float] = {"num_cpus": 1, "memory": _ENCODER_BYTES if encoders else _MEMORY_BYTES}
    wanting = any(spec.params.params.device != "cpu" for spec in encoders)
    return needs | ({"num_gpus": 1} if wanting and ray.cluster_resources().get("GPU", 0) >= 1 else {})


def _amounts(resources: Any) -> dict[str, float]:
    """Cores, memory in GB and GPUs of resources as Ray names them."""
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    named = {names.get(name, name): float(amount) for name, amount in resources.items()}
    units = {"CPU": ("CPU", 1.0), "GPU": ("GPU", 1.0), "memory": ("GB", 2.0**30)}
    return {unit: round(named[name] / size, 2) for name, (unit, size) in units.items() if name in named}


def _check_same(versions: Any) -> None:
    """BemercError where a node would measure other numbers than this machine."""
    here = installed()
    other = {name: version for name, version in versions.items() if here.get(name) != version}
    if other:
        listed = ", ".join(f"{name} {printable(version, 40)} (here {here[name]})" for name, version in other.items())
        raise BemercError(
            f"A node of the Ray cluster has other versions than this machine: {listed}. Results would not be the same: "
            "install the same versions on every node (constraints.txt has them)."
        )


def _vanished(error: RayError) -> bool:
    """Whether a process or a node is gone, and not that something in it is wrong."""
    return not isinstance(error, RayTaskError) and not getattr(error, "actor_init_failed", False)


def _last_line(error: BaseException) -> str:
    """Of a long message the end, where the cause is."""
    lines = str(error).strip().splitlines()
    return printable(lines[-1], 300) if lines else type(error).__name__


def _kill(actor: Any) -> None:
    with contextlib.suppress(RayError, ValueError):
        ray.kill(actor)
