"""Read long recordings with subtitles: a video becomes a dialogue, its cues the utterances.

Each utterance is a span of the video, so one decode serves them all. Speakers come from the cues (``<v Ann>`` in
WebVTT, ``ANN: ...`` or ``[SPEAKER_00]: ...`` anywhere), else they have no name. In place of subtitles (subtitles.py)
there may be a table with start_s, end_s, text, speaker, label, or a transcript (transcribe.py).
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
# Of a folder's clips, those up to Whisper's window are turns of the folder's dialogue; longer ones are recordings,
# which are dialogues of their own. (Ours.)
TURN_S = 30.0

# Video -> its transcript.
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
        """Invalid values, a sentence each."""
        if isinstance(self.track, int) and self.track < 1:
            yield f"track: {self.track} must be auto or the number of a sound track, from 1."


def read_all(params: Params, transcripts: Transcripts = NONE) -> Reading:
    """Every recording below ``params.folder`` with cues or a transcript; the others are left out, with a finding.

    Raises CorpusError, with every fault at once, for unknown labels in tables.
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
            findings.append(_no_cues(path, params.asr))
            continue
        try:
            parsed, cue_findings = read_cues(cues, labels, params.speakers, faults)
        except CorpusError as error:
            findings.append(Finding("subtitles", cues.as_posix(), f"{error}", "leaves out", needs_you=True))
            continue
        dialogue = from_cues(path, parsed, dialogue=video.id, split=_split(path, root), labels=labels)
        utterances += dialogue.utterances
        findings += [*cue_findings, *dialogue.findings]
    stop_at(faults, findings=findings)
    return Reading("recording", tuple(utterances), labels, tuple(findings))


def read_dir(directory: Path, transcripts: Transcripts = NONE) -> Reading:
    """Read a folder of clips, or a single clip: a folder is one dialogue, with a turn per clip, or per cue where there
    are subtitles beside it. A recording longer than TURN_S with subtitles or a transcript is a dialogue of its own.

    Subtitles that cannot be read are a finding, and their clip is one turn without words. Tables are not read here, as
    a CSV beside a clip may be anything; one that lists utterances is a finding.
    """
    clips, cues_of, findings = _paired(directory, SUBTITLES)
    cues_by_id: dict[str, tuple[Cue, ...]] = {}
    words: dict[str, str] = {}
    for clip in clips:
        path = Path(clip.clip or "")
        cues = cues_of.get(path) or transcripts.get(path)
        if cues is None:
            continue
        is_transcript = path not in cues_of
        try:
            parsed, cue_findings = read_cues(cues, speakers=not is_transcript)
        except CorpusError as error:
            findings.append(Finding("subtitles", cues.as_posix(), f"{error}", "leaves out", needs_you=True))
            continue
        findings += cue_findings
        if is_transcript and not _is_long(path):
            words[clip.id] = " ".join(cue.text for cue in parsed)
        else:
            cues_by_id[clip.id] = parsed
    alone = {clip.id for clip in clips if clip.id in cues_by_id and _is_long(Path(clip.clip or ""))}
    folders = {clip.id.rpartition("/")[0] for clip in clips}
    dialogues = {clip.dialogue for clip in clips if clip.id not in alone}
    utterances: list[Utterance] = []
    for clip in clips:
        path = Path(clip.clip or "")
        if clip.id not in cues_by_id:
            utterances.append(replace(clip, text=words.get(clip.id, "")))
            continue
        # A folder may have the recording's name, with a clip 0000 in it, or be a dialogue of that name.
        clashes = clip.id in folders or (clip.id in alone and clip.id in dialogues)
        name = f"{clip.id}{path.suffix}" if clashes else clip.id
        while clashes and (name in folders or name in cues_by_id):
            name += path.suffix
        cued = from_cues(path, cues_by_id[clip.id], dialogue=name)
        findings += cued.findings
        utterances += (
            cued.utterances if clip.id in alone else [replace(u, dialogue=clip.dialogue) for u in cued.utterances]
        )
    return Reading("", _in_order(utterances), findings=tuple(findings))


def _in_order(utterances: Iterable[Utterance]) -> tuple[Utterance, ...]:
    """The utterances, numbered within each dialogue in this order."""
    position: dict[str, int] = {}
    ordered = []
    for u in utterances:
        index = position[u.dialogue] = position.get(u.dialogue, -1) + 1
        ordered.append(replace(u, index=index))
    return tuple(ordered)


def without_cues(directory: Path, suffixes: Sequence[str] = SUBTITLES) -> list[Path]:
    """The clips of a folder without subtitles, which may be transcribed."""
    clips, cues_of, _ = _paired(directory, suffixes)
    return [path for clip in clips if (path := Path(clip.clip or "")) not in cues_of]


def _no_cues(path: Path, asr: str | None) -> Finding:
    if asr is None:
        reason = f"There are no subtitles for it. {ADVICE}"
        return Finding("missing", path.as_posix(), reason, "leaves out", needs_you=True)
    reason = f"There are no subtitles for it: prepare has {asr} transcribe it, and keeps it if a word is heard."
    return Finding("missing", path.as_posix(), reason, "leaves out")


def _is_long(path: Path) -> bool:
    from bemerc.media.container import length_s  # only where there are transcripts: a decoder is heavy

    try:
        return length_s(path) > TURN_S
    except (MediaError, MachineError):
        return False


def from_cues(
    video: Path, cues: Iterable[Cue], *, dialogue: str = "", split: Split = "test", labels: Sequence[str] = ()
) -> Reading:
    """Cues, sorted by start, as the turns of a dialogue; its name is the video's unless one is given."""
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
    """The cues of a file, and findings on it.

    Raises CorpusError where the file cannot be read or has no cue. Unknown labels of a table are faults: they are
    added to the list ``faults``, or raised where there is none.
    """
    suffix = path.suffix.lower()
    if suffix in SUBTITLES:
        return subtitles.read(path, speakers)
    if suffix not in TABLES:
        raise CorpusError(f"{printable(path)}: cues must end in {', '.join(SUFFIXES)}, not '{printable(suffix)}'.")
    label_faults: list[str] = []
    cues, findings = _table_cues(path, labels, label_faults)
    if faults is None:
        stop_at(label_faults)
    else:
        faults += label_faults
    if not cues:
        lost = "".join(f" {finding.reason}" for finding in findings[:3])
        raise CorpusError(f"{printable(path)}: there is not one cue in it.{lost}")
    return tuple(cues), tuple(findings)


def _paired(
    directory: Path, suffixes: Sequence[str], name: str = ""
) -> tuple[tuple[Utterance, ...], dict[Path, Path], list[Finding]]:
    """The clips of a folder, clip -> file of cues, and findings on everything that is left out."""
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
    contents = read_table(path)
    columns = TABLE_NEEDED + TABLE_OPTIONAL
    column_faults = [f"line 1: the column '{c}' is missing." for c in TABLE_NEEDED if c not in contents.columns]
    column_faults += [f"line 1: the column '{printable(c)}' is unknown." for c in contents.columns if c not in columns]
    stop_at(
        [f"{printable(path)}, {fault}" for fault in column_faults],
        f"A table of cues has the columns {', '.join(TABLE_NEEDED)}, and may have {', '.join(TABLE_OPTIONAL)}.",
    )
    findings = [_left_out(path, line, why) for line, why in contents.misshapen.items()]
    if reason := contents.decoded.describe_odd_lines():
        findings.append(Finding("encoding", path.as_posix(), reason))
    accepted = emotion.names(labels)
    cues = [_table_cue(path, row.line, row.cells, accepted, faults, findings) for row in contents.rows]
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
