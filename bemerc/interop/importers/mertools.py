"""MERTools' folders of .npy files -> one cache."""

from __future__ import annotations

import hashlib
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Kind
from bemerc.core.errors import CacheError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.interop import openface_tables
from bemerc.interop.importers.arrays import (
    MOST_NUMBERS,
    NO_FILE,
    Table,
    as_table,
    column_names,
    even_timestamps,
    files_below,
    item_of,
)
from bemerc.interop.write_imported import Imported, Item, Request, check_free, check_rate, match, write_imported


def from_mertools(
    path: Path,
    out: Path,
    manifest: Manifest | None,
    modality: Kind,
    rate_hz: float | None,
    names: Sequence[str] = (),
    replace: bool = False,
) -> Imported:
    """A folder of features per utterance -> one cache. ``name.npy`` of (T, D), or (D,) for a whole utterance; or a
    folder ``name/`` of one .npy per frame, in the order of their names.

    A whole utterance's vector is one row at time 0. An array that cannot be read becomes a failure with its reason.
    Names and rate default to those of our own export (columns.json).
    """
    check_rate(rate_hz)
    check_free([out / f"{modality}.h5"], replace)
    folder, files = files_below(path, ".npy")
    names, rate_hz = _names_and_rate(folder, names, rate_hz)
    groups = _groups(folder, files)
    first = next((table for table in map(_load, groups.values()) if not isinstance(table, str)), None)
    if first is None:
        raise CacheError(f"not one of its .npy files can be read: {_load(next(iter(groups.values())))}", path=path)
    whole = all(len(group) == 1 for group in groups.values()) and _is_vector(files[0])
    if rate_hz is None and not whole:
        raise CacheError("its arrays do not say when their rows are. Name their rate: --rate-hz 25, say.", path=path)
    columns = column_names(
        names, first.shape[1], re.sub(r"\W", "_", folder.name.removesuffix("-FRA").removesuffix("-UTT"))
    )
    requests = match(list(groups), manifest)

    def items() -> Iterator[Item]:
        with bar("Reading arrays", len(requests), "utterances") as advance:
            for request in requests:
                yield _npy_item(request, groups, columns, rate_hz)
                advance(1)

    rate: Literal["clip"] | float = "clip" if rate_hz is None else rate_hz
    provenance = {"folder": folder.name, "rate_hz": rate_hz, "units": "as in the files"}
    return write_imported(
        out / f"{modality}.h5",
        modality=modality,
        columns=columns,
        rate=rate,
        tool="mertools",
        provenance=provenance,
        items=items(),
    )


def _names_and_rate(folder: Path, names: Sequence[str], rate_hz: float | None) -> tuple[Sequence[str], float | None]:
    """Names and rate, by default from a columns.json of our own export; other files of that name are ignored."""
    try:
        about = read_json(folder / "columns.json")
        columns, rate = about["columns"], about["rate"]
    except (JsonError, KeyError, TypeError):
        return names, rate_hz
    if not names and isinstance(columns, list) and all(isinstance(name, str) for name in columns):
        names = tuple(columns)
    if rate_hz is None and isinstance(rate, int | float):
        check_rate(rate)
        rate_hz = float(rate)
    return names, rate_hz


def _groups(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Name -> its files: a folder whose arrays are all named by numbers holds an utterance's frames."""
    groups: dict[str, list[Path]] = {}
    of_frames: dict[str, bool] = {}
    for file in files:
        numbered = re.fullmatch(r"(frame_?)?\d+", file.stem) is not None
        frame = file.parent != folder and numbered and _is_vector(file)
        name = (
            openface_tables.name_of(file.parent / "x", folder).removesuffix("/x")
            if frame
            else openface_tables.name_of(file, folder)
        )
        if name in groups and not (frame and of_frames[name]):
            raise CacheError(f"{groups[name][0]} and {file} are both called '{printable(name)}'. Rename one.")
        of_frames[name] = frame
        groups.setdefault(name, []).append(file)
    return {name: sorted(group, key=lambda f: (len(f.stem), f.stem)) for name, group in groups.items()}


def _is_vector(file: Path) -> bool:
    try:
        return _open_array(file).ndim == 1
    except (OSError, ValueError, EOFError):
        return False


def _open_array(file: Path) -> NDArray[Any]:
    """The array of a .npy file, unread. ValueError where it is none: np.load would accept an archive too."""
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")  # type: ignore[no-untyped-call]
    except tokenize.TokenError:  # of numpy's, where the header is cut
        raise ValueError("its header is damaged") from None
    return array


def _load(files: Sequence[Path]) -> Table | str:
    """(T, D) of one utterance, or the sentence why not."""
    try:
        arrays = [_open_array(file) for file in files]
        if sum(array.size for array in arrays) > MOST_NUMBERS:
            return f"Its arrays hold more than {MOST_NUMBERS} numbers."
        parts = [as_table(file, file.name, array) for file, array in zip(files, arrays, strict=True)]
        return np.asarray(np.concatenate(parts), np.float32)
    except CacheError as error:
        return str(error)
    except (OSError, ValueError, EOFError) as error:
        return f"The array cannot be read ({error})."


def _npy_item(
    request: Request, groups: Mapping[str, list[Path]], columns: tuple[str, ...], rate_hz: float | None
) -> Item:
    if request.name is None:
        return Item(request.id, NO_FILE)
    files = groups[request.name]
    digest = sha256(files[0])
    if len(files) > 1:
        digest = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    table = _load(files)
    if isinstance(table, str):
        return Item(request.id, table, sha256=digest)
    return item_of(request.id, table, even_timestamps(table, rate_hz), columns, digest)
