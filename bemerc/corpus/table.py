"""A CSV of one's own: a row per utterance, columns with the names of the utterance's own fields.

Strict where a slip would cost silently (a column called ``start`` instead of ``start_s`` would make every utterance as
long as its video), lenient where spreadsheets differ: comma, semicolon or tab, UTF-8 or UTF-16, any words in any cell.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from bemerc.corpus import Split, Utterance
from bemerc.corpus import labels as emotion
from bemerc.corpus.reading import Finding, Reading, by_dialogue, stop_at
from bemerc.corpus.text import Row, Table, is_broken, read_table

NEEDED = ("id", "dialogue", "index", "speaker", "text", "label", "split", "clip")
OPTIONAL = ("start_s", "end_s", "crop")

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
CROPS = {"left": (0.0, 0.0, 0.5, 1.0), "right": (0.5, 0.0, 1.0, 1.0)}


@dataclass(frozen=True)
class Params:
    """How to read a table.

    file     the table; clips in it are relative to its folder
    labels   the label set that its labels come from: a name or a list
    aliases  spelling in the table -> label, beside the spellings that are known anyway
    ignore   columns of the table that are none of ours
    """

    file: str = "data/table/table.csv"
    labels: str | tuple[str, ...] = "meld"
    aliases: Mapping[str, str] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()


def read(params: Params, name: str = "table") -> Reading:
    """The table's utterances; ids are ``name/split/id``, dialogues ``name/split/dialogue``.

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
    faults = list(table.faults)
    utterances = [u for row in table.rows if (u := _utterance(table, row, name, accepted, faults)) is not None]
    faults += _clashes(table, utterances)
    stop_at(faults)
    ordered = [replace(u, index=i) for turns in by_dialogue(utterances).values() for i, u in enumerate(turns)]
    return Reading(name, tuple(ordered), labels, tuple(_findings(table, ordered)))


def _column_faults(table: Table, ignore: Iterable[str]) -> list[str]:
    faults = [f"{table.path}, line 1: the column '{c}' is missing." for c in NEEDED if c not in table.columns]
    for column in table.columns:
        if column not in NEEDED + OPTIONAL and column not in ignore:
            near = difflib.get_close_matches(column.lower(), NEEDED + OPTIONAL, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            faults.append(
                f"{table.path}, line 1: the column '{column}' is unknown{hint} To have it passed over, list it in ignore."
            )
    return faults


def _utterance(table: Table, row: Row, name: str, accepted: Mapping[str, str], faults: list[str]) -> Utterance | None:
    """One row as an utterance, or None with all its faults in ``faults``."""
    cell = row.cells
    mine: list[str] = []
    for column in ("id", "dialogue"):
        mine += _name_faults(column, cell[column])
    if not re.fullmatch(r"\s*-?\d{1,9}\s*", cell["index"], re.ASCII):
        mine.append(f"index must be a whole number, not '{cell['index']}'.")
    split = _SPLITS.get(cell["split"].strip().lower())
    if split is None:
        mine.append(f"split must be train, dev or test, not '{cell['split']}'.")
    label = emotion.canonical(cell["label"], accepted) if cell["label"].strip() else None
    if label is None and cell["label"].strip():
        mine.append(emotion.fault(cell["label"], accepted))
    start_s, end_s = (_seconds(column, cell.get(column, ""), mine) for column in ("start_s", "end_s"))
    if start_s is not None and end_s is not None and end_s <= start_s:
        mine.append(f"end_s = {end_s:g} is not after start_s = {start_s:g}.")
    crop = _crop(cell.get("crop", ""), mine)
    if mine or split is None:
        faults.extend(f"{table.path}, line {row.line}, {cell['id']!r}: {fault}" for fault in mine)
        return None
    clip = str(table.path.parent / cell["clip"]) if cell["clip"].strip() else None
    prefix = f"{name}/{split}"
    return Utterance(
        id=f"{prefix}/{cell['id']}",
        dialogue=f"{prefix}/{cell['dialogue']}",
        index=int(cell["index"]),
        speaker=cell["speaker"],
        text=cell["text"],
        label=label,
        split=split,
        clip=clip,
        start_s=start_s,
        end_s=end_s,
        crop=crop,
    )


def _name_faults(column: str, written: str) -> list[str]:
    """Ids become parts of file names when features are exported, so they may not lead out of a folder."""
    if not written.strip():
        return [f"{column} is blank."]
    if any(ord(char) < 32 or ord(char) == 127 for char in written):
        return [f"{column} {written!r} holds a control character."]
    parts = PurePosixPath(written.replace("\\", "/")).parts
    if ".." in parts or written.startswith(("/", "\\")):
        return [f"{column} {written!r} must not start with / or hold '..'."]
    return []


def _seconds(column: str, written: str, faults: list[str]) -> float | None:
    if not written.strip():
        return None
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        faults.append(f"{column} must be seconds from the clip's start, not '{written}'.")
        return None
    return value


def _crop(written: str, faults: list[str]) -> tuple[float, float, float, float] | None:
    words = re.split(r"[\s,;]+", written.strip().lower())
    if words == [""]:
        return None
    if len(words) == 1 and words[0] in CROPS:
        return CROPS[words[0]]
    try:
        left, top, right, bottom = (float(word) for word in words)
    except ValueError:
        left = top = right = bottom = math.nan
    if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
        return left, top, right, bottom
    faults.append(
        f"crop must be left, right, or four fractions 'left top right bottom' with 0 <= left < right <= 1, not '{written}'."
    )
    return None


def _clashes(table: Table, utterances: Iterable[Utterance]) -> list[str]:
    """Ids that stand twice within a split, turns that claim the same place, and dialogues that lie in two splits."""
    faults: list[str] = []
    ids: set[str] = set()
    places: dict[tuple[str, int], str] = {}
    for u in utterances:
        if u.id in ids:
            faults.append(f"{table.path}: the id '{u.id}' stands there twice.")
        ids.add(u.id)
        other = places.setdefault((u.dialogue, u.index), u.id)
        if other != u.id:
            faults.append(f"{table.path}: '{u.id}' and '{other}' are both turn {u.index} of '{u.dialogue}'.")
    return faults


def _findings(table: Table, utterances: Iterable[Utterance]) -> list[Finding]:
    findings = []
    if reason := table.decoded.oddness():
        findings.append(Finding("encoding", str(table.path), reason))
    for u in utterances:
        if is_broken(u.text):
            findings.append(Finding("mojibake", u.id, "The words hold characters of a wrong encoding.", needs_you=True))
        if not u.text.strip():
            findings.append(Finding("empty", u.id, "The utterance has no words."))
        # pathlib's is_file raises for a name that is too long for the disk; os.path says that there is no such file.
        if u.clip is not None and not os.path.isfile(u.clip):  # noqa: PTH113
            findings.append(Finding("missing", u.id, f"There is no {u.clip}.", "keeps without video", needs_you=True))
    return findings
