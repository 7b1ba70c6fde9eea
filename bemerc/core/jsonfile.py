"""JSON that somebody else may have written: read with bounds on size, depth and numbers, and refused in a sentence.

``json.loads`` takes NaN, numbers that no float holds, the same key twice (the last one wins, silently), half a surrogate
pair, which cannot be written again, and a nesting that ends in a RecursionError. What is read here has none of these.
That it has the right keys and types is for the caller to check.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from bemerc.core.errors import BemercError, DiskError
from bemerc.core.terminal import printable

# A value takes up to some 40 times the bytes of its text in memory ("[]," is a list of 56 bytes).
MOST_BYTES = 16 << 20
MOST_LINE_BYTES = 1 << 20
MOST_DEPTH = 32
# Nothing here counts beyond 64 bits, and float() of a huge one fails; but many tokenizers set model_max_length to 10**30.
_MOST_DIGITS = 31


class JsonError(BemercError):
    """A text is no JSON that is admitted here. ``path``: the file, or what the text is called; ``reason``: a clause;
    ``missing``: there is no such file."""

    def __init__(self, path: Path | str, reason: str, *, missing: bool = False) -> None:
        super().__init__(f"{printable(path)}: {reason}.")
        self.path, self.reason, self.missing = path, reason, missing


def read_json(path: Path, most_bytes: int = MOST_BYTES, *, nan: bool = False) -> Any:
    """The value that a file of JSON holds. JsonError where it is missing, too large or not admitted; DiskError where the
    disk refuses. ``nan`` admits NaN and infinities."""
    with _opened(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise JsonError(path, f"it is larger than {most_bytes} bytes, which no file of its kind is")
    return parse_json(data, path, nan=nan)


def read_json_lines(
    path: Path, most_line_bytes: int = MOST_LINE_BYTES, *, nan: bool = False
) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of each line that is not blank, read one by one; errors as of ``read_json``, with the line."""
    with _opened(path) as file:
        number = 0
        while line := file.readline(most_line_bytes + 1):
            number += 1
            if len(line) > most_line_bytes:
                raise JsonError(f"{path}, line {number}", f"it is longer than {most_line_bytes} bytes")
            if line.strip():
                yield number, parse_json(line, f"{path}, line {number}", nan=nan)


def parse_json(text: str | bytes, path: Path | str = "JSON", *, nan: bool = False) -> Any:
    """The value of a text that is at hand. ``path`` is what messages call it. Raises JsonError."""
    refused = _refuse_constant if not nan else float
    number = _finite if not nan else float
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        value = json.loads(
            whole, parse_constant=refused, parse_float=number, parse_int=_whole, object_pairs_hook=_without_twins
        )
        _check(value, surrogates="\\u" in whole or not whole.isascii())
    except RecursionError:
        raise JsonError(path, f"it is nested deeper than {MOST_DEPTH} levels") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError among them
        raise JsonError(path, f"this is not JSON that is admitted here ({printable(error)})") from None
    return value


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file open for reading: a pipe would be waited for, a device has no end."""
    try:
        if path.exists() and not path.is_file():
            raise JsonError(path, "it is no ordinary file")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise JsonError(path, "there is no such file", missing=True) from None
    except OSError as error:
        raise DiskError(path, "cannot be read", error.strerror or str(error)) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is larger than a number can be")
    return number


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text[:20]}... is larger than a number can be")
    return int(text)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twin}' stands there twice")
    return found


def _check(value: Any, surrogates: bool) -> None:
    """Bound the depth, and refuse half surrogate pairs, without recursion. ValueError, RecursionError."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH and any(isinstance(item, dict | list) for item in level):
            raise RecursionError
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
                below += item if surrogates else ()
            elif isinstance(item, list):
                below += item
            elif surrogates and isinstance(item, str):
                item.encode()  # UnicodeEncodeError is a ValueError
        level = below
