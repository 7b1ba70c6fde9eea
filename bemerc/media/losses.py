"""What is missing from a decoded track, with times, so that every part of a clip gets its own notes."""

from __future__ import annotations

import math
from collections import Counter


class Losses:
    """Collected while a track is decoded. All times in seconds on the clip's clock.

    track     "picture" or "sound", for messages
    now_s     how far the track is decoded
    others_s  where the clip's other tracks end
    """

    def __init__(self, track: str) -> None:
        self.track, self.now_s = track, 0.0
        self.others_s = -math.inf
        self._undecoded: list[tuple[float, str]] = []
        self._dropped: list[tuple[float, str]] = []
        self._notes: list[tuple[float, str]] = []
        self._gaps: list[tuple[float, float]] = []
        self._invalid: list[tuple[float, int]] = []

    def add_undecoded(self, reason: str) -> None:
        """A packet could not be decoded."""
        self._undecoded.append((self.now_s, reason))

    def add_dropped_frame(self, reason: str) -> None:
        """A frame was decoded and dropped."""
        self._dropped.append((self.now_s, reason))

    def add_note(self, sentence: str, from_s: float = -math.inf) -> None:
        """A sentence for every part that ends after ``from_s``."""
        self._notes.append((from_s, sentence))

    def add_gap(self, at_s: float, filled_s: float) -> None:
        """Timestamps left a gap that was filled with silence; negative: they overlapped, and so much was cut."""
        self._gaps.append((at_s, filled_s))

    def add_invalid(self, at_s: float, samples: int) -> None:
        """So many samples were NaN, infinite or beyond any scale, and were replaced by silence."""
        self._invalid.append((at_s, samples))

    def because(self) -> str:
        """The reason of the first packet that could not be decoded, as the end of a sentence."""
        return f" ({self._undecoded[0][1]})" if self._undecoded else ""

    def notes(self, start_s: float = -math.inf, end_s: float = math.inf) -> list[str]:
        """Sentences on the part from ``start_s`` to ``end_s``; none where nothing is missing."""
        sentences = []
        undecoded, dropped = (
            [reason for at_s, reason in kind if start_s <= at_s < end_s] for kind in (self._undecoded, self._dropped)
        )
        if undecoded:
            count = f"{len(undecoded)} pieces" if len(undecoded) > 1 else "A piece"
            sentences.append(f"{count} of the {self.track} could not be decoded ({undecoded[0]}).")
        if dropped:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(dropped).items()))
            sentences.append(f"Frames were left out: {reasons}.")
        sentences += self._gap_notes(start_s, end_s)
        invalid = sum(samples for at_s, samples in self._invalid if start_s <= at_s < end_s)
        if invalid:
            sentences.append(
                f"{invalid} samples of the {self.track} are no numbers or beyond any scale, and were taken for silence."
            )
        return sentences + [note for from_s, note in self._notes if from_s < end_s]

    def _gap_notes(self, start_s: float, end_s: float) -> list[str]:
        gaps = [by_s for at_s, by_s in self._gaps if at_s < end_s and at_s + max(by_s, 0.0) > start_s]
        filled_s, cut_s = sum(by_s for by_s in gaps if by_s > 0), -sum(by_s for by_s in gaps if by_s < 0)
        filled = [f"The {self.track} has holes: {filled_s:.2f} s were filled with silence."] if filled_s else []
        return filled + ([f"The {self.track} is longer than its timestamps: {cut_s:.2f} s were cut."] if cut_s else [])
