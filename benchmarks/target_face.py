"""Is the face that is measured the speaker's?

``python -m benchmarks.target_face [--scenes 8] [--faces DIR] [--meld DIR] [--work DIR]``

Scenes are made on the spot: two or three of the sample's warped portraits side by side, each of a size of its own. What
mouths do is not worked out of the sound: espeak-ng says sentences and tells when which phoneme begins, and the lips go
by the phonemes (vowels open them, m, b and p shut them) 40 to 80 ms ahead of the sound, each syllable more or less.

one speaks   one talks, the others listen and make faces; the sound is the talker's
all talk     everybody's mouth moves, to sentences of its own; the sound is one person's, in turn everybody's
cuts         the same, cut between both together, one alone and the other alone; the sound is one person's, in turn both's
off          the sound is a voice whose mouth is not in the picture: nobody is right, and all should be marked uncertain

With ``--faces`` the people are those of photographs, every second one (fits/target_face.py fits on the others),
men and women, drawn by another warper (benchmarks/face_warps.py), and mouths are spread and rounded as well.

Each scene is a clip of 6 s that is decoded and followed once; windows of it are then judged by bemerc.extraction.face.target_face as
the extractor does it. A window counts as right where nine frames in ten that show the speaker and somebody else are given
to the speaker. The last row draws windows as long as MELD's utterances are (``--meld``: a folder with its tables; else their
quantiles), 6 s at most, from scenes in which one speaks, all talk, all talk and the sound is moved to another, and
cuts, a fourth each. Then how often which score was right, voices from off counted as wrong.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import itertools
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import extractor, target_face
from bemerc.extraction.face.action_units import UNITS
from bemerc.extraction.face.lip_sync import SAMPLE_RATE_HZ
from bemerc.extraction.face.target_face import Sightings
from bemerc.media.video import Video
from bemerc.sample.clip import write_clip
from bemerc.sample.portrait import Sitter, looks
from bemerc.sample.recipes import BODY_NAMES, RECIPES, UNIT_NAMES, perform
from benchmarks.face_warps import Look, Portrait, draw
from fits.action_units import people

Floats = NDArray[np.float64]
Phoneme = tuple[float, str]  # when it begins, in seconds, and espeak's name for it

FPS, RATE_HZ, SIDE, DRAWN, LONG_S = 25, 22050, 320, 224, 6.0
LENGTHS_S = (1.2, 2.0, 3.5, 6.0)
# How long people speak: the 2, 5, 10, 20, ... 90, 95 and 98 % quantiles of EndTime - StartTime over the 13,708 utterances of
# MELD's three tables (github.com/declare-lab/MELD, data/MELD).
MELD_S = (
    (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98),
    (0.36, 0.67, 1.0, 1.38, 1.71, 2.08, 2.46, 2.92, 3.54, 4.46, 6.3, 7.88, 10.05),
)
LEAST_S = 0.5
DRAWS, BINS = 60, (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
WOMEN = ("f1", "f2", "f3", "f4", "steph", "aunty", "linda", "Alicia")
BOTH = (*WOMEN, "m5", "m6", "m7", "max", "Reed", "paul")
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
# How far it is spread, rounded where negative; everything else not at all. Only photographs are drawn so.
SPREAD = {"i": 0.8, "I": 0.6, "e": 0.5, "E": 0.3, "a": 0.1, "s": 0.3, "j": 0.5, "u": -0.9, "U": -0.7, "w": -1.0, "o": -0.7,
          "O": -0.6, "S": -0.5, "r": -0.4, "m": -0.1, "b": -0.1, "p": -0.1}  # fmt: skip


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
    """sound (N,) int16 at RATE_HZ; lips (T,) how far the mouth is open per frame, 0 to 1; spread (T,) -1 to 1."""

    sound: NDArray[np.int16]
    lips: Floats
    spread: Floats


class Talker:
    """espeak-ng with its phoneme events."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        assert self._library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 1) == RATE_HZ
        self._pieces: list[NDArray[np.int16]] = []
        self._phonemes: list[Phoneme] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def talk(self, seconds: float, voices: Sequence[str], rng: np.random.Generator) -> Speech:
        """Sentences one after the other until the time is full, begun in the middle of one."""
        voice = rng.choice(list(voices))
        rate, pitch, spread = (int(rng.integers(*edges)) for edges in ((150, 230), (35, 65), (30, 70)))
        sound, phonemes = self.say(
            f"en-us+{voice}", rate, pitch, spread, " ".join(rng.permutation(SENTENCES)[:5].tolist())
        )
        start_s = float(rng.uniform(0.1, 1.5))
        first, count = round(start_s * RATE_HZ), round(seconds * RATE_HZ)
        lips = _lips(phonemes, len(sound) / RATE_HZ, rng)
        times = start_s + np.arange(round(seconds * FPS)) / FPS + rng.uniform(0.04, 0.08)
        at, wide = (np.interp(times, np.arange(len(lips)) / 100, one) for one in (lips, _spread(phonemes, len(lips))))
        return Speech(sound[first : first + count], at, wide)

    def say(self, voice: str, rate: int, pitch: int, spread: int, text: str) -> tuple[NDArray[np.int16], list[Phoneme]]:
        """The sound (N,) at RATE_HZ, and when which phoneme begins. rate in words a minute, pitch and its range 0 to 100."""
        self._pieces.clear()
        self._phonemes.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        for name, value in ((1, rate), (3, pitch), (4, spread)):
            self._library.espeak_SetParameter(name, value, 0)
        written = text.encode()
        self._library.espeak_Synth(written, len(written) + 1, 0, 1, 0, 1, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._pieces), list(self._phonemes)

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


def _spread(phonemes: Sequence[Phoneme], count: int) -> Floats:
    """How spread or round the mouth is, 100 times a second, slower than it opens."""
    steps = np.zeros(count)
    for start_s, name in phonemes:
        steps[int(start_s * 100) :] = SPREAD.get(name.lstrip("',")[:1], 0.0)
    bell = np.exp(-((np.arange(-18, 19) / 6.0) ** 2) / 2)
    return np.convolve(steps, bell / bell.sum(), mode="same")


def lengths(known: tuple[Sequence[float], Sequence[float]], count: int) -> Floats:
    """Lengths in seconds, evenly over a distribution that is known by shares and their quantiles."""
    return np.interp((np.arange(count) + 0.5) / count, *known)


def meld_lengths(folder: Path) -> Floats:
    """Of every utterance of MELD's tables in ``folder``."""
    found = []
    for path in sorted(folder.glob("*_sent_emo.csv")):
        with path.open(encoding="utf-8", newline="") as table:
            found += [_seconds(row["EndTime"]) - _seconds(row["StartTime"]) for row in csv.DictReader(table)]
    if not found:
        raise SystemExit(f"{folder}: no *_sent_emo.csv; give the folder that holds MELD's three tables.")
    return np.array(found)


def _seconds(written: str) -> float:
    hours, minutes, seconds = written.replace(",", ".").split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


# --------------------------------------------------------------------------------------------------------------- people


def portraits(folder: Path, which: int) -> list[Portrait]:
    """Every second person of the photographs (which: 0 to be fitted on, 1 to be shown), as a square picture each."""
    scale = np.float32(DRAWN / 384)
    return [
        Portrait(cv2.resize(one.crop, (DRAWN, DRAWN), interpolation=cv2.INTER_AREA), one.landmarks * scale)
        for one in people(folder)[which::2]
    ]


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
    tracks: tuple[Sightings, ...]


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
    sounds = {p: _heard(path, spoken[p].sound, work) for p in (talking if kind != "off" else [])}
    if kind == "off":
        sounds[-1] = _heard(path, spoken[count].sound, work)
    with Video(path) as video:
        finder = extractor.FaceFinder(4, 0.5, 0.5)
        seen, stamps, shown = extractor._Seen(), [], (1, 1)
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
    said: Sequence[Speech | None], photographs: Sequence[Portrait], shots: Sequence[Shot], rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    count = round(LONG_S * FPS)
    drawn = []
    faces = looks(12, int(rng.integers(1000)))
    chosen = rng.permutation(len(photographs)).tolist()
    for person, speech in enumerate(said):
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
    wave = resampled(sound)
    noise = np.random.default_rng(len(path.name)).normal(0, 10 ** (-45 / 20) * wave.std() * 5, len(wave))
    return (wave + noise).astype(np.float32)


def resampled(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """(N,) int16 at RATE_HZ -> (M,) at 16 kHz, -1 to 1."""
    wave = sound.astype(np.float64) / 32768
    at = np.arange(round(len(wave) / RATE_HZ * SAMPLE_RATE_HZ)) * RATE_HZ / SAMPLE_RATE_HZ
    return np.interp(at, np.arange(len(wave)), wave).astype(np.float32)


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
    tracks = []
    for track in scene.tracks:
        mine = (track.rows >= first) & (track.rows < end)
        if mine.any():
            told = {name: getattr(track, name)[mine] for name in ("x", "area", "mouth", "mouths", "heads")}
            tracks.append(replace(track, rows=track.rows[mine] - first, **told))
    stamps = scene.timestamps_s[first:end] - scene.timestamps_s[first]
    samples = slice(round(start_s * SAMPLE_RATE_HZ), round((start_s + length_s) * SAMPLE_RATE_HZ))
    found = []
    for person, sound in scene.sounds.items():
        choice = target_face.choose(tracks, stamps, "speaking", sound[samples], least)
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
            found.append(Judged(scene.kind, person, length_s, told, choice.score, choice.uncertain))
    return found


def _is_at(tracks: Sequence[Sightings], number: int, row: int, slot: tuple[int, int]) -> bool:
    track = next(track for track in tracks if track.number == number)
    at = np.flatnonzero(track.rows == row)
    return bool(len(at)) and int(track.x[at[0]] * slot[1]) == slot[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8, help="scenes of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene; other numbers, other scenes")
    parser.add_argument("--faces", type=Path, help="a folder of photographs, whose people are shown")
    parser.add_argument("--meld", type=Path, help="a folder with MELD's three tables, for how long people speak")
    parser.add_argument("--work", type=Path, default=Path("build/whose_face"))
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
    least = extractor.Params().least_score
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
            print(_row(kind, f"{length_s} s", [told]))
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
    rng, found = np.random.default_rng(12), []
    for scene in scenes:
        for _ in range(DRAWS):
            length_s = float(np.clip(rng.choice(spoken_s), LEAST_S, LONG_S))
            found += judge(scene, length_s, float(rng.uniform(0, LONG_S - length_s)), least)
    return found


def _group(one: Judged) -> str:
    return "moved" if one.kind == "all talk" and one.person else one.kind


def _row(name: str, length: str, groups: Sequence[Sequence[Judged]]) -> str:
    """A line of the table; several groups count as much as each other."""
    told = [one for group in groups for one in group]
    doubt = np.mean([np.mean([one.uncertain for one in group]) for group in groups])
    missed = np.mean([np.mean([one.right is not True and not one.uncertain for one in group]) for group in groups])
    right = np.mean([np.mean([one.right is True for one in group]) for group in groups])
    hit = f"{100 * right:.0f} %" if any(one.right is not None for one in told) else "-"
    return f"| {name} | {length} | {len(told)} | {hit} | {100 * doubt:.0f} % | {100 * missed:.1f} % |"


if __name__ == "__main__":
    main()
