"""Texts of a large corpus in little memory: encoded, end to end, and decoded when they are asked for."""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from bemerc.core.closeable import Closeable

_From = TypeVar("_From")
_To = TypeVar("_To")


class Texts(Sequence[str]):
    """A row of texts, to which more can be added."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._data, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text."""
        self._data += text.encode()
        self._ends.append(len(self._data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(len(self))[at]]
        at = range(len(self))[at]
        return self._data[self._ends[at] : self._ends[at + 1]].decode()


class Mapped(Mapping[str, _To], Generic[_From, _To]):
    """id -> what a function makes of its value, whenever it is asked for."""

    def __init__(self, values: Mapping[str, _From], make: Callable[[_From], _To]) -> None:
        self._values, self._make = values, make

    def __getitem__(self, id_: str) -> _To:
        return self._make(self._values[id_])

    def __contains__(self, id_: object) -> bool:
        return id_ in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class TextTable(Mapped[int, str]):
    """id -> text. ``positions``: id -> the index of its text."""

    def __init__(self, positions: Mapping[str, int], texts: Sequence[str]) -> None:
        super().__init__(positions, texts.__getitem__)


class SpooledTexts(Mapping[str, str], Closeable):
    """id -> text of ids that come in the order of ``key``, in a nameless file of ``folder``, whatever their number.

    OSError where the disk refuses. The file is made with the first text.
    """

    def __init__(self, folder: Path, key: Callable[[str], Any] = str) -> None:
        self._folder, self._key = folder, key
        self._file: Any = None
        self._ids: list[str] = []
        self._ends = array("q", [0])

    def add(self, id_: str, text: str) -> None:
        """Add the text of an id that comes after all others."""
        assert not self._ids or self._key(self._ids[-1]) < self._key(id_), f"{id_} comes after {self._ids[-1]}"
        self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  close() closes it
        data = text.encode()
        self._file.write(data)
        self._ids.append(id_)
        self._ends.append(self._ends[-1] + len(data))

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()

    def __getitem__(self, id_: str) -> str:
        at = bisect_left(self._ids, self._key(id_), key=self._key)
        if at == len(self._ids) or self._ids[at] != id_:
            raise KeyError(id_)
        self._file.flush()
        start, end = self._ends[at], self._ends[at + 1]
        return os.pread(self._file.fileno(), end - start, start).decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)
