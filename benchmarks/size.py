"""A corpus of 100,000 clips: what planning and sealing cost, without measuring anything.

    python -m benchmarks.size [--clips 100000] [--seconds 4] [--part-clips N] [--folder DIR]

Clips are files of a few bytes, results are made up: rows as the extractors give them for clips of so many seconds, without
landmarks, put into a real store under their real keys. Then ``run``, as ``bemerc extract`` calls it, finds everything
finished: the first time it hashes the clips and writes the caches, the second time it reads what was written, the third
time there is nothing to do. Each is a process of its own; its seconds by the clock, its processor seconds and the most memory that it took are printed, and
what lies on the disk per clip.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from bemerc.cache import Choice, Features, TrackSpan
from bemerc.core.hashing import sha256
from bemerc.extraction.audio import prosody
from bemerc.extraction.face import extractor as face
from bemerc.extraction.fingerprint import WHOLE_CLIP
from bemerc.extraction.jobs import ExtractorSpec, Job, extractor_spec
from bemerc.extraction.plan import make_plan
from bemerc.extraction.pose import body
from bemerc.extraction.run import run
from bemerc.extraction.store import Result, Store

FPS = 25.0
GIVEN = {
    "face": (face, face.Params(landmarks=False)),
    "pose": (body, body.Params()),
    "audio": (prosody, prosody.Params()),
}


def specs() -> tuple[ExtractorSpec, ...]:
    return tuple(extractor_spec(kind, module.__name__, params) for kind, (module, params) in GIVEN.items())  # type: ignore[arg-type]


def jobs(folder: Path, count: int) -> list[Job]:
    return [Job(f"dia{i // 10:05d}/utt{i % 10}", clip(folder, i)) for i in range(count)]


def clip(folder: Path, i: int) -> Path:
    return folder / "clips" / f"dia{i // 10:05d}" / f"utt{i % 10}.mp4"


def fill(folder: Path, count: int, seconds: float) -> None:
    """Make the clips and their results. Nothing is flushed to the disk: that is not what is measured."""
    store, of = Store(folder / "store"), specs()
    random = np.random.default_rng(0)
    rows = {spec.modality: round(seconds * (FPS if spec.rate == "clip" else float(spec.rate))) for spec in of}
    values = {
        spec.modality: random.normal(size=(rows[spec.modality], len(spec.columns))).astype(np.float32) for spec in of
    }
    spans = (TrackSpan(0, rows["face"], 0, 0.9, 1),)
    chosen = {"face": Choice("speaking", "alone", 1, 0.9, False, spans)}
    with mock.patch("os.fsync"):
        for i in range(count):
            path = clip(folder, i)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"clip %d" % i)
            digest = sha256(path)
            for spec in of:
                times = np.arange(rows[spec.modality], dtype=np.float64) * (seconds / rows[spec.modality])
                made = Result(
                    Features(values[spec.modality], times, spec.columns), seconds, choice=chosen.get(spec.modality)
                )
                store.put(spec.modality, spec.key(digest, WHOLE_CLIP), made)


def plan(folder: Path, count: int) -> None:
    made = make_plan(jobs(folder, count), specs(), Store(folder / "store"))
    assert not made.tasks
    assert len(made.clip_hashes) == count


def seal(folder: Path, count: int, part_clips: int | None = None) -> None:
    for spec in specs():
        outcome = run(jobs(folder, count), (spec,), folder / "out", folder / "store", part_clips=part_clips)
        assert outcome.complete == count


def measured(what: str, folder: Path, given: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "benchmarks.size", "--clips", str(given.clips), "--seconds", str(given.seconds)]
    command += ["--part-clips", str(given.part_clips)]
    start = time.perf_counter()
    subprocess.run([*command, "--as", what, "--folder", str(folder)], check=True, stderr=subprocess.DEVNULL)
    clock_s = time.perf_counter() - start
    core_s, peak = (folder / "cost").read_text().split()
    print(f"| {what} | {clock_s:.1f} | {float(core_s):.1f} | {int(peak) / 1024:.0f} |", flush=True)


def on_disk(folder: Path, count: int) -> None:
    for kind in GIVEN:
        found = [path.stat() for path in (folder / "store" / kind).glob("*/*")]
        blocks = sum(stat.st_blocks * 512 for stat in found)
        cache = sum(path.stat().st_size for path in (folder / "out").glob(f"{kind}*.h5"))
        print(
            f"| {kind} | {len(found) / count:.2f} | {blocks / count / 1e3:.1f} | {cache / count / 1e3:.1f} |",
            flush=True,
        )


WAYS = {
    "hash and plan": plan,
    "plan again": plan,
    "seal": seal,
    "read what was sealed": seal,
    "everything finished": seal,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--part-clips", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--as", dest="way", choices=("fill", *WAYS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way == "fill":
        fill(given.folder, given.clips, given.seconds)
    elif given.way:
        way = WAYS[given.way]
        way(given.folder, given.clips, *((given.part_clips,) if way is seal else ()))
    if given.way:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        (given.folder / "cost").write_text(f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, contextlib.suppress(BrokenPipeError):
        print(f"{given.clips} clips of {given.seconds:g} s; {os.cpu_count()} cores")
        print("| what | clock, s | processor, s | memory, MB |\n| --- | ---: | ---: | ---: |")
        for what in ("fill", *WAYS):
            measured(what, Path(folder), given)
        print("\n| modality | files per clip | kB per clip in the store | in the cache |\n| --- | ---: | ---: | ---: |")
        on_disk(Path(folder), given.clips)


if __name__ == "__main__":
    main()
