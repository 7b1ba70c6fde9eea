"""A file at real speed, in place of a camera and a microphone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np

from bemerc.core.errors import MediaError
from bemerc.extraction.jobs import Track
from bemerc.live.inbox import End, Inbox, Picture, PictureEnd, Sound
from bemerc.media import audio
from bemerc.media.container import NoTrackError
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import Video


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> float:
        """Seconds, from some moment on."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class RealClock:
    """The time that passes."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def read_sound(path: Path, track: Track) -> audio.Sound | None:
    """The file's sound, as ``bemerc extract`` decodes it; None where it has none."""
    try:
        return audio.read_sound(path, track=track)
    except NoTrackError:
        return None


def play(path: Path, sound: audio.Sound | None, inbox: Inbox, clock: Clock) -> None:
    """Put the frames of a file into ``inbox``, each when its time has come, after the sound up to it. Returns at its end,
    or when nobody takes any more."""
    waveform = np.empty(0, np.float32) if sound is None else sound.waveform
    start_s, sent, end_s = clock.now(), 0, 0.0
    try:
        with Video(path) as video:
            for number, frame in enumerate(video):
                due_s = start_s + frame.timestamp_s
                if (wait_s := due_s - clock.now()) > 0:
                    clock.sleep(wait_s)
                upto = max(sent, round(frame.timestamp_s * SAMPLE_RATE_HZ))
                if sent < len(waveform):
                    inbox.put(Sound(waveform[sent:upto]))
                sent = upto
                inbox.put(Picture(frame, due_s, number))
                if inbox.closed:
                    return
        end_s = video.duration_s
        inbox.put(PictureEnd(end_s))
        inbox.put(Sound(waveform[sent:]))
        if sound is not None:
            end_s = max(end_s, len(waveform) / SAMPLE_RATE_HZ)
    except (MediaError, OSError) as error:
        inbox.put(End(end_s, error))
        return
    inbox.put(End(end_s))
