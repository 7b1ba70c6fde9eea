"""Decode text files: UTF-8, UTF-16, UTF-32, CP1252, and East Asian and Cyrillic encodings where they are clear.

In Western text, bytes above 127 stand alone among ASCII letters; four in a row are another script. Its encoding is the
one in which most characters are common ones: the first level of the national character sets, kana, Hangul, the most
frequent Cyrillic letters. (General detectors are trained on whole texts and err on the few lines of a short clip.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

WESTERN = "cp1252"
# Bytes that are analysed, and the share of characters that must be common ones. (Ours.)
_MAX_ANALYSED = 20_000
_SHARE = 0.8
_KANA_SHARE = 0.2
# These are 45 % of Russian letters and 40 % of Korean syllables, and far fewer of other scripts decoded as these.
_CYRILLIC, _CYRILLIC_SHARE = "оеаинт", 0.3
_KOREAN, _KOREAN_SHARE = "이다는가을에고의지하어나아요니그안네거세", 0.15

_RUN = re.compile(rb"[\x80-\xff]{4,}")
_ASCII = bytes(range(128))
_PUNCTUATION = re.compile("[\u2010-\u2026\u3000-\u3002\u3008-\u3011\u30fb\u30fc\uff01-\uff5e]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_LETTER = re.compile("[\u0410-\u044f\u0401\u0451]")


def guess(odd: bytes) -> str:
    """The name of the encoding of ``odd``, lines that are not UTF-8; WESTERN unless another one is clear."""
    odd = odd[:_MAX_ANALYSED].rpartition(b"\n")[0] if len(odd) > _MAX_ANALYSED else odd
    high = len(odd.translate(None, _ASCII))
    if 2 * sum(map(len, _RUN.findall(odd))) < high:
        return WESTERN
    return next((name for name, common in _COMMON.items() if _share(odd, name, common) >= _SHARE), WESTERN)


def _share(odd: bytes, name: str, common: Callable[[str], float]) -> float:
    """The share of common characters among those that are not ASCII; 0 where the bytes are not valid in this
    encoding."""
    try:
        text = "".join(char for char in odd.decode(name) if char > "\x7f")
    except UnicodeDecodeError:
        return 0.0
    words = _PUNCTUATION.sub("", text)
    return common(words) / len(words) if words else 0.0


def _of_level(encoding: str, first: int, last: int) -> Callable[[str], float]:
    """A function that counts characters in the rows ``first`` to ``last`` of a national set, which hold the common
    ones."""
    return lambda text: sum(first <= byte <= last for byte in text.encode(encoding, "ignore")[::2])


def _japanese(text: str) -> float:
    kana = len(_KANA.findall(text))
    return kana + _of_level("euc_jp", 0xB0, 0xCF)(_KANA.sub("", text)) if kana >= _KANA_SHARE * len(text) else 0.0


def _korean(text: str) -> float:
    frequent = sum(map(text.count, _KOREAN))
    return len(_HANGUL.findall(text)) if frequent >= _KOREAN_SHARE * len(text) else 0.0


def _cyrillic(text: str) -> float:
    frequent = sum(map(text.count, _CYRILLIC))
    return len(_LETTER.findall(text)) if frequent >= _CYRILLIC_SHARE * len(text) else 0.0


# The first match is taken: encodings tested by kana, letters or syllables come before the Chinese ones.
_COMMON: dict[str, Callable[[str], float]] = {
    "cp932": _japanese,
    "euc_jp": _japanese,
    "cp1251": _cyrillic,
    "koi8_r": _cyrillic,
    "cp949": _korean,
    "gb18030": _of_level("gb2312", 0xB0, 0xD7),
    "big5": _of_level("big5", 0xA4, 0xC6),
}

# Characters of subtitles and tables in any language.
_COMMON_ASCII = frozenset(b"\r\n\t 0123456789:,.->")


@dataclass(frozen=True)
class Decoded:
    """A file's text; the numbers of the lines (from 1) that were not UTF-8, and the encoding as which they were
    decoded."""

    text: str
    odd_lines: tuple[int, ...] = ()
    encoding: str = WESTERN

    def describe_odd_lines(self, listed: int = 5) -> str:
        """A sentence that counts the lines that were not UTF-8 and names the first ones; empty where there are none."""
        if not self.odd_lines:
            return ""
        first = ", ".join(map(str, self.odd_lines[:listed]))
        if len(self.odd_lines) == 1:
            return f"Line {first} is not UTF-8 and was read as {self.encoding.upper()}."
        return f"{len(self.odd_lines)} lines are not UTF-8 and were read as {self.encoding.upper()}, the first of them {first}."


def decode(raw: bytes) -> Decoded:
    """Decode a file's bytes: UTF-32 and UTF-16 by byte order mark or zero bytes, else UTF-8, else line by line
    (``guess``)."""
    if wide := _wide_encoding(raw):
        return Decoded(raw.decode(wide, "replace").removeprefix("\ufeff"))
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError:
        pass
    lines = raw.split(b"\n")
    odd = {number: line for number, line in enumerate(lines, 1) if not _is_utf8(line)}
    encoding = guess(b"\n".join(odd.values()))
    texts = [_legacy(line, encoding) if number in odd else line.decode() for number, line in enumerate(lines, 1)]
    return Decoded("\n".join(texts), tuple(odd), encoding)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wide_encoding(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by the first bytes, or None.

    Without a byte order mark: every second byte of an ASCII character in UTF-16 is zero, and no text in another
    encoding has zeros. In other scripts only digits and line ends are such characters, and a few letters have a zero
    in the other place.
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
    big, little = (
        sum(a == 0 and b in _COMMON_ASCII for a, b in pairs),
        sum(b == 0 and a in _COMMON_ASCII for a, b in pairs),
    )
    if max(big, little) < max(8, 4 * min(big, little)):
        return None
    return "utf-16-be" if big > little else "utf-16-le"


def _legacy(line: bytes, encoding: str) -> str:
    import ftfy.bad_codecs  # noqa: F401  registers CP1252 with its five undefined bytes as control characters

    try:
        return line.decode("sloppy-windows-1252" if encoding == WESTERN else encoding)
    except UnicodeDecodeError:
        return line.decode("sloppy-windows-1252")
