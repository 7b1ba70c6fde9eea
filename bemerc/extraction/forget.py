"""Remove results from a store: those that are of nobody who stays."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from bemerc.cache import Features
from bemerc.extraction.errors import store_errors
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS
from bemerc.extraction.store import DAMAGE


def forget_results(store: Path, kept: Collection[str], *, really: bool) -> int:
    """Remove every result and failure but those under the keys ``kept``, with and without landmarks; returns how many.

    really  False: only count

    StoreError where the disk refuses.
    """
    keys = {key.removesuffix(WITHOUT_LANDMARKS) for key in kept}
    gone = [path for path in sorted(store.glob("*/??/*")) if path.name.partition(".")[0] not in keys]
    if not really or not store.is_dir():
        return len(gone)
    with store_errors(store):
        for path in gone:
            path.unlink(missing_ok=True)
        for path in (store / "partial").glob("*"):  # half-written results, of whomever
            with contextlib.suppress(IsADirectoryError, PermissionError):
                path.unlink(missing_ok=True)
    return len(gone)


def rows_digest(features: Features) -> str:
    """What tells an utterance's rows from others'."""
    return hashlib.sha256(features.timestamps_s.tobytes() + features.values.tobytes()).hexdigest()


def keys_of_rows(store: Path, rows: Mapping[str, Collection[str]]) -> set[str]:
    """The keys of the results that hold one of these rows. ``rows``: modality -> digests of ``rows_digest``."""
    keys = set[str]()
    for modality, digests in rows.items():
        for path in sorted((store / modality).glob("??/*.npz")):
            with contextlib.suppress(OSError, *DAMAGE), path.open("rb") as file, np.load(file) as arrays:
                if rows_digest(Features(arrays["values"], arrays["timestamps_s"], ())) in digests:
                    keys.add(path.stem)
    return keys
