"""Which files mention utterances or people, and files without the lines that do."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bemerc.behavior.tokens.file import open_tokens
from bemerc.cache import (
    FrameCache,
    Rows,
    clips_per_part,
    open_cache,
    part_path,
    parts_of,
    split_other,
    sweep_parts,
    write_cache,
    write_index,
)
from bemerc.core import atomic, terminal
from bemerc.core.errors import BemercError, CacheError

T = TypeVar("T")

_HDF5 = b"\x89HDF\r\n\x1a\n"
# Tables and JSON lines, which can lose lines and stay what they are.
_BY_LINE = (".jsonl", ".csv", ".txt")


def is_by_line(path: Path) -> bool:
    """Whether a file can lose lines and stay what it is."""
    return path.suffix in _BY_LINE


def mentions(path: Path, ids: Collection[str], speaker: str = "") -> bool:
    """Whether a file's content names one of these utterances or clips, or, as JSON does, the speaker. A file that
    cannot be read is an OSError."""
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
    if start == _HDF5:
        return not _ids_of(path).isdisjoint(ids)
    content = path.read_bytes()
    if speaker and any(f'"speaker": {_json(speaker, ascii)}'.encode() in content for ascii in (True, False)):
        return True
    spellings = {spelling.encode() for id_ in ids for spelling in (id_, _json(id_, True)[1:-1])}
    return any(one in content and re.search(rb"(?<!\w)" + re.escape(one) + rb"(?!\w)", content) for one in spellings)


def _json(text: str, ascii: bool) -> str:
    return json.dumps(text, ensure_ascii=ascii)


def _ids_of(path: Path) -> set[str]:
    try:
        with open_cache(path) as cache:
            return {*cache.ids, *(cache.others or ())}
    except CacheError:
        pass
    try:
        with open_tokens(path) as tokens:
            return {*tokens.ids}
    except BemercError:
        return set()


def without_lines(path: Path, names: Collection[str], *, really: bool) -> int:
    """Take the lines out of a file that have one of these names as a value, or a cell; returns how many they are."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    kept, lines = _table(text, names) if path.suffix == ".csv" else _lines(text, names, path.suffix)
    if lines and really:
        atomic.write_bytes(path, kept.encode("utf-8", errors="surrogateescape"), path.stat().st_mode & 0o777)
    return lines


def _table(text: str, names: Collection[str]) -> tuple[str, int]:
    rows = list(csv.reader(io.StringIO(text, newline="")))
    cells = {*names, *map(terminal.cell, names)}
    kept = [row for row in rows if cells.isdisjoint(row)]
    out = io.StringIO(newline="")
    csv.writer(out).writerows(kept)
    return out.getvalue(), len(rows) - len(kept)


def _lines(text: str, names: Collection[str], suffix: str) -> tuple[str, int]:
    lines = text.splitlines(keepends=True)
    holds = _line_names if suffix == ".jsonl" else _words_name
    kept = [line for line in lines if not holds(line, names)]
    return "".join(kept), len(lines) - len(kept)


def _words_name(line: str, names: Collection[str]) -> bool:
    return any(part.strip() in names for part in line.split("\t"))


def _line_names(line: str, names: Collection[str]) -> bool:
    try:
        return _names(json.loads(line), names)
    except ValueError:
        return any(name in line for name in names)


def _names(value: Any, names: Collection[str]) -> bool:
    """Whether a name stands anywhere in a JSON value, as a key or as a text."""
    if isinstance(value, dict):
        return any(_names(part, names) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_names(part, names) for part in value)
    return isinstance(value, str) and value in names


@dataclass(frozen=True)
class Gone:
    """Utterances that are forgotten, and the name of the person in the pictures of others' ("" where it is not known)."""

    ids: frozenset[str]
    name: str = ""

    def of(self, cache: FrameCache) -> set[str]:
        """The ids of a cache, or of its ``others``, whose rows are forgotten."""
        if not cache.group:
            return {id_ for id_ in (*cache.ids, *cache.sources) if id_ in self.ids}
        split = {id_: split_other(id_) for id_ in cache.ids}
        return {id_ for id_, (of, name) in split.items() if of in self.ids or (self.name and name == self.name)}

    def count(self, cache: FrameCache) -> int:
        """How many rows of a cache are forgotten, in utterances and people."""
        return len(self.of(cache)) + (0 if cache.others is None else len(self.of(cache.others)))


def without_rows(path: Path, gone: Gone) -> None:
    """Write a cache again without some rows, in as many parts as before."""
    parts, clips = parts_of(path), clips_per_part(path)
    if not parts:
        with open_cache(path) as cache:
            _write_without(cache, path, gone)
        return
    kept: dict[Path, str] = {}
    for number, (part, digest) in enumerate(parts.items(), 1):
        with open_cache(part) as cache:
            if gone.count(cache):
                digest = _other_digest(digest, gone)
                part = part_path(path, number, digest)
                _write_without(cache, part, gone, digest)
        kept[part] = digest
    with open_cache(min(kept)) as like:
        write_index(path, like, _other_digest("".join(kept.values()), gone), [*kept.values()], clips)
    sweep_parts(path, kept)


def _other_digest(contents: str, gone: Gone) -> str:
    """Not what anything is sealed under, so that the next run seals it again."""
    return hashlib.sha256("\n".join([contents, gone.name, *sorted(gone.ids)]).encode()).hexdigest()


def _write_without(cache: FrameCache, path: Path, gone: Gone, contents: str = "") -> None:
    others = None if cache.others is None else _without(cache.others, gone)
    write_cache(path, cache.head, _without(cache, gone), others=others, contents=contents)


def _without(cache: FrameCache, gone: Gone) -> Rows:
    """What a cache has of the ids that stay."""
    lost = gone.of(cache)
    ids = [id_ for id_ in cache.ids if id_ not in lost and id_ not in cache.failures]
    clips = ((id_, cache[id_], cache.duration_s(id_), cache.packed_landmarks(id_)) for id_ in ids)

    def kept(of: Mapping[str, T]) -> dict[str, T]:
        return {id_: value for id_, value in of.items() if id_ not in lost}

    return Rows(clips, kept(cache.failures), kept(cache.notes), kept(cache.sources), kept(cache.choices))
