"""MELD: conversations from a television series, three CSV files and one clip per utterance; and whatever has its shape.

The obvious reader takes the row number for the position, the number for the label and ``dia3_utt1`` for a key; in this
corpus ids have gaps, restart in each split and are used twice by the dyadic variant, so keys here hold the split,
positions are counted, and labels are names. The embedded sample is written in the same shape and read by this module.

Facts: the CSV files themselves; github.com/declare-lab/MELD, its issues 9, 20, 22, 27 and 39 for the known bad clips.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.delimited import Row, Table, read_table
from bemerc.corpus.manifest import LABEL_SETS, SPLITS, Split, Utterance
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, person, stop_at
from bemerc.corpus.text import is_broken, repair, straighten

LABELS = LABEL_SETS["meld"]
NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
DYADIC = ("Old_Dialogue_ID", "Old_Utterance_ID")

# Where people keep the CSV files and the clips, the most telling name first; all are relative to the corpus's folder.
TABLE_FOLDERS = (".", "{split}", "data/MELD", "data/MELD_Dyadic", "MELD", "MELD.Raw", "MELD.Raw/{split}")
CLIP_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev_splits", "dev", "val", "valid"),
    "test": (
        "output_repeated_splits_test",
        "test/output_repeated_splits_test",
        "test_splits",
        "test_splits_complete",
        "test",
    ),
}
CLIP_ROOTS = (".", "MELD.Raw", "clips", "videos")

# What the published corpus is known to hold, by split and number of the clip.
KNOWN: dict[tuple[Split, int, int], str] = {
    ("train", 125, 3): "The published clip is corrupt",
    ("dev", 110, 7): "The published archive lacks this clip",
    ("test", 38, 4): "The published times span 305 s: cut minutes too long",
    ("test", 220, 0): "The published times span 235 s: cut minutes too long",
    ("train", 309, 0): "The published times span 41 s: cut too long, and a stage direction stands in the words",
    ("test", 155, 3): "The published times span 0.000 s",
    ("train", 338, 3): "The published times span 0.006 s",
}

_CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)", re.IGNORECASE)
_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,3}))?")
_QUOTES = re.compile("[‘’“”]")


@dataclass(frozen=True)
class Params:
    """How to read a corpus in MELD's shape.

    folder     where the CSV files lie, or a folder above them
    variant    full: {split}_sent_emo.csv; dyadic: {split}_sent_emo_dya.csv, the clips by their old numbers
    text       repair: mojibake undone and curly quotes straightened; keep: as the file has it, only reported
    longest_s  an utterance whose times span more is mis-cut: it keeps its words and goes without video
    twins      final: where final_videos_testdiaX_uttY lies beside diaX_uttY, take it; plain: as the authors advise, ignore it
    clips      split -> folder of its clips, for folder names that are not known here
    """

    folder: str = "data/meld"
    variant: Literal["full", "dyadic"] = "full"
    text: Literal["repair", "keep"] = "repair"
    longest_s: float = 40.0
    twins: Literal["plain", "final"] = "plain"
    clips: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> list[str]:
        """Values that types cannot refuse."""
        faults = [
            f"clips: '{split}' is not a split; these are train, dev, test."
            for split in self.clips
            if split not in SPLITS
        ]
        if self.longest_s <= 0:
            faults.append(f"longest_s: must be above 0, not {self.longest_s}.")
        return faults


@dataclass(frozen=True)
class _Turn:
    """One row, its numbers read. ``clip`` is the number of the clip: in the dyadic variant the old one."""

    split: Split
    dialogue: int
    number: int
    clip: tuple[int, int]
    label: str
    start_s: float | None
    end_s: float | None
    row: Row

    @property
    def key(self) -> tuple[Split, int, int]:
        return self.split, self.dialogue, self.number

    @property
    def span_s(self) -> float | None:
        if self.start_s is None or self.end_s is None:
            return None
        return round(self.end_s - self.start_s, 6)


@dataclass(frozen=True)
class _Clips:
    """The clips of one split: the folder, number -> plain file, number -> ``final_videos_test`` twin, and the odd files."""

    folder: Path | None
    plain: Mapping[tuple[int, int], Path]
    final: Mapping[tuple[int, int], Path]
    odd: tuple[Path, ...]


def read(params: Params, name: str = "meld") -> Reading:
    """All three splits. Ids are ``name/split/diaX_uttY``; the dyadic variant's open with ``name-dyadic``.

    Rows of another width and numbers that are none are left out and named. Raises CorpusError, listing every fault with
    file, line and id: missing files or columns, unknown emotions, and rows that share a key but differ.
    """
    root = Path(params.folder)
    if not root.is_dir():
        raise CorpusError(f"{root}: there is no such folder. Set prepare.{name}.folder to where the corpus lies.")
    prefix = name if params.variant == "full" else f"{name}-dyadic"
    tables = {split: _open(root, split, params, name) for split in SPLITS}
    faults: list[str] = []
    findings: list[Finding] = []
    turns = [turn for split in SPLITS for turn in _turns(tables[split], split, params, prefix, faults, findings)]
    stop_at(faults, findings=findings)
    clips = {split: _clips(root, split, params) for split in SPLITS}
    chosen, known = _choose(turns, clips, params), _known(turns, prefix, name)
    utterances = _utterances(turns, chosen, params, prefix)
    findings += _encoding(tables, prefix)
    findings += _words(turns, params, prefix)
    findings += _gaps(turns, prefix)
    findings += _order(turns, prefix)
    findings += _repeated(turns, prefix) if params.variant == "full" else []
    findings += _clip_findings(turns, clips, chosen, params, prefix, known)
    findings += [
        Finding("known", u.id, f"{known[u.id]}.", "keeps" if u.clip else "keeps without video")
        for u in utterances
        if u.id in known
    ]
    spans = {_id(prefix, turn): turn.span_s for turn in turns}
    twins = {_id(prefix, t): str(twin) for t in turns if (twin := _other(t, clips, chosen)) is not None}
    return Reading(
        name, utterances, LABELS, tuple(findings), {i: s for i, s in spans.items() if s is not None}, known, twins
    )


# ---- the tables


def _open(root: Path, split: Split, params: Params, name: str) -> Table:
    file = f"{split}_sent_emo{'_dya' if params.variant == 'dyadic' else ''}.csv"
    places = [root / folder.format(split=split) / file for folder in TABLE_FOLDERS]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = ", ".join(folder.format(split=split) for folder in TABLE_FOLDERS)
        raise CorpusError(
            f"{root}: there is no {file} in it; looked in {looked}. Set prepare.{name}.folder to where it lies."
        )
    table = read_table(found)
    needed = NEEDED + (DYADIC if params.variant == "dyadic" else ())
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise CorpusError(
            f"{found}, line 1: the columns {', '.join(missing)} are missing; it has {', '.join(table.columns)}."
        )
    return table


def _turns(
    table: Table, split: Split, params: Params, prefix: str, faults: list[str], findings: list[Finding]
) -> list[_Turn]:
    findings += [_left_out(table, line, why) for line, why in table.misshapen.items()]
    seen: dict[tuple[Split, int, int], _Turn] = {}
    for row in table.rows:
        turn = _turn(table, row, split, params, faults, findings)
        if turn is None:
            continue
        first = seen.setdefault(turn.key, turn)
        if first is turn:
            continue
        if first.row.cells == row.cells:
            findings.append(
                Finding("duplicate", _id(prefix, turn), f"Line {row.line} repeats line {first.row.line}.", "leaves out")
            )
        else:
            faults.append(
                f"{table.path}, line {row.line}: dia{turn.dialogue}_utt{turn.number} stands on line {first.row.line} already, "
                "with other cells; keep one of the two."
            )
    return sorted(seen.values(), key=lambda turn: turn.key)


_EMOTIONS = emotion.names(LABELS)


def _turn(
    table: Table, row: Row, split: Split, params: Params, faults: list[str], findings: list[Finding]
) -> _Turn | None:
    cells, where = row.cells, f"{printable(table.path)}, line {row.line}"
    numbers = {}
    for column in ("Dialogue_ID", "Utterance_ID", *(DYADIC if params.variant == "dyadic" else ())):
        if re.fullmatch(r"\s*\d{1,6}(?:\.0)?\s*", cells[column], re.ASCII):
            numbers[column] = int(float(cells[column]))
        else:
            reason = f"{column} must be a whole number below a million, not '{printable(cells[column], 40)}'."
            findings.append(_left_out(table, row.line, reason))
    label = emotion.canonical(cells["Emotion"], _EMOTIONS)
    if label is None:
        id_ = printable(f"dia{cells['Dialogue_ID']}_utt{cells['Utterance_ID']}", 60)
        faults.append(f"{where}, {id_}: {emotion.fault(cells['Emotion'], _EMOTIONS)}")
    if label is None or len(numbers) not in (2, 4):
        return None
    own = numbers["Dialogue_ID"], numbers["Utterance_ID"]
    clip = own if params.variant == "full" else (numbers["Old_Dialogue_ID"], numbers["Old_Utterance_ID"])
    return _Turn(split, *own, clip, label, _seconds(cells.get("StartTime")), _seconds(cells.get("EndTime")), row)


def _left_out(table: Table, line: int, reason: str) -> Finding:
    return Finding("row", f"{table.path}, line {line}", reason, "leaves out", needs_you=True)


def _seconds(written: str | None) -> float | None:
    match = _TIME.fullmatch((written or "").strip())
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int((rest or "0").ljust(3, "0")) / 1000


# ---- the clips


def _clips(root: Path, split: Split, params: Params) -> _Clips:
    given = params.clips.get(split)
    if given is not None:
        places = [root / given, Path(given)]
    else:
        places = [root / base / folder for base in CLIP_ROOTS for folder in CLIP_FOLDERS[split]]
    for place in places:
        found = _listed(place) if place.is_dir() else None
        if found is not None and (found.plain or found.final):
            return found
    return _Clips(None, {}, {}, ())


def _listed(folder: Path) -> _Clips:
    """One pass over a folder. Of several files with the same number the best suffix wins, the others are odd."""
    plain: dict[tuple[int, int], Path] = {}
    final: dict[tuple[int, int], Path] = {}
    odd: list[Path] = []
    with os.scandir(folder) as entries:
        files = sorted((Path(e.path) for e in entries if e.is_file()), key=lambda p: (_rank(p), p.name))
    for path in files:
        if _rank(path) == len(VIDEO) + len(SOUND):
            continue
        match = _CLIP.fullmatch(path.stem)
        if match is None:
            odd.append(path)
            continue
        index = final if match[1] else plain
        if index.setdefault((int(match[2]), int(match[3])), path) is not path:
            odd.append(path)
    return _Clips(folder, plain, final, tuple(sorted(odd)))


def _rank(path: Path) -> int:
    order = (*VIDEO, *SOUND)
    suffix = path.suffix.lower()
    return order.index(suffix) if suffix in order else len(order)


def _choose(
    turns: Iterable[_Turn], clips: Mapping[Split, _Clips], params: Params
) -> dict[tuple[Split, int, int], Path]:
    """Key -> the clip in use. A twin is taken where it is wanted, and never silently where the plain file is missing."""
    chosen = {}
    for turn in turns:
        found = clips[turn.split]
        path = found.plain.get(turn.clip)
        if params.twins == "final":
            path = found.final.get(turn.clip, path)
        if path is not None:
            chosen[turn.key] = path
    return chosen


def _other(turn: _Turn, clips: Mapping[Split, _Clips], chosen: Mapping[tuple[Split, int, int], Path]) -> Path | None:
    found, mine = clips[turn.split], chosen.get(turn.key)
    pair = (found.plain.get(turn.clip), found.final.get(turn.clip))
    return next((path for path in pair if path is not None and path != mine), None)


# ---- utterances


def _utterances(
    turns: Sequence[_Turn], chosen: Mapping[tuple[Split, int, int], Path], params: Params, prefix: str
) -> tuple[Utterance, ...]:
    position: dict[tuple[Split, int], int] = {}
    utterances = []
    for turn in turns:
        index = position[turn.split, turn.dialogue] = position.get((turn.split, turn.dialogue), -1) + 1
        clip = None if _is_long(turn, params) else chosen.get(turn.key)
        utterances.append(
            Utterance(
                id=_id(prefix, turn),
                dialogue=_dialogue(prefix, turn),
                index=index,
                speaker=person(_text(turn.row.cells["Speaker"], params)),
                text=_text(turn.row.cells["Utterance"], params),
                label=turn.label,
                split=turn.split,
                clip=None if clip is None else str(clip),
            )
        )
    return tuple(utterances)


def _id(prefix: str, turn: _Turn) -> str:
    return f"{_dialogue(prefix, turn)}_utt{turn.number}"


def _dialogue(prefix: str, turn: _Turn) -> str:
    return f"{prefix}/{turn.split}/dia{turn.dialogue}"


def _text(written: str, params: Params) -> str:
    return straighten(repair(written)) if params.text == "repair" else written


def _is_long(turn: _Turn, params: Params) -> bool:
    return turn.span_s is not None and turn.span_s > params.longest_s


# ---- findings


def _known(turns: Iterable[_Turn], prefix: str, name: str) -> dict[str, str]:
    """Only of MELD itself: a corpus in its shape has the same numbers and other clips."""
    if name != "meld":
        return {}
    return {_id(prefix, t): KNOWN[t.split, *t.clip] for t in turns if (t.split, *t.clip) in KNOWN}


def _encoding(tables: Mapping[Split, Table], prefix: str) -> list[Finding]:
    findings = []
    for split, table in tables.items():
        if reason := table.decoded.describe_odd_lines():
            findings.append(Finding("encoding", f"{prefix}/{split}", f"{table.path}: {reason}", "keeps, repaired"))
    return findings


def _words(turns: Sequence[_Turn], params: Params, prefix: str) -> list[Finding]:
    """Mojibake and blank words by utterance; curly quotes, which are no fault, counted by split."""
    findings = []
    mends = params.text == "repair"
    for turn in turns:
        written = turn.row.cells["Utterance"]
        if is_broken(written):
            still = is_broken(_text(written, params))
            reason = "The words hold characters of a wrong encoding" + ("." if still else ", which are undone.")
            findings.append(
                Finding("mojibake", _id(prefix, turn), reason, "keeps" if still else "keeps, repaired", still and mends)
            )
        if not written.strip():
            findings.append(Finding("empty", _id(prefix, turn), "The utterance has no words."))
    for split in SPLITS:
        curly = sum(bool(_QUOTES.search(repair(t.row.cells["Utterance"]))) for t in turns if t.split == split)
        if curly:
            reason = f"{curly} utterances hold curly quotes" + (", which are straightened." if mends else ".")
            findings.append(Finding("quotes", f"{prefix}/{split}", reason, "keeps, repaired" if mends else "keeps"))
    return findings


def _gaps(turns: Sequence[_Turn], prefix: str) -> list[Finding]:
    """Numbers without a row: of dialogues within a split, and of utterances within a dialogue."""
    numbers: dict[tuple[Split, int], list[int]] = {}
    for turn in turns:
        numbers.setdefault((turn.split, turn.dialogue), []).append(turn.number)
    findings = []
    for split in SPLITS:
        absent = _absent([dialogue for s, dialogue in numbers if s == split])
        if absent:
            findings.append(Finding("gap", f"{prefix}/{split}", f"No row has the dialogue {absent}.", "leaves out"))
    for (split, dialogue), found in numbers.items():
        absent = _absent(found)
        if absent:
            reason = f"No row has the utterance {absent}; positions are counted anew."
            findings.append(Finding("gap", f"{prefix}/{split}/dia{dialogue}", reason))
    return findings


def _absent(found: Sequence[int]) -> str:
    """ "5, 6 of 0 to 9": the numbers below the largest that are not there, the first ten of them; "" where none is."""
    there, largest = set(found), max(found, default=-1)
    absent = largest + 1 - len(there)
    if not absent:
        return ""
    first = ", ".join(map(str, islice((n for n in range(largest) if n not in there), 10)))
    return f"{first}{f' and {absent - 10} more' if absent > 10 else ''} of 0 to {largest}"


def _order(turns: Sequence[_Turn], prefix: str) -> list[Finding]:
    findings = []
    for before, turn in pairwise(turns):
        if (before.split, before.dialogue) != (turn.split, turn.dialogue):
            continue
        if before.start_s is not None and turn.start_s is not None and turn.start_s < before.start_s:
            reason = f"It starts {before.start_s - turn.start_s:.3f} s before utterance {before.number}, which the ids put first."
            findings.append(Finding("order", _id(prefix, turn), reason))
    for turn in turns:
        if turn.span_s is None and "StartTime" in turn.row.cells:
            findings.append(Finding("times", _id(prefix, turn), f"Line {turn.row.line}: its times cannot be read."))
        elif turn.span_s is not None and turn.span_s < 0:
            findings.append(Finding("times", _id(prefix, turn), f"It ends {-turn.span_s:.3f} s before it starts."))
    return findings


def _repeated(turns: Sequence[_Turn], prefix: str) -> list[Finding]:
    """The same words by the same speaker at the same second of the same episode under two ids."""
    first: dict[tuple[str, ...], _Turn] = {}
    findings = []
    for turn in turns:
        cells = turn.row.cells
        if turn.start_s is None or "Episode" not in cells:
            continue
        moment = tuple(cells.get(c, "") for c in ("Season", "Episode", "StartTime", "Speaker", "Utterance"))
        other = first.setdefault(moment, turn)
        if other is turn:
            continue
        reason = f"The same moment stands as {_id(prefix, other)} too"
        if other.split != turn.split:
            reason += f", so {turn.split} holds an utterance of {other.split}"
        if other.label != turn.label:
            reason += f", labelled {other.label} there and {turn.label} here"
        findings.append(Finding("repeated", _id(prefix, turn), reason + "."))
    return findings


def _clip_findings(
    turns: Sequence[_Turn],
    clips: Mapping[Split, _Clips],
    chosen: Mapping[tuple[Split, int, int], Path],
    params: Params,
    prefix: str,
    known: Mapping[str, str],
) -> list[Finding]:
    findings = []
    for split in SPLITS:
        mine = [turn for turn in turns if turn.split == split]
        if clips[split].folder is None:
            looked = params.clips.get(split) or ", ".join(CLIP_FOLDERS[split])
            reason = f"No folder of clips was found for {split} ({len(mine)} utterances); looked for {looked}."
            findings.append(Finding("missing", f"{prefix}/{split}", reason, "keeps without video", needs_you=True))
        else:
            findings += _missing(mine, chosen, clips[split], prefix, known)
            findings += _extra(mine, clips[split], params, prefix)
        for turn in mine:
            if _is_long(turn, params):
                reason = f"Its times span {turn.span_s:.3f} s, more than longest_s = {params.longest_s:g} s."
                findings.append(
                    Finding("mis-cut", _id(prefix, turn), reason, "keeps without video", _id(prefix, turn) not in known)
                )
    return findings


def _missing(
    turns: Sequence[_Turn],
    chosen: Mapping[tuple[Split, int, int], Path],
    clips: _Clips,
    prefix: str,
    known: Mapping[str, str],
) -> list[Finding]:
    return [
        Finding(
            "missing",
            _id(prefix, turn),
            f"There is no dia{turn.clip[0]}_utt{turn.clip[1]}.mp4 in {clips.folder}.",
            "keeps without video",
            _id(prefix, turn) not in known,
        )
        for turn in turns
        if turn.key not in chosen
    ]


def _extra(turns: Sequence[_Turn], clips: _Clips, params: Params, prefix: str) -> list[Finding]:
    claimed = {turn.clip for turn in turns}
    findings = []
    for path in clips.odd:
        reason = (
            "macOS left this shadow file."
            if path.name.startswith("._")
            else "Its name is not that of an utterance, or a second file has it."
        )
        findings.append(Finding("extra", path.as_posix(), reason, "leaves out"))
    for number, path in [*clips.plain.items(), *clips.final.items()]:
        if number not in claimed:
            findings.append(
                Finding("extra", path.as_posix(), "No row has this number: it has no words and no label.", "leaves out")
            )
        elif path == clips.final.get(number) and params.twins == "plain" and number in clips.plain:
            reason = f"A second clip for dia{number[0]}_utt{number[1]}; twins: final would take it."
            findings.append(Finding("extra", path.as_posix(), reason, "leaves out"))
    return findings
