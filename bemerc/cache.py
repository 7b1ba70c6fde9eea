"""The frame cache: one HDF5 file per modality, the door between the wing that sees video and the wing that knows an LLM.

The obvious choice is one file, or one HDF5 group, per utterance. Here all utterances lie end to end in a few long
arrays with offsets, because ten thousand small groups cost more to open than to read, and because a file that is
written once, in sorted order, from the same arrays has the same bytes: DVC then sees that nothing changed. The file
describes itself (schema version, modality, columns, rate, extractor, params), and open_cache refuses what it cannot
vouch for instead of handing on wrong numbers.

    attributes        schema, schema_version, modality, rate ("clip" or Hz), extractor, params (JSON), contents
    ids         (N,)      UTF-8, sorted by code point
    offsets     (N+1,)    int64; utterance i has the rows offsets[i] to offsets[i+1]
    duration_s  (N,)      float64, NaN where the clip could not be read
    columns     (D,)      UTF-8
    values      (sumT, D) float32, NaN where nothing was seen
    timestamps_s (sumT,)  float64, seconds from the utterance's start
    failures/{ids, reasons}   utterances without rows, and why
    notes/{ids, reasons}      utterances with rows that one should know something about (a truncated clip, say)
    sources/{ids, sha256}     of which file each utterance was measured, where the writer knew
    choices/{ids, json}       whose face was measured, where the writer chose; see Choice
    landmarks   (sumT, P, 3) int16 and landmarks_scale (sumT, 4) float32, where the extractor keeps raw points:
                point = landmarks * landmarks_scale[:, 3] + landmarks_scale[:, :3]; -32768 stands for NaN
"""

from __future__ import annotations

import glob
import io
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.errors import CacheError

SCHEMA = "bemerc-frames"
SCHEMA_VERSION = 1
# What a cache can hold: a modality's measurements; and speech, a second look at the sound beside audio's prosody.
Kind = Literal["face", "pose", "audio", "speech"]
KINDS: tuple[Kind, ...] = ("face", "pose", "audio", "speech")

# gzip cannot shrink anything by more than 1032; a dataset that claims to hold more than that is not a measurement.
_MOST_SHRINK = 1040
_SLACK_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16
# Steps between the outermost points of a face: with 1024 a 100-pixel face is kept to a tenth of a pixel.
_LANDMARK_STEPS = 1024
_NO_POINT = np.int16(-32768)
# What h5py raises where a file's own tables hold nonsense, and what its words raise where they are not what was written.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class Features:
    """What one modality measured of one utterance.

    values        (T, D) float32; a NaN row = nothing was seen at that moment; T = 0 = nothing at all
    timestamps_s  (T,) float64, increasing, seconds from the utterance's start
    columns       D names, the contract with everything downstream
    """

    values: NDArray[np.float32]
    timestamps_s: NDArray[np.float64]
    columns: tuple[str, ...]

    def column(self, name: str) -> NDArray[np.float32]:
        """The (T,) series of one column; CacheError if there is no such column."""
        if name not in self.columns:
            raise CacheError(f"There is no column '{name}'; the columns are {', '.join(self.columns)}.")
        return self.values[:, self.columns.index(name)]


@dataclass(frozen=True)
class PackedLandmarks:
    """Raw points as they are stored: points (T, P, 3) int16, scale (T, 4) float32 (x, y, z of the origin, then the step)."""

    points: NDArray[np.int16]
    scale: NDArray[np.float32]


@dataclass(frozen=True)
class Stretch:
    """The rows first to end - 1 were measured of one face: its track's number, how likely it is the right one (0 to 1),
    and how many tracks its shot had. Rows in between that do not show it are NaN."""

    first: int
    end: int
    track: int
    score: float
    tracks: int


@dataclass(frozen=True)
class Choice:
    """Whose face an utterance's rows are of.

    policy     what was asked for: speaking, largest, longest, left, right
    by         what decided: alone where one face at most was seen, largest where speaking was asked for without sound
    faces      the most faces seen in one frame
    score      mean of the stretches' scores, by their frames
    uncertain  the score is below the limit in the params
    """

    policy: str
    by: str
    faces: int
    score: float
    uncertain: bool
    stretches: tuple[Stretch, ...] = ()

    def as_json(self) -> str:
        """One line; scores to four places."""
        rows = [[s.first, s.end, s.track, round(s.score, 4), s.tracks] for s in self.stretches]
        told = {"policy": self.policy, "by": self.by, "faces": self.faces, "score": round(self.score, 4)}
        return json.dumps({**told, "uncertain": self.uncertain, "stretches": rows})

    @staticmethod
    def from_json(text: str) -> Choice:
        """The inverse; ValueError, KeyError or TypeError where it is no such line."""
        told = json.loads(text)
        stretches = tuple(
            Stretch(int(first), int(end), int(track), float(score), int(tracks))
            for first, end, track, score, tracks in told["stretches"]
        )
        score, uncertain = float(told["score"]), bool(told["uncertain"])
        return Choice(str(told["policy"]), str(told["by"]), int(told["faces"]), score, uncertain, stretches)


def pack_landmarks(landmarks: NDArray[np.float32]) -> PackedLandmarks:
    """(T, P, 3) float32 in any one unit -> int16 steps around each frame's centre, so that small faces lose no more than large ones."""
    with np.errstate(invalid="ignore"):
        low, high = landmarks.min(axis=1), landmarks.max(axis=1)
        step = np.maximum((high - low).max(axis=1), 1e-6) / _LANDMARK_STEPS
        scale = np.concatenate([(low + high) / 2, step[:, None]], axis=1).astype(np.float32)
        steps = np.rint((landmarks - scale[:, None, :3]) / scale[:, None, 3:])
    return PackedLandmarks(np.where(np.isnan(steps), np.float32(_NO_POINT), steps).astype(np.int16), scale)


def unpack_landmarks(packed: PackedLandmarks) -> NDArray[np.float32]:
    """The inverse of pack_landmarks, to half a step."""
    points = np.where(packed.points == _NO_POINT, np.float32(np.nan), packed.points.astype(np.float32))
    return np.asarray(points * packed.scale[:, None, 3:] + packed.scale[:, None, :3], np.float32)


# ------------------------------------------------------------------------------------------------------------ writing


_Row = tuple[str, Features, float, NDArray[np.float32] | PackedLandmarks | None]


def write_cache(
    path: Path,
    *,
    modality: Kind,
    columns: Sequence[str],
    rate: Literal["clip"] | float,
    extractor: str,
    params: Mapping[str, Any],
    clips: Iterable[tuple[str, Features, float, NDArray[np.float32] | PackedLandmarks | None]],
    failures: Mapping[str, str],
    notes: Mapping[str, str] | None = None,
    sources: Mapping[str, str] | None = None,
    choices: Mapping[str, Choice] | None = None,
    contents: str = "",
) -> None:
    """Write one frame cache: a temporary name first, renamed when it is complete. Memory does not grow with the corpus.

    clips     (id, features, duration_s, landmarks or None) in sorted id order; landmarks (T, P, 3) float32 or packed
    failures  id -> reason; these ids must not be among ``clips`` and get no rows
    notes     id -> a sentence on it; may be filled while ``clips`` is consumed
    sources   id -> SHA-256 of the file that it was measured of
    choices   id -> whose face it was measured of; may be filled while ``clips`` is consumed
    contents  what the cache was made of, as a hash; a later run compares it to see that there is nothing to do

    The same arguments give the same bytes. CacheError if the disk refuses; ids out of order are our own mistake.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    head = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "modality": modality,
        "rate": rate if rate == "clip" else float(rate),
        "extractor": extractor,
        "params": json.dumps(params, sort_keys=True, ensure_ascii=False),
        "contents": contents,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with _Disk(partial, "w+") as disk:
            with h5py.File(disk, "w") as file:
                file.attrs.update(head)
                rows = disk.while_there_is_room(_in_order(clips, failures, tuple(columns)))
                _write_body(file, tuple(columns), rows, failures, {} if notes is None else notes)
                _pairs(file, "sources", "sha256", sources or {})
                if choices:
                    _pairs(file, "choices", "json", {id_: choice.as_json() for id_, choice in choices.items()})
            disk.check()
            os.fsync(disk.fileno())
        partial.replace(path)
    except OSError as error:
        raise CacheError(
            f"{path}: this cache could not be written ({error.strerror or error}). See that the disk has room and run again."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what killed processes left of this cache; what is younger than an hour may be somebody's work."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        if time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)


class _Disk(io.FileIO):
    """The file under HDF5. When a write fails inside HDF5, closing the file ends the process with a segmentation fault, so
    a failure is remembered, HDF5 is told that all went well, and the error is raised where Python can catch it."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """All of ``data``, or the failure remembered."""
        left = memoryview(data).cast("B")
        try:
            while self.error is None and left:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None) -> int:
        """As ever, or the failure remembered."""
        try:
            return super().truncate(size) if self.error is None else 0
        except OSError as error:
            self.error = error
            return 0

    def check(self) -> None:
        """Raise what was remembered."""
        if self.error is not None:
            raise self.error

    def while_there_is_room(self, rows: Iterator[_Row]) -> Iterator[_Row]:
        """Stop at the first failure rather than at the end."""
        for row in rows:
            if self.error is not None:
                return
            yield row


def _in_order(clips: Iterable[_Row], failures: Mapping[str, str], columns: tuple[str, ...]) -> Iterator[_Row]:
    """The clips with the failed ids sorted in among them as utterances without rows."""
    nothing = Features(np.zeros((0, len(columns)), np.float32), np.zeros(0), columns)
    waiting = sorted(failures, reverse=True)
    last = None
    for row in clips:
        assert last is None or last < row[0], f"{row[0]} comes after {last}"
        while waiting and waiting[-1] < row[0]:
            yield waiting.pop(), nothing, math.nan, None
        assert not waiting or waiting[-1] != row[0], f"{row[0]} has features and a failure"
        last = row[0]
        yield row
    yield from ((id_, nothing, math.nan, None) for id_ in reversed(waiting))


def _write_body(
    file: h5py.File,
    columns: tuple[str, ...],
    rows: Iterator[_Row],
    failures: Mapping[str, str],
    notes: Mapping[str, str],
) -> None:
    values = _Rows(file, "values", (len(columns),), np.dtype(np.float32), np.nan)
    timestamps = _Rows(file, "timestamps_s", (), np.dtype(np.float64), np.nan)
    points = _Rows(file, "landmarks", None, np.dtype(np.int16), _NO_POINT)
    scale = _Rows(file, "landmarks_scale", (4,), np.dtype(np.float32), np.nan)
    ids: list[str] = []
    durations: list[float] = []
    offsets = [0]
    for id_, features, duration_s, landmarks in rows:
        _check_row(id_, features, columns)
        values.append(features.values)
        timestamps.append(features.timestamps_s)
        if landmarks is not None and len(features.values):
            packed = landmarks if isinstance(landmarks, PackedLandmarks) else pack_landmarks(landmarks)
            assert len(packed.points) == len(features.values), f"{id_}: one set of landmarks per row"
            points.put(offsets[-1], packed.points)
            scale.put(offsets[-1], packed.scale)
        ids.append(id_)
        durations.append(duration_s)
        offsets.append(offsets[-1] + len(features.values))
    for dataset in (values, timestamps):
        dataset.close(offsets[-1])
    if points.used:
        points.close(offsets[-1])
        scale.close(offsets[-1])
    _strings(file, "ids", ids)
    _strings(file, "columns", columns)
    file.create_dataset("offsets", data=np.asarray(offsets, np.int64))
    file.create_dataset("duration_s", data=np.asarray(durations, np.float64))
    for name, reasons in (("failures", failures), ("notes", notes)):
        _pairs(file, name, "reasons", reasons)


def _pairs(file: h5py.File, name: str, second: str, texts: Mapping[str, str]) -> None:
    group = file.create_group(name)
    _strings(group, "ids", sorted(texts))
    _strings(group, second, [texts[id_] for id_ in sorted(texts)])


def _check_row(id_: str, features: Features, columns: tuple[str, ...]) -> None:
    assert features.columns == columns, f"{id_}: the columns are not the cache's"
    assert features.values.shape == (len(features.timestamps_s), len(columns)), f"{id_}: {features.values.shape} values"
    assert features.values.dtype == np.float32, f"{id_}: values must be float32"


class _Rows:
    """A dataset that grows: rows are gathered until they fill chunks, so that each chunk is compressed once."""

    def __init__(
        self, file: h5py.File, name: str, inner: tuple[int, ...] | None, dtype: np.dtype[Any], fill: float | np.int16
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


def _strings(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Fixed-length UTF-8: unlike variable-length strings these read at once and give the same bytes each time."""
    encoded = [text.encode() for text in texts]
    dtype = h5py.string_dtype("utf-8", max([1, *map(len, encoded)]))
    packing = {"compression": "gzip", "compression_opts": 4} if encoded else {}
    group.create_dataset(name, data=np.array(encoded, dtype=dtype), **packing)


# ------------------------------------------------------------------------------------------------------------ reading


def caches_at(path: Path) -> dict[str, Path]:
    """The cache named, or those of a folder: modality (or the file's name) -> file. CacheError where there is none."""
    if not path.is_dir():
        return {path.stem: path}
    found: dict[str, Path] = {k: path / f"{k}.h5" for k in KINDS if (path / f"{k}.h5").is_file()}
    if "speech" in found and _asks_nothing(found["speech"]):
        del found["speech"]
    if not found:
        names = ", ".join(f"{m}.h5" for m in KINDS)
        raise CacheError(
            f"{path}: there is no frame cache in this folder ({names}). 'bemerc extract' or 'bemerc cache import' makes them."
        )
    return found


def write_nothing(path: Path, modality: Kind) -> None:
    """A cache of no utterance, by the extractor "none": what a pipeline leaves where a file is due and nothing was asked for."""
    write_cache(path, modality=modality, columns=(), rate="clip", extractor="none", params={}, clips=(), failures={})


def _asks_nothing(path: Path) -> bool:
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("extractor")) == "none"
    except OSError:
        return False  # open_cache says what is wrong with it


def open_cache(path: Path | str, modality: Kind | None = None) -> FrameCache:
    """Open and check a frame cache. Use it in a ``with`` block.

    Raises CacheError, a sentence, when the file is missing, is not HDF5, is no frame cache, has another schema version
    or modality, links to other files, claims more data than it can hold, or when its shapes contradict each other.
    """
    path = Path(path)
    if not path.is_file():
        raise CacheError(f"{path}: there is no frame cache here. 'bemerc extract' or 'dvc repro' makes one.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CacheError(f"{path}: this is not a readable HDF5 file ({error}). Extract it again.") from None
    try:
        return FrameCache(path, file, modality)
    except _DAMAGE as error:
        file.close()
        raise CacheError(f"{path}: this cache is damaged ({_first_line(error)}). Extract it again.") from None
    except BaseException:
        file.close()
        raise


def _first_line(error: Exception) -> str:
    return (str(error).strip("'\"") or type(error).__name__).splitlines()[0]


class FrameCache:
    """An open frame cache of N utterances; see the module's text for the file. Made by open_cache.

    modality, columns, ids, extractor, rate ("clip" or Hz), params (dict), failures and notes (id -> sentence), sources
    (id -> SHA-256 of what it was measured of; empty where the writer did not know), choices (id -> Choice; empty where
    nobody chose), contents
    """

    def __init__(self, path: Path, file: h5py.File, modality: Kind | None) -> None:
        self.path = path
        self._file = file
        _check_head(path, file, modality)
        _check_links(path, file)
        self.modality: Kind = file.attrs["modality"]
        self.extractor = str(file.attrs["extractor"])
        self.params: dict[str, Any] = json.loads(file.attrs["params"])
        self.contents = str(file.attrs["contents"])
        rate = file.attrs["rate"]
        self.rate: Literal["clip"] | float = "clip" if rate == "clip" else float(rate)
        self.columns = _read_strings(path, file, "columns")
        self.ids = _read_strings(path, file, "ids")
        self._offsets: NDArray[np.int64] = _read_array(path, file, "offsets", np.dtype(np.int64))
        self._duration_s: NDArray[np.float64] = _read_array(path, file, "duration_s", np.dtype(np.float64))
        self.failures = _read_pairs(path, file, "failures", "reasons")
        self.notes = _read_pairs(path, file, "notes", "reasons")
        self.sources = _read_pairs(path, file, "sources", "sha256") if "sources" in file else {}
        told = _read_pairs(path, file, "choices", "json") if "choices" in file else {}
        self.choices = {id_: Choice.from_json(text) for id_, text in told.items()}
        self._position = {id_: i for i, id_ in enumerate(self.ids)}
        self._values, self._timestamps_s = _member(path, file, "values"), _member(path, file, "timestamps_s")
        self.has_landmarks = "landmarks" in file
        _check_shapes(self, file)

    def __enter__(self) -> FrameCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._file.close()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._position

    def __getitem__(self, id_: str) -> Features:
        """The features of one utterance, T = 0 where it failed; CacheError for an id that is not in the cache and for damaged rows."""
        rows = self._rows(id_)
        try:
            return Features(self._values[rows], self._timestamps_s[rows], self.columns)
        except (OSError, RuntimeError) as error:
            raise CacheError(
                f"{self.path}: the rows of '{id_}' cannot be read ({_first_line(error)}). Extract it again."
            ) from None

    def duration_s(self, id_: str) -> float:
        """The utterance's true length in seconds, NaN where the clip could not be read."""
        return float(self._duration_s[self._at(id_)])

    def frames(self, id_: str) -> int:
        """T of one utterance, without reading it."""
        rows = self._rows(id_)
        return int(rows.stop - rows.start)

    def landmarks(self, id_: str) -> NDArray[np.float32] | None:
        """Raw points (T, P, 3) float32 in pixels of the frame that the extractor saw (x right, y down, z away from the
        camera on x's scale), NaN where there was no face; None where the cache holds none."""
        rows = self._rows(id_)
        if not self.has_landmarks:
            return None
        return unpack_landmarks(PackedLandmarks(self._file["landmarks"][rows], self._file["landmarks_scale"][rows]))

    def _at(self, id_: str) -> int:
        if id_ not in self._position:
            raise CacheError(f"{self.path}: there is no utterance '{id_}' among its {len(self.ids)}.")
        return self._position[id_]

    def _rows(self, id_: str) -> slice:
        at = self._at(id_)
        return slice(int(self._offsets[at]), int(self._offsets[at + 1]))


def summary(cache: FrameCache) -> dict[str, Any]:
    """What a cache holds, for ``bemerc inspect``: counts, hours, and per column the NaN share, mean, std, min and max."""
    counts = np.diff(cache._offsets)
    statistics = _column_statistics(cache)
    return {
        "path": str(cache.path),
        "modality": cache.modality,
        "extractor": cache.extractor,
        "rate": cache.rate,
        "params": cache.params,
        "utterances": len(cache),
        "failed": len(cache.failures),
        "without_rows": int((counts == 0).sum()),
        "rows": int(counts.sum()),
        "hours": float(np.nansum(cache._duration_s)) / 3600,
        "landmarks": cache.has_landmarks,
        "several_faces": sum(choice.by != "alone" for choice in cache.choices.values()),
        "uncertain_faces": sum(choice.uncertain for choice in cache.choices.values()),
        "bytes": cache.path.stat().st_size,
        "columns": statistics,
    }


def _column_statistics(cache: FrameCache) -> dict[str, dict[str, float]]:
    width, total = len(cache.columns), cache._values.shape[0]
    seen, first, second = np.zeros(width), np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for start in range(0, total, 1 << 14):
        block = cache._values[start : start + (1 << 14)].astype(np.float64)
        there = np.isfinite(block)
        filled = np.where(there, block, 0.0)
        seen += there.sum(axis=0)
        first += filled.sum(axis=0)
        second += (filled**2).sum(axis=0)
        low = np.minimum(low, np.where(there, block, np.inf).min(axis=0))
        high = np.maximum(high, np.where(there, block, -np.inf).max(axis=0))
    return {
        name: _statistics(total, seen[i], first[i], second[i], low[i], high[i]) for i, name in enumerate(cache.columns)
    }


def _statistics(total: int, seen: float, first: float, second: float, low: float, high: float) -> dict[str, float]:
    if not seen:
        return {"nan_share": 1.0 if total else math.nan} | dict.fromkeys(("mean", "std", "min", "max"), math.nan)
    mean = first / seen
    std = math.sqrt(max(0.0, second / seen - mean**2))
    return {"nan_share": 1 - seen / total, "mean": mean, "std": std, "min": float(low), "max": float(high)}


# ------------------------------------------------------------------------------------------------------------ checking


def _check_head(path: Path, file: h5py.File, modality: Kind | None) -> None:
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


def _check_links(path: Path, file: h5py.File) -> None:
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


def _member(path: Path, group: h5py.Group, name: str) -> Any:
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


def _read_array(path: Path, file: h5py.File, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    dataset = _member(path, file, name)
    if dataset.ndim != 1 or dataset.dtype != dtype:
        raise CacheError(f"{path}: '{name}' must be one row of {dtype}, not {dataset.dtype} of shape {dataset.shape}.")
    return cast("NDArray[Any]", dataset[()])


def _read_strings(path: Path, group: h5py.Group, name: str) -> tuple[str, ...]:
    dataset = _member(path, group, name)
    if dataset.ndim != 1 or dataset.dtype.kind != "S":
        raise CacheError(
            f"{path}: '{name}' must be one row of fixed-length text, not {dataset.dtype} of shape {dataset.shape}."
        )
    try:
        return tuple(text.decode() for text in dataset[()].tolist())
    except UnicodeDecodeError as error:
        raise CacheError(f"{path}: '{name}' is not UTF-8 ({error}).") from None


def _read_pairs(path: Path, file: h5py.File, name: str, second: str) -> dict[str, str]:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise CacheError(f"{path}: the group '{name}' is missing. Extract the cache again.")
    ids, texts = _read_strings(path, group, "ids"), _read_strings(path, group, second)
    if len(ids) != len(texts):
        raise CacheError(f"{path}: '{name}' has {len(ids)} ids and {len(texts)} {second}.")
    return dict(zip(ids, texts, strict=True))


def _check_shapes(cache: FrameCache, file: h5py.File) -> None:
    offsets, values, stamps = cache._offsets, cache._values, cache._timestamps_s
    n, total = len(cache.ids), values.shape[0] if values.ndim else 0
    faults = []
    if len(cache._position) != n or list(cache.ids) != sorted(cache.ids):
        faults.append("the ids are not unique and sorted")
    if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        faults.append(f"{len(offsets)} offsets do not divide {total} rows among {n} ids")
    if len(cache._duration_s) != n:
        faults.append(f"{len(cache._duration_s)} durations for {n} ids")
    if values.ndim != 2 or values.dtype != np.float32 or values.shape[1] != len(cache.columns):
        faults.append(f"values of {values.dtype} {values.shape} for {len(cache.columns)} columns")
    if len(set(cache.columns)) != len(cache.columns):
        faults.append("two columns share a name")
    if stamps.shape != (total,) or stamps.dtype != np.float64:
        faults.append(f"timestamps of {stamps.dtype} {stamps.shape} for {total} rows")
    if not {*cache.failures, *cache.notes, *cache.sources, *cache.choices} <= set(cache._position):
        faults.append("failures, notes, sources or choices of ids that are not in the cache")
    if cache.has_landmarks:
        faults += _landmark_faults(cache.path, file, total)
    if faults:
        raise CacheError(f"{cache.path}: this cache contradicts itself: {'; '.join(faults)}. Extract it again.")


def _landmark_faults(path: Path, file: h5py.File, total: int) -> list[str]:
    points, scale = _member(path, file, "landmarks"), _member(path, file, "landmarks_scale")
    if points.ndim != 3 or points.shape[0] != total or points.shape[2] != 3 or points.dtype != np.int16:
        return [f"landmarks of {points.dtype} {points.shape} for {total} rows"]
    if scale.shape != (total, 4) or scale.dtype != np.float32:
        return [f"landmark scales of {scale.dtype} {scale.shape} for {total} rows"]
    return []
