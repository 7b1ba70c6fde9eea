"""One's own long recordings: a video and its subtitles become a dialogue whose cues are the utterances.

Nothing is cut: each utterance is a span of the one video, so that one decode serves them all. Speakers come from the cues
where these carry them (``<v Ann>`` in WebVTT, ``ANN: ...`` or ``[SPEAKER_00]: ...`` anywhere), else nobody is
named. Where there are no subtitles, a transcript of the recording (transcribe.py writes them) stands in for them.

Formats: subtitles.py; or a table with start_s, end_s, text, speaker, label.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bemerc.core.errors import CorpusError, MachineError, MediaError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.delimited import read_table
from bemerc.corpus.manifest import NOBODY, SPLITS, Split, Utterance
from bemerc.corpus.readers import folder, subtitle_files, subtitles, table
from bemerc.corpus.readers.subtitles import Cue
from bemerc.corpus.reading import Finding, Reading, person, stop_at
from bemerc.corpus.text import is_broken

__all__ = ["Cue", "Params", "from_cues", "read_all", "read_cues", "read_dir", "without_cues"]

SUBTITLES = subtitles.SUFFIXES
TABLES = (".csv", ".tsv")
SUFFIXES = (*SUBTITLES, *TABLES)
TABLE_NEEDED = ("start_s", "end_s", "text")
TABLE_OPTIONAL = ("speaker", "label")
ADVICE = f"Put a file of the same name ending in {', '.join(SUFFIXES)} beside the video, or have it transcribed (--asr MODEL, prepare.recording.asr)."
# A clip of a folder that is no longer than a Whisper hears at once belongs to the dialogue of its folder; longer ones are
# recordings, which are dialogues of their own. (Ours.)
TURN_S = 30.0

# Video -> the file with its transcript.
Transcripts = Mapping[Path, Path]
NONE: Transcripts = MappingProxyType({})


@dataclass(frozen=True)
class Params:
    """Recordings to prepare as a corpus.

    folder    every video below it, each with its cues beside it under the same name; folders called train, dev and
              test directly in it say the split, which is test elsewhere
    labels    the label set of a table's column ``label``; null where there are no labels
    speakers  take "ANN: ..." at the start of a cue for a speaker's name
    asr       a Whisper of transformers, by name or folder, that transcribes what has no cues; null = leave it out
    track     which sound track it transcribes: auto, the one with a voice, or a number, from 1
    """

    folder: str = "data/recording"
    labels: str | tuple[str, ...] | None = None
    speakers: bool = True
    asr: str | None = None
    track: Literal["auto"] | int = "auto"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if isinstance(self.track, int) and self.track < 1:
            yield f"track: {self.track} must be auto or the number of a sound track, from 1."


def read_all(params: Params, transcripts: Transcripts = NONE) -> Reading:
    """Every recording below ``params.folder`` that has cues or a transcript; those without are a finding and left out.

    Raises CorpusError, with every fault at once, where a table holds a label that nobody knows.
    """
    root = Path(params.folder)
    labels = emotion.label_set(params.labels) if params.labels is not None else ()
    videos, cues_of, findings = _paired(root, SUFFIXES, "recording")
    utterances: list[Utterance] = []
    faults: list[str] = []
    for video in videos:
        path = Path(video.clip or "")
        cues = cues_of.get(path) or transcripts.get(path)
        if cues is None:
            findings.append(_wordless(path, params.asr))
            continue
        try:
            found, odd = read_cues(cues, labels, params.speakers, faults)
        except CorpusError as error:
            findings.append(Finding("subtitles", cues.as_posix(), f"{error}", "leaves out", needs_you=True))
            continue
        one = from_cues(path, found, dialogue=video.id, split=_split(path, root), labels=labels)
        utterances += one.utterances
        findings += [*odd, *one.findings]
    stop_at(faults, findings=findings)
    return Reading("recording", tuple(utterances), labels, tuple(findings))


def read_dir(directory: Path, transcripts: Transcripts = NONE) -> Reading:
    """A folder of clips, or a single clip, as ``bemerc extract`` takes it: the clips of a folder are one dialogue, a turn each, or a turn per cue where
    subtitles lie beside them; a recording longer than TURN_S with subtitles or a transcript is a dialogue of its own.

    Subtitles that cannot be read are a finding, and their clip is one turn without words. Tables are not read here: a CSV
    beside a clip may be anything, such as somebody's features; one that lists utterances is named, with what reads it.
    """
    clips, cues_of, findings = _paired(directory, SUBTITLES)
    said: dict[str, tuple[Cue, ...]] = {}
    words: dict[str, str] = {}
    for clip in clips:
        path = Path(clip.clip or "")
        cues = cues_of.get(path) or transcripts.get(path)
        if cues is None:
            continue
        heard = path not in cues_of
        try:
            found, odd = read_cues(cues, speakers=not heard)
        except CorpusError as error:
            findings.append(Finding("subtitles", cues.as_posix(), f"{error}", "leaves out", needs_you=True))
            continue
        findings += odd
        if heard and not _long(path):
            words[clip.id] = " ".join(cue.text for cue in found)
        else:
            said[clip.id] = found
    alone = {clip.id for clip in clips if clip.id in said and _long(Path(clip.clip or ""))}
    folders = {clip.id.rpartition("/")[0] for clip in clips}
    dialogues = {clip.dialogue for clip in clips if clip.id not in alone}
    utterances: list[Utterance] = []
    for clip in clips:
        path = Path(clip.clip or "")
        if clip.id not in said:
            utterances.append(replace(clip, text=words.get(clip.id, "")))
            continue
        # A folder may be called as the recording is, with a clip in it called 0000, or be a dialogue of that name.
        clashes = clip.id in folders or (clip.id in alone and clip.id in dialogues)
        name = f"{clip.id}{path.suffix}" if clashes else clip.id
        while clashes and (name in folders or name in said):
            name += path.suffix
        one = from_cues(path, said[clip.id], dialogue=name)
        findings += one.findings
        utterances += (
            one.utterances if clip.id in alone else [replace(u, dialogue=clip.dialogue) for u in one.utterances]
        )
    return Reading("", _in_order(utterances), findings=tuple(findings))


def _in_order(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """The same turns, numbered within each dialogue in the order in which they stand here."""
    position: dict[str, int] = {}
    ordered = []
    for u in utterances:
        index = position[u.dialogue] = position.get(u.dialogue, -1) + 1
        ordered.append(replace(u, index=index))
    return tuple(ordered)


def without_cues(directory: Path, suffixes: Sequence[str] = SUBTITLES) -> list[Path]:
    """The clips of a folder with no cues beside them: what there is to transcribe."""
    clips, cues_of, _ = _paired(directory, suffixes)
    return [path for clip in clips if (path := Path(clip.clip or "")) not in cues_of]


def _wordless(path: Path, asr: str | None) -> Finding:
    if asr is None:
        reason = f"There are no subtitles for it. {ADVICE}"
        return Finding("missing", path.as_posix(), reason, "leaves out", needs_you=True)
    reason = f"There are no subtitles for it: prepare has {asr} transcribe it, and keeps it if a word is heard."
    return Finding("missing", path.as_posix(), reason, "leaves out")


def _long(path: Path) -> bool:
    from bemerc.media.container import length_s  # only where there are transcripts: a decoder is heavy

    try:
        return length_s(path) > TURN_S
    except (MediaError, MachineError):
        return False


def from_cues(
    video: Path, cues: Iterable[Cue], *, dialogue: str = "", split: Split = "test", labels: Sequence[str] = ()
) -> Reading:
    """Cues in the order of their starts as the turns of one dialogue, called as the video is if no name is given."""
    dialogue = dialogue or unicodedata.normalize("NFC", video.stem)
    ordered = sorted(cues, key=lambda cue: (cue.start_s, cue.end_s))
    utterances = tuple(
        Utterance(
            id=f"{dialogue}/{index:04d}",
            dialogue=dialogue,
            index=index,
            speaker=cue.speaker,
            text=cue.text,
            label=cue.label,
            split=split,
            clip=str(video),
            start_s=cue.start_s,
            end_s=cue.end_s,
        )
        for index, cue in enumerate(ordered)
    )
    findings = [Finding("empty", u.id, "The utterance has no words.") for u in utterances if not u.text]
    findings += [
        Finding("mojibake", u.id, "The words hold characters of a wrong encoding.", needs_you=True)
        for u in utterances
        if is_broken(u.text)
    ]
    return Reading("", utterances, tuple(labels), tuple(findings))


def read_cues(
    path: Path, labels: Sequence[str] = (), speakers: bool = True, faults: list[str] | None = None
) -> tuple[tuple[Cue, ...], tuple[Finding, ...]]:
    """The cues of a file by its suffix, and what was left out of it or is odd about it.

    Raises CorpusError where the file cannot be read or holds not one cue. Labels of a table that ``labels`` does not hold
    are faults: they go to the list ``faults``, or are raised where there is none.
    """
    suffix = path.suffix.lower()
    if suffix in SUBTITLES:
        return subtitles.read(path, speakers)
    if suffix not in TABLES:
        raise CorpusError(f"{printable(path)}: cues must end in {', '.join(SUFFIXES)}, not '{printable(suffix)}'.")
    wrong: list[str] = []
    cues, findings = _table_cues(path, labels, wrong)
    if faults is None:
        stop_at(wrong)
    else:
        faults += wrong
    if not cues:
        lost = "".join(f" {finding.reason}" for finding in findings[:3])
        raise CorpusError(f"{printable(path)}: there is not one cue in it.{lost}")
    return tuple(cues), tuple(findings)


def _paired(
    directory: Path, suffixes: Sequence[str], name: str = ""
) -> tuple[tuple[Utterance, ...], dict[Path, Path], list[Finding]]:
    """The clips of a folder, which file holds the cues of each, and everything that is left out."""
    listing = folder.listed(directory)
    cues_of, findings = subtitle_files.pair(listing.clips, listing.others, suffixes)
    tables = [path for path in listing.others if path.suffix.lower() in TABLES and TABLES[0] not in suffixes]
    tables = [path for path in tables if table.lists_utterances(path)]
    rest = [p for p in listing.others if p.suffix.lower() not in (*suffixes, *subtitles.UNREAD) and p not in tables]
    findings += [
        Finding(
            "table",
            path.as_posix(),
            "This table of utterances is not read with a folder of clips. Set prepare.corpora: [table] and "
            f"prepare.table.file: {path.as_posix()} in params.yaml and run 'bemerc corpus check table', then 'bemerc prepare'.",
            "leaves out",
        )
        for path in tables
    ]
    unread = folder.unread(directory, rest) if directory.is_dir() else []
    clips = folder.reading(listing, name).utterances
    return clips, cues_of, [*listing.findings, *findings, *unread]


def _split(path: Path, root: Path) -> Split:
    top = path.relative_to(root).parts[0]
    return next((split for split in SPLITS if split == top), "test")


# ---- tables


def _table_cues(path: Path, labels: Sequence[str], faults: list[str]) -> tuple[list[Cue], list[Finding]]:
    found = read_table(path)
    known = TABLE_NEEDED + TABLE_OPTIONAL
    wrong = [f"line 1: the column '{c}' is missing." for c in TABLE_NEEDED if c not in found.columns]
    wrong += [f"line 1: the column '{printable(c)}' is unknown." for c in found.columns if c not in known]
    stop_at(
        [f"{printable(path)}, {fault}" for fault in wrong],
        f"A table of cues has the columns {', '.join(TABLE_NEEDED)}, and may have {', '.join(TABLE_OPTIONAL)}.",
    )
    findings = [_left_out(path, line, why) for line, why in found.misshapen.items()]
    if reason := found.decoded.describe_odd_lines():
        findings.append(Finding("encoding", path.as_posix(), reason))
    accepted = emotion.names(labels)
    cues = [_table_cue(path, row.line, row.cells, accepted, faults, findings) for row in found.rows]
    return [cue for cue in cues if cue is not None], findings


def _table_cue(
    path: Path,
    line: int,
    cells: Mapping[str, str],
    accepted: Mapping[str, str],
    faults: list[str],
    findings: list[Finding],
) -> Cue | None:
    written = cells.get("label", "").strip()
    label = emotion.canonical(written, accepted) if written else None
    if written and not accepted:
        faults.append(
            f"{printable(path)}, line {line}: there is a label, but no label set is declared; set prepare.recording.labels."
        )
    elif written and label is None:
        faults.append(f"{printable(path)}, line {line}: {emotion.fault(written, accepted)}")
    start_s, end_s = subtitles.seconds(cells["start_s"]), subtitles.seconds(cells["end_s"])
    if start_s is None or end_s is None:
        column = "start_s" if start_s is None else "end_s"
        reason = f"{column} must be seconds or h:mm:ss, not '{printable(cells[column], 40)}'."
    elif end_s <= start_s:
        reason = f"The cue ends at {end_s:g} s, which is not after its start, {start_s:g} s."
    else:
        return Cue(start_s, end_s, cells["text"], person(cells.get("speaker", "")) or NOBODY, label, line)
    findings.append(_left_out(path, line, reason))
    return None


def _left_out(path: Path, line: int, reason: str) -> Finding:
    return Finding("row", f"{path.as_posix()}, line {line}", reason, "leaves out", needs_you=True)
