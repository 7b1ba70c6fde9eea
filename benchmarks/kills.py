"""kill -9 at random: do the results stay the same, byte for byte?

    python -m benchmarks.kills CLIPS [--kills 50] [--processes 3] [--only audio] [--seed 0]

CLIPS is a folder of clips. ``bemerc extract`` measures it once, undisturbed. Then several of the same command work on one
store at once while one after the other of their processes, commands and workers alike, is killed with SIGKILL; a
command that ended or was killed is started again. When a store is complete before there were enough kills, the next
round begins with an empty one. After each round the command runs once more, and its caches and every file of results
in the store are compared with those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workers import below

_WAIT_S = (0.2, 3.0)


@dataclass(frozen=True)
class Killed:
    """How many processes were killed, commands and workers, in how many rounds; and what differed afterwards."""

    commands: int
    workers: int
    rounds: int
    different: list[str]
    left: list[str]


def command(clips: Path, out: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "bemerc", "extract", str(clips), "--out", str(out), *options]


def results(out: Path) -> dict[str, bytes]:
    """Caches, and the store's results, by their path in the folder."""
    paths = [*out.glob("*.h5"), *(out / "store").glob("*/*/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def run(clips: Path, folder: Path, kills: int, processes: int, options: list[str], seed: int) -> Killed:
    """See the module's docstring; ``folder`` is empty and is filled."""
    chance = random.Random(seed)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(clips, folder / "whole", options), check=True, **quiet)  # type: ignore[call-overload]
    whole = results(folder / "whole")
    counts, rounds, different, left = {True: 0, False: 0}, 0, [], []
    out = folder / "killed"
    while sum(counts.values()) < kills:
        rounds += 1
        shutil.rmtree(out, ignore_errors=True)
        running = [subprocess.Popen(command(clips, out, options), **quiet) for _ in range(processes)]  # type: ignore[call-overload]
        while sum(counts.values()) < kills and not all((out / name).exists() for name in whole):
            time.sleep(chance.uniform(*_WAIT_S))
            running = [
                subprocess.Popen(command(clips, out, options), **quiet) if one.poll() is not None else one  # type: ignore[call-overload]
                for one in running
            ]
            victim = chance.choice([pid for one in running for pid in (one.pid, *below(one.pid))])
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                counts[victim in {one.pid for one in running}] += 1
        for one in running:
            one.wait()
        subprocess.run(command(clips, out, options), check=True, **quiet)  # type: ignore[call-overload]
        again = results(out)
        different += sorted(name for name in whole.keys() | again.keys() if whole.get(name) != again.get(name))
        left += [path.name for part in ("leases", "partial") for path in (out / "store" / part).iterdir()]
    return Killed(counts[True], counts[False], rounds, different, left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, metavar="CLIPS")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--only", choices=("video", "audio"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    options = ["--workers", "1", *(["--only", given.only] if given.only else [])]
    with tempfile.TemporaryDirectory() as folder:
        done = run(given.clips, Path(folder), given.kills, given.processes, options, given.seed)
    print(f"killed: {done.commands} commands and {done.workers} workers, in {done.rounds} rounds on one store each")
    print(f"files that differ from the undisturbed run: {len(done.different)} {done.different[:5]}")
    print(f"leases and partial files left behind: {len(done.left)} {done.left[:5]}")
    sys.exit(bool(done.different))


if __name__ == "__main__":
    main()
