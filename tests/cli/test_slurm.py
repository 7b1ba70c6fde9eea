"""``bemerc extract --slurm``: the script that it prints, run by bash as a task of an array, and by a real SLURM."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bemerc.cli.slurm import command_of, job_script
from bemerc.core.errors import BemercError
from tests import slurm_world
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def script(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "bemerc", "extract", "clips and more", "--only", "audio", *options]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def clips(folder: Path, count: int) -> None:
    (folder / "clips and more").mkdir()
    for i in range(count):
        write_clip(folder / "clips and more" / f"{i}.mp4", 0.3 + i / 10)


def options_of(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_the_options_of_a_script() -> None:
    text = job_script(
        ["bemerc", "extract", "a b"], 8, 0, ["--time=4:00:00", "cpus-per-task=16", "comment=a b", "exclusive"]
    )
    assert text.splitlines()[0] == "#!/bin/bash"
    options = options_of(text)
    assert options["array"] == "1-8"
    assert options["cpus-per-task"] == "16"
    assert options["time"] == "4:00:00"
    assert options["comment"] == '"a b"'
    assert options["signal"].startswith("B:TERM@")
    assert "#SBATCH --exclusive\n" in text
    assert text.splitlines()[-1] == "exec bemerc extract 'a b'"
    assert options_of(job_script(["x"], 1, 6, []))["cpus-per-task"] == "6"


@pytest.mark.parametrize("option", ["", "time 4:00", "=4", "Time=4", "time=4\nrm", "--"])
def test_what_is_no_option(option: str) -> None:
    with pytest.raises(BemercError):
        job_script(["x"], 1, 0, [option])


def test_the_command_starts_itself_again_without_what_is_for_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py"])
    words = ["extract", "clips", "--slurm", "8", "--out", "o", "--sbatch=time=1", "--partition", "--long", "--hands"]
    wanted = [sys.executable, "-m", "bemerc", "extract", "clips", "--out", "o", "--hands"]
    assert command_of(words, ("--slurm", "--sbatch", "--partition")) == wanted


def test_bash_runs_it_as_a_task_would(tmp_path: Path) -> None:
    clips(tmp_path, 2)
    (tmp_path / "job.sh").write_text(script(tmp_path, "--slurm", "2", "--workers", "1"))
    task = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_CPUS_PER_TASK": "1"}
    subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=ENVIRONMENT | task, capture_output=True, check=True)
    assert (tmp_path / "features" / "audio.h5").is_file()


def test_options_for_slurm_alone_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bemerc", "extract", "clips", "--partition", "main"]
    answer = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "--slurm" in answer.stderr


@pytest.mark.slurm
@pytest.mark.skipif(slurm_world.missing() != "", reason=slurm_world.missing())
def test_a_real_slurm_divides_the_work_between_tasks(tmp_path: Path) -> None:
    """And again with another number of tasks, which find everything done."""
    clips(tmp_path, 8)
    (tmp_path / "slurm").mkdir()
    with slurm_world.running(tmp_path / "slurm") as environment:
        logs: list[list[str]] = []
        before: set[Path] = set()
        for tasks in (2, 3):
            (tmp_path / "job.sh").write_text(
                script(tmp_path, "--slurm", str(tasks), "--partition", "main", "--workers", "1")
            )
            run = ["sbatch", "--wait", "job.sh"]
            subprocess.run(run, cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, check=True, timeout=200)
            written = set(tmp_path.glob("bemerc-*.log"))
            logs.append([path.read_text() for path in written - before])
            before = written
    measured = [[int(text.split(" of 8 utterances")[0].split()[-1]) for text in texts] for texts in logs]
    assert sum(measured[0]) == 8
    assert min(measured[0]) > 0, "both tasks had work"
    assert measured[1] == [0, 0, 0]
    assert list((tmp_path / "features" / "store" / "leases").iterdir()) == []
