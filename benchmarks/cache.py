"""The cost of a second extraction, and of reading tokens.

    python -m benchmarks.cache [--clips 1000] [--utterances 10000]

    again    ``bemerc extract`` on a folder in which everything is measured: seconds of the whole command, and which heavy
             libraries it imported (none may be)
    tokens   every utterance's tokens once, in random order, through TokenFile, beside numpy.memmap on the same bytes of the
             same file in the same call: reads per second, their ratio, and by how much memory grew meanwhile

The clips are one tiny film under many contents: each copy ends in a box of its own that players skip. One is measured,
and its stored results are copied to the others' names, since only the second run is timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import numpy as np

from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.behavior.tokens.file import Params, open_tokens, write_tokens
from bemerc.cache import Kind
from bemerc.core.hashing import sha256
from bemerc.corpus.manifest import MODALITIES
from bemerc.extraction import run
from bemerc.extraction.audio import prosody as audio
from bemerc.extraction.face import extractor
from bemerc.extraction.fingerprint import WHOLE_CLIP
from bemerc.extraction.jobs import extractor_spec, jobs_from_folder
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.pose import body
from bemerc.extraction.store import Store

HEAVY = {"av", "cv2", "ai_edge_litert", "librosa", "torch", "transformers", "jax", "matplotlib", "tensorflow", "scipy"}
PASSES = 5
EXTRACTORS: dict[Kind, ModuleType] = {"face": extractor, "pose": body, "audio": audio}
WIDTHS = {"face": 112, "pose": 40, "audio": 24}
K = 8

COMMAND = """
import sys, time
begin = time.perf_counter()
from bemerc.cli.main import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("SECONDS", time.perf_counter() - begin)
    print("HEAVY", *sorted({name.split(".")[0] for name in sys.modules} & %r))
"""


def film(path: Path) -> bytes:
    """Three frames and a tenth of a second of a tone."""
    import av

    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=16_000, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for i in range(3):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 60 * i, np.uint8), format="rgb24")
            picture.pts = i
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        wave = (9000 * np.sin(np.arange(2048) / 6)).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path.read_bytes()


def again(folder: Path, clips: int) -> None:
    """Have everything measured, then time the command that finds nothing to do, three times."""
    one = film(folder / "one.mp4")
    videos, features = folder / "clips", folder / "features"
    for i in range(clips):
        path = videos / f"dia{i // 20}" / f"utt{i % 20}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one + (16).to_bytes(4, "big") + b"free" + i.to_bytes(8, "big"))
    fill(videos, features)
    print(f"{clips} clips of {len(one) / 1000:.1f} KB", flush=True)
    for what in ("seals", "again", "again", "again"):
        begin = time.perf_counter()
        answer = subprocess.run(
            [sys.executable, "-c", COMMAND % HEAVY, "extract", "--video-dir", videos, "--out", features],
            capture_output=True,
            text=True,
            check=True,
        )
        whole_s = time.perf_counter() - begin
        assert answer.stdout.count(f"0 of {clips} utterances were measured") == 2, answer.stdout
        heavy = (
            next(line for line in answer.stdout.splitlines() if line.startswith("HEAVY")).removeprefix("HEAVY").strip()
        )
        print(f"  {what:<6} {whole_s:7.2f} s for the command; heavy libraries imported: {heavy or 'none'}", flush=True)


def fill(videos: Path, features: Path) -> None:
    """Extract the first clip, and store its result as every clip's."""
    jobs = jobs_from_folder(videos)
    run.extract_video(jobs[:1], features, features / "store", VideoParams(), 1)
    run.extract_audio(jobs[:1], features, features / "store", AudioParams(), 1)
    store = Store(features / "store")
    digests = [sha256(job.path) for job in jobs if isinstance(job.path, Path)]
    for modality, module in EXTRACTORS.items():
        spec = extractor_spec(modality, module.__name__, module.Params())
        keys = [spec.key(digest, WHOLE_CLIP) for digest in digests]
        result = store.result(modality, keys[0], spec.columns)
        for key in keys[1:]:
            store.put(modality, key, result)


def tokens(folder: Path, utterances: int) -> None:
    """Random reads of a token file beside numpy.memmap."""
    generator = np.random.default_rng(0)
    ids = [f"meld/train/dia{i // 10}_utt{i % 10}" for i in range(utterances)]
    made = {
        m: (generator.normal(size=(utterances, K, WIDTHS[m])).astype(np.float32), np.ones((utterances, K), bool))
        for m in MODALITIES
    }
    names = {m: tuple(f"column_{i:04d}" for i in range(WIDTHS[m])) for m in MODALITIES}
    calibration = Calibration(
        {m: Statistics("x/1", names[m], (0.0,) * WIDTHS[m], (1.0,) * WIDTHS[m]) for m in MODALITIES}
    )
    path = folder / "tokens.h5"
    write_tokens(path, ids, made, calibration, Params(k=K))
    del made
    with h5py.File(path) as file:
        places = {m: file[f"{m}/values"].id.get_offset() for m in MODALITIES}
    order = generator.permutation(utterances)
    with open_tokens(path) as read:
        wanted = [read.ids[i] for i in order]
        maps = {m: np.memmap(path, "<f4", "r", places[m], (utterances, K, WIDTHS[m])) for m in MODALITIES}

        def ours() -> None:
            for id_ in wanted:
                read[id_]

        def theirs() -> None:
            for row in order:
                for m in MODALITIES:
                    np.array(maps[m][row])

        ours()  # the pages of the file come into the system's cache, for both
        before = resident_mb()
        ours_s = [seconds(ours) for _ in range(PASSES)]
        grown = resident_mb() - before
        memmap_s = [seconds(theirs) for _ in range(PASSES)]
        grown_plain = resident_mb() - before - grown
    print(
        f"{utterances} utterances, {path.stat().st_size / 1e6:.0f} MB, three modalities each, random order, median "
        f"of {PASSES}"
    )
    for what, times, memory in (("TokenFile", ours_s, grown), ("numpy.memmap", memmap_s, grown_plain)):
        print(
            f"  {what:<13} {utterances / statistics.median(times):10,.0f} utterances per second; memory grew by "
            f"{memory:.1f} MB"
        )
    print(
        f"  ratio         {statistics.median(memmap_s) / statistics.median(ours_s):10.2f} of numpy.memmap's speed "
        "(asked: 0.5)"
    )


def seconds(run: Callable[[], None]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--utterances", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tokens(Path(folder), given.utterances)
        again(Path(folder), given.clips)


if __name__ == "__main__":
    main()
