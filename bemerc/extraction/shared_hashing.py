"""Hashing new clips in several processes at once: each clip is read by one of them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from bemerc.extraction.hash_cache import FileHashCache, HashedFile, UnreadableFile, cache_key
from bemerc.extraction.leases import Leases

_POLL_S = 0.5
# Clips -> leading digits of a path's hash by which they fall into blocks. Processes that count otherwise hash some twice.
_SINGLE_BLOCK, _FEW_BLOCKS = 200, 5000


def hash_shared(
    paths: Iterable[Path], cache: FileHashCache, leases: Leases, of: int, advance: Callable[[int], None]
) -> dict[Path, HashedFile | UnreadableFile]:
    """Hash the files that the cache lacks, in blocks. A block is leased; what another process hashed meanwhile is read
    from the cache.

    of  how many clips there are in all, by which processes agree on the blocks
    """
    digits = 0 if of < _SINGLE_BLOCK else 1 if of < _FEW_BLOCKS else 2
    blocks: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        blocks[cache_key(path)[:digits]].append(path)
    # Processes that start together begin at different blocks.
    waiting = sorted(blocks)
    start = os.getpid() % max(1, len(waiting))
    waiting = waiting[start:] + waiting[:start]
    hashes: dict[Path, HashedFile | UnreadableFile] = {}
    while waiting:
        busy = []
        for name in waiting:
            if leases.acquire(f"hash-{name}"):
                try:
                    hashes |= _hash_block(blocks[name], cache, leases, advance)
                finally:
                    leases.release(f"hash-{name}")
            else:
                busy.append(name)
        if len(busy) == len(waiting):
            time.sleep(_POLL_S)
        waiting = busy
    return hashes


def _hash_block(
    paths: list[Path], cache: FileHashCache, leases: Leases, advance: Callable[[int], None]
) -> dict[Path, HashedFile | UnreadableFile]:
    cache.refresh()
    hashes = {path: file for path, file in cache.looked_up(paths) if file is not None}
    advance(len(hashes))

    def hashed(count: int) -> None:
        leases.beat()
        advance(count)

    return hashes | cache.hash_files([path for path in paths if path not in hashes], hashed, leases.beat)
