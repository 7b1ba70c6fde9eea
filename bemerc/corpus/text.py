"""Bytes to words: which encoding a file is in, and the two repairs that conversation corpora need.

Guessing an encoding silently is how "I’m" becomes "Iâ€™m" in half of the public copies of MELD. So decoding says what
it did, and repairs are functions that a reader calls on purpose and counts; text that needs none comes back unchanged.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bemerc.errors import CorpusError

CURLY = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'}
_STRAIGHT = str.maketrans(CURLY)
# CP1252 maps 27 of the bytes 0x80-0x9F to letters and signs; the five that it leaves out stay what they are.
_C1 = {code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))}
_BYTE = {char: code for code, char in _C1.items()} | {chr(code): code for code in range(0x80, 0x100)}
_CONTINUATION = "[" + re.escape("".join(char for char, code in _BYTE.items() if 0x80 <= code < 0xC0)) + "]"
# UTF-8 read as CP1252 or Latin-1. Two-byte heads only for the Latin-1 letters: É followed by a quote is a real word's end.
_MOJIBAKE = re.compile(f"[ÂÃ]{_CONTINUATION}|[à-ï]{_CONTINUATION}{{2}}|[ð-ô]{_CONTINUATION}{{3}}")


@dataclass(frozen=True)
class Decoded:
    """A file's text, and the numbers of the lines (from 1) that were not UTF-8 as the others and were read as CP1252."""

    text: str
    odd_lines: tuple[int, ...] = ()

    def oddness(self, listed: int = 5) -> str:
        """A sentence that counts the odd lines and names the first of them; empty where there are none."""
        if not self.odd_lines:
            return ""
        first = ", ".join(map(str, self.odd_lines[:listed]))
        return f"{len(self.odd_lines)} lines are not UTF-8 and were read as CP1252, the first of them {first}."


def decode(raw: bytes) -> Decoded:
    """UTF-16 by its mark, else UTF-8; lines that are not UTF-8 are read as CP1252, line by line, and numbered."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Decoded(raw.decode("utf-16", "replace"))
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    lines, odd = [], []
    for number, line in enumerate(raw.split(b"\n"), 1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            odd.append(number)
            lines.append(_cp1252(line))
    return Decoded("\n".join(lines), tuple(odd))


def read(path: Path) -> Decoded:
    """Decode a file; CorpusError when it is not there or cannot be read."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise CorpusError(f"{path}: the file cannot be read ({error.strerror}).") from None


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
    """A delimited file: its columns as written, its rows, and what was wrong with rows that are not as wide as the head."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    decoded: Decoded


def read_table(path: Path) -> Table:
    """Read a CSV, semicolon or tab table with a header line; the delimiter is the header's most frequent one.

    Raises CorpusError for a file that is not there, is empty, repeats a column or has an unclosed quote.
    """
    decoded = read(path)
    reader = csv.reader(io.StringIO(decoded.text, newline=""), delimiter=_delimiter(decoded.text), strict=True)
    numbered = _numbered(path, reader)
    head = next(numbered, None)
    if head is None:
        raise CorpusError(f"{path}: the table is empty; its first line must name the columns.")
    columns = tuple(cell.strip() for cell in head[1])
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise CorpusError(f"{path}, line 1: the column {', '.join(map(repr, twice))} stands there twice.")
    rows, faults = [], []
    for line, cells in numbered:
        if not cells:
            continue
        if len(cells) != len(columns):
            faults.append(f"{path}, line {line}: {len(cells)} cells, but the head has {len(columns)} columns.")
        else:
            rows.append(Row(line, dict(zip(columns, cells, strict=True))))
    return Table(path, columns, tuple(rows), tuple(faults), decoded)


def _numbered(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line = reader.line_num  # type: ignore[attr-defined]
            raise CorpusError(
                f"{path}, line {line}: {error}; look for a quote that is opened and not closed."
            ) from None
        yield reader.line_num, cells  # type: ignore[attr-defined]


def _delimiter(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _cp1252(line: bytes) -> str:
    return line.decode("latin-1").translate(_C1)


def _undo(match: re.Match[str]) -> str:
    try:
        return bytes(_BYTE[char] for char in match.group()).decode("utf-8")
    except UnicodeDecodeError:
        return match.group()
