"""Head pose in degrees against known rotations and OpenFace 2.

    python -m benchmarks.head_pose --faces DIR [--openface CLIP CSV]

--faces     pictures of people: each face that looks at the camera is turned by known angles (fits/face_warps.py: the
            mesh is turned in depth and carries the picture along) and measured again through the mesh
--openface  a clip and what OpenFace 2 wrote of it, for pose and gaze on real movement
Prints per angle the slope (1 is right) and Pearson r.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from bemerc.extraction.face import head_pose, mesh
from fits.action_units import clip_landmarks
from fits.face_warps import Look, Portrait, draw
from fits.photographs import Finder, meshed, people

STEPS = (-15, -10, -5, 0, 5, 10, 15)
LOOKS = {
    "pitch": [Look(jitter=0, pitch=degrees) for degrees in STEPS],
    "yaw": [Look(jitter=0, yaw=degrees) for degrees in STEPS],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--openface", type=Path, nargs=2, metavar=("CLIP", "CSV"))
    parser.add_argument("--people", type=int, default=20)
    args = parser.parse_args()
    finder, rng = Finder(), np.random.default_rng(0)
    frontal = [
        p for p in people(args.faces) if np.abs(head_pose.pose_deg(mesh.align(p.landmarks[None]))[0, :2]).max() < 12
    ]
    fits: dict[str, list[tuple[float, float]]] = {name: [] for name in LOOKS}
    for person in frontal[: args.people]:
        portrait = Portrait(person.crop, person.landmarks)
        for column, (name, looks) in enumerate(LOOKS.items()):
            measured = []
            for look in looks:
                turned = draw(portrait, np.zeros(18), look, rng)
                landmarks = meshed(finder, [turned] * 3)
                measured.append(
                    np.nan if landmarks is None else head_pose.pose_deg(mesh.align(landmarks[None]))[0, column]
                )
            if np.isfinite(measured).all():
                fits[name].append((np.polyfit(STEPS, measured, 1)[0], np.corrcoef(STEPS, measured)[0, 1]))
    for name, values in fits.items():
        slope, r = np.median(values, axis=0)
        print(f"{name}: {len(values)} people turned by -15 to 15 degrees, median slope {slope:.2f}, r {r:.2f}")
    if args.openface:
        against_openface(*args.openface)


def against_openface(clip: Path, table: Path) -> None:
    """Print slope and r with OpenFace 2 on the same frames; its yaw and gaze differ in sign or by the lens."""
    face = mesh.align(clip_landmarks(clip))
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    ours = np.column_stack([head_pose.pose_deg(face), head_pose.gaze_deg(face)])
    names = ("pose_Rx", "pose_Ry", "pose_Rz", "gaze_angle_x", "gaze_angle_y")
    if len(rows) != len(ours):
        raise SystemExit(f"{table} has {len(rows)} rows, {clip} {len(ours)} frames with a face; all must have one.")
    for column, name in enumerate(names):
        theirs = np.degrees([float(row[name]) for row in rows])
        slope, r = np.polyfit(theirs, ours[:, column], 1)[0], np.corrcoef(theirs, ours[:, column])[0, 1]
        print(f"{name}: slope {slope:.2f}, r {r:.2f}")


if __name__ == "__main__":
    main()
