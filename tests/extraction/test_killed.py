"""kill -9, or SIGTERM, in the middle of a training, in a process of its own: what goes on afterwards is the training that nobody killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import toy_language as language
from tests import train_alone


def command(world: Path, out: Path, seconds: float, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.train_alone", str(world), str(out), str(seconds), *options]


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_of_the_last_step(tmp_path: Path) -> None:
    world = tmp_path / "world"
    language.write(world_file(world), language.manifest())
    language.build(world / "backbone", language.manifest())
    slow = subprocess.Popen(command(world, tmp_path / "cut", 0.3, "--seldom"))
    while train_alone.steps(tmp_path / "cut") < 3:
        assert slow.poll() is None
        time.sleep(0.02)
    assert not (tmp_path / "cut.checkpoint").exists()
    os.kill(slow.pid, signal.SIGTERM)
    assert slow.wait() == train_alone.TERMINATED
    assert (tmp_path / "cut.checkpoint").is_file()
    done = train_alone.steps(tmp_path / "cut")
    subprocess.run(command(world, tmp_path / "cut", 0), check=True)
    assert 3 <= done < train_alone.steps(tmp_path / "cut") == 15


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_process_goes_on_bit_for_bit(tmp_path: Path, ending: signal.Signals) -> None:
    world = tmp_path / "world"
    language.write(world_file(world), language.manifest())
    language.build(world / "backbone", language.manifest())
    slow = subprocess.Popen(command(world, tmp_path / "cut", 0.3))
    fitted = train_alone.fit(world, tmp_path / "whole")
    while train_alone.steps(tmp_path / "cut") < 7:
        assert slow.poll() is None
        time.sleep(0.02)
    os.kill(slow.pid, ending)
    assert slow.wait() in (-signal.SIGKILL, train_alone.TERMINATED)
    assert 7 <= train_alone.steps(tmp_path / "cut") < 15
    assert (tmp_path / "cut.checkpoint").is_file()
    subprocess.run(command(world, tmp_path / "cut", 0), check=True)
    for table in ("steps.csv", "epochs.csv"):
        assert (tmp_path / "cut" / table).read_text() == (tmp_path / "whole" / table).read_text()
    assert train_alone.steps(tmp_path / "cut") == 15
    assert fitted.last.epoch == 3


def world_file(world: Path) -> Path:
    world.mkdir()
    return world / "tokens.h5"
