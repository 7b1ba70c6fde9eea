"""The token file: K behavior tokens per modality and utterance with their masks, made from frame caches, written and
read.

A token pools a segment's frames (pooling.py), measured against the speaker so far (calibration.py). A segment without
any measured value has mask 0; a value that is missing beside others is train's mean. Zeros never stand for a
measurement.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import shots
from bemerc.behavior.tokens import listeners, pooling
from bemerc.behavior.tokens.calibration import (
    Caches,
    Mode,
    Pooled,
    calibrate,
    check_fit,
    fit,
    sources,
    token_columns,
    used_caches,
)
from bemerc.behavior.tokens.calibration import Calibration as Calibration
from bemerc.cache import Features, Kind, open_cache, same_person
from bemerc.cache.guard import GuardedFile, h5_errors
from bemerc.core.atomic import write_bytes
from bemerc.core.closeable import Closeable
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import parse_json
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES, Manifest, Modality, listener_id

SCHEMA = "bemerc-tokens"
SCHEMA_VERSION = 1
MOST_TOKENS = 4096
NOTHING: Mapping[Modality, Sequence[str]] = MappingProxyType({})

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Params:
    """params.yaml: tokens.

    k            behavior tokens per modality and utterance
    calibration  causal: minus the mean of the speaker's earlier turns in this dialogue, shrunk to train's | global: minus
                 train's mean | none: as measured
    prior        the weight of train's mean in turns, with ``causal``
    """

    k: int = 8
    calibration: Mode = "causal"
    prior: float = 10.0

    def check(self) -> list[str]:
        faults = [] if 1 <= self.k <= MOST_TOKENS else [f"k: must be 1 to {MOST_TOKENS}, not {self.k}."]
        return faults + ([] if self.prior >= 0 else [f"prior: must not be negative, not {self.prior}."])


@dataclass(frozen=True)
class BehaviorTokens:
    """values (K, D') float32, in train's standard deviations; mask (K,) True where anything was measured."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


def run(
    manifest: Manifest,
    cache_paths: Mapping[Kind, Path | None],
    out: Path,
    params: Params,
    calibration: Calibration | None = None,
) -> Calibration:
    """Caches -> token file ``out``. Without a calibration one is fitted on the manifest's train utterances.

    A modality without a cache has masks of 0 if it is in the calibration, else no columns.
    Raises CacheError where a file is no cache or does not fit the calibration, CorpusError where train is empty.
    """
    with ExitStack() as stack:
        opened = {kind: stack.enter_context(open_cache(p, kind)) for kind, p in cache_paths.items() if p is not None}
        caches = used_caches(opened, calibration)
        pooled = pool(manifest, caches, params)
        fitted = calibration or fit(manifest, caches, pooled)
        check_fit(caches, fitted)
        listening = listeners.pool(manifest, caches, fitted, params.k)
    tokens = {}
    for modality, statistics in fitted.modalities.items():
        unmeasured = np.full((len(manifest.utterances), params.k, len(statistics.columns)), np.nan, np.float32)
        rows = pooled.get(modality, unmeasured)
        tokens[modality] = calibrate(manifest, rows, statistics, params.calibration, params.prior)
    ids = [u.id for u in manifest.utterances]
    if listening:
        ids += [listener_id(id_) for id_ in ids]
        tokens = listeners.added(manifest, tokens, listening, fitted, params.calibration)
    write_tokens(out, ids, tokens, fitted, params)
    return fitted


def pool(manifest: Manifest, caches: Caches, params: Params) -> Pooled:
    """All utterances' frames pooled: modality -> (N, K, D') in the manifest's order; NaN where nothing was measured."""
    pooled: Pooled = {}
    cuts_s: dict[str, NDArray[np.float64]] = {}  # of the face, which is pooled first
    with bar("pooling frames", len(manifest.utterances) * len(caches), "utterances") as advance:
        for modality in MODALITIES:
            made_of = sources(modality, caches)
            if made_of:
                width = len(token_columns(made_of))
                pooled[modality] = np.full((len(manifest.utterances), params.k, width), np.nan, np.float32)
            start = 0
            for cache in made_of:
                end = start + len(token_columns((cache,)))
                for row, utterance in enumerate(manifest.utterances):
                    if utterance.id in cache:
                        try:
                            frames = same_person.read(caches, cache.modality, utterance.id)
                        except CacheError as error:  # one damaged clip costs itself alone
                            _LOG.warning("%s counts as not measured: %s", printable(utterance.id), error)
                            frames = Features(np.empty((0, len(cache.columns)), np.float32), np.empty(0), cache.columns)
                        duration_s = cache.duration_s(utterance.id)
                        if cache.modality == "face":
                            cuts_s[utterance.id] = shots.cuts(frames, None)
                        elif cache.modality == "pose" and "face" not in caches:
                            cuts_s[utterance.id] = shots.cuts(None, frames)
                        frames = shots.leveled(frames, cuts_s.get(utterance.id, shots.NONE))
                        pooled[modality][row, :, start:end] = pooling.pool(
                            frames.values, frames.timestamps_s, frames.columns, duration_s, params.k
                        )
                    advance(1)
                start = end
    return pooled


def write_tokens(
    path: Path,
    ids: Sequence[str],
    tokens: Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]],
    calibration: Calibration,
    params: Params,
) -> None:
    """Write the token file: per modality contiguous values (N, K, D') and mask (N, K), rows by sorted id.

    Same tokens, same bytes; the file appears under its name when it is complete.
    """
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    encoded = np.array([ids[i].encode("utf-8") for i in order] or [b""], dtype="S")[: len(order)]
    # In memory first: where the disk fills up under HDF5 itself, closing the file ends the process.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.attrs["schema"], file.attrs["schema_version"] = SCHEMA, SCHEMA_VERSION
        file.attrs["k"], file.attrs["params"] = params.k, json.dumps(asdict(params), sort_keys=True)
        # With a wide audio encoder this is longer than an attribute may be (64 KB), so it is a dataset.
        file["calibration"] = np.bytes_(calibration.to_json().encode())
        file["ids"] = encoded
        for modality in sorted(tokens):
            values, mask = tokens[modality]
            file[f"{modality}/values"] = values[order].astype("<f4")
            file[f"{modality}/mask"] = mask[order]
    write_bytes(path, memory.getvalue())


class TokenFile(Closeable):
    """An open token file: ``tokens[id]`` -> {modality: BehaviorTokens}. A context manager; can be pickled and forked.

    Rows are read at their offset, without the HDF5 library: about as fast as numpy.memmap, and no page of the file
    stays in this process's memory.

    Attributes: ids (sorted), k, params (those of the run that wrote it), calibration, columns and widths per modality.
    """

    def __init__(self, path: Path, hidden: Mapping[Modality, Sequence[str]] = NOTHING) -> None:
        self.path, self.hidden = path, hidden
        again, missing = "Run 'bemerc tokens' again.", "there is no token file here. Run 'bemerc tokens' first."
        with (
            GuardedFile(path, "token file", again, missing) as file,
            h5_errors(path, "this token file is damaged", again),
        ):
            self.k, self.ids, self.calibration, self.params = _head(file)
            self.columns = {m: s.columns for m, s in self.calibration.modalities.items()}
            self.widths = {m: len(c) for m, c in self.columns.items()}
            shapes = {m: (len(self.ids), self.k, width) for m, width in self.widths.items()}
            self._offsets = {m: _check_values(file, m, shape) for m, shape in shapes.items()}
            self._masks = {m: file.whole(f"{m}/mask") for m in shapes}
        self._hidden_columns = {m: _indices(path, m, self.columns.get(m, ()), names) for m, names in hidden.items()}
        self._indices: dict[tuple[Modality, tuple[str, ...]], Sequence[int]] = {}
        self._rows = {key: row for row, key in enumerate(self.ids)}
        self._file = os.open(path, os.O_RDONLY)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: str) -> dict[Modality, BehaviorTokens]:
        """The tokens of one utterance, as new arrays; KeyError where the file does not have the id."""
        row = self._rows[key]
        result = {m: BehaviorTokens(self._read(m, row), self._masks[m][row].copy()) for m in self.widths}
        for modality, columns in self._hidden_columns.items():
            self._hide(result[modality], modality, columns)
        return result

    def read(self, key: str, modality: Modality, without: tuple[str, ...]) -> BehaviorTokens:
        """The tokens of one utterance and modality; the columns ``without`` read as if nothing of them had been measured.
        KeyError where the file does not have the id, CacheError where it does not have a column."""
        tokens = self[key][modality]
        if (modality, without) not in self._indices:  # the same columns are left out of many utterances
            self._indices[modality, without] = _indices(self.path, modality, self.columns[modality], without)
        self._hide(tokens, modality, self._indices[modality, without])
        return tokens

    def _hide(self, tokens: BehaviorTokens, modality: Modality, columns: Sequence[int]) -> None:
        tokens.values[:, columns] = np.where(tokens.mask[:, None], self._unmeasured(modality)[columns], 0)

    def without(self, hidden: Mapping[Modality, Sequence[str]]) -> TokenFile:
        """The same file with these columns hidden: they read as if nothing of them had been measured.

        Widths stay as they are, so that a model of all columns takes these tokens too.
        """
        return TokenFile(self.path, hidden) if hidden else self

    def _unmeasured(self, modality: Modality) -> NDArray[np.float64]:
        """(D',) The value of an unmeasured column: train's mean, in the units of the tokens (calibration.calibrate)."""
        mean = np.array(self.calibration.modalities[modality].mean)
        return mean if self.params["calibration"] == "none" else np.zeros_like(mean)

    def _read(self, modality: Modality, row: int) -> NDArray[np.float32]:
        values = np.empty((self.k, self.widths[modality]), np.dtype("<f4"))
        offset = self._offsets[modality] + row * values.nbytes
        if values.nbytes and os.preadv(self._file, [values.data], offset) != values.nbytes:
            raise CacheError("the file became shorter while it was read. Run the tokens stage again.", path=self.path)
        return values

    def __reduce__(self) -> tuple[type[TokenFile], tuple[Path, dict[Modality, Sequence[str]]]]:
        return TokenFile, (self.path, dict(self.hidden))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


def _indices(path: Path, modality: Modality, columns: Sequence[str], names: Sequence[str]) -> list[int]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise CacheError(
            f"{modality} has no column {', '.join(missing[:4])}, which was to be hidden.", path=path, name=missing[0]
        )
    return [columns.index(name) for name in names]


def open_tokens(path: Path) -> TokenFile:
    """Open a token file. CacheError where it is missing, not HDF5, of another schema or of inconsistent shapes."""
    return TokenFile(path)


def _head(file: GuardedFile) -> tuple[int, tuple[str, ...], Calibration, dict[str, Any]]:
    schema, version = file.attribute("schema"), file.attribute("schema_version")
    if schema != SCHEMA or version != SCHEMA_VERSION:
        raise file.damaged(
            f"schema {printable(schema)!r} version {printable(version)}, but this program reads {SCHEMA!r} version "
            f"{SCHEMA_VERSION}."
        )
    ids, stored = file.strings("ids"), file.whole("calibration")
    if stored.ndim or stored.dtype.kind != "S":
        raise file.damaged("its calibration is no text.")
    k, params = file.attribute("k"), parse_json(file.text("params"), "its params")
    if list(ids) != sorted(set(ids)):
        raise file.damaged("its ids are not unique and sorted.")
    if not isinstance(k, int) or not 1 <= k <= MOST_TOKENS or not isinstance(params, dict):
        raise file.damaged(
            f"it holds {printable(k)} tokens per modality; they are 1 to {MOST_TOKENS}, with their params."
        )
    return k, ids, Calibration.from_json(stored.item().decode("utf-8")), params


def _check_values(file: GuardedFile, modality: Modality, shape: tuple[int, int, int]) -> int:
    """Check one modality's datasets against ``shape`` (N, K, D'); the offset of its values in the file, bytes."""
    values, mask = file.dataset(f"{modality}/values"), file.dataset(f"{modality}/mask")
    expected = (shape, np.dtype("<f4"), shape[:2], np.dtype(bool))
    offset = values.id.get_offset()
    size = math.prod(shape) * 4
    consistent = (values.shape, values.dtype, mask.shape, mask.dtype) == expected
    if not consistent or values.chunks is not None or (size and offset is None):
        raise file.damaged(
            f"{modality} holds values {values.shape} and mask {mask.shape}; {shape} and {shape[:2]} are expected, "
            "contiguous."
        )
    if size and offset + size > file.path.stat().st_size:
        raise file.damaged("the file is cut short.")
    return int(offset or 0)
