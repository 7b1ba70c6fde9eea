"""Hashing new clips in several processes at once: each clip is read, or fetched, by one of them."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from bemerc.core.objects import Url
from bemerc.extraction.hash_cache import HashedFile, UnreadableFile, cache_key
from bemerc.extraction.leases import Leases

_POLL_S = 0.5
# Clips -> leading digits of a path's hash by which they fall into blocks. Processes that count otherwise hash some twice.
_SINGLE_BLOCK, _FEW_BLOCKS = 200, 5000

Clip = TypeVar("Clip", Path, Url)


class Hashing(Protocol[Clip]):
    """How clips of one kind are hashed."""

    def looked_up_again(self, clips: Iterable[Clip]) -> dict[Clip, HashedFile | UnreadableFile]:
        """Those that were hashed meanwhile, by whomever."""

    def hash(
        self, clips: Iterable[Clip], advance: Callable[[int], None], heartbeat: Callable[[], None]
    ) -> dict[Clip, HashedFile | UnreadableFile]:
        """Hash clips, and tell other processes."""


def hash_shared(
    clips: Iterable[Clip], hashing: Hashing[Clip], leases: Leases, of: int, advance: Callable[[int], None]
) -> dict[Clip, HashedFile | UnreadableFile]:
    """Hash clips that nobody has hashed yet, in blocks. A block is leased; what another process hashed meanwhile is known
    then.

    of  how many clips there are in all, by which processes agree on the blocks
    """
    digits = 0 if of < _SINGLE_BLOCK else 1 if of < _FEW_BLOCKS else 2
    blocks: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        blocks[cache_key(clip)[:digits]].append(clip)
    # Processes that start together begin at different blocks.
    waiting = sorted(blocks)
    start = os.getpid() % max(1, len(waiting))
    waiting = waiting[start:] + waiting[:start]
    hashes: dict[Clip, HashedFile | UnreadableFile] = {}
    while waiting:
        busy = []
        for name in waiting:
            if leases.acquire(f"hash-{name}"):
                try:
                    hashes |= _hash_block(blocks[name], hashing, leases, advance)
                finally:
                    leases.release(f"hash-{name}")
            else:
                busy.append(name)
        if len(busy) == len(waiting):
            time.sleep(_POLL_S)
        waiting = busy
    return hashes


def _hash_block(
    clips: list[Clip], hashing: Hashing[Clip], leases: Leases, advance: Callable[[int], None]
) -> dict[Clip, HashedFile | UnreadableFile]:
    hashes = hashing.looked_up_again(clips)
    advance(len(hashes))

    def hashed(count: int) -> None:
        leases.beat()
        advance(count)

    return hashes | hashing.hash([clip for clip in clips if clip not in hashes], hashed, leases.beat)
