"""What a user can cause, as sentences: the one exception type that the command line prints without a stack trace."""

from __future__ import annotations

from pathlib import Path


class BemercError(Exception):
    """Something a user can mend. The message names the id, the values and the next step."""


class ConfigError(BemercError):
    """params.yaml does not say what the program needs; the message lists every fault at once."""


class MediaError(BemercError):
    """A clip cannot be read; the message is the reason that lands in the cache's failures."""


class MachineError(BemercError):
    """A fault of the machine or of what is installed on it: a missing decoder or model, too many open files, a busy or
    failing disk. It says nothing of the clip, is never stored as a verdict on it, and may be gone next time."""


class DiskError(MachineError):
    """The disk refused: full, read-only, not permitted, a folder in the way. What was there before is unchanged."""

    def __init__(self, path: Path, doing: str, reason: str) -> None:
        super().__init__(
            f"{path}: {doing} ({reason}). See that the disk has room and may be written, then run the same command again."
        )
        self.path, self.reason = path, reason


class BusyError(MachineError):
    """Another program has the file open for writing. Nothing is wrong with it."""

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
