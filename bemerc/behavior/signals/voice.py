"""A clip's voice in five numbers: volume, its variation, pitch, its variation, and speaking rate.

Volume is measured over the frames in which somebody speaks, so that the silence around the words does not count; pitch
over the voiced frames among the loud ones; the rate from syllable nuclei over speaking time. What is speech a detector
says (bemerc.media.speech_detector); caches of before have none, and there everything loud counts, music too. The five
measures are SpeechCueLLM's, their computation is ours. The behavior tokens and the voice sentence share them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals.events import Run, runs
from bemerc.behavior.signals.statistics import measured

Array = NDArray[np.float64]

SPEAKING_RANGE_DB = 25.0  # frames this far below the clip's loud frames are a pause
PITCH_RANGE_DB = 15.0  # frames further below have the pitch of a hum, of music, of the room
SYLLABLE_DIP_DB = 2.0  # de Jong & Wempe (2009): a nucleus stands this far above the dips beside it
SYLLABLE_WINDOW_S = 0.07
# Less voiced time than this, or a smaller share of the loud time, is a click or a hum and not a voice.
MIN_VOICED_S, MIN_VOICED_SHARE = 0.1, 0.15
REFERENCE_HZ = 100.0
SPEECH, STILL_SPEECH = 0.5, 0.35  # of a probability: speech begins above the one and goes on above the other (Silero's)
MIN_SPEECH_S = 0.1  # between two pauses: a shorter sound is a click
MIN_PAUSE_S = 0.3  # de Jong & Wempe (2009): shorter silences are no pauses


@dataclass(frozen=True)
class Sound:
    """A clip's sound, frame by frame (T,), the frames ``frame_s`` seconds apart.

    pitch_hz            NaN where unvoiced
    energy_db           decibels of full scale
    speech_probability  0 to 1; None where it was not measured
    """

    pitch_hz: Array
    energy_db: Array
    frame_s: float
    speech_probability: Array | None = None

    @functools.cached_property
    def is_speech(self) -> NDArray[np.bool_]:
        """(T,) True where the detector says speech: a stretch above .35 that somewhere reaches .5. Everywhere without it."""
        result = np.ones(len(self.energy_db), bool)
        if self.speech_probability is not None:
            result[:] = False
            for run in runs(self.speech_probability, STILL_SPEECH):
                result[run.first : run.last + 1] = run.height >= SPEECH
        return result


@dataclass(frozen=True)
class Voice:
    """One clip's voice; NaN where it cannot be measured. Pitch in semitones is relative to 100 Hz.

    volume_db            mean energy while speaking
    volume_variation_db  standard deviation of the energy while speaking
    pitch_st             mean pitch of the loud voiced frames, semitones
    pitch_variation_st   standard deviation of the pitch of the loud voiced frames, semitones
    rate_hz              syllable nuclei per second of speaking time
    """

    volume_db: float
    volume_variation_db: float
    pitch_st: float
    pitch_variation_st: float
    rate_hz: float


MEASURES: tuple[str, ...] = tuple(f.name for f in fields(Voice))
NOT_MEASURED = Voice(*(float("nan"),) * len(MEASURES))


def semitones(pitch_hz: Array) -> Array:
    """Hz (T,) -> semitones above 100 Hz (T,); NaN and values that are no pitch stay NaN."""
    safe = np.where(pitch_hz > 0, pitch_hz, np.nan)
    result: Array = 12 * np.log2(safe / REFERENCE_HZ)
    return result


def speaking(sound: Sound) -> NDArray[np.bool_]:
    """(T,) True where it is speech, and within 25 dB of its loud frames (their 95th percentile)."""
    return _within(SPEAKING_RANGE_DB, sound)


def _within(range_db: float, sound: Sound) -> NDArray[np.bool_]:
    """(T,) the frames of speech that are at most so much quieter than its loud ones."""
    speech_db = np.where(sound.is_speech, sound.energy_db, np.nan)
    energies = measured(speech_db)
    if not energies.size:
        return np.zeros(len(speech_db), bool)
    return np.asarray(speech_db >= float(np.quantile(energies, 0.95)) - range_db)


def measure(sound: Sound) -> Voice:
    """The five measures of one clip.

    Every measure is NaN where less than 0.1 s, or less than 15 % of the loud time, is voiced: that is no voice.
    """
    pitch = semitones(sound.pitch_hz)
    voiced = np.isfinite(pitch)
    loud = speaking(sound)
    enough = (voiced & sound.is_speech).sum() * sound.frame_s >= MIN_VOICED_S
    if not enough or not loud.any() or (voiced & loud).sum() < MIN_VOICED_SHARE * loud.sum():
        return NOT_MEASURED
    volume = sound.energy_db[loud]
    nuclei = syllable_nuclei(sound.energy_db, loud & _near(voiced, sound.frame_s), sound.frame_s)
    melody = _without_octave_errors(pitch[voiced & _within(PITCH_RANGE_DB, sound)])
    return Voice(
        float(volume.mean()),
        float(volume.std()),
        float(melody.mean()),
        float(melody.std()),
        len(nuclei) / (loud.sum() * sound.frame_s),
    )


def speech(sound: Sound) -> list[Run]:
    """The frames of each stretch of speech between pauses, at least 0.1 s long; none where there is no voice. ``height`` is its loudest dB."""
    if np.isnan(measure(sound).volume_db):
        return []
    stretches: list[Run] = []
    for run in runs(np.where(speaking(sound), sound.energy_db, np.nan), -np.inf):
        if stretches and (run.first - stretches[-1].last - 1) * sound.frame_s < MIN_PAUSE_S:
            before = stretches.pop()
            loudest = max(before, run, key=lambda one: one.height)
            run = Run(before.first, run.last, loudest.apex, loudest.height)
        stretches.append(run)
    return [run for run in stretches if (run.last - run.first + 1) * sound.frame_s >= MIN_SPEECH_S]


def syllable_nuclei(energy_db: Array, allowed: NDArray[np.bool_], frame_s: float) -> list[int]:
    """The allowed frames at which energy peaks, at least 2 dB above the dips on both sides."""
    width = max(1, round(SYLLABLE_WINDOW_S / frame_s))
    smooth = _smooth(np.where(np.isfinite(energy_db), energy_db, np.nanmin(energy_db)), width)
    nuclei: list[int] = []
    candidate, low = -1, smooth[0]
    for frame, level in enumerate(smooth):
        if candidate < 0:
            low = min(low, level)
            if level >= low + SYLLABLE_DIP_DB:
                candidate = frame
        elif level > smooth[candidate]:
            candidate = frame
        elif level <= smooth[candidate] - SYLLABLE_DIP_DB:
            nuclei.append(candidate)
            candidate, low = -1, level
    if candidate >= 0:
        nuclei.append(candidate)
    return [frame for frame in nuclei if allowed[frame]]


def _without_octave_errors(pitch: Array) -> Array:
    """Voiced frames' pitch in semitones, without what lies more than 9 of them from the median."""
    return pitch[np.abs(pitch - np.median(pitch)) <= 9]


def _near(voiced: NDArray[np.bool_], frame_s: float) -> NDArray[np.bool_]:
    """Voiced, or within 50 ms of a voiced frame: smoothing moves an energy peak a little."""
    reach = max(1, round(0.05 / frame_s))
    near = np.convolve(voiced, np.ones(2 * reach + 1)) > 0
    return np.asarray(near[reach : reach + len(voiced)])  # mode="same" is longer where the sound is shorter than that


def _smooth(values: Array, width: int) -> Array:
    half = width // 2
    padded = np.pad(values, half, mode="edge")
    return np.convolve(padded, np.ones(2 * half + 1) / (2 * half + 1), mode="valid")
