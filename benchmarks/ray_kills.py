"""Does anything that dies change a byte? Kills at random while clips are measured on a Ray cluster of this machine.

    python -m benchmarks.ray_kills CLIPS [--kills 50] [--seed 0] [--only audio]

CLIPS (a folder) is measured by the plain engine once. Then, on a cluster of a head and two nodes, the command
``bemerc extract --engine ray`` runs over and over into fresh folders, and every few seconds one of these is killed with
SIGKILL, by lot: a worker process, a Ray actor, all processes of a node (another one joins), or the command itself
(which is then started again). Every finished run must have the plain engine's bytes. Prints a table, and exits with 1
where a byte differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAYS = ("worker", "actor", "node", "command")


class Cluster:
    """A head without cores and two nodes with one each."""

    def __init__(self) -> None:
        self._cluster = _patiently(_head)
        self._nodes = [self._join() for _ in range(2)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def swap(self, draw: random.Random) -> None:
        """One of the two nodes goes without a word, and another joins."""
        node = self._nodes.pop(draw.randrange(2))
        for kind in node.all_processes.values():
            for info in kind:
                info.process.kill()
        self._nodes.append(self._join())

    def _join(self) -> Any:
        return _patiently(lambda: self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        self._cluster.shutdown()


def _head() -> Any:
    from ray.cluster_utils import Cluster as RayCluster

    return RayCluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})


def _patiently(start: Callable[[], Any], tries: int = 10) -> Any:
    """On a machine that is busy with other things a node may take longer to start than the 30 s that Ray waits."""
    for _ in range(tries - 1):
        with contextlib.suppress(Exception):
            return start()
    return start()


def workers() -> list[tuple[int, int]]:
    """Worker processes below an actor, with the actor."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            above = Path(f"/proc/{parent}/cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if b"bemerc.extraction.worker" in command and above.startswith(b"ray::"):
            found.append((int(folder.name), parent))
    return sorted(found)


def start(clips: Path, out: Path, only: str, *more: str) -> subprocess.Popen[bytes]:
    asked = ["extract", str(clips), "--json", "--out", str(out), *(["--only", only] if only else []), *more]
    return subprocess.Popen([sys.executable, "-m", "bemerc", *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def caches(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.h5"))}


def kill(way: str, process: subprocess.Popen[bytes], cluster: Cluster, draw: random.Random) -> bool:
    """Whether there was something of the kind to kill."""
    if way == "command":
        process.kill()
    elif way == "node":
        cluster.swap(draw)
    else:
        found = workers()
        if not found:
            return False
        worker, actor = draw.choice(found)
        os.kill(worker if way == "worker" else actor, signal.SIGKILL)
    return True


class Trial:
    """Runs until there were enough kills."""

    def __init__(self, clips: Path, only: str, expected: dict[str, bytes], draw: random.Random) -> None:
        self._clips, self._only, self._expected, self._draw = clips, only, expected, draw
        self.killed: Counter[str] = Counter()
        self.runs = self.retried = self.different = self.own_node = 0

    def run(self, cluster: Cluster, out: Path, kills: int, every_s: tuple[float, float]) -> None:
        """One folder, until it is finished: the command is started again when it was killed, or left clips to retry."""
        while True:
            process = start(self._clips, out, self._only, "--engine", "ray", "--ray-address", cluster.address)
            if self._disturb(process, cluster, kills, every_s):
                process.communicate()
                continue
            words, errors = process.communicate()
            if b"Raylet is terminated" in errors:  # the node that the command was attached to, so its own machine
                self.own_node += 1
                continue
            assert process.returncode == 0, (process.returncode, errors.decode(errors="replace"))
            assert words.startswith(b"{"), (words, errors.decode(errors="replace"))
            if not any(outcome["retryable"] for outcome in json.loads(words)["measured"]):
                break
            self.retried += 1
        self.runs += 1
        same = caches(out) == self._expected
        self.different += not same
        print(f"run {self.runs}: {'the same bytes' if same else 'OTHER BYTES'}", file=sys.stderr, flush=True)

    def _disturb(
        self, process: subprocess.Popen[bytes], cluster: Cluster, kills: int, every_s: tuple[float, float]
    ) -> bool:
        """Kill things until the command has ended; whether it was killed itself."""
        while True:
            try:
                process.wait(self._draw.uniform(*every_s))
                return False
            except subprocess.TimeoutExpired:
                way = self._draw.choice(WAYS)
                if sum(self.killed.values()) < kills and kill(way, process, cluster, self._draw):
                    self.killed[way] += 1
                    print(f"{sum(self.killed.values())}: {way}", file=sys.stderr, flush=True)
                    if way == "command":
                        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("video", "audio"), default="")
    parser.add_argument("--every", type=float, nargs=2, default=(3.0, 12.0), metavar="S", help="seconds between kills")
    given = parser.parse_args()
    begin, cluster = time.monotonic(), Cluster()
    try:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, "plain")
            assert start(given.clips, plain, given.only).communicate()[0]
            trial = Trial(given.clips, given.only, caches(plain), random.Random(given.seed))
            while sum(trial.killed.values()) < given.kills:
                trial.run(cluster, Path(folder, f"run{trial.runs}"), given.kills, tuple(given.every))
    finally:
        cluster.close()
    print("| killed | times |\n| --- | ---: |")
    for way in WAYS:
        print(f"| {way} | {trial.killed[way]} |")
    print(
        f"{trial.runs} runs finished, {trial.different} with other bytes than the plain engine's; {trial.retried} times the "
        f"command had to be given again for clips left to retry, {trial.own_node} times because the node that it was attached "
        f"to was killed. {time.monotonic() - begin:.0f} s."
    )
    sys.exit(bool(trial.different))


if __name__ == "__main__":
    main()
