"""Bytes to words: which encoding a file is in, and the two repairs that conversation corpora need.

Guessing an encoding silently is how "I’m" becomes "Iâ€™m" in half of the public copies of MELD. So decoding says what
it did, and repairs are functions that a reader calls on purpose and counts; text that needs none comes back unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bemerc.core import regular_file
from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus import encodings

# Bounds on what is read whole: a table of half a million rows and a file of 100 MB take less than 1 GB of memory.
MAX_BYTES = 100 * 2**20
MAX_ROWS = 500_000

CURLY = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'}
_STRAIGHT = str.maketrans(CURLY)
# CP1252 maps 27 of the bytes 0x80-0x9F to letters and signs; the five that it leaves out stay what they are.
_C1 = {code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))}
_BYTE = {char: code for code, char in _C1.items()} | {chr(code): code for code in range(0x80, 0x100)}
# What stands in subtitles and tables of any language.
_SIGNS = frozenset(b"\r\n\t 0123456789:,.->")
_CONTINUATION = "[" + re.escape("".join(char for char, code in _BYTE.items() if 0x80 <= code < 0xC0)) + "]"
# UTF-8 read as CP1252 or Latin-1. Two-byte heads only for the Latin-1 letters: É followed by a quote is a real word's end.
_MOJIBAKE = re.compile(f"[ÂÃ]{_CONTINUATION}|[à-ï]{_CONTINUATION}{{2}}|[ð-ô]{_CONTINUATION}{{3}}")


@dataclass(frozen=True)
class Decoded:
    """A file's text, and the numbers of the lines (from 1) that were not UTF-8 as the others, and what they were read as."""

    text: str
    odd_lines: tuple[int, ...] = ()
    encoding: str = encodings.WESTERN

    def oddness(self, listed: int = 5) -> str:
        """A sentence that counts the odd lines and names the first of them; empty where there are none."""
        if not self.odd_lines:
            return ""
        first = ", ".join(map(str, self.odd_lines[:listed]))
        if len(self.odd_lines) == 1:
            return f"Line {first} is not UTF-8 and was read as {self.encoding.upper()}."
        return f"{len(self.odd_lines)} lines are not UTF-8 and were read as {self.encoding.upper()}, the first of them {first}."


def decode(raw: bytes) -> Decoded:
    """UTF-32 and UTF-16 by their marks or their zeros, else UTF-8; lines that are not UTF-8 are numbered, and read as CP1252 or
    as what encodings.guess sees in them."""
    if wide := _wide(raw):
        return Decoded(raw.decode(wide, "replace").removeprefix("\ufeff"))
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    lines = raw.split(b"\n")
    odd = {number: line for number, line in enumerate(lines, 1) if not _is_utf8(line)}
    encoding = encodings.guess(b"\n".join(odd.values()))
    texts = [_legacy(line, encoding) if number in odd else line.decode() for number, line in enumerate(lines, 1)]
    return Decoded("\n".join(texts), tuple(odd), encoding)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wide(raw: bytes) -> str | None:
    """The encoding of more than one byte per character that the first bytes show, or None.

    Without a mark: of ASCII characters in UTF-16 every second byte is zero, and no text in another encoding has zeros. Of
    words in another script only digits and line ends are such characters, and a few letters have a zero in the other place.
    """
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    first = raw[:400]
    zeros = first[::2].count(0), first[1::2].count(0)
    if 2 <= max(zeros) >= len(first) // 4:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    pairs = list(zip(first[::2], first[1::2], strict=False))
    big, little = sum(a == 0 and b in _SIGNS for a, b in pairs), sum(b == 0 and a in _SIGNS for a, b in pairs)
    if max(big, little) < max(8, 4 * min(big, little)):
        return None
    return "utf-16-be" if big > little else "utf-16-le"


def read(path: Path) -> Decoded:
    """Decode a file; CorpusError when it is not there, cannot be read, is no regular file or is larger than MAX_BYTES."""
    return decode(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of a text file; errors as of ``read``."""
    try:
        return regular_file.read_bytes(path, MAX_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"{printable(path)}: the file cannot be read ({reason}).") from None


def repair(text: str) -> str:
    """Undo CP1252 bytes read as Latin-1 ("I\\x92m") and UTF-8 read as CP1252 ("Iâ€™m"); all else stays.

    >>> repair("Iâ€™m at the cafÃ©")
    'I’m at the café'
    """
    return _MOJIBAKE.sub(_undo, text).translate(_C1)


def straighten(text: str) -> str:
    """Curly quotes to straight ones; dashes, ellipses and accents stay."""
    return text.translate(_STRAIGHT)


def is_broken(text: str) -> bool:
    """Whether text still shows signs of a wrong encoding: control characters of C1, U+FFFD, or mojibake."""
    return "\ufffd" in text or any(0x7F <= ord(char) < 0xA0 for char in text) or repair(text) != text


@dataclass(frozen=True)
class Row:
    """One row of a table: the line on which it ends, and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A delimited file.

    columns    as written, without those that have neither a name nor a cell
    rows       without those in which every cell is blank
    misshapen  line -> what is wrong with a row that is not as wide as the head; it is not among the rows
    delimiter  what stands between the cells
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
    """Read a CSV, semicolon or tab table with a header line; the delimiter is the one that a first line ``sep=;`` names,
    else the header's most frequent one.

    Rows and columns of blank cells, as spreadsheets leave them, are passed over, and so is an index that pandas wrote
    under no name. Raises CorpusError for a file that is not there, is empty, is a workbook, repeats a column, holds
    cells below a column without a name, or has an unclosed quote.
    """
    raw = read_bytes(path)
    if kind := _kind(raw):
        raise CorpusError(
            f"{printable(path)}: this is {kind}, whatever its name says. Save it from the spreadsheet as CSV UTF-8 and name that file."
        )
    decoded = decode(raw)
    delimiter, skipped = _delimiter(decoded.text)
    reader = csv.reader(io.StringIO(decoded.text, newline=""), delimiter=delimiter, strict=True)
    numbered = ((line, cells) for line, cells in _numbered(path, reader) if any(cell.strip() for cell in cells))
    if skipped:
        next(numbered, None)
    line, head = next(numbered, (1, []))
    if not head:
        raise CorpusError(f"{printable(path)}: the table is empty; its first line must name the columns.")
    width = max(number for number, cell in enumerate(head, 1) if cell.strip())
    names = [cell.strip() for cell in head]
    twice = sorted({c for c in names if c and names.count(c) > 1})
    if twice:
        listed = printable(", ".join(map(repr, twice)))
        raise CorpusError(f"{printable(path)}, line {line}: the column {listed} stands there twice.")
    body = list(islice(numbered, MAX_ROWS + 1))
    if len(body) > MAX_ROWS:
        raise CorpusError(f"{printable(path)}: the table has more than {MAX_ROWS:,} rows; split it.")
    _refuse_nameless(path, names, body)
    rows, misshapen = [], {}
    for number, cells in body:
        if len(cells) < width or any(cell.strip() for cell in cells[len(names) :]):
            misshapen[number] = f"{len(cells)} cells, but the head has {width} columns."
        else:
            rows.append(Row(number, {name: cell for name, cell in zip(names, cells, strict=False) if name}))
    return Table(path, tuple(name for name in names if name), tuple(rows), misshapen, decoded, delimiter)


def _refuse_nameless(path: Path, names: Sequence[str], body: Sequence[tuple[int, Sequence[str]]]) -> None:
    """CorpusError where a column without a name holds anything but the count of the rows, which is pandas' index."""
    for place in (number for number, name in enumerate(names) if not name):
        held = [(line, cells[place].strip()) for line, cells in body if len(cells) > place and cells[place].strip()]
        if [cell for _, cell in held] != [str(number) for number in range(len(held))]:
            line, cell = held[0]
            raise CorpusError(
                f"{printable(path)}, line {line}: column {place + 1} holds {printable(repr(cell))} and has no name in the head; "
                "name it or empty it."
            )


# What other files begin with that are called .csv by mistake.
_MAGIC = {
    b"PK\x03\x04": "an Excel or OpenDocument workbook (or another zip archive)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
}


def _kind(raw: bytes) -> str | None:
    """What a file is that is no text, by how it begins; None where it may be a table."""
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
                f"{printable(path)}, line {line}: {error}; look for a quote that is opened and not closed."
            ) from None
        yield reader.line_num, cells  # type: ignore[attr-defined]


_SEP = re.compile(r"[\r\n]*\"?sep=([^\r\n])\"?[ \t,;]*(?=[\r\n])", re.IGNORECASE)


def _delimiter(text: str) -> tuple[str, bool]:
    """What stands between the cells, and whether a first line says so (Excel's ``sep=;``)."""
    if said := _SEP.match(text):
        return said[1], True
    lines = (match[0] for match in re.finditer(r"[^\r\n]+", text))
    head = next((line for line in lines if line.strip(" \t,;")), "")
    return max(",;\t", key=head.count), False


def _legacy(line: bytes, encoding: str) -> str:
    try:
        return line.decode("latin-1").translate(_C1) if encoding == encodings.WESTERN else line.decode(encoding)
    except UnicodeDecodeError:
        return _legacy(line, encodings.WESTERN)


def _undo(match: re.Match[str]) -> str:
    try:
        return bytes(_BYTE[char] for char in match.group()).decode("utf-8")
    except UnicodeDecodeError:
        return match.group()
