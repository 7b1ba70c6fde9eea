"""Action units against OpenFace, at rest, and while a head turns: the tables of docs/measurements/action_units.md.

    python -m benchmarks.action_units --clips DIR --openface DIR [--data data] [--faces DIR]

--openface  folder of OpenFace 2's tables (NAME.openface2.csv) of some of the clips
--data      a folder that `dvc repro` made on the embedded sample, whose intensities are known
--faces     folder of pictures with people, who are turned (by up to 35 degrees, and nodded by up to 20) at rest

Per unit: the mean where OpenFace reads below 0.1 (rest), mean absolute difference and r over all frames; how far it
moves while a portrait that is in no fit turns from -30 to 30 degrees and nods from -20 to 20 without any expression;
r with the planted intensities of the sample within clips, and with each speaker's mean taken off; of turned people how
far a unit moves (root mean square, before floor and ceiling) and its r with the head's pitch and with the size of its yaw.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.cache import open_cache
from bemerc.corpus.manifest import read_manifest
from bemerc.extraction.face import action_units, mesh
from bemerc.extraction.face.action_units import COLUMNS, UNITS, from_landmarks
from bemerc.extraction.face.head_pose import pose_deg
from benchmarks.control_measures import unit_agreement
from benchmarks.sample_truth import read_intensities
from fits.action_units import clip_landmarks, read_openface
from fits.face_warps import Look, Portrait, draw
from fits.photographs import CROP, Finder, meshed, people
from fits.warped_people import camera

Array = NDArray[np.float64]
REST = 0.1
# Yaw and pitch, the first at rest.
TURNS = [(0.0, 0.0)] + [
    (yaw, pitch)
    for yaw in (-35.0, -22.0, -10.0, 0.0, 10.0, 22.0, 35.0)
    for pitch in (-20.0, -12.0, -5.0, 0.0, 5.0, 12.0, 20.0)
    if 0 < abs(yaw) / 35 + abs(pitch) / 20 <= 1.3
]


def against_openface(clips: Path, tables: Path) -> None:
    for path in sorted(clips.iterdir()):
        table = tables / f"{path.stem}.openface2.csv"
        if not path.is_file() or not table.is_file():
            continue
        ours, theirs = from_landmarks(clip_landmarks(path)).astype(np.float64), read_openface(table)
        frames = min(len(ours), len(theirs))
        ours, theirs = ours[:frames], theirs[:frames]
        print(f"{path.name}: {frames} frames; unit, mean, OpenFace's, at its rest, absolute difference, r")
        differences = []
        for column, unit in enumerate(UNITS):
            x, y = ours[:, column], theirs[:, column]
            both = np.isfinite(x) & np.isfinite(y)
            if both.any():
                difference = np.abs(x - y)[both].mean()
                differences.append(difference)
                at_rest = x[both & (y < REST)]
                resting = f"{at_rest.mean():.2f}" if at_rest.size else ""
                r = np.corrcoef(x[both], y[both])[0, 1]
                print(f"AU{unit:02d} {x[both].mean():.2f} {y[both].mean():.2f} {resting} {difference:.2f} {r:.2f}")
        print(f"mean absolute difference {np.mean(differences):.2f}, {sum(d <= 0.5 for d in differences)} up to .5")


def while_turning() -> None:
    from skimage import data

    finder = Finder()
    crop = cv2.resize(data.astronaut()[:360, 60:420], (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    landmarks = meshed(finder, [crop] * 4)
    assert landmarks is not None, "the portrait has a face"
    portrait, still = Portrait(crop, landmarks), np.zeros(len(UNITS))
    yaws = [Look(jitter=0, yaw=float(angle)) for angle in np.linspace(-30, 30, 41)]
    pitches = [Look(jitter=0, pitch=float(angle)) for angle in np.linspace(-20, 20, 41)]
    for name, looks in (("yaw", yaws), ("pitch", pitches)):
        finder.reset()
        turned = [finder(draw(portrait, still, look, np.random.default_rng(0))) for look in looks]
        units = from_landmarks(np.array([one for one in turned if one is not None], np.float32))
        moved = np.ptp(units, axis=0)
        print(f"moved by a {name}:", " ".join(f"{c[:4]} {m:.2f}" for c, m in zip(COLUMNS, moved, strict=True)))


def while_people_turn(faces: Path) -> None:
    rng, finder = np.random.default_rng(5), Finder(0.3)
    moved, poses, persons = [], [], people(faces)
    for person in persons:
        portrait, landmarks = Portrait(person.crop, person.landmarks), []
        for yaw, pitch in TURNS:
            drawn = draw(portrait, np.zeros(len(UNITS)), Look(jitter=0, yaw=yaw, pitch=pitch), rng)
            size, noise = rng.uniform(0.5, 1), int(rng.integers(0, 9))
            landmarks.append(
                meshed(finder, [camera(picture, size, noise, rng) for picture in (person.crop, drawn, drawn)])
            )
        if landmarks[0] is not None:
            face = mesh.align(np.array([one for one in landmarks if one is not None]))
            raw = action_units.linear(face)
            moved.append(raw[1:] - raw[0])
            poses.append(pose_deg(face)[1:])
    units, pose = np.concatenate(moved), np.concatenate(poses)
    seen = np.isfinite(units).all(axis=1)
    units, turns = units[seen], np.stack([pose[seen, 0], np.abs(pose[seen, 1])], axis=1)
    print(
        f"{len(persons)} people turned, {len(units)} meshes: unit, root mean square, r with pitch, r with the yaw's size"
    )
    for number, unit in enumerate(UNITS):
        with_pitch, with_yaw = (np.corrcoef(units[:, number], turn)[0, 1] for turn in turns.T)
        print(f"AU{unit:02d} {np.sqrt((units[:, number] ** 2).mean()):.2f} {with_pitch:.2f} {with_yaw:.2f}")


def on_the_sample(data: Path) -> None:
    truth = read_intensities(data / "sample")
    speakers = {u.id: u.speaker for u in read_manifest(data / "manifest.jsonl").utterances}
    with open_cache(data / "cache" / "face.h5", "face") as face:
        names = [name for name in next(iter(truth.values())).unit_names if f"{name}_r" in COLUMNS]
        columns = [COLUMNS.index(f"{name}_r") for name in names]
        pairs = []
        for id_ in face.ids:
            landmarks = face.landmarks(id_)
            assert landmarks is not None
            planted = np.stack([truth[id_].unit(name) for name in names], axis=1).astype(np.float64)
            seen = np.isfinite(landmarks).all(axis=(1, 2))
            pairs.append((from_landmarks(landmarks)[:, columns].astype(np.float64)[seen], planted[seen]))
        agreement = unit_agreement(pairs, [speakers[id_] for id_ in face.ids])
    stored, own = np.diag(agreement.stored), np.diag(agreement.pooled)
    print("sample: unit, as stored, within speakers, within clips")
    for row in zip(names, stored, own, agreement.within, strict=True):
        print(f"{row[0]} {row[1]:.2f} {row[2]:.2f} {row[3]:.2f}")
    print(f"median {np.median(stored):.2f} {np.median(own):.2f} {np.nanmedian(agreement.within):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--openface", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--faces", type=Path)
    args = parser.parse_args()
    against_openface(args.clips, args.openface)
    while_turning()
    if args.faces is not None:
        while_people_turn(args.faces)
    if args.data is not None:
        on_the_sample(args.data)


if __name__ == "__main__":
    main()
