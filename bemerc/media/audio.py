"""Decode the sound of a clip: mono at 16 kHz, sample 0 at the clip's start."""

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
    has_clock,
    is_certain,
    open_container,
    origin_of,
    track_end_s,
    true_duration_s,
)
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.timeline import Timeline
from bemerc.media.tracks import Track, choose_track


@dataclass(frozen=True)
class Sound:
    """The sound track of a clip from its start.

    waveform    (N,) float32 mono at 16 kHz in [-1, 1]
    duration_s  the clip's true length
    losses      what is missing
    choices     sentences on which track and channel were taken, where there was a choice; also among the losses' notes
    """

    waveform: NDArray[np.float32]
    duration_s: float
    losses: Losses
    choices: tuple[str, ...] = ()

    @property
    def faults(self) -> list[str]:
        """Sentences on everything that is missing."""
        return [note for note in self.losses.notes() if note not in self.choices]

    def cut(self, start_s: float | None, end_s: float | None) -> NDArray[np.float32]:
        """The samples from ``start_s`` to ``end_s``; fewer where the track ends before."""
        start = 0 if start_s is None else max(0, round(start_s * SAMPLE_RATE_HZ))
        end = None if end_s is None else max(0, round(end_s * SAMPLE_RATE_HZ))
        return np.ascontiguousarray(self.waveform[start:end])


def _no_heartbeat() -> None:
    """The default heartbeat: nothing."""


def read_sound(
    path: Path, until_s: float | None = None, alive: Callable[[], None] = _no_heartbeat, track: Track = "auto"
) -> Sound:
    """Decode a sound track up to ``until_s``: mixed to mono, resampled to 16 kHz, sample 0 at the clip's start.

    alive  heartbeat, called for every decoded frame: a track of hours takes minutes
    track  which one, where there are several; see bemerc.media.tracks

    A track that starts after the video is preceded by silence, as players do; for gaps see bemerc.media.timeline.
    Raises NoTrackError where there is no such track, MediaError where nothing of it can be decoded.
    """
    with open_container(path) as container:
        choice = choose_track(path, container, track, alive)
        stream = container.streams.audio[choice.index]
        losses = Losses("sound")
        for note in choice.notes:
            losses.add_note(note)
        timeline = Timeline(choice.mix, losses)
        ended, certain = True, is_certain(container)
        declared_s, track_s = declared_duration_s(container), track_end_s(container, stream)
        origin = origin_of(container) if has_clock(container) else None
        for frame, start_s, next_s in _timed(decoded_frames(container, stream, losses), origin):
            alive()
            now_s = timeline.now_s if start_s is None else min(start_s, timeline.now_s)
            # One second more than asked for: the resampler's last samples depend on what follows them.
            if until_s is not None and now_s > until_s + 1:
                ended = False
                break
            _add_frame(timeline, frame, start_s, next_s, losses)
            if timeline.full:
                break
    waveform = timeline.finish()
    if not waveform.size:
        raise MediaError(timeline.full or f"Of the clip's sound track nothing can be decoded{losses.because()}.")
    end_s = waveform.size / SAMPLE_RATE_HZ
    if timeline.full:
        losses.add_note(timeline.full, end_s)
        declared_s = end_s
    elif ended:
        declared_s = true_duration_s(declared_s, track_s, end_s, certain, losses)
    return Sound(waveform, declared_s, losses, choice.notes)


def _timed(frames: Iterator[Any], origin: Fraction | None) -> Iterator[tuple[Any, float | None, float | None]]:
    """Each frame with its start and the next frame's, in seconds after ``origin``; None where there is no timestamp."""
    previous: tuple[Any, float | None] | None = None
    for frame in frames:
        start_s = None if frame.pts is None or origin is None else float(frame.pts * frame.time_base - origin)
        if previous is not None:
            yield *previous, start_s
        previous = frame, start_s
    if previous is not None:
        yield *previous, None


def _add_frame(timeline: Timeline, frame: Any, start_s: float | None, next_s: float | None, losses: Losses) -> None:
    """Add a frame to the timeline, or to ``losses`` the reason why it cannot be."""
    if frame.sample_rate < LOWEST_HZ:
        losses.add_undecoded(f"a rate of {frame.sample_rate} samples per second")
        return
    try:
        timeline.add(frame, start_s, next_s)
    except av.error.FFmpegError as error:
        losses.add_undecoded(str(error.strerror))
