"""Reading frame caches: where they lie, and one utterance at a time from an open one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.cache import guard
from bemerc.cache.values import KINDS, Choice, Features, Kind, PackedLandmarks, unpack_landmarks
from bemerc.errors import CacheError

# What h5py raises where a file's own tables hold nonsense, and what its words raise where they are not what was written.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError)


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
    """An open frame cache of N utterances; see bemerc.cache for the file. Made by open_cache.

    modality, columns, ids, extractor, rate ("clip" or Hz), params (dict), failures and notes (id -> sentence), sources
    (id -> SHA-256 of what it was measured of; empty where the writer did not know), choices (id -> Choice; empty where
    nobody chose), contents
    """

    def __init__(self, path: Path, file: h5py.File, modality: Kind | None) -> None:
        self.path = path
        self._file = file
        guard.check_head(path, file, modality)
        guard.check_links(path, file)
        self.modality: Kind = file.attrs["modality"]
        self.extractor = str(file.attrs["extractor"])
        self.params: dict[str, Any] = json.loads(file.attrs["params"])
        self.contents = str(file.attrs["contents"])
        rate = file.attrs["rate"]
        self.rate: Literal["clip"] | float = "clip" if rate == "clip" else float(rate)
        self.columns = guard.read_strings(path, file, "columns")
        self.ids = guard.read_strings(path, file, "ids")
        self._offsets: NDArray[np.int64] = guard.read_array(path, file, "offsets", np.dtype(np.int64))
        self._duration_s: NDArray[np.float64] = guard.read_array(path, file, "duration_s", np.dtype(np.float64))
        self.failures = guard.read_pairs(path, file, "failures", "reasons")
        self.notes = guard.read_pairs(path, file, "notes", "reasons")
        self.sources = guard.read_pairs(path, file, "sources", "sha256") if "sources" in file else {}
        told = guard.read_pairs(path, file, "choices", "json") if "choices" in file else {}
        self.choices = {id_: Choice.from_json(text) for id_, text in told.items()}
        self._position = {id_: i for i, id_ in enumerate(self.ids)}
        self._values, self._timestamps_s = guard.member(path, file, "values"), guard.member(path, file, "timestamps_s")
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
        packed = self.packed_landmarks(id_)
        return None if packed is None else unpack_landmarks(packed)

    def packed_landmarks(self, id_: str) -> PackedLandmarks | None:
        """The same points as they are stored."""
        rows = self._rows(id_)
        if not self.has_landmarks:
            return None
        return PackedLandmarks(self._file["landmarks"][rows], self._file["landmarks_scale"][rows])

    def _at(self, id_: str) -> int:
        if id_ not in self._position:
            raise CacheError(f"{self.path}: there is no utterance '{id_}' among its {len(self.ids)}.")
        return self._position[id_]

    def _rows(self, id_: str) -> slice:
        at = self._at(id_)
        return slice(int(self._offsets[at]), int(self._offsets[at + 1]))


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
    points, scale = guard.member(path, file, "landmarks"), guard.member(path, file, "landmarks_scale")
    if points.ndim != 3 or points.shape[0] != total or points.shape[2] != 3 or points.dtype != np.int16:
        return [f"landmarks of {points.dtype} {points.shape} for {total} rows"]
    if scale.shape != (total, 4) or scale.dtype != np.float32:
        return [f"landmark scales of {scale.dtype} {scale.shape} for {total} rows"]
    return []
