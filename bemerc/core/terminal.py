"""Escape untrusted text before it is written to a terminal, a log or a spreadsheet."""

from __future__ import annotations

import re
import unicodedata

# Control, format (bidirectional overrides, zero width), surrogate, private use, and the two separators that break a
# line.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
# Joiners: Persian and Indic names and emoji need them, and they move nothing.
_HARMLESS = "\u200c\u200d"
_LONGEST = 200
# What spreadsheets take for the beginning of a formula (OWASP, CSV injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object, longest: int = _LONGEST) -> str:
    r"""``text`` with control and other invisible characters written as ``\x1b`` or ``\u202e``, cut to ``longest``.

    File names, ids and labels may hold escape sequences that clear the screen or forge a line.

    >>> print(printable("talk\x1b[2J.mp4"))
    talk\x1b[2J.mp4
    """
    escaped = "".join(_escaped(c) if _is_hidden(c) else c for c in str(text)[: longest + 1])
    return escaped if len(escaped) <= longest else f"{escaped[: longest - 3]}..."


# What moves the text beside it wherever it is shown: control characters, and overrides of the writing direction.
_MOVING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def settled(text: str) -> str:
    r"""``text`` for a page, where it may have any length: control characters and overrides of the writing direction, which
    would turn round what stands beside it, are written as ``\x1b`` or ``\u202e``.

    >>> print(settled("\u202egpj.mp4"))
    \u202egpj.mp4
    """
    return _MOVING.sub(lambda match: _escaped(match[0]), text)


def cell(value: object) -> str:
    """``value`` as a cell of a spreadsheet: text that looks like a formula is quoted; numbers stay as they are."""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


def _is_hidden(character: str) -> bool:
    return character not in _HARMLESS and unicodedata.category(character) in _HIDDEN


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def printable_lines(text: object) -> str:
    """As ``printable``, for text of several lines of any length: line breaks and tabs stay."""
    return "\n".join(
        "\t".join(printable(cell, 10 * len(cell) + 1) for cell in line.split("\t")) for line in str(text).split("\n")
    )
