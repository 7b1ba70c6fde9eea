"""On a node of a Ray cluster: an actor that keeps one worker process warm, hands it clips and passes on its messages.

The worker is a process of its own here too (worker_process.py), so that a clip that crashes a decoder costs the clip
and is reported with its reason, as on one machine. What kills the actor is the machine's doing.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bemerc.core.terminal import printable
from bemerc.extraction.engine import DYING_S
from bemerc.extraction.fingerprint import decoder_version
from bemerc.extraction.hash_cache import file_identity
from bemerc.extraction.jobs import Task, WorkerSetup, batch_size
from bemerc.extraction.worker_process import WorkerProcess

_WAIT_S = 1.0
# What the numbers are computed with.
_LIBRARIES = ("bemerc", "numpy", "ai-edge-litert", "opencv-python-headless")

# The last of a host's messages: how the worker ended, its exit code and its status.
ENDED = "ended"


def installed() -> dict[str, str]:
    """The versions, here, of what decides the numbers."""
    versions = {"decoder": decoder_version(), "processor": platform.machine()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


class RayHost:
    """The actor. ``gpu``: whether Ray has given it one, and its worker takes several clips at once."""

    def __init__(self, setup: WorkerSetup, gpu: bool) -> None:
        self._setup, self._gpu = setup, gpu
        self._process = WorkerProcess(setup)
        self._ended: tuple[Any, ...] | None = None

    def environment(self) -> tuple[Mapping[str, str], int]:
        """What is installed on this node, and how many clips the worker holds."""
        return installed(), max(map(batch_size, self._setup.specs)) if self._gpu else 1

    def work(self, tasks: tuple[Task, ...]) -> list[tuple[Any, ...]]:
        """Hand over tasks; the first messages: that the worker has ended, where it did before they came."""
        if self._ended is not None:
            return [self._ended]
        present = []
        for task in tasks:
            if task.url is not None:
                present.append(task)
                continue
            try:
                here = file_identity(task.path)
            except OSError as error:
                return [("stop", _unreadable(task, error.strerror or str(error)))]
            # Some shared disks number their files anew on every machine.
            same = (here.size, here.mtime_ns) == (task.identity.size, task.identity.mtime_ns)
            present.append(replace(task, identity=here) if same else task)
        self._process.send(tuple(present))
        return self.messages()

    def messages(self) -> list[tuple[Any, ...]]:
        """What the worker has sent since; empty where it sent nothing for a second."""
        if self._ended is not None:
            return [self._ended]
        connection, messages = self._process.connection, list[tuple[Any, ...]]()
        try:
            while connection.poll(0 if messages else _WAIT_S):
                messages.append(self._process.receive())
        except (EOFError, ConnectionResetError):
            messages.append(self.end(DYING_S))
        return messages

    def end(self, grace_s: float = 0.0) -> tuple[Any, ...]:
        """End the worker process; how it ended, asked again the same."""
        if self._ended is None:
            reason = self._process.end(grace_s)
            self._ended = ENDED, reason, self._process.exit_code, self._process.status
        return self._ended


def _unreadable(task: Task, reason: str) -> str:
    return (
        f"The node {platform.node()} does not see the clip {printable(task.path, 1000)} ({reason}). Every node must see the "
        "clips under the same path: put them on a shared disk, or name them by the URL of an object store. What was "
        "measured is kept."
    )
