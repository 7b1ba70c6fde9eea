"""One conversation as it comes: sound and frames in order; utterances begin, are measured, and end.

Every utterance is measured by the very code that measures it offline (extraction.video_pass.ActiveUtterance), with
extractors of its own, from its first frame to its last. That it has begun is known a little later than it began, and
that a pause is no end only when it goes on: frames of that time wait, and are measured a few at a time, so that the
picture on screen does not stand still.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.jobs import Request
from bemerc.extraction.video_pass import ActiveUtterance
from bemerc.live.cuts import LOOK_BACK_S, Cut, Cutter
from bemerc.live.onlooker import Observed, Onlooker
from bemerc.live.sound import SoundTrack

_AT_ONCE = 3  # frames that are measured for one that comes, while an utterance catches up


@dataclass(frozen=True)
class Ended:
    """An utterance that is over.

    measured             its extractors, with all its frames
    video_s, duration_s  how long its picture and all of it are
    waveform             (N,) its sound; None where there is none
    """

    cut: Cut
    measured: ActiveUtterance
    video_s: float
    duration_s: float
    waveform: NDArray[np.float32] | None


class Session:
    """Fed with sound and frames, each in its order, a frame after the sound before it.

    began, ended  called when an utterance begins or is over; what is over must not be waited for
    video_end_s   where the picture ended, once it has
    """

    def __init__(
        self,
        pool: ExtractorPool,
        onlooker: Onlooker,
        cutter: Cutter,
        began: Callable[[Cut], None],
        ended: Callable[[Ended], None],
    ) -> None:
        self.sound = SoundTrack()
        self._pool, self._onlooker, self._cutter = pool, onlooker, cutter
        self._began, self._ended = began, ended
        self._recent: deque[Any] = deque()
        self._open: dict[int, _Utterance] = {}
        self.video_end_s = math.inf

    def hear(self, samples: NDArray[np.float32]) -> None:
        """(N,) float32 mono at 16 kHz, what follows the sound before."""
        self.sound.append(samples)
        self._follow(self._cutter.hear(samples))
        self.sound.forget(min([self.sound.end_s, *(u.cut.start_s for u in self._open.values())]) - LOOK_BACK_S)

    def see(self, frame: Any) -> Observed:
        """Measure a frame (media.video.Frame, or what is like one)."""
        self._follow(self._cutter.reach(frame.timestamp_s))
        self._recent.append(frame)
        while self._recent[0].timestamp_s < frame.timestamp_s - LOOK_BACK_S:
            self._recent.popleft()
        latest: _Utterance | None = None
        for utterance in self._open.values():
            utterance.waiting.append(frame)
            if utterance.work(self._cutter.settled_s(utterance.cut.number), _AT_ONCE):
                latest = utterance
        number = max(self._open, default=None)
        return self._onlooker.look(frame, number) if latest is None else latest.observed(frame)

    def cue(self, text: str = "") -> bool:
        """The utterance has ended, says somebody, who may know its words; whether one was going on."""
        cuts = [replace(cut, text=text or cut.text) for cut in self._cutter.cue()]
        self._follow(cuts)
        return bool(cuts)

    def close(self, end_s: float) -> None:
        """There is no more: what goes on ends at ``end_s``, or at its own end if that is before."""
        self._follow(self._cutter.reach(end_s))
        for utterance in list(self._open.values()):
            settled_s = self._cutter.settled_s(utterance.cut.number)
            self._end(replace(utterance.cut, end_s=min(end_s, settled_s)))

    def _follow(self, cuts: Iterable[Cut]) -> None:
        for cut in cuts:
            if cut.end_s is not None:
                self._end(cut)
                continue
            utterance = _Utterance(cut, self._pool)
            utterance.waiting.extend(frame for frame in self._recent if frame.timestamp_s >= cut.start_s)
            self._open[cut.number] = utterance
            self._began(cut)

    def _end(self, cut: Cut) -> None:
        utterance, end_s = self._open.pop(cut.number), cut.end_s
        assert end_s is not None
        utterance.work(end_s, len(utterance.waiting))
        utterance.sound.samples = self.sound.waveform(Segment(cut.start_s, end_s))
        lengths_s = min(end_s, self.video_end_s) - cut.start_s, end_s - cut.start_s
        self._ended(Ended(cut, utterance.measured, *lengths_s, utterance.sound.samples))


class _Utterance:
    """An utterance that goes on; ``waiting``: frames that were not measured for it yet."""

    def __init__(self, cut: Cut, pool: ExtractorPool) -> None:
        self.cut, self.sound = cut, _OwnSound()
        request = Request(Segment(cut.start_s), dict.fromkeys(pool.specs, ""))
        self.measured = ActiveUtterance(request, pool, self.sound)
        self.waiting: deque[Any] = deque()

    def work(self, until_s: float, most: int) -> bool:
        """Measure up to ``most`` of the frames that wait and lie before ``until_s``; whether none waits any more."""
        for _ in range(most):
            if not self.waiting or self.waiting[0].timestamp_s >= until_s:
                break
            self.measured.process(self.waiting.popleft())
        return not self.waiting

    def observed(self, frame: Any) -> Observed:
        """What its extractors saw in the frame that they measured last."""
        face, body = (self.measured.extractors[modality] for modality in ("face", "pose"))
        return Observed(frame.timestamp_s, frame.size, tuple(face.faces), body.keypoints, self.cut.number)


class _OwnSound:
    """The sound of one utterance, once it has ended: the conversation's goes on, and forgets it."""

    samples: NDArray[np.float32] | None = None

    def waveform(self, segment: Segment) -> NDArray[np.float32] | None:
        return self.samples
