"""Writing a frame cache: atomically, in bounded memory, to the same bytes each time."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.cache import checksum
from bemerc.cache.datasets import GrowingRows, strings
from bemerc.cache.parts import INDEX, PART_CLIPS, index_digest
from bemerc.cache.read import FrameCache
from bemerc.cache.schema import (
    INDEX_VERSION,
    NO_POINT,
    OTHERS,
    PAIRS,
    SCHEMA,
    SCHEMA_VERSION,
    Choice,
    Features,
    Head,
    Kind,
    PackedLandmarks,
    pack_landmarks,
    split_other,
)
from bemerc.cache.texts import Mapped, SpooledTexts, Texts, TextTable
from bemerc.core.atomic import PRIVATE, disk, replacing_path, sweep_partials

_Row = tuple[str, Features, float, NDArray[np.float32] | PackedLandmarks | None]


@dataclass(frozen=True)
class Rows:
    """What a cache holds of utterances, or of other people in their pictures (by ids of ``id_of_other``).

    clips     (id, features, duration_s, landmarks or None) in sorted id order, other people's in the order of
              (utterance, name); landmarks (T, P, 3) float32 or packed
    failures  id -> reason; these ids must not be among ``clips`` and get no rows
    notes     id -> what is missing or odd; may be filled while ``clips`` is consumed
    sources   id -> SHA-256 of its clip or file
    choices   id -> choice of the target face, or its JSON; may be filled while ``clips`` is consumed
    """

    clips: Iterable[_Row]
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] | SpooledTexts = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, Choice] | SpooledTexts = field(default_factory=dict)

    def texts(self) -> dict[str, Mapping[str, str]]:
        """All but the clips, as it is stored: group -> id -> text."""
        choices = self.choices if isinstance(self.choices, SpooledTexts) else Mapped(self.choices, Choice.as_json)
        return {"failures": self.failures, "notes": self.notes, "sources": self.sources, "choices": choices}


def write_cache(path: Path, head: Head, rows: Rows, *, others: Rows | None = None, contents: str = "") -> None:
    """Write one frame cache atomically. Memory grows by some hundred bytes an utterance, whatever its length.

    others    other people in the same pictures, who are written after ``rows``
    contents  a hash of what the cache was made of, by which a later run sees that there is nothing to do

    The same arguments give the same bytes. DiskError if the disk refuses; ids out of order fail an assertion.
    """
    path = Path(path)
    attributes = _attributes(head, SCHEMA_VERSION, contents)
    with _new_file(path) as (file, output):
        file.attrs.update(attributes)
        clips = output.until_error(_in_order(rows, head.columns))
        ids, sums = _write_body(file, head.columns, clips)
        # Filled while the rows were written.
        texts = {name: of for name, of in rows.texts().items() if of or name != "choices"}
        for name, of in texts.items():
            _pairs(file, name, PAIRS[name], of)
        if others is not None:
            texts |= _write_others(file.create_group(OTHERS), head.columns, others, output)
        file.attrs[checksum.ATTRIBUTE] = checksum.of_head(attributes, head.columns, ids, sums, texts)


def _attributes(head: Head, version: int, contents: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "schema_version": version,
        "modality": head.modality,
        "rate": head.rate if head.rate == "clip" else float(head.rate),
        "extractor": head.extractor,
        "params": json.dumps(head.params, sort_keys=True, ensure_ascii=False),
        "contents": contents,
    }


def write_index(path: Path, like: FrameCache, contents: str, parts: Sequence[str], part_clips: int) -> None:
    """Write the index of parts that lie beside it already.

    like        one of the parts, open
    contents    as of ``write_cache``, of all parts together
    parts       the ``contents`` of each, in order
    part_clips  utterances per part
    """
    with _new_file(path) as (file, _):
        file.attrs.update(_attributes(like.head, INDEX_VERSION, contents) | {PART_CLIPS: part_clips})
        strings(file, INDEX, lambda: parts)
        file.attrs[checksum.ATTRIBUTE] = index_digest(contents, parts)


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[tuple[h5py.File, _DeferredErrors]]:
    """A file that takes its place when the block ends."""
    sweep_partials(path.parent)
    with (
        disk(path, "this cache could not be written"),
        replacing_path(path) as partial,
        _DeferredErrors(partial, "w+", opener=_private) as output,
    ):
        with h5py.File(output, "w") as file:
            yield file, output
        output.raise_error()
        os.fsync(output.fileno())


def write_nothing(path: Path, modality: Kind) -> None:
    """Write an empty cache, by the extractor "none", where a pipeline needs a file and nothing was extracted."""
    write_cache(path, Head(modality, (), "clip", "none", {}), Rows(()))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


class _DeferredErrors(io.FileIO):
    """The file under HDF5. When a write fails inside HDF5, closing the file ends the process with a segmentation fault:
    so the error is kept, HDF5 sees success, and ``raise_error`` raises it where Python can catch it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``, or keep the error."""
        left = memoryview(data).cast("B")
        try:
            while self.error is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        """Truncate, or keep the error."""
        try:
            return super().truncate(size) if self.error is None else 0
        except OSError as error:
            self.error = error
            return 0

    def raise_error(self) -> None:
        """Raise the first error."""
        if self.error is not None:
            raise self.error

    def until_error(self, rows: Iterator[_Row]) -> Iterator[_Row]:
        """The rows, until an error occurs."""
        for row in rows:
            if self.error is not None:
                return
            yield row


def _write_others(
    group: h5py.Group, columns: tuple[str, ...], others: Rows, output: _DeferredErrors
) -> dict[str, Mapping[str, str]]:
    """Write the group of other people; returns what of it the cache's own checksum covers."""
    clips = output.until_error(_in_order(others, columns, split_other))
    ids, sums = _write_body(group, columns, clips)
    texts = others.texts()
    for name, of in texts.items():
        _pairs(group, name, PAIRS[name], of)
    covered = {f"{OTHERS}/{name}": of for name, of in texts.items()}
    return {OTHERS: TextTable({id_: i for i, id_ in enumerate(ids)}, sums), **covered}


def _in_order(rows: Rows, columns: tuple[str, ...], key: Callable[[str], Any] = str) -> Iterator[_Row]:
    """The clips in order of ``key(id)``, with the failed ids among them as utterances without rows."""
    nothing = Features(np.zeros((0, len(columns)), np.float32), np.zeros(0), columns)
    waiting = sorted(rows.failures, key=key, reverse=True)
    last = None
    for row in rows.clips:
        assert last is None or key(last) < key(row[0]), f"{row[0]} comes after {last}"
        while waiting and key(waiting[-1]) < key(row[0]):
            yield waiting.pop(), nothing, math.nan, None
        assert not waiting or waiting[-1] != row[0], f"{row[0]} has features and a failure"
        last = row[0]
        yield row
    yield from ((id_, nothing, math.nan, None) for id_ in reversed(waiting))


def _write_body(
    file: h5py.Group,
    columns: tuple[str, ...],
    rows: Iterator[_Row],
) -> tuple[list[str], Texts]:
    """Write everything that has a row per frame or utterance; returns the ids and their checksums."""
    values = GrowingRows(file, "values", (len(columns),), np.dtype(np.float32), np.nan)
    timestamps = GrowingRows(file, "timestamps_s", (), np.dtype(np.float64), np.nan)
    points = GrowingRows(file, "landmarks", None, np.dtype(np.int16), NO_POINT)
    scale = GrowingRows(file, "landmarks_scale", (4,), np.dtype(np.float32), np.nan)
    ids: list[str] = []
    sums = Texts()
    durations, offsets = array("d"), array("q", [0])
    for id_, features, duration_s, landmarks in rows:
        _check_row(id_, features, columns)
        values.append(features.values)
        timestamps.append(features.timestamps_s)
        packed = landmarks if isinstance(landmarks, PackedLandmarks) or landmarks is None else pack_landmarks(landmarks)
        if packed is not None and len(features.values):
            assert len(packed.points) == len(features.values), f"{id_}: one set of landmarks per row"
            points.put(offsets[-1], packed.points)
            scale.put(offsets[-1], packed.scale)
        ids.append(id_)
        sums.append(checksum.of_rows(id_, duration_s, features, packed))
        durations.append(duration_s)
        offsets.append(offsets[-1] + len(features.values))
    for dataset in (values, timestamps):
        dataset.close(offsets[-1])
    if points.used:
        points.close(offsets[-1])
        scale.close(offsets[-1])
    strings(file, "ids", lambda: ids)
    strings(file, "columns", lambda: columns)
    file.create_dataset("offsets", data=np.frombuffer(offsets, np.int64))
    file.create_dataset("duration_s", data=np.array(durations, np.float64))
    strings(file, checksum.DATASET, lambda: sums)
    return ids, sums


def _pairs(file: h5py.File, name: str, second: str, texts: Mapping[str, str]) -> None:
    group, ids = file.create_group(name), sorted(texts)
    strings(group, "ids", lambda: ids)
    strings(group, second, lambda: (texts[id_] for id_ in ids))


def _check_row(id_: str, features: Features, columns: tuple[str, ...]) -> None:
    assert features.columns == columns, f"{id_}: the columns are not the cache's"
    assert features.values.shape == (len(features.timestamps_s), len(columns)), f"{id_}: {features.values.shape} values"
    assert features.values.dtype == np.float32, f"{id_}: values must be float32"
