"""Marks of one clip on the axis of time: what describes it in words, each with its onset and offset.

Blinks, shut eyes, micro-expressions, nods and head shakes, active units, turns of the head, the gaze, the trunk and the hands,
stretches of speech, whose face was measured, and cuts: for people who look at the clip in an annotation program.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bemerc.behavior.describe import acts, phrases
from bemerc.behavior.describe.acts import Levels
from bemerc.behavior.describe.clip import Clip, ClipFeatures
from bemerc.behavior.describe.micro_expressions import spot
from bemerc.behavior.describe.references import Item, References
from bemerc.behavior.describe.series import series_of, sound_of
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import events, voice
from bemerc.cache import Choice, Features
from bemerc.corpus.manifest import MODALITIES


@dataclass(frozen=True)
class Mark:
    """Something that lasted from onset to offset, in seconds from the utterance's start.

    tier   its kind: blink, eyes shut, micro-expression, nod, head shake, AU12, pose_yaw_deg, speech, target face, shot cut, ...
    value  the kind again, or its phrase, strength and peak, in words
    """

    tier: str
    onset_s: float
    offset_s: float
    value: str


def marks(
    clip: ClipFeatures, references: References, earlier: Sequence[Levels] = (), choice: Choice | None = None
) -> list[Mark]:
    """Every mark of one clip, by tier and in order of time.

    earlier  acts.levels of the speaker's earlier turns in this dialogue
    choice   of the target face, where the cache has one
    """
    clip = Clip.of(clip)
    at_rest = acts.rests(acts.levels(clip), earlier, references)
    result: list[Mark] = []
    face, pose, audio = (settled(clip).get(m) for m in MODALITIES)
    if face is not None and len(face.values):
        result += [*_choice(face, choice), *_events(face, clip), *_oscillations(face)]
    for frames, items in ((face, phrases.UNITS + phrases.HEAD), (pose, phrases.HANDS + phrases.TRUNK)):
        if frames is not None and len(frames.values):
            for act in acts.detect(frames, items, at_rest, references):
                result += _acts(frames, act)
    if audio is not None and (sound := sound_of(audio)) is not None:
        result += [_mark(audio, "speech", run.first, run.last, "speech") for run in voice.speech(sound)]
    return sorted(result, key=lambda mark: (mark.tier, mark.onset_s))


def _mark(frames: Features, tier: str, first: int, last: int, value: str) -> Mark:
    stamps = frames.timestamps_s
    return Mark(tier, float(stamps[first]), float(stamps[last]) + events.frame_s(stamps), value)


def _events(face: Features, clip: ClipFeatures) -> Iterator[Mark]:
    for event in spot(clip):
        units = " ".join(unit.removesuffix("_r") for unit in event.units)
        value = phrases.LIDS.get(event.kind, f"{units} {event.score:.1f}")
        yield _mark(face, event.kind, event.onset, event.offset, value)


def _oscillations(face: Features) -> Iterator[Mark]:
    for column, noun in phrases.OSCILLATIONS.items():
        for one in acts.oscillations(face, column):
            yield _mark(face, noun, one.first, one.last, phrases.count(one.count, noun))


def _acts(frames: Features, act: acts.DetectedAct) -> Iterator[Mark]:
    strength = f"{act.item.phrase} {phrases.STRENGTHS[act.act.strength]}"
    series = series_of(frames, act.item.column)
    for run in events.runs(act.active.astype(np.float64), 1.0):
        peak = f" {np.nanmax(series[run.first : run.last + 1]):.1f}" if act.item.intensity else ""
        yield _mark(frames, _tier(act.item), run.first, run.last, strength + peak)


def _tier(item: Item) -> str:
    return item.column.removesuffix("_r") if item.intensity else item.column


def _choice(face: Features, choice: Choice | None) -> Iterator[Mark]:
    """Whose face was measured, where there were several; and a cut wherever one face follows another without a frame
    between them, which tracks of one shot do not."""
    spans = [span for span in choice.spans if span.first < span.end <= len(face.values)] if choice is not None else []
    if choice is not None and (choice.faces > 1 or len(spans) > 1):
        for span in spans:
            yield _mark(face, "target face", span.first, span.end - 1, f"face {span.track + 1}, score {span.score:.2f}")
    for before, span in itertools.pairwise(spans):
        if before.end == span.first:
            yield _mark(face, "shot cut", span.first, span.first, "shot cut")
