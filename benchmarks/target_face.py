"""How often is the target face the speaker's? Active speaker detection on synthetic scenes.

``python -m benchmarks.target_face [--scenes 8] [--faces DIR] [--meld DIR] [--work DIR]``

A scene shows two or three of the sample's warped portraits side by side, of different sizes. Mouths follow the
phonemes of espeak-ng, not the sound (vowels open them, m, b and p close them), 40 to 80 ms ahead of it, by a random
amount per syllable.

one speaks   one talks, the others listen and make faces; the sound is the talker's
all talk     everybody's mouth moves, to sentences of its own; the sound is one person's, in turn everybody's
cuts         the same, cut between both together, one alone and the other alone; the sound is one person's, in turn both's
off          the sound is a voice whose mouth is not in the picture: nobody is right, and all should be marked uncertain

With ``--faces`` the people are those of photographs, every second one (fits/target_face.py fits on the others), drawn
by another warper (fits/face_warps.py), whose mouths are spread and rounded as well.

Each scene is a clip of 6 s, tracked once; bemerc.extraction.face.target_face then chooses in windows of it. A window
is right where nine in ten of the frames that show the speaker and somebody else are given to the speaker. The last row
draws windows as long as MELD's utterances (``--meld``: a folder with its tables; else their quantiles), 6 s at most,
from scenes in which one speaks, all talk, all talk and the sound is another's, and cuts, a fourth each. Then the share
that is right by score, off-screen voices counted as wrong.
"""

from __future__ import annotations

import argparse
import itertools
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import target_face
from bemerc.extraction.face.action_units import UNITS
from bemerc.extraction.face.clip_faces import ClipFaces
from bemerc.extraction.face.detection import FaceTracker
from bemerc.extraction.face.extractor import Params
from bemerc.extraction.face.target_face import FaceTrack
from bemerc.media.frame_view import Window
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import CroppedFrame, Video
from bemerc.sample.clip import write_clip
from bemerc.sample.looks import looks
from bemerc.sample.portrait import Sitter
from bemerc.sample.recipes import BODY_NAMES, RECIPES, UNIT_NAMES, perform
from fits.face_warps import Look, Portrait, draw
from fits.photographs import DRAWN, portraits
from fits.talker import BOTH, FPS, MELD_S, RATE_HZ, WOMEN, Speech, Talker, lengths, meld_lengths, resampled

Floats = NDArray[np.float64]

PARAMS = Params()
SIDE, LONG_S = 320, 6.0
LENGTHS_S = (1.2, 2.0, 3.5, 6.0)
LEAST_S = 0.5
DRAWS, BINS = 60, (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)


# --------------------------------------------------------------------------------------------------------------- people


class Photographed:
    """Somebody from a photograph, drawn as the sample's sitters are: ``draw(units, body)``."""

    def __init__(self, portrait: Portrait, seed: int) -> None:
        self._portrait, self._seed = portrait, seed

    def draw(self, units: dict[str, float], body: dict[str, float]) -> NDArray[np.uint8]:
        strength = [5 * units.get(f"AU{unit:02d}", 0.0) or 0.02 for unit in UNITS]
        shown = draw(self._portrait, np.array(strength), Look(jitter=0.3), np.random.default_rng(self._seed))
        near = (1 + body["lean"]) * SIDE / DRAWN
        place = cv2.getRotationMatrix2D((DRAWN / 2, DRAWN / 2), -body["roll"], near)
        place[:, 2] += (SIDE - DRAWN) / 2 + 8 * np.array([body["head_x"], body["head_y"]])
        drawn = cv2.warpAffine(shown, place, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(drawn, np.uint8)


# --------------------------------------------------------------------------------------------------------------- scenes


@dataclass(frozen=True)
class Shot:
    """Who is in the picture from this second on, from left to right."""

    start_s: float
    people: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """One clip: its shots, and whose sounds it can be given (person, or -1 for a voice from off)."""

    kind: str
    shots: tuple[Shot, ...]
    sounds: dict[int, NDArray[np.float32]]
    timestamps_s: Floats
    tracks: tuple[FaceTrack, ...]


def make(kind: str, number: int, talker: Talker, photographs: Sequence[Portrait], work: Path) -> Scene:
    """Draw, encode, decode and follow one scene."""
    rng = np.random.default_rng([number, sum(map(ord, kind))])
    count = 2 if kind == "cuts" or rng.random() < 0.6 else 3
    spoken = [talker.talk(LONG_S, BOTH if photographs else WOMEN, rng) for _ in range(count + 1)]
    talking = [0] if kind == "one speaks" else range(count)
    order = tuple(rng.permutation(count).tolist())
    shots = _shots(order, rng) if kind == "cuts" else (Shot(0.0, order),)
    path = work / f"{kind.replace(' ', '_')}_{number}.mp4"
    frames = _frames([spoken[p] if p in talking else None for p in range(count)], photographs, shots, rng)
    size = (SIDE * max(len(shot.people) for shot in shots), SIDE)
    write_clip(path, frames, spoken[0].sound, size=size, fps=FPS, rate_hz=RATE_HZ)
    sounds = {p: _room_sound(path, spoken[p].sound, work) for p in (talking if kind != "off" else [])}
    if kind == "off":
        sounds[-1] = _room_sound(path, spoken[count].sound, work)
    return Scene(kind, shots, sounds, *followed(path))


def followed(path: Path, start_s: float = 0.0, end_s: float = math.inf) -> tuple[Floats, tuple[FaceTrack, ...]]:
    """The times of a clip's frames from ``start_s`` to ``end_s``, and the faces that ``bemerc extract`` follows in them."""
    finder, faces = FaceTracker(PARAMS.faces, PARAMS.detection_confidence, PARAMS.tracking_confidence), ClipFaces()
    stamps: list[float] = []
    sizes: list[tuple[int, int]] = []
    with Video(path) as video:
        for frame in video:
            if frame.timestamp_s >= end_s:
                break
            if frame.timestamp_s < start_s:
                continue
            for one in finder(CroppedFrame(frame), frame.timestamp_s - start_s):
                faces.add(len(stamps), finder.shot, finder.view, one)
            stamps.append(frame.timestamp_s)
            sizes.append(frame.size)
    return np.array(stamps), tuple(faces.tracks(Window(sizes)))


def _shots(order: tuple[int, ...], rng: np.random.Generator) -> tuple[Shot, ...]:
    """Both, one alone, the other alone, both, ...: 0.5 to 1.6 s each."""
    alone, now_s = [(order[0],), (order[1],)], 0.0
    kinds = [order, alone[int(rng.integers(2))]]
    shots: list[Shot] = []
    while now_s < LONG_S:
        shots.append(Shot(now_s, kinds[len(shots) % 2]))
        kinds[1] = alone[int(rng.integers(2))]
        now_s += float(rng.uniform(0.5, 1.6))
    return tuple(shots)


def _frames(
    speeches: Sequence[Speech | None], photographs: Sequence[Portrait], shots: Sequence[Shot], rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    count = round(LONG_S * FPS)
    drawn = []
    faces = looks(12, int(rng.integers(1000)))
    chosen = rng.permutation(len(photographs)).tolist()
    for person, speech in enumerate(speeches):
        sitter: Sitter | Photographed = Sitter(faces[person], SIDE, SIDE)
        if chosen:
            sitter = Photographed(photographs[chosen[person]], int(rng.integers(1 << 30)))
        opened = speech.lips if speech is not None else np.zeros(count)
        emotion = str(rng.choice(sorted(RECIPES)))
        played = perform(emotion, 0.8, np.asarray(opened, np.float32), FPS, False, rng)
        if chosen and speech is not None:
            played.units[:, UNIT_NAMES.index("AU20")] += 0.5 * speech.spread
        size = int(rng.uniform(0.6, 1.0) * SIDE)
        pictures = []
        for unit, body in zip(played.units.tolist(), played.body.tolist(), strict=True):
            picture = sitter.draw(dict(zip(UNIT_NAMES, unit, strict=True)), dict(zip(BODY_NAMES, body, strict=True)))
            pictures.append(_framed(picture, size))
        drawn.append(pictures)
    wide = SIDE * max(len(shot.people) for shot in shots)
    result = []
    for i in range(count):
        shot = [shot for shot in shots if shot.start_s <= i / FPS + 1e-6][-1]
        result.append(_beside([drawn[person][i] for person in shot.people], wide))
    return result


def _framed(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Somebody who sits farther away: smaller, at the bottom, before a plain wall."""
    wall = np.full_like(picture, 90)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    left = (SIDE - size) // 2
    wall[SIDE - size :, left : left + size] = small
    return wall


def _beside(pictures: Sequence[NDArray[np.uint8]], wide: int) -> NDArray[np.uint8]:
    joined = np.concatenate(list(pictures), axis=1)
    if joined.shape[1] < wide:  # one alone: nearer, cut to the picture's shape
        scaled = cv2.resize(joined, (wide, wide), interpolation=cv2.INTER_LINEAR)
        joined = scaled[(wide - SIDE) // 2 :][:SIDE]
    return np.ascontiguousarray(joined)


def _room_sound(path: Path, sound: NDArray[np.int16], work: Path) -> NDArray[np.float32]:
    """The sound as a clip's own track would give it, with a little room noise."""
    wave = resampled(sound)
    noise = np.random.default_rng(len(path.name)).normal(0, 10 ** (-45 / 20) * wave.std() * 5, len(wave))
    return (wave + noise).astype(np.float32)


# -------------------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Judged:
    """person: whose sound it is; right: None where nobody was to be chosen."""

    kind: str
    person: int
    length_s: float
    right: bool | None
    score: float
    uncertain: bool


def judge(scene: Scene, length_s: float, start_s: float, least: float) -> list[Judged]:
    """One window of a scene with each of its sounds."""
    inside = np.flatnonzero((scene.timestamps_s >= start_s) & (scene.timestamps_s < start_s + length_s - 1e-6))
    first, end = int(inside[0]), int(inside[-1]) + 1
    stamps = scene.timestamps_s[first:end] - scene.timestamps_s[first]
    tracks = within(scene.tracks, first, end)
    samples = slice(round(start_s * SAMPLE_RATE_HZ), round((start_s + length_s) * SAMPLE_RATE_HZ))
    result = []
    for person, sound in scene.sounds.items():
        choice, _ = target_face.select(tracks, stamps, "speaking", sound[samples], least)
        right, asked = 0, 0
        for row in range(end - first):
            shot = [shot for shot in scene.shots if shot.start_s <= (first + row) / FPS + 1e-6][-1]
            if person not in shot.people or len(shot.people) < 2:
                continue
            slot = (shot.people.index(person), len(shot.people))
            asked += 1
            right += any(_is_at(tracks, span.track, row, slot) for span in choice.spans)
        correct = None if person < 0 else right >= 0.9 * asked
        if asked or person < 0:
            result.append(Judged(scene.kind, person, length_s, correct, choice.score, choice.uncertain))
    return result


def within(tracks: Sequence[FaceTrack], first: int, end: int) -> list[FaceTrack]:
    """The tracks in frames ``first`` to ``end``, which are numbered anew from 0."""
    found = []
    for track in tracks:
        inside = (track.rows >= first) & (track.rows < end)
        if inside.any():
            measured = {
                name: getattr(track, name)[inside]
                for name in ("x", "area", "mouth", "cosine_of_turn", "mouths", "heads")
            }
            found.append(replace(track, rows=track.rows[inside] - first, **measured))
    return found


def _is_at(tracks: Sequence[FaceTrack], number: int, row: int, slot: tuple[int, int]) -> bool:
    track = next(track for track in tracks if track.number == number)
    at = np.flatnonzero(track.rows == row)
    return bool(len(at)) and int(track.x[at[0]] * slot[1]) == slot[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8, help="scenes of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene; other numbers, other scenes")
    parser.add_argument("--faces", type=Path, help="a folder of photographs, whose people are shown")
    parser.add_argument("--meld", type=Path, help="a folder with MELD's three tables, for how long people speak")
    parser.add_argument("--work", type=Path, default=Path("build/target_face"))
    args = parser.parse_args()
    work = args.work / ("portrait" if args.faces is None else "photographs")
    work.mkdir(parents=True, exist_ok=True)
    talker, photographs, scenes = Talker(), portraits(args.faces, 1) if args.faces else [], []
    for kind in ("one speaks", "all talk", "cuts", "off"):
        for number in range(args.first, args.first + args.scenes):
            kept = work / f"{kind.replace(' ', '_')}_{number}.pickle"
            if not kept.is_file():
                kept.write_bytes(pickle.dumps(make(kind, number, talker, photographs, work)))
            scenes.append(pickle.loads(kept.read_bytes()))
    report(scenes, lengths(MELD_S, 1000) if args.meld is None else meld_lengths(args.meld))


def report(scenes: Sequence[Scene], spoken_s: Floats) -> None:
    least = PARAMS.least_score
    print("| scene | length | windows | right track | marked uncertain | wrong and not marked |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in dict.fromkeys(scene.kind for scene in scenes):
        for length_s in LENGTHS_S:
            starts = np.arange(0, LONG_S - length_s + 1e-6, 1.2)
            judged = [
                one
                for scene in scenes
                if scene.kind == kind
                for start_s in starts.tolist()
                for one in judge(scene, length_s, start_s, least)
            ]
            print(_row(kind, f"{length_s} s", [judged]))
    drawn = draws(scenes, spoken_s, least)
    groups = [[one for one in drawn if _group(one) == group] for group in ("one speaks", "all talk", "moved", "cuts")]
    for group in groups:
        print(_row(_group(group[0]), "as MELD's", [group]))
    print(_row("**all four**", "as MELD's", groups))
    print("\n| score | windows | right |\n| --- | ---: | ---: |")
    for low, high in itertools.pairwise(BINS):
        inside = [one.right is True for one in drawn if low <= one.score < high or (high == 1.0 and one.score == 1.0)]
        print(f"| {low} to {high} | {len(inside)} | {f'{100 * np.mean(inside):.0f} %' if inside else '-'} |")


def draws(scenes: Sequence[Scene], spoken_s: Floats, least: float) -> list[Judged]:
    """Windows as long as people speak, DRAWS of each scene and begun anywhere."""
    rng, result = np.random.default_rng(12), []
    for scene in scenes:
        for _ in range(DRAWS):
            length_s = float(np.clip(rng.choice(spoken_s), LEAST_S, LONG_S))
            result += judge(scene, length_s, float(rng.uniform(0, LONG_S - length_s)), least)
    return result


def _group(one: Judged) -> str:
    return "moved" if one.kind == "all talk" and one.person else one.kind


def _row(name: str, length: str, groups: Sequence[Sequence[Judged]]) -> str:
    """A line of the table; several groups count as much as each other."""
    windows = [one for group in groups for one in group]
    doubt = np.mean([np.mean([one.uncertain for one in group]) for group in groups])
    missed = np.mean([np.mean([one.right is not True and not one.uncertain for one in group]) for group in groups])
    right = np.mean([np.mean([one.right is True for one in group]) for group in groups])
    hit = f"{100 * right:.0f} %" if any(one.right is not None for one in windows) else "-"
    return f"| {name} | {length} | {len(windows)} | {hit} | {100 * doubt:.0f} % | {100 * missed:.1f} % |"


if __name__ == "__main__":
    main()
