"""Which of a clip's sound tracks is heard: the one that is asked for, or the one with a voice.

Screen recorders write what the computer plays and the microphone as two tracks, cameras a track per microphone, films one per
language; the first, which players choose, may be silent. Where several are there, each is listened to for a bounded time,
and another than the players' choice is taken only where it clearly has more of a voice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av.error
import numpy as np

from bemerc.core.errors import MediaError
from bemerc.media.channels import Heard, Mix, look, needs_look
from bemerc.media.container import NoTrackError, check_decoder, decoded_frames, open_container
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ, Params, track_pitch

# "auto", or the number of a sound track of the clip, from 1.
Track = Literal["auto"] | int

# Of more tracks than this only the first ones are listened to.
_MOST_TRACKS = 8
# A voice's pitch moves by so many semitones within 50 ms; a note or a hum stays, and an accompaniment jumps.
_STEP_S = 0.05
_SLOWEST_ST, _FASTEST_ST = 0.15, 3.0
# Another track has more of a voice when it has so many times the players' choice, and so many seconds more.
_MORE, _MORE_S = 2.0, 0.3


@dataclass(frozen=True)
class Choice:
    """A track (its place among the clip's sound tracks, from 0), how its channels become one, and what to say of it."""

    place: int
    mix: Mix
    notes: tuple[str, ...] = ()


def choose(path: Path, container: Any, track: Track, alive: Callable[[], None]) -> Choice:
    """NoTrackError where there is no sound track or none of this number."""
    streams = container.streams.audio
    if not streams:
        raise NoTrackError("The clip has no sound track.")
    if track != "auto":
        if track > len(streams):
            raise NoTrackError(f"The clip has no sound track {track}; it has {len(streams)}.")
        return _alone(path, container, track - 1, alive)
    usual = streams.index(container.streams.best("audio") or streams[0])
    known = [place for place, stream in enumerate(streams) if stream.codec_context is not None]
    if len(known) < 2:
        return _alone(path, container, known[0] if known else usual, alive)
    usual = usual if usual in known else known[0]
    heard = {place: _listen(path, place, alive) for place in sorted({usual, *known[:_MOST_TRACKS]})}
    place, why = _best(heard, usual, alive)
    note = f"Of its {len(streams)} sound tracks track {place + 1} was taken, {why}; the parameter track names another."
    return Choice(place, heard[place].mix, (note, *heard[place].notes))


def _alone(path: Path, container: Any, place: int, alive: Callable[[], None]) -> Choice:
    stream = container.streams.audio[place]
    check_decoder(stream, "sound")
    if not needs_look(stream):
        return Choice(place, Mix())
    heard = _listen(path, place, alive)
    return Choice(place, heard.mix, heard.notes)


def _listen(path: Path, place: int, alive: Callable[[], None]) -> Heard:
    def frames() -> Iterator[Any]:
        for frame in decoded_frames(container, container.streams.audio[place], Losses("sound")):
            alive()
            yield frame

    with open_container(path) as container:
        try:
            return look(frames())
        except (MediaError, av.error.FFmpegError):  # damage is found, and said, when it is read
            return Heard(np.zeros(0, np.float32), Mix())


def _best(heard: dict[int, Heard], usual: int, alive: Callable[[], None]) -> tuple[int, str]:
    """Which track to take, and why, as the end of a sentence."""
    voice_s = {place: _voice_s(one, alive) for place, one in heard.items()}
    loudest = max(heard, key=lambda place: (voice_s[place], place == usual))
    if voice_s[loudest] > _MORE * voice_s[usual] + _MORE_S:
        return loudest, "where a voice is"
    audible = [place for place, one in heard.items() if len(one.sound)]
    if audible and usual not in audible:
        return audible[0], "the first that is not silent"
    return usual, "the one that players take"


def _voice_s(heard: Heard, alive: Callable[[], None]) -> float:
    """For how many seconds of what was heard a pitch moves as that of a voice does."""
    params = Params()
    rows = math.floor(len(heard.sound) / SAMPLE_RATE_HZ * params.rate_hz)
    if not rows:
        return 0.0
    pitch_hz, _ = track_pitch(heard.sound, (np.arange(rows) + 0.5) / params.rate_hz, params, alive)
    step = round(_STEP_S * params.rate_hz)
    moved_st = np.abs(12 * np.log2(pitch_hz[step:] / pitch_hz[:-step]))
    return float(((moved_st > _SLOWEST_ST) & (moved_st < _FASTEST_ST)).sum() / params.rate_hz)
