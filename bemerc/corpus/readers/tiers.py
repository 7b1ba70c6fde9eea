"""Tiers of an annotation file (ELAN, Praat): intervals with a value, and the record that an exported utterance carries.

An exported utterance has a tier of words, and below it tiers of labels and of records: the record says which utterance
it is, so that a file that was corrected by hand becomes the corpus that it was, with the corrections. Times are whole
milliseconds, ELAN's unit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.corpus.manifest import MAX_TRACKS, PARTICIPANTS, SIDE_LABELS, SPLITS, Split, Utterance, listeners_fault
from bemerc.corpus.readers.table import name_faults

WORDS, LABEL, TURN = "words", "label", "turn"
# Role of a tier -> its name; {speaker} is the speaker's. What an export writes and a reader expects.
TIERS: Mapping[str, str] = {role: f"{role}@{{speaker}}" for role in (WORDS, LABEL, *SIDE_LABELS, TURN)}
# Characters that XML 1.0 cannot hold.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LAYER = re.compile(r"(.*) \([1-9]\d{0,3}\)", re.DOTALL)
MAX_MS = 10**10  # as the times of a manifest
MAX_BYTES = 64 << 20  # of an annotation file


@dataclass(frozen=True)
class Interval:
    """A span of a recording in milliseconds, and its value."""

    onset_ms: int
    offset_ms: int
    value: str

    def overlap_ms(self, other: Interval) -> int:
        """How long both last together; 0 or less where they do not meet."""
        return min(self.offset_ms, other.offset_ms) - max(self.onset_ms, other.onset_ms)


@dataclass(frozen=True)
class Tier:
    """Intervals of one kind.

    speaker  the participant that the file names; None where it names none
    parent   name of the tier whose intervals these belong to, one to one; "" = none, it has its own times
    labels   the controlled vocabulary of its values; empty where there is none
    """

    name: str
    intervals: tuple[Interval, ...]
    speaker: str | None = None
    parent: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """A recording that a file links: its path or URL as written, and its time at the file's time 0."""

    url: str
    origin_ms: int = 0


@dataclass(frozen=True)
class AnnotationFile:
    """The content of an annotation file; ``notes``: sentences on what of it could not be read."""

    tiers: tuple[Tier, ...]
    media: tuple[Media, ...] = ()
    notes: tuple[str, ...] = ()


def tier_name(role: str, speaker: str, layer: int = 1) -> str:
    """The name of a tier; a second one of the same role and speaker, for what overlaps the first, ends in " (2)". The first one
    of somebody whose own name ends like that ends in " (1)"; ``speaker_of`` is the way back."""
    return f"{role}@{speaker}" + (f" ({layer})" if layer > 1 or _LAYER.fullmatch(speaker) else "")


def speaker_of(named: str, others: Collection[str]) -> str:
    """The speaker of a tier by what stands for the speaker in its name, and in the names of ``others``."""
    layered = _LAYER.fullmatch(named)
    return layered[1] if layered and (layered[1] in others or _LAYER.fullmatch(layered[1])) else named


def clean(text: str) -> str:
    """``text`` with a replacement character for each character that XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)


def span_ms(start_s: float | None, end_s: float | None, length_s: float) -> tuple[int, int]:
    """The times of an utterance in whole milliseconds, at least one long.

    length_s  the end of an utterance without one
    """
    onset = round((start_s or 0.0) * 1000)
    return onset, max(onset + 1, round((length_s if end_s is None else end_s) * 1000))


@dataclass(frozen=True)
class Record:
    """What an exported utterance was: its place in the corpus, and its times, which hold while ``span`` is unchanged.

    clip  path from the file's folder; None where the utterance has none
    sound, track, listeners  as an utterance of a recording with participants.csv has them; sound is a path as clip
    span  onset and offset in the export, in milliseconds
    """

    id: str
    dialogue: str
    index: int
    split: Split
    clip: str | None
    start_s: float | None
    end_s: float | None
    span: tuple[int, int]
    crop: tuple[float, float, float, float] | None = None
    sound: str | None = None
    track: int | None = None
    listeners: tuple[tuple[str, tuple[float, float, float, float]], ...] | None = None

    def to_json(self) -> str:
        extras = ("crop", *PARTICIPANTS)
        fields = {key: value for key, value in vars(self).items() if key not in extras or value is not None}
        return json.dumps(fields, ensure_ascii=False)

    @staticmethod
    def of(u: Utterance, clip: str | None, sound: str | None, span: tuple[int, int]) -> Record:
        """The record of an utterance whose clip, and own sound, are at these paths from the file's folder."""
        times = (u.start_s, u.end_s, span)
        return Record(u.id, u.dialogue, u.index, u.split, clip, *times, u.crop, sound, u.track, u.listeners)

    @staticmethod
    def from_json(text: str) -> Record | None:
        """The inverse; None where the text is no record that can be used."""
        try:
            fields: dict[str, Any] = parse_json(text, "a record")
            span, crop = fields.pop("span"), fields.pop("crop", None)
            others = fields.pop("listeners", None)
            if listeners_fault(others) is not None:
                return None
            listeners = None if others is None else tuple((name, tuple(tile)) for name, tile in others)
            record = Record(**fields, span=tuple(span), crop=None if crop is None else tuple(crop), listeners=listeners)
        except (JsonError, TypeError, KeyError, ValueError, AttributeError):
            return None
        return record if _is_usable(record) else None


def _is_usable(record: Record) -> bool:
    names, times = (record.id, record.dialogue), (record.start_s, record.end_s)
    edges = record.crop or (0.0, 0.0, 1.0, 1.0)
    return (
        all(isinstance(name, str) and not name_faults("id", name) for name in names)
        and type(record.index) is int
        and record.split in SPLITS
        and isinstance(record.clip, str | None)
        and isinstance(record.sound, str | None)
        and (record.track is None or (type(record.track) is int and 1 <= record.track < MAX_TRACKS))
        and all(time is None or (type(time) in (int, float) and 0 <= time * 1000 < MAX_MS) for time in times)
        and len(record.span) == 2
        and all(type(time) is int for time in record.span)
        and len(edges) == 4
        and all(type(edge) in (int, float) and 0 <= edge <= 1 for edge in edges)
        and edges[0] < edges[2]
        and edges[1] < edges[3]
    )
