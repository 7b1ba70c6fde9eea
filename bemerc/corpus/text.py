"""Read text files, and repair wrong encodings and curly quotes, as conversation corpora have them.

Repairs are called by a reader on purpose and counted; text that needs none comes back unchanged.
"""

from __future__ import annotations

from pathlib import Path

from bemerc.core import regular_file
from bemerc.core.errors import CorpusError
from bemerc.corpus.encodings import Decoded, decode

# Files are read whole; 100 MB and half a million rows of a table take less than 1 GB of memory.
MAX_BYTES = 100 * 2**20

CURLY = {"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'}
_STRAIGHT = str.maketrans(CURLY)


def read(path: Path) -> Decoded:
    """Decode a file; CorpusError when it is not there, cannot be read, is no regular file or is larger than
    MAX_BYTES."""
    return decode(read_bytes(path, MAX_BYTES))


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a text file of at most ``max_bytes``; errors as of ``read``."""
    try:
        return regular_file.read_bytes(path, max_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"the file cannot be read ({reason}).", path=path) from None


def repair(text: str) -> str:
    """Undo mojibake: UTF-8 read as another encoding ("Iâ€™m"), CP1252 read as Latin-1 ("I\\x92m"). All else stays.

    >>> repair("Iâ€™m at the cafÃ©")
    'I’m at the café'
    """
    if text.isascii():
        return text
    import ftfy  # here, since it takes a tenth of a second to import

    return ftfy.fix_encoding(text)


def straighten(text: str) -> str:
    """Replace curly quotes by straight ones; dashes, ellipses and accents stay."""
    return text.translate(_STRAIGHT)


def is_broken(text: str) -> bool:
    """Whether text shows signs of a wrong encoding: C1 control characters, U+FFFD, or mojibake."""
    return "\ufffd" in text or any(0x7F <= ord(char) < 0xA0 for char in text) or repair(text) != text
