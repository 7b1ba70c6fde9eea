"""The models start without a word, and nobody else's words are lost, however many threads start one."""

from __future__ import annotations

import os
import threading

import pytest

from bemerc.extraction.networks.quiet import quiet

START_UP = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"W0000 00:00:1795903375.409839    8510 inference_feedback_manager.cc:114] Feedback manager requires a model\n"
)


def test_what_others_write_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, START_UP)
        os.write(2, b"Traceback of another thread\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "Traceback of another thread\n"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_two_threads_at_once_give_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    """The second one to come used to keep the first one's sink, and put it back for good."""
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with quiet():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with quiet():
        leave.set()
        thread.join()
        os.write(2, START_UP)
    os.write(2, b"there\n")
    assert capfd.readouterr().err == "there\n"


def test_a_fault_inside_gives_stderr_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="odd"), quiet():
        raise ValueError("odd")
    os.write(2, b"there\n")
    assert capfd.readouterr().err == "there\n"
