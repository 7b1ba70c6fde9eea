"""The extraction store: one small file per utterance and modality, so that nothing is extracted twice.

    MODALITY/ab/KEY.npz             features: values, timestamps_s, duration_s, note; landmarks and choice of a face; others
    MODALITY/ab/KEY.DECODER.json    why the clip has no features; only valid for the decoder version in its name

KEY is a fingerprint of everything that the numbers depend on (bemerc.extraction.fingerprint), so changed params or
clips are other keys. A file appears under its name complete or not at all (atomic rename): kill -9 costs at most the
clips in work, and any number of processes may share a store. Faults of the machine are never stored.

The store is no output of a DVC stage, since DVC deletes outputs before it runs a stage. Deleting it loses time only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import re
import time
import tokenize
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, Other, PackedLandmarks
from bemerc.core import atomic
from bemerc.core.jsonfile import MAX_LINE_BYTES, JsonError, parse_json
from bemerc.core.progress import bar
from bemerc.extraction import other_faces
from bemerc.extraction.errors import DamagedError, UnreadableError, check_regular, store_errors
from bemerc.extraction.existing import exists, names
from bemerc.extraction.failures import Failure
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS, decoder_version

# The files that say how many clips a file of a cache has.
PART_CLIPS = ".part-clips"
_LANDMARKS = ("points", "scale")
_RAW_POINTS = {*_LANDMARKS, *other_faces.LANDMARKS}
# What reading an archive raises that a failing disk has changed.
DAMAGE = (
    *(ValueError, KeyError, TypeError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, JsonError),
)
# What earlier releases wrote into partial/, without the process in its name: removed after an hour.
_EARLIER = re.compile(r"[0-9a-f]{40}(\.bare)?\.[0-9a-f]{16}\.(npz|json)")
_EARLIER_S = 3600.0
# Of so many results, in 256 folders, the folders are listed.
_LISTED = 2000


@dataclass(frozen=True)
class Result:
    """One utterance's features of one modality.

    note    a sentence on what is missing or odd; empty where nothing is
    choice  which face was measured, where the extractor selected one
    others  other people in the picture, where their rows are kept
    """

    features: Features
    duration_s: float
    landmarks: PackedLandmarks | None = None
    note: str = ""
    choice: Choice | None = None
    others: tuple[Other, ...] = ()


class Store:
    """A folder of results; see the module's docstring. StoreError where the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._root = str(folder)
        self._partial = folder / "partial"
        self._no_landmarks = folder / "no-landmarks"
        with store_errors(folder):
            self._partial.mkdir(parents=True, exist_ok=True)

    @property
    def keeps_landmarks(self) -> bool:
        """Whether raw points of faces may be stored. This is a property of the store, not of the caches made from
        it."""
        return not self._no_landmarks.exists()

    def set_landmarks(self, keep: bool) -> None:
        """Set whether raw points may be stored from now on; existing ones stay until ``drop_landmarks``."""
        with store_errors(self.folder):
            if keep:
                self._no_landmarks.unlink(missing_ok=True)
            elif self.keeps_landmarks:
                text = "Written by bemerc extract --no-landmarks; --landmarks removes it.\n"
                atomic.write_text(self._no_landmarks, text)

    def part_clips(self, modality: str) -> int:
        """How many utterances a file of this modality's cache had when it was last written; 0 = all in one. The cache
        itself may be gone, or damaged."""
        with contextlib.suppress(OSError, ValueError):
            return max(0, int(self._part_clips(modality).read_text(encoding="ascii")[:9]))
        return 0

    def set_part_clips(self, modality: str, clips: int) -> None:
        """Remember it."""
        if clips != self.part_clips(modality):
            with store_errors(self.folder):
                atomic.write_text(self._part_clips(modality), f"{clips}\n")

    def _part_clips(self, modality: str) -> Path:
        return self.folder / f"{modality}{PART_CLIPS}"

    def sweep(self) -> None:
        """Remove partial files of killed processes. Where landmarks must not be kept, those of other machines too."""
        drop_all = not self.keeps_landmarks
        with contextlib.suppress(OSError):
            (self.folder / "claims").unlink(missing_ok=True)  # the lock file of earlier releases
        atomic.sweep_partials(self._partial, other_machines=drop_all)
        with contextlib.suppress(OSError):
            for path in self._partial.iterdir():
                # Whatever else lies here, such as somebody's folder, is not ours.
                with contextlib.suppress(OSError):
                    if _EARLIER.fullmatch(path.name) and (drop_all or time.time() - path.stat().st_mtime > _EARLIER_S):
                        path.unlink()

    def state(self, modality: str, key: str) -> type[Result] | type[Failure] | None:
        """Whether there is a result, or a failure by this version of the decoder; None = still to be extracted."""
        with store_errors(self.folder):
            if exists(self._result(modality, key)):
                return Result
            return Failure if exists(self._failure(modality, key)) else None

    def unfinished(self, modality: str, keys: Collection[str]) -> dict[str, type[Failure] | None]:
        """Those of the keys that have no result, with what ``state`` says of them. Of many the folders are listed, which
        costs a fraction; what is not listed is asked for all the same, since NFS may show an old list."""
        states = {key: self.state(modality, key) for key in self._not_listed(modality, keys)}
        return {key: Failure if state is Failure else None for key, state in states.items() if state is not Result}

    def _not_listed(self, modality: str, keys: Collection[str]) -> Collection[str]:
        if len(keys) < _LISTED:
            return keys
        folders: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            folders[self._result(modality, key).rpartition("/")[0]].append(key)
        missing: list[str] = []
        with store_errors(self.folder):
            for folder, inside in folders.items():
                there = names(folder)
                missing += [key for key in inside if f"{key}.npz" not in there]
        return missing

    def put(self, modality: str, key: str, result: Result | Failure) -> None:
        """Store a result or a failure under its key. StoreError if the disk refuses; the store is unchanged then."""
        path = self._result_path(modality, key) if isinstance(result, Result) else self._failure_path(modality, key)
        self._write(path, _encoded(result))
        self.drop_failures(modality, key, but=path)

    def publish(self, modality: str, key: str) -> None:
        """A result was finished by a worker. (Here nothing is left to do; see remote_store.py.)"""

    def flush(self) -> None:
        """Return when everything that is finished is where it is kept."""

    def names(self) -> set[str]:
        """MODALITY/ab/FILE of every result and failure."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.glob("*/??/*")}

    @contextlib.contextmanager
    def at_hand(self, name: str) -> Iterator[Path]:
        """One of these files, on this machine while the block runs."""
        yield self.folder / name

    def remove(self, name: str) -> None:
        """Remove one of these files."""
        with store_errors(self.folder):
            (self.folder / name).unlink(missing_ok=True)

    def forget_hashes(self, clip_hashes: Collection[str]) -> None:
        """Take these hashes of clips out of what other machines read. (Here none do; see remote_store.py.)"""

    def drop_failures(self, modality: str, key: str, but: Path | None = None) -> None:
        """Delete the stored failures of a key, of every decoder version, except the file ``but``."""
        current = self._failure_path(modality, key)
        with store_errors(self.folder):
            for path in current.parent.glob(f"{current.name.partition('.')[0]}.*json"):
                if path != but:
                    path.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        if path.exists() and not path.is_file():  # in a store from somewhere else; atomic replaces files alone
            with store_errors(self.folder):
                path.unlink()
        with store_errors(self.folder), atomic.replacing(path, folder=self._partial) as file:
            file.write(data)

    def drop_landmarks(self, modality: str) -> int:
        """Rewrite every result that holds landmarks as one without; returns how many there were.

        All results of the modality, whatever their params and whether or not their clips still exist: landmarks can
        identify people. The file without landmarks is written before the other is deleted, so that a kill loses
        neither, and other processes may do the same. StoreError if the disk refuses.
        """
        paths = [p for p in sorted((self.folder / modality).glob("*/*.npz")) if not p.stem.endswith(WITHOUT_LANDMARKS)]
        if not paths:
            return 0
        dropped = 0
        with bar("Removing landmarks", len(paths), "stored results") as advance:
            for path in paths:
                with store_errors(self.folder):
                    dropped += self._drop(path)
                advance(1)
        return dropped

    def _drop(self, path: Path) -> bool:
        try:
            check_regular(path)
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                if not _RAW_POINTS & set(arrays.files):
                    return False
                kept = {name: _array(arrays, name) for name in arrays.files if name not in _RAW_POINTS}
        except FileNotFoundError:  # another process was quicker
            return False
        except DAMAGE:
            kept = None  # it is extracted anew when it is next asked for
        if kept is not None:
            self._write(path.with_name(f"{path.stem}{WITHOUT_LANDMARKS}.npz"), _zipped(kept))
        path.unlink(missing_ok=True)
        return kept is not None

    def result(self, modality: str, key: str, columns: tuple[str, ...]) -> Result:
        """Read a result. DamagedError: its file was removed; UnreadableError: the disk did not give it this time."""
        path = self._result_path(modality, key)
        with _reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _from_arrays(arrays, columns)

    def failure(self, modality: str, key: str) -> Failure:
        """Read a failure; raises as ``result`` does."""
        path = self._failure_path(modality, key)
        with _reading(path), path.open("rb") as file:
            return _parse_failure(parse_json(file.read(MAX_LINE_BYTES), "a failure"))

    def _result(self, modality: str, key: str) -> str:
        return f"{self._root}/{modality}/{key[:2]}/{key}.npz"

    def _failure(self, modality: str, key: str) -> str:
        """The same with and without landmarks."""
        return f"{self._root}/{modality}/{key[:2]}/{key.removesuffix(WITHOUT_LANDMARKS)}.{decoder_version()}.json"

    def _result_path(self, modality: str, key: str) -> Path:
        return Path(self._result(modality, key))

    def _failure_path(self, modality: str, key: str) -> Path:
        return Path(self._failure(modality, key))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Delete a damaged file and raise DamagedError; UnreadableError where the disk is at fault, which may pass."""
    try:
        check_regular(path)
        yield
    except OSError as error:
        # A damaged archive makes Python seek to where no file is.
        if error.errno not in (None, errno.EINVAL):
            raise UnreadableError(path, error.strerror or str(error)) from None
        reason: Exception = error
    except DAMAGE as error:
        reason = error
    else:
        return
    with store_errors(path.parent):
        path.unlink(missing_ok=True)
    raise DamagedError(path, reason) from None


def _parse_failure(fields: Any) -> Failure:
    if not (
        isinstance(fields, dict) and isinstance(fields.get("reason"), str) and isinstance(fields.get("absent"), bool)
    ):
        raise ValueError("it is no failure")
    return Failure(fields["reason"], fields["absent"])


def _encoded(result: Result | Failure) -> bytes:
    if isinstance(result, Failure):
        return json.dumps(asdict(result), ensure_ascii=False).encode()
    arrays: dict[str, Any] = {
        "values": result.features.values,
        "timestamps_s": result.features.timestamps_s,
        "duration_s": np.float64(result.duration_s),
        "note": np.frombuffer(result.note.encode(), np.uint8),
    }
    if result.landmarks is not None:
        arrays |= dict(zip(_LANDMARKS, (result.landmarks.points, result.landmarks.scale), strict=True))
    if result.choice is not None:
        arrays["choice"] = np.frombuffer(result.choice.as_json().encode(), np.uint8)
    return _zipped(arrays | other_faces.to_arrays(result.others))


def _zipped(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _array(arrays: Any, name: str) -> NDArray[Any]:
    """An array of an archive; ValueError where the file of that name is none: numpy returns its bytes then."""
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{name}' is not an array")
    return array


def _text(arrays: Any, name: str) -> str:
    return _array(arrays, name).tobytes().decode()


def _from_arrays(arrays: Any, columns: tuple[str, ...]) -> Result:
    values, timestamps_s = _array(arrays, "values"), _array(arrays, "timestamps_s")
    if values.shape != (len(timestamps_s), len(columns)):
        raise ValueError(f"values of {values.shape} for {len(columns)} columns")
    landmarks = PackedLandmarks(*(_array(arrays, name) for name in _LANDMARKS)) if _LANDMARKS[0] in arrays else None
    return Result(
        Features(values, timestamps_s, columns),
        float(_array(arrays, "duration_s")),
        landmarks,
        _text(arrays, "note"),
        Choice.from_json(_text(arrays, "choice")) if "choice" in arrays else None,
        other_faces.from_arrays({name: _array(arrays, name) for name in other_faces.NAMES if name in arrays}, columns),
    )
