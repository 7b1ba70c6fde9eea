"""CPU time per frame of the video extraction, as ratios.

    python -m benchmarks.extraction CLIP... [--heights 360 1080]

With --heights each clip is first encoded at these heights (H.264, without sound), in a folder that goes again.

Each clip is measured three ways in one process group, one thread each, start-up left out by a first pass:
  user    the loop that one would write: OpenCV reads, MediaPipe Holistic looks at every frame
  limit   PyAV decodes, the same two models look at the same frames as ours, nothing is kept
  ours    the worker's own pass: one face on every frame, pose at 8 Hz, all columns computed, landmarks packed
  ours_4  the same with up to four faces followed, and the choice among them, which is the default of bemerc extract
Ratios above 1 mean that ours is faster. Fixed settings: default params of face and pose but for the number of faces.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import cv2
import mediapipe
import numpy as np

from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.extraction.face import extractor
from bemerc.extraction.failures import Failure
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import file_identity
from bemerc.extraction.jobs import Request, Task, extractor_spec
from bemerc.extraction.pose import body as pose
from bemerc.extraction.store import Result
from bemerc.extraction.video_pass import extract_video_clip
from fits.mediapipe_graphs import BodyGraph, FaceMesh

PASSES = 3


class Nowhere:
    """Takes the results in the store's place."""

    def heartbeat(self) -> None:
        """Nobody listens."""

    def decoding(self, decoded_s: float) -> None:
        """Nobody looks."""

    def extracting(self, request: Request | None) -> None:
        """Nor here."""

    def done(self, request: Request, results: dict[str, Result | Failure]) -> None:
        """Nothing is kept."""

    def failed(self, request: Request, error: Exception) -> None:
        """A clip that cannot be read is no benchmark."""
        raise error


def user_loop(path: Path) -> Callable[[], None]:
    holistic = mediapipe.solutions.holistic.Holistic(refine_face_landmarks=True)

    def run() -> None:
        capture = cv2.VideoCapture(str(path))
        while (read := capture.read())[0]:
            holistic.process(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))

    return run


def limit(path: Path) -> Callable[[], None]:
    params, body = extractor.Params(), pose.Params()
    mesh = FaceMesh(params.detection_confidence, params.tracking_confidence)
    model = BodyGraph(body.detection_confidence, body.tracking_confidence)

    def run() -> None:
        mesh.reset()
        model.reset()
        last = -1
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                rgb = np.ascontiguousarray(frame.to_ndarray(format="rgb24"))
                mesh(rgb, frame.time)
                if int(frame.time * body.rate_hz + 1e-6) > last:
                    model(rgb, frame.time)
                    last = int(frame.time * body.rate_hz + 1e-6)

    return run


def ours(path: Path, faces: int = 1) -> Callable[[], None]:
    params = extractor.Params(faces=faces)
    extractors = ExtractorPool(
        (extractor_spec("face", extractor.__name__, params), extractor_spec("pose", pose.__name__, pose.Params()))
    )
    task = Task("", path, file_identity(path), (Request(Segment(), {"face": "", "pose": ""}),))
    return lambda: extract_video_clip(task, extractors, Nowhere())


def ours_4(path: Path) -> Callable[[], None]:
    return ours(path, 4)


def cpu_s(run: Callable[[], None]) -> float:
    run()
    times = []
    for _ in range(PASSES):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--heights", type=int, nargs="*", default=[])
    args = parser.parse_args()
    print(
        "| clip | frames | user, ms | limit | ours | ours_4 | ours to user | ours_4 to user | ours to limit | ours_4 "
        "to limit |"
    )
    print("| --- " + "| ---: " * 9 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for path in args.clips:
            made = [encoded(path, height, Path(folder)) for height in args.heights]
            for clip in made or [path]:
                row(clip)


def encoded(path: Path, height: int, folder: Path) -> Path:
    """The clip's picture at another height."""
    made = folder / f"{path.stem}_{height}p.mp4"
    with av.open(str(path)) as source, av.open(str(made), "w") as target:
        shown = source.streams.video[0]
        stream = target.add_stream("libx264", rate=round(shown.average_rate), options={"crf": "23", "preset": "medium"})
        stream.width, stream.height = 2 * round(shown.width * height / shown.height / 2), height
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            scaled = frame.reformat(width=stream.width, height=height, format="yuv420p", interpolation="BICUBIC")
            scaled.pts, scaled.time_base = number, 1 / Fraction(round(shown.average_rate))
            target.mux(stream.encode(scaled))
        target.mux(stream.encode())
    return made


def row(path: Path) -> None:
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
        size = f"{container.streams.video[0].width}x{container.streams.video[0].height}"
    took = {make.__name__: 1000 * cpu_s(make(path)) / frames for make in (user_loop, limit, ours, ours_4)}
    ratios = [took[other] / took[way] for other in ("user_loop", "limit") for way in ("ours", "ours_4")]
    cells = [f"{ms:.2f}" for ms in took.values()] + [f"{ratio:.2f}" for ratio in ratios]
    print(f"| {path.stem} {size} | {frames} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
