"""Read untrusted JSON, with bounds on size, depth and numbers.

Refused with JsonError, where ``json.loads`` accepts or fails otherwise: NaN and infinities (unless asked for), numbers
beyond a float, duplicate keys, lone surrogates, deep nesting. Callers check keys and types.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from bemerc.core.errors import BemercError, DiskError
from bemerc.core.terminal import printable

# A value takes up to some 40 times the bytes of its text in memory ("[]," is a list of 56 bytes).
MAX_BYTES = 16 << 20
MAX_LINE_BYTES = 1 << 20
MAX_DEPTH = 32
# Nothing here counts beyond 64 bits, and float() of a huge one fails; but many tokenizers set model_max_length to
# 10**30.
_MAX_DIGITS = 31
_LONGEST_REASON = 500
E = TypeVar("E", bound=BemercError)


class JsonError(BemercError):
    """Text is not JSON as accepted here. ``path``: the file, or what messages call the text; ``reason``: a clause."""

    path: Path | str

    def __init__(self, path: Path | str, reason: str, *, line: int | None = None, missing: bool = False) -> None:
        super().__init__(f"{reason}.", path=path, line=line, missing=missing)
        self.reason = reason

    def become(self, kind: type[E], missing: str, again: str, path: Path | None = None) -> E:
        """This fault as an error of ``kind``: the sentence ``missing``, about ``path`` or the file, where there is no file;
        else the reason and ``again``, how to make the file anew."""
        if self.missing:
            return kind(missing, path=path or self.path, missing=True)
        return kind(f"{printable(self.reason, _LONGEST_REASON)}. {again}", path=self.path, line=self.line)


def read_json(path: Path, max_bytes: int = MAX_BYTES, *, nan: bool = False) -> Any:
    """The value in a JSON file; ``nan`` accepts NaN and infinities.

    Raises JsonError where the file is missing, too large or not valid, DiskError where it cannot be read.
    """
    with _opened(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise JsonError(path, f"it is larger than {max_bytes} bytes")
    return parse_json(data, path, nan=nan)


def read_json_lines(path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, Any]]:
    """Yield (line number from 1, value) of each line that is not blank; errors as of ``read_json``, with the line."""
    with _opened(path) as file:
        number = 0
        while line := file.readline(max_line_bytes + 1):
            number += 1
            if len(line) > max_line_bytes:
                raise JsonError(path, f"it is longer than {max_line_bytes} bytes", line=number)
            if line.strip():
                yield number, parse_json(line, path, number)


def parse_json(text: str | bytes, path: Path | str = "JSON", line: int | None = None, *, nan: bool = False) -> Any:
    """The value of JSON text, which messages call ``path``, or its ``line``. Raises JsonError."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = json.loads(
            decoded,
            parse_constant=float if nan else _refuse_constant,
            parse_float=float if nan else _finite,
            parse_int=_integer,
            object_pairs_hook=_unique_keys,
        )
        _check(value, surrogates="\\u" in decoded or not decoded.isascii())
    except RecursionError:
        raise JsonError(path, f"it is nested deeper than {MAX_DEPTH} levels", line=line) from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError among them
        raise JsonError(path, f"this is not JSON as accepted here ({printable(error)})", line=line) from None
    return value


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A regular file open for reading: opening a pipe would wait for its writer, and a device has no end."""
    try:
        if path.exists() and not path.is_file():
            raise JsonError(path, "it is no regular file")
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


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{text[:20]}... is larger than a number can be")
    return int(text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate key '{duplicate}'")
    return mapping


def _check(value: Any, surrogates: bool) -> None:
    """Raise RecursionError beyond MAX_DEPTH and, with ``surrogates``, ValueError for lone surrogates; not recursive."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH and any(isinstance(item, dict | list) for item in level):
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
