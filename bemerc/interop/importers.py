"""Reading other tools' features: OpenFace's tables, MMSA's pickles, MERTools' folders of .npy, each into a frame cache.

What these files do not say is asked for rather than guessed: MMSA and MERTools keep no times and no column names, so a rate
must be named, and columns are numbered unless a file names them. Numbered columns go into behavior tokens as they are;
sentences need names.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tokenize
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import KINDS, Features, Kind, clock_fault
from bemerc.core.errors import CacheError
from bemerc.core.hashing import sha256
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.interop import openface_tables, safe_pickle
from bemerc.interop.seal import Imported, Item, Wanted, check_free, check_rate, match, seal

Table = NDArray[np.float32]
_Timed = tuple[Table, NDArray[np.float64] | None]
# MMSA's splits, and what they are called here.
_SPLITS = {"train": "train", "valid": "dev", "test": "test"}
# A table's memory before it is read: what no utterance has.
_MOST_NUMBERS = 1 << 28
_MMSA: tuple[tuple[str, Kind], ...] = (("vision", "face"), ("pose", "pose"), ("audio", "audio"), ("speech", "speech"))
_LONGEST_NAME, _LONGEST_NAMES = 200, 1 << 24
NO_FILE = "There is no file for it among those that were imported."


def _files(path: Path, suffix: str) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the files with ``suffix`` at or below ``path``."""
    if path.is_file():
        return path.parent, [path]
    if not path.is_dir():
        raise CacheError(f"{path}: there is no such file or folder.")
    found = [file for file in sorted(path.rglob(f"*{suffix}")) if file.is_file() and not file.name.startswith(".")]
    if not found:
        raise CacheError(f"{path}: there is no {suffix} file in this folder or below.")
    return path, found


# ------------------------------------------------------------------------------------------------------------ OpenFace


def from_openface(
    path: Path,
    out: Path,
    manifest: Manifest | None,
    min_confidence: float = openface_tables.CONFIDENT,
    replace: bool = False,
) -> Imported:
    """Tables by OpenFace 2 -> face.h5 in ``out``. A table that cannot be read is a failure with its reason.

    An utterance that is a part of a long clip gets the rows of its part; times start at 0 again.
    """
    if not 0 <= min_confidence <= 1:
        raise CacheError(f"A least confidence of {min_confidence} says nothing: OpenFace's goes from 0 to 1.")
    check_free([out / "face.h5"], replace)
    folder, files = _files(path, ".csv")
    by_name: dict[str, Path] = {}
    for file in files:
        name = openface_tables.name_of(file, folder)
        if by_name.setdefault(name, file) != file:
            raise CacheError(f"{by_name[name]} and {file.name} are both called '{printable(name)}'. Rename one.")
    columns, faults = _columns(by_name)
    if not columns:
        raise CacheError("\n".join(f"{by_name[name]}: {reason}" for name, reason in list(faults.items())[:5]))
    wanted = match(list(by_name), manifest)
    read = functools.lru_cache(4)(
        functools.partial(openface_tables.read, columns=columns, min_confidence=min_confidence)
    )

    def items() -> Iterator[Item]:
        with bar("Reading tables", len(wanted), "utterances") as advance:
            for one in sorted(wanted, key=lambda one: (one.name or "", one.id)):
                yield _sheet(one, by_name, read)
                advance(1)

    provenance = {"units": openface_tables.IN_DEGREES, "min_confidence": min_confidence}
    return seal(
        out / "face.h5",
        modality="face",
        columns=columns,
        rate="clip",
        tool="openface",
        provenance=provenance,
        items=items(),
    )


def _columns(by_name: Mapping[str, Path]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns that any table has, in our order, and what is wrong with the headers of others."""
    found: set[str] = set()
    faults = {}
    for name, file in by_name.items():
        try:
            found |= set(openface_tables.columns_of(file))
        except CacheError as error:
            faults[name] = str(error)
    return tuple(ours for _, ours, _ in openface_tables.NAMES if ours in found), faults


def _sheet(one: Wanted, by_name: Mapping[str, Path], read: Callable[[Path], openface_tables.Sheet]) -> Item:
    if one.name is None:
        return Item(one.id, NO_FILE)
    file = by_name[one.name]
    content = sha256(file)
    if one.crop is not None:
        return Item(
            one.id, "It is a part of the picture, and a table does not say which of its faces is in it.", sha256=content
        )
    try:
        sheet = read(file)
    except CacheError as error:
        return Item(one.id, str(error), sha256=content)
    features, duration_s = sheet.features, sheet.duration_s
    if one.start_s is not None or one.end_s is not None:
        features, duration_s = _part(features, duration_s, one)
        if duration_s <= 0:
            return Item(
                one.id, f"It starts at {one.start_s} s, and its table ends at {sheet.duration_s:.2f} s.", sha256=content
            )
    return Item(one.id, features, duration_s, sheet.note, content)


def _part(features: Features, duration_s: float, one: Wanted) -> tuple[Features, float]:
    start_s = one.start_s or 0.0
    end_s = duration_s if one.end_s is None else min(one.end_s, duration_s)
    mine = (features.timestamps_s >= start_s) & (features.timestamps_s < end_s)
    cut = Features(features.values[mine], features.timestamps_s[mine] - start_s, features.columns)
    return cut, end_s - start_s


# ---------------------------------------------------------------------------------------------------------------- MMSA


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
    Other rows of zeros in vision are frames without a face, and NaN here. ``names`` name vision's columns. Ids that stand in
    two splits get their split before them: train/dia0_utt0, dev/dia0_utt0.
    """
    check_rate(rate_hz)
    splits = _splits(path, safe_pickle.load(path))
    clash = _clash(splits)
    found: list[Imported] = []
    content = sha256(path)
    kept = [(theirs, modality) for theirs, modality in _MMSA if any(s.get(theirs) is not None for s in splits.values())]
    check_free([out / f"{modality}.h5" for _, modality in kept], replace)
    for theirs, modality in kept:
        tables: dict[str, _Timed] = {}
        for name, split in splits.items():
            if split.get(theirs) is not None:
                prefix = f"{_SPLITS[name]}/" if clash else ""
                tables |= {f"{prefix}{id_}": timed for id_, timed in _mmsa_tables(path, split, theirs).items()}
        named = next((split[f"{theirs}_columns"] for split in splits.values() if f"{theirs}_columns" in split), None)
        given = _texts(path, f"{theirs}_columns", named) if named is not None else names if theirs == "vision" else ()
        columns = _named(given, _width(path, theirs, [table for table, _ in tables.values()]), f"mmsa_{theirs}")
        timed = all(stamps is not None for _, stamps in tables.values())
        if not timed and rate_hz is None:
            raise CacheError(
                f"{path}: it does not say when its rows of {theirs} are. Name their rate: --rate-hz 25, say."
            )
        wanted = match(list(tables), manifest)
        found.append(
            seal(
                out / f"{modality}.h5",
                modality=modality,
                columns=columns,
                rate="clip" if timed or rate_hz is None else rate_hz,
                tool="mmsa",
                provenance={"file": path.name, "key": theirs, "rate_hz": rate_hz, "units": "as in the file"},
                items=(_mmsa_item(one, tables, columns, rate_hz, content) for one in wanted),
            )
        )
    if not found:
        raise CacheError(f"{path}: its splits hold neither vision nor audio.")
    return found


def _splits(path: Path, content: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(content, dict):
        raise CacheError(f"{path}: an MMSA pickle holds train, valid and test; this one is a {type(content).__name__}.")
    splits = {name: content[name] for name in _SPLITS if isinstance(content.get(name), dict)}
    if not splits:
        held = ", ".join(printable(key, 20) for key in list(content)[:4])
        raise CacheError(f"{path}: an MMSA pickle holds train, valid and test; this one holds {held}.")
    for name, split in splits.items():
        if "id" not in split:
            raise CacheError(f"{path}: its split {name} has no ids. They are what utterances are known by.")
    return splits


def _clash(splits: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether an id stands in two splits: MELD's numbers restart in each, and utterances are then called train/ID, dev/ID, test/ID."""
    ids = [id_ for split in splits.values() for id_ in set(_ids(split["id"]) or ())]
    return len(set(ids)) < len(ids)


def _mmsa_tables(path: Path, split: Mapping[str, Any], key: str) -> dict[str, _Timed]:
    """Utterance -> (its rows (T, D), their times where the file says them), of one split."""
    ids = _texts(path, "id", split["id"])
    rows = _several(path, key, split[key], len(ids))
    told = {what: split.get(f"{key}_{what}") for what in ("lengths", "timestamps_s", "seen")}
    listed = {what: _several(path, f"{key}_{what}", of, len(ids)) for what, of in told.items() if of is not None}
    found: dict[str, _Timed] = {}
    for i, id_ in enumerate(ids):
        if id_ in found:
            raise CacheError(f"{path}: two utterances are called '{printable(id_)}'.")
        table = _table(path, id_, rows[i])
        start, end = (0, _length(path, id_, listed["lengths"][i])) if "lengths" in listed else _padding(table)
        if not 0 <= end <= len(table):
            raise CacheError(f"{path}, {printable(id_)}: {end} of {len(table)} rows of {key} are said to be filled.")
        kept = table[start:end].copy()
        seen = listed["seen"][i] if "seen" in listed else None
        if isinstance(seen, np.ndarray) and seen.shape == table.shape and seen.dtype == bool:
            kept[~seen[start:end]] = np.nan  # our own export says what its zeros mean
        elif key != "audio":
            kept[(kept == 0).all(axis=1)] = np.nan
        stamps = _times(path, id_, listed["timestamps_s"][i])[start:end] if "timestamps_s" in listed else None
        found[id_] = kept, stamps
    return found


def _several(path: Path, what: str, value: Any, count: int) -> Any:
    """A list or an array with one entry per utterance."""
    if not isinstance(value, list | tuple | np.ndarray) or (isinstance(value, np.ndarray) and not value.ndim):
        raise CacheError(f"{path}: its {what} is a {type(value).__name__}, and a list or an array is wanted.")
    if len(value) != count:
        raise CacheError(f"{path}: {count} ids and {len(value)} of {what}.")
    return value


def _ids(value: Any) -> tuple[str, ...] | None:
    """Texts, bytes and whole numbers as ids; None where they are anything else."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else None
    if not isinstance(value, list | tuple) or not all(isinstance(one, str | bytes | int) for one in value):
        return None
    return tuple(_text(one) for one in value)


def _texts(path: Path, what: str, value: Any) -> tuple[str, ...]:
    found = _ids(value)
    if found is None:
        raise CacheError(f"{path}: its {what} is no list of texts.")
    return found


def _length(path: Path, id_: str, value: Any) -> int:
    if not isinstance(value, int | np.integer):
        raise CacheError(f"{path}, {printable(id_)}: its length is no whole number.")
    return int(value)


def _times(path: Path, id_: str, value: Any) -> NDArray[np.float64]:
    flat = isinstance(value, list | tuple) and all(isinstance(one, int | float) for one in value)
    if not flat and not (isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiu"):
        raise CacheError(f"{path}, {printable(id_)}: its times are no row of numbers.")
    return np.asarray(value, np.float64)


def _text(id_: str | bytes | int) -> str:
    return unicodedata.normalize("NFC", id_.decode("utf-8", "replace") if isinstance(id_, bytes) else str(id_))


def _padding(table: Table) -> tuple[int, int]:
    filled = np.flatnonzero((table != 0).any(axis=1))
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)


def _mmsa_item(
    one: Wanted, tables: Mapping[str, _Timed], columns: tuple[str, ...], rate_hz: float | None, content: str
) -> Item:
    if one.name is None:
        return Item(one.id, NO_FILE)
    table, stamps = tables[one.name]
    return _item(one.id, table, stamps if stamps is not None else _stamps(table, rate_hz), columns, content)


# ------------------------------------------------------------------------------------------------------------ MERTools


def from_mertools(
    path: Path,
    out: Path,
    manifest: Manifest | None,
    modality: Kind,
    rate_hz: float | None,
    names: Sequence[str] = (),
    replace: bool = False,
) -> Imported:
    """A folder of features per utterance -> one cache. ``name.npy`` of (T, D), or (D,) for a whole utterance; or a folder
    ``name/`` of one .npy per frame, in the order of their names.

    A whole utterance's vector is one row at time 0. An array that cannot be read is a failure with its reason. What our own
    export says beside the arrays (columns.json) is taken where nobody says otherwise.
    """
    check_rate(rate_hz)
    check_free([out / f"{modality}.h5"], replace)
    folder, files = _files(path, ".npy")
    names, rate_hz = _told_beside(folder, names, rate_hz)
    groups = _groups(folder, files)
    first = next((table for table in map(_load, groups.values()) if not isinstance(table, str)), None)
    if first is None:
        raise CacheError(f"{path}: not one of its .npy files can be read: {_load(next(iter(groups.values())))}")
    whole = all(len(group) == 1 for group in groups.values()) and _is_vector(files[0])
    if rate_hz is None and not whole:
        raise CacheError(f"{path}: its arrays do not say when their rows are. Name their rate: --rate-hz 25, say.")
    columns = _named(names, first.shape[1], re.sub(r"\W", "_", folder.name.removesuffix("-FRA").removesuffix("-UTT")))
    wanted = match(list(groups), manifest)

    def items() -> Iterator[Item]:
        with bar("Reading arrays", len(wanted), "utterances") as advance:
            for one in wanted:
                yield _npy_item(one, groups, columns, rate_hz)
                advance(1)

    rate: Literal["clip"] | float = "clip" if rate_hz is None else rate_hz
    provenance = {"folder": folder.name, "rate_hz": rate_hz, "units": "as in the files"}
    return seal(
        out / f"{modality}.h5",
        modality=modality,
        columns=columns,
        rate=rate,
        tool="mertools",
        provenance=provenance,
        items=items(),
    )


def _told_beside(folder: Path, names: Sequence[str], rate_hz: float | None) -> tuple[Sequence[str], float | None]:
    """Names and rate from a columns.json of ours; other people's files of that name are passed over."""
    try:
        told = read_json(folder / "columns.json")
        columns, rate = told["columns"], told["rate"]
    except (JsonError, KeyError, TypeError):
        return names, rate_hz
    if not names and isinstance(columns, list) and all(isinstance(name, str) for name in columns):
        names = tuple(columns)
    if rate_hz is None and isinstance(rate, int | float):
        check_rate(rate)
        rate_hz = float(rate)
    return names, rate_hz


def _groups(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Name -> its files: a folder whose arrays are all called by digits holds an utterance's frames."""
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
        return _mapped(file).ndim == 1
    except (OSError, ValueError, EOFError):
        return False


def _mapped(file: Path) -> NDArray[Any]:
    """The array of a .npy file, unread. ValueError where it is none: np.load would take an archive too, and give no array."""
    try:
        found: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")  # type: ignore[no-untyped-call]
    except tokenize.TokenError:  # of numpy's, where the header is cut
        raise ValueError("its header is damaged") from None
    return found


def _load(files: Sequence[Path]) -> Table | str:
    """(T, D) of one utterance, or the sentence why not."""
    try:
        arrays = [_mapped(file) for file in files]
        if sum(array.size for array in arrays) > _MOST_NUMBERS:
            return f"Its arrays hold more than {_MOST_NUMBERS} numbers."
        parts = [_table(file, file.name, array) for file, array in zip(files, arrays, strict=True)]
        return np.asarray(np.concatenate(parts), np.float32)
    except CacheError as error:
        return str(error)
    except (OSError, ValueError, EOFError) as error:
        return f"The array cannot be read ({error})."


def _npy_item(one: Wanted, groups: Mapping[str, list[Path]], columns: tuple[str, ...], rate_hz: float | None) -> Item:
    if one.name is None:
        return Item(one.id, NO_FILE)
    files = groups[one.name]
    content = sha256(files[0])
    if len(files) > 1:
        content = hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
    table = _load(files)
    if isinstance(table, str):
        return Item(one.id, table, sha256=content)
    return _item(one.id, table, _stamps(table, rate_hz), columns, content)


# ------------------------------------------------------------------------------------------------------------- arrays


def _table(where: Path, id_: str, array: Any) -> Table:
    """One utterance's rows as (T, D) float32; a vector is one row. CacheError for what is no such thing."""
    if not isinstance(array, np.ndarray):
        raise CacheError(f"{where}, {printable(id_)}: an array of numbers is wanted, not a {type(array).__name__}.")
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array.shape[-1] or array.size > _MOST_NUMBERS:
        raise CacheError(
            f"{where}, {printable(id_)}: rows of numbers are wanted, not {array.dtype} of shape {array.shape}."
        )
    with np.errstate(over="ignore"):  # a number beyond float32 is infinite, and then not known
        rows: Table = np.atleast_2d(array).astype(np.float32)
    rows[~np.isfinite(rows)] = np.nan
    return rows


def _stamps(table: Table, rate_hz: float | None) -> NDArray[np.float64]:
    return np.arange(len(table), dtype=np.float64) / (rate_hz or 1.0)


def _item(id_: str, table: Table, stamps: NDArray[np.float64], columns: tuple[str, ...], content: str) -> Item:
    if table.shape[1] != len(columns):
        return Item(id_, f"It has {table.shape[1]} columns, and the others have {len(columns)}.", sha256=content)
    if len(stamps) != len(table):
        return Item(id_, f"It has {len(table)} rows and {len(stamps)} times.", sha256=content)
    fault = clock_fault(stamps)
    if fault:
        return Item(id_, fault, sha256=content)
    step_s = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    duration_s = float(stamps[-1]) + step_s if len(stamps) > 1 else float("nan")
    return Item(id_, Features(table, stamps, columns), duration_s, sha256=content)


def _width(path: Path, key: str, tables: Sequence[Table]) -> int:
    widths = {table.shape[1] for table in tables}
    if len(widths) != 1:
        raise CacheError(
            f"{path}: utterances have {', '.join(map(str, sorted(widths)[:4]))} columns of {key}; one number is wanted."
        )
    return widths.pop()


def _named(names: Sequence[str], width: int, stem: str) -> tuple[str, ...]:
    """The columns' names, or numbers behind ``stem`` where there are none."""
    if not names:
        return tuple(f"{stem}_{i:04d}" for i in range(width))
    odd = [name for name in names if not name or len(name) > _LONGEST_NAME or printable(name) != name]
    if odd:
        raise CacheError(
            f"'{printable(odd[0])}' is no name of a column: 1 to {_LONGEST_NAME} characters that can be shown."
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
        raise CacheError(f"{path}: these names cannot be read ({error}).") from None
    return tuple(name.strip() for name in re.split(r"[\n,]", text) if name.strip())


def modality_of(name: str | None) -> Kind:
    """A modality by its name. CacheError with the known ones."""
    found = next((modality for modality in KINDS if modality == name), None)
    if found is None:
        raise CacheError(f"Which modality is it? Name it: --modality {' | '.join(KINDS)}, not {name}.")
    return found
