"""Choose one of a clip's sound tracks: the requested one, or by default the one with a voice.

Screen recorders write the computer's sound and the microphone as two tracks, cameras a track per microphone, films one
per language; the first, which players choose, may be silent. Of several tracks the beginnings are analysed, and
another than the players' choice is taken only where it clearly has more of a voice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MediaError
from bemerc.media.channels import Analysis, Mix, analyse, needs_analysis
from bemerc.media.container import NoTrackError, check_decoder, decoded_frames, open_container
from bemerc.media.losses import Losses
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.speech_detector import CHUNK, speech_probability

# "auto", or the number of a sound track of the clip, from 1.
Track = Literal["auto"] | int

# Of more tracks than this only the first ones are analysed.
_MAX_TRACKS = 8
_SPEECH = 0.5  # of a probability: somebody speaks, likelier than not
# Another track has more of a voice when it has so many times the players' choice's seconds of it, and so many more.
_MORE, _MORE_S = 2.0, 0.3


@dataclass(frozen=True)
class Choice:
    """A track, as its index among the clip's sound tracks (from 0), its downmix, and sentences on the choice."""

    index: int
    mix: Mix
    notes: tuple[str, ...] = ()


def choose_track(path: Path, container: Any, track: Track, alive: Callable[[], None]) -> Choice:
    """The sound track to read; NoTrackError where there is none, or none of this number. ``alive``: heartbeat."""
    streams = container.streams.audio
    if not streams:
        raise NoTrackError("The clip has no sound track.")
    if track != "auto":
        if track > len(streams):
            raise NoTrackError(f"The clip has no sound track {track}; it has {len(streams)}.")
        return _only(path, container, track - 1, alive)
    default = streams.index(container.streams.best("audio") or streams[0])
    decodable = [index for index, stream in enumerate(streams) if stream.codec_context is not None]
    if len(decodable) < 2:
        return _only(path, container, decodable[0] if decodable else default, alive)
    default = default if default in decodable else decodable[0]
    analyses = {index: _analyse(path, index, alive) for index in sorted({default, *decodable[:_MAX_TRACKS]})}
    index, why = _best(analyses, default, alive)
    note = f"Of its {len(streams)} sound tracks track {index + 1} was taken, {why}; the parameter track names another."
    return Choice(index, analyses[index].mix, (note, *analyses[index].notes))


def _only(path: Path, container: Any, index: int, alive: Callable[[], None]) -> Choice:
    stream = container.streams.audio[index]
    check_decoder(stream, "sound")
    if not needs_analysis(stream):
        return Choice(index, Mix())
    analysis = _analyse(path, index, alive)
    return Choice(index, analysis.mix, analysis.notes)


def _analyse(path: Path, index: int, alive: Callable[[], None]) -> Analysis:
    def frames() -> Iterator[Any]:
        for frame in decoded_frames(container, container.streams.audio[index], Losses("sound")):
            alive()
            yield frame

    with open_container(path) as container:
        try:
            return analyse(frames())
        except (MediaError, av.error.FFmpegError):  # damage is reported when the track is read
            return Analysis(np.zeros(0, np.float32), Mix())


def _best(analyses: dict[int, Analysis], default: int, alive: Callable[[], None]) -> tuple[int, str]:
    """The track to take, and why, as the end of a sentence."""
    voice_s = {index: _voice_s(analysis.sound, alive) for index, analysis in analyses.items()}
    best = max(analyses, key=lambda index: (voice_s[index], index == default))
    if voice_s[best] > _MORE * voice_s[default] + _MORE_S:
        return best, "where a voice is"
    audible = [index for index, analysis in analyses.items() if len(analysis.sound)]
    if audible and default not in audible:
        return audible[0], "the first that is not silent"
    return default, "the one that players take"


def _voice_s(sound: NDArray[np.float32], alive: Callable[[], None]) -> float:
    """For how many seconds of ``sound`` somebody speaks."""
    return float((speech_probability(sound, alive) >= _SPEECH).sum() * CHUNK / SAMPLE_RATE_HZ)
