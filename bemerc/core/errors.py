"""Exceptions that a user can cause. The command line prints them as sentences, without a stack trace."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class BemercError(Exception):
    """Something a user can fix. The message names the id, the values and the next step."""


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

    ``path``, and ``reason``: the system's words.
    """

    def __init__(self, path: Path, doing: str, reason: str) -> None:
        way = "See that the disk has room and may be written, then run the same command again."
        if reason in _IN_THE_WAY:
            way = "A file is where a folder is wanted, or the other way round: name another place."
        super().__init__(f"{path}: {doing} ({reason}). {way}")
        self.path, self.reason = path, reason


class BusyError(MachineError):
    """Another program has the file at ``path`` open for writing. Nothing is wrong with it."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: it is in use by another program, which has it open for writing. Close it there and run again."
        )
        self.path = path


class CacheError(BemercError):
    """An HDF5 file is not a cache of the expected kind, version or shape."""


class CorpusError(BemercError):
    """A corpus or manifest is not as it must be: missing files, unknown labels, duplicate ids."""


class ModelError(BemercError):
    """A model folder does not fit: another backbone, other token columns, missing or pickled weights."""
