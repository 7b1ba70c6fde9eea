"""Fit bemerc/extraction/face/average_face.npz and action_units.npz, and print how good they are.

    python -m fits.action_units --faces DIR --clips DIR --openface DIR [--work DIR] [--per-face 70]

--faces holds pictures of people (any number in one picture), --clips a few videos with a face, --openface OpenFace 2's
table of one or more of them (NAME.openface2.csv). About 20 minutes on one core; what is slow (warping) is kept in --work.

1. Every face is found, cut out and meshed; their average, made symmetric, is the average face.
2. Each person is warped by known action units and turned (fits/face_warps.py), at several sizes, with noise, and meshed
   again.
3. A ridge regression over all points learns what the blendshape model's scores leave of the planted intensities, from
   how each face differs from its own rest and a little from how people differ.
4. The scale is OpenFace's, by the frames of its tables; the zero that of people at rest.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import action_units, mesh
from bemerc.extraction.face.action_units import UNITS
from bemerc.extraction.networks import BLENDSHAPES, MESH_POINTS
from bemerc.media.video import Video
from fits.face_warps import Portrait, draw
from fits.photographs import CROP, Finder, meshed, people
from fits.warped_people import Warps, camera, random_look, warps

Array = NDArray[np.float64]
Scores = NDArray[np.float32]  # of the blendshape model
PACKAGE = Path(__file__).resolve().parents[1] / "bemerc" / "extraction" / "face"

# Unit -> the shapes that measure it (left and right are averaged), where the blendshape model is reliable.
TEACHERS = {
    1: ("browInnerUp",),
    2: ("browOuterUpLeft", "browOuterUpRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    12: ("mouthSmileLeft", "mouthSmileRight"),
    15: ("mouthFrownLeft", "mouthFrownRight"),
    17: ("mouthShrugLower",),
    20: ("mouthStretchLeft", "mouthStretchRight"),
    25: ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    26: ("jawOpen",),
    28: ("mouthRollLower", "mouthRollUpper"),
    45: ("eyeBlinkLeft", "eyeBlinkRight"),
}
SHARE = 0.3  # of an intensity that is left to the shapes in a blended unit
RIDGE = 3.0
BETWEEN = 0.3  # weight of how people differ, against how each moves: it teaches that a broad mouth is no smile
LIPS_PART = 0.8  # of AU26 that parts the lips, where the warp moves AU26 alone
# What a clip shows most of is taken for the person's rest, but not outside of these percentiles of people's resting
# faces, for units of which mouths at rest differ little: a smile may last through a clip, and who talks rounds the lips so often that
# a mouth at rest would read as lip corners pulled up. (Brows differ: rims of glasses read as brows raised to 3.)
LOWEST_REST, HIGHEST_REST = 10, 90
HELD = (6, 10, 12, 14, 20, 25, 26)
GAINS = np.exp(np.arange(-3.0, 2.5, 0.1))
SLACK = (1.05, 0.03)  # of two scales that agree with OpenFace about as well (times, plus) the larger is taken

# A resting face by the blendshape model: these scores lie below the limits.
_MOUTH = (
    (("mouthSmileLeft", "mouthSmileRight"), 0.2),
    (("jawOpen",), 0.1),
    (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.2),
    (("mouthShrugLower",), 0.15),
)
_BROWS = ((("browInnerUp",), 0.05), (("browOuterUpLeft", "browOuterUpRight"), 0.1))
_EYES = ((("eyeBlinkLeft", "eyeBlinkRight"), 0.35), (("eyeSquintLeft", "eyeSquintRight"), 0.6))
NEUTRAL = {
    **dict.fromkeys((6, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28), _MOUTH),
    **dict.fromkeys((1, 2), _BROWS),
    4: ((("browDownLeft", "browDownRight"), 0.3),),
    **dict.fromkeys((5, 7, 45), _EYES),
}


# ------------------------------------------------------------------------------------------------------------- people


def compared(clips: Path, tables: Path) -> list[tuple[Array, Array]]:
    """Of each clip with a table of OpenFace: points (T, 478, 3) and OpenFace's intensities (T, 18) of the same frames,
    NaN in units that it does not measure and in frames in which it has no face; frames without our mesh are left out."""
    result = []
    for path in sorted(clips.iterdir()):
        table = tables / f"{path.stem}.openface2.csv"
        if path.is_file() and table.is_file():
            landmarks, rows = clip_landmarks(path), read_openface(table)
            frames = min(len(landmarks), len(rows))
            face = mesh.align(landmarks[:frames])
            measured = np.isfinite(face.scale)
            result.append((face.points[measured], rows[:frames][measured]))
    return result


def clip_landmarks(path: Path) -> NDArray[np.float32]:
    """(T, 478, 3) in pixels, every frame of one clip, NaN where there is no face."""
    finder, missing = Finder(), np.full((MESH_POINTS, 3), np.nan, np.float32)
    with Video(path) as video:
        detected = [finder(frame.rgb()) for frame in video]
    return np.array([missing if one is None else one for one in detected], np.float32)


def read_openface(path: Path) -> Array:
    """(T, 18) the intensities of OpenFace's table, NaN in units that it does not have and frames without success."""
    with path.open(newline="") as file:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(file)]
    values = [[float(row.get(column, "nan")) for column in action_units.COLUMNS] for row in rows]
    return np.asarray(np.where(np.array([float(row["success"]) > 0 for row in rows])[:, None], values, np.nan))


def average(landmarks: NDArray[np.float32]) -> Array:
    """(478, 3) the median of people's meshes aligned to it, round after round, made symmetric."""
    face = mesh.average_face()
    for _ in range(8):
        face = np.median(mesh.align(landmarks, face).points, axis=0)
        x = face[263] - face[33]
        y = face[152] - face[10]
        unit, face = float(np.linalg.norm(x)), face - (face[33] + face[263]) / 2
        x = x / unit
        y = y - x * (x @ y)
        y = y / np.linalg.norm(y)
        face = face @ np.stack([x, y, np.cross(x, y)], axis=1) / unit
        face = (face + face[mirrored(face)] * (-1, 1, 1)) / 2
    return np.asarray(face)


def mirrored(face: Array) -> NDArray[np.intp]:
    """For each point the one on the other side."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return np.asarray(linear_sum_assignment(cdist(face, face * (-1, 1, 1)) ** 2)[1])


# ---------------------------------------------------------------------------------------------------------- intensities


def fit_units(
    made: Warps, mirror: NDArray[np.intp], compared: list[tuple[Array, Array]]
) -> dict[str, NDArray[np.generic]]:
    """action_units.npz: the points' and shapes' weights, the usual rest, and how far below and above it people rest.

    compared  points (T, 478, 3) of clips, and OpenFace's intensities (T, 18) of the same frames, NaN where it has none
    """
    shapes = action_units.packaged_shapes()(made.points)
    weights, teach = _regression(made, shapes, mirror)

    def raw(points: Array) -> Array:
        change = (points - mesh.average_face())[:, :, :2].reshape(len(points), -1)
        return np.asarray(change @ weights + action_units.packaged_shapes()(points) @ teach)

    usual, lowest, highest = _rests(raw(made.points), shapes, made)
    gain = openface_gain([(raw(points), wanted) for points, wanted in compared], lowest, highest)
    return {
        "points": (weights * gain).reshape(-1, 2, len(UNITS)).astype(np.float16),
        "blend": (teach * gain).astype(np.float32),
        "rest": (usual * gain).astype(np.float32),
        "lowest_rest": ((lowest - usual) * gain).astype(np.float32),
        "highest_rest": ((highest - usual) * gain).astype(np.float32),
    }


def _regression(made: Warps, shapes: Scores, mirror: NDArray[np.intp]) -> tuple[Array, Array]:
    """Weights of the points (956, 18) and of the shapes (52, 18): each face against its own rest, beside each against
    the average of people with a small weight; and all mirrored."""
    wanted = made.intensities.copy()
    parts, drops = UNITS.index(25), UNITS.index(26)
    wanted[:, parts] = np.minimum(5, wanted[:, parts] + LIPS_PART * wanted[:, drops])
    teach = np.zeros((len(BLENDSHAPES), len(UNITS)))
    for unit, names in TEACHERS.items():
        for name in names:
            teach[BLENDSHAPES.index(name), UNITS.index(unit)] = 1 / len(names)
    scores = _own_change(shapes, made) @ teach
    teach = teach * SHARE * (scores * wanted).sum(axis=0) / np.maximum((scores**2).sum(axis=0), 1e-9)
    flat = (made.points - mesh.average_face())[:, :, :2].reshape(len(made.points), -1)
    people_rest = [flat[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)]
    level, change = BETWEEN * (flat - np.mean(people_rest, axis=0)), _own_change(flat, made)
    left = wanted - _own_change(shapes, made) @ teach
    between = BETWEEN * (wanted - wanted.mean(axis=0))
    x = np.concatenate([change, _flip(change, mirror), level, _flip(level, mirror)])
    y = np.concatenate([left, left, between, between])
    return np.asarray(np.linalg.solve(x.T @ x + 2 * RIDGE * np.eye(x.shape[1]), x.T @ y)), teach


def _flip(flat: Array, mirror: NDArray[np.intp]) -> Array:
    other = flat.reshape(len(flat), -1, 2)[:, mirror] * (-1, 1)
    return np.asarray(other.reshape(len(flat), -1))


def _own_change(values: Array | Scores, made: Warps) -> Array:
    """Each row minus its own person's mean at rest."""
    rests = {who: values[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)}
    return np.asarray(values - np.array([rests[who] for who in made.person]))


def _rests(values: Array, shapes: Scores, made: Warps) -> tuple[Array, Array, Array]:
    """Per unit where people's faces rest, of those who are at rest: the median, and the lowest and the highest but for a tenth
    (infinite where they are not used)."""
    usual, lowest, highest = (np.empty(len(UNITS)) for _ in range(3))
    for number, unit in enumerate(UNITS):
        rests = []
        for who in np.unique(made.person):
            rows = made.rest & (made.person == who)
            scores = shapes[rows].mean(axis=0)
            if all(np.mean([scores[BLENDSHAPES.index(name)] for name in names]) < top for names, top in NEUTRAL[unit]):
                rests.append(values[rows, number].mean())
        lowest[number], usual[number], highest[number] = np.percentile(rests, (LOWEST_REST, 50, HIGHEST_REST))
        if unit not in HELD:
            lowest[number], highest[number] = -np.inf, np.inf
    return usual, lowest, highest


def openface_gain(clips: list[tuple[Array, Array]], lowest: Array, highest: Array) -> Array:
    """Per unit the factor from our raw values (T, 18) to OpenFace's (T, 18): the largest of those that agree about best.

    A unit that OpenFace does not measure gets the others' usual spread. Brows are scaled by the rest of all frames: by that of
    frames without a smile, on one clip, the scale came out twice as high, and turned heads moved AU02 six times as far.
    """
    gain = np.full(len(UNITS), np.nan)
    eyes = np.ones(1)  # how far they are open, once AU45 has its scale
    for unit in sorted(range(len(UNITS)), key=lambda one: one != action_units.BLINK):
        away = [
            raw[:, unit]
            - np.clip(np.percentile(raw[:, unit], action_units.REST_PERCENTILE), lowest[unit], highest[unit])
            for raw, _ in clips
        ]
        wanted = [openface[:, unit] for _, openface in clips]
        x, y = np.concatenate(away), np.concatenate(wanted)
        seen = eyes if unit == action_units.TIGHT else 1
        if np.isfinite(y).any():
            errors = np.array([np.nanmean(np.abs(action_units.bounded(factor * x) * seen - y)) for factor in GAINS])
            gain[unit] = GAINS[errors <= max(errors.min() * SLACK[0], errors.min() + SLACK[1])].max()
            if unit == action_units.BLINK:
                eyes = action_units.open_eyes(action_units.bounded(gain[unit] * x))
    spread = np.concatenate([raw for raw, _ in clips]).std(axis=0)
    return np.asarray(np.where(np.isfinite(gain), gain, np.nanmedian(gain * spread) / spread))


# -------------------------------------------------------------------------------------------------------------- quality


def on_another_portrait(seed: int, clips: int = 40, frames: int = 30) -> None:
    """Print r within clips of a portrait that was not fitted on (scikit-image's), moved over time by our own warps."""
    from skimage import data

    rng, finder = np.random.default_rng(seed), Finder()
    crop = cv2.resize(data.astronaut()[:360, 60:420], (CROP, CROP), interpolation=cv2.INTER_LINEAR)
    landmarks = meshed(finder, [crop] * 4)
    assert landmarks is not None, "the portrait has a face"
    portrait = Portrait(crop, landmarks)
    r: dict[int, list[float]] = {unit: [] for unit in UNITS}
    for _ in range(clips):
        look, active = random_look(rng), rng.choice(len(UNITS), 3, replace=False)
        course = np.zeros((frames, len(UNITS)))
        for unit in active:
            onset, offset = rng.uniform(2, 10), rng.uniform(18, 28)
            time = np.arange(frames)
            course[:, unit] = rng.uniform(1.5, 5) * np.clip(np.minimum((time - onset) / 4, (offset - time) / 5), 0, 1)
        jitter = int(rng.integers(10**9))
        finder.reset()
        detected = [
            finder(camera(draw(portrait, now, look, np.random.default_rng(jitter)), 1, 5, rng)) for now in course
        ]
        if any(one is None for one in detected):
            continue
        read = action_units.from_landmarks(np.array(detected, np.float32))
        for unit in active:
            r[UNITS[unit]].append(float(np.corrcoef(read[:, unit], course[:, unit])[0, 1]))
    each = {unit: float(np.median(values)) for unit, values in r.items() if values}
    print("another portrait, median r within clips:", " ".join(f"AU{unit:02d} {x:.2f}" for unit, x in each.items()))
    print(f"median over units: {np.median(list(each.values())):.2f}")


# ---------------------------------------------------------------------------------------------------------------- main


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    persons = people(args.faces)
    print(f"{len(persons)} faces in {len({person.picture for person in persons})} pictures")
    np.savez_compressed(
        PACKAGE / "average_face.npz", points=average(np.array([p.landmarks for p in persons])).astype(np.float32)
    )
    mesh.average_face.cache_clear()
    made = _kept(args.work / "warps.npz", lambda: warps(persons, args.per_face, args.seed))
    numbers: dict[str, Any] = fit_units(made, mirrored(mesh.average_face()), compared(args.clips, args.openface))
    np.savez_compressed(PACKAGE / "action_units.npz", **numbers)
    action_units.fitted.cache_clear()
    on_another_portrait(args.seed)


def _kept(path: Path, make: Callable[[], Warps]) -> Warps:
    if not path.exists():
        made = make()
        np.savez_compressed(path, **vars(made))
    with np.load(path) as file:
        return Warps(**{name: file[name] for name in file.files})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of pictures with people")
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos with a face")
    parser.add_argument("--openface", type=Path, required=True, help="folder of OpenFace 2's tables of some of them")
    parser.add_argument("--work", type=Path, default=Path("build/action_units"), help="what is slow is kept here")
    parser.add_argument("--per-face", type=int, default=70, help="mixtures of units per person")
    parser.add_argument("--seed", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
