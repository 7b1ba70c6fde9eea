"""Voice activity: sound as it comes -> where somebody begins and ceases to speak, from the past alone.

Sound is loud where it stands out from the quiet of the last seconds and lies near their loud parts. A stretch of it that
the speech detector (bemerc.media.speech_detector) takes for speech begins an utterance, 0.6 s without ends it. The
detector keeps out music and doors, loudness the people in the next room; it also says to 10 ms where speech begins and
ends, which the detector's 32 ms do not. All values are ours.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals.voice import SPEECH, STILL_SPEECH
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.speech_detector import CHUNK, SpeechDetector

SILENCE_S = 0.6  # that ends an utterance
MARGIN_S = 0.2  # what belongs to an utterance before its first and after its last loud sound
LONGEST_S = 30.0  # an utterance that goes on is cut there
HOP = SAMPLE_RATE_HZ // 100

_HISTORY = 500  # hops: 5 s
_QUIET_DB = -75.0, -35.0  # how quiet a room may be taken for
_FIRST_HOPS, _FIRST_QUIET_DB = 30, -50.0  # before so much sound it is taken to be at most so loud
_ABOVE_QUIET_DB, _BELOW_LOUD_DB, _LEAST_DB = 9.0, 30.0, -60.0
_BEGIN = 7, 12  # so many loud hops of so many begin an utterance
_GO_ON = 3, 5


@dataclass(frozen=True)
class Span:
    """Where an utterance lies, seconds; ``end_s`` is None while it goes on."""

    start_s: float
    end_s: float | None = None


class VoiceActivity:
    """``hear`` sound in order; it answers with what began and ended.

    speaking   whether an utterance goes on
    settled_s  up to here it is known what belongs to it: later frames wait until it goes on, or has ended
    """

    def __init__(self) -> None:
        self.speaking = False
        self.level_db = -100.0  # of the latest hop
        self._levels: deque[float] = deque(maxlen=_HISTORY)
        self._loud: deque[bool] = deque(maxlen=_BEGIN[1])
        self._detector = SpeechDetector()
        self._likely: list[float] = []  # of chunks of the detector, from number _chunk on
        self._chunk = 0
        self._rest = np.empty(0, np.float32)
        self._hops = self._received = 0
        self._start = self._last_loud = self._earliest = 0  # hops

    @property
    def settled_s(self) -> float:
        return _seconds(self._last_loud + _hops(MARGIN_S)) if self.speaking else 0.0

    def hear(self, samples: NDArray[np.float32]) -> list[Span]:
        """(N,) float32 mono at 16 kHz, what follows the sound before -> spans that began or ended."""
        self._received += len(samples)
        self._likely += self._detector.push(samples).tolist()
        sound = np.concatenate([self._rest, samples])
        # A hop waits for the chunk of the detector that its middle lies in.
        decided = -((HOP // 2 - CHUNK * (self._chunk + len(self._likely))) // HOP) - self._hops
        whole = min(len(sound) // HOP, max(0, decided)) * HOP
        self._rest = sound[whole:]
        hops = sound[:whole].reshape(-1, HOP).astype(np.float64)
        powers = ((hops - hops.mean(axis=1, keepdims=True)) ** 2).mean(axis=1)
        return [span for power in powers.tolist() if (span := self._hop(power, self._probability())) is not None]

    def end(self) -> Span | None:
        """End the utterance that goes on, here and now: a cue."""
        return self._ended(self._received // HOP) if self.speaking else None

    def _probability(self) -> float:
        """Of the next hop; what was before it is not needed any more."""
        chunk = (self._hops * HOP + HOP // 2) // CHUNK
        del self._likely[: chunk - self._chunk]
        self._chunk = chunk
        return self._likely[0]

    def _hop(self, power: float, probability: float) -> Span | None:
        self._hops += 1
        self.level_db = 10 * float(np.log10(max(power, 1e-10)))
        self._levels.append(self.level_db)
        self._loud.append(self._is_loud())
        if not self.speaking:
            return self._begun() if probability >= SPEECH and sum(self._loud) >= _BEGIN[0] else None
        if probability >= STILL_SPEECH and sum(list(self._loud)[-_GO_ON[1] :]) >= _GO_ON[0]:
            self._last_loud = self._hops
        if self._hops - self._last_loud >= _hops(SILENCE_S):
            return self._ended(self._last_loud + _hops(MARGIN_S))
        return self._ended(self._hops) if self._hops - self._start >= _hops(LONGEST_S) else None

    def _is_loud(self) -> bool:
        quiet, loudest = np.quantile(self._levels, (0.1, 0.98)).tolist()
        quiet = float(np.clip(quiet, *_QUIET_DB))
        if self._hops <= _FIRST_HOPS:
            quiet = min(quiet, _FIRST_QUIET_DB)
        return bool(self.level_db > max(quiet + _ABOVE_QUIET_DB, loudest - _BELOW_LOUD_DB, _LEAST_DB))

    def _begun(self) -> Span:
        first_loud = self._hops - len(self._loud) + list(self._loud).index(True)
        self.speaking, self._last_loud = True, self._hops
        self._start = max(self._earliest, first_loud - _hops(MARGIN_S))
        return Span(_seconds(self._start))

    def _ended(self, end: int) -> Span:
        self.speaking, self._earliest = False, end
        self._loud.clear()
        return Span(_seconds(self._start), _seconds(end))


def _hops(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ / HOP)


def _seconds(hops: int) -> float:
    return hops * HOP / SAMPLE_RATE_HZ
