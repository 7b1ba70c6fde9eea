"""The state of the file at a cache's path: may extraction replace it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bemerc.cache import checksum
from bemerc.cache.guard import GuardedFile
from bemerc.cache.opening import open_cache, open_guarded, parts_of
from bemerc.cache.parts import index_digest
from bemerc.cache.schema import SCHEMA
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import JsonError, parse_json


@dataclass(frozen=True)
class CacheState:
    """The file at a cache's path.

    kind      missing
              sound: extracted, and every row is as it was written
              damaged: extracted, and broken or of another schema version; to be made anew
              imported: made of other files, or recomputed; it may exist nowhere else
              foreign: no frame cache, or too broken to tell; it must not be replaced
    reason    why it is damaged or foreign, a sentence
    contents  of a sound one, the hash of what it was made of
    """

    kind: Literal["missing", "sound", "damaged", "imported", "foreign"]
    reason: str = ""
    contents: str = ""


def state_of(path: Path) -> CacheState:
    """Check a file, every row of it. BusyError and DiskError where another program or the disk is in the way."""
    if not path.exists():
        return CacheState("missing")
    try:
        with open_guarded(path) as file:
            origin = _origin(file)
    except CacheError as error:
        return CacheState("foreign", str(error))
    if origin != "ours":
        return CacheState(origin, "" if origin == "imported" else f"{path}: it is no cache that 'bemerc extract' made.")
    try:
        if parts := parts_of(path):
            return _state_of_index(path, parts)
        with open_cache(path) as cache:
            groups = [cache] if cache.others is None else [cache, cache.others]
            damaged = next((id_ for part in groups for id_ in part if not part.is_as_written(id_)), None)
            if damaged is not None or not cache.head_is_as_written():
                of = f"the rows of '{damaged}'" if damaged is not None else "its attributes, failures or notes"
                return CacheState("damaged", f"{path}: {of} are not what was written.")
            return CacheState("sound", "", cache.contents)
    except CacheError as error:
        return CacheState("damaged", str(error))


def _state_of_index(path: Path, parts: Mapping[Path, str]) -> CacheState:
    """Part by part, so that one of them is in memory. Each is what the index says by the hash of what it is made of."""
    for part, contents in parts.items():
        state = state_of(part)
        if (state.kind, state.contents) != ("sound", contents):
            return CacheState(
                "damaged", state.reason or f"{part}: it is not the part that {path.name} was written with."
            )
    with open_guarded(path) as file:
        contents = file.text("contents")
        if file.attribute(checksum.ATTRIBUTE) != index_digest(contents, [*parts.values()]):
            return CacheState("damaged", f"{path}: its attributes are not what was written.")
        return CacheState("sound", "", contents)


def _origin(file: GuardedFile) -> Literal["ours", "imported", "foreign"]:
    """The origin of a file, from attributes that every schema version has."""
    if file.attribute("schema") != SCHEMA:
        return "foreign"
    try:
        extractor, params = file.text("extractor"), parse_json(file.text("params", 1 << 20))
    except (CacheError, JsonError):
        return "foreign"
    imported = "-import/" in extractor or not isinstance(params, dict) or "imported" in params
    return "imported" if imported else "ours"
