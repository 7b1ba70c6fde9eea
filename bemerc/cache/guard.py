"""Reading from an HDF5 file that anybody may have made: each look is checked first, and a refusal is a sentence.

A file from elsewhere may point at other files, claim shapes that exhaust memory, or hold other types than its name says.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.cache.values import KINDS, SCHEMA, SCHEMA_VERSION, Kind
from bemerc.errors import CacheError

# gzip cannot shrink anything by more than 1032; a dataset that claims to hold more than that is not a measurement.
_MOST_SHRINK = 1040
_SLACK_BYTES = 1 << 20


def check_head(path: Path, file: h5py.File, modality: Kind | None) -> None:
    if file.attrs.get("schema") != SCHEMA:
        raise CacheError(
            f"{path}: this HDF5 file is not a frame cache (its schema is {file.attrs.get('schema')!r}, not {SCHEMA!r})."
        )
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CacheError(
            f"{path}: this cache has schema version {version}; this bemerc reads version {SCHEMA_VERSION}. Extract it again, "
            "which reads the clips anew."
        )
    missing = [name for name in ("modality", "rate", "extractor", "params", "contents") if name not in file.attrs]
    if missing:
        raise CacheError(f"{path}: this cache lacks the attributes {', '.join(missing)}. Extract it again.")
    found = file.attrs["modality"]
    if found not in KINDS:
        raise CacheError(f"{path}: the modality {found!r} is none of {', '.join(KINDS)}.")
    if modality is not None and found != modality:
        raise CacheError(f"{path}: this cache holds {found}, and {modality} is wanted here. Name the {modality} cache.")


def check_links(path: Path, file: h5py.File) -> None:
    """A file from elsewhere may point at any other file on this machine; a cache has no reason to."""
    groups = [
        name for name in ("failures", "notes", "sources", "choices") if file.get(name, getclass=True) is h5py.Group
    ]
    for group in (file, *(file[name] for name in groups)):
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise CacheError(
                    f"{path}: '{name}' is a link to somewhere else, which a frame cache never holds. It is refused."
                )


def member(path: Path, group: h5py.Group, name: str) -> Any:
    """A dataset by name, after checks that reading it touches this file alone and cannot exhaust memory."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise CacheError(f"{path}: the dataset '{name}' is missing. Extract the cache again.")
    if dataset.external or dataset.is_virtual:
        raise CacheError(
            f"{path}: the dataset '{name}' keeps its data in another file, which a frame cache never does. It is refused."
        )
    room = path.stat().st_size * _MOST_SHRINK + _SLACK_BYTES
    if (
        dataset.size * dataset.dtype.itemsize > room
        or math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize > room
    ):
        raise CacheError(
            f"{path}: '{name}' claims the shape {dataset.shape}, more than a file of {path.stat().st_size} bytes can hold. It is refused."
        )
    return dataset


def read_array(path: Path, file: h5py.File, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    dataset = member(path, file, name)
    if dataset.ndim != 1 or dataset.dtype != dtype:
        raise CacheError(f"{path}: '{name}' must be one row of {dtype}, not {dataset.dtype} of shape {dataset.shape}.")
    return cast("NDArray[Any]", dataset[()])


def read_strings(path: Path, group: h5py.Group, name: str) -> tuple[str, ...]:
    dataset = member(path, group, name)
    if dataset.ndim != 1 or dataset.dtype.kind != "S":
        raise CacheError(
            f"{path}: '{name}' must be one row of fixed-length text, not {dataset.dtype} of shape {dataset.shape}."
        )
    try:
        return tuple(text.decode() for text in dataset[()].tolist())
    except UnicodeDecodeError as error:
        raise CacheError(f"{path}: '{name}' is not UTF-8 ({error}).") from None


def read_pairs(path: Path, file: h5py.File, name: str, second: str) -> dict[str, str]:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise CacheError(f"{path}: the group '{name}' is missing. Extract the cache again.")
    ids, texts = read_strings(path, group, "ids"), read_strings(path, group, second)
    if len(ids) != len(texts):
        raise CacheError(f"{path}: '{name}' has {len(ids)} ids and {len(texts)} {second}.")
    return dict(zip(ids, texts, strict=True))
