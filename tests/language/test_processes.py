"""Two processes on one CPU (gloo), started as accelerate and torchrun start them: the losses of one, but for rounding.

Both add up the same sums over the same targets, in another order, so the difference is float32's: about 1e-6 of a loss
here; the bound leaves it a hundredfold. Dropout is switched off, since every process draws its own. Sharded: the weights
lie in parts on both (FSDP 2), by the config that the repository has for GPUs.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate.commands import launch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from tests import toy_language as language
from tests import train_alone
from tests.cli.test_cli import ROOT


def losses(out: Path) -> list[float]:
    with (out / "steps.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def dev(out: Path) -> list[float]:
    with (out / "epochs.csv").open() as file:
        return [float(row["dev_weight"]) for row in csv.DictReader(file)]


def as_launched() -> dict[str, str]:
    """What accelerate's launcher tells its processes of recipes/accelerate/fsdp.yaml."""
    asked = ["--config_file", str(ROOT / "recipes" / "accelerate" / "fsdp.yaml"), "-m", "bemerc", "train"]
    args, _, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args(asked))
    return {name: told for name, told in prepare_multi_gpu_env(args).items() if name.startswith("FSDP_")}


def test_accelerate_reads_the_config_for_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, told in as_launched().items():
        monkeypatch.setenv(name, told)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward, plugin.cpu_ram_efficient_loading) == (2, True, False)
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [[], ["--sharded"], ["--gated"], ["--gated", "--sharded"]],
    ids=["copied", "sharded", "gates copied", "gates sharded"],
)
def test_two_processes_learn_what_one_learns(tmp_path: Path, how: list[str]) -> None:
    world = tmp_path / "world"
    world.mkdir()
    language.write(world / "tokens.h5", language.manifest())
    language.build(world / "backbone", language.manifest())
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m"]
    told = os.environ | as_launched()
    both = subprocess.Popen([*start, "tests.train_alone", str(world), str(tmp_path / "two"), "0", *how], env=told)
    one = train_alone.fit(world, tmp_path / "one", gated="--gated" in how)
    assert both.wait() == 0
    assert len(losses(tmp_path / "one")) == 15
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    assert dev(tmp_path / "two") == pytest.approx(dev(tmp_path / "one"), abs=1e-3)  # a sum over all weights
    assert one.best.epoch == 3 or "--gated" in how  # its weights need not grow


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("how", [[], ["--sharded"]], ids=["copied", "sharded"])
def test_another_number_of_processes_resumes(tmp_path: Path, before: int, after: int, how: list[str]) -> None:
    """Stopped as SLURM stops a job before its limit, and started again on more or fewer GPUs."""
    world, out = tmp_path / "world", tmp_path / "out"
    world.mkdir()
    language.write(world / "tokens.h5", language.manifest())
    language.build(world / "backbone", language.manifest())
    stopped = launch_alone(world, out, before, 0.2, how)
    while train_alone.steps(out) < 6:
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.terminate()
    assert stopped.wait() != 0
    assert out.with_name("out.checkpoint").is_file()
    assert 6 <= train_alone.steps(out) < 15
    assert launch_alone(world, out, after, 0.0, how).wait() == 0
    train_alone.fit(world, tmp_path / "whole")
    assert len(losses(out)) == 15
    assert losses(out) == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)
    assert dev(out) == pytest.approx(dev(tmp_path / "whole"), abs=1e-3)


def launch_alone(world: Path, out: Path, processes: int, seconds: float, how: list[str]) -> subprocess.Popen[bytes]:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone", "-m"]
    alone = [*start, "tests.train_alone", str(world), str(out), str(seconds), *how]
    return subprocess.Popen(alone, env=os.environ | as_launched())
