"""A base class for things that must be closed and are used in a ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closeable(ABC):
    """``with`` gives the object itself and closes it at the end, however the block ends."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held; using the object afterwards is an error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
