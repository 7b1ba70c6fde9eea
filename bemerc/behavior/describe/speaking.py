"""A mouth that talks moves without any expression: what is left of its units while the voice speaks.

A smile or a frown lasts longer than a syllable, so that while somebody speaks the units of the mouth are described by
their median over a second; open lips and jaws are not described at all. The rule is ours. Without a voice, or without
its cache, nothing changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.describe.clip import ClipFeatures, once
from bemerc.behavior.describe.series import series_of, sound_of
from bemerc.behavior.signals import events, shots, voice

# Units that syllables move: cheeks and nose follow the lips.
MOUTH = tuple(f"AU{unit:02d}_r" for unit in (6, 9, 10, 12, 14, 15, 17, 20, 23, 28))
OPENING = ("AU25_r", "AU26_r")
SETTLED_S = 1.0
_AROUND_S = 0.15  # the mouth opens before the sound and closes after it


@once
def settled(clip: ClipFeatures) -> ClipFeatures:
    """A clip as it is put into words: angles within each shot, and the mouth without its syllables."""
    cuts_s = shots.cuts(clip.get("face"), clip.get("pose"))
    return without_speech({modality: shots.leveled(frames, cuts_s) for modality, frames in clip.items()})


def without_speech(clip: ClipFeatures) -> ClipFeatures:
    """A clip whose face has, while the voice speaks, the mouth's units as they last, and none of OPENING (NaN)."""
    face, talking = clip.get("face"), speaking(clip)
    if face is None or not talking.any():
        return clip
    values, reach = face.values.copy(), max(1, round(SETTLED_S / 2 / events.frame_s(face.timestamps_s)))
    for name in MOUTH:
        if name in face.columns:
            series = series_of(face, name)
            values[talking, face.columns.index(name)] = events.running_median(series, reach)[talking]
    for name in OPENING:
        if name in face.columns:
            values[talking, face.columns.index(name)] = np.nan
    return {**clip, "face": replace(face, values=values)}


def speaking(clip: ClipFeatures) -> NDArray[np.bool_]:
    """(T,) frames of the face in which the clip's voice speaks; (0,) without a face."""
    face, audio = clip.get("face"), clip.get("audio")
    talking = np.zeros(0 if face is None else len(face.timestamps_s), bool)
    sound = None if audio is None else sound_of(audio)
    if face is not None and audio is not None and sound is not None and len(talking) >= 2:
        for run in voice.speech(sound):
            first_s, last_s = audio.timestamps_s[[run.first, run.last]] + (-_AROUND_S, _AROUND_S)
            talking |= (face.timestamps_s >= first_s) & (face.timestamps_s <= last_s)
    return talking
