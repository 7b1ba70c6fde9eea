"""Frames of utterances, for a model that looks at images: all those of one clip in one pass over it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.corpus.manifest import Utterance
from bemerc.language.teacher.params import Picture
from bemerc.media.video import Frame, Video


@dataclass(frozen=True)
class Question:
    """What is asked about one utterance: the times of its pictures, the words, and the file of its answers."""

    utterance: Utterance
    times_s: Sequence[float]
    text: str
    file: Path


def times(clip: Path, utterance: Utterance, count: int) -> list[float]:
    """The middles of ``count`` equal parts of the utterance, seconds on the clip's clock."""
    start_s, end_s = utterance.start_s or 0.0, utterance.end_s
    if end_s is None:
        with Video(clip) as video:
            end_s = video.duration_s
            if not math.isfinite(end_s):
                end_s = max((frame.timestamp_s for frame in video), default=start_s)
    return [start_s + (i + 0.5) / count * max(0.0, end_s - start_s) for i in range(count)]


def pictures_of(
    clip: Path, questions: Sequence[Question], side: int
) -> Iterator[tuple[Question, list[Picture] | BemercError]]:
    """The pictures of each question in one pass over the clip, each as soon as it is complete: of a recording with hundreds
    of utterances only those under way are in memory.

    A picture is the first frame at or after its time, (H, W, 3) uint8 RGB; the last frame for times after it. MediaError
    in their place where the clip has none, or none from the utterance's beginning on.
    """
    waiting = sorted((_Collector(q, side) for q in questions), key=lambda one: one.start_s)
    begun: list[_Collector] = []
    fault: BemercError | None = None
    try:
        if waiting:
            with Video(clip) as video:
                for frame in video:
                    while waiting and waiting[0].start_s <= frame.timestamp_s:
                        begun.append(waiting.pop(0))
                    for one in begun:
                        one.see(frame)
                    yield from ((one.question, one.pictures()) for one in begun if one.done)
                    begun = [one for one in begun if not one.done]
                    if not begun and not waiting:
                        return
    except (MediaError, MachineError) as error:
        fault = error
    for one in [*begun, *waiting]:
        yield one.question, fault or one.pictures()


class _Collector:
    """The pictures of one utterance, while its clip goes by."""

    def __init__(self, question: Question, side: int) -> None:
        self.question, self.side, self.done = question, side, False
        self.start_s, self._end_s = question.utterance.start_s or 0.0, question.utterance.end_s
        self._wanted, self._taken = list(question.times_s), list[Picture]()
        self._last: Frame | None = None

    def see(self, frame: Frame) -> None:
        """Take note of the next frame, at or after the utterance's beginning."""
        if self._last is not None and self._end_s is not None and frame.timestamp_s > self._end_s:
            self.done = True
            return
        self._last = frame
        while self._wanted and frame.timestamp_s >= self._wanted[0]:
            self._taken.append(frame.rgb(self.question.utterance.crop, self.side))
            self._wanted.pop(0)
        self.done = not self._wanted

    def pictures(self) -> list[Picture] | MediaError:
        """What was found, the last frame standing for times after it."""
        if self._last is None:
            return MediaError("The clip ends before this utterance begins.")
        last = self._last.rgb(self.question.utterance.crop, self.side) if self._wanted else None
        return [*self._taken, *([last] * len(self._wanted) if last is not None else [])]
