"""Attributes of an HDF5 file's root: the library is not asked for what it would read for ever, or with gigabytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import open_cache, write_nothing
from bemerc.cache.attributes import attribute_faults
from bemerc.cache.guard import GuardedFile
from bemerc.core.errors import CacheError

VALUES = {"short": "x", "long": "größe " * 5000, "none": "", "whole": 7, "point": 2.5}
ENTRY = struct.Struct("<HHIQ")


def write(path: Path, values: dict[str, Any], **options: Any) -> int:
    """An HDF5 file with these attributes; where its root's header lies."""
    with h5py.File(path, "w", **options) as file:
        file.create_group("group").attrs["inner"] = "y"
        file.attrs.update(values)
        return int(h5py.h5o.get_info(file.id).addr)


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("ordered", [False, True])
def test_what_any_release_of_the_format_keeps_in_its_header_may_be_read(
    tmp_path: Path, libver: str, ordered: bool
) -> None:
    path = tmp_path / "a.h5"
    root = write(path, VALUES, libver=libver, track_order=ordered)
    assert attribute_faults(path, root) == dict.fromkeys(VALUES, "")
    with GuardedFile(path, "file", "", "") as file:
        assert {name: file.attribute(name) for name in VALUES} == VALUES


def test_what_is_neither_a_text_nor_a_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    odd = {"list": ["a", "b"], "row": np.arange(3), "pairs": np.zeros(2, [("a", "i4")])}
    root = write(path, {"k": 2, **odd})
    faults = attribute_faults(path, root)
    assert {name for name, fault in faults.items() if fault} == set(odd)
    with GuardedFile(path, "file", "", "") as file:
        assert file.attribute("k") == 2
        for name in odd:
            with pytest.raises(CacheError):
                file.attribute(name)


def test_attributes_outside_the_header_are_refused(tmp_path: Path) -> None:
    """The newer format moves many of them into a tree."""
    path = tmp_path / "a.h5"
    write(path, {f"a{i}": "x" for i in range(40)}, libver="latest")
    with GuardedFile(path, "file", "", "") as file, pytest.raises(CacheError):
        file.attribute("a0")


def test_a_file_behind_something_else_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", {"k": 2}, userblock_size=512)
    with pytest.raises(CacheError):
        GuardedFile(tmp_path / "a.h5", "file", "", "")


def heap(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Where the first heap of texts lies, and (place, number) of its entries."""
    start = data.index(b"GCOL")
    entries, at = [], start + 16
    while at < start + 4096:
        number, _, _, size = ENTRY.unpack_from(data, at)
        entries.append((at, number))
        at += 16 + -(-size // 8) * 8 if number else size
    return start, entries


def spoiled(data: bytes, way: str) -> bytes:
    start, entries = heap(data)
    changed = bytearray(data)
    first, (last, _) = entries[0][0], entries[-1]
    if way == "for ever":  # the room that is left takes none, so that the library never comes to the end
        ENTRY.pack_into(changed, first, 0, 0, 0, 0)
    elif way == "for ever at the end":
        ENTRY.pack_into(changed, last, 0, 0, 0, 0)
    elif way == "an entry beyond the end":
        ENTRY.pack_into(changed, first, 1, 1, 0, 1 << 40)
    elif way == "a heap beyond the end":
        struct.pack_into("<Q", changed, start + 8, 1 << 40)
    elif way == "no heap":
        changed[start : start + 4] = b"HEAP"
    else:  # the attribute's own length, which is allocated before it is compared
        at = changed.index(struct.pack("<IQI", len("bemerc-frames"), start, 1))
        struct.pack_into("<I", changed, at, 0xF000_0000)
    return bytes(changed)


@pytest.mark.parametrize(
    "way", ["for ever", "for ever at the end", "an entry beyond the end", "a heap beyond the end", "no heap", "4 GB"]
)
def test_a_damaged_heap_of_texts_is_a_sentence_at_once(tmp_path: Path, way: str) -> None:
    path = tmp_path / "face.h5"
    write_nothing(path, "face")
    path.write_bytes(spoiled(path.read_bytes(), way))
    with pytest.raises(CacheError):
        open_cache(path)


def test_headers_that_lead_nowhere_are_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    root = write(path, VALUES)
    whole = path.read_bytes()
    more = struct.pack("<HHIQQ", 0x10, 16, 0, root + 16, 24)  # a part of the header that names itself
    for at, bytes_ in ((root, b"\x09"), (root + 16, more), (root + 24, struct.pack("<QQ", 1 << 60, 96))):
        path.write_bytes(whole[:at] + bytes_ + whole[at + len(bytes_) :])
        with pytest.raises(ValueError, match=r"its|none"):
            attribute_faults(path, root)
