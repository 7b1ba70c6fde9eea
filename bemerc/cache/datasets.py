"""Datasets of a frame cache as they are written: rows that grow, and texts of a fixed length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_CHUNK_BYTES = 1 << 16


class GrowingRows:
    """A dataset that grows: rows are gathered until they fill chunks, so that each chunk is compressed once."""

    def __init__(
        self, file: h5py.Group, name: str, inner: tuple[int, ...] | None, dtype: np.dtype[Any], fill: float | np.int16
    ) -> None:
        self.file, self.name, self.inner, self.dtype, self.fill = file, name, inner, dtype, fill
        self.dataset: Any = None
        self.pending: list[NDArray[Any]] = []
        self.start = self.end = 0

    @property
    def used(self) -> bool:
        return self.dataset is not None

    def append(self, rows: NDArray[Any]) -> None:
        self.put(self.end, rows)

    def put(self, at: int, rows: NDArray[Any]) -> None:
        """Rows that begin at ``at``; a gap before them reads as the fill value."""
        dataset = self._open(rows.shape[1:])
        if at != self.end:
            self._flush(whole_chunks=False)
            self.start = self.end = at
        self.pending.append(rows)
        self.end += len(rows)
        if self.end - self.start >= 4 * dataset.chunks[0]:
            self._flush(whole_chunks=True)

    def close(self, length: int) -> None:
        dataset = self._open(self.inner or ())
        self._flush(whole_chunks=False)
        if dataset.chunks is not None:
            dataset.resize(length, axis=0)

    def _open(self, inner: tuple[int, ...]) -> Any:
        if self.dataset is None:
            if 0 in inner:  # no columns, so no rows: HDF5 has no chunks of nothing
                self.dataset = self.file.create_dataset(self.name, shape=(0, *inner), dtype=self.dtype)
                return self.dataset
            row_bytes = max(1, math.prod(inner)) * self.dtype.itemsize
            self.dataset = self.file.create_dataset(
                self.name,
                shape=(0, *inner),
                maxshape=(None, *inner),
                chunks=(min(4096, max(16, _CHUNK_BYTES // row_bytes)), *(max(1, n) for n in inner)),
                dtype=self.dtype,
                fillvalue=self.fill,
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
        return self.dataset

    def _flush(self, *, whole_chunks: bool) -> None:
        if not self.pending:
            return
        rows = np.concatenate(self.pending)
        end = self.end - self.end % self.dataset.chunks[0] if whole_chunks else self.end
        self.dataset.resize(end, axis=0)
        self.dataset[self.start : end] = rows[: end - self.start]
        self.pending = [rows[end - self.start :]]
        self.start = end


def strings(group: h5py.Group, name: str, texts: Callable[[], Iterable[str]]) -> None:
    """Fixed-length UTF-8: unlike variable-length strings these read at once and give the same bytes each time. The texts
    are asked for twice, for their longest and for themselves, and written a few chunks at a time."""
    count, longest = 0, 1
    for text in texts():
        count, longest = count + 1, max(longest, len(text.encode()))
    dtype = h5py.string_dtype("utf-8", longest)
    packing = {"compression": "gzip", "compression_opts": 4} if count else {}
    dataset = group.create_dataset(name, shape=(count,), dtype=dtype, **packing)
    rest, start = iter(texts()), 0
    while block := [text.encode() for text in itertools.islice(rest, 8 * dataset.chunks[0] if count else 1)]:
        dataset[start : start + len(block)] = np.array(block, dtype=dtype)
        start += len(block)
