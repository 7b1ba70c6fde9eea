r"""Parse SubRip and WebVTT, leniently: a damaged cue costs only itself.

A line with an arrow between two times opens a cue, whatever precedes it, so that files without blank lines, with
doubled line ends or with a damaged cue keep the rest. What is left out, merged or repaired is a Finding with its line.

Decisions (docs/guides/long_recordings.md): a line with a space does not end a WebVTT cue; a SubRip cue goes on after a
blank line; rolling captions, in which each cue repeats the line before, keep each line once; a cue that ends where or
before it starts is left out, because nothing can be measured in it; times before 0 are cut at 0.

Formats: SubRip has no standard; WebVTT, www.w3.org/TR/webvtt1.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import LONGEST_TEXT, NOBODY
from bemerc.corpus.reading import Finding
from bemerc.corpus.text import read as read_text

SUFFIXES = (".vtt", ".srt")
# Formats that players read and this module does not.
UNREAD = (
    ".ass",
    ".ssa",
    ".sub",
    ".sbv",
    ".ttml",
    ".dfxp",
    ".smi",
    ".lrc",
    ".stl",
    ".scc",
    ".srv1",
    ".srv2",
    ".srv3",
    ".json3",
)
# A cue every third of a second for a day; each takes some 500 bytes.
MAX_CUES = 300_000
# Findings that are listed for one file; the others are counted.
LISTED = 100
# Cues that touch: the next one begins no later than this after the end of the one before. (Ours.)
TOUCHING_S = 0.1

_TIME = r"(-?)(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,9}))?"
_ARROW = re.compile(rf"\s*{_TIME}\s*(?:-->|-- >|->|→)\s*{_TIME}(?:\s.*)?")
_CLOCK = re.compile(rf"\s*{_TIME}\s*")
# Direction marks, which editors for Arabic and Hebrew put around times, and byte order marks where files were joined.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_SPACED = re.compile(r" ?([:.,]) ?")
# Digits and the marks of times alone, with two colons at least: times that were damaged, and no words.
_TIMELIKE = re.compile(r"(?=[^:]{0,20}:[^:]{0,20}:)[\d\s:.,;>→–—-]{12,80}")
_NUMBER = re.compile(r"\s*\d{1,9}\s*", re.ASCII)
_BLOCK = re.compile(r"(WEBVTT|NOTE|STYLE|REGION)(?:\s|$)")
_STAMP = re.compile(r"<\d[\d:.]*>")
# Each of these stops at the next opening mark, so that a text of opening marks alone is read in linear time.
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,100})?\s([^<>]{0,400})>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")
# Not all of html.unescape: it takes "&copy" without a semicolon, and fails at a number of 5,000 digits.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]\w{1,31});")
_HARD_BREAK = re.compile(r"\\[Nh]")
_NAME = re.compile(r"\s*(?:[-–]\s*)?(\[)?([^\W\d_][^:：\[\]<>!?,]{0,39}?)(?(1)\])\s*(?::(?=\s)|：)\s*")
# The beginnings of files in other formats that may be called .srt or .vtt.
_OTHER = (
    (re.compile(r"\s*\[Script Info\]|\s*Dialogue:", re.IGNORECASE), "SubStation Alpha (.ass)"),
    (re.compile(r"\s*\{\d+\}\{\d+\}"), "MicroDVD (.sub)"),
    (re.compile(r"\s*<(\?xml|tt\b)", re.IGNORECASE), "TTML or other XML"),
    (re.compile(r"\s*<SAMI", re.IGNORECASE), "SAMI (.smi)"),
    (re.compile(r"\s*\[\d+:\d\d[.:]\d\d\]"), "LRC"),
    (re.compile(r"\s*\d+:\d\d:\d\d[.,]\d{3},\d+:\d\d:\d\d"), "YouTube's SBV"),
    (re.compile(r"\s*\{\s*\""), "JSON"),
)  # fmt: skip


@dataclass(frozen=True)
class Cue:
    """A span of a recording, in seconds from its start, and its words; ``line`` of the file, for messages."""

    start_s: float
    end_s: float
    text: str
    speaker: str = NOBODY
    label: str | None = None
    line: int = 0


def read(path: Path, speakers: bool = True) -> tuple[tuple[Cue, ...], tuple[Finding, ...]]:
    """The cues of a file in its order, one per voice, and findings.

    ``speakers``: take "ANN: ..." at the start of a line for a name. Raises CorpusError only where the file cannot be
    read or has no cue.
    """
    decoded = read_text(path)
    webvtt = path.suffix.lower() == ".vtt" or decoded.text.lstrip("\ufeff \t\r\n").startswith("WEBVTT")
    parser = _Parser(path, webvtt)
    cues = parser.parse(decoded.text)
    if reason := decoded.describe_odd_lines():
        parser.findings.append(Finding("encoding", path.as_posix(), reason))
    if not cues:
        lost = "".join(f" {finding.id.rpartition(', ')[2]}: {finding.reason}" for finding in parser.findings[:3])
        raise CorpusError(f"there is not one cue in it{_format(decoded.text)}.{lost}", path=path)
    voices = tuple(piece for cue in cues for piece in _voices(cue, speakers))
    return voices, tuple(parser.findings)


def seconds(written: str) -> float | None:
    """``1:02``, ``0:01:02.5`` or a plain number as seconds, or None."""
    if re.fullmatch(r"\s*\d{1,9}(?:[.,]\d{1,9})?\s*", written, re.ASCII):
        return float(written.replace(",", "."))
    match = _CLOCK.fullmatch(written)
    return _clock(match.groups()) if match and not match[1] else None


def _format(text: str) -> str:
    kind = next((kind for begins, kind in _OTHER if begins.match(text)), None)
    return f", and it looks like {kind}: make SubRip of it, such as with 'ffmpeg -i FILE talk.srt'" if kind else ""


# ---- lines to cues


@dataclass(frozen=True)
class _Opening:
    """A line that opens a cue.

    at      its index among the lines
    times   start and end in seconds; None where they do not parse
    number  the number of the cue
    above   how many lines above the number is: 1, or 2 in a file of doubled line ends; 0 = there is none
    """

    at: int
    times: tuple[float, float] | None
    number: int
    above: int


class _Parser:
    """Parses one file: lines become cues, everything else a finding."""

    def __init__(self, path: Path, webvtt: bool) -> None:
        self.path, self.webvtt = path, webvtt
        self.findings: list[Finding] = []
        self._unlisted = 0

    def parse(self, text: str) -> list[Cue]:
        # \r\r\n is one line end, which Windows' text mode makes of \r\n.
        lines = re.split(r"\r\r\n|\r\n|\n|\r", text)
        openings = self._openings(lines)
        if len(openings) > MAX_CUES:
            raise CorpusError(f"there are more than {MAX_CUES:,} cues in it; split it.", path=self.path)
        self._before(lines[: openings[0].at] if openings else lines, bool(openings))
        ends = [*(opening.at for opening in openings[1:]), len(lines)]
        cues = [self._cue(lines, opening, end) for opening, end in zip(openings, ends, strict=False)]
        parsed = self._unrolled([cue for cue in cues if cue is not None])
        self._overlaps(parsed)
        if self._unlisted:
            self._find("cue", 0, f"{self._unlisted} more cues or lines of it were left out or repaired.", "leaves out")
        return parsed

    def _openings(self, lines: Sequence[str]) -> list[_Opening]:
        openings: list[_Opening] = []
        for at, line in enumerate(lines):
            if not (">" in line or ":" in line or "→" in line):
                continue
            alone = at == 0 or not lines[at - 1].strip() or bool(_NUMBER.fullmatch(lines[at - 1]))
            times = _times(line)
            comment = self.webvtt and _BLOCK.match(line)
            if times is not None or (not comment and _is_damaged_arrow(line, alone)):
                openings.append(_Opening(at, times, *_number(lines, at)))
        return openings

    def _before(self, lines: Sequence[str], named: bool) -> None:
        """Lines before the first cue: WebVTT's header, the cue's number or name, or stray lines."""
        for first, block in self._blocks(lines):
            for at, line in enumerate(block, first + 1):
                if line.startswith("X-TIMESTAMP-MAP"):
                    self._find("times", at, "X-TIMESTAMP-MAP is not applied: times count from the video's start.")
            identifier = len(block) == 1 and (_NUMBER.fullmatch(block[0]) or (named and first + 1 == len(lines)))
            if not (identifier or (self.webvtt and _BLOCK.match(block[0]))):
                self._stray(first, " ".join(block[:2]))

    def _cue(self, lines: Sequence[str], opening: _Opening, end: int) -> Cue | None:
        line = opening.at + 1
        words, strays = self._words(lines, opening, end)
        if opening.times is None:
            self._left_out(line, f"The times '{printable(lines[opening.at].strip(), 60)}' do not parse", words)
            return None
        for at, stray in strays:
            self._stray(at, stray)
        start_s, end_s = opening.times
        if end_s <= max(start_s, 0.0):
            self._left_out(line, f"The cue ends at {end_s:g} s, which is not after its start, {start_s:g} s", words)
            return None
        if sum(map(len, words)) > LONGEST_TEXT:
            self._left_out(line, f"The words of the cue take more than {LONGEST_TEXT:,} characters", words)
            return None
        if start_s < 0:
            self._find("cue", line, f"The cue starts at {start_s:g} s; it is cut at 0.", "keeps, repaired")
        return Cue(max(start_s, 0.0), end_s, "\n".join(words), line=line)

    def _words(self, lines: Sequence[str], opening: _Opening, end: int) -> tuple[list[str], list[tuple[int, str]]]:
        """The lines of a cue's words, and (index, line) of stray lines before the next cue."""
        first = opening.at + 1
        last = end if end == len(lines) else _without_identifier(lines, first, end, opening.above)
        words: list[str] = []
        strays: list[tuple[int, str]] = []
        damaged = False
        for index, (offset, block) in enumerate(self._blocks(lines[first:last])):
            if self.webvtt and _BLOCK.match(block[0]) and (offset or index):
                continue
            damaged = damaged or (not self.webvtt and _lost_its_times(block, opening.number))
            if not damaged and (not self.webvtt or not words):
                words += block
            elif not damaged or not strays:
                strays.append((first + offset, block[0]))
        return words, strays

    def _blocks(self, lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield (index of the first line, lines that are not blank) of each block.

        A line of white space does not end a WebVTT block: YouTube's automatic captions start with a line of one space.
        """
        block: list[str] = []
        for index, line in enumerate([*lines, ""]):
            if line if self.webvtt else line.strip():
                block.append(line)
            elif block:
                filled = [line for line in block if line.strip()]
                if filled:
                    yield index - len(block), filled
                block = []

    def _unrolled(self, cues: list[Cue]) -> list[Cue]:
        """Rolling captions (at least half of the cues begin with the last lines of the one before) with each line
        once."""
        lines = [[(line, _plain(line)) for line in cue.text.split("\n")] for cue in cues]
        repeats = [0]
        for before, cue in zip(range(len(cues)), range(1, len(cues)), strict=False):
            touching = cues[cue].start_s <= cues[before].end_s + TOUCHING_S
            repeats.append(_repeated([p for _, p in lines[before]], [p for _, p in lines[cue]]) if touching else 0)
        count = sum(map(bool, repeats))
        stamped = any(_STAMP.search(cue.text) for cue in cues)
        if not count or 2 * count < len(cues) - 1 or not (stamped or len(cues) > 3):
            return cues
        kept = [
            replace(cue, text="\n".join(line for line, _ in mine[repeat:]))
            for cue, mine, repeat in zip(cues, lines, repeats, strict=True)
            if not repeat or any(plain for _, plain in mine[repeat:])
        ]
        reason = f"{count} of {len(cues)} cues repeat the line before (rolling captions); each line is taken once."
        self._find("rolling", 0, reason, "keeps, repaired")
        return kept

    def _overlaps(self, cues: Sequence[Cue]) -> None:
        spans = sorted({(cue.start_s, cue.end_s) for cue in cues})
        count, reached = 0, 0.0
        for start_s, end_s in spans:
            count += start_s < reached - TOUCHING_S
            reached = max(reached, end_s)
        if count:
            self._find("overlap", 0, f"{count} of its cues begin before an earlier one has ended.")

    def _stray(self, at: int, line: str) -> None:
        self._find("cue", at + 1, f"'{printable(line.strip(), 40)}' belongs to no cue.", "leaves out")

    def _left_out(self, line: int, reason: str, words: Sequence[str]) -> None:
        excerpt = printable(" ".join(map(_plain, words[:3])), 60)
        self._find("cue", line, f"{reason}{f': {excerpt!r}' if excerpt else ''}.", "leaves out")

    def _find(self, kind: str, line: int, reason: str, action: str = "keeps") -> None:
        if kind == "cue" and line and len(self.findings) >= LISTED:
            self._unlisted += 1
            return
        where = f"{self.path.as_posix()}, line {line}" if line else self.path.as_posix()
        self.findings.append(Finding(kind, where, reason, action, needs_you=action == "leaves out"))  # type: ignore[arg-type]


def _times(line: str) -> tuple[float, float] | None:
    """Start and end in seconds of a line that opens a cue, or None. Arrows other than --> need complete times around
    them."""
    if ">" not in line and "→" not in line:
        return None
    line = _INVISIBLE.sub("", unicodedata.normalize("NFKC", line)) if not line.isascii() else line
    match = _ARROW.fullmatch(line) or _ARROW.fullmatch(_SPACED.sub(r"\1", line))
    if match is None:
        return None
    first, second = match.groups()[:5], match.groups()[5:]
    if "-->" not in line and None in (first[1], first[4], second[1], second[4]):
        return None
    return _clock(first), _clock(second)


def _is_damaged_arrow(line: str, alone: bool) -> bool:
    """Whether a line that does not parse was meant as times; ``alone``: it follows a blank line or a cue's number."""
    if "-->" in line:
        return alone or any(char.isdigit() for char in line)
    return alone and _TIMELIKE.fullmatch(line) is not None


def _clock(groups: Sequence[str | None]) -> float:
    sign, hours, minutes, rest, fraction = groups
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(rest or 0)
    value = round(whole + int((fraction or "0").ljust(9, "0")) / 1e9, 6)
    return -value if sign else value


def _number(lines: Sequence[str], at: int) -> tuple[int, int]:
    """The number above a cue's times, and how many lines above; a blank line may be between the two. (0, 0) = none."""
    for above in (1, 2):
        line = lines[at - above] if above <= at else ""
        if _NUMBER.fullmatch(line):
            return int(line), above
        if line.strip():
            break
    return 0, 0


def _without_identifier(lines: Sequence[str], first: int, end: int, above: int) -> int:
    """Where the words end that stand before the times at ``end``: before the next cue's number or name, if it has one.

    A number counts where the cue before has one too, at the same distance ``above`` its times; a name after a blank
    line.
    """
    if above and _number(lines, end)[1] == above and end - above >= first:
        return end - above
    last = end - 1
    named = last > first and lines[last].strip() and not lines[last - 1].strip()
    return last if named and any(line.strip() for line in lines[first:last]) else end


def _lost_its_times(block: Sequence[str], number: int) -> bool:
    """Whether a SubRip block without times opens with the number that the next cue must have: its times were lost."""
    return number > 0 and len(block) > 1 and bool(_NUMBER.fullmatch(block[0])) and int(block[0]) == number + 1


def _repeated(before: Sequence[str], after: Sequence[str]) -> int:
    """How many lines, four at most, ``after`` begins with that ``before`` ends with."""
    before, after = [line for line in before if line], list(after)
    most = min(4, len(before), len(after))
    return next((n for n in range(most, 0, -1) if before[-n:] == after[:n]), 0)


# ---- words


def _voices(cue: Cue, speakers: bool) -> list[Cue]:
    """One cue per voice (WebVTT's voice spans, or lines that start with a name), all with the cue's times."""
    spans = _VOICE.split(cue.text)
    if len(spans) > 1:
        pairs = [(None, spans[0]), *zip(spans[1::2], spans[2::2], strict=True)]
        return [_piece(cue, name, text) for name, text in pairs if name is not None or _plain(text)]
    if not speakers:
        return [_piece(cue, None, cue.text)]
    pieces: list[tuple[str | None, list[str]]] = []
    for line in cue.text.split("\n"):
        name, rest = _named(_TAG.sub("", line))
        if name is not None or not pieces:
            pieces.append((name, [rest]))
        else:
            pieces[-1][1].append(line)
    return [_piece(cue, name, "\n".join(text)) for name, text in pieces]


def _piece(cue: Cue, name: str | None, text: str) -> Cue:
    return replace(cue, speaker=_plain(name or "") or NOBODY, text=_plain(text))


def _named(line: str) -> tuple[str | None, str]:
    """ "ANN: Hello" -> ("ANN", "Hello"); a name has at most four words, none of which starts with a small letter."""
    match = _NAME.match(line)
    if match is None:
        return None, line
    words = match[2].split()
    if len(words) > 4 or any(word[0].islower() for word in words):
        return None, line
    return match[2].strip(), line[match.end() :]


def _plain(text: str) -> str:
    """Text without formatting tags, with character references resolved and white space folded."""
    bare = _HARD_BREAK.sub(" ", _TAG.sub("", text))
    return " ".join(_ENTITY.sub(lambda match: html.unescape(match[0]), bare).split())
