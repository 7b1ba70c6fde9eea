"""Decoded sound laid out on the clip's clock: silence where timestamps leave a hole, a cut where samples outrun them.

A recorder's sound card and its clock never agree for long, tracks are cut and joined, packets get lost. Here samples are
taken as they come for as long as the timestamps agree with them to a tenth of a second, which every jittery clock does, and
beyond it the timestamps are right: what FFmpeg's ``aresample=async=1`` does. Silence takes no memory until it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import av.audio.resampler
import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.media.channels import Mix, clean, kind_of, mono
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ

# A clock may jitter; samples that are farther from their timestamps than this are put where those say. (FFmpeg's value.)
_JUMP_S = 0.1
# At a cut or a hole the sound fades for so many samples (5 ms), so that there is no click.
_FADE = 80
# What a clip may ask for at most: hours of sound, and among them hours of silence that its timestamps leave.
LONGEST_S = 12 * 3600.0
MOST_SILENCE_S = 3 * 3600.0
# A track that begins later than this is worth a word.
_LATE_S = 0.5
# Samples in a piece of a track: 32 MB, which the system hands out, and takes back, by themselves.
_PIECE = 1 << 23
_LOOK = 1 << 16

_Samples = NDArray[np.float32]


class Timeline:
    """Frames in, one channel at 16 kHz out, sample 0 at the clip's start; what lies before it is left out.

    losses  is given what was filled and cut, and samples that are no numbers
    full    why nothing more is taken, once the clip has asked for more than the limits
    """

    def __init__(self, mix: Mix, losses: Losses) -> None:
        self.now_s = 0.0
        self.full = ""
        self._mix, self._losses = mix, losses
        self._track = _Track()
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None
        self._at = 0  # where the resampler's next sample belongs
        self._silence_s = 0.0

    def add(self, frame: Any, start_s: float | None, next_s: float | None) -> None:
        """Append a frame that is heard from start_s on, the next one from next_s; None where there is no timestamp."""
        length_s = frame.samples / frame.sample_rate
        jump_s = self._jump_s(length_s, start_s, next_s)
        if not self._has_room(jump_s):
            return
        if unreal := clean(frame):
            self._losses.unreal(self.now_s, unreal)
        frame = mono(frame, self._mix)
        kind = kind_of(frame)
        if kind != self._kind or abs(jump_s) > _JUMP_S:
            self._begin(kind, jump_s)
        frame.pts = None  # the clock is kept here: given times that jump, a resampler would invent samples
        self._take(frame)
        self.now_s += length_s

    def finish(self) -> _Samples:
        """All samples so far; nothing can be added afterwards."""
        with contextlib.suppress(av.error.FFmpegError):  # what cannot be resampled was named when it came
            self._take(None)
        return self._track.all()

    def _jump_s(self, length_s: float, start_s: float | None, next_s: float | None) -> float:
        """How far the timestamp is ahead of the samples; 0 where the next one says that this one alone is wrong."""
        if start_s is None:
            return 0.0
        jump_s = start_s - self.now_s
        if self._resampler is None or abs(jump_s) <= _JUMP_S or next_s is None:
            return jump_s
        return (
            0.0 if abs(next_s - (self.now_s + length_s)) < min(_JUMP_S, abs(next_s - (start_s + length_s))) else jump_s
        )

    def _has_room(self, jump_s: float) -> bool:
        self._silence_s += max(0.0, jump_s) if jump_s > _JUMP_S else 0.0
        if self._silence_s > MOST_SILENCE_S:
            limit = f"its timestamps leave more than {MOST_SILENCE_S / 3600:g} hours without sound"
        elif self.now_s + jump_s > LONGEST_S:
            limit = f"it is longer than {LONGEST_S / 3600:g} hours"
        else:
            return True
        self.full = f"The sound was read up to {self.now_s:.2f} s: {limit}."
        return False

    def _begin(self, kind: tuple[Any, ...], jump_s: float) -> None:
        """Another piece of sound, of another kind or at another time."""
        is_first = self._resampler is None
        self._take(None)
        if jump_s > _LATE_S if is_first else abs(jump_s) > _JUMP_S:
            self._losses.jump(self.now_s, jump_s)
        if is_first or jump_s > 0 or jump_s < -_JUMP_S:
            self.now_s += jump_s
            aimed = round(self.now_s * SAMPLE_RATE_HZ)
            self._at = aimed if is_first or abs(jump_s) > _JUMP_S else max(self._at, aimed)
        self._kind = kind
        # Whole numbers out: only for them does the mixer weigh the channels so that their sum cannot exceed full scale.
        self._resampler = av.audio.resampler.AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE_HZ)

    def _take(self, frame: Any) -> None:
        if self._resampler is not None:
            for part in self._resampler.resample(frame):
                samples = part.to_ndarray().reshape(-1).astype(np.float32) * np.float32(1 / (1 << 31))
                self._track.put(self._at, samples)
                self._at += len(samples)


class _Track:
    """Samples by their places. What nobody wrote is silence and takes no memory: pages that were never touched are not there."""

    def __init__(self) -> None:
        self._pieces: dict[int, _Samples] = {}
        self._end = 0

    def put(self, at: int, part: _Samples) -> None:
        """Write samples from place ``at`` on, with fades in place; what is there already stays, and goes over into the new."""
        known = max(0, self._end - at)
        if known >= len(part):
            return
        new = part[known:]
        if at > self._end > 0:
            self._fade(self._end, np.linspace(1, 0, _FADE, dtype=np.float32))
            new[:_FADE] *= np.linspace(0, 1, _FADE, dtype=np.float32)[: len(new)]
        elif known and self._end > 0:
            self._cross(part[max(0, known - _FADE) : known])
        self._write(at + known, new)
        self._end = at + len(part)

    def all(self) -> _Samples:
        """(N,) what was written, with silence between. Nothing can be added afterwards: a long track is not held twice."""
        found = np.zeros(self._end, np.float32)
        for number in sorted(self._pieces):
            piece, start = self._pieces.pop(number), number * _PIECE
            for at in range(0, min(_PIECE, self._end - start), _LOOK):
                part = piece[at : at + min(_LOOK, self._end - start - at)]
                if part.any():  # writing silence would take memory for it
                    found[start + at : start + at + len(part)] = part
        return found

    def _fade(self, end: int, weights: _Samples) -> None:
        weights = weights[-end:]
        for piece, taken in self._places(end - len(weights), len(weights)):
            piece *= weights[taken]

    def _cross(self, other: _Samples) -> None:
        """Fade the last samples into ``other``, which was to be in their place."""
        rising = np.linspace(0, 1, len(other), dtype=np.float32)
        self._fade(self._end, 1 - rising)
        for piece, taken in self._places(self._end - len(other), len(other)):
            piece += rising[taken] * other[taken]

    def _write(self, at: int, part: _Samples) -> None:
        for piece, taken in self._places(at, len(part)):
            piece[:] = part[taken]

    def _places(self, at: int, count: int) -> Iterator[tuple[_Samples, slice]]:
        """Views on the pieces that hold ``count`` samples from ``at`` on, and which of the samples each holds."""
        done = 0
        while done < count:
            number, first = divmod(at + done, _PIECE)
            if number not in self._pieces:
                self._pieces[number] = np.zeros(_PIECE, np.float32)
            length = min(count - done, _PIECE - first)
            yield self._pieces[number][first : first + length], slice(done, done + length)
            done += length
