"""What cuts a conversation into utterances while it goes on: silence, the cues of subtitles, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.manifest import NOBODY, Utterance
from bemerc.live.voice_activity import MARGIN_S, SILENCE_S, Span, VoiceActivity

# How long frames are kept before it is known whether they belong to an utterance.
LOOK_BACK_S = SILENCE_S + 2 * MARGIN_S


@dataclass(frozen=True)
class Cut:
    """An utterance begins, or has ended (``end_s``); ``number`` counts from 0."""

    number: int
    start_s: float
    end_s: float | None = None
    speaker: str = NOBODY
    text: str = ""


class Cutter(Protocol):
    """Sound and time in, cuts out."""

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Cut]:
        """Sound that follows the sound before."""

    def reach(self, now_s: float) -> Iterator[Cut]:
        """This time was reached: sound came up to it, and no frame before it is to come."""

    def cue(self) -> Iterator[Cut]:
        """Somebody says that the utterance has ended."""

    def settled_s(self, number: int) -> float:
        """Frames up to here belong to utterance ``number``; later ones wait."""


class BySilence:
    """Utterances end by silence or a cue."""

    def __init__(self, speaker: str = NOBODY) -> None:
        self.voice = VoiceActivity()
        self._speaker, self._number = speaker, 0

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Cut]:
        for span in self.voice.hear(samples):
            yield self._cut(span)

    def reach(self, now_s: float) -> Iterator[Cut]:
        yield from ()

    def cue(self) -> Iterator[Cut]:
        if (span := self.voice.end()) is not None:
            yield self._cut(span)

    def settled_s(self, number: int) -> float:
        return self.voice.settled_s

    def _cut(self, span: Span) -> Cut:
        cut = Cut(self._number, span.start_s, span.end_s, self._speaker)
        self._number += span.end_s is not None
        return cut


class ByCues:
    """The utterances of subtitles, which may overlap, with their words and speakers."""

    def __init__(self, utterances: Sequence[Utterance]) -> None:
        self._cuts = [Cut(u.index, u.start_s or 0.0, u.end_s, u.speaker, u.text) for u in utterances]
        self._ends = {cut.number: cut.end_s or 0.0 for cut in self._cuts}
        self._begun: list[Cut] = []
        self._waiting = sorted(self._cuts, key=lambda cut: cut.start_s, reverse=True)

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Cut]:
        yield from ()

    def reach(self, now_s: float) -> Iterator[Cut]:
        while self._waiting and self._waiting[-1].start_s <= now_s:
            self._begun.append(cut := self._waiting.pop())
            yield Cut(cut.number, cut.start_s, None, cut.speaker, cut.text)
        for cut in [cut for cut in self._begun if self._ends[cut.number] <= now_s]:
            self._begun.remove(cut)
            yield cut

    def cue(self) -> Iterator[Cut]:
        yield from ()

    def settled_s(self, number: int) -> float:
        return self._ends[number]


class ByCueAlone:
    """Without sound and subtitles all of it is one utterance, up to a cue or the end."""

    def __init__(self, speaker: str = NOBODY) -> None:
        self._speaker, self._number, self._now_s = speaker, 0, 0.0
        self._start_s: float | None = None

    def hear(self, samples: NDArray[np.float32]) -> Iterator[Cut]:
        yield from ()

    def reach(self, now_s: float) -> Iterator[Cut]:
        self._now_s = now_s
        if self._start_s is None:
            self._start_s = now_s
            yield Cut(self._number, now_s, None, self._speaker)

    def cue(self) -> Iterator[Cut]:
        if self._start_s is not None and self._now_s > self._start_s:
            yield Cut(self._number, self._start_s, self._now_s, self._speaker)
            self._start_s, self._number = None, self._number + 1

    def settled_s(self, number: int) -> float:
        return float("inf")
