"""MMSA's pickles -> a cache per modality."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Kind
from bemerc.core.errors import CacheError
from bemerc.core.hashing import sha256
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.interop import safe_pickle
from bemerc.interop.importers.arrays import NO_FILE, Table, as_table, column_names, even_timestamps, item_of
from bemerc.interop.write_imported import Imported, Item, Request, check_free, check_rate, match, write_imported

_Timed = tuple[Table, NDArray[np.float64] | None]
# MMSA's splits, and their names here.
_SPLITS = {"train": "train", "valid": "dev", "test": "test"}
_MMSA: tuple[tuple[str, Kind], ...] = (("vision", "face"), ("pose", "pose"), ("audio", "audio"), ("speech", "speech"))


def from_mmsa(
    path: Path,
    out: Path,
    manifest: Manifest | None,
    rate_hz: float | None,
    names: Sequence[str] = (),
    replace: bool = False,
) -> list[Imported]:
    """An MMSA pickle -> a cache per modality: vision as face.h5, audio as audio.h5. Text features are left out.

    Rows after an utterance's stated length are padding; where no lengths are stated, rows of zeros at either end are.
    Other rows of zeros in vision are frames without a face, and become NaN. ``names`` name vision's columns. Ids that
    occur in two splits are prefixed by their split: train/dia0_utt0, dev/dia0_utt0.
    """
    check_rate(rate_hz)
    splits = _splits(path, safe_pickle.load(path))
    keys = [(key, modality) for key, modality in _MMSA if any(s.get(key) is not None for s in splits.values())]
    if not keys:
        raise CacheError("its splits hold neither vision nor audio.", path=path)
    check_free([out / f"{modality}.h5" for _, modality in keys], replace)
    digest = sha256(path)
    imported: list[Imported] = []
    for key, modality in keys:
        tables = _tables_of_key(path, splits, key)
        columns = _columns_of_key(path, splits, key, names, tables)
        timed = all(stamps is not None for _, stamps in tables.values())
        if not timed and rate_hz is None:
            raise CacheError(
                f"it does not say when its rows of {key} are. Name their rate: --rate-hz 25, say.", path=path
            )
        requests = match(list(tables), manifest)
        imported.append(
            write_imported(
                out / f"{modality}.h5",
                modality=modality,
                columns=columns,
                rate="clip" if timed or rate_hz is None else rate_hz,
                tool="mmsa",
                provenance={"file": path.name, "key": key, "rate_hz": rate_hz, "units": "as in the file"},
                items=(_mmsa_item(request, tables, columns, rate_hz, digest) for request in requests),
            )
        )
    return imported


def _tables_of_key(path: Path, splits: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, _Timed]:
    """Utterance -> its table of one key, of all splits."""
    shared = _has_shared_ids(splits)
    tables: dict[str, _Timed] = {}
    for name, split in splits.items():
        if split.get(key) is not None:
            prefix = f"{_SPLITS[name]}/" if shared else ""
            tables |= {f"{prefix}{id_}": timed for id_, timed in _mmsa_tables(path, split, key).items()}
    return tables


def _columns_of_key(
    path: Path,
    splits: Mapping[str, Mapping[str, Any]],
    key: str,
    vision_names: Sequence[str],
    tables: Mapping[str, _Timed],
) -> tuple[str, ...]:
    """The column names of one key: those that the file stores, else the given ones for vision, else numbers."""
    stored = next((split[f"{key}_columns"] for split in splits.values() if f"{key}_columns" in split), None)
    names = vision_names if key == "vision" else ()
    if stored is not None:
        names = _texts(path, f"{key}_columns", stored)
    return column_names(names, _common_width(path, key, [table for table, _ in tables.values()]), f"mmsa_{key}")


def _splits(path: Path, content: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(content, dict):
        raise CacheError(
            f"an MMSA pickle holds train, valid and test; this one is a {type(content).__name__}.", path=path
        )
    splits = {name: content[name] for name in _SPLITS if isinstance(content.get(name), dict)}
    if not splits:
        held = ", ".join(printable(key, 20) for key in list(content)[:4])
        raise CacheError(f"an MMSA pickle holds train, valid and test; this one holds {held}.", path=path)
    for name, split in splits.items():
        if "id" not in split:
            raise CacheError(f"its split {name} has no ids. They identify the utterances.", path=path)
    return splits


def _has_shared_ids(splits: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an id occurs in two splits: MELD's numbers restart in each. Utterances are then called train/ID, dev/ID,
    test/ID."""
    ids = [id_ for split in splits.values() for id_ in set(_ids(split["id"]) or ())]
    return len(set(ids)) < len(ids)


def _mmsa_tables(path: Path, split: Mapping[str, Any], key: str) -> dict[str, _Timed]:
    """Utterance -> (its rows (T, D), their times where the file says them), of one split."""
    ids = _texts(path, "id", split["id"])
    rows = _per_utterance(path, key, split[key], len(ids))
    extras = {what: split.get(f"{key}_{what}") for what in ("lengths", "timestamps_s", "seen")}
    by_utterance = {
        what: _per_utterance(path, f"{key}_{what}", of, len(ids)) for what, of in extras.items() if of is not None
    }
    tables: dict[str, _Timed] = {}
    for i, id_ in enumerate(ids):
        if id_ in tables:
            raise CacheError(f"two utterances are called '{printable(id_)}'.", path=path)
        table = as_table(path, id_, rows[i])
        start, end = (
            (0, _length(path, id_, by_utterance["lengths"][i])) if "lengths" in by_utterance else _padding(table)
        )
        if not 0 <= end <= len(table):
            raise CacheError(f"{end} of {len(table)} rows of {key} cannot be filled.", path=path, id=id_)
        rows_kept = table[start:end].copy()
        measured = by_utterance["seen"][i] if "seen" in by_utterance else None
        if isinstance(measured, np.ndarray) and measured.shape == table.shape and measured.dtype == bool:
            rows_kept[~measured[start:end]] = np.nan  # our own export marks what was measured
        elif key != "audio":
            rows_kept[(rows_kept == 0).all(axis=1)] = np.nan
        stamps = (
            _times(path, id_, by_utterance["timestamps_s"][i])[start:end] if "timestamps_s" in by_utterance else None
        )
        tables[id_] = rows_kept, stamps
    return tables


def _per_utterance(path: Path, what: str, value: Any, count: int) -> Any:
    """A list or an array with one entry per utterance."""
    if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and not value.ndim):
        raise CacheError(f"its {what} is a {type(value).__name__}, and a list or an array is wanted.", path=path)
    if len(value) != count:
        raise CacheError(f"{count} ids and {len(value)} of {what}.", path=path)
    return value


def _ids(value: Any) -> tuple[str, ...] | None:
    """Texts, bytes and whole numbers as ids; None where they are anything else."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    if not isinstance(value, list | tuple) or not all(isinstance(one, str | bytes | int) for one in value):
        return None
    return tuple(_text(one) for one in value)


def _texts(path: Path, what: str, value: Any) -> tuple[str, ...]:
    texts = _ids(value)
    if texts is None:
        raise CacheError(f"its {what} is no list of texts.", path=path)
    return texts


def _length(path: Path, id_: str, value: Any) -> int:
    if not isinstance(value, int | np.integer):
        raise CacheError("its length is no whole number.", path=path, id=id_)
    return int(value)


def _times(path: Path, id_: str, value: Any) -> NDArray[np.float64]:
    flat = isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)
    if not flat and not (isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu"):
        raise CacheError("its times are no row of numbers.", path=path, id=id_)
    return np.asarray(value, np.float64)


def _text(id_: str | bytes | int) -> str:
    return unicodedata.normalize("NFC", id_.decode("utf-8", "replace") if isinstance(id_, bytes) else str(id_))


def _padding(table: Table) -> tuple[int, int]:
    filled = np.flatnonzero((table != 0).any(axis=1))
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)


def _mmsa_item(
    request: Request, tables: Mapping[str, _Timed], columns: tuple[str, ...], rate_hz: float | None, digest: str
) -> Item:
    if request.name is None:
        return Item(request.id, NO_FILE)
    table, stamps = tables[request.name]
    return item_of(
        request.id, table, stamps if stamps is not None else even_timestamps(table, rate_hz), columns, digest
    )


def _common_width(path: Path, key: str, tables: Sequence[Table]) -> int:
    widths = {int(table.shape[1]) for table in tables}
    if len(widths) != 1:
        raise CacheError(
            f"utterances have {', '.join(map(str, sorted(widths)[:4]))} columns of {key}; one number is wanted.",
            path=path,
        )
    return widths.pop()
