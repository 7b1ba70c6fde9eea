"""Extract damaged media: every clip must end up measured or with a reason.

    python -m benchmarks.mutated_media [COUNT] [SEED] [real]

COUNT clips of several containers are cut off, holed, overwritten and shortened in seeded ways, and go through the real
loop with the test's smallest extractors, or with ``real`` those of face, body and voice. The run must end by itself.
Exit code 1 if a worker had to be stopped or an unexpected error ended one: those are the faults to fix.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bemerc.cache import open_cache
from bemerc.extraction.jobs import ExtractorSpec, extractor_spec, jobs_from_folder
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.run import run
from tests import loudness, mean_color
from tests.clips import write_clip

TIMEOUT_S = 30.0


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """One of five kinds of damage."""
    how, spot = rng.randrange(5), rng.randrange(len(data))
    if how == 0:
        return data[:spot]
    if how == 1:
        return data[:spot] + data[spot + rng.randrange(1, 500) :]
    if how == 2:
        return data[:spot] + bytes(min(rng.randrange(2000), len(data) - spot)) + data[spot + 2000 :]
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 30)):
        near_an_end = rng.choice((0, -1)) * rng.randrange(min(3000, len(data)))
        at = near_an_end if how == 3 else rng.randrange(len(data))
        changed[at] = rng.choice((0, 127, 128, 255, rng.randrange(256)))
    return bytes(changed)


def make(folder: Path, count: int, seed: int) -> None:
    """``count`` spoiled clips below ``folder``."""
    rng = random.Random(seed)
    whole = [write_clip(folder.parent / name, 1.0) for name in ("a.mp4", "b.mkv", "c.avi", "d.mov")]
    whole.append(write_clip(folder.parent / "fast.mp4", 1.0, size=(160, 120), faststart=True, channels=2))
    folder.mkdir()
    for i in range(count):
        clip = whole[i % len(whole)]
        (folder / f"{i:05d}{clip.suffix}").write_bytes(spoiled(clip.read_bytes(), rng))


def counted(reasons: Mapping[str, str]) -> Counter[str]:
    """How often each reason was given, numbers aside."""
    return Counter(re.sub(r"\d[\d.]*", "N", reason) for reason in reasons.values())


def smallest() -> tuple[tuple[ExtractorSpec, ...], tuple[ExtractorSpec, ...]]:
    """Extractors that take no time: what is tried is the decoder and the loop."""
    face = extractor_spec("face", "tests.mean_color", mean_color.Params())
    pose = extractor_spec("pose", "tests.mean_color", mean_color.Params(rate_hz=8.0))
    return (face, pose), (extractor_spec("audio", "tests.loudness", loudness.Params()),)


def real() -> tuple[tuple[ExtractorSpec, ...], tuple[ExtractorSpec, ...]]:
    """The extractors that people use, at their defaults."""
    face = extractor_spec("face", "bemerc.extraction.face.extractor", VideoParams().face)
    pose = extractor_spec("pose", "bemerc.extraction.pose.body", VideoParams().pose)
    return (face, pose), (extractor_spec("audio", "bemerc.extraction.audio.prosody", AudioParams().audio),)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    picture, sound = real() if "real" in sys.argv[3:] else smallest()
    worse = 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        make(out / "clips", count, seed)
        for specs in (picture, sound):
            outcome = run(jobs_from_folder(out / "clips"), specs, out, out / "store", 0, 1.0, TIMEOUT_S)
            print(outcome.sentence())
            with open_cache(out / f"{specs[0].modality}.h5") as cache:
                assert len(cache) == count
                for reason, often in (counted(cache.failures) + counted(cache.notes)).most_common():
                    print(f"  {often:5d}  {reason}")
                worse += sum("worker" in reason for reason in outcome.retryable.values())
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
