"""Frame caches for other tools: CSV and Parquet (a face with OpenFace's names), MMSA's pickle, MERTools' .npy folders.

What was not measured is an empty cell, null or NaN. MMSA's models take no NaN: they get zeros, with a mask of what was
measured beside them.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features, FrameCache, Kind
from bemerc.core.atomic import replacing, write_bytes, write_text
from bemerc.core.errors import BemercError, CacheError
from bemerc.core.ownership import all_must_be_ours
from bemerc.core.progress import bar
from bemerc.core.terminal import cell, printable
from bemerc.corpus import utterance_table
from bemerc.corpus.manifest import Manifest
from bemerc.interop import openface_tables
from bemerc.interop.filenames import file_of, is_plain

_MMSA_KEYS: dict[Kind, str] = {"face": "vision", "pose": "pose", "audio": "audio", "speech": "speech"}
_MMSA_SPLITS = {"train": "train", "dev": "valid", "test": "test"}
# MMSA pads every utterance to the longest: one mis-cut clip of minutes makes a file of gigabytes.
_MOST_BYTES = 2 << 30
_NO_PRESENCE = """left out: half of the units are too weak for a threshold (docs/measurements/action_units.md); OpenFace's own
             comes from a classifier. AU45_c is 1 in the frames of a blink"""
_OURS = "Written by bemerc from"
_NOTE = """Written by bemerc from {path} ({extractor}).

{modality} frames, one row each. An empty cell was not measured. timestamp: seconds from the utterance's start.
"""
_NOTE_NAMES = """
Characters of an id that a file's name cannot hold stand in it as % and two digits: back%5Cslash is back\\slash.
"""
_NOTE_FACE = """
Columns as OpenFace 2 calls them; success is 1 where a face was detected; angles are radians.
confidence   {confidence}
AUxx_r       0 to 5, 0 is the person at rest in the clip; AU28_r does not exist in OpenFace and is left out
AUxx_c       {presence}
pose_R*      of the face as seen along the camera's line to it; OpenFace corrects for perspective with an assumed lens
"""


def table(cache: FrameCache, id_: str) -> list[tuple[str, NDArray[np.float64]]]:
    """One utterance as columns: OpenFace's for a face; frame, timestamp and our own names for anything else."""
    return _columns(cache, cache[id_])


def _columns(cache: FrameCache, features: Features) -> list[tuple[str, NDArray[np.float64]]]:
    if cache.modality == "face":
        return list(openface_tables.as_table(features))
    frames = np.arange(1, len(features.values) + 1, dtype=np.float64)
    values = [(name, features.values[:, i].astype(np.float64)) for i, name in enumerate(features.columns)]
    return [("frame", frames), ("timestamp", features.timestamps_s), *values]


# ------------------------------------------------------------------------------------------------------------ csv, npy


@dataclass(frozen=True)
class Exported:
    """What an export wrote: utterance -> its file; and of those whose rows cannot be read, why."""

    files: Mapping[str, Path]
    unreadable: Mapping[str, str]


def to_csv(cache: FrameCache, out: Path) -> Exported:
    """One CSV per utterance, ``out/ID.csv``, and a README.txt on what the columns are. WouldReplaceError where one of them
    would replace what is no earlier export, DiskError where the disk refuses."""
    files = {id_: file_of(out, id_, ".csv") for id_ in cache.ids}
    _begin(out / "README.txt", _about(cache, files), _OURS, files)
    return _each(cache, files, ".csv", lambda id_: _csv_text(table(cache, id_)))


def _csv_text(columns: Sequence[tuple[str, NDArray[np.float64]]]) -> bytes:
    whole = {"frame", "face_id", "success"}
    cells = [[_cell(v, name, whole) for v in values.tolist()] for name, values in columns]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([cell(name) for name, _ in columns])
    lines = (",".join(row) for row in zip(*cells, strict=True))
    return (text.getvalue() + "".join(f"{line}\n" for line in lines)).encode()


def _cell(value: float, name: str, whole: set[str]) -> str:
    if value != value:
        return ""
    if name in whole or (name.endswith("_c") and value in (0, 1)):
        return str(int(value))
    return format(value, ".9g" if name == "timestamp" else ".6g")


def _about(cache: FrameCache, files: Mapping[str, Path] = MappingProxyType({})) -> str:
    about = _NOTE.format(path=cache.path.name, extractor=printable(cache.extractor), modality=cache.modality)
    if not is_plain(files, ".csv"):
        about += _NOTE_NAMES
    if cache.modality != "face":
        return about
    has_openface = "confidence" in cache.columns
    confidence = (
        "OpenFace's own" if has_openface else "our quality of the frame, 0 to 1, which is not OpenFace's confidence"
    )
    derived = not any(name.endswith("_c") for name in cache.columns)
    return about + _NOTE_FACE.format(confidence=confidence, presence=_NO_PRESENCE if derived else "OpenFace's own")


def to_npy(cache: FrameCache, out: Path, *, whole: bool = False) -> Exported:
    """One .npy per utterance as MERTools lays features out: ``out/ID.npy`` of (T, D) float32, or with ``whole`` (D,),
    the mean of what was measured; columns.json beside them. Utterances without rows get no file. Errors as of
    ``to_csv``."""
    files = {id_: file_of(out, id_, ".npy") for id_ in cache if cache.frames(id_)}
    about = {"columns": list(cache.columns), "rate": cache.rate, "extractor": cache.extractor, "missing": "NaN"}
    text = json.dumps(about, ensure_ascii=False, indent=1)
    _begin(out / "columns.json", text, '{\n "columns"', files)
    return _each(cache, files, ".npy", lambda id_: _npy_bytes(cache[id_], whole))


def _npy_bytes(features: Features, whole: bool) -> bytes:
    values = features.values
    if whole:
        valid = np.isfinite(values)
        total = np.where(valid, values, 0).sum(axis=0)
        values = np.where(valid.any(axis=0), total / np.maximum(valid.sum(axis=0), 1), np.nan).astype(np.float32)
    memory = io.BytesIO()
    np.save(memory, values)
    return memory.getvalue()


def _begin(about: Path, text: str, ours: str, files: Mapping[str, Path]) -> None:
    """Write the file that tells of the others, by whose first letters ``ours`` a later export knows that it may replace
    them. WouldReplaceError where one of them is there without it."""
    all_must_be_ours(about, lambda head: head.startswith(ours), files.values())
    write_text(about, text)


def _each(cache: FrameCache, files: Mapping[str, Path], suffix: str, content: Callable[[str], bytes]) -> Exported:
    """Write one file per utterance; one whose rows cannot be read is skipped."""
    written: dict[str, Path] = {}
    unreadable: dict[str, str] = {}
    with bar(f"Writing {suffix}", len(files), "utterances") as advance:
        for id_, path in files.items():
            try:
                write_bytes(path, content(id_))
                written[id_] = path
            except CacheError as error:
                unreadable[id_] = str(error)
            advance(1)
    return Exported(written, unreadable)


LISTED = ("split", "label", "file")


def to_utterances(manifest: Manifest, files: Mapping[str, Path], out: Path) -> None:
    """``out``: a table of the utterances that were exported, with the file in which the rows are, split and label."""
    listed = [u for u in manifest.utterances if u.id in files]
    named = {id_: f.relative_to(out.parent).as_posix() for id_, f in files.items() if f.is_relative_to(out.parent)}
    splits, labels = {u.id: u.split for u in listed}, {u.id: u.label for u in listed}
    utterance_table.write(out, listed, dict(zip(LISTED, (splits, labels, named), strict=True)))


# ------------------------------------------------------------------------------------------------------------- parquet


def to_parquet(cache: FrameCache, out: Path) -> Exported:
    """All utterances in one Parquet file, a row per frame, with a column ``id``; the notes lie in the file's
    metadata."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:  # it may be there and want another numpy
        raise BemercError(
            f"Parquet needs pyarrow ({error}): pip install 'bemerc[parquet]'. Or export to csv."
        ) from None
    names = [name for name, _ in _columns(cache, _nothing(cache))] if len(cache) else []
    unreadable: dict[str, str] = {}
    schema = pyarrow.schema(
        [
            ("id", pyarrow.string()),
            *((name, pyarrow.float64() if name == "timestamp" else pyarrow.float32()) for name in names),
        ],
        metadata={"bemerc": _about(cache), "params": json.dumps(cache.params, ensure_ascii=False)},
    )

    with (
        replacing(out) as file,
        pyarrow.parquet.ParquetWriter(file, schema) as writer,
        bar("Writing", len(cache), "utterances") as advance,
    ):
        for block in _blocks(cache):
            writer.write_table(_arrow(pyarrow, cache, block, schema, unreadable))
            advance(len(block))
    return Exported({id_: out for id_ in cache if id_ not in unreadable}, unreadable)


def _nothing(cache: FrameCache) -> Features:
    return Features(np.empty((0, len(cache.columns)), np.float32), np.empty(0), cache.columns)


def _blocks(cache: FrameCache) -> Iterator[list[str]]:
    """Utterances in lots of some 50,000 rows: one row group each."""
    block: list[str] = []
    rows = 0
    for id_ in cache:
        block.append(id_)
        rows += cache.frames(id_)
        if rows >= 50_000:
            yield block
            block, rows = [], 0
    if block:
        yield block


def _arrow(pyarrow: Any, cache: FrameCache, ids: Sequence[str], schema: Any, unreadable: dict[str, str]) -> Any:
    tables, named = [], []
    for id_ in ids:
        try:
            tables.append(dict(table(cache, id_)))
            named += [id_] * cache.frames(id_)
        except CacheError as error:  # it costs itself alone
            unreadable[id_] = str(error)
    columns = [pyarrow.array(named, pyarrow.string())]
    for field in list(schema)[1:]:
        values = np.concatenate([one[field.name] for one in tables] or [np.empty(0)])
        columns.append(pyarrow.array(values, field.type, mask=np.isnan(values)))
    return pyarrow.table(columns, schema=schema)


# ---------------------------------------------------------------------------------------------------------------- MMSA


def to_mmsa(caches: Mapping[Kind, FrameCache], out: Path, manifest: Manifest | None) -> Exported:
    """MMSA's pickle: {"train" | "valid" | "test": {"id", "raw_text", "vision", "audio", ...}}, N utterances padded to
    (N, T, D).

    Face is its vision, audio its audio; pose and speech are under their own names. Zeros stand where nothing was
    measured, and ``*_seen`` (N, T, D) is the mask of what was measured; ``*_lengths``, ``*_columns`` and
    ``*_timestamps_s`` say the rest. Without a manifest all utterances are test, without words or labels. MMSA's text
    features are made by its own models from raw_text.
    """
    rows = _rows(caches, manifest)
    if manifest is not None and not any(split["id"] for split in rows.values()):
        raise CacheError(
            f"none of its {len(manifest.utterances)} utterances is in these caches. Name what they were measured "
            "of with --manifest or --video-dir.",
            path=manifest.folder,
        )
    size = sum(_padded_bytes(cache, split["id"]) for split in rows.values() for cache in caches.values())
    if size > _MOST_BYTES:
        raise CacheError(
            f"padded to the longest utterance these caches take {size / 1e9:.1f} GB, and {_MOST_BYTES / 1e9:.1f} GB is the most. "
            "Leave out the longest clips (prepare.*.longest_s in params.yaml), or export to npy.",
            path=out,
        )
    content = {}
    unreadable: dict[str, str] = {}
    for name, split in rows.items():
        content[name] = dict(split)
        for modality, cache in caches.items():
            content[name] |= _padded(cache, split["id"], _MMSA_KEYS[modality], unreadable)
    with replacing(out) as file:
        pickle.dump(content, file, protocol=4)
    return Exported({id_: out for split in rows.values() for id_ in split["id"]}, unreadable)


def _rows(caches: Mapping[Kind, FrameCache], manifest: Manifest | None) -> dict[str, dict[str, Any]]:
    """Split -> ids, words and labels of the utterances that any of the caches has."""
    if manifest is None:
        ids = sorted(set().union(*(cache.ids for cache in caches.values())))
        return {"test": {"id": ids, "raw_text": np.array([""] * len(ids))}}
    rows = {}
    for ours, split in _MMSA_SPLITS.items():
        utterances = [
            u for u in manifest.utterances if u.split == ours and any(u.id in cache for cache in caches.values())
        ]
        label_index = {label: i for i, label in enumerate(manifest.labels)}
        rows[split] = {
            "id": [u.id for u in utterances],
            "raw_text": np.array([u.text for u in utterances], dtype=np.str_),
            "annotations": np.array([u.label or "" for u in utterances], dtype=np.str_),
            "classification_labels": np.array(
                [-1 if u.label is None else label_index[u.label] for u in utterances], np.int64
            ),
        }
    return rows


def _longest(cache: FrameCache, ids: Sequence[str]) -> int:
    return max([cache.frames(id_) for id_ in ids if id_ in cache], default=0)


def _padded_bytes(cache: FrameCache, ids: Sequence[str]) -> int:
    return len(ids) * _longest(cache, ids) * (5 * len(cache.columns) + 8)


def _padded(cache: FrameCache, ids: Sequence[str], key: str, unreadable: dict[str, str]) -> dict[str, Any]:
    """One modality of one split. An utterance whose rows cannot be read has none, and is added to ``unreadable``."""
    longest = _longest(cache, ids)
    values = np.zeros((len(ids), longest, len(cache.columns)), np.float32)
    times = np.zeros((len(ids), longest))
    measured = np.zeros(values.shape, bool)
    lengths = [cache.frames(id_) if id_ in cache else 0 for id_ in ids]
    for i, (id_, length) in enumerate(zip(ids, lengths, strict=True)):
        if length:
            try:
                features = cache[id_]
            except CacheError as error:
                unreadable[id_], lengths[i] = str(error), 0
                continue
            values[i, :length] = np.nan_to_num(features.values, nan=0.0)
            times[i, :length] = features.timestamps_s
            measured[i, :length] = np.isfinite(features.values)
    extras = {"lengths": lengths, "columns": list(cache.columns), "timestamps_s": times, "seen": measured}
    return {key: values} | {f"{key}_{what}": value for what, value in extras.items()}
