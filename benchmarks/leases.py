"""What claims on clips cost: leases a second, of several processes on one store.

    python -m benchmarks.leases [--processes 8] [--clips 4000] [--folder DIR]

Every process wants every clip, in an order of its own: it leases one, looks whether its result is there, writes a
result of a few bytes if not, and gives the lease back. --folder: a folder on the disk that is measured, such as a
shared one. Prints, over all processes by the clock, clips a second with all of that; leases acquired and given back a
second, where nobody else wants the same ones; and how many clips were done twice (0 is expected).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bemerc.extraction.failures import Failure
from bemerc.extraction.leases import Leases
from bemerc.extraction.store import Store


def work(folder: Path, clips: int, seed: int) -> int:
    """Do what the others have not done; how many clips that were."""
    store, done = Store(folder), 0
    names = [f"{i:064x}" for i in range(clips)]
    random.Random(seed).shuffle(names)
    with Leases(folder) as leases:
        for name in names:
            if store.state("audio", name) is None and leases.acquire(name):
                if store.state("audio", name) is None:
                    store.put("audio", name, Failure("none"))
                    done += 1
                leases.release(name)
    return done


def claim(folder: Path, clips: int, seed: int) -> int:
    """Acquire and release, of names that no other process wants."""
    with Leases(folder) as leases:
        for i in range(clips):
            assert leases.acquire(f"{seed:032x}{i:032x}")
            leases.release(f"{seed:032x}{i:032x}")
    return clips


def timed(what: str, folder: Path, processes: int, clips: int) -> tuple[float, list[int]]:
    """Seconds from the moment at which all have started, and what each has done."""
    command = [sys.executable, "-m", "benchmarks.leases", "--as", what, "--folder", str(folder), "--clips", str(clips)]
    running = [
        subprocess.Popen([*command, "--seed", str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for i in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    start = time.perf_counter()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in running]
    return time.perf_counter() - start, counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--as", dest="way", choices=("work", "claim"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print("ready", flush=True)
        sys.stdin.readline()
        print({"work": work, "claim": claim}[given.way](given.folder, given.clips, given.seed))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        seconds, counts = timed("work", Path(folder), given.processes, given.clips)
        print(
            f"{given.processes} processes, {given.clips} clips in {seconds:.1f} s: {given.clips / seconds:.0f} a second"
        )
        print(f"done twice: {sum(counts) - given.clips}; by process: {', '.join(map(str, counts))}")
        each = given.clips // given.processes
        seconds, counts = timed("claim", Path(folder), given.processes, each)
        print(f"acquired and given back: {sum(counts) / seconds:.0f} a second")


if __name__ == "__main__":
    main()
