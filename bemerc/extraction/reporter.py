"""A worker's reports: results into the store, or to the pool, and a message to the pool; its heartbeat and status."""

from __future__ import annotations

import mmap
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bemerc.core.errors import MachineError, MediaError
from bemerc.extraction.failures import Failure
from bemerc.extraction.hash_cache import FileIdentity, file_identity
from bemerc.extraction.jobs import Request, Task
from bemerc.extraction.store import Result, Store
from bemerc.extraction.worker_status import BATCH, DECODING, STATUS
from bemerc.media.container import NoTrackError

_HEARTBEAT_S = 1.0

# A MachineError means "not this time": it is reported and not stored.
RequestOutcome = Result | Failure | MachineError


class Reporter:
    """Reports on the tasks that ``begin`` names, whose requests are identified by their identity as objects."""

    def __init__(self, connection: Connection, store: Store | None, status: mmap.mmap) -> None:
        self._connection, self._store, self._status = connection, store, status
        self._last_beat = 0.0
        self._sending = threading.Lock()  # tracks are decoded in threads, each of which sends heartbeats

    def begin(self, tasks: tuple[Task, ...]) -> None:
        """From here on the worker is on these tasks."""
        self._index = {id(request): (i, at) for i, task in enumerate(tasks) for at, request in enumerate(task.requests)}
        self._tasks = tasks
        self.decoding(0.0)

    def heartbeat(self) -> None:
        """Tell the pool that this process does not hang, at most once a second."""
        if time.monotonic() - self._last_beat > _HEARTBEAT_S:
            self._last_beat = time.monotonic()
            self._send("beat")

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._connection.send(message)

    def decoding(self, decoded_s: float) -> None:
        """From here on the decoder works; it has come as far as ``decoded_s``."""
        STATUS.pack_into(self._status, 0, DECODING, decoded_s)

    def extracting(self, request: Request | None) -> None:
        """From here on an extractor works on one request, or (None) on several at once."""
        STATUS.pack_into(self._status, 0, BATCH if request is None else self._index[id(request)][1], 0.0)

    def done(self, request: Request, outcomes: dict[str, RequestOutcome]) -> None:
        """Store a request's results by modality, unless the clip's file has changed meanwhile."""
        task, at = self._index[id(request)]
        unread = all(isinstance(outcome, MachineError) for outcome in outcomes.values())
        if not unread and _identity_now(self._tasks[task].path) != self._tasks[task].identity:
            changed = MachineError("The clip changed while it was read. Run the same command again.")
            outcomes = dict.fromkeys(outcomes, changed)
        lost: dict[str, str] = {}
        for modality, outcome in outcomes.items():
            if isinstance(outcome, MachineError):
                lost[request.keys[modality]] = str(outcome)
            elif self._store is None:
                self._send("result", modality, request.keys[modality], outcome)
            else:
                self._store.put(modality, request.keys[modality], outcome)
        self._send("done", task, at, lost)

    def failed(self, request: Request, error: MediaError | MachineError) -> None:
        """Report the same error for all modalities of a request."""
        outcome = error if isinstance(error, MachineError) else Failure(str(error), isinstance(error, NoTrackError))
        self.done(request, dict.fromkeys(request.keys, outcome))


def _identity_now(path: Path) -> FileIdentity | None:
    try:
        return file_identity(path)
    except OSError:
        return None
