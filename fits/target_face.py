"""Fit the numbers of bemerc/extraction/face/lip_sync.py and target_face.py: which mouth speaks?

``python -m fits.target_face --faces DIR [--clips 240] [--work DIR]``

People of photographs (fits/face_warps.py moves their mouths) speak or listen, one clip each, which is encoded, decoded
and followed as the extractor does it; any clips whatever can then be put side by side, with any of their sounds. So
that no maker's habits are learned, each clip draws how far which phoneme opens, spreads or rounds its mouth, how
strongly, with what inertia and how long before the sound, at what size, in what language, voice, rate and room. Every
second person of the folder is fitted on; benchmarks/target_face.py shows the others, with other voices, sentences and
tables.

First a network from voice to mouth is fitted to speech alone and written to lip_sync.npz; then the likelihoods of
correlations, so that the probabilities of which of two or three people speaks, or none of them, are best over windows
as long as utterances. Prints the numbers for the modules.
"""

from __future__ import annotations

import argparse
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bemerc.extraction.face import lip_sync as lips
from bemerc.extraction.face.action_units import UNITS
from bemerc.extraction.face.crops import MOUTH_PX
from bemerc.extraction.face.detection import FaceTracker
from bemerc.media.audio import read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import Video
from bemerc.sample.clip import write_clip
from fits.face_warps import Look, Portrait, draw
from fits.photographs import DRAWN, portraits
from fits.talker import MELD_S, RATE_HZ, Phoneme, Talker, lengths, resampled

Floats = NDArray[np.float64]
Picture = NDArray[np.uint8]

LONG_S, FRAME = 6.0, 320
VOICE = Path(lips.__file__).with_name("lip_sync.npz")
VOICES = ("m1", "m2", "m3", "m4", "f5", "belinda", "Annie", "Andy", "Lee", "Gene", "Mike", "Andrea", "shelby", "boris")
TEXTS = {
    "en-gb": (
        "We could not find the road that the old map showed.",
        "Did anybody see where my umbrella went after the party?",
        "He made a promise, and he kept it for almost a week.",
        "Put the bowl on the lower shelf, please, and open the window.",
        "I am afraid that both of them have already bought a ticket.",
        "Oh come on, that was years ago, nobody remembers it any more.",
    ),
    "de": (
        "Am Abend haben wir noch lange auf dem Balkon gesessen.",
        "Warum hast du mir das nicht schon vorher gesagt, Papa?",
        "Morgen fahren wir mit dem Bus ueber die neue Bruecke.",
        "Das macht doch nichts, wir machen es einfach noch einmal.",
    ),
    "es": (
        "Mi hermana vive en una casa blanca cerca de la playa.",
        "Todo el mundo sabe que manana no vamos a trabajar.",
        "Por favor, abre la puerta y apaga la luz de la cocina.",
    ),
    "it": (
        "Domani mattina andiamo al mercato a comprare il pane.",
        "Non so proprio dove abbiamo lasciato la macchina.",
        "Bambini, venite a tavola, la pasta e pronta da un pezzo.",
    ),
}
# How far a mouth opens (from, to) and how far it is spread (rounded where negative), by a phoneme's first letter.
OPEN, MIDDLE, CLOSE = "aA0V&", "Ee3O@{69oWQ2", "iIuUyY"
ROUND, SPREAD = "uUoOwyY2WQ", "iIeEj"
LIPS, TEETH, HALF_ROUND = "mbp", "fv", "SZrR"


@dataclass(frozen=True)
class Take:
    """One clip of one person: landmarks (T, 478, 3) in pixels, NaN where unseen, and the mouth's picture (T, 24, 24);
    sound (N,) at 16 kHz; who, and whether he speaks it."""

    person: int
    speaks: bool
    timestamps_s: Floats
    landmarks: NDArray[np.float32]
    mouths: NDArray[np.uint8]
    sound: NDArray[np.float32]


# --------------------------------------------------------------------------------------------------------------- mouths


class Habits:
    """How one person's mouth follows what he says: drawn anew for each clip."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._places: dict[str, tuple[float, float]] = {}
        self.inertia_s = rng.uniform(0.025, 0.06)
        self.lead_s = rng.uniform(-0.02, 0.15)

    def place(self, phoneme: str) -> tuple[float, float]:
        """How open (0 to 1) and how spread (-1 to 1) for a phoneme, the same each time but for a little."""
        letter = phoneme.lstrip("',")[:1]
        if letter not in self._places:
            self._places[letter] = self._draw(letter)
        opened, spread = self._places[letter]
        return opened * self._rng.uniform(0.6, 1.3), spread * self._rng.uniform(0.6, 1.3)

    def _draw(self, letter: str) -> tuple[float, float]:
        ranges = (
            (OPEN, 0.6, 1.0),
            (MIDDLE, 0.3, 0.8),
            (CLOSE, 0.1, 0.5),
            (LIPS, 0.0, 0.05),
            (TEETH, 0.0, 0.2),
            ("_", 0, 0.2),
        )
        low, high = next(((a, b) for letters, a, b in ranges if letter and letter in letters), (0.1, 0.45))
        sides = ((ROUND, -1.0, -0.3), (SPREAD, 0.1, 1.0), (HALF_ROUND, -0.7, 0.0), ("_", 0.0, 0.0))
        left, right = next(((a, b) for letters, a, b in sides if letter and letter in letters), (-0.3, 0.3))
        return float(self._rng.uniform(low, high)), float(self._rng.uniform(left, right))


def spoken(
    phonemes: list[Phoneme], length_s: float, times_s: Floats, rng: np.random.Generator, lead_s: float | None = None
) -> Floats:
    """(T, 2) how open and how spread a mouth is that says these phonemes, by somebody's habits but for ``lead_s``."""
    habits, steps = Habits(rng), np.zeros((int(length_s * 100) + 1, 2))
    for (start_s, name), (end_s, _) in zip(phonemes, [*phonemes[1:], (length_s, "_")], strict=True):
        steps[int(start_s * 100) : int(end_s * 100)] = habits.place(name)
    bell = np.exp(-((np.arange(-20, 21) / 100 / habits.inertia_s) ** 2) / 2)
    at = times_s + (habits.lead_s if lead_s is None else lead_s)
    smooth = [np.convolve(column, bell / bell.sum(), mode="same") for column in steps.T]
    return np.stack([np.interp(at, np.arange(len(steps)) / 100, column) for column in smooth], axis=1)


def listening(times_s: Floats, rng: np.random.Generator) -> Floats:
    """(T, 2) a mouth that says nothing: rests, makes faces, or chews and laughs for a while."""
    kind = rng.choice(["rests", "faces", "chews"], p=[0.4, 0.4, 0.2])
    moved = np.zeros((len(times_s), 2))
    if kind != "rests":
        for column, size in ((0, 0.5), (1, 0.5)):
            knots = np.arange(-1, times_s[-1] + 1, rng.uniform(0.3, 1.0))
            moved[:, column] = np.interp(times_s, knots, size * rng.normal(0, 0.6, len(knots)))
    if kind == "chews":
        while_s = rng.uniform(0, 4), rng.uniform(1, 4)
        wave = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(1.5, 5) * times_s)
        moved[:, 0] += rng.uniform(0.2, 0.7) * wave * (np.abs(times_s - while_s[0] - while_s[1] / 2) < while_s[1] / 2)
    return np.column_stack([np.clip(moved[:, 0], 0, 1), moved[:, 1]])


# ---------------------------------------------------------------------------------------------------------------- clips


def take(number: int, faces: list[Portrait], talker: Talker, work: Path) -> Take:
    """Draw, encode, decode and follow one clip."""
    rng = np.random.default_rng([number, 77])
    person, speaks, fps = int(rng.integers(len(faces))), bool(rng.random() < 0.65), int(rng.choice([24, 25, 30]))
    times_s = np.arange(round(LONG_S * fps)) / fps
    sound, mouth = _spoken_sound(talker, times_s, rng)
    mouth = mouth if speaks else listening(times_s, rng)
    mouth *= rng.uniform(0.3, 1.1), rng.uniform(0.0, 0.9)
    pictures = _pictures(faces[person], mouth, fps, rng)
    path = work / "take.mp4"
    write_clip(path, pictures, _in_room(sound, rng), size=(FRAME, FRAME), fps=fps, rate_hz=RATE_HZ)
    landmarks, mouths, stamps = _followed(path)
    return Take(person, speaks, stamps, landmarks, mouths, read_sound(path).waveform)


def _pictures(face: Portrait, mouth: Floats, fps: int, rng: np.random.Generator) -> list[Picture]:
    """Somebody of random size, somewhere, who drifts a little and makes faces besides."""
    count = len(mouth)
    jaw, lips, seed = rng.uniform(0.25, 0.8), rng.uniform(0.3, 1.0), int(rng.integers(1 << 30))
    units = dict.fromkeys(UNITS, np.full(count, 0.005))
    for unit in rng.permutation([1, 4, 12, 15, 17]).tolist()[:2]:
        units[unit] = np.clip(_slow(count, fps, 0.5, rng), 0.005, 1)
    blinks = np.exp(-(((np.arange(count)[:, None] - rng.uniform(0, count, 3)) / 2.0) ** 2)).max(axis=1)
    units |= {45: np.clip(blinks, 0.005, 1), 26: jaw * mouth[:, 0], 25: lips * mouth[:, 0], 20: 0.6 * mouth[:, 1]}
    side = float(np.exp(rng.uniform(np.log(90), np.log(FRAME))))
    free, wall = FRAME - side, rng.uniform(40, 200, 3)
    x, y = (
        free * rng.uniform(0.2, 0.8) + 3 * _slow(count, fps, 1, rng),
        free * rng.uniform(0.2, 0.8) + 2 * _slow(count, fps, 1, rng),
    )
    turn, near = 2.0 * _slow(count, fps, 1, rng), 1 + 0.015 * _slow(count, fps, 1, rng)
    frames = []
    for i in range(count):
        strength = np.array([5 * max(units[unit][i], 0.005) if unit != 20 else 5 * units[unit][i] for unit in UNITS])
        shown = draw(face, strength, Look(jitter=0), np.random.default_rng(seed))
        place = cv2.getRotationMatrix2D((DRAWN / 2, DRAWN / 2), float(turn[i]), float(near[i]) * side / DRAWN)
        place[:, 2] += (x[i] + side / 2 - DRAWN / 2, y[i] + side / 2 - DRAWN / 2)
        how = cv2.INTER_AREA if side < DRAWN else cv2.INTER_LINEAR
        frames.append(
            cv2.warpAffine(shown, place, (FRAME, FRAME), flags=how, borderValue=wall.tolist()).astype(np.uint8)
        )
    return frames


def _slow(count: int, fps: int, size: float, rng: np.random.Generator) -> Floats:
    waves = [rng.normal() * np.sin(2 * np.pi * (hz * np.arange(count) / fps + rng.random())) for hz in (0.3, 0.7, 1.3)]
    return np.asarray(size * 0.6 * np.sum(waves, axis=0))


def _in_room(sound: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """Other microphones and rooms: tilted, echoing, with noise 8 to 40 dB below the voice."""
    wave = sound.astype(np.float64) / 32768
    tilted = wave - rng.uniform(-0.6, 0.6) * np.concatenate([[0], wave[:-1]])
    echo = rng.normal(0, 1, round(0.3 * RATE_HZ)) * np.exp(
        -np.arange(round(0.3 * RATE_HZ)) / (rng.uniform(0.02, 0.08) * RATE_HZ)
    )
    echo *= rng.uniform(0, 0.5) / np.sqrt((echo**2).sum())
    wave_in_room = tilted + np.convolve(tilted, echo)[: len(tilted)]
    noise = (
        np.cumsum(rng.normal(0, 1, len(wave_in_room))) if rng.random() < 0.5 else rng.normal(0, 1, len(wave_in_room))
    )
    noise = noise - np.convolve(noise, np.ones(441) / 441, mode="same")
    wave_in_room += noise / noise.std() * wave_in_room.std() * 10 ** (-rng.uniform(8, 40) / 20)
    return np.asarray(wave_in_room / np.abs(wave_in_room).max() * 20000, np.int16)


def _followed(path: Path) -> tuple[NDArray[np.float32], NDArray[np.uint8], Floats]:
    finder, rows, mouths, stamps = FaceTracker(2, 0.5, 0.5), [], [], []  # of one face no mouth is cut out
    with Video(path) as video:
        for frame in video:
            faces = finder(frame.rgb(), frame.timestamp_s)
            rows.append(faces[0].landmarks if faces else np.full((478, 3), np.nan, np.float32))
            mouths.append(faces[0].mouth if faces else np.zeros((MOUTH_PX, MOUTH_PX), np.uint8))
            stamps.append(frame.timestamp_s)
    return np.array(rows, np.float32), np.array(mouths), np.array(stamps)


def takes(folder: Path, count: int, work: Path) -> list[Take]:
    """The clips, made where they are not in ``work`` yet (some four seconds each)."""
    faces: list[Portrait] = []
    talker, result = Talker(), []
    for number in range(count):
        kept = work / f"take_{number}.pickle"
        if not kept.is_file():
            faces = faces or portraits(folder, 0)
            kept.write_bytes(pickle.dumps(take(number, faces, talker, work)))
        result.append(pickle.loads(kept.read_bytes()))
    return result


# ----------------------------------------------------------------------------------------------------------------- fits


def voice_network(count: int, steps: int = 2500, hidden: int = 16) -> dict[str, Floats]:
    """Fit a small network from 80 ms of voice to how open and how spread the mouth is, without a lead of the mouth."""
    talker, times_s, sounds, wanted = Talker(), np.arange(round(LONG_S * 25)) / 25, [], []
    for number in range(count):
        rng = np.random.default_rng([number, 991])
        sound, mouth = _spoken_sound(talker, times_s, rng, 0.0)
        loud = lips.with_context(lips.loudness(resampled(_in_room(sound, rng)), times_s))
        sounds.append([np.interp(times_s, np.arange(len(loud)) * lips.HOP_S, one) for one in loud.T])
        moved = lips.pace(mouth, times_s)
        wanted.append(moved / (moved.std(axis=0) + 0.02))  # everybody counts alike, but for mouths that hardly move
    return _trained(torch.tensor(np.array(sounds)).mT.float(), torch.tensor(np.array(wanted)).float(), steps, hidden)


def _trained(sounds: torch.Tensor, wanted: torch.Tensor, steps: int, hidden: int) -> dict[str, Floats]:
    """sounds (N, T, 24), wanted (N, T, 2) -> the network's numbers, compared at the pace of syllables alone."""
    torch.manual_seed(0)
    pace = torch.tensor(lips.pace(np.eye(sounds.shape[1]), np.arange(sounds.shape[1]) / 25)).float()
    network = torch.nn.Sequential(torch.nn.Linear(sounds.shape[2], hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 2))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3, weight_decay=1e-4)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps) + 1e-4
        some = torch.randint(0, len(sounds), (64,))
        loss = (pace @ network(sounds[some]) - wanted[some]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    numbers = [number.detach().double().numpy().T for number in network.parameters()]
    return dict(zip(("inner", "inner_bias", "outer", "outer_bias"), numbers, strict=True))


def _spoken_sound(
    talker: Talker, times_s: Floats, rng: np.random.Generator, lead_s: float | None = None
) -> tuple[NDArray[np.int16], Floats]:
    """Speech from a random moment on, and its mouth (T, 2), ``lead_s`` ahead of the sound."""
    language = str(rng.choice(list(TEXTS), p=[0.55, 0.15, 0.15, 0.15]))
    text = " ".join(rng.permutation(TEXTS[language]).tolist())
    rate, pitch, spread = (int(rng.integers(*edges)) for edges in ((130, 250), (25, 75), (20, 80)))
    sound, phonemes = talker.say(f"{language}+{rng.choice(VOICES)}", rate, pitch, spread, text)
    start_s = float(rng.uniform(0.0, 1.5))
    first = round(start_s * RATE_HZ)
    mouth = spoken(phonemes, len(sound) / RATE_HZ, start_s + times_s, rng, lead_s)
    return sound[first : first + round(LONG_S * RATE_HZ)], mouth


@dataclass(frozen=True)
class Windows:
    """Windows (W): seconds (W,); correlations (W, 3, lags, channels) of up to three mouths with one sound, there (W,
    3) which of them there are; answer (W,): 0 the first, 3 nobody."""

    seconds: Floats
    correlations: Floats
    there: NDArray[np.bool_]
    answer: NDArray[np.intp]


def windows(shown: list[Take], per_sound: int, lengths_s: Floats, seed: int) -> Windows:
    """Somebody who speaks among others who speak something else or who listen; or only others."""
    rng, seconds, correlations, there, answer = np.random.default_rng(seed), [], [], [], []
    for own in [one for one in shown if one.speaks]:
        for _ in range(per_sound):
            length_s = float(np.clip(rng.choice(lengths_s), 0.5, LONG_S))
            start_s = float(rng.uniform(0, LONG_S - length_s))
            talk, count, alone = bool(rng.random() < 0.5), int(rng.choice([1, 1, 1, 2, 2])), bool(rng.random() < 0.25)
            others = [one for one in shown if one.person != own.person and one.speaks == talk]
            rivals = [others[i] for i in rng.choice(len(others), count + alone, replace=False)]
            sound = _voice_of(own, start_s, length_s)
            judged = [_judged(one, start_s, length_s, sound) for one in ([] if alone else [own]) + rivals]
            seconds.append(length_s)
            correlations.append(judged + [np.zeros_like(judged[0])] * (3 - len(judged)))
            there.append(np.arange(3) < len(judged))
            answer.append(3 if alone else 0)
    return Windows(np.array(seconds), np.array(correlations), np.array(there), np.array(answer))


def _voice_of(one: Take, start_s: float, length_s: float) -> Floats:
    sound = one.sound[round(start_s * SAMPLE_RATE_HZ) : round((start_s + length_s) * SAMPLE_RATE_HZ)]
    return lips.audio_features(sound, np.array([length_s]))


def _judged(one: Take, start_s: float, length_s: float, sound: Floats) -> Floats:
    inside = (one.timestamps_s >= start_s) & (one.timestamps_s < start_s + length_s - 1e-6)
    inside &= np.isfinite(one.landmarks[:, 0, 0])
    if not inside.any():
        return np.zeros((len(lips.LAGS_S), len(lips.CHANNELS)))
    moved = lips.movements(lips.mouth(one.landmarks[inside]).astype(np.float64))
    cues = lips.fuse_lip_cues(moved, one.mouths[inside])
    return lips.correlations([(one.timestamps_s[inside] - start_s, cues)], sound)[0]


def likelihoods(asked: Windows, steps: int = 200) -> dict[str, Floats]:
    """The most likely numbers of lips.Channel per channel, of the lags, the trust and the score of "nobody"."""
    channels = asked.correlations.shape[-1]
    fitted = {
        "mean": torch.full((channels,), 0.3),
        "speaking": torch.full((channels,), -1.5),
        "other": torch.full((channels,), -3.0),
        "chance": torch.full((channels,), -1.0),
        "lags": torch.zeros(asked.correlations.shape[2]),
        "trust": torch.tensor([-0.5]),
        "nobody": torch.zeros(1),
    }
    for number in fitted.values():
        number.requires_grad_()
    correlations, there = torch.tensor(asked.correlations, dtype=torch.float32), torch.tensor(asked.there)
    seconds, answer = torch.tensor(asked.seconds, dtype=torch.float32)[:, None, None, None], torch.tensor(asked.answer)
    optimizer = torch.optim.Adam(list(fitted.values()), 0.05)
    for _ in range(steps):
        by_chance = (2 * fitted["chance"]).exp() / seconds
        yes, no = (by_chance + (2 * fitted[name]).exp() for name in ("speaking", "other"))
        ratios = (correlations**2 / no - (correlations - fitted["mean"]) ** 2 / yes + (no / yes).log()) / 2
        worth = fitted["trust"].exp() * torch.logsumexp(ratios.sum(dim=-1) + fitted["lags"].log_softmax(0), dim=-1)
        scores = torch.cat([worth.masked_fill(~there, -1e9), fitted["nobody"].expand(len(worth), 1)], dim=1)
        loss = torch.nn.functional.cross_entropy(scores, answer) + 3e-3 * fitted["lags"].square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = scores.argmax(dim=1) == answer
    print(f"{len(answer)} windows, {100 * float(right.float().mean()):.1f} % right, cross-entropy {loss.item():.3f}")
    logs = ("speaking", "other", "chance", "trust")
    result = {
        name: (n.exp() if name in logs else n.log_softmax(0) if name == "lags" else n) for name, n in fitted.items()
    }
    return {name: number.detach().double().numpy() for name, number in result.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=237)
    parser.add_argument(
        "--voices", type=int, default=600, help="how much speech lip_sync.py's lip_sync.npz is fitted to; 0 leaves it"
    )
    parser.add_argument("--work", type=Path, default=Path("build/fit_target_face"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.voices:
        fitted: dict[str, Any] = {name: one.astype(np.float32) for name, one in voice_network(args.voices).items()}
        np.savez_compressed(VOICE, **fitted)
    shown = takes(args.faces, args.clips, args.work)
    result = likelihoods(windows(shown, 14, lengths(MELD_S, 400), 5))
    for name, number in result.items():
        print(name, number.round(3).tolist())


if __name__ == "__main__":
    main()
