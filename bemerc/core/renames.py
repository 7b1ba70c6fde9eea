"""Names that changed in saved things, and their readers: a key of params, a weight in a state dict, a file.

The new name is written, and the old one is read for one release, with a warning on the log that says the new one. A
dataclass of params names its fields' old names beside them (``formerly``), which ``config`` reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)
# Once per name and process: a params file is read many times in one run.
_warned: set[tuple[str, str]] = set()


def warn(old: str, new: str) -> None:
    """Log that ``old`` was read where ``new`` is what it is called now; the same pair once per process."""
    if (old, new) not in _warned:
        _warned.add((old, new))
        log.warning("%s is called %s now; the old name is read in this release only.", old, new)


def formerly(key: str = "", values: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Metadata of a dataclass field: the key's old name, and old values with the new ones that they stand for."""
    return {"formerly": key, "former_values": values}


def current_path(path: Path, *former: str) -> Path:
    """``path``, or the file or folder of a former name beside it where only that is there."""
    if not path.exists():
        for name in former:
            if path.with_name(name).exists():
                warn(str(path.with_name(name)), path.name)
                return path.with_name(name)
    return path


def current_keys(values: Mapping[str, T], renamed: Mapping[str, str], where: Path | str) -> dict[str, T]:
    """``values`` with each part between dots of a key that ``renamed`` (old -> new) holds under its new name."""
    names = {key: ".".join(renamed.get(part, part) for part in key.split(".")) for key in values}
    for key, name in names.items():
        if key != name:
            warn(f"{where}: weight {key}", name)
            break  # one line for a file
    return {name: values[key] for key, name in names.items()}


def former_names(fields: Iterable[Any]) -> dict[str, str]:
    """Old key -> new key, over the fields of a dataclass."""
    return {f.metadata["formerly"]: f.name for f in fields if f.metadata.get("formerly")}
