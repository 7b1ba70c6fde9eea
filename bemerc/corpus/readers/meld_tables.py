"""Read the CSV files of a corpus in MELD's shape: rows become turns.

Keys hold the split: ids restart in each split, have gaps, and are used twice by the dyadic variant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import labels as emotion
from bemerc.corpus.delimited import Row, Table, read_table
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Split
from bemerc.corpus.reading import Finding
from bemerc.corpus.text import repair, straighten

if TYPE_CHECKING:
    from bemerc.corpus.readers.meld import Params

# Split, dialogue number, utterance number.
Key = tuple[Split, int, int]

LABELS = LABEL_SETS["meld"]
NEEDED = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
DYADIC = ("Old_Dialogue_ID", "Old_Utterance_ID")
# Where people keep the CSV files, relative to the corpus's folder; the first match wins.
TABLE_FOLDERS = (".", "{split}", "data/MELD", "data/MELD_Dyadic", "MELD", "MELD.Raw", "MELD.Raw/{split}")

_TIME = re.compile(r"(\d{1,4}):(\d{1,2}):(\d{1,2})(?:[,.:](\d{1,3}))?")
_EMOTIONS = emotion.names(LABELS)


@dataclass(frozen=True)
class Turn:
    """A row, parsed. ``clip``: dialogue and utterance number of its clip, in the dyadic variant the old ones."""

    split: Split
    dialogue: int
    number: int
    clip: tuple[int, int]
    label: str
    start_s: float | None
    end_s: float | None
    row: Row

    @property
    def key(self) -> Key:
        return self.split, self.dialogue, self.number

    @property
    def span_s(self) -> float | None:
        if self.start_s is None or self.end_s is None:
            return None
        return round(self.end_s - self.start_s, 6)


def open_table(root: Path, split: Split, params: Params, name: str) -> Table:
    """Find and read the table of a split; CorpusError where it or one of its columns is missing."""
    file = f"{split}_sent_emo{'_dya' if params.variant == 'dyadic' else ''}.csv"
    candidates = [root / folder.format(split=split) / file for folder in TABLE_FOLDERS]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        looked = ", ".join(folder.format(split=split) for folder in TABLE_FOLDERS)
        raise CorpusError(
            f"there is no {file} in it; looked in {looked}. Set prepare.{name}.folder to where it lies.",
            path=root,
            missing=True,
        )
    table = read_table(path)
    needed = NEEDED + (DYADIC if params.variant == "dyadic" else ())
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise CorpusError(
            f"the columns {', '.join(missing)} are missing; it has {', '.join(table.columns)}.", path=path, line=1
        )
    return table


def read_turns(
    table: Table, split: Split, params: Params, prefix: str, faults: list[str], findings: list[Finding]
) -> list[Turn]:
    """The turns of a split, sorted by key; adds to ``faults`` and ``findings`` what is wrong with rows."""
    findings += [_left_out(table, line, why) for line, why in table.misshapen.items()]
    by_key: dict[Key, Turn] = {}
    for row in table.rows:
        turn = _turn(table, row, split, params, faults, findings)
        if turn is None:
            continue
        first = by_key.setdefault(turn.key, turn)
        if first is turn:
            continue
        if first.row.cells == row.cells:
            findings.append(
                Finding(
                    "duplicate",
                    utterance_id(prefix, turn),
                    f"Line {row.line} repeats line {first.row.line}.",
                    "leaves out",
                )
            )
        else:
            faults.append(
                f"{table.path}, line {row.line}: dia{turn.dialogue}_utt{turn.number} stands on line {first.row.line} already, "
                "with other cells; keep one of the two."
            )
    return sorted(by_key.values(), key=lambda turn: turn.key)


def _turn(
    table: Table, row: Row, split: Split, params: Params, faults: list[str], findings: list[Finding]
) -> Turn | None:
    """The turn of a row; None, with a fault or finding, where it has no usable numbers or no known emotion."""
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
    return Turn(split, *own, clip, label, _seconds(cells.get("StartTime")), _seconds(cells.get("EndTime")), row)


def _left_out(table: Table, line: int, reason: str) -> Finding:
    return Finding("row", f"{table.path}, line {line}", reason, "leaves out", needs_you=True)


def _seconds(written: str | None) -> float | None:
    match = _TIME.fullmatch((written or "").strip())
    if match is None:
        return None
    hours, minutes, seconds, rest = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int((rest or "0").ljust(3, "0")) / 1000


def utterance_id(prefix: str, turn: Turn) -> str:
    """``meld/train/dia3_utt1``."""
    return f"{dialogue_id(prefix, turn)}_utt{turn.number}"


def dialogue_id(prefix: str, turn: Turn) -> str:
    """``meld/train/dia3``."""
    return f"{prefix}/{turn.split}/dia{turn.dialogue}"


def clean_text(written: str, params: Params) -> str:
    """A cell as ``params.text`` says: repaired, or as it is."""
    return straighten(repair(written)) if params.text == "repair" else written


def is_too_long(turn: Turn, params: Params) -> bool:
    """Whether the span of a turn exceeds ``params.longest_s``."""
    return turn.span_s is not None and turn.span_s > params.longest_s
