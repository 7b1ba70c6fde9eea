"""Scores of a trained network for every face of a clip, computed while its frames come, so that crops never wait for a
film's end.

Every stretch of a track is scored in windows of some seconds, each by itself, with the sound of the same time; the
published code averages windows of 1 to 6 s. Scores are then a mean over five crops, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.audio.mfcc import HOP, WINDOW, mfcc
from bemerc.extraction.face import lip_sync
from bemerc.extraction.face.detection import TrackedFace
from bemerc.extraction.face.speaker_crops import FPS, Stretch, face_region
from bemerc.extraction.face.speaker_network import AUDIO_PER_FRAME, SpeakerNetwork
from bemerc.media.frame_view import FrameView
from bemerc.media.pitch import SAMPLE_RATE_HZ

Array = NDArray[np.float64]
Waveform = NDArray[np.float32]

_GAP_S = 0.4  # a face that is lost for longer begins a new stretch, as in the published code
_LEAST_CROPS = 10  # a shorter stretch gets no score: its median box is too small, below 7 crops zero
_WINDOW = 4 * FPS  # crops that are scored at once, twice as many at most
_MOST_WAITING = 30 * FPS  # crops of a face that are kept where the sound is not there (yet)
_MOST_WAITING_ENDED = 120 * FPS  # and of all faces that are gone
_SMOOTHED = 5
_SAMPLES = SAMPLE_RATE_HZ // FPS
_LEAST_WEIGHT = 1e-3
_MOST_LOG_ODDS = 50.0
_UNSCORED_LOG_ODDS = -2 * _MOST_LOG_ODDS  # below everybody's who has a score


def open_scores(path: Path, load_audio: Callable[[], Waveform | None], heartbeat: Callable[[], None]) -> SpeakerScores:
    """Open the network, ``reset`` and ready."""
    return SpeakerScores(SpeakerNetwork(path), load_audio, heartbeat)


class SpeakerScores:
    """``reset()``, then ``add`` for each frame of a clip in order, then ``finish()``.

    load_audio  gives the clip's sound, (N,) mono at 16 kHz; None where there is none (yet)
    """

    def __init__(
        self, network: SpeakerNetwork, load_audio: Callable[[], Waveform | None], heartbeat: Callable[[], None]
    ) -> None:
        self._network, self._load_audio, self._heartbeat = network, load_audio, heartbeat
        self.reset()

    def reset(self) -> None:
        """Forget the previous clip."""
        self._active: dict[int, _Scored] = {}
        self._ended: dict[int, list[_Scored]] = {}
        self._waiting: list[_Scored] = []  # of those that ended: their sound may still come

    def add(self, row: int, time_s: float, view: FrameView, faces: Iterable[TrackedFace]) -> None:
        """The faces of a frame."""
        for number in [number for number, one in self._active.items() if time_s - one.stretch.latest_s > _GAP_S]:
            self._end(number)
        for face in faces:
            one = self._active.setdefault(face.track, _Scored(time_s))
            one.stretch.add(row, time_s, face_region(view, face.landmarks))
            if one.waiting >= 2 * _WINDOW and not self._score(one, _WINDOW) and one.waiting > _MOST_WAITING:
                one.skip(_WINDOW)

    def finish(self) -> dict[int, Array]:
        """Track -> (n,) log odds that this face speaks in each of its frames; NaN where there was no sound, or too
        few crops."""
        for number in list(self._active):
            self._end(number)
        for one in self._waiting:
            self._score_rest(one, padded=True)
            one.skip(one.waiting)
        return {number: np.concatenate([one.of_rows() for one in parts]) for number, parts in self._ended.items()}

    def _end(self, number: int) -> None:
        one = self._active.pop(number)
        one.stretch.end()
        if one.stretch.taken + one.waiting < _LEAST_CROPS:
            one.skip(one.waiting)
        self._ended.setdefault(number, []).append(one)
        self._score_rest(one)
        if one.waiting:
            self._waiting.append(one)
        while sum(other.waiting for other in self._waiting) > _MOST_WAITING_ENDED:
            first = self._waiting.pop(0)
            first.skip(first.waiting)

    def _score_rest(self, one: _Scored, *, padded: bool = False) -> None:
        """All crops that wait, in windows of about the same length."""
        for part in np.array_split(np.arange(one.waiting), max(1, -(-one.waiting // _WINDOW))):
            if not len(part) or not self._score(one, len(part), padded=padded):
                return

    def _score(self, one: _Scored, count: int, *, padded: bool = False) -> bool:
        """Score the next ``count`` crops; False, and they stay, where their sound is not there."""
        self._heartbeat()
        audio = self._load_audio()
        if audio is None:
            return False
        cepstra = cepstra_of(audio, one.stretch.start_s, one.stretch.taken, count, padded=padded)
        if cepstra is not None:
            one.scores.append(self._network.log_odds(cepstra, one.stretch.take(count)))
        return cepstra is not None


class _Scored:
    """A stretch, and the scores of those of its crops that were taken."""

    def __init__(self, start_s: float) -> None:
        self.stretch = Stretch(start_s)
        self.scores: list[Array] = []

    @property
    def waiting(self) -> int:
        """Crops without a score."""
        return len(self.stretch.crops)

    def skip(self, count: int) -> None:
        """Leave so many crops without a score."""
        if count:
            self.scores.append(np.full(len(self.stretch.take(count)), np.nan))

    def of_rows(self) -> Array:
        """(n,) the scores of the stretch's frames."""
        return np.asarray(_smoothed(np.concatenate(self.scores))[self.stretch.slots])


def cepstra_of(audio: Waveform, start_s: float, first: int, count: int, *, padded: bool) -> Array | None:
    """(4 count, 13) of the crops from ``first`` on of a stretch that begins at ``start_s``, computed as if the sound
    began with the stretch. None where the sound ends before; with ``padded`` it goes on in silence."""
    start = round(start_s * SAMPLE_RATE_HZ)
    low, high = start + first * _SAMPLES, start + (first + count) * _SAMPLES + WINDOW - HOP
    if high > len(audio) and not padded:
        return None
    samples = np.zeros(high - low + 1)  # and the one before
    part = audio[max(low - 1, 0) : high]
    offset = max(1 - low, 0)
    samples[offset : offset + len(part)] = np.rint(part * 32768.0).clip(-32768, 32767)
    cepstra = mfcc(samples[1:], samples[0] if first else 0.0)
    assert len(cepstra) == AUDIO_PER_FRAME * count
    return cepstra


def _smoothed(scores: Array) -> Array:
    """(T,) means over up to five."""
    edge, ones = _SMOOTHED // 2, np.ones(_SMOOTHED)
    sums, counts = (np.convolve(one, ones)[edge:-edge] for one in (scores, np.ones(len(scores))))
    return np.asarray(sums / counts)


def person_log_odds(
    people: Sequence[Sequence[tuple[int, Array]]],
    log_odds: Mapping[int, Array],
    waveform: Waveform,
    heartbeat: Callable[[], None],
) -> dict[int, float]:
    """Track -> the log odds that its person speaks: a mean over the frames of all tracks of the person, weighted by how
    loud the sound is (in a pause nobody speaks). A person without a score is below all others; empty where nobody has one.

    people  each as tracks: number, and the times of its frames (n,)
    """
    if not any(np.isfinite(log_odds[number]).any() for person in people for number, _ in person):
        return {}
    ends_s = [times_s[-1] for person in people for _, times_s in person]
    loud = lip_sync.loudness(waveform, np.array([max(ends_s, default=0.0)]), heartbeat).mean(axis=1)
    grid_s = np.arange(len(loud)) * lip_sync.HOP_S
    means: dict[int, float] = {}
    for person in people:
        scores = np.concatenate([log_odds[number] for number, _ in person])
        weights = np.concatenate([np.interp(times_s, grid_s, loud) for _, times_s in person]) + _LEAST_WEIGHT
        scored = np.isfinite(scores)
        mean = _UNSCORED_LOG_ODDS
        if scored.any():
            average = float(np.average(scores[scored], weights=weights[scored]))
            mean = min(max(average, -_MOST_LOG_ODDS), _MOST_LOG_ODDS)
        means |= dict.fromkeys((number for number, _ in person), mean)
    return means
