"""Recordings with the tiers of who spoke in them: what every annotation format is written from.

A recording is one media file. Where each utterance is a clip of its own, each is a recording: an annotation program
plays one file on one axis, and clips cut out of a film have gaps between them that nobody knows. Turns without a clip
have no time; those of a dialogue are a recording without media, a second each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bemerc.corpus.manifest import SIDE_LABELS, Manifest, Utterance
from bemerc.corpus.readers.tiers import LABEL, TURN, WORDS, Interval, Record, Tier, span_ms, tier_name
from bemerc.corpus.reading import natural_id

if TYPE_CHECKING:
    from bemerc.behavior.describe.marks import Mark

T = TypeVar("T")
PREDICTED, PROBABILITY, DESCRIPTION = "predicted", "probability", "description"


@dataclass(frozen=True)
class Annotated:
    """An utterance with what is known of it.

    length_s     the end of an utterance without one, in seconds from its start
    marks        behavior, in seconds from the utterance's start
    predicted    the label that a model gives, with its probability
    description  sentences
    """

    utterance: Utterance
    length_s: float
    marks: Sequence[Mark] = ()
    predicted: str | None = None
    probability: float | None = None
    description: str = ""

    @property
    def span(self) -> Interval:
        """Its time in the recording, and its words."""
        u = self.utterance
        if u.clip is None:
            return Interval(1000 * u.index, 1000 * (u.index + 1), u.text)
        return Interval(*span_ms(u.start_s, u.end_s, (u.start_s or 0.0) + self.length_s), u.text)


@dataclass(frozen=True)
class Recording:
    """A media file with its utterances, in order of time, and a name that no other has.

    media   where the file lies; None for turns without a clip
    labels  the label set of its labels and predictions
    """

    name: str
    media: Path | None
    utterances: tuple[Annotated, ...]
    labels: tuple[str, ...]

    @property
    def length_ms(self) -> int:
        """The latest offset of any interval."""
        spans = [one.span.offset_ms for one in self.utterances]
        return max([*spans, *(mark.offset_ms for one in self.utterances for _, mark in marks_of(one))])

    def speakers(self) -> list[str]:
        """Who speaks in it, in order of time."""
        return list(dict.fromkeys(one.utterance.speaker for one in self.utterances))


def recordings(manifest: Manifest, annotated: Iterable[Annotated]) -> list[Recording]:
    """Utterances grouped by media file, in natural order of names."""
    groups: dict[tuple[str, str], list[Annotated]] = {}
    for one in annotated:
        path, sound = manifest.clip_path(one.utterance), manifest.sound_path(one.utterance)
        if sound is not None:  # from here on a path from the working directory, as the medium's
            one = replace(one, utterance=replace(one.utterance, sound=os.path.normpath(sound)))
        key = ("", one.utterance.dialogue) if path is None else (os.path.normpath(path), "")
        groups.setdefault(key, []).append(one)
    taken: set[str] = set()
    result = []
    for (media, _), group in groups.items():
        name = _name(group, taken)
        taken.add(name)
        ordered = sorted(group, key=lambda one: (one.span.onset_ms, one.span.offset_ms, one.utterance.index))
        predicted = (one.predicted for one in ordered if one.predicted is not None)
        labels = manifest.labels or tuple(sorted(set(predicted)))
        result.append(Recording(name, Path(media) if media else None, tuple(ordered), labels))
    return sorted(result, key=lambda recording: natural_id(recording.name))


def _name(group: Sequence[Annotated], taken: set[str]) -> str:
    """The id of an utterance that is alone, else the dialogue, numbered where that is taken."""
    first = group[0].utterance
    names = {one.utterance.dialogue for one in group}
    base = first.id if len(group) == 1 and first.clip is not None else " ".join(sorted(names)[:3])
    numbered = (base if number == 1 else f"{base} ({number})" for number in range(1, len(taken) + 2))
    return next(name for name in numbered if name not in taken)


def tiers(recording: Recording, file: Path) -> Iterator[Tier]:
    """The tiers of each speaker: words, and below them labels, predictions, descriptions and records; then behavior.

    file  where they are written: records name clips from there
    """
    for speaker in recording.speakers():
        spoken = [one for one in recording.utterances if one.utterance.speaker == speaker]
        for layer, group in enumerate(_layers([(one.span, one) for one in spoken]), 1):
            yield from _spoken(recording, [one for _, one in group], speaker, layer, file)
        marks: dict[str, list[Interval]] = {}
        for one in spoken:
            for kind, interval in marks_of(one):
                marks.setdefault(kind, []).append(interval)
        for kind in sorted(marks):
            for layer, intervals in enumerate(_layers([(one, None) for one in marks[kind]]), 1):
                yield Tier(tier_name(kind, speaker, layer), tuple(one for one, _ in intervals), speaker)


def _record(one: Annotated, clip: str | None, file: Path) -> Record:
    sound = None if one.utterance.sound is None else relative(Path(one.utterance.sound), file.parent)
    return Record.of(one.utterance, clip, sound, (one.span.onset_ms, one.span.offset_ms))


def _spoken(recording: Recording, group: Sequence[Annotated], speaker: str, layer: int, file: Path) -> Iterator[Tier]:
    words = tier_name(WORDS, speaker, layer)
    yield Tier(words, tuple(one.span for one in group), speaker)
    values: dict[str, list[str | None]] = {
        role: [getattr(one.utterance, role) for one in group] for role in (LABEL, *SIDE_LABELS)
    }
    values[PREDICTED] = [one.predicted for one in group]
    values[PROBABILITY] = [None if one.probability is None else f"{one.probability:.3f}" for one in group]
    values[DESCRIPTION] = [one.description or None for one in group]
    clip = None if recording.media is None else relative(recording.media, file.parent)
    values[TURN] = [_record(one, clip, file).to_json() for one in group]
    for role, written in values.items():
        pairs = [(one.span, value) for one, value in zip(group, written, strict=True) if value is not None]
        if pairs or role == LABEL:
            intervals = tuple(Interval(span.onset_ms, span.offset_ms, value) for span, value in pairs)
            labels = recording.labels if role in (LABEL, *SIDE_LABELS, PREDICTED) else ()
            yield Tier(tier_name(role, speaker, layer), intervals, speaker, words, labels)


def marks_of(one: Annotated) -> list[tuple[str, Interval]]:
    """The marks of an utterance on the recording's axis, each at least a millisecond long, within the utterance."""
    start = one.span.onset_ms
    result = []
    for mark in one.marks:
        onset = start + round(mark.onset_s * 1000)
        offset = min(start + round(mark.offset_s * 1000), one.span.offset_ms)
        if onset < one.span.offset_ms:
            result.append((mark.tier, Interval(onset, max(offset, onset + 1), mark.value)))
    return result


def _layers(spans: Iterable[tuple[Interval, T]]) -> list[list[tuple[Interval, T]]]:
    """Spans in as few tiers as hold them without overlap, each in order of time."""
    layers: list[list[tuple[Interval, T]]] = []
    for span, item in sorted(spans, key=lambda pair: (pair[0].onset_ms, pair[0].offset_ms)):
        free = next((layer for layer in layers if layer[-1][0].offset_ms <= span.onset_ms), None)
        if free is None:
            layers.append([(span, item)])
        else:
            free.append((span, item))
    return layers


def relative(path: Path, folder: Path) -> str:
    """A path from a folder; absolute where they lie on different drives."""
    try:
        return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(folder))).as_posix()  # noqa: PTH100  links stay
    except ValueError:
        return Path(os.path.abspath(path)).as_posix()  # noqa: PTH100
