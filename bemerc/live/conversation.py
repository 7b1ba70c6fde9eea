"""From an inbox to events: one thread measures what comes, one labels what has ended, so that the picture goes on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.core import progress
from bemerc.extraction.audio import prosody
from bemerc.extraction.extractor_pool import ExtractorPool
from bemerc.live import events
from bemerc.live.cuts import Cut, Cutter
from bemerc.live.figures import Figures
from bemerc.live.inbox import Cue, End, Inbox, Picture, PictureEnd, Sound
from bemerc.live.labelling import Labeller
from bemerc.live.onlooker import Observed, Onlooker
from bemerc.live.session import Ended, Session
from bemerc.live.sound import VOICE_EVERY_S, voice_at
from bemerc.live.turns import Turn, Turns

_MOST_JOBS = 64  # utterances that wait for a label: at more, frames and sound wait too, and are dropped

Recogniser = Callable[[NDArray[np.float32]], str]


@dataclass(frozen=True)
class Listener:
    """Who gets what happens, from two threads.

    event         gets every event
    observed      gets every frame that was measured, with its picture's number, before its units are computed
    ready         a frame was seen through: the next one may come, and is on its way while the units are worked out
    measured      gets every utterance that was measured
    shows_itself  whether it counts itself when a frame is on screen; else that is when ``event`` is called
    """

    event: Callable[[events.Event], None]
    observed: Callable[[Observed, int], None] = lambda observed, number: None
    ready: Callable[[], None] = lambda: None
    measured: Callable[[Turn], None] = lambda turn: None
    shows_itself: bool = False


@dataclass(frozen=True)
class Measuring:
    """What measures: extractors of face and body for every utterance, the onlooker, the voice's params."""

    pool: ExtractorPool
    onlooker: Onlooker
    voice: prosody.Params


class Conversation:
    """One conversation. ``run`` takes what comes until it ends.

    labeller    None: utterances are measured and described, and get no label
    recogniser  what makes words of sound, where somebody does
    now         the clock of the inbox's pictures
    """

    def __init__(
        self,
        measuring: Measuring,
        cutter: Cutter,
        turns: Turns,
        labeller: Labeller | None,
        listener: Listener,
        recogniser: Recogniser | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.figures = Figures()
        self._measuring, self._listener, self._now = measuring, listener, now
        self._turns, self._labeller, self._recogniser = turns, labeller, recogniser
        self._session = Session(measuring.pool, measuring.onlooker, cutter, self._began, self._ended)
        self._jobs: queue.Queue[tuple[Ended | str, float] | None] = queue.Queue(_MOST_JOBS)
        self._last: Turn | None = None
        self._error: BaseException | None = None
        self._speaking, self._voice_s = False, 0.0

    def run(self, inbox: Inbox) -> dict[str, Any]:
        """Until an End comes; returns the figures. Raises what went wrong, wherever that was."""
        with progress.hidden():
            return self._run(inbox)

    def _run(self, inbox: Inbox) -> dict[str, Any]:
        self.figures.begin()
        labelling = threading.Thread(target=self._label_all, name="labelling", daemon=True)
        labelling.start()
        try:
            while (end := self._take(inbox)) is None:
                self._raise()
            if end.error is not None:
                raise end.error
            self._session.close(end.end_s)
        finally:
            inbox.close()
            self._jobs.put(None)
            labelling.join()
        self._raise()
        self.figures.dropped += inbox.dropped
        self.figures.dropped_sound_s += inbox.dropped_sound_s
        summary = self.figures.summary()
        self._listener.event({"event": "summary", **summary})
        return summary

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _take(self, inbox: Inbox) -> End | None:
        match inbox.take():
            case End() as end:
                return end
            case Picture() as picture:
                self._see(picture)
            case Sound() as sound:
                self._hear(sound)
            case PictureEnd(end_s):
                self._session.video_end_s = end_s
            case Cue(text):
                if not self._session.cue(text) and text:
                    self._jobs.put((text, self._now()))
        return None

    def _see(self, picture: Picture) -> None:
        observed = self._session.see(picture.frame)
        self._listener.observed(observed, picture.number)
        self._listener.ready()
        units, others = self._measuring.onlooker.units(observed), self._measuring.onlooker.others(observed)
        latency_s = self._now() - picture.captured_s
        self.figures.frames += 1
        if not self._listener.shows_itself:
            self.figures.overlay_s.append(latency_s)
        self._listener.event(events.frame(observed, units, picture.number, latency_s, others))

    def _hear(self, sound: Sound) -> None:
        if sound.start_s is not None and len(gap := self._session.sound.missing_before(sound.start_s)):
            self._session.hear(gap)
        self._session.hear(sound.samples)
        now_s = self._session.sound.end_s
        if now_s >= self._voice_s + VOICE_EVERY_S:
            self._voice_s = now_s
            voice = voice_at(self._session.sound, self._measuring.voice)
            self._listener.event(events.voice(voice, self._speaking))

    def _began(self, cut: Cut) -> None:
        self._speaking = True
        self._listener.event(events.began(cut.number, cut.start_s))

    def _ended(self, ended: Ended) -> None:
        self._speaking = False
        self._jobs.put((ended, self._now()))

    def _label_all(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                what, since_s = job
                self._label(self._with_words(what) if isinstance(what, str) else self._measure(what), since_s)
        except BaseException as error:  # raised again by the other thread, which must not wait for room before
            self._error = error
            while self._jobs.get() is not None:
                pass

    def _with_words(self, text: str) -> Turn | None:
        """The utterance before, with the words that came after its end."""
        return self._last and replace(self._last, utterance=replace(self._last.utterance, text=text))

    def _measure(self, ended: Ended) -> Turn:
        if self._recogniser is not None and not ended.cut.text and ended.waveform is not None:
            ended = replace(ended, cut=replace(ended.cut, text=self._recogniser(ended.waveform)))
        turn = self._turns.add(ended) if self._labeller is None else self._turns.add(ended, self._labeller.read)
        self._listener.measured(turn)
        return turn

    def _label(self, turn: Turn | None, since_s: float) -> None:
        if turn is None:
            return
        self._last, u = turn, turn.utterance
        answer = None if self._labeller is None else self._labeller.label(turn)
        latency_s = self._now() - since_s
        self.figures.emotion_s.append(latency_s)
        about = {"id": u.id, "start_s": u.start_s, "end_s": u.end_s, "speaker": u.speaker, "text": u.text}
        self._listener.event(events.utterance(answer, about, turn.description, latency_s))
