"""Extraction on a Ray cluster of several nodes on this machine: the same bytes, whatever is killed meanwhile.

python -m pytest -m ray
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bemerc import api
from bemerc.core.errors import BemercError
from bemerc.extraction.engine import RayWorkers
from bemerc.extraction.jobs import ExtractorSpec, Job, extractor_spec, jobs_from_folder
from bemerc.extraction.run import run
from benchmarks.ray_kills import workers
from tests import mean_color
from tests.clips import write_clip

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


def spec(**options: Any) -> ExtractorSpec:
    return extractor_spec("face", "tests.mean_color", mean_color.Params(**options))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, so that no worker is on it."""
    utils = pytest.importorskip("ray.cluster_utils")
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def nodes(cluster: Any) -> Iterator[list[Any]]:
    added = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield added
    for node in added:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    folder = tmp_path_factory.mktemp("clips")
    for i in range(6):
        write_clip(folder / f"{i}.mp4", 0.4 + 0.2 * ((i * 2) % 5), color=(40 * i, 80, 120))
    return jobs_from_folder(folder)


@pytest.fixture(scope="module")
def plain(jobs: list[Job], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("plain")
    run(jobs, (spec(),), out, out / "store", 1)
    return (out / "face.h5").read_bytes()


def on_cluster(jobs: list[Job], out: Path, cluster: Any, what: ExtractorSpec, **limits: Any) -> Any:
    return run(jobs, (what,), out, out / "store", RayWorkers(0, cluster.address), **limits)


def measuring() -> list[int]:
    """Worker processes of this machine that have a Ray actor for a parent."""
    return [pid for pid, _ in workers()]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def meanwhile(happen: Callable[[], None], log: Path, finished: int = 1) -> Future[None]:
    """Have something happen once so many clips are finished and a worker is at work on the next; its ``result`` raises
    where that failed, or never came to be."""

    def watch() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if log.is_file() and len(log.read_text().splitlines()) >= finished and measuring():
                happen()
                return
            time.sleep(0.02)
        raise TimeoutError

    return ThreadPoolExecutor(1).submit(watch)


def vanish(node: Any) -> None:
    """kill -9 of all that Ray has on a node, as where a spot instance is taken away."""
    for kind in node.all_processes.values():
        for info in kind:
            info.process.kill()


def test_same_bytes_as_on_one_machine(
    jobs: list[Job], plain: bytes, cluster: Any, nodes: list[Any], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    outcome = on_cluster(jobs, tmp_path, cluster, spec(log=str(log)))
    assert (outcome.measured, outcome.complete) == (6, 6)
    assert (tmp_path / "face.h5").read_bytes() == plain
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 2  # a worker on either node
    assert on_cluster(jobs, tmp_path, cluster, spec()).cached == 6


@pytest.mark.parametrize("victim", ["worker", "actor"])
def test_a_killed_process_costs_the_clip_in_flight(
    victim: str, jobs: list[Job], plain: bytes, cluster: Any, nodes: list[Any], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"

    def kill() -> None:
        worker = measuring()[0]
        os.kill(worker if victim == "worker" else parent_of(worker), signal.SIGKILL)

    killed = meanwhile(kill, log)
    outcome = on_cluster(jobs, tmp_path, cluster, spec(log=str(log), pause_s=0.1))
    killed.result()
    assert outcome.complete == 6
    assert (tmp_path / "face.h5").read_bytes() == plain
    assert len(log.read_text().splitlines()) in (6, 7)


def test_a_node_that_goes_and_one_that_comes(
    jobs: list[Job],
    plain: bytes,
    cluster: Any,
    nodes: list[Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = tmp_path / "log.txt"
    # A node sets a handler of signals, which only the main thread may.
    monkeypatch.setattr("ray._private.utils.set_sigterm_handler", lambda handler: None)

    def swap() -> None:
        nodes.append(cluster.add_node(num_cpus=1))
        for node in nodes[:2]:
            vanish(node)

    swapped = meanwhile(swap, log)
    outcome = on_cluster(jobs, tmp_path, cluster, spec(log=str(log), pause_s=0.1))
    swapped.result()
    assert outcome.complete == 6
    assert (tmp_path / "face.h5").read_bytes() == plain


def test_sigterm_ends_the_command_with_a_sentence(
    cluster: Any, nodes: list[Any], jobs: list[Job], tmp_path: Path
) -> None:
    assert isinstance(jobs[0].path, Path)
    options = ["--out", str(tmp_path), "--engine", "ray", "--ray-address", cluster.address]
    command = [sys.executable, "-m", "bemerc", "extract", str(jobs[0].path.parent), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not measuring():  # from here on it is connected
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, "Stopped (SIGTERM)" in errors) == (143, True), errors


def test_a_clip_that_crashes_its_worker_is_not_tried_again_and_again(
    jobs: list[Job], cluster: Any, nodes: list[Any], tmp_path: Path
) -> None:
    outcome = on_cluster(jobs, tmp_path, cluster, spec(crash_red=80), max_failed_share=0.5)
    assert list(outcome.retryable) == ["2"]
    assert "SIGSEGV" in outcome.retryable["2"]
    assert outcome.complete == 5


def test_a_clip_that_no_node_sees_stops_the_run(
    cluster: Any, nodes: list[Any], jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bemerc.extraction import ray_engine

    class Elsewhere(ray_engine.RayHost):
        def work(self, tasks: Any) -> Any:
            for task in tasks:
                task.path.rename(task.path.with_suffix(".gone"))
            return super().work(tasks)

    clip = write_clip(tmp_path / "clips" / "a.mp4")
    monkeypatch.setattr(ray_engine, "RayHost", Elsewhere)
    with pytest.raises(BemercError, match=r"does not see the clip .*a\.mp4"):
        on_cluster([Job("a", clip)], tmp_path / "out", cluster, spec())


def test_no_cluster_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    clip = write_clip(tmp_path / "a.mp4")
    for address in ("127.0.0.1:1", "nowhere"):
        with pytest.raises(BemercError, match="No connection to the Ray cluster"):
            api.extract(clip, tmp_path / "out", engine="ray", ray_address=address)
