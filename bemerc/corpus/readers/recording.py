"""Read long recordings with subtitles: a video becomes a dialogue, its cues the utterances.

Each utterance is a span of the video, so one decode serves them all. Speakers come from the cues (``<v Ann>`` in
WebVTT, ``ANN: ...`` or ``[SPEAKER_00]: ...`` anywhere), else they have no name. In place of subtitles (subtitles.py)
there may be a table with start_s, end_s, text, speaker, label, or a transcript (transcribe.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from bemerc.core.errors import CorpusError, MachineError, MediaError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.manifest import SPLITS, Split, Utterance
from bemerc.corpus.readers import cue_table, folder, participants, subtitle_files, subtitles, table
from bemerc.corpus.readers.participants import Participants, ReadHeader
from bemerc.corpus.readers.subtitles import Cue
from bemerc.corpus.reading import Finding, Reading, stop_at
from bemerc.corpus.text import is_broken

if TYPE_CHECKING:
    from bemerc.media.video import Probe

__all__ = ["Cue", "Params", "from_cues", "read_all", "read_cues", "read_dir", "without_cues"]

SUBTITLES = subtitles.SUFFIXES
TABLES = (".csv", ".tsv")
_WORKBOOKS = (".xlsx", ".xls", ".ods", ".numbers", ".tsv")
SUFFIXES = (*SUBTITLES, *TABLES)
ADVICE = f"Put a file of the same name ending in {', '.join(SUFFIXES)} beside the video, or have it transcribed (--asr MODEL, prepare.recording.asr)."
# Of a dialogue's folder, the clips up to Whisper's window are turns; longer ones are recordings, which are dialogues of
# their own. (Ours.)
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
    videos, cues_of, people, findings = _paired(root, SUFFIXES, "recording")
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
    placed, doubts = people.placed(utterances)
    return Reading("recording", placed, labels, (*findings, *doubts))


def is_long(path: Path) -> bool:
    """Whether a clip is a recording by itself and no turn; False where it cannot be read."""
    from bemerc.media.container import length_s  # only where there are transcripts: a decoder is heavy

    try:
        return length_s(path) > TURN_S
    except (MediaError, MachineError):
        return False


def read_header(path: Path) -> Probe:
    """The header of a clip, see ``bemerc.media.video.probe``."""
    from bemerc.media.video import probe  # only where there is a table of participants

    return probe(path)


def read_dir(
    directory: Path,
    transcripts: Transcripts = NONE,
    is_long: Callable[[Path], bool] = is_long,
    header: ReadHeader = read_header,
) -> Reading:
    """Read a folder of clips, or a single clip: a folder in it is one dialogue, with a turn per clip, or per cue where
    there are subtitles beside it. Clips directly in it, and recordings longer than TURN_S with subtitles or a transcript,
    are dialogues of their own.

    ``is_long`` says which clips are recordings, ``header`` which tracks and size they have. Subtitles that cannot be read are a finding, and their clip is one turn without words. Tables are not read here, as
    a CSV beside a clip may be anything; one that lists utterances is a finding.
    """
    clips, cues_of, people, findings = _paired(directory, SUBTITLES, header=header)
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
        if is_transcript and not is_long(path):
            words[clip.id] = " ".join(cue.text for cue in parsed)
        else:
            cues_by_id[clip.id] = parsed
    alone = {clip.id for clip in clips if clip.id in cues_by_id and is_long(Path(clip.clip or ""))}
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
    placed, doubts = people.placed(_in_order(utterances))
    return Reading("", placed, findings=(*findings, *doubts))


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
    clips, cues_of, _, _ = _paired(directory, suffixes)
    return [path for clip in clips if (path := Path(clip.clip or "")) not in cues_of]


def _no_cues(path: Path, asr: str | None) -> Finding:
    if asr is None:
        reason = f"There are no subtitles for it. {ADVICE}"
        return Finding("missing", path.as_posix(), reason, "leaves out", needs_you=True)
    reason = f"There are no subtitles for it: prepare has {asr} transcribe it, and keeps it if a word is heard."
    return Finding("missing", path.as_posix(), reason, "leaves out")


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
        raise CorpusError(f"cues must end in {', '.join(SUFFIXES)}, not '{printable(suffix)}'.", path=path)
    label_faults: list[str] = []
    cues, findings = cue_table.read(path, labels, label_faults)
    if faults is None:
        stop_at(label_faults)
    else:
        faults += label_faults
    if not cues:
        lost = "".join(f" {finding.reason}" for finding in findings[:3])
        raise CorpusError(f"there is not one cue in it.{lost}", path=path)
    return tuple(cues), tuple(findings)


def _paired(
    directory: Path, suffixes: Sequence[str], name: str = "", header: ReadHeader = read_header
) -> tuple[tuple[Utterance, ...], dict[Path, Path], Participants, list[Finding]]:
    """The clips of a folder, clip -> file of cues, who is where in them, and findings on everything that is left
    out."""
    listing, people = _with_participants(folder.listed(directory), directory, header)
    cues_of, findings = subtitle_files.pair(listing.clips, listing.others, suffixes)
    tables = [path for path in listing.others if path.suffix.lower() in TABLES and TABLES[0] not in suffixes]
    tables = [path for path in tables if table.lists_utterances(path)]
    rest = [p for p in listing.others if p.suffix.lower() not in (*suffixes, *subtitles.UNREAD) and p not in tables]
    workbooks = [path for path in rest if path.stem.lower() == "participants" and path.suffix.lower() in _WORKBOOKS]
    rest = [path for path in rest if path not in workbooks]
    findings += [
        Finding(
            "table",
            path.as_posix(),
            f"Who is where is not read from a workbook. Save it from the spreadsheet as {participants.NAME} (CSV UTF-8).",
            "leaves out",
            needs_you=True,
        )
        for path in workbooks
    ]
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
    return clips, cues_of, people, [*listing.findings, *findings, *unread]


def _with_participants(
    listing: folder.Listing, directory: Path, header: ReadHeader
) -> tuple[folder.Listing, Participants]:
    """The tables of participants in a folder, or beside a single clip; and the listing without them and without the files
    of one person's sound."""
    tables = [path for path in listing.others if path.name.lower() == participants.NAME]
    beside = [path for path in directory.parent.iterdir() if path.name.lower() == participants.NAME and path.is_file()]
    if directory.is_file() and beside:
        tables, listing = beside, replace(listing, clips=tuple(folder.listed(directory.parent).clips))
    people = participants.read(tables, listing.clips, header)
    clips = tuple(clip for clip in listing.clips if clip not in people.sounds)
    if directory.is_file():
        clips = (directory,)
    others = tuple(path for path in listing.others if path not in tables)
    return replace(listing, clips=clips, others=others), people


def _split(path: Path, root: Path) -> Split:
    top = path.relative_to(root).parts[0]
    return next((split for split in SPLITS if split == top), "test")
