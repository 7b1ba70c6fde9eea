"""Locks: one process at a time, named by its id; released when it ends; an error of the disk is a DiskError."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bemerc.core import locking
from bemerc.core.errors import DiskError

HOLD = """
import sys, time
from pathlib import Path
from bemerc.core import locking
with locking.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_firsts_id_until_that_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "models" / "TVB"
    with holder(path) as first:
        with pytest.raises(locking.LockedError) as refused, locking.held(path):
            pass
        assert refused.value.holder == str(first.pid)
        first.send_signal(signal.SIGKILL)
    assert path.with_name("TVB.lock").exists()  # a killed process leaves its file, which locks nobody out
    with locking.held(path):
        assert path.with_name("TVB.lock").read_text() == str(os.getpid())
    assert not list(path.parent.iterdir())


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "m.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(locking.MachineError), locking.held(tmp_path / "m"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_disk_without_locks_is_a_disk_error_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptors: list[int] = []

    def refuse(descriptor: int, operation: int) -> None:
        descriptors.append(descriptor)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DiskError) as refused, locking.held(tmp_path / "m"):
        pass
    assert refused.value.reason == "No locks available"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptors[0])
