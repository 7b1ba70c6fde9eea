"""Frames per CPU second of the video extraction, as ratios: ``python -m benchmarks.extraction CLIP...``

Each clip is measured three ways in one process group, one thread each, start-up left out by a first pass:
  user    the loop that one would write: OpenCV reads, MediaPipe Holistic looks at every frame
  limit   PyAV decodes, the same two models look at the same frames as ours, nothing is kept
  ours    the worker's own pass: one face on every frame, pose at 8 Hz, all columns worked out, landmarks packed
  ours_4  the same with up to four faces followed, and the choice among them, which is the default of bemerc extract
Ratios above 1 mean that ours is faster. Fixed settings: default params of face and pose but for the number of faces.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import av
import cv2
import mediapipe
import numpy as np

from bemerc.extract import face, pose
from bemerc.extract.jobs import Task, Want, measure
from bemerc.extract.mediapipe_models import BodyPose, FaceMesh
from bemerc.extract.store import Finished, Piece, Refused, identity
from bemerc.extract.worker import Bench, measure_video

PASSES = 3


class Nowhere:
    """Takes the results in the store's place."""

    def beat(self) -> None:
        """Nobody listens."""

    def done(self, want: Want, results: dict[str, Finished | Refused]) -> None:
        """Nothing is kept."""

    def refused(self, want: Want, error: Exception) -> None:
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
    params, body = face.Params(), pose.Params()
    mesh = FaceMesh(params.detection_confidence, params.tracking_confidence)
    model = BodyPose(body.detection_confidence, body.tracking_confidence)

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
    params = face.Params(faces=faces)
    bench = Bench((measure("face", face.__name__, params), measure("pose", pose.__name__, pose.Params())))
    task = Task("", path, identity(path), (Want(Piece(), {"face": "", "pose": ""}),))
    return lambda: measure_video(task, bench, Nowhere())


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
    for path in map(Path, sys.argv[1:]):
        with av.open(str(path)) as container:
            frames = sum(1 for _ in container.decode(video=0))
            size = f"{container.streams.video[0].width}x{container.streams.video[0].height}"
        seconds = {make.__name__: cpu_s(make(path)) for make in (user_loop, limit, ours, ours_4)}
        each = ", ".join(f"{name} {1000 * s / frames:.2f} ms" for name, s in seconds.items())
        print(f"{path.name} ({frames} frames of {size}): {each} of CPU per frame")
        print(
            f"  ours to user {seconds['user_loop'] / seconds['ours']:.2f}, ours to limit {seconds['limit'] / seconds['ours']:.2f}; "
            f"with four faces {seconds['user_loop'] / seconds['ours_4']:.2f} and {seconds['limit'] / seconds['ours_4']:.2f}"
        )


if __name__ == "__main__":
    main()
