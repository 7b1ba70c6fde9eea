"""Reading an open frame cache, one utterance at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import checksum
from bemerc.cache.guard import DamagedCacheError, GuardedFile, h5_errors
from bemerc.cache.read_checks import check_head, check_shapes, params_of, rate_of
from bemerc.cache.schema import (
    MOST_HZ,
    OTHERS,
    PAIRS,
    SCHEMA,
    SCHEMA_VERSION,
    Choice,
    Features,
    Head,
    Kind,
    PackedLandmarks,
    split_other,
    unpack_landmarks,
)
from bemerc.cache.texts import Mapped, Texts, TextTable
from bemerc.core.closeable import Closeable
from bemerc.core.errors import CacheError
from bemerc.core.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

AGAIN = "The same 'bemerc extract' makes it anew from what it finished; an imported one, import again."
_MOST_COLUMNS = 1 << 16
_ALWAYS = ("failures", "notes")


def _row_datasets(landmarks: bool) -> tuple[str, ...]:
    return ("values", "timestamps_s", *(("landmarks", "landmarks_scale") if landmarks else ()))


class FrameCache(Closeable):
    """An open frame cache of N utterances; see bemerc.cache for the file. Made by open_cache; in several files it is a
    PartedCache.

    modality, columns, ids, extractor, rate ("clip" or Hz), params (dict), failures and notes (id -> sentence), sources
    (id -> SHA-256 of its clip or file), choices (id -> Choice of a target face), contents; has_checksums: False in caches
    of an earlier bemerc; others: the same of other people in these pictures, by ids of ``id_of_other``, None where only
    the target's rows are kept; group: "", or the group of such a cache
    """

    def __init__(self, path: Path, file: GuardedFile, modality: Kind | None, group: str = "") -> None:
        self.path, self.group = path, group
        self._file = file
        check_head(file, modality)
        self.modality: Kind = file.attribute("modality")
        self.extractor = file.text("extractor")
        self._params_text = file.text("params", 1 << 20)
        self.params = params_of(file, self._params_text)
        self.contents = file.text("contents")
        self.rate: Literal["clip"] | float = rate_of(file)
        self.columns = file.strings(f"{group}columns", _MOST_COLUMNS)
        self.ids = file.strings(f"{group}ids")
        self._offsets: NDArray[np.int64] = file.array(f"{group}offsets", np.dtype(np.int64))
        self._duration_s: NDArray[np.float64] = file.array(f"{group}duration_s", np.dtype(np.float64))
        self._position: Mapping[str, int] = {id_: i for i, id_ in enumerate(self.ids)}
        self._pairs = {
            name: file.pairs(f"{group}{name}", second, self._position)
            for name, second in PAIRS.items()
            if f"{group}{name}" in file or name in _ALWAYS
        }
        self.failures: Mapping[str, str] = self._pairs["failures"]
        self.notes: Mapping[str, str] = self._pairs["notes"]
        self.sources: Mapping[str, str] = self._pairs.get("sources", {})
        self.choices: Mapping[str, Choice] = Mapped(self._pairs.get("choices", {}), Choice.from_json)
        for _ in self.choices.values():  # each is read once now, so that damage is found when a cache is opened
            pass
        self.has_checksums = checksum.DATASET in file or file.attribute(checksum.ATTRIBUTE) is not None
        self._checksums = Texts(file.texts(f"{group}{checksum.DATASET}") if self.has_checksums else ())
        self.has_landmarks = f"{group}landmarks" in file
        self._datasets = {name: file.dataset(f"{group}{name}") for name in _row_datasets(self.has_landmarks)}
        check_shapes(self, AGAIN)
        self.others = FrameCache(path, file, modality, f"{OTHERS}/") if not group and OTHERS in file else None

    @property
    def head(self) -> Head:
        """How it was measured."""
        return Head(self.modality, self.columns, self.rate, self.extractor, self.params)

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._file.close()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that it lies in."""
        return (self.path,)

    def __repr__(self) -> str:
        rate = self.rate if isinstance(self.rate, str) else f"{self.rate:g} Hz"
        return f"FrameCache({str(self.path)!r}: {self.modality}, {len(self)} utterances, {len(self.columns)} columns, rate {rate})"

    def to_pandas(self, ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The frames of the utterances ``ids`` (all, where None) as a DataFrame, indexed by ``id`` and ``time_s``;
        needs pandas."""
        from bemerc.cache.notebook import frame_of_cache

        return frame_of_cache(self, ids)

    def plot(self, id_: str, columns: Sequence[str] | None = None) -> Any:
        """A matplotlib figure of one utterance's ``columns`` over time, the liveliest six where None; needs
        matplotlib."""
        return self[id_].plot(columns, title=id_)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._position

    def __getitem__(self, id_: str) -> Features:
        """The features of one utterance, T = 0 where it failed. CacheError for an id that is not in the cache, for
        damaged rows, and for rows whose times are not finite and growing, or are more than MOST_HZ a second."""
        features = self.unchecked(id_)
        fault = clock_fault(features.timestamps_s)
        if fault:
            raise DamagedCacheError(
                f"the rows of '{printable(id_)}' cannot be used. {fault} {AGAIN}", path=self.path, name=id_
            )
        return features

    def unchecked(self, id_: str) -> Features:
        """The same without the check of its times, for validation."""
        rows = self._rows(id_)
        return Features(self._read("values", id_, rows), self._read("timestamps_s", id_, rows), self.columns)

    def duration_s(self, id_: str) -> float:
        """The utterance's true length in seconds, NaN where the clip could not be read."""
        return float(self._duration_s[self._at(id_)])

    def others_of(self, id_: str) -> tuple[str, ...]:
        """The ids, in ``others``, of other people during one utterance; none where only the target's rows are kept."""
        return self._others.get(id_, ()) if self.others is not None else ()

    @cached_property
    def _others(self) -> dict[str, tuple[str, ...]]:
        ids: dict[str, list[str]] = {}
        for other in self.others.ids if self.others is not None else ():
            ids.setdefault(split_other(other)[0], []).append(other)
        return {id_: tuple(listed) for id_, listed in ids.items()}

    def frames(self, id_: str) -> int:
        """T of one utterance, without reading it."""
        rows = self._rows(id_)
        return int(rows.stop - rows.start)

    def landmarks(self, id_: str, first: int = 0, end: int | None = None) -> NDArray[np.float32] | None:
        """Raw points (T, P, 3) float32 in pixels of the frame that the extractor saw (x right, y down, z away from the
        camera on x's scale), NaN where there was no face, of the frames ``first`` to ``end`` - 1; None where the cache
        holds none."""
        packed = self.packed_landmarks(id_, first, end)
        return None if packed is None else unpack_landmarks(packed)

    @property
    def landmark_points(self) -> int:
        """How many points a frame's landmarks have; 0 where the cache keeps none."""
        return int(self._datasets["landmarks"].shape[1]) if self.has_landmarks else 0

    def packed_landmarks(self, id_: str, first: int = 0, end: int | None = None) -> PackedLandmarks | None:
        """The same points as they are stored, of the frames ``first`` to ``end`` - 1. CacheError as for the
        features."""
        rows = self._rows(id_)
        if not self.has_landmarks:
            return None
        frames = slice(rows.start + first, rows.stop if end is None else min(rows.stop, rows.start + end))
        return PackedLandmarks(*(self._read(name, id_, frames) for name in ("landmarks", "landmarks_scale")))

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        """The values (end - first, D) of rows of the whole cache, across utterances. CacheError where they cannot be
        read."""
        with h5_errors(self.path, f"the rows {first} to {end} cannot be read", AGAIN):
            return self._file.read("values", self._datasets["values"], slice(first, end))

    def is_as_written(self, id_: str) -> bool:
        """Whether one utterance's rows have the checksum that their writer left; True where it left none. CacheError
        where they cannot be read."""
        if not self.has_checksums:
            return True
        digest = checksum.of_rows(id_, self.duration_s(id_), self.unchecked(id_), self.packed_landmarks(id_))
        return bool(digest == self._checksums[self._at(id_)])

    def head_is_as_written(self) -> bool:
        """The same of everything but the rows: attributes, ids, columns, failures, notes."""
        if not self.has_checksums:
            return True
        head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "modality": self.modality, "rate": self.rate}
        head |= {"extractor": self.extractor, "params": self._params_text, "contents": self.contents}
        pairs = self._pairs | ({} if self.others is None else self.others._covered())
        digest = checksum.of_head(head, self.columns, self.ids, self._checksums, pairs)
        return bool(digest == self._file.attribute(checksum.ATTRIBUTE))

    def _covered(self) -> dict[str, TextTable]:
        """What of a group the checksum of the whole cache covers."""
        own = {f"{OTHERS}/{name}": texts for name, texts in self._pairs.items()}
        return {OTHERS: TextTable(self._position, self._checksums), **own}

    def _read(self, name: str, id_: str, rows: slice) -> NDArray[Any]:
        with h5_errors(self.path, f"the rows of '{printable(id_)}' cannot be read", AGAIN):
            return self._file.read(name, self._datasets[name], rows)

    def _at(self, id_: str) -> int:
        if id_ not in self._position:
            raise CacheError(
                f"there is no utterance '{printable(id_)}' among its {len(self.ids)}.",
                path=self.path,
                name=id_,
                missing=True,
            )
        return self._position[id_]

    def _rows(self, id_: str) -> slice:
        at = self._at(id_)
        return slice(int(self._offsets[at]), int(self._offsets[at + 1]))


def clock_fault(timestamps_s: NDArray[np.float64]) -> str:
    """What is wrong with rows' times (T,), as a sentence; empty where they are finite, grow, and are at most MOST_HZ a
    second."""
    if not np.isfinite(timestamps_s).all():
        return "Their times are not all numbers."
    steps = np.diff(timestamps_s)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        return f"Row {at + 1} is at {timestamps_s[at + 1]:.3f} s, not after row {at} at {timestamps_s[at]:.3f} s."
    if len(steps) > 3 and len(steps) > MOST_HZ * (timestamps_s[-1] - timestamps_s[0]) * 1.01:
        return f"They are {len(steps) / (timestamps_s[-1] - timestamps_s[0]):.4g} a second, and {MOST_HZ} is the most."
    return ""
