"""Place decoded sound on the clip's clock: silence where timestamps leave a gap, a cut where samples outrun them.

As FFmpeg's ``aresample=async=1``: samples follow each other while they agree with their timestamps to 0.1 s, beyond
which the timestamps win, since sound cards drift, tracks are cut and joined, and packets get lost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import av.audio.resampler
import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.media.channels import Mix, clean, kind_of, to_mono
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ

# Samples farther from their timestamps than this are moved to them. (FFmpeg's value.)
_JUMP_S = 0.1
# Samples of the fade at a cut or gap (5 ms), which would click without one.
_FADE = 80
# Limits of a clip: hours of sound, and of the silence that its timestamps leave.
MAX_S = 12 * 3600.0
MAX_SILENCE_S = 3 * 3600.0
# A track that starts later than this gets a note.
_LATE_S = 0.5
# Samples per block of a track: 32 MB, above which malloc maps and unmaps memory block by block.
_BLOCK = 1 << 23
_COPY = 1 << 16

_Samples = NDArray[np.float32]


class Timeline:
    """Frames in; mono at 16 kHz out, sample 0 at the clip's start. What lies before it is dropped.

    now_s   where the next frame is expected
    full    why no more frames are taken, once the clip exceeds a limit; else ""
    losses  gets gaps, cuts and invalid samples
    """

    def __init__(self, mix: Mix, losses: Losses) -> None:
        self.now_s = 0.0
        self.full = ""
        self._mix, self._losses = mix, losses
        self._track = _Track()
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None
        self._at = 0  # place of the resampler's next sample
        self._silence_s = 0.0

    def add(self, frame: Any, start_s: float | None, next_s: float | None) -> None:
        """Append a frame that starts at ``start_s``, the next one at ``next_s``; None where there is no timestamp."""
        length_s = frame.samples / frame.sample_rate
        jump_s = self._jump_s(length_s, start_s, next_s)
        if not self._has_room(jump_s):
            return
        if invalid := clean(frame):
            self._losses.add_invalid(self.now_s, invalid)
        frame = to_mono(frame, self._mix)
        kind = kind_of(frame)
        if kind != self._kind or abs(jump_s) > _JUMP_S:
            self._begin(kind, jump_s)
        frame.pts = None  # given timestamps that jump, the resampler would invent samples
        self._take(frame)
        self.now_s += length_s

    def finish(self) -> _Samples:
        """(N,) all samples. Nothing can be added afterwards."""
        with contextlib.suppress(av.error.FFmpegError):  # reported when it was added
            self._take(None)
        return self._track.finish()

    def _jump_s(self, length_s: float, start_s: float | None, next_s: float | None) -> float:
        """Seconds by which the timestamp is ahead of the samples; 0 where, by the next timestamp, this one alone is
        wrong."""
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
        if self._silence_s > MAX_SILENCE_S:
            limit = f"its timestamps leave more than {MAX_SILENCE_S / 3600:g} hours without sound"
        elif self.now_s + jump_s > MAX_S:
            limit = f"it is longer than {MAX_S / 3600:g} hours"
        else:
            return True
        self.full = f"The sound was read up to {self.now_s:.2f} s: {limit}."
        return False

    def _begin(self, kind: tuple[Any, ...], jump_s: float) -> None:
        """Start a new stretch of sound, of another kind or after a jump in time."""
        is_first = self._resampler is None
        self._take(None)
        if jump_s > _LATE_S if is_first else abs(jump_s) > _JUMP_S:
            self._losses.add_gap(self.now_s, jump_s)
        if is_first or jump_s > 0 or jump_s < -_JUMP_S:
            self.now_s += jump_s
            target = round(self.now_s * SAMPLE_RATE_HZ)
            self._at = target if is_first or abs(jump_s) > _JUMP_S else max(self._at, target)
        self._kind = kind
        # Integers out: only for them does the mixer weigh the channels so that their sum cannot exceed full scale.
        self._resampler = av.audio.resampler.AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE_HZ)

    def _take(self, frame: Any) -> None:
        if self._resampler is not None:
            for part in self._resampler.resample(frame):
                samples = part.to_ndarray().reshape(-1).astype(np.float32) * np.float32(1 / (1 << 31))
                self._track.put(self._at, samples)
                self._at += len(samples)


class _Track:
    """A sparse waveform in blocks. Silence takes no memory: the system gives no page that was never written to."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Samples] = {}
        self._end = 0

    def put(self, at: int, samples: _Samples) -> None:
        """Write samples from place ``at`` on, with fades. Where they overlap earlier ones, those stay and fade into
        them."""
        overlap = max(0, self._end - at)
        if overlap >= len(samples):
            return
        new = samples[overlap:]
        if at > self._end > 0:
            self._fade(self._end, np.linspace(1, 0, _FADE, dtype=np.float32))
            new[:_FADE] *= np.linspace(0, 1, _FADE, dtype=np.float32)[: len(new)]
        elif overlap and self._end > 0:
            self._cross_fade(samples[max(0, overlap - _FADE) : overlap])
        for view, part in self._views(at + overlap, len(new)):
            view[:] = new[part]
        self._end = at + len(samples)

    def finish(self) -> _Samples:
        """(N,) the waveform. It empties the track, so that a long one is not in memory twice."""
        waveform = np.zeros(self._end, np.float32)
        for number in sorted(self._blocks):
            block, start = self._blocks.pop(number), number * _BLOCK
            for at in range(0, min(_BLOCK, self._end - start), _COPY):
                part = block[at : at + min(_COPY, self._end - start - at)]
                if part.any():  # writing silence would take memory for it
                    waveform[start + at : start + at + len(part)] = part
        return waveform

    def _fade(self, end: int, weights: _Samples) -> None:
        weights = weights[-end:]
        for view, part in self._views(end - len(weights), len(weights)):
            view *= weights[part]

    def _cross_fade(self, other: _Samples) -> None:
        """Fade the last samples into ``other``, which belongs in their place."""
        rising = np.linspace(0, 1, len(other), dtype=np.float32)
        self._fade(self._end, 1 - rising)
        for view, part in self._views(self._end - len(other), len(other)):
            view += rising[part] * other[part]

    def _views(self, at: int, count: int) -> Iterator[tuple[_Samples, slice]]:
        """Views of the blocks that hold ``count`` samples from ``at`` on, and which of the samples each one holds."""
        done = 0
        while done < count:
            number, first = divmod(at + done, _BLOCK)
            if number not in self._blocks:
                self._blocks[number] = np.zeros(_BLOCK, np.float32)
            length = min(count - done, _BLOCK - first)
            yield self._blocks[number][first : first + length], slice(done, done + length)
            done += length
