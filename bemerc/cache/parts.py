"""A frame cache in several files: ``face.h5`` is then an index, and parts of the corpus lie beside it, each a whole cache.

    attributes  as of every cache, with the schema version INDEX_VERSION; part_clips: utterances per part
    parts (P,)  the attribute ``contents`` of each part, in order

Part 1 of face.h5 is face-0001-XXXXXXXX.h5, X the beginning of its contents. So the index holds no path, the parts of a
former index stay what they are until it is replaced, and of a seal that was interrupted the finished parts are kept.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import checksum
from bemerc.cache.guard import GuardedFile
from bemerc.cache.read import FrameCache
from bemerc.cache.read_checks import in_order
from bemerc.cache.schema import KINDS, NO_POINT, Features, Kind, PackedLandmarks
from bemerc.core.terminal import printable

INDEX, PART_CLIPS = "parts", "part_clips"
# Every part is open while the cache is, of four caches side by side, and macOS allows a process 256 open files.
MOST_PARTS = 50
_CONTENTS = re.compile("[0-9a-f]{64}")
_PART = r"-\d{4}-[0-9a-f]{8}\.h5"
_T = TypeVar("_T")


def part_path(index: Path, number: int, contents: str) -> Path:
    """The file of a part, beside its index."""
    return index.with_name(f"{index.stem}-{number:04d}-{contents[:8]}.h5")


def part_paths(file: GuardedFile) -> dict[Path, str]:
    """The parts of an open index, with the ``contents`` of each; none where it is a cache itself. CacheError where the
    list is none."""
    if INDEX not in file:
        return {}
    names = file.strings(INDEX, MOST_PARTS)
    if not names or not all(_CONTENTS.fullmatch(name) for name in names):
        raise file.damaged("its list of parts is damaged.")
    return {part_path(file.path, number, name): name for number, name in enumerate(names, 1)}


def is_part(name: str) -> bool:
    """Whether a file's name is one of a part of a cache."""
    return re.fullmatch(f"({'|'.join(KINDS)}){_PART}", name) is not None


def index_digest(contents: str, parts: Sequence[str]) -> str:
    """The checksum of an index."""
    return checksum.of_json([contents, parts])


def sweep_parts(index: Path, kept: Iterable[Path]) -> None:
    """Remove the parts of former indexes."""
    for path in {*index.parent.glob(f"{index.stem}-*.h5")} - {*kept}:
        if re.fullmatch(re.escape(index.stem) + _PART, path.name):
            path.unlink(missing_ok=True)


def _merged(parts: Iterable[Mapping[str, _T]]) -> Mapping[str, _T]:
    """What the parts have, in their order. (A ChainMap begins with its last; it writes nothing here.)"""
    return ChainMap(*reversed([cast("MutableMapping[str, _T]", part) for part in parts]))


class PartedCache(FrameCache):
    """An open cache in several files, or (``group``) the other people of all of them. CacheError where the parts
    contradict each other or the index."""

    def __init__(self, path: Path, parts: Sequence[FrameCache], file: GuardedFile | None, group: str = "") -> None:
        self.path, self.group, self._parts = path, group, parts
        first = parts[0]
        self._file = first._file if file is None else file
        self.modality: Kind = first.modality
        self.extractor, self.params, self._params_text = first.extractor, first.params, first._params_text
        self.rate: Literal["clip"] | float = first.rate
        self.columns = first.columns
        self.contents = self._file.text("contents")
        self.ids = tuple(itertools.chain.from_iterable(part.ids for part in parts))
        self._starts = [0, *itertools.accumulate(len(part) for part in parts)]
        self._rows_before = [0, *itertools.accumulate(int(part._offsets[-1]) for part in parts)]
        offsets = [part._offsets[:-1] + before for part, before in zip(parts, self._rows_before, strict=False)]
        self._offsets: NDArray[np.int64] = np.concatenate([*offsets, np.array(self._rows_before[-1:], np.int64)])
        self._duration_s: NDArray[np.float64] = np.concatenate([part._duration_s for part in parts])
        self.failures, self.notes = _merged(part.failures for part in parts), _merged(part.notes for part in parts)
        self.sources, self.choices = _merged(part.sources for part in parts), _merged(part.choices for part in parts)
        self.has_checksums = all(part.has_checksums for part in parts)
        self._position = {id_: i for i, id_ in enumerate(self.ids)}
        self.has_landmarks = any(part.has_landmarks for part in parts)
        self._check()
        others = [part.others for part in parts if part.others is not None]
        self.others = PartedCache(path, others, None, others[0].group) if others else None

    @classmethod
    def open(
        cls, file: GuardedFile, modality: Kind | None, opened: Callable[[Path, Kind | None], FrameCache]
    ) -> PartedCache:
        """Open all parts of an index, each by ``opened``."""
        paths = part_paths(file)
        with ExitStack() as stack:
            parts = []
            for part in paths:
                if not part.is_file():
                    raise file.damaged(f"its part {printable(part.name)} is not beside it.")
                parts.append(stack.enter_context(opened(part, modality)))
            cache = cls(file.path, parts, file)
            if [part.contents for part in parts] != [*paths.values()]:
                raise file.damaged("a part is not the one that it was written with.")
            stack.pop_all()
        return cache

    def _check(self) -> None:
        heads = {(part.modality, part.extractor, part._params_text, part.rate, part.columns) for part in self._parts}
        if len(heads) != 1 or not in_order(self.ids, self.group):
            raise self._file.damaged("its parts do not belong together.")

    def _part(self, id_: str) -> FrameCache:
        return self._parts[bisect.bisect_right(self._starts, self._at(id_)) - 1]

    def close(self) -> None:
        """Close all files."""
        for part in self._parts:
            part.close()
        self._file.close()

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and its parts."""
        return self.path, *(part.path for part in self._parts)

    def unchecked(self, id_: str) -> Features:
        return self._part(id_).unchecked(id_)

    @property
    def landmark_points(self) -> int:
        return max(part.landmark_points for part in self._parts)

    def packed_landmarks(self, id_: str, first: int = 0, end: int | None = None) -> PackedLandmarks | None:
        packed = self._part(id_).packed_landmarks(id_, first, end)
        if packed is not None or not self.has_landmarks:
            return packed
        # Nobody in that part has any: what one file would hold of them.
        rows = len(range(self.frames(id_))[first:end])
        points = np.full((rows, self.landmark_points, 3), NO_POINT, np.int16)
        return PackedLandmarks(points, np.full((rows, 4), np.nan, np.float32))

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        spans = zip(self._parts, itertools.pairwise(self._rows_before), strict=True)
        blocks = [
            part.block(max(first, start) - start, min(end, stop) - start)
            for part, (start, stop) in spans
            if max(first, start) < min(end, stop)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self.columns)), np.float32)

    def is_as_written(self, id_: str) -> bool:
        return self._part(id_).is_as_written(id_)

    def head_is_as_written(self) -> bool:
        """The same of the heads of all parts; and whether the index names them all."""
        parts = [part.contents for part in self._parts]
        same = self._file.attribute(checksum.ATTRIBUTE) == index_digest(self.contents, parts)
        return same and all(part.head_is_as_written() for part in self._parts)
