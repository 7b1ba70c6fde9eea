"""Missed faces, small ones above all.

    python -m benchmarks.small_faces CLIP... [--every 3] [--task FILE]

The reference is a detector without a limit of time: the full-range model on the whole frame and on overlapping squares
of a half, a third and a quarter of its longer side, at full size; a face counts where the short-range model confirms
it at full size with a score of .75. Besides the clips as they are, each is shown small: a fourth, an eighth and a
fourteenth as wide as a frame of 1280 x 720 pixels.

mediapipe   MediaPipe's FaceLandmarker in video mode, one face; --task is its face_landmarker.task (left out without it
            or without `pip install 'bemerc[mediapipe]'`)
ours        the extractor's way, one face
Misses are frames in which the reference has a face and the way has none; false are the reverse.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face.detection import FaceTracker
from bemerc.extraction.face.tracking import is_same_face
from bemerc.extraction.networks import WHOLE, FaceModels, Rect
from bemerc.media.video import Video
from benchmarks import tasks_api

Picture = NDArray[np.uint8]
SHRUNK = (1.0, 1 / 4, 1 / 8, 1 / 14)
SURE, AROUND = 0.75, 2.5


def frames(path: Path, scale: float, most_s: float) -> Iterator[tuple[float, Picture]]:
    """The clip's frames, or the clip shrunk to a share of a wall."""
    with Video(path) as video:
        for frame in video:
            if frame.timestamp_s > most_s:
                return
            picture = frame.rgb()
            if scale < 1:
                side = scale * 1280 / max(picture.shape[:2])
                small = cv2.resize(picture, None, fx=side, fy=side, interpolation=cv2.INTER_AREA)
                grey = np.linspace(60, 140, 1280)[None, :, None] + np.linspace(0, 40, 720)[:, None, None]
                picture = np.repeat(grey, 3, axis=2).astype(np.uint8)
                height, width = small.shape[:2]
                picture[720 - height :, 700 : 700 + width] = small[:, : 1280 - 700]
            yield frame.timestamp_s, np.ascontiguousarray(picture)


def squares(width: int, height: int, share: float) -> list[Rect]:
    side = share * max(width, height)

    def middles(length: int) -> NDArray[np.float64]:
        if side >= length:
            return np.array([length / 2])
        return np.linspace(side / 2, length - side / 2, int(np.ceil((length - side) / (side / 2))) + 1)

    return [Rect(x / width, y / height, side / width, side / height) for y in middles(height) for x in middles(width)]


def has_face(models: FaceModels, picture: Picture) -> float:
    """The width in pixels of the largest face that is there; 0 where there is none."""
    models.set_frame(picture)
    height, width = picture.shape[:2]
    looks = [WHOLE, *(part for share in (1 / 2, 1 / 3, 1 / 4) for part in squares(width, height, share))]
    best = 0.0
    for part in looks:
        for face in models.detect("far", part):
            place = replace(face.rect, width=AROUND * face.rect.width, height=AROUND * face.rect.height)
            if any(f.score >= SURE and is_same_face(f.rect, face.rect) for f in models.detect("near", place)):
                best = max(best, face.rect.width * width / 1.5)
        if best and part is WHOLE:
            break  # it is there; how many there are is not asked
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--every", type=int, default=3, help="frames between two that the reference looks at")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each clip")
    parser.add_argument("--task", type=Path, help="MediaPipe's face_landmarker.task")
    args = parser.parse_args()
    if args.task is not None and not tasks_api.is_installed():
        print(f"mediapipe: {tasks_api.REMEDY}.")
        args.task = None
    print(
        "| clip | size | face, px | frames with a face | mediapipe misses | ours misses | false: ours | ours, ms a "
        "frame |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    totals: dict[bool, tuple[int, int | None, int]] = {}
    for path in args.clips:
        for scale in SHRUNK:
            row = judge(path, scale, args.every, args.seconds, args.task)
            if row is None:
                continue
            before = totals.get(scale == 1.0, (0, None if args.task is None else 0, 0))
            missed = None if before[1] is None or row[1] is None else before[1] + row[1]
            totals[scale == 1.0] = before[0] + row[0], missed, before[2] + row[2]
    for whole, (there, theirs, ours) in sorted(totals.items(), reverse=True):
        name = "all clips as they are" if whole else "all shrunk ones"
        print(f"| {name} | | | {there} | {_share(theirs, there)} | {_share(ours, there)} | | |")


def _share(part: int | None, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole and part is not None else "-"


def judge(path: Path, scale: float, every: int, most_s: float, task: Path | None) -> tuple[int, int | None, int] | None:
    """Print a clip's row; frames with a face, and those that each way misses."""
    ours, models = FaceTracker(1, 0.5, 0.5), FaceModels(0.5)
    widths, theirs_have, ours_have, spent_s, shape = [], [], [], 0.0, (0, 0)
    with contextlib.ExitStack() as stack:
        theirs = None if task is None else stack.enter_context(tasks_api.face_landmarker(task, 1))
        for i, (now_s, picture) in enumerate(frames(path, scale, most_s)):
            theirs_have.append(theirs is not None and bool(theirs(picture, now_s).face_landmarks))
            start = time.process_time()
            ours_have.append(bool(ours(picture, now_s)))
            spent_s += time.process_time() - start
            widths.append(has_face(models, picture) if i % every == 0 else np.nan)
            shape = picture.shape[1], picture.shape[0]
    width = np.array(widths)
    asked = np.isfinite(width)
    has, lacks = asked & (width > 0), asked & (width == 0)
    if scale < 1 and not has.any():
        return None
    missed = None if task is None else int((has & ~np.array(theirs_have)).sum())
    counts = int(has.sum()), missed, int((has & ~np.array(ours_have)).sum())
    false = int((lacks & np.array(ours_have)).sum())
    face = f"{np.median(width[has]):.0f}" if has.any() else "-"
    print(
        f"| {path.stem}{'' if scale == 1 else f' at 1/{1 / scale:.0f}'} | {shape[0]}x{shape[1]} | {face} | {counts[0]} "
        f"of {asked.sum()} | {_share(counts[1], counts[0])} | {_share(counts[2], counts[0])} | {false} | "
        f"{1000 * spent_s / len(widths):.1f} |",
        flush=True,
    )
    return counts


if __name__ == "__main__":
    main()
