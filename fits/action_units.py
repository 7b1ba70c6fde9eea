"""Fit bemerc/extraction/face/average_face.npz and action_units.npz, and print how good they are.

    python -m fits.action_units --faces DIR --clips DIR [--work DIR] [--per-face 70]

--faces holds pictures of people (any number in one picture), --clips a few videos with a face. About 15 minutes on one
core; what is slow (warping) is kept in --work.

1. Every face is found, cut out and meshed; their average, made symmetric, is the average face.
2. Each person is warped by known action units (fits/face_warps.py), at four sizes, with noise, and meshed again.
3. A ridge regression over all points learns the planted intensities, from how each face differs from its own rest and a
   little from how people differ; it is blended with the blendshape model's scores, and put on a scale from 0 to 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

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
SHARE = 0.3  # of the shapes in a blended unit
RIDGE = 10.0
BETWEEN = 0.1  # weight of how people differ, against how each moves: it teaches that a broad mouth is no smile
LIPS_PART = 0.8  # of AU26 that parts the lips, where the warp moves AU26 alone
TOP = 4.0  # what a fully planted movement, or the most expressive 2 % of real frames, shall read
REST_PERCENTILE = 35


# ------------------------------------------------------------------------------------------------------------- people


def clip_landmarks(path: Path) -> NDArray[np.float32]:
    """(T, 478, 3) in pixels, the frames with a face of one clip."""
    finder, frames_with_face = Finder(), []
    with Video(path) as video:
        for frame in video:
            landmarks = finder(frame.rgb())
            if landmarks is not None:
                frames_with_face.append(landmarks)
    return np.array(frames_with_face, np.float32).reshape(-1, MESH_POINTS, 3)


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


def fit_units(made: Warps, mirror: NDArray[np.intp], real: list[Array]) -> dict[str, NDArray[np.generic]]:
    """The points' and shapes' weights and the rest: action_units.npz. ``real`` are clips' points."""
    flat = (made.points - mesh.average_face())[:, :, :2].reshape(len(made.points), -1)
    wanted = made.intensities.copy()
    parts, drops = UNITS.index(25), UNITS.index(26)
    wanted[:, parts] = np.minimum(5, wanted[:, parts] + LIPS_PART * wanted[:, drops])
    weights = _ridge(flat, wanted, made, mirror)
    teach = np.zeros((len(BLENDSHAPES), len(UNITS)))
    for unit, names in TEACHERS.items():
        for name in names:
            teach[BLENDSHAPES.index(name), UNITS.index(unit)] = 1 / len(names)
    share = np.where(teach.any(axis=0), SHARE, 0)
    shapes = action_units.packaged_shapes()(made.points)
    moved, taught = (_own_change(values, made) for values in (flat @ weights, shapes @ teach))
    weights = weights * (1 - share) / moved.std(axis=0)
    teach = teach * share / np.maximum(taught.std(axis=0), 0.03)

    def raw(points: Array) -> Array:
        change = (points - mesh.average_face())[:, :, :2].reshape(len(points), -1)
        return np.asarray(change @ weights + action_units.packaged_shapes()(points) @ teach)

    rest, gain = _scale(raw, made, real)
    return {
        "points": (weights * gain).reshape(-1, 2, len(UNITS)).astype(np.float16),
        "blend": (teach * gain).astype(np.float32),
        "rest": (rest * gain).astype(np.float32),
    }


def _ridge(flat: Array, wanted: Array, made: Warps, mirror: NDArray[np.intp]) -> Array:
    """Each face against its own rest, beside each against the average face with a small weight; and all mirrored."""
    level = flat - np.mean(
        [flat[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)], axis=0
    )
    change = _own_change(flat, made)
    rows = [change, _flip(change, mirror), BETWEEN * level, BETWEEN * _flip(level, mirror)]
    answers = [wanted, wanted, *[BETWEEN * (wanted - wanted.mean(axis=0))] * 2]
    x, y = np.concatenate(rows), np.concatenate(answers)
    return np.asarray(np.linalg.solve(x.T @ x + 2 * RIDGE * np.eye(x.shape[1]), x.T @ y))


def _flip(flat: Array, mirror: NDArray[np.intp]) -> Array:
    other = flat.reshape(len(flat), -1, 2)[:, mirror] * (-1, 1)
    return np.asarray(other.reshape(len(flat), -1))


def _own_change(values: Array, made: Warps) -> Array:
    """Each row minus its own person's mean at rest."""
    rests = {who: values[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)}
    return values - np.array([rests[who] for who in made.person])


def _scale(raw: Callable[[Array], Array], made: Warps, real: list[Array]) -> tuple[Array, Array]:
    """Where rest lies and how much one intensity is, from the warps' answers to one unit alone and from real clips."""
    values = raw(made.points)
    change = _own_change(values, made)
    alone = (made.intensities > 0).sum(axis=1) == 1
    full = np.empty(len(UNITS))
    for unit in range(len(UNITS)):
        rows = alone & (made.intensities[:, unit] > 2)
        full[unit] = (change[rows, unit] / made.intensities[rows, unit]).mean() * 5
    real_values = [raw(points) for points in real]
    rests = [values[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)]
    rest = np.percentile([*rests, *(np.percentile(t, 30, axis=0) for t in real_values)], REST_PERCENTILE, axis=0)
    high = np.percentile(np.concatenate([*real_values, values[made.rest]]), 98, axis=0) - rest
    return rest, TOP / np.maximum(full * TOP / 5, high)


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
    clips = {path.name: clip_landmarks(path) for path in sorted(args.clips.iterdir()) if path.is_file()}
    real = {name: mesh.align(points).points for name, points in clips.items() if len(points) >= 20}
    made = _kept(args.work / "warps.npz", lambda: warps(persons, args.per_face, args.seed))
    numbers = fit_units(made, mirrored(mesh.average_face()), list(real.values()))
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
    parser.add_argument("--work", type=Path, default=Path("build/action_units"), help="what is slow is kept here")
    parser.add_argument("--per-face", type=int, default=70, help="mixtures of units per person")
    parser.add_argument("--seed", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
