"""The sound of a clip: one channel at 16 kHz, sample 0 at the clip's start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av.audio.resampler
import numpy as np
from numpy.typing import NDArray

from bemerc.errors import MediaError
from bemerc.media.container import (
    NoTrackError,
    check_decoder,
    declared_duration_s,
    decoded_frames,
    ending,
    is_certain,
    open_container,
    origin_of,
    track_end_s,
)
from bemerc.media.losses import Losses

SAMPLE_RATE_HZ = 16_000

# A decoder's clock may jitter; a hole in the sound longer than this is filled with silence, so that times stay true.
_HOLE_S = 0.1
_LONGEST_HOLE_S = 600.0
# Samples that an array of sound has room for beyond those that it holds, at most: four minutes.
_ROOM = 1 << 22


@dataclass(frozen=True)
class Sound:
    """The sound track of a clip from its start: (N,) float32 mono at 16 kHz in -1 to 1, true duration, what is missing."""

    waveform: NDArray[np.float32]
    duration_s: float
    losses: Losses

    @property
    def faults(self) -> list[str]:
        """Sentences on all that is missing of the track."""
        return self.losses.notes()

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


def read_sound(path: Path, until_s: float | None = None, alive: Callable[[], None] = _nobody_waits) -> Sound:
    """Decode the sound track up to ``until_s``: mixed to mono, resampled to 16 kHz, sample 0 at the clip's start.

    ``alive`` is called for every decoded frame, since a track of hours takes minutes. A track that begins after the picture
    is preceded by silence, as a player does it; holes are filled likewise.
    Raises NoTrackError where there is no sound track, MediaError where nothing of it can be decoded.
    """
    with open_container(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise NoTrackError("The clip has no sound track.")
        check_decoder(stream, "sound")
        timeline, losses = _Timeline(), Losses("sound")
        origin, ended, certain = origin_of(container), True, is_certain(container)
        declared_s, track_s = declared_duration_s(container), track_end_s(container, stream)
        for frame in decoded_frames(container, stream, losses):
            alive()
            start_s = float(frame.pts * frame.time_base - origin) if frame.pts is not None else timeline.now_s
            # A second more than asked for: the resampler's last samples depend on what follows them.
            if until_s is not None and min(start_s, timeline.now_s) > until_s + 1:
                ended = False
                break
            timeline.add(frame, start_s)
    waveform = timeline.finish()
    if not waveform.size:
        raise MediaError(f"Of the clip's sound track nothing can be decoded{losses.because()}.")
    if ended:
        declared_s = ending(declared_s, track_s, waveform.size / SAMPLE_RATE_HZ, certain, losses)
    return Sound(waveform, declared_s, losses)


class _Timeline:
    """Decoded sound laid out on the clip's clock: holes filled with silence, what lies before time 0 cut off."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._samples = _Growing()
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None
        self._early = 0

    def add(self, frame: Any, start_s: float) -> None:
        """Append the samples of ``frame``, which are heard from start_s on."""
        if self._resampler is None and start_s < 0:
            self.now_s, self._early = start_s, round(-start_s * SAMPLE_RATE_HZ)
        kind = (frame.sample_rate, frame.format.name, frame.layout.name)
        hole_s = start_s - self.now_s
        if kind != self._kind or _HOLE_S < hole_s < _LONGEST_HOLE_S:
            self._begin(kind, hole_s)
        frame.pts = None  # the clock is kept here: given times that jump, a resampler would invent samples
        self._take(frame)
        self.now_s += frame.samples / frame.sample_rate

    def finish(self) -> NDArray[np.float32]:
        """All samples so far; nothing can be added afterwards."""
        self._take(None)
        return self._samples.all()[self._early :]

    def _begin(self, kind: tuple[Any, ...], hole_s: float) -> None:
        self._take(None)
        if 0 < hole_s < _LONGEST_HOLE_S:
            self._samples.add(np.zeros(round(hole_s * SAMPLE_RATE_HZ), np.float32))
            self.now_s += hole_s
        self._kind = kind
        # Whole numbers out: only for them does the mixer weigh the channels so that their sum cannot exceed full scale.
        self._resampler = av.audio.resampler.AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE_HZ)

    def _take(self, frame: Any) -> None:
        if self._resampler is not None:
            for part in self._resampler.resample(frame):
                self._samples.add((part.to_ndarray().reshape(-1) / float(1 << 31)).astype(np.float32))


class _Growing:
    """Samples joined as they come. A list of parts, joined at the end, would hold a long track twice; this array is moved by
    the system as it grows, not copied."""

    def __init__(self) -> None:
        self._held, self._count = np.zeros(0, np.float32), 0

    def add(self, part: NDArray[np.float32]) -> None:
        """Append samples."""
        end = self._count + len(part)
        if end > len(self._held):
            self._held.resize(max(end, min(2 * end, end + _ROOM)), refcheck=False)
        self._held[self._count : end] = part
        self._count = end

    def all(self) -> NDArray[np.float32]:
        """What was added; nothing can be added afterwards."""
        self._held.resize(self._count, refcheck=False)
        return self._held
