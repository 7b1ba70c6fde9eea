"""kill -9 in the middle of a training, in a process of its own: what goes on afterwards is the training that nobody killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bemerc.language.train.log import log_of
from tests import toy_language as language
from tests import train_alone


def steps(out: Path) -> int:
    log = log_of(out)
    return log.read_text().count('"step"') if log.is_file() else 0


def command(world: Path, out: Path, seconds: float) -> list[str]:
    return [sys.executable, "-m", "tests.train_alone", str(world), str(out), str(seconds)]


@pytest.mark.slow
def test_a_killed_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    world = tmp_path / "world"
    language.write(world_file(world), language.manifest())
    language.build(world / "backbone", language.manifest())
    slow = subprocess.Popen(command(world, tmp_path / "cut", 0.3))
    fitted = train_alone.fit(world, tmp_path / "whole")
    while steps(tmp_path / "cut") < 7:
        assert slow.poll() is None
        time.sleep(0.02)
    os.kill(slow.pid, signal.SIGKILL)
    assert slow.wait() == -signal.SIGKILL
    assert 7 <= steps(tmp_path / "cut") < 15
    assert (tmp_path / "cut.checkpoint").is_file()
    subprocess.run(command(world, tmp_path / "cut", 0), check=True)
    for table in ("steps.csv", "epochs.csv"):
        assert (tmp_path / "cut" / table).read_text() == (tmp_path / "whole" / table).read_text()
    assert steps(tmp_path / "cut") == 15
    assert fitted.last.epoch == 3


def world_file(world: Path) -> Path:
    world.mkdir()
    return world / "tokens.h5"
