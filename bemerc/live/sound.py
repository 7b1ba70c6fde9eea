"""Sound that comes in pieces: what of it is still needed, and what it says of the voice at this moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.audio import prosody
from bemerc.extraction.fingerprint import Segment
from bemerc.media.pitch import SAMPLE_RATE_HZ

VOICE_EVERY_S = 0.1
_WINDOW_S = 0.3  # the sound that the voice of a moment is measured in
_SPARE_S = 5.0
_LOST_S = 0.15  # sound that comes so much later than its samples say: some was lost


class SoundTrack:
    """Mono at 16 kHz from the beginning on; what lies before the moment named last is forgotten.

    end_s  up to here sound has come
    """

    def __init__(self) -> None:
        self._pieces: list[NDArray[np.float32]] = []
        self._first = self._end = 0

    @property
    def end_s(self) -> float:
        return self._end / SAMPLE_RATE_HZ

    def append(self, samples: NDArray[np.float32]) -> None:
        self._pieces.append(samples)
        self._end += len(samples)

    def missing_before(self, start_s: float) -> NDArray[np.float32]:
        """Silence that brings the track to where a piece begins, by the clock; nothing where they agree."""
        late_s = start_s - self.end_s
        return np.zeros(round(late_s * SAMPLE_RATE_HZ) if late_s > _LOST_S else 0, np.float32)

    def waveform(self, segment: Segment) -> NDArray[np.float32] | None:
        """The samples of a segment, as ``media.audio.Sound.cut`` gives them of a whole track; None where no sound came."""
        if not self._end:
            return None
        start = round((segment.start_s or 0.0) * SAMPLE_RATE_HZ)
        end = self._end if segment.end_s is None else round(segment.end_s * SAMPLE_RATE_HZ)
        return self._joined()[max(0, start - self._first) : max(0, end - self._first)].copy()

    def forget(self, before_s: float) -> None:
        """What lies before is not asked for any more."""
        spare = int(before_s * SAMPLE_RATE_HZ) - self._first
        if spare > _SPARE_S * SAMPLE_RATE_HZ:
            self._pieces = [self._joined()[spare:].copy()]
            self._first += spare

    def _joined(self) -> NDArray[np.float32]:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate([np.empty(0, np.float32), *self._pieces])]
        return self._pieces[0]


@dataclass(frozen=True)
class Voice:
    """The voice at a moment: mean energy of the last 0.1 s, and its pitch, None where none is heard."""

    time_s: float
    energy_db: float
    pitch_hz: float | None


def voice_at(track: SoundTrack, params: prosody.Params) -> Voice:
    """The voice at the end of the track, from the 0.3 s before alone."""
    waveform = track.waveform(Segment(max(0.0, track.end_s - _WINDOW_S)))
    assert waveform is not None
    features = prosody.Prosody(params).clip(waveform)
    latest = features.timestamps_s > len(waveform) / SAMPLE_RATE_HZ - VOICE_EVERY_S
    pitch = features.column("pitch_hz")[latest]
    voiced = pitch[np.isfinite(pitch)]
    energy = float(features.column("energy_db")[latest].mean())
    return Voice(track.end_s, energy, float(np.median(voiced)) if len(voiced) else None)
