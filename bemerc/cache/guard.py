"""Guarded reading of untrusted HDF5 files: every part is checked before it is read.

Such a file may link to other files, declare shapes that exhaust memory, hold unexpected types, or be open for writing
elsewhere. Frame caches and token files are read only through this module.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.cache.attributes import attribute_faults
from bemerc.cache.texts import Texts, TextTable
from bemerc.core.closeable import Closeable
from bemerc.core.errors import BemercError, BusyError, CacheError, DiskError
from bemerc.core.jsonfile import JsonError
from bemerc.core.terminal import printable

# gzip compresses by 1032 at most; a dataset that declares more is not real.
_MOST_SHRINK = 1040
_SLACK_BYTES = 1 << 20
# What is read whole when a file is opened (ids, offsets, notes), and how much of the rest at once: two hours of a
# speech encoder's 1024 columns are 1.5 GB.
MOST_HEAD_BYTES = 1 << 28
MOST_READ_BYTES = 1 << 31
MOST_TEXTS = 1 << 20
# Of texts as they are stored, each as wide as the longest; and how much of that at once.
_MOST_PADDED_BYTES, _BLOCK_BYTES = 1 << 34, 1 << 20
# A stored chunk is inflated whole, whatever its dataset says: ours are 64 KiB, those that h5py chooses 1 MiB at most.
_MOST_CHUNK_BYTES = 1 << 22
# gzip, shuffle, checksum. HDF5 would look for a library for any other.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
# What h5py raises on a damaged file, and what parsing its damaged texts raises.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
# Error numbers that damaged offsets cause and disks do not.
_DAMAGE_ERRNOS = {0, None, errno.EINVAL, errno.ENOENT, errno.EOVERFLOW, errno.EFBIG, errno.ENOMEM}


@contextmanager
def h5_errors(path: Path, what: str, again: str) -> Iterator[None]:
    """Turn what h5py raises into a sentence that begins with ``what``: CacheError where the file is damaged; BusyError
    or DiskError, which say nothing against the file, where another program or the disk is in the way."""
    try:
        yield
    except JsonError as error:
        raise DamagedCacheError(f"{what} ({error.path}: {error.reason}). {again}", path=path) from None
    except BemercError:
        raise
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            raise BusyError(path) from None
        if error.errno not in _DAMAGE_ERRNOS:
            raise DiskError(path, "cannot be read", _system_message(error)) from None
        raise DamagedCacheError(f"{what} ({_first_line(error)}). {again}", path=path) from None
    except _DAMAGE as error:
        raise DamagedCacheError(f"{what} ({_first_line(error)}). {again}", path=path) from None


def _system_message(error: OSError) -> str:
    """The system's message, which h5py wraps in a list of its calls."""
    match = re.search(r"error message = '([^']*)'", str(error))
    return match[1] if match else _first_line(error)


def _first_line(error: BaseException) -> str:
    return printable((str(error).strip("'\"") or type(error).__name__).splitlines()[0])


class DamagedCacheError(CacheError):
    """A file of ours is damaged: no readable HDF5, or something in it is missing or contradicts the rest."""


class GuardedFile(Closeable):
    """An HDF5 file open for reading, every part of which is checked before it is read.

    kind    what it should be, for messages: "frame cache"
    again   the sentence on how to make it anew
    missing the message where there is no file
    Raises CacheError, BusyError, DiskError.
    """

    def __init__(self, path: Path, kind: str, again: str, missing: str) -> None:
        self.path, self.kind, self.again = path, kind, again
        if not path.is_file():
            raise CacheError(missing, path=path, missing=True)
        with h5_errors(path, "this is not a readable HDF5 file", again):
            self.file = h5py.File(path, "r")
            self._size = path.stat().st_size
        try:
            with h5_errors(path, "the attributes are damaged", again):
                if self.file.userblock_size:
                    raise ValueError("something else stands before it")
                self._attributes = attribute_faults(path, h5py.h5o.get_info(self.file.id).addr)
        except BemercError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self.file.close()

    def damaged(self, what: str) -> CacheError:
        """``what`` as an error, with the file's name and how to make it anew."""
        return DamagedCacheError(f"{what} {self.again}", path=self.path)

    def refusal(self, what: str) -> CacheError:
        """``what`` as an error: something that no writer of ours does."""
        return CacheError(f"{what} It is refused.", path=self.path)

    def attribute(self, name: str) -> Any:
        """A text or a number (int or float) by name; None where it is missing. CacheError for anything else."""
        if name not in self.file.attrs:
            return None
        fault = self._attributes.get(name, "it is not kept in the header")
        if fault:
            raise self.damaged(f"the attribute '{name}' cannot be read: {fault}.")
        value = self.file.attrs[name]
        if isinstance(value, np.integer | np.floating):
            value = value.item()
        if not isinstance(value, str | int | float):  # a text of fixed length is bytes
            raise self.damaged(f"the attribute '{name}' is neither a text nor a number.")
        return value

    def text(self, name: str, longest: int = 1 << 16) -> str:
        """An attribute that is a text."""
        value = self.attribute(name)
        if not isinstance(value, str) or len(value) > longest:
            raise self.damaged(f"the attribute '{name}' must be a text of at most {longest} characters.")
        return value

    def __contains__(self, name: str) -> bool:
        return name in self.file

    def dataset(self, name: str) -> h5py.Dataset:
        """A dataset by its path, after checks that reading it touches this file alone and cannot exhaust memory."""
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            link = self.file.get("/".join(parts[:end]), getlink=True)
            if link is not None and not isinstance(link, h5py.HardLink):
                raise self.refusal(f"'{name}' is a link to somewhere else, which a {self.kind} never holds.")
        dataset = self.file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise self.damaged(f"the dataset '{name}' is missing.")
        if dataset.external or dataset.is_virtual:
            raise self.refusal(f"'{name}' keeps its data in another file, which a {self.kind} never does.")
        self._check_size(name, dataset)
        return dataset

    def _check_size(self, name: str, dataset: h5py.Dataset) -> None:
        if dataset.shape is None or dataset.dtype.hasobject:
            raise self.damaged(f"'{name}' holds {dataset.dtype} of shape {dataset.shape}, which is never stored there.")
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        across = any(
            part < all_ for part, all_ in zip((dataset.chunks or dataset.shape)[1:], dataset.shape[1:], strict=True)
        )
        if not set(filters) <= _FILTERS or len(set(filters)) < len(filters) or across:
            raise self.refusal(f"'{name}' is packed in a way that a {self.kind} never uses.")
        room = self._size * _MOST_SHRINK + _SLACK_BYTES
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        if dataset.size * dataset.dtype.itemsize > room or chunk > _MOST_CHUNK_BYTES:
            raise self.refusal(
                f"'{name}' claims the shape {dataset.shape}, in pieces of {dataset.chunks}: more than a file of "
                f"{self._size} bytes can hold."
            )

    def read(self, name: str, dataset: h5py.Dataset, rows: slice) -> NDArray[Any]:
        """Some rows of a dataset that ``dataset`` gave, MOST_READ_BYTES at most."""
        width = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        if (rows.stop - rows.start) * width > MOST_READ_BYTES:
            raise CacheError(
                f"{rows.stop - rows.start} rows of '{name}' at once are more than the {MOST_READ_BYTES >> 30} GiB that "
                "are read. Cut the clip into parts.",
                path=self.path,
            )
        for start in range(rows.start, rows.stop, dataset.chunks[0]) if dataset.chunks and width else ():
            self._check_chunk(name, dataset, start)
        return cast("NDArray[Any]", dataset[rows])

    def _check_chunk(self, name: str, dataset: h5py.Dataset, row: int) -> None:
        """CacheError for a chunk that is much larger compressed than uncompressed, which no writer makes."""
        at = (row - row % dataset.chunks[0], *(0 for _ in dataset.shape[1:]))
        stored = dataset.id.get_chunk_info_by_coord(at).size
        whole = math.prod(dataset.chunks) * dataset.dtype.itemsize
        if stored > whole + whole // 100 + 1024:
            raise self.refusal(f"a piece of '{name}' takes {stored} bytes, and holds {whole} at most.")

    def whole(self, name: str) -> NDArray[Any]:
        """All of a dataset of at most MOST_HEAD_BYTES."""
        dataset = self.dataset(name)
        if dataset.size * dataset.dtype.itemsize > MOST_HEAD_BYTES:
            raise self._too_large(name, dataset.size * dataset.dtype.itemsize, MOST_HEAD_BYTES)
        if not dataset.ndim:
            return np.asarray(dataset[()])
        return self.read(name, dataset, slice(0, dataset.shape[0]))

    def array(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """One row of numbers."""
        array = self.whole(name)
        if array.ndim != 1 or array.dtype != dtype:
            raise self.damaged(f"'{name}' must be one row of {dtype}, not {array.dtype} of shape {array.shape}.")
        return array

    def strings(self, name: str, most: int = MOST_TEXTS) -> tuple[str, ...]:
        """One row of texts."""
        return tuple(self.texts(name, most))

    def texts(self, name: str, most: int = MOST_TEXTS) -> Iterator[str]:
        """The same one by one. A single long text makes all of them wide where they are stored, so they are read a few
        at a time, and what counts are their own bytes, MOST_HEAD_BYTES at most."""
        dataset = self.dataset(name)
        if dataset.ndim != 1 or dataset.dtype.kind != "S" or dataset.size > most:
            raise self.damaged(
                f"'{name}' must be one row of at most {most} texts, not {dataset.dtype} of shape {dataset.shape}."
            )
        width = max(1, dataset.dtype.itemsize)
        if dataset.size * width > _MOST_PADDED_BYTES:
            raise self._too_large(name, dataset.size * width, _MOST_PADDED_BYTES)
        step, total = max(1, dataset.chunks[0] if dataset.chunks else 1), 0
        step *= max(1, _BLOCK_BYTES // (step * width))
        for start in range(0, dataset.size, step):
            block = self.read(name, dataset, slice(start, min(dataset.size, start + step))).tolist()
            total += sum(map(len, block))
            if total > MOST_HEAD_BYTES:
                raise self._too_large(name, total, MOST_HEAD_BYTES)
            try:
                yield from [text.decode() for text in block]
            except UnicodeDecodeError as error:
                raise self.damaged(f"'{name}' is not UTF-8 ({error}).") from None

    def _too_large(self, name: str, size: int, most: int) -> CacheError:
        return self.refusal(f"'{name}' takes {size} bytes, and {most >> 20} MiB is the most that is read of it.")

    def pairs(self, name: str, second: str, of_cache: Mapping[str, int] = MappingProxyType({})) -> TextTable:
        """id -> text of a group of two rows, ``ids`` and ``second``. ``of_cache``: the cache's ids and their positions,
        which are not kept twice where the group has the same."""
        ids, texts = self.strings(f"{name}/ids"), Texts(self.texts(f"{name}/{second}"))
        positions = {id_: i for i, id_ in enumerate(ids)}
        if len(ids) != len(texts) or len(positions) != len(ids):
            raise self.damaged(
                f"'{name}' has {len(ids)} ids, {len(positions)} of them different, and {len(texts)} {second}."
            )
        return TextTable(of_cache if positions == of_cache else positions, texts)
