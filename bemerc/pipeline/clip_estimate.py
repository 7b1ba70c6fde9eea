"""What measuring clips will cost: a few of them are timed, the rest is arithmetic (``bemerc extract --estimate``)."""

from __future__ import annotations

import math
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bemerc.core.cpu import usable_cores
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest, read_manifest
from bemerc.extraction import run as extraction
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.jobs import Job
from bemerc.extraction.params import VideoParams
from bemerc.media.container import length_s
from bemerc.pipeline import clips, extract_audio
from bemerc.pipeline.project import Project

# Of so many clips the length is looked up, of so many again a part is measured, from their start.
_LENGTHS, _TIMED, _PART_S = 200, 6, 10.0
CORES = (8, 32, 128)


@dataclass(frozen=True)
class Estimate:
    """What all clips will cost, whatever of them is finished already.

    clips, utterances  how many there are
    video_s            seconds of video in all, by the mean length of some clips
    timed, timed_s     how many clips were measured in part, and seconds of video of that
    core_s             processor seconds per second of video
    clock_s            seconds by the clock per second of video, with one worker: more where the machine is busy
    start_s            processor seconds until a worker has opened its models
    store_bytes, cache_bytes, files  on the disk, in all; files: those of the store, an inode each
    cores              that this process may use
    """

    clips: int
    utterances: int
    video_s: float
    timed: int
    timed_s: float
    core_s: float
    clock_s: float
    start_s: float
    store_bytes: float
    cache_bytes: float
    files: int
    cores: int

    def hours(self, cores: int) -> float:
        """Hours on so many cores with nothing else to do, a worker on each."""
        return (self.video_s * self.core_s / cores + self.start_s) / 3600

    def in_words(self) -> str:
        """For the command line."""
        counts = dict.fromkeys((self.cores, *CORES))
        hours = ", ".join(f"{_duration(self.hours(cores))} on {cores} core{'s' * (cores > 1)}" for cores in counts)
        busy = self.clock_s > 1.3 * self.core_s
        lines = [
            f"{self.clips} clips, about {self.video_s / 3600:.2f} hours of video; {self.utterances} utterances.",
            f"Timed: {self.timed_s:.0f} s of {self.timed} clips. A second of video costs {self.core_s:.2f} s of a core "
            f"({self.clock_s:.2f} s by the clock{': the machine is busy, or its disk slow' if busy else ''}).",
            f"Time:  {hours}. This process may use {self.cores}.",
            f"Disk:  store {_size(self.store_bytes)} in {self.files} files, caches {_size(self.cache_bytes)}.",
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self) | {"hours": {str(cores): self.hours(cores) for cores in (self.cores, *CORES)}}


def run(source: Path, out: Path | None, params: Any, only: clips.Only | None = None) -> Estimate:
    """Time a few clips of ``source`` in a temporary folder; see ``bemerc.pipeline.clips.extract`` for the arguments.

    BemercError where no clip can be measured.
    """
    project = clips.project_of(source, params, out)
    manifest = read_manifest(source) if clips.is_manifest(source) else clips.read_clips(source, None, project.data)[0]
    lengths = _lengths(_spread(_paths(manifest), _LENGTHS))
    chosen = _spread(sorted(lengths, key=lambda path: (lengths[path], path)), _TIMED)
    if not chosen:
        raise BemercError("no clip of it can be opened, so nothing can be timed.", path=source)
    parts = {path: min(lengths[path], _PART_S) for path in chosen}
    with tempfile.TemporaryDirectory() as folder:
        first, rest = _timed(project, parts, only, Path(folder))
        written = _written(Path(folder))
    timed_s = sum(parts.values())
    count, utterances = len(_paths(manifest)), len(manifest.utterances)
    video_s = count * float(np.mean([*lengths.values()]))
    # Two runs tell the start of a worker, which both have, from the video.
    core_s, clock_s = (
        (more - one) / (timed_s - parts[chosen[0]] or math.nan) for one, more in zip(first, rest, strict=True)
    )
    if not core_s > 0:  # one clip, or too little video to tell them apart
        core_s, clock_s = rest[0] / timed_s, rest[1] / timed_s
    return Estimate(
        clips=count,
        utterances=utterances,
        video_s=video_s,
        timed=len(chosen),
        timed_s=timed_s,
        core_s=core_s,
        clock_s=clock_s,
        start_s=max(0.0, first[0] - core_s * parts[chosen[0]]),
        store_bytes=written[0] / timed_s * video_s,
        cache_bytes=written[1] / timed_s * video_s,
        files=round(written[2] / len(chosen) * utterances),
        cores=usable_cores(),
    )


def _paths(manifest: Manifest) -> list[Path]:
    paths = {path for u in manifest.utterances if (path := manifest.clip_path(u)) is not None}
    return sorted(paths)


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most so many, at even distances, the first and the last among them."""
    at = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[i] for i in at]


def _lengths(paths: Sequence[Path]) -> dict[Path, float]:
    """Seconds of each clip that states them or can be read."""
    lengths = {}
    for path in paths:
        try:
            lengths[path] = length_s(path)
        except BemercError:
            continue
    return {path: seconds for path, seconds in lengths.items() if seconds > 0}


def _timed(
    project: Project, parts: dict[Path, float], only: clips.Only | None, folder: Path
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Processor seconds and seconds by the clock of measuring the first part, and of measuring all of them; what the
    second run writes lies in ``folder``."""
    jobs = [Job(f"{i:06d}", path, Segment(0.0, end_s)) for i, (path, end_s) in enumerate(parts.items())]
    runs = []
    for name, some in (("first", jobs[:1]), ("all", jobs)):
        out = folder / name
        runs.append(_costs(lambda some=some, out=out: _measure(project, some, only, out)))  # type: ignore[misc]
    return runs[0], runs[1]


def _measure(project: Project, jobs: Sequence[Job], only: clips.Only | None, out: Path) -> None:
    where = out, out / "store"
    if only != "audio":
        video = replace(project.load("extract_video", VideoParams), max_failed_share=1.0)
        extraction.extract_video(jobs, *where, video, workers=1)
    if only != "video":
        audio = replace(extract_audio.params_of(project), max_failed_share=1.0)
        extraction.extract_audio(jobs, *where, audio, workers=1)
        extraction.extract_speech(jobs, *where, audio, workers=1)


def _costs(work: Callable[[], None]) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - start


def _written(folder: Path) -> tuple[int, int, int]:
    """Bytes that the store occupies, bytes of the caches, and files of results, of the second run."""
    results = [path.stat() for path in (folder / "all" / "store").glob("*/*/*")]
    caches = [path.stat().st_size for path in (folder / "all").glob("*.h5")]
    return sum(stat.st_blocks * 512 for stat in results), sum(caches), len(results)


def _duration(hours: float) -> str:
    if hours < 0.1 / 60:
        return "under 0.1 minutes"
    if hours < 1:
        return f"{hours * 60:.1f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
