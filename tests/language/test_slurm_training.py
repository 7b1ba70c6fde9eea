"""recipes/slurm/train.sh under a real SLURM: stopped by it, and resumed with another number of processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from bemerc.corpus.manifest import write_manifest
from bemerc.language.train.log import log_of
from tests import slurm_world, train_alone
from tests import toy_language as language
from tests.cli.test_cli import ROOT

# The machine of the tests has no GPU, so that the script's own lines about them are overruled.
FOR_A_CPU = ["--gpus-per-node=0", "--cpus-per-task=1"]


@pytest.mark.slurm
@pytest.mark.skipif(slurm_world.missing() != "", reason=slurm_world.missing())
def test_a_training_that_slurm_stops_resumes_with_fewer_processes(tmp_path: Path) -> None:
    project, manifest = tmp_path / "project", language.manifest({"train": 6, "dev": 3, "test": 4})
    (project / "data").mkdir(parents=True)
    write_manifest(project / "data" / "manifest.jsonl", manifest.utterances, manifest.labels, ("made",))
    language.build(project / "models" / "backbone", manifest)
    (project / "params.yaml").write_text(
        "prepare: {corpora: [table]}\nmodel: {device: cpu, rank: 4, alpha: 8.0}\nmerc: {epochs: 150, patience: 0}\n"
    )
    (tmp_path / "slurm").mkdir()
    with slurm_world.running(tmp_path / "slurm") as environment:
        environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}
        model = project / "models" / "merc" / "T"
        log = log_of(model)
        first = submit(project, environment, 2)
        deadline = time.monotonic() + 120
        while train_alone.steps(model) < 20:
            assert time.monotonic() < deadline, said(project)
            time.sleep(0.2)
        subprocess.run(["scancel", "--signal=TERM", first], env=environment, check=True)
        assert ended(first, environment) != "COMPLETED", said(project)
        before = log.read_text().splitlines()
        assert 20 <= train_alone.steps(model) < 150
        assert (project / "models" / "merc" / "T.checkpoint").is_file()
        second = submit(project, environment, 1)
        assert ended(second, environment) == "COMPLETED", said(project)
    assert log.read_text().splitlines()[: len(before)] == before, "nothing was trained twice"
    assert train_alone.steps(model) == 150
    assert (project / "models" / "merc" / "T" / "adapter_model.safetensors").is_file()


def submit(project: Path, environment: dict[str, str], processes: int) -> str:
    """The id of a job of the recipe."""
    script = [*FOR_A_CPU, str(ROOT / "recipes" / "slurm" / "train.sh"), "--stage", "2", "--variant", "T"]
    for_job = environment | {"PROCESSES": str(processes)}
    answer = subprocess.run(["sbatch", "--parsable", *script], cwd=project, env=for_job, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


def ended(job: str, environment: dict[str, str]) -> str:
    """The job's state once it is over."""
    for _ in range(600):
        shown = subprocess.run(
            ["scontrol", "show", "job", job], env=environment, capture_output=True, text=True, check=True
        )
        state = shown.stdout.split("JobState=")[1].split()[0]
        if state not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            return state
        time.sleep(0.2)
    raise AssertionError(f"job {job} does not end")


def said(project: Path) -> str:
    return "\n".join(path.read_text() for path in project.glob("*.log"))
