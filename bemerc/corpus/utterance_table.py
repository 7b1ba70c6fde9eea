"""utterances.csv: one row per utterance for spreadsheets, with who said what and when, and whatever else is known of
it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bemerc.core import atomic
from bemerc.core.ownership import must_be_ours
from bemerc.core.terminal import cell
from bemerc.corpus.manifest import Utterance
from bemerc.corpus.reading import natural_id

COLUMNS = ("id", "dialogue", "turn", "start_s", "end_s", "speaker", "text")


def write(path: Path, utterances: Iterable[Utterance], columns: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the table as UTF-8 with a mark, ids as people number them; the file is whole or as it was before.

    columns  name of a further column -> utterance id -> value; a cell is empty where there is no value or None

    Raises DiskError where the disk refuses, WouldReplaceError where it would replace another table.
    """
    check_replaceable(path)
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow([cell(name) for name in (*COLUMNS, *columns)])
    for u in sorted(utterances, key=lambda one: natural_id(one.id)):
        about = [u.id, u.dialogue, u.index, _seconds(u.start_s), _seconds(u.end_s), u.speaker, u.text]
        values = [*about, *(column.get(u.id) for column in columns.values())]
        rows.writerow(["" if value is None else cell(value) for value in values])
    atomic.write_bytes(path, text.getvalue().encode("utf-8-sig"))


def check_replaceable(path: Path, columns: tuple[str, ...] = ()) -> None:
    """WouldReplaceError where a file is there that this module did not write, or not with these further columns first."""
    expected = (*COLUMNS, *columns)

    def ours(head: str) -> bool:
        names = re.split("[,;\t]", head.partition("\n")[0].strip())
        return tuple(name.strip('"') for name in names[: len(expected)]) == expected  # as a spreadsheet saves it, too

    must_be_ours(path, ours)


def _seconds(time_s: float | None) -> str | None:
    return None if time_s is None else f"{time_s:.3f}"
