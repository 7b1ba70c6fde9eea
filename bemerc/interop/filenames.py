"""File names for ids: whatever an id holds, its file lies below the export's folder, and no two ids share one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

# What no file system takes, or takes for something else: a device, a drive, a folder, an end.
_ODD = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
# % stays where it cannot be read as one of these escapes.
_ESCAPE = re.compile(r"%(?=[0-9A-Fa-f]{2}|_|~)")
_RESERVED = {"readme.txt", "columns.json", "utterances.csv"}
# Of 255 bytes, with room for a suffix and the temporary name under which a file is written.
_LONGEST = 180


def file_of(out: Path, id_: str, suffix: str) -> Path:
    """Where an utterance's file goes below ``out``; a / in the id is a folder.

    Characters that lead elsewhere or that some file system does not take are written as %5C; ``..`` is %2E%2E; nothing
    is %_; a part of more than 180 bytes keeps its beginning and its hash.
    """
    *folders, last = id_.split("/")
    # A folder called x.csv would be in the way of the file of an utterance called x.
    parts = [
        _part(folder.removesuffix(suffix)) + ("%2E" + suffix[1:] if folder.endswith(suffix) else "")
        for folder in folders
    ]
    name = _part(last) + suffix
    if not folders and name.lower() in _RESERVED:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return out.joinpath(*parts, name)


def _part(part: str) -> str:
    escaped = _ODD.sub(lambda match: f"%{ord(match[0]):02X}", _ESCAPE.sub("%25", part))
    if not escaped.strip("."):
        escaped = "%2E" * len(escaped) or "%_"
    encoded = escaped.encode()
    if len(encoded) <= _LONGEST:
        return escaped
    start = encoded[: _LONGEST - 40].decode(errors="ignore")
    return f"{start}%~{hashlib.sha256(part.encode()).hexdigest()[:32]}"


def is_plain(ids: Iterable[str], suffix: str) -> bool:
    """Whether every id's file has the id as its name."""
    return all(file_of(Path(), id_, suffix).as_posix() == f"{id_}{suffix}" for id_ in ids)
