"""Read a user's own table: a row per utterance, with columns named as the fields of Utterance.

Strict about names (a column ``start`` in place of ``start_s`` would make every utterance as long as its video),
lenient where spreadsheets differ: delimiter, encoding, blank rows and columns, decimal commas where no comma separates
the cells, whole numbers as 0.0.

Errors, all at once: unknown columns, labels and splits, duplicate ids and places, a dialogue in two splits. Left out,
with a finding: rows of another width, without a usable id, dialogue or index. Rows with unreadable times or crop lose
their video.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.crops import read_crop
from bemerc.corpus.delimited import Row, Table, read_table
from bemerc.corpus.encodings import decode
from bemerc.corpus.manifest import SIDE_LABELS, Split, Utterance
from bemerc.corpus.reading import Finding, Reading, by_dialogue, nearest, of_words, person, stop_at

NEEDED = ("id", "dialogue", "index", "speaker", "text", "label", "split", "clip")
OPTIONAL = ("start_s", "end_s", "crop", *SIDE_LABELS)

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Params:
    """How to read a table.

    file     the table; clips in it are relative to its folder
    labels   the label set that its labels come from: a name or a list
    aliases  spelling in the table -> label, besides those of corpus/labels.py
    ignore   further columns of the table, which are ignored
    """

    file: str = "data/table/table.csv"
    labels: str | tuple[str, ...] = "meld"
    aliases: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()


def read(params: Params, name: str = "table") -> Reading:
    """Read a table; ids are ``name/split/id``, dialogues ``name/split/dialogue``.

    ``index`` orders the turns and may have gaps. A blank label, clip, start_s, end_s or crop means that there is none;
    a crop is ``left``, ``right`` or four fractions ``left top right bottom``. Raises CorpusError with every fault.
    """
    labels = emotion.label_set(params.labels)
    accepted = emotion.names(labels, params.aliases)
    table = read_table(Path(params.file))
    stop_at(
        _column_faults(table, params.ignore),
        f"A table has the columns {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}.",
    )
    faults: list[str] = []
    findings = [_left_out(table, line, why) for line, why in table.misshapen.items()]
    parsed = [_turn(table, row, accepted, faults, findings) for row in table.rows]
    turns = [turn for turn in parsed if turn is not None]
    faults += _clashes(table, turns)
    utterances = [_utterance(turn, name) for turn in turns if turn.split is not None]
    ordered = [replace(u, index=i) for group in by_dialogue(utterances).values() for i, u in enumerate(group)]
    findings += _findings(table, ordered)
    stop_at(faults, findings=findings)
    return Reading(name, tuple(ordered), labels, tuple(findings))


def lists_utterances(path: Path) -> bool:
    """Whether the header of a file has most of the columns of a table of utterances."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = decode(file.read(4096)).text.lstrip().splitlines()[:2]
    except OSError:
        return False
    return any(len(set(re.findall(r"\w+", line)) & set(NEEDED)) > len(NEEDED) // 2 for line in head)


def _column_faults(table: Table, ignore: Iterable[str]) -> list[str]:
    where = f"{printable(table.path)}, line 1"
    faults = [f"{where}: the column '{c}' is missing." for c in NEEDED if c not in table.columns]
    for column in table.columns:
        if column not in NEEDED + OPTIONAL and column not in ignore:
            hint = nearest(column, NEEDED + OPTIONAL)
            faults.append(
                f"{where}: the column '{printable(column, 60)}' is unknown{hint} To have it passed over, list it in ignore."
            )
    return faults


@dataclass(frozen=True)
class _Turn:
    """A parsed row; ``split`` is None where it is a fault. The utterance's id and dialogue are as in the table."""

    line: int
    split: Split | None
    utterance: Utterance


def _turn(
    table: Table, row: Row, accepted: Mapping[str, str], faults: list[str], findings: list[Finding]
) -> _Turn | None:
    """Parse a row; None where it is left out. What is wrong is added to ``faults`` and ``findings``."""
    cell = {column: "" if written.strip() in _NO_VALUE else written for column, written in row.cells.items()}
    id_, dialogue = (_named(cell[column]) for column in ("id", "dialogue"))
    where = f"{printable(table.path)}, line {row.line}, {printable(repr(id_))}"
    unusable = [*name_faults("id", id_), *name_faults("dialogue", dialogue)]
    if not (index := _INDEX.fullmatch(cell["index"])):
        unusable.append(f"index must be a whole number, not '{printable(cell['index'], 40)}'.")
    split = _SPLITS.get(cell["split"].strip().lower())
    if split is None:
        faults.append(f"{where}: split must be train, dev or test, not '{printable(cell['split'], 40)}'.")
    label, text, voice, face = (
        _label(cell.get(column, ""), "" if column == "label" else f"{column}: ", where, accepted, faults)
        for column in ("label", *SIDE_LABELS)
    )
    if index is None or unusable:
        findings.append(_left_out(table, row.line, " ".join(unusable)))
        return None
    wrong: list[str] = []
    start_s, end_s = (_seconds(column, cell.get(column, ""), table.delimiter, wrong) for column in ("start_s", "end_s"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        wrong.append(f"end_s = {end_s:g} is not after start_s = {start_s:g}.")
    crop = read_crop(cell.get("crop", ""), wrong)
    findings += [Finding("cell", f"{table.path}, line {row.line}", why, "keeps without video", True) for why in wrong]
    if blank := sorted(column for column in cell if cell[column] != row.cells[column]):
        reason = f"{', '.join(blank)}: '{row.cells[blank[0]].strip()}' is taken for a blank cell."
        findings.append(Finding("blank", f"{table.path}, line {row.line}", reason, "keeps, repaired"))
    clip = str(table.path.parent / cell["clip"].strip()) if cell["clip"].strip() and not wrong else None
    utterance = Utterance(
        id=id_,
        dialogue=dialogue,
        index=int(index[1]),
        speaker=person(cell["speaker"]),
        text=cell["text"],
        label=label,
        split=split or "train",
        clip=clip,
        start_s=None if wrong else start_s,
        end_s=None if wrong else end_s,
        crop=None if wrong else crop,
        label_text=text,
        label_voice=voice,
        label_face=face,
    )
    return _Turn(row.line, split, utterance)


def _label(written: str, column: str, where: str, accepted: Mapping[str, str], faults: list[str]) -> str | None:
    label = emotion.canonical(written, accepted) if written.strip() else None
    if label is None and written.strip():
        faults.append(f"{where}: {column}{emotion.fault(written, accepted)}")
    return label


# What pandas and Excel write for a missing value. ("None" and "null" are words that people say.)
_NO_VALUE = ("nan", "NaN", "NAN", "<NA>", "#N/A", "#NA", "#NV", "NaT")
# pandas writes whole numbers as 0.0 in a column with a missing one.
_INDEX = re.compile(r"\s*([+-]?\d{1,9})(?:[.,]0{1,9})?\s*", re.ASCII)
# A name becomes part of file names, which end at 255 bytes, and of messages.
_LONGEST_NAME = 500


def _named(written: str) -> str:
    return unicodedata.normalize("NFC", written).strip()


def _utterance(turn: _Turn, name: str) -> Utterance:
    u, prefix = turn.utterance, f"{name}/{turn.split}"
    return replace(u, id=f"{prefix}/{u.id}", dialogue=f"{prefix}/{u.dialogue}")


def _left_out(table: Table, line: int, reason: str) -> Finding:
    return Finding("row", f"{table.path}, line {line}", reason, "leaves out", needs_you=True)


def name_faults(column: str, written: str) -> list[str]:
    """Faults of an id or dialogue: exports use ids as file names, so they must not lead out of a folder."""
    if not written:
        return [f"{column} is blank."]
    shown = printable(repr(written), 60)
    if len(written) > _LONGEST_NAME:
        return [f"{column} {shown} is longer than {_LONGEST_NAME} characters."]
    if any(ord(char) < 32 or ord(char) == 127 for char in written):
        return [f"{column} {shown} holds a control character."]
    parts = PurePosixPath(written.replace("\\", "/")).parts
    if ".." in parts or written.startswith(("/", "\\")):
        return [f"{column} {shown} must not start with / or hold '..'."]
    return []


def _seconds(column: str, written: str, delimiter: str, faults: list[str]) -> float | None:
    """Seconds; a decimal comma is accepted where the delimiter is another one, so that 1,234 cannot mean a thousand."""
    if not written.strip():
        return None
    try:
        value = float(written if delimiter == "," else written.replace(",", "."))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        faults.append(f"{column} must be seconds from the clip's start, not '{printable(written, 40)}'.")
        return None
    return value


def _clashes(table: Table, turns: Iterable[_Turn]) -> list[str]:
    """Faults: duplicate ids within a split, turns with the same index, and dialogues in two splits."""
    where = printable(table.path)
    faults: list[str] = []
    ids: dict[tuple[Split | None, str], int] = {}
    turn_at: dict[tuple[str, int], _Turn] = {}
    splits: dict[str, dict[Split, int]] = {}
    for turn in turns:
        u = turn.utterance
        first = ids.setdefault((turn.split, u.id), turn.line)
        if first != turn.line:
            faults.append(f"{where}, line {turn.line}: the id '{printable(u.id)}' stands on line {first} already.")
        other = turn_at.setdefault((u.dialogue, u.index), turn)
        if other.split == turn.split and other.utterance.id != u.id:
            faults.append(
                f"{where}, line {turn.line}: '{printable(u.id)}' and '{printable(other.utterance.id)}' are both turn {u.index} "
                f"of '{printable(u.dialogue)}'."
            )
        if turn.split is not None:
            splits.setdefault(u.dialogue, {}).setdefault(turn.split, turn.line)
    faults += [
        f"{where}: the dialogue '{printable(dialogue)}' lies in {' and '.join(f'{s} (line {n})' for s, n in lines.items())}; "
        "a dialogue lies in one split. Give all of its turns the same one, or, where they are different dialogues, other names."
        for dialogue, lines in splits.items()
        if len(lines) > 1
    ]
    return faults


def _findings(table: Table, utterances: Iterable[Utterance]) -> list[Finding]:
    findings = []
    if reason := table.decoded.describe_odd_lines():
        findings.append(Finding("encoding", str(table.path), reason))
    for u in utterances:
        findings += of_words(u)
        # pathlib's is_file raises for a name that is too long for the disk; os.path says that there is no such file.
        if u.clip is not None and not os.path.isfile(u.clip):  # noqa: PTH113
            findings.append(Finding("missing", u.id, f"There is no {u.clip}.", "keeps without video", needs_you=True))
    return findings
