"""Read delimited tables (comma, semicolon or tab) as spreadsheets and pandas write them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.encodings import Decoded, decode
from bemerc.corpus.text import MAX_BYTES, read_bytes

MAX_ROWS = 500_000


@dataclass(frozen=True)
class Row:
    """A row: the line of the file on which it ends, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A delimited file.

    columns    their names, without columns that have neither a name nor a cell
    rows       without blank rows
    misshapen  line -> what is wrong with a row that is not as wide as the header; it is not among ``rows``
    delimiter  the character between the cells
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    misshapen: Mapping[int, str]
    decoded: Decoded
    delimiter: str = ","

    @property
    def faults(self) -> tuple[str, ...]:
        """The misshapen rows as sentences with file and line."""
        return tuple(f"{printable(self.path)}, line {line}: {why}" for line, why in self.misshapen.items())


def read_table(path: Path) -> Table:
    """Read a table with a header line. The delimiter is the one in a first line ``sep=;``, else the header's most
    frequent one.

    Rows and columns of blank cells are skipped, and so is an unnamed index by pandas. Raises CorpusError for a file
    that is missing, empty or a workbook, a duplicate column, cells below a column without a name, and an unclosed
    quote.
    """
    raw = read_bytes(path, MAX_BYTES)
    if kind := _other_format(raw):
        raise CorpusError(
            f"this is {kind}, whatever its name says. Save it from the spreadsheet as CSV UTF-8 and name that file.",
            path=path,
        )
    decoded = decode(raw)
    delimiter, is_declared = _delimiter(decoded.text)
    reader = csv.reader(io.StringIO(decoded.text, newline=""), delimiter=delimiter, strict=True)
    numbered = ((line, cells) for line, cells in _numbered(path, reader) if any(cell.strip() for cell in cells))
    if is_declared:
        next(numbered, None)
    line, head = next(numbered, (1, []))
    if not head:
        raise CorpusError("the table is empty; its first line must name the columns.", path=path)
    width = max(number for number, cell in enumerate(head, 1) if cell.strip())
    names = [cell.strip() for cell in head]
    twice = sorted({c for c in names if c and names.count(c) > 1})
    if twice:
        listed = printable(", ".join(map(repr, twice)))
        raise CorpusError(f"the column {listed} stands there twice.", path=path, line=line)
    body = list(islice(numbered, MAX_ROWS + 1))
    if len(body) > MAX_ROWS:
        raise CorpusError(f"the table has more than {MAX_ROWS:,} rows; split it.", path=path)
    _refuse_nameless(path, names, body)
    rows, misshapen = [], {}
    for number, cells in body:
        if len(cells) < width or any(cell.strip() for cell in cells[len(names) :]):
            misshapen[number] = f"{len(cells)} cells, but the head has {width} columns."
        else:
            rows.append(Row(number, {name: cell for name, cell in zip(names, cells, strict=False) if name}))
    return Table(path, tuple(name for name in names if name), tuple(rows), misshapen, decoded, delimiter)


def _refuse_nameless(path: Path, names: Sequence[str], body: Sequence[tuple[int, Sequence[str]]]) -> None:
    """CorpusError where an unnamed column holds anything but row numbers from 0, which are pandas' index."""
    for index in (number for number, name in enumerate(names) if not name):
        filled = [(line, cells[index].strip()) for line, cells in body if len(cells) > index and cells[index].strip()]
        if [cell for _, cell in filled] != [str(number) for number in range(len(filled))]:
            line, cell = filled[0]
            raise CorpusError(
                f"column {index + 1} holds {printable(repr(cell))} and has no name in the head; name it or empty it.",
                path=path,
                line=line,
            )


# The first bytes of other files that may be called .csv by mistake.
_MAGIC = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook (or another zip archive)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
}


def _other_format(raw: bytes) -> str | None:
    """What a file is, by its first bytes, when it is no text; None where it may be a table."""
    if raw[:200].lstrip().lower().startswith((b"<html", b"<!doctype html", b"<?xml")):
        return "a web page or XML"
    return next((kind for magic, kind in _MAGIC.items() if raw.startswith(magic)), None)


def _numbered(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = reader.line_num  # type: ignore[attr-defined]
            raise CorpusError(
                f"{error}; look for a quote that is opened and not closed.", path=path, line=line
            ) from None
        yield reader.line_num, cells  # type: ignore[attr-defined]


_SEP = re.compile(r"[\r\n]*\"?sep=([^\r\n])\"?[ \t,;]*(?=[\r\n])", re.IGNORECASE)


def _delimiter(text: str) -> tuple[str, bool]:
    """The character between the cells, and whether a first line declares it (Excel's ``sep=;``)."""
    if declared := _SEP.match(text):
        return declared[1], True
    lines = (match[0] for match in re.finditer(r"[^\r\n]+", text))
    head = next((line for line in lines if line.strip(" \t,;")), "")
    return max(",;\t", key=head.count), False
