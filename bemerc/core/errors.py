"""Exceptions that a user can cause. The command line prints them as sentences, without a stack trace."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from bemerc.core.terminal import printable

_LONGEST_PATH = 4096


class BemercError(Exception):
    """Something a user can fix: a sentence that names the values and the next step.

    Fields say what it is about. Those that are given open the message: "PATH, line LINE, ID: sentence".

    path     a file or folder; for a model its folder or name
    line     a line of that file, from 1
    id       an utterance, or whatever has a name
    key      a key of params.yaml or a command-line option
    name     what the sentence itself names: a column, a variant, an id that does not exist. Not in the opening
    missing  nothing was there, in contrast to something that is not as it must be

    Whether the same call can succeed later, with nothing changed by the caller, is its class: a ``MachineError``.
    """

    def __init__(
        self,
        sentence: str = "",
        *,
        path: Path | str | None = None,
        line: int | None = None,
        id: str | None = None,
        key: str | None = None,
        name: str | None = None,
        missing: bool = False,
    ) -> None:
        opening = [key, path and printable(path, _LONGEST_PATH), line and f"line {line}", id and printable(id)]
        where = ", ".join(part for part in opening if part)
        super().__init__(f"{where}: {sentence}" if where else sentence)
        self.path, self.line, self.id, self.key, self.name, self.missing = path, line, id, key, name, missing

    def __reduce__(self) -> Any:
        """Errors come whole from other processes, also where a class is made of other arguments than its message."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[BemercError], args: tuple[str, ...], fields: dict[str, Any]) -> BemercError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class ConfigError(BemercError):
    """params.yaml is not valid; the message lists every fault, one a line."""


class MediaError(BemercError):
    """A clip cannot be read; the message is the reason that the cache keeps for it."""


class MachineError(BemercError):
    """A fault of the machine or of its software: a missing decoder or model, too many open files, a failing disk.

    It is no property of the clip, so it is never stored as its result, and trying again may help.
    """


_IN_THE_WAY = {os.strerror(number) for number in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)}


class DiskError(MachineError):
    """A disk operation failed: full, read-only, not permitted, a folder in the way. Existing files are unchanged.

    ``reason``: the system's words.
    """

    path: Path

    def __init__(self, path: Path, doing: str, reason: str) -> None:
        way = "See that the disk has room and may be written, then run the same command again."
        if reason in _IN_THE_WAY:
            way = "A file is where a folder is wanted, or the other way round: name another place."
        super().__init__(f"{doing} ({reason}). {way}", path=path)
        self.reason = reason


class BusyError(MachineError):
    """Another program has the file at ``path`` open for writing. Nothing is wrong with it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            "it is in use by another program, which has it open for writing. Close it there and run again.", path=path
        )


class CacheError(BemercError):
    """An HDF5 file is not a cache of the expected kind, version or shape."""


class CorpusError(BemercError):
    """A corpus or manifest is not as it must be: missing files, unknown labels, duplicate ids."""


class ModelError(BemercError):
    """A model folder does not fit: another backbone, other token columns, missing or pickled weights."""
