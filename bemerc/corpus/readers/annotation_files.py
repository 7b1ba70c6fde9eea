"""Read annotation files as a corpus: ELAN's .eaf and Praat's .TextGrid, such as those of ``bemerc cache export``.

Each interval of a tier of words is an utterance of the speaker whose tier it is, and has the label that overlaps it
most on that speaker's tier of labels. Exported files carry a record of each utterance (tiers.py): corrected by hand and
read again, they give the corpus that was exported, with the corrections. What has no record is a new utterance.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.manifest import LONGEST_TEXT, SIDE_LABELS, SPLITS, Split, Utterance
from bemerc.corpus.readers import eaf, textgrid
from bemerc.corpus.readers.tiers import LABEL, TIERS, TURN, WORDS, AnnotationFile, Interval, Record, Tier
from bemerc.corpus.readers.voices import SPEAKER, Track, Voice, patterns_of, voices_of
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, natural_id, of_words, stop_at

_READERS = {eaf.SUFFIX: eaf.read, textgrid.SUFFIX: textgrid.read}
_LABELS = (LABEL, *SIDE_LABELS)


@dataclass(frozen=True)
class Params:
    """Annotation files to prepare as a corpus.

    folder    every .eaf and .TextGrid below it; folders called train, dev and test directly in it say the split of what
              has no record, which is test elsewhere
    clips     a folder where recordings are looked for that are not where the files' links say, by the ends of their
              paths; null = none
    labels    the label set: a name or a list; null = the controlled vocabulary of the files
    aliases   spelling in the files -> label, besides those of corpus/labels.py
    tiers     words, label, label_text, label_voice, label_face -> name of the tier, with {speaker} where the speaker's
              name is in it; those that are not named are called as in an export, words@{speaker}
    speakers  what stands for {speaker}, or the participant of the tier -> the speaker's name, where it is another
    """

    folder: str = "data/annotations"
    clips: str | None = None
    labels: str | tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    tiers: Mapping[str, str] = field(default_factory=dict)
    speakers: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> Iterator[str]:
        """Invalid values, a sentence each."""
        for role, name in self.tiers.items():
            if role not in TIERS or role == TURN:
                yield f"tiers.{role}: the tiers that can be named are {', '.join((WORDS, *_LABELS))}."
            elif not name.strip() or name.count(SPEAKER) > 1:
                yield f"tiers.{role}: a tier has a name, with {SPEAKER} in it once or not at all, not '{name}'."


def read(params: Params, name: str = "annotations") -> Reading:
    """Read the files of a folder. A file that cannot be read is left out, with a finding.

    Raises CorpusError where there is no file that can be read, and with every fault for labels that are unknown.
    """
    root = Path(params.folder)
    findings: list[Finding] = []
    files = _files(root, findings)
    contents = {path: content for path in files if (content := _content(path, findings)) is not None}
    patterns = patterns_of(params.tiers)
    labels = _label_set(params, contents.values(), patterns)
    accepted = emotion.names(labels, params.aliases)
    faults: list[str] = []
    turns: list[_Turn] = []
    taken: set[str] = set()
    dialogues: set[str] = set()
    for path, content in contents.items():
        voices = voices_of(content, patterns, params.speakers)
        dialogue = _unlike(f"{name}/{_split(path, root)}/{_stem(path, root)}", dialogues)
        dialogues.add(dialogue)
        one = _File(path, dialogue, _split(path, root), content, params.clips)
        turns += one.turns(voices, accepted, taken)
        one.check_labels(voices, patterns)
        faults += one.faults
        findings += one.findings
    if not turns and not faults:
        reasons = "".join(f" {finding.id}: {finding.reason}" for finding in findings[:3])
        raise CorpusError(f"there is not one utterance in its annotation files.{reasons}", path=root)
    stop_at(faults, findings=findings)
    utterances = _ordered(turns)
    findings += [finding for u in utterances for finding in of_words(u)]
    return Reading(name, utterances, labels, tuple(findings))


# ---- files


def _files(root: Path, findings: list[Finding]) -> list[Path]:
    """The annotation files below a folder; of a name in both formats ELAN's is read."""
    if not root.is_dir():
        raise CorpusError("there is no such folder of annotation files.", path=root, missing=True)
    paths = [Path(base, name) for base, _, names in os.walk(root) for name in names if not name.startswith(".")]
    files = [path for path in paths if path.suffix.lower() in _READERS]
    if not files:
        raise CorpusError(
            "there is no .eaf or .TextGrid in it. 'bemerc cache export --to eaf' writes them.", path=root, missing=True
        )
    files.sort(key=lambda path: (natural_id(path.relative_to(root).as_posix()), path.suffix.lower() != eaf.SUFFIX))
    first: dict[Path, Path] = {}
    for path in [path for path in files if not _is_utf8(path)]:
        name = str(path).encode("utf-8", "backslashreplace").decode()
        findings.append(Finding("extra", name, "Its name is not valid UTF-8; rename it to have it read.", "leaves out"))
        files.remove(path)
    for path in sorted(files, key=lambda path: path.suffix.lower() != eaf.SUFFIX):
        kept = first.setdefault(path.with_suffix(""), path)
        if kept != path:
            findings.append(Finding("twin", path.as_posix(), f"{printable(kept.name)} is read instead.", "leaves out"))
    return [path for path in files if first[path.with_suffix("")] == path]


def _is_utf8(path: Path) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in str(path))


def _content(path: Path, findings: list[Finding]) -> AnnotationFile | None:
    try:
        content = _READERS[path.suffix.lower()](path)
    except CorpusError as error:
        findings.append(Finding("unreadable", path.as_posix(), str(error), "leaves out", needs_you=True))
        return None
    findings += [Finding("interval", path.as_posix(), note, "leaves out", needs_you=True) for note in content.notes]
    return content


def _stem(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return unicodedata.normalize("NFC", "/".join(parts[1:] if parts[0] in SPLITS and len(parts) > 1 else parts))


def _unlike(dialogue: str, others: Collection[str]) -> str:
    """A dialogue's id, numbered where another file has it: one directly in the folder, and one in its folder test."""
    numbered = (f"{dialogue} ({number})" for number in range(2, len(others) + 2))
    return next(name for name in (dialogue, *numbered) if name not in others)


def _split(path: Path, root: Path) -> Split:
    top = path.relative_to(root).parts[0]
    return next((split for split in SPLITS if split == top), "test")


def _label_set(
    params: Params, contents: Iterable[AnnotationFile], patterns: Mapping[str, re.Pattern[str]]
) -> tuple[str, ...]:
    """The label set of the params, else the one vocabulary that all files' tiers of labels share."""
    if params.labels is not None:
        return emotion.label_set(params.labels)
    sets = {
        tier.labels
        for content in contents
        for tier in content.tiers
        if tier.labels and any(patterns[role].fullmatch(tier.name) for role in _LABELS)
    }
    if len(sets) > 1:
        listed = "; ".join(", ".join(labels) for labels in sorted(sets))
        raise CorpusError(
            f"its files have different vocabularies ({printable(listed, 400)}). Set prepare.annotations.labels.",
            path=params.folder,
        )
    return next(iter(sets), ())


# ---- utterances


@dataclass(frozen=True)
class _Turn:
    """An utterance, and its order in its dialogue: after which turn of the record, then by time."""

    utterance: Utterance
    order: tuple[int, int, int, int]


class _File:
    """The utterances of one file; ``faults`` and ``findings`` on it."""

    def __init__(self, path: Path, prefix: str, split: Split, content: AnnotationFile, clips: str | None) -> None:
        self.path, self._prefix, self._split, self._content, self._folder = path, prefix, split, content, clips
        self.faults: list[str] = []
        self.findings: list[Finding] = []
        self._clips: dict[str, tuple[str, int] | None] = {}
        self._sounds: dict[str, str | None] = {}
        self._of_listeners: dict[str, list[str]] = {}  # who was thought to listen -> ids that are theirs now

    def turns(self, voices: Sequence[Voice], accepted: Mapping[str, str], taken: set[str]) -> list[_Turn]:
        """The utterances of all voices; ``taken``: ids that other files have, to which these are added."""
        if not voices:
            names = ", ".join(printable(tier.name, 40) for tier in self._content.tiers[:20])
            reason = f"None of its tiers is one of words; they are called {names or 'nothing'}. Set prepare.annotations.tiers.words."
            self._find("tiers", reason)
            return []
        spoken = [(span, voice) for voice in voices for span in voice.spans()]
        spoken.sort(key=lambda one: (one[0].onset_ms, one[0].offset_ms))
        self._check_tracks(spoken)
        before: Record | None = None
        turns: list[_Turn] = []
        for number, (span, voice) in enumerate(spoken):
            written = voice.at(TURN, span)
            record = Record.from_json(written.value) if written is not None else None
            if record is not None and record.id in taken:  # a copy of another annotation
                record = None
            before = record or before
            turns.append(self._turn(number, span, voice, record, before, accepted, taken))
        for speaker, ids in self._of_listeners.items():
            others = f" and {len(ids) - 1} more are" if len(ids) > 1 else " is"
            reason = f"{printable(ids[0])}{others} {printable(speaker, 60)}'s now: that part of the picture is measured, with the clip's sound."
            self._find("speaker", reason, "keeps")
        return turns

    def _turn(
        self,
        number: int,
        span: Interval,
        voice: Voice,
        record: Record | None,
        before: Record | None,
        accepted: Mapping[str, str],
        taken: set[str],
    ) -> _Turn:
        if record is not None and voice.speaker in dict(record.listeners or ()):
            record = self._of_a_listener(record, voice.speaker)
        clip, origin_ms = self._clip(record) or (None, 0)
        start_s, end_s = (span.onset_ms + origin_ms) / 1000, (span.offset_ms + origin_ms) / 1000
        if record is not None and not origin_ms and record.span == (span.onset_ms, span.offset_ms):
            start_s, end_s = record.start_s, record.end_s  # type: ignore[assignment]
        where = f"{printable(self.path)}, {span.onset_ms / 1000:.3f} s"
        if len(span.value) > LONGEST_TEXT:
            self.faults.append(f"{where}: its words take more than {LONGEST_TEXT:,} characters.")
        label, text, voice_label, face = (self._label(span, voice, role, accepted, where) for role in _LABELS)
        id_ = record.id if record is not None else self._new_id(number, taken)
        taken.add(id_)
        origin = record or before
        utterance = Utterance(
            id=id_,
            dialogue=self._prefix if origin is None else origin.dialogue,
            index=0,
            speaker=voice.speaker,
            text=span.value,
            label=label,
            split=self._split if origin is None else origin.split,
            clip=clip,
            start_s=start_s,
            end_s=end_s,
            crop=None if record is None else record.crop,
            label_text=text,
            label_voice=voice_label,
            label_face=face,
            sound=self._sound(record),
            track=None if record is None else record.track,
            listeners=None if record is None else record.listeners,
        )
        index = -1 if origin is None else origin.index
        return _Turn(utterance, (index, int(record is None), span.onset_ms, span.offset_ms))

    def _of_a_listener(self, record: Record, speaker: str) -> Record:
        """The record of an utterance that somebody else in the picture says, other than it was thought."""
        others = dict(record.listeners or ())
        self._of_listeners.setdefault(speaker, []).append(record.id)
        crop = others.pop(speaker)
        return replace(record, crop=crop, sound=None, track=None, listeners=tuple(others.items()) or None)

    def _new_id(self, number: int, taken: set[str]) -> str:
        """An id for an utterance without a record."""
        while (id_ := f"{self._prefix}/{number:04d}") in taken:
            number += 1
        return id_

    def _label(self, span: Interval, voice: Voice, role: str, accepted: Mapping[str, str], where: str) -> str | None:
        interval = voice.at(role, span)
        if interval is None or not interval.value.strip():
            return None
        label = emotion.canonical(interval.value, accepted)
        if not accepted:
            self.faults.append(
                f"{where}: there is a label, but no label set is declared; set prepare.annotations.labels."
            )
        elif label is None:
            self.faults.append(f"{where}: {emotion.fault(interval.value, accepted)}")
        return label

    def _check_tracks(self, spoken: Sequence[tuple[Interval, Voice]]) -> None:
        """Findings on tiers that are empty, on intervals that overlap, and on labels of no utterance."""
        spans: dict[Track, list[Interval]] = {}
        for span, voice in spoken:
            for role in (WORDS, LABEL):
                for track in voice.tracks.get(role, ()):
                    spans.setdefault(track, []).append(span)
        if not spoken:
            self._find("empty", "Its tiers of words have no intervals.")
        for track, used in spans.items():
            name = printable(track.name, 60)
            if track.overlaps:
                reason = f"{track.overlaps} intervals of its tier {name} begin before an earlier one has ended."
                self.findings.append(Finding("overlap", self.path.as_posix(), reason))
            reached = Track(Tier("", tuple(used)))
            lost = [one for one in track.intervals if one.value.strip() and reached.at(one) is None]
            if lost:
                first = f"'{printable(lost[0].value, 40)}' at {lost[0].onset_ms / 1000:.3f} s"
                self._find(
                    "label", f"{len(lost)} labels of its tier {name} overlap no words, the first of them {first}."
                )

    def check_labels(self, voices: Sequence[Voice], patterns: Mapping[str, re.Pattern[str]]) -> None:
        """Findings on tiers of labels whose speaker has no words, such as one of two that were renamed alone."""
        used = {track.name for voice in voices for tracks in voice.tracks.values() for track in tracks}
        for tier in self._content.tiers if voices else ():
            count = sum(bool(one.value.strip()) for one in tier.intervals)
            if count and tier.name not in used and any(patterns[role].fullmatch(tier.name) for role in _LABELS):
                self._find(
                    "label",
                    f"Its tier {printable(tier.name, 60)} has {count} labels, and no tier of words belongs to it.",
                )

    def _clip(self, record: Record | None) -> tuple[str, int] | None:
        """The recording that the file links, or that lies where the record says, or beside it under its name, and its
        time at the file's time 0 in milliseconds."""
        if record is not None and record.clip is None:
            return None
        written = "" if record is None else str(record.clip)
        if written not in self._clips:
            self._clips[written] = self._find_clip(written)
            if self._clips[written] is None:
                named = written or next((media.url for media in self._content.media), "")
                reason = (
                    f"There is no {printable(named)}. Put it there, or set prepare.annotations.clips."
                    if named
                    else "It links no recording, and none beside it has its name."
                )
                self._find("missing", reason, "keeps without video")
        return self._clips[written]

    def _sound(self, record: Record | None) -> str | None:
        """The speaker's own sound file, where the record names one."""
        if record is None or record.sound is None or "\0" in record.sound:
            return None
        if record.sound not in self._sounds:
            self._sounds[record.sound] = self._file_of([record.sound, *self._tails(record.sound)])
            if self._sounds[record.sound] is None:
                reason = f"There is no {printable(record.sound)}, the speaker's own sound: the clip's is taken."
                self._find("missing", f"{reason} Put it there, or set prepare.annotations.clips.", "keeps")
        return self._sounds[record.sound]

    def _file_of(self, names: Iterable[str | Path]) -> str | None:
        """The first of these paths, from this file's folder, that is a file."""
        paths = (os.path.normpath(self.path.parent / name) for name in names)
        return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113  pathlib's raises for a name that is too long for the disk

    def _find_clip(self, written: str) -> tuple[str, int] | None:
        linked = [(path, m.origin_ms) for m in self._content.media for path in _paths(m.url)]
        linked.sort(key=lambda one: Path(one[0]).suffix.lower() not in VIDEO)
        beside = [(f"{self.path.stem}{suffix}", 0) for suffix in (*VIDEO, *SOUND)]
        names = [*linked, *([(written, 0)] if written else [])]
        elsewhere = [(tail, origin_ms) for name, origin_ms in names for tail in self._tails(name)]
        candidates: list[tuple[str | Path, int]] = [*names, *elsewhere, *beside]
        files = ((self._file_of([name]), origin_ms) for name, origin_ms in candidates)
        return next(((path, origin_ms) for path, origin_ms in files if path is not None), None)

    def _tails(self, name: str) -> list[Path]:
        """The last parts of a path below the folder of clips, the longest first."""
        parts = [part for part in Path(name).parts if part not in ("..", "/")]
        if self._folder is None:
            return []
        return [Path(os.path.abspath(self._folder), *parts[first:]) for first in range(len(parts))]  # noqa: PTH100

    def _find(self, kind: str, reason: str, action: str = "leaves out") -> None:
        self.findings.append(Finding(kind, self.path.as_posix(), reason, action, needs_you=True))  # type: ignore[arg-type]


def _paths(url: str) -> list[str]:
    """A media URL as paths, as it is and without its percent signs; empty for one that is no file's."""
    if re.match(r"[a-z][a-z0-9+.-]+://", url, re.IGNORECASE) and not url.lower().startswith("file://"):
        return []
    path = re.sub(r"^file:(?://(?=/))?", "", url, flags=re.IGNORECASE)
    return [one for one in dict.fromkeys((path, unquote(path))) if one and "\0" not in one]


def _ordered(turns: Sequence[_Turn]) -> tuple[Utterance, ...]:
    """The utterances with indices 0, 1, 2, ... within each dialogue."""
    by_dialogue: dict[str, list[_Turn]] = {}
    for turn in turns:
        by_dialogue.setdefault(turn.utterance.dialogue, []).append(turn)
    return tuple(
        replace(turn.utterance, index=index)
        for group in by_dialogue.values()
        for index, turn in enumerate(sorted(group, key=lambda turn: turn.order))
    )
