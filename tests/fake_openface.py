"""A program that behaves as OpenFace's FeatureExtraction does, at the door: same arguments, same table, same ways to fail.

What it does depends on how red the right half of the film is: see MANNERS; and where a file "no models" lies beside it, it lacks
them, as after an installation that forgot to download them. Else it writes a row per frame whose AU12_r is
the left half's brightness over 51, so that a test can tell which frame a row was made of.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import av
import numpy as np

MANNERS = {40: "exit 0 and no table", 80: "half a table", 120: "crash", 160: "exit 1", 200: "no face", 240: "hang"}
NAMES = ("frame", "face_id", "timestamp", "confidence", "success", "gaze_angle_x", "gaze_angle_y")
NAMES += ("pose_Rx", "pose_Ry", "pose_Rz", "x_0", "x_1", "y_0", "y_1", "AU12_r", "AU45_r", "AU12_c", "AU28_c")


def main() -> None:
    film, out = (Path(sys.argv[sys.argv.index(flag) + 1]) for flag in ("-f", "-out_dir"))
    assert {"-aus", "-pose", "-gaze", "-2Dfp"} <= set(sys.argv)
    with av.open(str(film)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    red = float(np.mean([picture[:, picture.shape[1] // 2 + 4 :, 0].mean() for picture in pictures]))
    manner = next((says for value, says in MANNERS.items() if abs(red - value) < 4), "")
    print("Reading the landmark detector/predictor from: model/main_ceclm_general.txt", flush=True)
    if Path(sys.argv[0]).with_name("no models").exists():
        print("ERROR: Could not load the landmark detector", file=sys.stderr)
        sys.exit(1)
    if manner == "exit 0 and no table":
        print("ERROR: Could not open the video file", file=sys.stderr)
        return
    if manner == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if manner == "exit 1":
        sys.exit(1)
    if manner == "hang":
        time.sleep(1000)
    out.mkdir()
    (out / f"{film.stem}_of_details.txt").write_text("Input:film\n")
    kept = pictures[: len(pictures) // 2] if manner == "half a table" else pictures
    seen = manner != "no face"
    lines = [", ".join(NAMES)]
    for i, picture in enumerate(kept):
        light = picture[:, : picture.shape[1] // 2 - 4].mean() / 51 if seen else 0
        row = [i + 1, 0, round(i / 25, 3), 0.98 if seen else 0.02, int(seen), 0.1, 0, 0, -0.2, 0]
        lines.append(", ".join(map(str, [*row, 16, 48, 12, 36, round(light, 2), 0, 1, 0])))
    (out / f"{film.stem}.csv").write_text("\n".join(lines) + "\n")


main()
