"""Is the face that is measured the speaker's? ``python -m benchmarks.whose_face [--scenes 8] [--work DIR]``

Scenes are made on the spot: two or three of the sample's warped portraits side by side, each of a size of its own. What
mouths do is not worked out of the sound: espeak-ng says sentences and tells when which phoneme begins, and the lips go
by the phonemes (vowels open them, m, b and p shut them) 40 to 80 ms ahead of the sound, each syllable more or less.

one speaks   one talks, the others listen and make faces; the sound is the talker's
all talk     everybody's mouth moves, to sentences of its own; the sound is one person's, in turn everybody's
cuts         the same, cut between both together, one alone and the other alone; the sound is one person's, in turn both's
off          the sound is a voice whose mouth is not in the picture: nobody is right, and all should be marked uncertain

Each scene is a clip of 6 s that is decoded and followed once; windows of it are then judged by bemerc.extract.whose as
the extractor does it. A window counts as right where nine frames in ten that show the speaker and somebody else are given
to the speaker.
"""

from __future__ import annotations

import argparse
import ctypes
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.sample_clip import write_clip
from bemerc.corpus.sample_picture import Sitter, looks
from bemerc.corpus.sample_recipes import BODY_NAMES, RECIPES, UNIT_NAMES, perform
from bemerc.extract import face, whose
from bemerc.extract.whose import Sightings
from bemerc.media import Video

Floats = NDArray[np.float64]

FPS, RATE_HZ, SIDE, LONG_S = 25, 22050, 320, 6.0
LENGTHS_S = (1.2, 2.0, 3.5, 6.0)
SENTENCES = (
    "I told him that the train would be late again this morning.",
    "Maybe we could move the table over to the other window.",
    "Nobody knows where she has put the keys of the old house.",
    "What a beautiful evening, and what a pity that we must go.",
    "You always say that, and you never do anything about it.",
    "Please bring me the big blue book about the American army.",
    "My brother bought five apples, a melon and some brown bread.",
    "We have been waiting here for more than an hour by now.",
    "They promised to call before Monday, but they probably forgot.",
    "It was a long way up, and the view from above was amazing.",
)
# How far a mouth opens for the phonemes that begin so (espeak's names); everything else a quarter.
OPEN = {"a": 1.0, "A": 1.0, "0": 0.9, "V": 0.7, "E": 0.7, "e": 0.6, "3": 0.5, "@": 0.5, "O": 0.7, "o": 0.55,
        "I": 0.4, "i": 0.35, "U": 0.3, "u": 0.25, "w": 0.15, "m": 0.0, "b": 0.0, "p": 0.0, "f": 0.08, "v": 0.08,
        "_": 0.0, ":": 0.25}  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- speech


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class Speech:
    """sound (N,) int16 at RATE_HZ; lips (T,) how far the mouth is open per frame, 0 to 1."""

    sound: NDArray[np.int16]
    lips: Floats


class Talker:
    """espeak-ng with its phoneme events."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        assert self._library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 1) == RATE_HZ
        self._pieces: list[NDArray[np.int16]] = []
        self._phonemes: list[tuple[float, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def talk(self, seconds: float, rng: np.random.Generator) -> Speech:
        """Sentences one after the other until the time is full, begun in the middle of one."""
        self._pieces.clear()
        self._phonemes.clear()
        voice = rng.choice(["f1", "f2", "f3", "f4", "steph", "aunty", "linda", "Alicia"])
        self._library.espeak_SetVoiceByName(f"en-us+{voice}".encode())
        for name, value in ((1, rng.integers(150, 230)), (3, rng.integers(35, 65)), (4, rng.integers(30, 70))):
            self._library.espeak_SetParameter(name, int(value), 0)
        text = " ".join(rng.permutation(SENTENCES)[:5].tolist()).encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        sound = np.concatenate(self._pieces)
        start_s = float(rng.uniform(0.1, 1.5))
        first, count = round(start_s * RATE_HZ), round(seconds * RATE_HZ)
        lips = _lips(self._phonemes, len(sound) / RATE_HZ, rng)
        times = start_s + np.arange(round(seconds * FPS)) / FPS
        at = np.interp(times + rng.uniform(0.04, 0.08), np.arange(len(lips)) / 100, lips)
        return Speech(sound[first : first + count], at)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events and events[at].type:
            if events[at].type == 7:
                self._phonemes.append((events[at].audio_ms / 1000, events[at].name.decode(errors="replace")))
            at += 1
        return 0


def _lips(phonemes: Sequence[tuple[float, str]], length_s: float, rng: np.random.Generator) -> Floats:
    """Phonemes -> how open the mouth is, 100 times a second, with the inertia of a jaw."""
    steps = np.zeros(int(length_s * 100) + 1)
    for (start_s, name), (end_s, _) in zip(phonemes, [*phonemes[1:], (length_s, "_")], strict=True):
        size = OPEN.get(name.lstrip("',")[:1], 0.25) * rng.uniform(0.6, 1.2)
        steps[int(start_s * 100) : int(end_s * 100)] = size
    bell = np.exp(-((np.arange(-12, 13) / 4.0) ** 2) / 2)
    opened = np.convolve(steps, bell / bell.sum(), mode="same")
    return np.clip(opened / np.percentile(opened, 95), 0, 1)


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
    tracks: tuple[Sightings, ...]


def make(kind: str, number: int, talker: Talker, work: Path) -> Scene:
    """Draw, encode, decode and follow one scene."""
    rng = np.random.default_rng([number, sum(map(ord, kind))])
    people = 2 if kind == "cuts" or rng.random() < 0.6 else 3
    spoken = [talker.talk(LONG_S, rng) for _ in range(people + 1)]
    talking = [0] if kind == "one speaks" else range(people)
    order = tuple(rng.permutation(people).tolist())
    shots = _shots(order, rng) if kind == "cuts" else (Shot(0.0, order),)
    path = work / f"{kind.replace(' ', '_')}_{number}.mp4"
    frames = _frames(people, [spoken[p].lips if p in talking else None for p in range(people)], shots, rng)
    size = (SIDE * max(len(shot.people) for shot in shots), SIDE)
    write_clip(path, frames, spoken[0].sound, size=size, fps=FPS, rate_hz=RATE_HZ)
    sounds = {p: _heard(path, spoken[p].sound, work) for p in (talking if kind != "off" else [])}
    if kind == "off":
        sounds[-1] = _heard(path, spoken[people].sound, work)
    with Video(path) as video:
        finder = face.FaceFinder(4, 0.5, 0.5)
        seen, stamps, shown = face._Seen(), [], (1, 1)
        for frame in video:
            picture = frame.rgb()
            shown = picture.shape[1], picture.shape[0]
            for one in finder(picture, frame.timestamp_s):
                seen.add(len(stamps), finder.shot, finder.view, one)
            stamps.append(frame.timestamp_s)
        finder.close()
    return Scene(kind, shots, sounds, np.array(stamps), tuple(seen.tracks(shown)))


def _shots(order: tuple[int, ...], rng: np.random.Generator) -> tuple[Shot, ...]:
    """Both, one alone, the other alone, both, ...: 0.5 to 1.6 s each."""
    alone, shots, now_s = [(order[0],), (order[1],)], [], 0.0
    kinds = [order, alone[int(rng.integers(2))]]
    while now_s < LONG_S:
        shots.append(Shot(now_s, kinds[len(shots) % 2]))
        kinds[1] = alone[int(rng.integers(2))]
        now_s += float(rng.uniform(0.5, 1.6))
    return tuple(shots)


def _frames(
    people: int, lips: Sequence[Floats | None], shots: Sequence[Shot], rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    count = round(LONG_S * FPS)
    drawn = []
    faces = looks(12, int(rng.integers(1000)))
    for person in range(people):
        sitter = Sitter(faces[person], SIDE, SIDE)
        opened = lips[person] if lips[person] is not None else np.zeros(count)
        emotion = str(rng.choice(sorted(RECIPES)))
        played = perform(emotion, 0.8, np.asarray(opened, np.float32), FPS, False, rng)
        size = int(rng.uniform(0.6, 1.0) * SIDE)
        pictures = []
        for unit, body in zip(played.units.tolist(), played.body.tolist(), strict=True):
            picture = sitter.draw(dict(zip(UNIT_NAMES, unit, strict=True)), dict(zip(BODY_NAMES, body, strict=True)))
            pictures.append(_framed(picture, size))
        drawn.append(pictures)
    wide = SIDE * max(len(shot.people) for shot in shots)
    found = []
    for i in range(count):
        shot = [shot for shot in shots if shot.start_s <= i / FPS + 1e-6][-1]
        found.append(_beside([drawn[person][i] for person in shot.people], wide))
    return found


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


def _heard(path: Path, sound: NDArray[np.int16], work: Path) -> NDArray[np.float32]:
    """The sound as a clip's own track would give it, with a little room noise."""
    wave = sound.astype(np.float64) / 32768
    at = np.arange(round(len(wave) / RATE_HZ * whose.SAMPLE_RATE_HZ)) * RATE_HZ / whose.SAMPLE_RATE_HZ
    resampled = np.interp(at, np.arange(len(wave)), wave)
    noise = np.random.default_rng(len(path.name)).normal(0, 10 ** (-45 / 20) * resampled.std() * 5, len(resampled))
    return (resampled + noise).astype(np.float32)


# -------------------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True)
class Judged:
    """right: None where nobody was to be chosen."""

    kind: str
    length_s: float
    right: bool | None
    score: float
    uncertain: bool


def judge(scene: Scene, length_s: float, start_s: float, least: float) -> list[Judged]:
    """One window of a scene with each of its sounds."""
    inside = np.flatnonzero((scene.timestamps_s >= start_s) & (scene.timestamps_s < start_s + length_s - 1e-6))
    first, end = int(inside[0]), int(inside[-1]) + 1
    tracks = []
    for track in scene.tracks:
        mine = (track.rows >= first) & (track.rows < end)
        if mine.any():
            rows = track.rows[mine] - first
            tracks.append(replace(track, rows=rows, x=track.x[mine], area=track.area[mine], mouth=track.mouth[mine]))
    stamps = scene.timestamps_s[first:end] - scene.timestamps_s[first]
    samples = slice(round(start_s * whose.SAMPLE_RATE_HZ), round((start_s + length_s) * whose.SAMPLE_RATE_HZ))
    found = []
    for person, sound in scene.sounds.items():
        choice = whose.choose(tracks, stamps, "speaking", sound[samples], least)
        right, asked = 0, 0
        for row in range(end - first):
            shot = [shot for shot in scene.shots if shot.start_s <= (first + row) / FPS + 1e-6][-1]
            if person not in shot.people or len(shot.people) < 2:
                continue
            slot = (shot.people.index(person), len(shot.people))
            asked += 1
            right += any(_is_at(tracks, stretch.track, row, slot) for stretch in choice.stretches)
        told = None if person < 0 else right >= 0.9 * asked
        if asked or person < 0:
            found.append(Judged(scene.kind, length_s, told, choice.score, choice.uncertain))
    return found


def _is_at(tracks: Sequence[Sightings], number: int, row: int, slot: tuple[int, int]) -> bool:
    track = next(track for track in tracks if track.number == number)
    at = np.flatnonzero(track.rows == row)
    return bool(len(at)) and int(track.x[at[0]] * slot[1]) == slot[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8, help="scenes of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene; other numbers, other scenes")
    parser.add_argument("--work", type=Path, default=Path("build/whose_face"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    talker = Talker()
    scenes = []
    for kind in ("one speaks", "all talk", "cuts", "off"):
        for number in range(args.first, args.first + args.scenes):
            kept = args.work / f"{kind.replace(' ', '_')}_{number}.pickle"
            if not kept.is_file():
                kept.write_bytes(pickle.dumps(make(kind, number, talker, args.work)))
            scenes.append(pickle.loads(kept.read_bytes()))
    report(scenes)


def report(scenes: Sequence[Scene]) -> None:
    least = face.Params().least_score
    print("| scene | length | windows | right track | marked uncertain | wrong and not marked |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in dict.fromkeys(scene.kind for scene in scenes):
        for length_s in LENGTHS_S:
            starts = np.arange(0, LONG_S - length_s + 1e-6, 1.2)
            told = [
                one
                for scene in scenes
                if scene.kind == kind
                for start_s in starts.tolist()
                for one in judge(scene, length_s, start_s, least)
            ]
            doubt = np.mean([one.uncertain for one in told])
            right = [one.right for one in told if one.right is not None]
            missed = np.mean([one.right is not True and not one.uncertain for one in told])
            hit = f"{100 * np.mean(right):.0f} %" if right else "-"
            print(f"| {kind} | {length_s} s | {len(told)} | {hit} | {100 * doubt:.0f} % | {100 * missed:.1f} % |")


if __name__ == "__main__":
    main()
