"""Pitch and the voice's measures beside Praat's own code on the same sound.

    pip install praat-parselmouth
    python -m benchmarks.voice CLIP [CLIP ...] [--seconds 4]

Every clip is cut into pieces of so many seconds, as long as utterances are; pieces without a voice are left out. Praat's
"To Pitch (ac)" gets the same floor, ceiling and threshold. praat-parselmouth is under the GPL and is needed here alone.
Prints per clip, over the frames of speech: how often both say voiced or both unvoiced, the median distance in semitones
where both are voiced, the share that is more than one semitone and more than nine apart, and how far the measures of an
utterance are apart (mean pitch and its variation, in semitones; the largest of the clip's pieces).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.series import sound_of
from bemerc.behavior.signals import voice
from bemerc.extraction.audio.prosody import Prosody
from bemerc.media.audio import read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ, Params

Array = NDArray[np.float64]
PARAMS = Params()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args()
    print(
        "| clip | pieces | frames of speech | voiced alike, % | median, st | > 1 st, % | > 9 st, % | mean, st | variation, st |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for clip in args.clips:
        pairs = list(pieces(clip, args.seconds))
        print(row(clip.name, pairs) if pairs else f"| {clip.name} | no voice | | | | | | | |")


def pieces(clip: Path, seconds: float) -> Iterator[tuple[voice.Sound, voice.Sound]]:
    """Each piece with a voice: our sound, and the same with Praat's pitch."""
    waveform, width = read_sound(clip).cut(None, None), round(seconds * SAMPLE_RATE_HZ)
    for start in range(0, len(waveform), width):
        piece = waveform[start : start + width]
        features = Prosody(PARAMS).clip(piece)
        ours = sound_of(features)
        if ours is not None and np.isfinite(voice.measure(ours).pitch_st):
            yield ours, dataclasses.replace(ours, pitch_hz=praat_pitch(piece, features.timestamps_s))


def praat_pitch(waveform: NDArray[np.float32], timestamps_s: Array) -> Array:
    """Hz (T,) by Praat at these times, NaN where unvoiced."""
    import parselmouth  # no extra has it: GPL

    sound = parselmouth.Sound(waveform.astype(np.float64), SAMPLE_RATE_HZ)
    pitch = sound.to_pitch_ac(
        time_step=1 / PARAMS.rate_hz,
        pitch_floor=PARAMS.pitch_floor_hz,
        pitch_ceiling=PARAMS.pitch_ceiling_hz,
        voicing_threshold=PARAMS.voicing_threshold,
    )
    return np.array([pitch.get_value_at_time(time) for time in timestamps_s])


def row(name: str, pairs: list[tuple[voice.Sound, voice.Sound]]) -> str:
    """A line of the table."""
    ours, praats = (
        np.concatenate([voice.semitones(pair[side].pitch_hz)[pair[side].is_speech] for pair in pairs])
        for side in (0, 1)
    )
    voiced, praat_voiced = np.isfinite(ours), np.isfinite(praats)
    apart = np.abs(ours - praats)[voiced & praat_voiced]
    measures = [(voice.measure(one), voice.measure(other)) for one, other in pairs]
    mean = np.nanmax([abs(one.pitch_st - other.pitch_st) for one, other in measures])
    variation = np.nanmax([abs(one.pitch_variation_st - other.pitch_variation_st) for one, other in measures])
    shares = 100 * np.array([np.mean(voiced == praat_voiced), np.mean(apart > 1), np.mean(apart > 9)])
    return (
        f"| {name} | {len(pairs)} | {len(ours)} | {shares[0]:.0f} | {np.median(apart):.2f} | {shares[1]:.1f} | {shares[2]:.1f}"
        f" | {mean:.2f} | {variation:.2f} |"
    )


if __name__ == "__main__":
    main()
