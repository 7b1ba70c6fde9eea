"""What is missing of a decoded track, and when: an utterance that is a part of a clip is given the notes of its own part."""

from __future__ import annotations

import math
from collections import Counter


class Losses:
    """Gathered while a ``track`` ("picture", "sound") is decoded, which has come as far as ``now_s``; ``others_s`` is where
    the clip's other tracks end; all times in seconds on the clip's clock."""

    def __init__(self, track: str) -> None:
        self.track, self.now_s = track, 0.0
        self.others_s = -math.inf
        self._undecoded: list[tuple[float, str]] = []
        self._frames: list[tuple[float, str]] = []
        self._sentences: list[tuple[float, str]] = []
        self._jumps: list[tuple[float, float]] = []
        self._unreal: list[tuple[float, int]] = []

    def add(self, reason: str) -> None:
        """A piece could not be decoded."""
        self._undecoded.append((self.now_s, reason))

    def leave_out(self, reason: str) -> None:
        """A frame was decoded and left out."""
        self._frames.append((self.now_s, reason))

    def say(self, sentence: str, from_s: float = -math.inf) -> None:
        """Something else is to be said of every part that goes on after ``from_s``."""
        self._sentences.append((from_s, sentence))

    def jump(self, at_s: float, filled_s: float) -> None:
        """The timestamps left a hole at ``at_s`` that was filled with silence; negative: they overlapped, and so much was cut."""
        self._jumps.append((at_s, filled_s))

    def unreal(self, at_s: float, samples: int) -> None:
        """So many samples were no numbers, or beyond any scale, and are silence."""
        self._unreal.append((at_s, samples))

    def because(self) -> str:
        """The reason of the first piece that could not be decoded, as the end of a sentence."""
        return f" ({self._undecoded[0][1]})" if self._undecoded else ""

    def notes(self, start_s: float = -math.inf, end_s: float = math.inf) -> list[str]:
        """Sentences on the part from start_s to end_s; none where nothing is missing."""
        found = []
        undecoded, frames = (
            [reason for at_s, reason in kind if start_s <= at_s < end_s] for kind in (self._undecoded, self._frames)
        )
        if undecoded:
            count = f"{len(undecoded)} pieces" if len(undecoded) > 1 else "A piece"
            found.append(f"{count} of the {self.track} could not be decoded ({undecoded[0]}).")
        if frames:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(frames).items()))
            found.append(f"Frames were left out: {reasons}.")
        found += self._jump_notes(start_s, end_s)
        unreal = sum(samples for at_s, samples in self._unreal if start_s <= at_s < end_s)
        if unreal:
            found.append(
                f"{unreal} samples of the {self.track} are no numbers or beyond any scale, and were taken for silence."
            )
        return found + [sentence for from_s, sentence in self._sentences if from_s < end_s]

    def _jump_notes(self, start_s: float, end_s: float) -> list[str]:
        jumps = [by_s for at_s, by_s in self._jumps if at_s < end_s and at_s + max(by_s, 0.0) > start_s]
        filled_s, cut_s = sum(by_s for by_s in jumps if by_s > 0), -sum(by_s for by_s in jumps if by_s < 0)
        found = [f"The {self.track} has holes: {filled_s:.2f} s were filled with silence."] if filled_s else []
        return found + ([f"The {self.track} is longer than its timestamps: {cut_s:.2f} s were cut."] if cut_s else [])
