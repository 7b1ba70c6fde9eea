"""One's own long recordings: a video and its subtitles become a dialogue whose cues are the utterances.

Nothing is cut: each utterance is a span of the one video, so that one decode serves them all. Speakers come from the cues
where these carry them (``<v Ann>`` in WebVTT, ``ANN: ...`` or ``[SPEAKER_00]: ...`` anywhere), else nobody is
named. Where there are no subtitles, a transcript of the recording (transcribe.py writes them) stands in for them.

Formats: SubRip as players read it; WebVTT, www.w3.org/TR/webvtt1; a table with start_s, end_s, text, speaker, label.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from bemerc.corpus import SPLITS, Split, Utterance, folder
from bemerc.corpus import labels as emotion
from bemerc.corpus.reading import Finding, Reading, renumbered, stop_at
from bemerc.corpus.text import Decoded, is_broken, read_table
from bemerc.corpus.text import read as read_text
from bemerc.errors import CorpusError, MachineError, MediaError

SUBTITLES = (".vtt", ".srt")
SUFFIXES = (*SUBTITLES, ".csv", ".tsv")
TABLE_NEEDED = ("start_s", "end_s", "text")
TABLE_OPTIONAL = ("speaker", "label")
ADVICE = f"Put a file of the same name ending in {', '.join(SUFFIXES)} beside the video, or have it transcribed (--asr MODEL, prepare.recording.asr)."
# A clip of a folder that is no longer than a Whisper hears at once is one turn, whatever is said in it; longer ones are
# recordings, whose cues are the turns. (Ours.)
TURN_S = 30.0

# Video -> the file with its transcript.
Transcripts = Mapping[Path, Path]
NONE: Transcripts = MappingProxyType({})

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_ARROW = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_CLOCK = re.compile(rf"\s*{_TIME}\s*")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_LANGUAGE = re.compile(r"(.+)\.[a-z]{2,3}(?:[-_][A-Za-z]{2,4})?")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^}]*\}")
_NAME = re.compile(r"\s*(?:[-–]\s*)?(\[)?([^\W\d_][^:：\[\]<>!?,]{0,39}?)(?(1)\])\s*(?::(?=\s)|：)\s*")


@dataclass(frozen=True)
class Params:
    """Recordings to prepare as a corpus.

    folder    every video below it, each with its cues beside it under the same name; folders called train, dev and
              test directly in it say the split, which is test elsewhere
    labels    the label set of a table's column ``label``; null where there are no labels
    speakers  take "ANN: ..." at the start of a cue for a speaker's name
    asr       a Whisper of transformers, by name or folder, that transcribes what has no cues; null = leave it out
    """

    folder: str = "data/recording"
    labels: str | tuple[str, ...] | None = None
    speakers: bool = True
    asr: str | None = None


@dataclass(frozen=True)
class Cue:
    """A span of a recording in seconds from its start, and what is said in it; ``line`` is where it stands, for messages."""

    start_s: float
    end_s: float
    text: str
    speaker: str = folder.NOBODY
    label: str | None = None
    line: int = 0


def read_all(params: Params, transcripts: Transcripts = NONE) -> Reading:
    """Every recording below ``params.folder`` that has cues or a transcript; those without are a finding and left out."""
    root = Path(params.folder)
    labels = emotion.label_set(params.labels) if params.labels is not None else ()
    videos = folder.read(root, "recording")
    utterances: list[Utterance] = []
    findings, faults = list(videos.findings), []
    for video, path, cues in _paired(videos, SUFFIXES):
        cues = cues or transcripts.get(path)
        if cues is None:
            findings.append(_wordless(path, params.asr))
            continue
        try:
            one = _dialogue(path, cues, video.id, _split(path, root), labels, params.speakers)
        except CorpusError as error:
            faults.append(str(error))
            continue
        utterances += one.utterances
        findings += one.findings
    stop_at(faults)
    return Reading("recording", tuple(utterances), labels, tuple(findings))


def read_dir(directory: Path, transcripts: Transcripts = NONE) -> Reading:
    """A folder as ``--video-dir`` takes it: videos with subtitles beside them are dialogues, all other clips are turns.

    So is a long video with a transcript; one of at most TURN_S seconds stays one turn, the transcript its words.
    Tables do not count here: a CSV beside a clip may be anything, such as somebody's features.
    """
    clips = folder.read(directory)
    utterances: list[Utterance] = []
    findings, faults = list(clips.findings), []
    for clip, path, cues in _paired(clips, SUBTITLES):
        if cues is None and path in transcripts and _long(path):
            cues = transcripts[path]
        if cues is None:
            utterances.append(replace(clip, text=_words(transcripts.get(path))))
            continue
        try:
            one = _dialogue(path, cues, clip.id, "test", (), speakers=True)
        except CorpusError as error:
            faults.append(str(error))
            continue
        utterances += one.utterances
        findings += one.findings
    stop_at(faults)
    return Reading("", renumbered(utterances), findings=tuple(findings))


def without_cues(directory: Path, suffixes: Sequence[str] = SUBTITLES) -> list[Path]:
    """The clips of a folder with no cues beside them: what there is to transcribe."""
    return [path for _, path, cues in _paired(folder.read(directory), suffixes) if cues is None]


def _wordless(path: Path, asr: str | None) -> Finding:
    if asr is None:
        reason = f"There are no subtitles for it. {ADVICE}"
        return Finding("missing", path.as_posix(), reason, "leaves out", needs_you=True)
    reason = f"There are no subtitles for it: prepare has {asr} transcribe it, and keeps it if a word is heard."
    return Finding("missing", path.as_posix(), reason, "leaves out")


def _long(path: Path) -> bool:
    from bemerc.media import probe  # only where there are transcripts: a decoder is heavy

    try:
        return probe(path).duration_s > TURN_S
    except (MediaError, MachineError):
        return False


def _words(transcript: Path | None) -> str:
    return " ".join(cue.text for cue in read_cues(transcript, speakers=False)[0]) if transcript else ""


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


def _cues_in(directory: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Stem of a video -> its cues: ``talk.vtt``, else ``talk.en.vtt`` for the first language, the formats in order.

    From one listing of the folder: there may be thousands of videos in it.
    """
    files = sorted(p for p in directory.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    files.sort(key=lambda p: suffixes.index(p.suffix.lower()))
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.stem, path)
    for path in files:
        if language := _LANGUAGE.fullmatch(path.stem):
            found.setdefault(language[1], path)
    return found


def read_cues(
    path: Path, labels: Sequence[str] = (), speakers: bool = True
) -> tuple[tuple[Cue, ...], tuple[Finding, ...]]:
    """The cues of a file by its suffix, and what is odd about it. CorpusError with every fault."""
    faults: list[str] = []
    if path.suffix.lower() in (".csv", ".tsv"):
        cues, decoded = _table_cues(path, labels, faults)
    elif path.suffix.lower() in (".srt", ".vtt"):
        decoded = read_text(path)
        cues = [piece for cue in _subtitles(path, decoded.text, faults) for piece in _voices(cue, speakers)]
    else:
        raise CorpusError(f"{path}: cues must end in {', '.join(SUFFIXES)}, not '{path.suffix}'.")
    faults += [
        f"{path}, line {cue.line}: the cue ends at {cue.end_s:g} s, which is not after its start, {cue.start_s:g} s."
        for cue in cues
        if cue.end_s <= cue.start_s
    ]
    stop_at(faults)
    if not cues:
        raise CorpusError(f"{path}: there is not one cue in it.")
    return tuple(cues), tuple(_encoding(path, decoded))


def _paired(clips: Reading, suffixes: Sequence[str]) -> Iterator[tuple[Utterance, Path, Path | None]]:
    """Each clip of a folder with its path and its cues, each folder listed once."""
    indices: dict[Path, dict[str, Path]] = {}
    for clip in clips.utterances:
        path = Path(clip.clip or "")
        if path.parent not in indices:
            indices[path.parent] = _cues_in(path.parent, suffixes)
        yield clip, path, indices[path.parent].get(path.stem)


def _dialogue(path: Path, cues: Path, id_: str, split: Split, labels: Sequence[str], speakers: bool) -> Reading:
    found, findings = read_cues(cues, labels, speakers)
    reading = from_cues(path, found, dialogue=id_, split=split, labels=labels)
    return replace(reading, findings=(*findings, *reading.findings))


def _split(path: Path, root: Path) -> Split:
    top = path.relative_to(root).parts[0]
    return next((split for split in SPLITS if split == top), "test")


def _encoding(path: Path, decoded: Decoded) -> Iterator[Finding]:
    if reason := decoded.oddness():
        yield Finding("encoding", path.as_posix(), reason)


# ---- SubRip and WebVTT


def _subtitles(path: Path, text: str, faults: list[str]) -> list[Cue]:
    """Blocks between blank lines; a block without times continues a SubRip cue whose words hold a blank line."""
    cues: list[Cue] = []
    webvtt = text.lstrip().startswith("WEBVTT")
    for number, lines in _blocks(text):
        if webvtt and re.match(r"(WEBVTT|NOTE|STYLE|REGION)\b", lines[0]):
            continue
        at = next((i for i, line in enumerate(lines) if "-->" in line), None)
        if at is not None:
            match = _ARROW.fullmatch(lines[at])
            if match is None:
                faults.append(f"{path}, line {number + at}: the times '{lines[at].strip()}' do not parse.")
                continue
            start_s, end_s = _clock(match.groups()[:4]), _clock(match.groups()[4:])
            cues.append(Cue(start_s, end_s, "\n".join(lines[at + 1 :]), line=number + at))
        elif cues and not webvtt:
            cues[-1] = replace(cues[-1], text="\n".join([cues[-1].text, *lines]))
        else:
            faults.append(f"{path}, line {number}: '{lines[0].strip()[:40]}' belongs to no cue.")
    return cues


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line from 1, lines) of each run of lines that are not blank."""
    block: list[str] = []
    for number, line in enumerate([*re.split(r"\r\n|\r|\n", text), ""], 1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _clock(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, rest = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + int((rest or "0").ljust(3, "0")) / 1000


def _voices(cue: Cue, speakers: bool) -> list[Cue]:
    """One cue per voice: WebVTT's spans, or lines that each open with a name. They share the cue's times."""
    spans = _VOICE.split(cue.text)
    if len(spans) > 1:
        pairs = [(None, spans[0]), *zip(spans[1::2], spans[2::2], strict=True)]
        return [_piece(cue, name, text) for name, text in pairs if name is not None or _plain(text)]
    if not speakers:
        return [_piece(cue, None, cue.text)]
    pieces: list[tuple[str | None, str]] = []
    for line in cue.text.split("\n"):
        name, rest = _named(_TAG.sub("", line))
        if name is not None or not pieces:
            pieces.append((name, rest))
        else:
            pieces[-1] = (pieces[-1][0], f"{pieces[-1][1]}\n{line}")
    return [_piece(cue, name, text) for name, text in pieces]


def _piece(cue: Cue, name: str | None, text: str) -> Cue:
    return replace(cue, speaker=_plain(name or "") or folder.NOBODY, text=_plain(text))


def _named(line: str) -> tuple[str | None, str]:
    """ "ANN: Hello" -> ("ANN", "Hello"); a name has at most four words, none of which starts with a small letter."""
    match = _NAME.match(line)
    if match is None:
        return None, line
    words = match[2].split()
    if len(words) > 4 or any(word[0].islower() for word in words):
        return None, line
    return match[2].strip(), line[match.end() :]


def _plain(text: str) -> str:
    """Words alone: formatting tags and character references resolved, white space folded."""
    return " ".join(html.unescape(_TAG.sub("", text)).split())


# ---- tables


def _table_cues(path: Path, labels: Sequence[str], faults: list[str]) -> tuple[list[Cue], Decoded]:
    table = read_table(path)
    known = TABLE_NEEDED + TABLE_OPTIONAL
    wrong = [f"{path}, line 1: the column '{c}' is missing." for c in TABLE_NEEDED if c not in table.columns]
    wrong += [f"{path}, line 1: the column '{c}' is unknown." for c in table.columns if c not in known]
    stop_at(
        wrong, f"A table of cues has the columns {', '.join(TABLE_NEEDED)}, and may have {', '.join(TABLE_OPTIONAL)}."
    )
    faults += table.faults
    accepted = emotion.names(labels)
    cues = [_table_cue(path, row.line, row.cells, accepted, faults) for row in table.rows]
    return [cue for cue in cues if cue is not None], table.decoded


def _table_cue(
    path: Path, line: int, cells: Mapping[str, str], accepted: Mapping[str, str], faults: list[str]
) -> Cue | None:
    start_s, end_s = _time(cells["start_s"]), _time(cells["end_s"])
    for column, value in (("start_s", start_s), ("end_s", end_s)):
        if value is None:
            faults.append(f"{path}, line {line}: {column} must be seconds or h:mm:ss, not '{cells[column]}'.")
    written = cells.get("label", "").strip()
    label = emotion.canonical(written, accepted) if written else None
    if written and not accepted:
        faults.append(
            f"{path}, line {line}: there is a label, but no label set is declared; set prepare.recording.labels."
        )
    elif written and label is None:
        faults.append(f"{path}, line {line}: {emotion.fault(written, accepted)}")
    if start_s is None or end_s is None:
        return None
    return Cue(start_s, end_s, cells["text"], cells.get("speaker", "").strip() or folder.NOBODY, label, line)


def _time(written: str) -> float | None:
    if re.fullmatch(r"\s*\d{1,9}(?:\.\d{1,9})?\s*", written, re.ASCII):
        return float(written)
    match = _CLOCK.fullmatch(written)
    return _clock(match.groups()) if match else None
