"""CPU time per frame of an extraction, as ratios.

    python -m benchmarks.extraction CLIP... [--heights 360 720 1080] [--task FILE --pose FILE] [--repeats 5]

With --heights each clip is first encoded at these heights (H.264, the sound as it is), in a folder that goes again.

Each clip is measured these ways in one process, in turns, one thread each; start-up is left out by a first pass:
  user    the loop that one would write: OpenCV reads, MediaPipe's FaceLandmarker with blendshapes and its full
          PoseLandmarker look at every frame (see tasks_api.py for --task and --pose; without them it is left out)
  user_4  the same with up to four faces
  limit   PyAV decodes every frame to RGB, and the networks that run in ours_4 run as often as there, on nothing: no crop,
          nothing computed from their outputs, no sound
  ours    the workers' own passes: one face on every frame, pose at 8 Hz, prosody where the clip has sound; all columns
          computed, landmarks packed
  ours_4  the same with up to four faces followed, and the choice among them, which is the default of bemerc extract
  sound   what of ours and ours_4 the sound takes, alone: decoding, the choice of its channel, prosody
The milliseconds are the least of the repeats, the ratios medians of those within one turn. Above 1: ours is faster.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["OMP_NUM_THREADS"] = "1"

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MachineError, MediaError
from bemerc.extraction.audio import prosody
from bemerc.extraction.audio_pass import extract_audio_clips
from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.extraction.face import extractor
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import file_identity
from bemerc.extraction.jobs import Request, Task, extractor_spec
from bemerc.extraction.networks.runtime import Network
from bemerc.extraction.pose import body as pose
from bemerc.extraction.reporter import Reporter, RequestOutcome
from bemerc.extraction.video_pass import extract_video_clip
from bemerc.media.video import probe
from benchmarks import tasks_api

Way = Callable[[], None]
RATIOS = (("user", "ours"), ("user_4", "ours_4"), ("user", "ours_4"), ("limit", "ours_4"))


class Nowhere(Reporter):
    """Takes the results in the store's place."""

    def __init__(self) -> None:
        """Nobody is reported to: there is no pool and no store."""

    def heartbeat(self) -> None:
        """Nobody listens."""

    def decoding(self, decoded_s: float) -> None:
        """Nobody looks."""

    def extracting(self, request: Request | None) -> None:
        """Nor here."""

    def done(self, request: Request, outcomes: dict[str, RequestOutcome]) -> None:
        """Nothing is kept."""

    def failed(self, request: Request, error: MediaError | MachineError) -> None:
        """A clip that cannot be read is no benchmark."""
        raise error


def user(path: Path, face: tasks_api.OnFrame, body: tasks_api.OnFrame) -> Way:
    """The loop that one would write with the Tasks API."""

    def run() -> None:
        capture, number = cv2.VideoCapture(str(path)), 0
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        while (read := capture.read())[0]:
            rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
            face(rgb, number / rate_hz)
            body(rgb, number / rate_hz)
            number += 1

    return run


def limit(path: Path) -> Way:
    """Decoding and bare networks."""
    networks: list[Network] = []
    run_network = Network.run

    def recorded(network: Network, *args: Any) -> list[NDArray[np.float32]]:
        networks.append(network)
        return run_network(network, *args)

    with mock.patch.object(Network, "run", recorded):
        ours(path, 4)()
    inputs = {network: np.zeros(network.shape[1:], np.uint8) for network in networks}

    def run() -> None:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
        for network in networks:
            network.run(inputs[network], 1 / 255)

    return run


def prosody_of(path: Path) -> Way:
    """What a worker does with a clip's sound."""
    audio = ExtractorPool((extractor_spec("audio", prosody.__name__, prosody.Params()),))

    def run() -> None:
        if probe(path).has_audio:
            extract_audio_clips((task(path, "audio"),), audio, Nowhere())

    return run


def task(path: Path, *modalities: str) -> Task:
    return Task("", path, file_identity(path), (Request(Segment(), dict.fromkeys(modalities, "")),))


def ours(path: Path, faces: int) -> Way:
    """What a worker does with a clip."""
    params = extractor.Params(faces=faces)
    video = ExtractorPool(
        (extractor_spec("face", extractor.__name__, params), extractor_spec("pose", pose.__name__, pose.Params()))
    )
    sound = prosody_of(path)

    def run() -> None:
        extract_video_clip(task(path, "face", "pose"), video, Nowhere())
        sound()

    return run


def cpu_s(ways: dict[str, Way], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each way, in turns, after a first pass of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, run in ways.items():
            start = time.process_time()
            run()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def encoded(path: Path, height: int, folder: Path) -> Path:
    """The clip at another height."""
    made = folder / f"{path.stem}_{height}p.mp4"
    with av.open(str(path)) as source, av.open(str(made), "w") as target:
        shown, sound = source.streams.video[0], source.streams.best("audio")
        rate = round(float(shown.average_rate))
        stream = target.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "medium"})
        stream.width, stream.height = 2 * round(shown.width * height / shown.height / 2), height
        stream.pix_fmt = "yuv420p"
        sound_track = None if sound is None else target.add_stream("aac", rate=sound.rate, layout=sound.layout.name)
        for number, frame in enumerate(source.decode(video=0)):
            scaled = frame.reformat(width=stream.width, height=height, format="yuv420p", interpolation="BICUBIC")
            scaled.pts, scaled.time_base = number, 1 / Fraction(rate)
            target.mux(stream.encode(scaled))
        target.mux(stream.encode())
        if sound_track is not None:
            source.seek(0)
            for frame in source.decode(sound):
                target.mux(sound_track.encode(frame))
            target.mux(sound_track.encode())
    return made


def machine() -> str:
    """What the figures were taken on, as a sentence."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags")).split()
        name += ", " + ("with" if "avx512f" in flags else "without") + " AVX-512"
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    theirs = f"mediapipe {tasks_api.release()}, " if tasks_api.is_installed() else ""
    return (
        f"{name}; {theirs}OpenCV {cv2.__version__}, numpy {np.__version__}, Python {platform.python_version()}; the "
        f"machine's load {load}."
    )


def table(clips: list[Path], heights: list[int], task: Path | None, pose_file: Path | None, repeats: int) -> None:
    """Print a row for each clip at each height."""
    cv2.setNumThreads(1)
    compared = task is not None and pose_file is not None
    if compared and not tasks_api.is_installed():
        print(f"user and user_4: {tasks_api.REMEDY}.")
        compared = False
    names = [*(("user", "user_4") if compared else ()), "limit", "ours", "ours_4", "sound"]
    ratios = [(other, own) for other, own in RATIOS if other in names]
    print(f"{machine()}\n")
    heads = [*(f"{name}, ms" for name in names), *(f"{own} to {other}" for other, own in ratios)]
    print(f"| clip | frames | {' | '.join(heads)} |\n| --- {'| ---: ' * (1 + len(heads))}|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        theirs: list[tuple[str, tasks_api.OnFrame, tasks_api.OnFrame]] = []
        if task is not None and pose_file is not None and compared:
            pose_task = tasks_api.pose_task(pose_file, folder)
            for name, faces in (("user", 1), ("user_4", 4)):
                face = stack.enter_context(tasks_api.face_landmarker(task, faces))
                theirs.append((name, face, stack.enter_context(tasks_api.pose_landmarker(pose_task))))
        for path in clips:
            for clip in [encoded(path, height, folder) for height in heights] or [path]:
                ways = {name: user(clip, face, body) for name, face, body in theirs}
                ways |= {
                    "limit": limit(clip),
                    "ours": ours(clip, 1),
                    "ours_4": ours(clip, 4),
                    "sound": prosody_of(clip),
                }
                _row(clip, cpu_s(ways, repeats), ratios)


def _row(path: Path, times: dict[str, list[float]], ratios: list[tuple[str, str]]) -> None:
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        size = f"{container.streams.video[0].width}x{container.streams.video[0].height}"
    cells = [f"{1000 * min(took) / frames:.2f}" for took in times.values()]
    cells += [f"**{np.median(np.divide(times[other], times[own])):.2f}**" for other, own in ratios]
    print(f"| {path.stem} {size} | {frames} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--heights", type=int, nargs="*", default=[])
    parser.add_argument("--task", type=Path, help="face_landmarker.task")
    parser.add_argument("--pose", type=Path, help="pose_landmarker_full.task, or the wheel of mediapipe 0.10.21")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    table(args.clips, args.heights, args.task, args.pose, args.repeats)


if __name__ == "__main__":
    main()
