"""One pass over a clip's frames for all utterances in it and all modalities, each with extractors of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MachineError, MediaError
from bemerc.extraction.extractor_pool import ExtractorPool, checked
from bemerc.extraction.failures import Failure
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.jobs import Request, Task, Track
from bemerc.extraction.reporter import Reporter, RequestOutcome
from bemerc.extraction.store import Result
from bemerc.media.audio import Sound, read_sound
from bemerc.media.losses import Losses
from bemerc.media.video import CroppedFrame, Frame, Video


def extract_video_clip(task: Task, extractors: ExtractorPool, reporter: Reporter) -> None:
    """Decode the clip once; utterances begin and end as their times come. Results go to ``reporter``."""
    waiting = sorted(task.requests, key=lambda request: request.segment.start_s or 0.0, reverse=True)
    active: list[ActiveUtterance] = []
    own = {request.segment.sound: request.sound for request in task.requests if request.sound is not None}
    audio = LazyAudio(task.path, reporter.heartbeat, extractors.track, own)
    try:
        with Video(task.path) as video:
            for frame in video:
                reporter.heartbeat()
                while waiting and (waiting[-1].segment.start_s or 0.0) <= frame.timestamp_s:
                    active.append(ActiveUtterance(waiting.pop(), extractors, audio))
                active = _finish_ended(active, frame.timestamp_s, video.losses, reporter)
                active = [utterance for utterance in active if _process(utterance, frame, reporter)]
                if not waiting and not active:
                    return
                reporter.decoding(frame.timestamp_s)
    except (MediaError, MachineError) as error:
        for request in (*(utterance.request for utterance in active), *waiting):
            reporter.failed(request, error)
        for utterance in active:
            utterance.free_extractors()
        return
    for utterance in active:
        end_s = video.duration_s if utterance.end_s is None else min(utterance.end_s, video.duration_s)
        _finish(utterance, end_s, video.losses, reporter)
    for request in waiting:
        reporter.failed(request, starts_too_late(request.segment, video.duration_s))


class ActiveUtterance:
    """An utterance that is on screen: its extractors, and when each takes its next frame."""

    def __init__(self, request: Request, extractors: ExtractorPool, audio: Waveforms) -> None:
        self.request, self._pool, self._audio = request, extractors, audio
        self.extractors = {modality: extractors.take(modality) for modality in request.keys}
        self._slots: dict[str, int] = {}
        for extractor in self.extractors.values():
            if hasattr(extractor, "load_audio"):  # which face is the speaker's may depend on it
                extractor.load_audio = lambda: self._audio.waveform(self.request.segment)

    @property
    def start_s(self) -> float:
        return self.request.segment.start_s or 0.0

    @property
    def end_s(self) -> float | None:
        return self.request.segment.end_s

    def process(self, frame: Frame) -> None:
        """Hand the frame to the extractors whose turn it is. Its pixels are converted only if there is one, and all of
        them only for extractors without ``view``."""
        now_s = frame.timestamp_s - self.start_s
        due = [self.extractors[modality] for modality in self.extractors if self._is_due(modality, now_s)]
        if not due:
            return
        view = CroppedFrame(frame, self.request.segment.crop)
        if any(not hasattr(extractor, "view") for extractor in due):
            view.rgb()  # now, so that the others use it too
        for extractor in due:
            if hasattr(extractor, "view"):
                extractor.view(view, now_s)
            else:
                extractor.frame(view.rgb(), now_s)

    def _is_due(self, modality: str, now_s: float) -> bool:
        """At most one frame per period of the rate: the first one shown in it. By time, since frames may be uneven."""
        rate_hz = self._pool.specs[modality].rate_hz
        if rate_hz is None:
            return True
        slot = math.floor(now_s * rate_hz + 1e-6)
        due = slot > self._slots.get(modality, -1)
        self._slots[modality] = max(slot, self._slots.get(modality, -1))
        return due

    def results(self, duration_s: float, note: str) -> dict[str, RequestOutcome]:
        """Finish all extractors: modality -> result, or why there is none."""
        outcomes: dict[str, RequestOutcome] = {}
        for modality, extractor in self.extractors.items():
            self._pool.heartbeat()
            try:
                features = checked(extractor.finish(), self._pool.specs[modality])
            except MediaError as error:  # this modality alone could not be measured
                outcomes[modality] = Failure(str(error))
                continue
            except MachineError as error:
                outcomes[modality] = error
                continue
            landmarks, choice = getattr(extractor, "landmarks", None), getattr(extractor, "choice", None)
            outcomes[modality] = Result(features, duration_s, landmarks, note, choice, getattr(extractor, "others", ()))
        return outcomes

    def free_extractors(self) -> None:
        """Put the extractors back for the next utterance."""
        for modality, extractor in self.extractors.items():
            self._pool.put_back(modality, extractor)


class Waveforms(Protocol):
    """The sound of a clip, or of what is being recorded."""

    def waveform(self, segment: Segment) -> NDArray[np.float32] | None:
        """The samples of a segment; None where there is no sound."""


class LazyAudio:
    """The audio of the clip whose frames are processed, or a speaker's own: each track is decoded when it is first asked
    for, once for all utterances. ``own``: by its hash, the file of a sound that is another than the clip's."""

    def __init__(
        self,
        path: Path,
        heartbeat: Callable[[], None],
        track: Track = "auto",
        own: Mapping[str | None, Path] = MappingProxyType({}),
    ) -> None:
        self._path, self._heartbeat, self._track, self._own = path, heartbeat, track, own
        self._sounds: dict[tuple[Path, Track], Sound | None] = {}

    def waveform(self, segment: Segment) -> NDArray[np.float32] | None:
        """The samples that belong to a segment of the clip; None where there is no audio that can be decoded. MachineError where
        there may be some: the target face would else be selected without it, for good."""
        own = self._own.get(segment.sound)
        track: Track = segment.track or (self._track if own is None else "auto")
        source = own or self._path, track
        if source not in self._sounds:
            try:
                self._sounds[source] = read_sound(source[0], None, self._heartbeat, track)
            except MediaError:
                self._sounds[source] = None
        sound = self._sounds[source]
        return None if sound is None else sound.cut(segment.start_s, segment.end_s)


def _finish_ended(
    active: list[ActiveUtterance], now_s: float, losses: Losses, reporter: Reporter
) -> list[ActiveUtterance]:
    """Finish the utterances whose end has come; returns the others."""
    remaining = []
    for utterance in active:
        if utterance.end_s is None or now_s < utterance.end_s:
            remaining.append(utterance)
        else:
            _finish(utterance, utterance.end_s, losses, reporter)
    return remaining


def _finish(utterance: ActiveUtterance, end_s: float, losses: Losses, reporter: Reporter) -> None:
    reporter.extracting(utterance.request)
    results = utterance.results(end_s - utterance.start_s, losses_note(losses, utterance.request.segment))
    reporter.done(utterance.request, results)
    utterance.free_extractors()


def _process(utterance: ActiveUtterance, frame: Frame, reporter: Reporter) -> bool:
    """Whether the utterance goes on after this frame; a crop that leaves nothing of the frame ends it."""
    reporter.extracting(utterance.request)
    try:
        utterance.process(frame)
    except (MediaError, MachineError) as error:
        reporter.failed(utterance.request, error)
        utterance.free_extractors()
        return False
    return True


def losses_note(losses: Losses, segment: Segment) -> str:
    """What is missing of a segment of a clip, as sentences."""
    return " ".join(losses.notes(segment.start_s or 0.0, math.inf if segment.end_s is None else segment.end_s))


def starts_too_late(segment: Segment, duration_s: float) -> MediaError:
    """The error of a segment that begins after its clip's end."""
    return MediaError(
        f"It starts at {segment.start_s or 0.0:.2f} s, and its clip has nothing after {duration_s:.2f} s."
    )
