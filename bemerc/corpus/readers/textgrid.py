"""Read Praat's TextGrid, in its long and its short text form, in any encoding that Praat writes.

As Praat does, the reader takes texts in quotes, numbers and flags that stand free, in their order, and passes over
everything else: the words between them differ from program to program. Points of a point tier are no intervals and are
left out, with a note.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.encodings import decode
from bemerc.corpus.readers.tiers import MAX_BYTES, MAX_MS, AnnotationFile, Interval, Tier
from bemerc.corpus.text import read_bytes

SUFFIX = ".textgrid"
_TOKEN = re.compile(
    r"""(?<!\S)(?:!.*|"(?P<text>[^"]*(?:""[^"]*)*)"|(?P<flag><\w+>)"""
    r"""|(?P<number>[-+]?\d{1,15}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,3})?))(?=\s|$)"""
)
_AGAIN = "Open it in Praat and save it again as a text file, or leave it out."


def read(path: Path) -> AnnotationFile:
    """The content of a TextGrid. CorpusError, which says what was expected, where it is none or ends too early."""
    data = read_bytes(path, MAX_BYTES)
    if data.startswith(b"ooBinaryFile"):
        raise CorpusError(f"this is Praat's binary form. {_AGAIN}", path=path)
    return _Grid(path, decode(data).text).content()


class _Grid:
    """The tokens of a TextGrid, taken one by one."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._source = path, text
        self._tokens = _tokens(text)
        self._at = 0

    def content(self) -> AnnotationFile:
        if (self._text("'ooTextFile'"), self._text("'TextGrid'")) != ("ooTextFile", "TextGrid"):
            raise CorpusError(f"this is no TextGrid. {_AGAIN}", path=self._path)
        self._ms(), self._ms()  # the grid's own times
        if self._next("<exists>")["flag"] != "<exists>":
            return AnnotationFile(())
        tiers: list[Tier] = []
        points = wrong = 0
        for _ in range(self._count("tiers")):
            kind, name = self._text("a tier's class"), self._text("a tier's name")
            self._ms(), self._ms()
            if kind not in ("IntervalTier", "TextTier"):
                self._fail(f"a tier is an IntervalTier or a TextTier, not '{printable(kind, 40)}'")
            count = self._count("intervals")
            if kind == "TextTier":
                points += count
                for _ in range(count):
                    self._ms(), self._text("a mark")
                continue
            spans = [(self._ms(), self._ms(), self._text("an interval's text")) for _ in range(count)]
            valid = [Interval(*span) for span in spans if 0 <= span[0] < span[1] < MAX_MS]
            wrong += len(spans) - len(valid)
            tiers.append(Tier(name, tuple(interval for interval in valid if interval.value.strip())))
        notes = [f"{points} points of its point tiers are no intervals."] if points else []
        notes += [f"{wrong} of its intervals end before they begin, or have no times."] if wrong else []
        return AnnotationFile(tuple(tiers), notes=tuple(notes))

    def _next(self, expected: str) -> re.Match[str]:
        match = next(self._tokens, None)
        if match is None:
            self._at = len(self._source)
            self._fail(f"it ends where {expected} should be")
        self._at = match.start()
        return match

    def _text(self, expected: str) -> str:
        text: str | None = self._next(expected)["text"]
        if text is None:
            self._fail(f"{expected} in quotes should be here")
        return text.replace('""', '"')

    def _number(self) -> float:
        written = self._next("a number")["number"]
        if written is None:
            self._fail("a number should be here")
        return float(written)

    def _ms(self) -> int:
        value = self._number() * 1000
        return round(value) if math.isfinite(value) and abs(value) < MAX_MS else -1

    def _count(self, of: str) -> int:
        value = self._number()
        if not (0 <= value <= len(self._source) and value == int(value)):
            self._fail(f"the number of {of} should be here")
        return int(value)

    def _fail(self, reason: str) -> NoReturn:
        line = self._source.count("\n", 0, self._at) + 1
        raise CorpusError(f"{reason}. {_AGAIN}", path=self._path, line=line)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    return (match for match in _TOKEN.finditer(text) if not match[0].startswith("!"))
