"""The extraction wing's models against MediaPipe's Tasks API: the same numbers, and the time that they take.

    python -m benchmarks.engine --clips DIR --faces DIR --task FILE [--pose FILE] [--heights 360 720 1080]

Needs `pip install 'bemerc[mediapipe]'`. --task is MediaPipe's face_landmarker.task; --pose its pose_landmarker_full.task,
or the wheel of mediapipe 0.10.21 (see tasks_api.py). --clips and --faces are folders of videos and of pictures. Prints:

1. per clip the distance of our landmarks from the FaceLandmarker's (up to two faces, video mode), in pixels at a width
   of 640, and the largest difference of a blendshape on the same landmarks. The API does not tell the region that it
   looked at: each face is compared from the region around its last landmarks and from our own detector's, and the
   nearer result counts.
2. the short-range detector: how many faces of pictures and frames are at an intersection over union of .9
3. the body in single pictures: points that both see
4. CPU time per frame, as benchmarks.extraction prints it
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.networks import Blendshapes, BodyPose, FaceModels, rect_around
from bemerc.extraction.networks.detector import SHORT_RANGE, Detection, Detector
from bemerc.extraction.networks.face import FaceLandmarks
from benchmarks import extraction, tasks_api

Picture = NDArray[np.uint8]
Size = tuple[int, int]
WIDTH = 640
FACES = 2
OTHER_FACE_PX = 20.0  # a median distance above it is between two faces
EVERY = 8  # frames between two that detectors and the body model look at
SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


def frames(path: Path, most: int, every: int = 1) -> Iterator[tuple[float, Picture]]:
    """Seconds and pixels of a clip's frames."""
    with av.open(str(path)) as container:
        for frame in islice(container.decode(video=0), 0, most, every):
            yield frame.time, np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def landmarks_table(clips: list[Path], task: Path, most: int) -> None:
    """Table 1."""
    print(
        "| clip | faces | px: median | 95 in 100 | worst frame's median | depth: median | from the last frame | "
        f"blendshapes: largest difference |\n| --- {'| ---: ' * 7}|"
    )
    ours, models, shapes = FaceLandmarks(), FaceModels(0.5), Blendshapes()
    for path in clips:
        faces = list(_compared(path, task, most, ours, models, shapes))
        if not faces:
            print(f"| {path.stem} | 0 | | | | | | |")
            continue
        distances, depths = np.array([face[0] for face in faces]), np.array([face[1] for face in faces])
        print(
            f"| {path.stem} | {len(faces)} | {np.median(distances):.3f} | {np.quantile(distances, 0.95):.3f} | "
            f"{np.median(distances, axis=1).max():.3f} | {np.median(depths):.3f} | "
            f"{100 * np.mean([face[2] for face in faces]):.0f} % | {max(face[3] for face in faces):.5f} |",
            flush=True,
        )


def _compared(
    path: Path, task: Path, most: int, ours: FaceLandmarks, models: FaceModels, shapes: Blendshapes
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], bool, float]]:
    """Per face of the API: distances in the picture and in depth of all points, whether the nearer region was the one
    around the last landmarks, and the largest difference of a blendshape."""
    last: list[NDArray[np.float64]] = []
    with tasks_api.face_landmarker(task, FACES) as landmarker:
        for now_s, rgb in frames(path, most):
            size = rgb.shape[1], rgb.shape[0]
            found = landmarker(rgb, now_s)
            theirs = [tasks_api.points(face, size) for face in found.face_landmarks]
            models.set_frame(rgb)
            detected = [face.rect for face in models.detect("near")]
            regions = [rect_around((face / _scale(size)).astype(np.float32), size) for face in last] + detected
            results = [ours(rgb, region, size)[0] * _scale(size) for region in regions]
            for face, scores in zip(theirs, found.face_blendshapes, strict=True):
                apart = [np.linalg.norm((result - face)[:, :2], axis=1) * WIDTH / size[0] for result in results]
                best = min(range(len(apart)), key=lambda i: float(np.median(apart[i])), default=None)
                if best is None or np.median(apart[best]) > OTHER_FACE_PX:
                    continue
                depth = np.abs(results[best] - face)[:, 2] * WIDTH / size[0]
                shape = np.abs(shapes(face[None])[0] - [score.score for score in scores]).max()
                yield apart[best], depth, best < len(last), float(shape)
            last = theirs


def _scale(size: Size) -> NDArray[np.float64]:
    return np.array([size[0], size[1], size[0]], np.float64)


def detector_table(pictures: list[tuple[str, list[Picture]]], task: Path) -> None:
    """Table 2."""
    print(
        f"| | pictures | faces: Tasks | ours | IoU above .9 | median IoU | keypoints, of the box: median |\n"
        f"| --- {'| ---: ' * 6}|"
    )
    ours = Detector(SHORT_RANGE, 0.5)
    with tasks_api.face_detector(task, SHORT_RANGE.overlap) as detector:
        for name, some in pictures:
            overlaps, keypoints, count = [], [], 0
            for rgb in some:
                mine = ours(rgb)
                count += len(mine)
                for detection in detector(rgb, 0.0).detections:
                    overlap, apart = _nearest(detection, mine, (rgb.shape[1], rgb.shape[0]))
                    overlaps.append(overlap)
                    keypoints += [apart] if overlap > 0.5 else []
            if overlaps:
                print(
                    f"| {name} | {len(some)} | {len(overlaps)} | {count} | "
                    f"{100 * np.mean(np.array(overlaps) > 0.9):.1f} % | {np.median(overlaps):.5f} | "
                    f"{np.median(keypoints):.0e} |",
                    flush=True,
                )


def _nearest(theirs: object, ours: list[Detection], size: Size) -> tuple[float, float]:
    """The largest intersection over union with a box of ours, and the largest distance of its keypoints over its
    width. The API gives boxes in whole pixels."""
    box = theirs.bounding_box  # type: ignore[attr-defined]
    corners = np.array([box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height], float)
    places = np.array([[point.x, point.y] for point in theirs.keypoints]) * size  # type: ignore[attr-defined]

    def iou(other: NDArray[np.float64]) -> float:
        shared = np.maximum(np.minimum(corners[2:], other[2:]) - np.maximum(corners[:2], other[:2]), 0).prod()
        return float(shared / ((corners[2:] - corners[:2]).prod() + (other[2:] - other[:2]).prod() - shared))

    best = max(ours, key=lambda one: iou(one.box), default=None)
    if best is None:
        return 0.0, np.nan
    return iou(best.box), float(np.abs(best.keypoints - places).max() / (best.box[2] - best.box[0]))


def body_table(clips: list[tuple[str, list[Picture]]], pose: Path) -> None:
    """Table 3."""
    print(f"| clip | frames | bodies: Tasks | ours | px: median | 95 in 100 |\n| --- {'| ---: ' * 5}|")
    ours = BodyPose(0.5, 0.5)
    with tasks_api.pose_landmarker(pose, video=False) as landmarker:
        for name, pictures in clips:
            distances, counts = [], [0, 0]
            for rgb in pictures:
                size = rgb.shape[1], rgb.shape[0]
                ours.reset()
                found, mine = landmarker(rgb, 0.0).pose_landmarks, ours(rgb, 0.0)
                counts[0], counts[1] = counts[0] + len(found), counts[1] + (mine is not None)
                if found and mine is not None:
                    seen = (np.array([point.visibility for point in found[0]]) > 0.5) & (mine[:, 3] > 0.5)
                    theirs = tasks_api.points(found[0], size)[:, :2]
                    distances.append(np.linalg.norm(mine[:, :2] * size - theirs, axis=1)[seen] * WIDTH / size[0])
            if distances:
                every = np.concatenate(distances)
                print(
                    f"| {name} | {len(pictures)} | {counts[0]} | {counts[1]} | {np.median(every):.3f} | "
                    f"{np.quantile(every, 0.95):.3f} |",
                    flush=True,
                )


def read_pictures(folder: Path) -> list[Picture]:
    """Every picture of a folder."""
    read = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
    return [np.ascontiguousarray(picture[:, :, ::-1]) for picture in read if picture is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--pose", type=Path)
    parser.add_argument("--heights", type=int, nargs="*", default=[])
    parser.add_argument("--frames", type=int, default=250, help="of each clip, for the tables of agreement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-time", action="store_true", help="print no table of time")
    args = parser.parse_args()
    if not tasks_api.is_installed():
        raise SystemExit(f"{tasks_api.REMEDY}.")
    cv2.setNumThreads(1)
    clips = sorted(path for path in args.clips.rglob("*") if path.suffix.lower() in SUFFIXES)
    print(f"{extraction.machine()}\n")
    landmarks_table(clips, args.task, args.frames)
    of_clips = [(path.stem, [rgb for _, rgb in frames(path, args.frames, EVERY)]) for path in clips]
    print()
    detector_table([(args.faces.name, read_pictures(args.faces)), *of_clips], args.task)
    if args.pose is not None:
        with tempfile.TemporaryDirectory() as folder:
            print()
            body_table(of_clips, tasks_api.pose_task(args.pose, Path(folder)))
    if not args.no_time:
        print()
        extraction.table(clips, args.heights, args.task, args.pose, args.repeats)


if __name__ == "__main__":
    main()
