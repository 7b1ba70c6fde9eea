"""Fit bemerc/extraction/face/average_face.npz and action_units.npz, and print how good they are.

    python -m fits.action_units --faces DIR --clips DIR --task face_landmarker.task [--work DIR] [--per-face 70]

--faces holds pictures of people (any number in one picture), --clips a few videos with a face, --task is MediaPipe's
face landmarker (Apache-2.0). About 20 minutes on one core; what is slow (warping, asking the model) is kept in --work.

1. Every face is found, cut out and meshed; their average, made symmetric, is the average face.
2. Each person is warped by known action units (fits/face_warps.py), at four sizes, with noise, and meshed again.
3. The blendshape model is asked about some 90,000 landmark sets made of those, and a small network learns to answer.
   Two pictures in ten and two clips are held out to measure how well.
4. A ridge regression over all points learns the planted intensities, from how each face differs from its own rest and a
   little from how people differ; it is blended with the network's shapes, and put on a scale from 0 to 5.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import action_units, blendshapes, mesh
from bemerc.extraction.face.action_units import UNITS
from bemerc.extraction.networks import MESH_POINTS, BlendshapeModel
from bemerc.media.video import Video
from fits.face_warps import Portrait, draw
from fits.mediapipe_graphs import FaceMesh
from fits.photographs import CROP, meshed, people
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
    finder, frames_with_face = FaceMesh(0.5, 0.5), []
    with Video(path) as video:
        for frame in video:
            rgb = frame.rgb()
            detected = finder(rgb, frame.timestamp_s)
            if detected is not None:
                height, width = rgb.shape[:2]
                frames_with_face.append(detected[0] * np.array([width, height, width], np.float32))
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


# --------------------------------------------------------------------------------------------------------- blendshapes


def landmark_sets(
    points: Array, own: NDArray[np.intp], rests: dict[int, Array], count: int, rng: np.random.Generator
) -> Array:
    """``count`` faces (478, 2) made of these: movements added and exaggerated, heads mixed, turned, with some noise."""
    moved = points - np.array([rests[int(who)] for who in own])
    weight = np.where(own < 0, 8.0, 1.0)  # a real clip's frames count more than warps
    weight /= weight.sum()
    out = np.empty((count, MESH_POINTS, 2), np.float32)
    for row in range(count):
        face = points[rng.choice(len(points), p=weight)].copy()
        for _ in range(rng.integers(0, 3)):
            face += rng.uniform(-0.3, 1.4) * moved[rng.choice(len(points), p=weight)]
        if rng.random() < 0.4:
            a, b = rng.choice(len(points), 2)
            face += rng.uniform(-0.4, 0.4) * (rests[int(own[a])] - rests[int(own[b])])
        if rng.random() < 0.7:
            face = face @ _random_turn(rng).T
        out[row] = (face + rng.normal(0, 0.0015, face.shape))[:, :2]
    return out


def _random_turn(rng: np.random.Generator) -> Array:
    from fits.face_warps import rotation

    yaw, pitch, roll = rng.normal(0, (14, 10, 8))
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ rotation(yaw, pitch)


def learn_shapes(faces: Array, scores: Array, epochs: int, seed: int) -> dict[str, NDArray[np.generic]]:
    """Fit the network of bemerc.extraction.face.blendshapes; its part of action_units.npz."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    live = np.flatnonzero(scores.std(axis=0) > 0.005)
    inputs = blendshapes.upright(faces).astype(np.float32)
    mean, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-4
    x = torch.tensor((inputs - mean) / spread)
    y = torch.tensor(scores[:, live].astype(np.float32))
    weight = 1 / y.std(dim=0).clamp(min=0.02)
    layers = [torch.nn.Linear(x.shape[1], 192), torch.nn.SiLU(), torch.nn.Linear(192, 96), torch.nn.SiLU()]
    net = torch.nn.Sequential(*layers, torch.nn.Linear(96, len(live)))
    size = 512
    steps = epochs * (len(x) // size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x) - size + 1, size):
            rows = order[start : start + size]
            loss = (((torch.sigmoid(net(x[rows])) - y[rows]) * weight) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"shapes: epoch {epoch + 1} of {epochs}, loss {loss.item():.4f}", flush=True)
    numbers = {f"net{i}": p.detach().numpy().astype(np.float16) for i, p in enumerate(net.parameters())}
    return {
        "shapes": live.astype(np.int16),
        "shape_mean": mean,
        "shape_spread": spread,
        **numbers,
    }


# ---------------------------------------------------------------------------------------------------------- intensities


def fit_units(made: Warps, mirror: NDArray[np.intp], real: list[Array]) -> dict[str, NDArray[np.generic]]:
    """The points' and shapes' weights and the rest: the other part of action_units.npz. ``real`` are clips' points."""
    flat = (made.points - mesh.average_face())[:, :, :2].reshape(len(made.points), -1)
    wanted = made.intensities.copy()
    parts, drops = UNITS.index(25), UNITS.index(26)
    wanted[:, parts] = np.minimum(5, wanted[:, parts] + LIPS_PART * wanted[:, drops])
    weights = _ridge(flat, wanted, made, mirror)
    teach = np.zeros((len(blendshapes.SHAPES), len(UNITS)))
    for unit, names in TEACHERS.items():
        for name in names:
            teach[blendshapes.SHAPES.index(name), UNITS.index(unit)] = 1 / len(names)
    share = np.where(teach.any(axis=0), SHARE, 0)
    shapes = blendshapes.scores(made.points)
    moved, taught = (_own_change(values, made) for values in (flat @ weights, shapes @ teach))
    weights = weights * (1 - share) / moved.std(axis=0)
    teach = teach * share / np.maximum(taught.std(axis=0), 0.03)

    def raw(points: Array) -> Array:
        change = (points - mesh.average_face())[:, :, :2].reshape(len(points), -1)
        return np.asarray(change @ weights + blendshapes.scores(points) @ teach)

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


def against_model(name: str, points: Array, model: BlendshapeModel) -> None:
    """Print r of the network with the model on the same landmarks, over the shapes that move."""
    ours, theirs = blendshapes.scores(points), model(points)
    moves = np.flatnonzero(theirs.std(axis=0) >= 0.02)
    r = np.array([np.corrcoef(ours[:, i], theirs[:, i])[0, 1] for i in moves])
    low = ", ".join(f"{blendshapes.SHAPES[i]} {x:.2f}" for i, x in zip(moves, r, strict=True) if not x >= 0.9)
    print(
        f"network and model, {name}: {len(moves)} shapes move, median r {np.median(r):.3f}, below .90: {low or 'none'}"
    )


def against_tasks(path: Path, task: Path) -> None:
    """Print r of the network, on the bundled mesh, with the Tasks face landmarker, which has a mesh of its own."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(task)),
        running_mode=vision.RunningMode.VIDEO,
        output_face_blendshapes=True,
    )
    finder, ours, theirs = FaceMesh(0.5, 0.5), [], []
    with vision.FaceLandmarker.create_from_options(options) as landmarker, Video(path) as video:
        for number, frame in enumerate(video):
            rgb = frame.rgb()
            picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=rgb)
            other = landmarker.detect_for_video(picture, number * 40).face_blendshapes
            detected = finder(rgb, frame.timestamp_s)
            if other and detected is not None:
                ours.append(detected[0] * np.array([rgb.shape[1], rgb.shape[0], rgb.shape[1]]))
                theirs.append([shape.score for shape in other[0]])
    if len(ours) < 20:
        return
    a = blendshapes.scores(mesh.align(np.array(ours, np.float32)).points)
    b = np.array(theirs)
    moves = b.std(axis=0) >= 0.02
    r = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in np.flatnonzero(moves) if a[:, i].std() > 0]
    print(f"network and the Tasks pipeline, {path.name}: {len(r)} shapes, median r {np.median(r):.2f}")


def on_another_portrait(seed: int, clips: int = 40, frames: int = 30) -> None:
    """Print r within clips of a portrait that was not fitted on (scikit-image's), moved over time by our own warps."""
    from skimage import data

    rng, finder = np.random.default_rng(seed), FaceMesh(0.5, 0.5)
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
            finder(camera(draw(portrait, now, look, np.random.default_rng(jitter)), 1, 5, rng), t / 25)
            for t, now in enumerate(course)
        ]
        if any(one is None for one in detected):
            continue
        read = action_units.from_landmarks(np.array([one[0] * CROP for one in detected if one], np.float32))
        for unit in active:
            r[UNITS[unit]].append(float(np.corrcoef(read[:, unit], course[:, unit])[0, 1]))
    each = {unit: float(np.median(values)) for unit, values in r.items() if values}
    print("another portrait, median r within clips:", " ".join(f"AU{unit:02d} {x:.2f}" for unit, x in each.items()))
    print(f"median over units: {np.median(list(each.values())):.2f}")


# ---------------------------------------------------------------------------------------------------------------- main


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    persons = people(args.faces)
    print(f"{len(persons)} faces in {len({person.picture for person in persons})} pictures")
    np.savez_compressed(
        PACKAGE / "average_face.npz", points=average(np.array([p.landmarks for p in persons])).astype(np.float32)
    )
    mesh.average_face.cache_clear()
    clips = {path.name: clip_landmarks(path) for path in sorted(args.clips.iterdir())}
    real = {name: mesh.align(points).points for name, points in clips.items() if len(points) >= 20}
    made = _kept(args.work / "warps.npz", lambda: warps(persons, args.per_face, args.seed))
    pictures = sorted({person.picture for person in persons})
    out = np.array([pictures.index(person.picture) % 5 == 1 for person in persons])[made.person]
    longest = max(real, key=lambda name: len(real[name]))
    model = BlendshapeModel(args.task)
    points = np.concatenate([made.points[~out], real[longest]])
    own = np.concatenate([made.person[~out], np.full(len(real[longest]), -1)])
    rests = {int(who): made.points[made.rest & (made.person == who)].mean(axis=0) for who in np.unique(made.person)}
    rests[-1] = real[longest].mean(axis=0)
    faces = landmark_sets(points, own, rests, args.sets, rng)
    numbers = learn_shapes(faces, model(faces), args.epochs, args.seed)
    np.savez_compressed(PACKAGE / "action_units.npz", **numbers)
    blendshapes.network.cache_clear()
    numbers |= fit_units(made, mirrored(mesh.average_face()), list(real.values()))
    np.savez_compressed(PACKAGE / "action_units.npz", **numbers)
    blendshapes.network.cache_clear()
    against_model("warps of people kept out", made.points[out], model)
    for name, points in real.items():
        against_model(f"{name}{' (fitted on)' if name == longest else ''}", points, model)
        against_tasks(args.clips / name, args.task)
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
    parser.add_argument("--task", type=Path, required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--work", type=Path, default=Path("build/action_units"), help="what is slow is kept here")
    parser.add_argument("--per-face", type=int, default=70, help="mixtures of units per person")
    parser.add_argument(
        "--sets", type=int, default=90_000, help="landmark sets that the blendshape model is asked about"
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
