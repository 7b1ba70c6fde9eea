"""What the importers share: files of a folder, arrays as tables, timestamps and column names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import KINDS, Features, Kind, clock_fault
from bemerc.core.errors import CacheError
from bemerc.core.terminal import printable
from bemerc.interop.write_imported import Item

Table = NDArray[np.float32]
# The most numbers of one utterance's table.
MOST_NUMBERS = 1 << 28
_LONGEST_NAME, _LONGEST_NAMES = 200, 1 << 24
NO_FILE = "There is no file for it among those that were imported."


def files_below(path: Path, suffix: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the files with ``suffix`` at or below ``path``."""
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir():
        raise CacheError("there is no such file or folder.", path=path, missing=True)
    files = [file for file in sorted(path.rglob(f"*{suffix}")) if file.is_file() and not file.name.startswith(".")]
    if not files:
        raise CacheError(f"there is no {suffix} file in this folder or below.", path=path, missing=True)
    return path, files


def as_table(path: Path, id_: str, array: Any) -> Table:
    """One utterance's rows as (T, D) float32; a vector is one row. CacheError for anything else."""
    if not isinstance(array, np.ndarray):
        raise CacheError(f"an array of numbers is wanted, not a {type(array).__name__}.", path=path, id=id_)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array.shape[-1] or array.size > MOST_NUMBERS:
        raise CacheError(f"rows of numbers are wanted, not {array.dtype} of shape {array.shape}.", path=path, id=id_)
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, and then NaN
        rows: Table = np.atleast_2d(array).astype(np.float32)
    rows[~np.isfinite(rows)] = np.nan
    return rows


def even_timestamps(table: Table, rate_hz: float | None) -> NDArray[np.float64]:
    """(T,) seconds at a rate; at 1 Hz where it is None."""
    return np.arange(len(table), dtype=np.float64) / (rate_hz or 1.0)


def item_of(id_: str, table: Table, stamps: NDArray[np.float64], columns: tuple[str, ...], digest: str) -> Item:
    """An utterance\'s item; where its table does not fit, with the reason."""
    if table.shape[1] != len(columns):
        return Item(id_, f"It has {table.shape[1]} columns, and the others have {len(columns)}.", sha256=digest)
    if len(stamps) != len(table):
        return Item(id_, f"It has {len(table)} rows and {len(stamps)} times.", sha256=digest)
    error = clock_fault(stamps)
    if error:
        return Item(id_, error, sha256=digest)
    step_s = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    duration_s = float(stamps[-1]) + step_s if len(stamps) > 1 else float("nan")
    return Item(id_, Features(table, stamps, columns), duration_s, sha256=digest)


def column_names(names: Sequence[str], width: int, stem: str) -> tuple[str, ...]:
    """The columns' names; ``stem_0000`` and so on where there are none."""
    if not names:
        return tuple(f"{stem}_{i:04d}" for i in range(width))
    invalid = [name for name in names if not name or len(name) > _LONGEST_NAME or printable(name) != name]
    if invalid:
        raise CacheError(
            f"'{printable(invalid[0])}' is not a valid column name: 1 to {_LONGEST_NAME} printable characters."
        )
    if len(names) != width or len(set(names)) != width:
        raise CacheError(
            f"{len(names)} names ({len(set(names))} of them different) for {width} columns; one each is wanted."
        )
    return tuple(names)


def read_names(path: Path) -> tuple[str, ...]:
    """Column names from a file, one per line or separated by commas."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(_LONGEST_NAMES)
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(f"these names cannot be read ({error}).", path=path) from None
    return tuple(name.strip() for name in re.split(r"[\n,]", text) if name.strip())


def modality_of(name: str | None) -> Kind:
    """A modality by its name. CacheError, with the valid ones, for another name."""
    kind = next((kind for kind in KINDS if kind == name), None)
    if kind is None:
        raise CacheError(f"Which modality is it? Name it: --modality {' | '.join(KINDS)}, not {name}.")
    return kind
