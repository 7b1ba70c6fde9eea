"""The sound of a clip: one channel at 16 kHz, sample 0 at the clip's start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MediaError
from bemerc.media.channels import LOWEST_HZ
from bemerc.media.container import (
    declared_duration_s,
    decoded_frames,
    ending,
    has_clock,
    is_certain,
    open_container,
    origin_of,
    track_end_s,
)
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.timeline import Timeline
from bemerc.media.tracks import Track, choose


@dataclass(frozen=True)
class Sound:
    """The sound track of a clip from its start: (N,) float32 mono at 16 kHz in -1 to 1, true duration, what is missing.

    choices  sentences on which track and channel were taken, where there was a choice; they stand in the losses' notes too
    """

    waveform: NDArray[np.float32]
    duration_s: float
    losses: Losses
    choices: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Sentences on all that is missing of the track."""
        return [note for note in self.losses.notes() if note not in self.choices]

    def cut(self, start_s: float | None, end_s: float | None) -> NDArray[np.float32]:
        """The samples from start_s to end_s; shorter where the track ends before."""
        start = 0 if start_s is None else max(0, round(start_s * SAMPLE_RATE_HZ))
        end = None if end_s is None else max(0, round(end_s * SAMPLE_RATE_HZ))
        return np.ascontiguousarray(self.waveform[start:end])


def read_waveform(path: Path, start_s: float | None = None, end_s: float | None = None) -> NDArray[np.float32]:
    """(N,) float32 mono at 16 kHz, the part from start_s to end_s. MediaError without a readable sound track."""
    return read_sound(path, end_s).cut(start_s, end_s)


def _nobody_waits() -> None:
    """Nothing: nobody watches for signs of life."""


def read_sound(
    path: Path, until_s: float | None = None, alive: Callable[[], None] = _nobody_waits, track: Track = "auto"
) -> Sound:
    """Decode a sound track up to ``until_s``: mixed to mono, resampled to 16 kHz, sample 0 at the clip's start.

    alive  is called for every decoded frame, since a track of hours takes minutes
    track  which one, where there are several: see bemerc.media.tracks

    A track that begins after the picture is preceded by silence, as a player does it; see bemerc.media.timeline for holes.
    Raises NoTrackError where there is no such track, MediaError where nothing of it can be decoded.
    """
    with open_container(path) as container:
        choice = choose(path, container, track, alive)
        stream = container.streams.audio[choice.place]
        losses = Losses("sound")
        for note in choice.notes:
            losses.say(note)
        timeline = Timeline(choice.mix, losses)
        ended, certain = True, is_certain(container)
        declared_s, track_s = declared_duration_s(container), track_end_s(container, stream)
        origin = origin_of(container) if has_clock(container) else None
        for frame, start_s, next_s in _timed(decoded_frames(container, stream, losses), origin):
            alive()
            now_s = timeline.now_s if start_s is None else min(start_s, timeline.now_s)
            # A second more than asked for: the resampler's last samples depend on what follows them.
            if until_s is not None and now_s > until_s + 1:
                ended = False
                break
            _add(timeline, frame, start_s, next_s, losses)
            if timeline.full:
                break
    waveform = timeline.finish()
    if not waveform.size:
        raise MediaError(timeline.full or f"Of the clip's sound track nothing can be decoded{losses.because()}.")
    end_s = waveform.size / SAMPLE_RATE_HZ
    if timeline.full:
        losses.say(timeline.full, end_s)
        declared_s = end_s
    elif ended:
        declared_s = ending(declared_s, track_s, end_s, certain, losses)
    return Sound(waveform, declared_s, losses, choice.notes)


def _timed(frames: Iterator[Any], origin: Fraction | None) -> Iterator[tuple[Any, float | None, float | None]]:
    """Each frame with the time from which it is heard on the clip's clock, whose 0 is ``origin``, and the next one's; None
    where there is none."""
    held: tuple[Any, float | None] | None = None
    for frame in frames:
        start_s = None if frame.pts is None or origin is None else float(frame.pts * frame.time_base - origin)
        if held is not None:
            yield *held, start_s
        held = frame, start_s
    if held is not None:
        yield *held, None


def _add(timeline: Timeline, frame: Any, start_s: float | None, next_s: float | None, losses: Losses) -> None:
    """Take a frame, or say in ``losses`` why it cannot be taken."""
    if frame.sample_rate < LOWEST_HZ:
        losses.add(f"a rate of {frame.sample_rate} samples per second")
        return
    try:
        timeline.add(frame, start_s, next_s)
    except av.error.FFmpegError as error:
        losses.add(str(error.strerror))
