"""How often is the target face the speaker's in clips of real people, where somebody wrote down who speaks?

    python -m benchmarks.speaker_truth DIR

DIR holds clips, and truth.csv with a stretch of one of them per line: file, start_s, end_s, and x_range, where the face of
the speaker lies, as parts of the picture's width: "0-0.47", or "0-0.47 or 0.5-1" where either face is right. Each
stretch is followed by itself, as an utterance is in ``bemerc extract``.

A stretch is right where nine in ten of the rows that were measured show a face in x_range; *measured* is the share of
frames with a row. Then windows of two seconds, one begun every half second. *Another's voice*: every stretch once more
with the sound of every stretch of another file, which nobody in the picture speaks: all should be marked uncertain.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice
from bemerc.extraction.face import target_face
from bemerc.extraction.face.target_face import FaceTrack
from bemerc.media.audio import read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ
from benchmarks.target_face import PARAMS, Floats, followed, within

Waveform = NDArray[np.float32]

WINDOW_S, STEP_S, LEAST_S = 2.0, 0.5, 0.9
ENOUGH = 0.9


@dataclass(frozen=True)
class Stretch:
    """Somebody speaks in ``file`` from ``start_s`` to ``end_s``; ``places``: where the face is, (left, right) of the width."""

    file: str
    start_s: float
    end_s: float
    places: tuple[tuple[float, float], ...]

    @property
    def name(self) -> str:
        return f"{self.file}, {self.start_s:g} to {self.end_s:g} s"


@dataclass(frozen=True)
class Seen:
    """The faces followed in a stretch: times of its frames from its start, tracks, and its own sound."""

    stretch: Stretch
    timestamps_s: Floats
    tracks: tuple[FaceTrack, ...]
    sound: Waveform


@dataclass(frozen=True)
class Judged:
    """right: None where the sound is another's, and nobody is right; measured: share of frames with a row."""

    right: bool | None
    measured: float
    faces: int
    score: float
    marked: bool


def read_truth(path: Path) -> list[Stretch]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Stretch(row["file"], float(row["start_s"]), float(row["end_s"]), _places(row["x_range"]))
            for row in csv.DictReader(file)
        ]


def _places(text: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(low), float(high)) for low, high in (one.split("-") for one in text.split(" or ")))


def judge(seen: Seen, sound: Waveform, *, own: bool) -> Judged:
    """The face that is selected with this sound."""
    choice, _ = target_face.select(seen.tracks, seen.timestamps_s, "speaking", sound, PARAMS.least_score)
    places = measured_places(seen.tracks, choice)
    inside = [any(low <= x <= high for low, high in seen.stretch.places) for x in places]
    right = bool(inside) and float(np.mean(inside)) >= ENOUGH if own else None
    share = len(places) / max(1, len(seen.timestamps_s))
    return Judged(right, share, choice.faces, choice.score, choice.uncertain)


def measured_places(tracks: Sequence[FaceTrack], choice: Choice) -> list[float]:
    """Where the measured faces lie, row by row."""
    by_number = {track.number: track for track in tracks}
    return [
        x
        for span in choice.spans
        for frame, x in zip(by_number[span.track].rows, by_number[span.track].x.tolist(), strict=True)
        if span.first <= frame < span.end
    ]


def windows(seen: Seen) -> list[Judged]:
    """Each WINDOW_S of a stretch, or all of one that is shorter, with its own sound."""
    length_s = seen.stretch.end_s - seen.stretch.start_s
    if length_s < LEAST_S:
        return []
    result = []
    for start_s in np.arange(0.0, max(length_s - WINDOW_S, 0.0) + 1e-6, STEP_S).tolist():
        inside = np.flatnonzero((seen.timestamps_s >= start_s) & (seen.timestamps_s < start_s + WINDOW_S))
        if not len(inside):  # the stretch is longer than its file
            continue
        first, end = int(inside[0]), int(inside[-1]) + 1
        stamps = seen.timestamps_s[first:end] - start_s
        tracks = tuple(within(seen.tracks, first, end))
        part = Seen(seen.stretch, stamps, tracks, _cut(seen.sound, start_s, WINDOW_S))
        result.append(judge(part, part.sound, own=True))
    return result


def _cut(sound: Waveform, start_s: float, length_s: float) -> Waveform:
    return sound[round(SAMPLE_RATE_HZ * start_s) : round(SAMPLE_RATE_HZ * (start_s + length_s))]


def others_voices(seen: Sequence[Seen]) -> list[Judged]:
    """Every stretch with the sound of stretches of other files, as long as itself where they are long enough."""
    return [
        judge(one, other.sound[: len(one.sound)], own=False)
        for one in seen
        for other in seen
        if other.stretch.file != one.stretch.file and len(other.sound) >= LEAST_S * SAMPLE_RATE_HZ
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args().folder
    seen: list[Seen] = []
    stretches: list[Judged] = []
    print("| stretch | faces | measured | right | score | marked |")
    print("| --- | ---: | ---: | --- | ---: | --- |")
    for stretch in read_truth(folder / "truth.csv"):
        path = folder / stretch.file
        stamps, tracks = followed(path, stretch.start_s, stretch.end_s)
        sound = read_sound(path).cut(stretch.start_s, stretch.end_s)
        seen.append(Seen(stretch, stamps - stretch.start_s, tracks, sound))
        stretches.append(one := judge(seen[-1], sound, own=True))
        right, marked = ("yes" if one.right else "**no**"), ("yes" if one.marked else "")
        print(f"| {stretch.name} | {one.faces} | {100 * one.measured:.0f} % | {right} | {one.score:.2f} | {marked} |")
    print("\n| | asked | right | marked | wrong and not marked |\n| --- | ---: | ---: | ---: | ---: |")
    print(row("stretches", stretches))
    print(row(f"windows of {WINDOW_S:g} s", [judged for one in seen for judged in windows(one)]))
    foreign = others_voices(seen)
    print(row("another's voice, one face in sight", [one for one in foreign if one.faces == 1]))
    print(row("another's voice, several", [one for one in foreign if one.faces > 1]))


def row(name: str, judged: Sequence[Judged]) -> str:
    if not judged:
        return f"| {name} | 0 | - | - | - |"
    right = sum(one.right is True for one in judged) if judged[0].right is not None else "-"
    marked, missed = sum(one.marked for one in judged), sum(one.right is not True and not one.marked for one in judged)
    return f"| {name} | {len(judged)} | {right} | {marked} | {missed} |"


if __name__ == "__main__":
    main()
