"""One worker process as the pool sees it: the pipe to it, its tasks, its status and its exit."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection, Pipe
from typing import IO

from bemerc.core.terminal import printable
from bemerc.extraction.jobs import Request, Task, WorkerSetup
from bemerc.extraction.worker_status import DECODING, STATUS

# The pool is the parallel part; libraries that start threads of their own only get into each other's way.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class WorkerProcess:
    """A running ``python -m bemerc.extraction.worker``.

    ready      whether it has opened its extractors
    silent_s   seconds since its last message, as the pool counts them
    status     once it has ended: what it was doing, see bemerc.extraction.worker_status
    exit_code  once it has ended: negative for a signal
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self.connection, remote = Pipe()
        self.ready = False
        self.tasks: tuple[Task, ...] = ()
        self.silent_s = 0.0
        self.exit_code = 0
        self.status = (DECODING, 0.0)
        self._open: dict[tuple[int, int], Request] = {}
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed when the worker is
        self._status_file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  the same
        self._status_file.write(STATUS.pack(*self.status))
        self._status_file.flush()
        self._process = _start(remote, self._output, self._status_file)
        remote.close()
        self._send(setup)

    def give(self, tasks: tuple[Task, ...]) -> None:
        """Hand over tasks."""
        self.tasks = tasks
        self._open = {(i, at): request for i, task in enumerate(tasks) for at, request in enumerate(task.requests)}
        self.silent_s = 0.0
        self._send(tasks)

    def _send(self, message: WorkerSetup | tuple[Task, ...]) -> None:
        # Nothing can be sent to a dead process; that shows at the next wait, which tells how it died.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

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

    def is_dead(self) -> bool:
        """Whether the process has ended by itself."""
        return self._process.poll() is not None

    def end(self, grace_s: float = 0.0) -> str:
        """Kill the process unless it ends by itself within ``grace_s``; how it ended, as the end of a sentence."""
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
