"""Two processes on one CPU (gloo), started as accelerate and torchrun start them: the losses of one, but for rounding.

Both add up the same sums over the same targets, in another order, so the difference is float32's: about 1e-6 of a loss
here; the bound leaves it a hundredfold. Dropout is switched off, since every process draws its own. Sharded: the weights
lie in parts on both (FSDP 2), as they would on GPUs.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests import language, train_alone


def losses(out: Path) -> list[float]:
    with (out / "steps.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def dev(out: Path) -> list[float]:
    with (out / "epochs.csv").open() as file:
        return [float(row["dev_weight"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("how", [[], pytest.param(["--sharded"], marks=pytest.mark.slow)], ids=["copied", "sharded"])
def test_two_processes_learn_what_one_learns(tmp_path: Path, how: list[str]) -> None:
    world = tmp_path / "world"
    world.mkdir()
    language.write(world / "tokens.h5", language.manifest())
    language.build(world / "backbone", language.manifest())
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m"]
    both = subprocess.Popen([*launch, "tests.train_alone", str(world), str(tmp_path / "two"), "0", *how])
    one = train_alone.fit(world, tmp_path / "one")
    assert both.wait() == 0
    assert len(losses(tmp_path / "one")) == 15
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    assert dev(tmp_path / "two") == pytest.approx(dev(tmp_path / "one"), abs=1e-3)  # a sum over all weights
    assert one.best.epoch == 3
