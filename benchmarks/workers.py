"""Speed-up by a second worker.

    python -m benchmarks.workers CLIP... [--clips 60] [--times 3]

The clips are copied, in turns and under contents of their own, until there are as many as asked, and measured with
fresh stores:
  one, two    ``bemerc extract --workers 1`` and ``2``: seconds of the whole command by the clock, start and seal included
  plain       the same extractors on the same clips without pool, store and seal: all of them in one process, against two
              processes at once with half of them each. No division of the work can do better on this machine, whose two
              cores may share caches and memory.
Each the best of several, in turns, since clocks show what else runs. Where something does, look at the second column:
the clock less the time in which these processes wanted a core and others had it (Linux only).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"


def copies(clips: list[Path], count: int, folder: Path) -> list[Path]:
    """``count`` files of different contents: each ends in a box that players skip."""
    made = []
    for i in range(count):
        source = clips[i % len(clips)]
        made.append(folder / f"clip{i:04d}{source.suffix}")
        made[-1].write_bytes(source.read_bytes() + (16).to_bytes(4, "big") + b"free" + i.to_bytes(8, "big"))
    return made


def command(videos: Path, workers: int) -> None:
    with tempfile.TemporaryDirectory() as out:
        asked = ["extract", "--video-dir", str(videos), "--out", out, "--workers", str(workers)]
        subprocess.run(
            [sys.executable, "-m", "bemerc", *asked], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def plain(clips: list[Path], processes: int) -> None:
    parts = [clips[i::processes] for i in range(processes)]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", "--plain", *map(str, part)], stderr=subprocess.DEVNULL
        )
        for part in parts
    ]
    assert [process.wait() for process in running] == [0] * processes


def measure_plainly(clips: list[Path]) -> None:
    """In this process, one clip after the other; nothing is kept."""
    from bemerc.extraction.audio import prosody
    from bemerc.extraction.audio_pass import extract_audio_clips
    from bemerc.extraction.extractor_pool import ExtractorPool
    from bemerc.extraction.face import extractor
    from bemerc.extraction.fingerprint import Segment
    from bemerc.extraction.hash_cache import file_identity
    from bemerc.extraction.jobs import Request, Task, extractor_spec
    from bemerc.extraction.pose import body
    from bemerc.extraction.video_pass import extract_video_clip
    from benchmarks.extraction import Nowhere

    video = ExtractorPool(
        (
            extractor_spec("face", extractor.__name__, extractor.Params()),
            extractor_spec("pose", body.__name__, body.Params()),
        )
    )
    audio = ExtractorPool((extractor_spec("audio", prosody.__name__, prosody.Params()),))
    for path in clips:
        for extractors in (video, audio):
            task = Task("", path, file_identity(path), (Request(Segment(), dict.fromkeys(extractors.specs, "")),))
            if extractors is video:
                extract_video_clip(task, extractors, Nowhere())
            else:
                extract_audio_clips((task,), extractors, Nowhere())


class Watch(threading.Thread):
    """How long the processes below this one wanted a core that others had, by Linux' own account: at any moment the
    mean over those that wanted one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lost_s = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        before: dict[int, tuple[float, float]] = {}
        while not self._over.wait(0.05):
            now = {pid: account for pid in below(os.getpid()) if (account := schedule(pid)) is not None}
            steps = [(now[pid][0] - before[pid][0], now[pid][1] - before[pid][1]) for pid in now if pid in before]
            wanting = [waited_s for ran_s, waited_s in steps if ran_s + waited_s > 0.02]
            self.lost_s += sum(wanting) / max(1, len(wanting))
            before = now

    def end(self) -> float:
        self._over.set()
        self.join()
        return self.lost_s


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(grandchild for child in children for grandchild in below(child))]


def schedule(pid: int) -> tuple[float, float] | None:
    """Seconds on a core and seconds waiting for one, of a process' first thread."""
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


def timed(run: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds by the clock; the same less what others took; and CPU seconds of what it started."""
    before, begin, watch = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), Watch()
    watch.start()
    run()
    took, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, took - watch.end(), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    parser.add_argument("--clips", type=int, default=60, dest="count")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain:
        measure_plainly(given.clips)
        return
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder)
        made = copies(given.clips, given.count, videos)
        ways: dict[str, Callable[[], None]] = {
            "one": lambda: command(videos, 1),
            "two": lambda: command(videos, 2),
            "plain, one": lambda: plain(made, 1),
            "plain, two": lambda: plain(made, 2),
        }
        times: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
        print("| way | clock, s | less what others took | CPU, s |\n| --- | ---: | ---: | ---: |")
        for _ in range(given.times):
            for way, run in ways.items():
                times[way].append(timed(run))
                print(f"| {way} | " + " | ".join(f"{seconds:.1f}" for seconds in times[way][-1]) + " |", flush=True)
    print(f"{given.count} clips; the best of {given.times}; the machine's load now {os.getloadavg()[0]:.1f}")
    for what, column in (("by the clock", 0), ("less what others took", 1)):
        best = {way: min(one[column] for one in times[way]) for way in ways}
        ours, machine = best["one"] / best["two"], best["plain, one"] / best["plain, two"]
        print(f"{what}: two workers {ours:.2f} times one, two plain processes {machine:.2f} times one")


if __name__ == "__main__":
    main()
