"""Who is where in recordings of several people: ``participants.csv`` beside them, a row per person and layout.

    recording,speaker,tile,audio,start_s,end_s
    call.mp4,Ann,0 0 0.5 1,ann.wav,,
    call.mp4,Ben,0.5 0 1 1,2,,600
    call.mp4,Ben,0 0.5 1 1,2,600,

tile: a part of the picture (left, right, four fractions); blank: Ann's face is the one of the whole picture whose mouth
moves with her sound, wherever it is. audio: a file with that person's own sound, or the number of a sound
track of the recording; blank: the recording's. start_s, end_s: from when to when a row holds; blank: from its beginning,
to its end.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.core.errors import MachineError, MediaError
from bemerc.core.terminal import printable
from bemerc.corpus.crops import Crop, read_crop, size_fault
from bemerc.corpus.delimited import read_table
from bemerc.corpus.manifest import LISTENER_MARK, MAX_TRACKS, Utterance
from bemerc.corpus.readers import subtitles
from bemerc.corpus.reading import SOUND, Finding, listed, nearest, person, stop_at

if TYPE_CHECKING:
    from bemerc.media.video import Probe

# Reads a clip's header: MediaError where it is no clip.
ReadHeader = Callable[[Path], "Probe"]

NAME = "participants.csv"
NEEDED = ("recording", "speaker")
OPTIONAL = ("tile", "audio", "start_s", "end_s")
_AGAIN = "Correct the table and run the same command again."
_NO_AUTO = (
    "tiles are not looked for, so auto is none. Write left, right or 'left top right bottom' as fractions of the frame, such "
    "as 0 0 0.5 0.5 for the first of four; or leave it blank, and of the whole picture the face is measured that moves with "
    "this person's sound."
)
# An utterance may reach this far into another layout: cues are seldom exact.
_SLACK_S = 0.2


@dataclass(frozen=True)
class Appearance:
    """One row of a table: where somebody is from ``start_s`` to ``end_s`` of a recording, and the sound that is theirs."""

    table: Path
    line: int
    recording: Path
    speaker: str
    crop: Crop | None
    sound: Path | None
    track: int | None
    start_s: float
    end_s: float

    def coincides(self, other: Appearance) -> bool:
        """Whether there is a moment at which both hold."""
        return min(self.end_s, other.end_s) > max(self.start_s, other.start_s)

    def overlap_s(self, u: Utterance) -> float:
        """How much of an utterance lies in it; negative: how far it is away."""
        return min(self.end_s, inf if u.end_s is None else u.end_s) - max(self.start_s, u.start_s or 0.0)


@dataclass(frozen=True)
class Participants:
    """The rows of all tables of a folder by recording, and the files with somebody's own sound."""

    appearances: Mapping[Path, tuple[Appearance, ...]]
    sounds: frozenset[Path] = frozenset()

    def placed(self, utterances: Iterable[Utterance]) -> tuple[tuple[Utterance, ...], list[Finding]]:
        """The utterances with their speakers' parts of the picture and sounds, and with the listeners' parts; findings on
        speakers without a row, on rows of nobody who speaks, and on utterances in which the layout changes, which have the
        whole picture. CorpusError where such a row may be that of a speaker without one, by another name."""
        utterances = tuple(utterances)
        result, findings = [], self._of_silent(utterances)
        for u in utterances:
            appearances = self.appearances.get(Path(u.clip)) if u.clip else None
            if appearances:
                own = _of(u.speaker, appearances, u)
                doubt = _doubt(u, own, appearances)
                if doubt is None:
                    u = replace(u, listeners=_listeners(u, appearances), crop=own.crop if own is not None else None)
                else:
                    findings.setdefault(doubt.id, doubt)
                if own is not None:
                    u = replace(u, track=own.track, sound=None if own.sound is None else str(own.sound))
            result.append(u)
        return tuple(result), [*findings.values()]

    def _of_silent(self, utterances: Sequence[Utterance]) -> dict[str, Finding]:
        """Findings on rows of people who say nothing, by their ids; CorpusError where one of them may be that of a
        speaker who has none."""
        speakers, unplaced = dict[Path, dict[str, None]](), dict[Path, dict[str, None]]()
        for u in utterances:
            clip = Path(u.clip or "")
            if u.speaker and (appearances := self.appearances.get(clip)):
                speakers.setdefault(clip, {})[u.speaker] = None
                if _of(u.speaker, appearances, u) is None:
                    unplaced.setdefault(clip, {})[u.speaker] = None
        faults, findings = [], dict[str, Finding]()
        for clip, names in speakers.items():
            for one in self.appearances[clip]:
                if one.speaker in names:
                    continue
                if clip in unplaced:
                    faults.append(
                        f"{printable(one.table)}, line {one.line}: in {printable(clip.name)} nobody called "
                        f"'{printable(one.speaker, 60)}' speaks{nearest(one.speaker, unplaced[clip])} Its speakers are "
                        f"{listed(names)}; without a row: {listed(unplaced[clip])}."
                    )
                finding = self._of_listener(one, names)
                if finding.needs_you or finding.id not in findings:
                    findings[finding.id] = finding
        stop_at(faults, _AGAIN)
        return findings

    def _of_listener(self, one: Appearance, speakers: Iterable[str]) -> Finding:
        """The finding on a row of somebody who says nothing: a warning where it may be a speaker's, misspelt."""
        who, clip, near = (
            printable(one.speaker, 60),
            one.recording,
            nearest(one.speaker, self._namesakes(one, speakers)),
        )
        end = "If so, correct the row; as it is, it" if near != "." else "So it"
        reason = (
            f"Line {one.line} of {printable(one.table)}: in {printable(clip.name)} nobody called '{who}' speaks{near} Its "
            f"speakers are {listed(speakers)}. {end} is the row of a listener."
        )
        return Finding("participants", f"{clip.as_posix()}: {who}", reason, "keeps, repaired", needs_you=near != ".")

    def _namesakes(self, one: Appearance, speakers: Iterable[str]) -> list[str]:
        """The speakers whose row a row of somebody else may be, misspelt: those who have no other at its time, and those
        of the same letters."""
        rows = self.appearances[one.recording]
        at_its_time = {other.speaker for other in rows if other.coincides(one)}
        return [name for name in speakers if name not in at_its_time or name.casefold() == one.speaker.casefold()]


def _of(speaker: str, appearances: Sequence[Appearance], u: Utterance) -> Appearance | None:
    """The row that holds for most of an utterance."""
    own = [one for one in appearances if one.speaker == speaker and one.overlap_s(u) > 0]
    return max(own, key=lambda one: one.overlap_s(u), default=None)


def _listeners(u: Utterance, appearances: Sequence[Appearance]) -> tuple[tuple[str, Crop], ...] | None:
    """Everybody else with a part of the picture of their own."""
    names = dict.fromkeys(one.speaker for one in appearances if one.speaker != u.speaker)
    crops = {name: one.crop for name in names if (one := _of(name, appearances, u)) is not None}
    return tuple((name, crop) for name, crop in crops.items() if crop is not None) or None


def _doubt(u: Utterance, own: Appearance | None, appearances: Sequence[Appearance]) -> Finding | None:
    """Why no part of the picture is this utterance's, all through; it is measured in the whole picture then."""
    recording = appearances[0].recording
    if own is None:
        who = printable(u.speaker) or "A speaker without a name"
        reason = f"{who} has no row for {recording.name} in {NAME}, so the whole picture and its sound are measured. Add a row."
        return Finding("participants", f"{recording.as_posix()}: {who}", reason, "keeps, repaired", needs_you=True)
    first_s, last_s = u.start_s or 0.0, inf if u.end_s is None else u.end_s
    if own.start_s - first_s <= _SLACK_S and (own.end_s == inf or last_s - own.end_s <= _SLACK_S):
        return None
    at_s = own.end_s if own.end_s < last_s else own.start_s
    reason = f"The layout changes at {at_s:g} s, within it: of the whole picture the face is measured that moves with the sound."
    return Finding("layout", u.id, reason, "keeps, repaired")


def read(tables: Iterable[Path], clips: Iterable[Path], header: ReadHeader) -> Participants:
    """The tables of this name among a folder's files. ``header`` says which sound tracks and which size a clip has.
    CorpusError with every wrong row, its number and what to do."""
    header = cache(header)
    by_folder: dict[Path, list[Path]] = {}
    for clip in clips:
        by_folder.setdefault(clip.parent, []).append(clip)
    appearances: dict[Path, tuple[Appearance, ...]] = {}
    for path in tables:
        for one in _rows(path, by_folder.get(path.parent, []), header):
            appearances[one.recording] = (*appearances.get(one.recording, ()), one)
    sounds = {one.sound for listed in appearances.values() for one in listed if one.sound is not None}
    return Participants(appearances, frozenset(sounds - appearances.keys()))


def _rows(path: Path, clips: Sequence[Path], header: ReadHeader) -> list[Appearance]:
    table = read_table(path)
    where, allowed = printable(path), NEEDED + OPTIONAL
    faults = [f"{where}, line 1: the column '{c}' is missing." for c in NEEDED if c not in table.columns]
    faults += [
        f"{where}, line 1: the column '{printable(c, 60)}' is unknown{nearest(c, allowed)}"
        for c in table.columns
        if c not in allowed
    ]
    stop_at(faults, f"A table of participants has the columns {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}.")
    faults = list(table.faults)
    rows = []
    for row in table.rows:
        wrong: list[str] = []
        one = _parsed(path, row.line, row.cells, clips, wrong)
        if one is not None:
            wrong += _against_clip(one, header)
        rows.append(one)
        faults += [f"{where}, line {row.line}: {fault}" for fault in wrong]
    if not rows and not faults:
        faults.append(f"{where}: it has no row. Add one for every person in a recording, or remove the table.")
    appearances = [one for one in rows if one is not None]
    for a, b in combinations(appearances, 2):
        if (a.recording, a.speaker) == (b.recording, b.speaker) and a.coincides(b):
            times = "give each row its start_s and end_s"
            faults.append(
                f"{where}, line {b.line}: line {a.line} has {printable(a.speaker)} at the same time; {times}."
            )
    stop_at(faults, _AGAIN)
    return appearances


def _parsed(
    table: Path, line: int, cells: Mapping[str, str], clips: Sequence[Path], faults: list[str]
) -> Appearance | None:
    written = {column: cells.get(column, "").strip() for column in NEEDED + OPTIONAL}
    speaker = person(written["speaker"])
    if not speaker or LISTENER_MARK in speaker:
        faults.append(f"speaker must be the name that the subtitles have, without {LISTENER_MARK}.")
    recording = _recording(written["recording"], clips, faults)
    if written["tile"].lower() == "auto":
        faults.append(_NO_AUTO)
    crop = read_crop("" if _NO_AUTO in faults else written["tile"], faults, "tile")
    sound, track = _audio(written["audio"], table.parent, faults)
    start_s, end_s = _time(written, "start_s", 0.0, faults), _time(written, "end_s", inf, faults)
    if not faults and end_s <= start_s:
        faults.append(f"end_s {end_s:g} is not after start_s {start_s:g}.")
    if faults or recording is None:
        return None
    return Appearance(table, line, recording, speaker, crop, sound, track, start_s, end_s)


def _against_clip(one: Appearance, header: ReadHeader) -> Iterable[str]:
    """What a row asks for and its recording, or its file of sound, has not. A recording that cannot be read is left to
    the measuring, which says why."""
    if one.sound is not None:
        try:
            reason = "" if header(one.sound).sound_tracks else "there is no sound in it."
        except MediaError as error:
            reason = str(error)
        except MachineError:
            reason = ""
        if reason:
            yield f"audio '{printable(one.sound.name, 60)}': {reason}"
    if one.track is None and one.crop is None:
        return
    try:
        clip = header(one.recording)
    except (MediaError, MachineError):
        return
    name = printable(one.recording.name)
    if one.track is not None and one.track > clip.sound_tracks:
        count = clip.sound_tracks
        numbers = "1" if count == 1 else f"a number from 1 to {count}"
        way = f"Write {numbers}, or leave the cell blank" if count else "Leave the cell blank"
        yield f"audio: {name} has {count or 'no'} sound track{'s' * (count != 1)}, and none is number {one.track}. {way}."
    if one.crop is not None and clip.has_video:
        fault = size_fault(one.crop, clip.width, clip.height)
        if fault:
            yield f"tile: {fault}"


def _recording(written: str, clips: Sequence[Path], faults: list[str]) -> Path | None:
    name = _nfc(written)
    matches = [c for c in clips if name in (_nfc(c.name), _nfc(c.stem))]
    exact = [c for c in matches if _nfc(c.name) == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        what = "several files beside the table have this name; write it with its ending."
    else:
        names = listed(c.name for c in clips)
        near = nearest(name, [form for c in clips for form in (c.name, c.stem)])
        what = f"no video beside the table has this name{near} The videos there: {names or 'none'}."
    faults.append(f"recording '{printable(written, 60)}': {what}")
    return None


def _audio(written: str, folder: Path, faults: list[str]) -> tuple[Path | None, int | None]:
    if not written:
        return None, None
    if written.isascii() and written.isdigit():
        number = int(written[:9])
        if not 1 <= number < MAX_TRACKS:
            faults.append("audio must be a file, or the number of a sound track, from 1.")
        return None, number
    if (path := _file(folder, written)) is None:
        sounds = (one.name for one in sorted(folder.iterdir()) if one.suffix.lower() in SOUND)
        faults.append(
            f"audio '{printable(written, 60)}': there is no such file beside the table{nearest(written, sounds)}"
        )
    return path, None


def _file(folder: Path, written: str) -> Path | None:
    """A file below the table's folder, since a table does not choose what else is read; None where there is none, or
    none can be."""
    if Path(written).is_absolute() or ".." in Path(written).parts:
        return None
    try:
        path = folder / written
        if path.is_file():
            return path
        return next((one for one in path.parent.iterdir() if _nfc(one.name) == _nfc(path.name) and one.is_file()), None)
    except (OSError, ValueError):  # a name that is too long, a zero
        return None


def _nfc(name: str) -> str:
    """macOS decomposes the ü of a file's name, and a table has it as it was typed."""
    return unicodedata.normalize("NFC", name)


def _time(written: Mapping[str, str], column: str, default: float, faults: list[str]) -> float:
    if not written[column]:
        return default
    time_s = subtitles.seconds(written[column])
    if time_s is None:
        faults.append(f"{column} must be seconds or h:mm:ss, not '{printable(written[column], 40)}'.")
        return default
    return time_s
