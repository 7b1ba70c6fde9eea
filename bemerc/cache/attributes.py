"""Checks of the root attributes of an HDF5 file, byte by byte, before the library reads them.

A text lies in a heap, which the library walks without a check of its own: where a size is damaged it walks for ever,
deaf to Ctrl-C, and a length of four gigabytes is allocated before it is checked. So the root's header is read here
first (the format's specification, version 3, sections III.E and IV), and what could not be read is refused.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_MOST_BLOCKS, _MOST_BLOCK_BYTES, _MOST_HEAP_BYTES = 64, 1 << 20, 1 << 24
_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_SHARED = 0x02
# Whole numbers, numbers with a point, texts of a fixed length; and texts of any length, which lie in a heap.
_NUMBER, _DECIMAL, _FIXED, _IN_HEAP = 0, 1, 3, 9


def attribute_faults(path: Path, root: int) -> dict[str, str]:
    """Name -> why this attribute of the object at byte ``root`` must not be read, as a clause; empty where it may be.

    An attribute that is not among them is not kept in the header. Raises ValueError where the header itself is damaged,
    OSError where the disk refuses.
    """
    with path.open("rb") as file:
        return dict(_checked(file, flags, data) for kind, flags, data in _messages(file, root) if kind == _ATTRIBUTE)


def _bytes(file: IO[bytes], at: int, length: int) -> bytes:
    if not 0 <= length <= _MOST_HEAP_BYTES or at + length > os.fstat(file.fileno()).st_size:
        raise ValueError(f"{length} bytes at {at} are none that it holds")
    file.seek(at)
    return file.read(length)


def _unpacked(form: str, data: bytes, at: int = 0) -> tuple[int, ...]:
    try:
        return struct.unpack_from(f"<{form}", data, at)
    except struct.error:
        raise ValueError("a part of the header ends too early") from None


def _messages(file: IO[bytes], root: int) -> Iterator[tuple[int, int, bytes]]:
    """(kind, flags, data) of each message of an object's header, of either version of the format."""
    start = _bytes(file, root, 16)
    new = start[:4] == b"OHDR"
    flags = start[5] if new else 0
    if new:
        at = root + 6 + 16 * bool(flags & 0x20) + 4 * bool(flags & 0x10)
        width = 1 << (flags & 3)
        blocks = [(at + width, int.from_bytes(_bytes(file, at, width), "little"))]
    elif start[0] == 1:
        blocks = [(root + 16, _unpacked("I", start, 8)[0])]
    else:
        raise ValueError("its root is no object")
    form, head = ("BHB", 4 + 2 * bool(flags & 0x04)) if new else ("HHB", 8)
    for number, (at, length) in enumerate(blocks):  # which grow meanwhile
        if number >= _MOST_BLOCKS:
            raise ValueError("its header has too many parts")
        block = _bytes(file, at, min(length, _MOST_BLOCK_BYTES))
        offset = 0
        while offset + head <= length:
            kind, size, marks = _unpacked(form, block, offset)
            data = block[offset + head : offset + head + size]
            if kind == _CONTINUATION:
                address, block_bytes = _unpacked("QQ", data)
                # Parts of the newer kind begin with a mark and end with a checksum.
                blocks.append((address + 4, block_bytes - 8) if new else (address, block_bytes))
            yield kind, marks, data
            offset += head + size


def _checked(file: IO[bytes], flags: int, data: bytes) -> tuple[str, str]:
    """An attribute's name, and why it must not be read."""
    version, _, name_size, type_size, space_size = _unpacked("BBHHH", data)
    # The first version pads each part to 8 bytes, the third says how the name is encoded.
    step = 8 if version == 1 else 1
    at = 8 + (version == 3)
    parts = []
    for size in (name_size, type_size, space_size):
        parts.append(data[at : at + size])
        at += -(-size // step) * step
    name = parts[0].partition(b"\0")[0].decode(errors="replace")
    if flags & _SHARED or (version > 1 and data[1]):
        return name, "its type lies elsewhere"
    kind, (rank,) = parts[1][:1], _unpacked("B", parts[2], 1)
    if rank or not kind or kind[0] & 15 not in (_NUMBER, _DECIMAL, _FIXED, _IN_HEAP):
        return name, "it is neither a text nor a number"
    return name, _heap_fault(file, *_unpacked("IQI", data, at)) if kind[0] & 15 == _IN_HEAP else ""


def _heap_fault(file: IO[bytes], length: int, heap: int, entry: int) -> str:
    """Why a text of ``length`` bytes cannot be read from an entry of the heap at byte ``heap``."""
    if not heap:
        return "" if not length else "its text is nowhere"
    head = _bytes(file, heap, 16)
    if head[:5] != b"GCOL\x01":
        return "its text lies in no heap"
    sizes = dict(_entries(_bytes(file, heap, *_unpacked("Q", head, 8))))
    return "" if sizes.get(entry) == length else "its text is not as long as it should be"


def _entries(heap: bytes) -> Iterator[tuple[int, int]]:
    """(number, bytes) of each entry of a heap; number 0 is the room that is left, whose size includes its own head."""
    at = 16
    while at + 16 <= len(heap):
        number, _, _, size = _unpacked("HHIQ", heap, at)
        step = 16 + -(-size // 8) * 8 if number else size
        if step < 16 or at + step > len(heap):
            raise ValueError("a heap of texts is damaged")
        yield number, size
        at += step
