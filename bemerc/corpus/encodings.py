"""Which encoding a text is in that is not UTF-8: CP1252, or an East Asian or Cyrillic one where its bytes say so clearly.

In Western text bytes above 127 stand alone among ASCII letters; four of them in a row are another script. Which one is
decided by how many of the characters are common ones of the script: the first level of the national character sets, kana,
Hangul, the commonest Cyrillic letters. The usual detectors weigh whole languages and err on the few lines of a short clip.
"""

from __future__ import annotations

import re
from collections.abc import Callable

WESTERN = "cp1252"
# Bytes that are looked at, and which share of the characters must be common ones. (Ours.)
_ENOUGH = 20_000
_SHARE = 0.8
_KANA_SHARE = 0.2
# These are 45 % of Russian letters and 40 % of Korean syllables; of other scripts taken for them far fewer.
_CYRILLIC, _CYRILLIC_SHARE = "оеаинт", 0.3
_KOREAN, _KOREAN_SHARE = "이다는가을에고의지하어나아요니그안네거세", 0.15

_RUN = re.compile(rb"[\x80-\xff]{4,}")
_ASCII = bytes(range(128))
_PUNCTUATION = re.compile("[\u2010-\u2026\u3000-\u3002\u3008-\u3011\u30fb\u30fc\uff01-\uff5e]")
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_HANGUL = re.compile("[\uac00-\ud7a3]")
_LETTER = re.compile("[\u0410-\u044f\u0401\u0451]")


def guess(odd: bytes) -> str:
    """The name of the encoding of ``odd``, lines that are not UTF-8; ``WESTERN`` where no other one is clear."""
    odd = odd[:_ENOUGH].rpartition(b"\n")[0] if len(odd) > _ENOUGH else odd
    high = len(odd.translate(None, _ASCII))
    if 2 * sum(map(len, _RUN.findall(odd))) < high:
        return WESTERN
    return next((name for name, common in _COMMON.items() if _share(odd, name, common) >= _SHARE), WESTERN)


def _share(odd: bytes, name: str, common: Callable[[str], float]) -> float:
    """The share of common characters among those that are not ASCII; 0 where these bytes are no text of this encoding."""
    try:
        text = "".join(char for char in odd.decode(name) if char > "\x7f")
    except UnicodeDecodeError:
        return 0.0
    words = _PUNCTUATION.sub("", text)
    return common(words) / len(words) if words else 0.0


def _of_level(encoding: str, first: int, last: int) -> Callable[[str], float]:
    """Counts the characters of the rows ``first`` to ``last`` of a national set, which hold the common ones."""
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


# The first that fits is taken: those with kana, letters or syllables that are frequent come before the Chinese ones.
_COMMON: dict[str, Callable[[str], float]] = {
    "cp932": _japanese,
    "euc_jp": _japanese,
    "cp1251": _cyrillic,
    "koi8_r": _cyrillic,
    "cp949": _korean,
    "gb18030": _of_level("gb2312", 0xB0, 0xD7),
    "big5": _of_level("big5", 0xA4, 0xC6),
}
