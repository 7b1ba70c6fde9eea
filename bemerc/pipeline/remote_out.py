"""An ``--out`` in an object store: a folder of this machine stands before it, where caches are written (sealed) and then
uploaded. Finished clips lie below OUT/store as objects of their own: see bemerc.extraction.remote_store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bemerc.cache import is_part
from bemerc.core import atomic, objects
from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.core.objects import ObjectInfo, Url
from bemerc.extraction import remote_store, scratch

SUFFIXES = (".h5", ".csv")
# What was uploaded: name -> size and stamp there, size and time here.
_RECORD = "uploaded.json"


def folder_of(out: Url, suffixes: Sequence[str] = (".h5",)) -> Path:
    """The folder that stands before ``out``, with its caches as they are there: one that was imported is not replaced
    unseen, and parts that another machine removed are not uploaded again. Raises ObjectError, DiskError.

    suffixes  of the files that are fetched where they are not here: caches
    """
    scratch.of_this_machine()  # made, and nobody else's
    folder = scratch.root() / f"out-{hashlib.sha256(out.text.encode()).hexdigest()[:16]}"
    with atomic.disk(folder, "cannot be made"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    record, there = _record(folder), objects.listed(out)
    # Parts that were never uploaded stay: they are of a seal that was interrupted.
    for name in [name for name in record if is_part(name) and name not in there]:
        with atomic.disk(folder, "the parts of a former cache cannot be removed"):
            (folder / name).unlink(missing_ok=True)
        del record[name]
        _write_record(folder, record)
    for name, info in there.items():
        path = folder / name
        if (
            "/" in name
            or path.suffix not in suffixes
            or (path.exists() and record.get(name, [])[:2] == [info.size, info.stamp])
        ):
            continue
        with atomic.replacing(path) as file:
            objects.fetch(out / name, info.size, file)
        _note(folder, record, name, info)
    remote_store.stand_before(folder / "store", out / "store")
    return folder


def publish(folder: Path, out: Url) -> list[Url]:
    """Upload what was written in the folder since; returns the URLs of all caches and tables."""
    record, urls = _record(folder), []
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()):
        url, stat = out / path.name, path.stat()
        urls.append(url)
        info = objects.info(url)
        if info is not None and record.get(path.name) == [info.size, info.stamp, stat.st_size, stat.st_mtime_ns]:
            continue
        objects.upload(url, str(path))
        info = objects.info(url)
        if info is not None:
            _note(folder, record, path.name, info)
    for name in objects.listed(out):
        if is_part(name) and not (folder / name).exists():  # of a former cache
            objects.remove(out / name)
    return urls


def withdraw(folder: Path, out: Url, names: Iterable[str]) -> None:
    """Remove files there that were removed from the folder."""
    record = _record(folder)
    for name in names:
        objects.remove(out / name)
        record.pop(name, None)
    _write_record(folder, record)


def _note(folder: Path, record: dict[str, Any], name: str, info: ObjectInfo) -> None:
    stat = (folder / name).stat()
    record[name] = [info.size, info.stamp, stat.st_size, stat.st_mtime_ns]
    _write_record(folder, record)


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    atomic.write_text(folder / _RECORD, json.dumps(record))


def _record(folder: Path) -> dict[str, Any]:
    """Damaged or missing, everything is fetched and uploaded again."""
    try:
        record = parse_json((folder / _RECORD).read_text(encoding="utf-8"), "a record of uploads")
    except (OSError, JsonError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
