"""Worker processes of this machine: the pipe to each, its status and its exit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any

from bemerc.core.terminal import printable
from bemerc.extraction.engine import Engine, Worker
from bemerc.extraction.jobs import Task, WorkerSetup
from bemerc.extraction.worker_status import STATUS

# The pool is the parallel part; libraries that start threads of their own only get into each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class ProcessEngine(Engine):
    """Up to ``workers`` processes of this machine, which hold ``batch_size`` clips each."""

    def __init__(self, setup: WorkerSetup, workers: int, batch_size: int = 1) -> None:
        self._setup, self._workers, self.batch_size = setup, workers, batch_size

    def close(self) -> None:
        """Nothing is held beside the workers."""

    def can_start(self, running: int) -> bool:
        return running < self._workers

    def start(self) -> WorkerProcess:
        return WorkerProcess(self._setup)

    def wait(self, workers: Sequence[Worker], timeout_s: float) -> list[Worker]:
        by_connection = {worker.connection: worker for worker in workers if isinstance(worker, WorkerProcess)}
        return [by_connection[connection] for connection in wait(list(by_connection), timeout_s)]  # type: ignore[index]


class WorkerProcess(Worker):
    """A running ``python -m bemerc.extraction.worker``; see ``Worker``."""

    def __init__(self, setup: WorkerSetup) -> None:
        super().__init__()
        self.connection, remote = Pipe()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when the worker is
        self._status_file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  the same
        self._status_file.write(STATUS.pack(*self.status))
        self._status_file.flush()
        self._process = _start(remote, self._output, self._status_file)
        remote.close()
        self._send(setup)

    def send(self, tasks: tuple[Task, ...]) -> None:
        self._send(tasks)

    def _send(self, message: WorkerSetup | tuple[Task, ...]) -> None:
        # Nothing can be sent to a dead process; that shows at the next wait, which tells how it died.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def receive(self) -> tuple[Any, ...]:
        message: tuple[Any, ...] = self.connection.recv()
        return message

    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def end(self, grace_s: float = 0.0) -> str:
        self.connection.close()
        try:
            self.exit_code = self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()
        output = _last_line(self._output)
        self._status_file.seek(0)
        self.status = STATUS.unpack(self._status_file.read(STATUS.size))
        for file in (self._output, self._status_file):
            file.close()
        return _exit_reason(self.exit_code, output)


def _start(remote: Connection, output: IO[bytes], status: IO[bytes]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bemerc.extraction.worker", str(remote.fileno()), str(status.fileno())],
        pass_fds=[remote.fileno(), status.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=dict.fromkeys(_ONE_THREAD, "1") | os.environ | quiet,
        process_group=0,  # Ctrl-C is for the caller, who ends the pool
    )


def _last_line(output: IO[bytes]) -> str:
    output.seek(0, os.SEEK_END)
    output.seek(max(0, output.tell() - 2000))
    lines = output.read().decode(errors="replace").strip().splitlines()
    return printable(lines[-1].strip()) if lines else ""


def _exit_reason(code: int, output: str) -> str:
    if code == -signal.SIGKILL:
        return "its worker was killed (SIGKILL), as the system does when memory runs out."
    if code < 0:
        return f"its worker crashed ({signal.Signals(-code).name})."
    return f"its worker stopped: {output or f'exit code {code}'}"
