"""Remove results from a store: those that are of nobody who stays."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping

import numpy as np

from bemerc.cache import Features
from bemerc.extraction.errors import store_errors
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS
from bemerc.extraction.store import DAMAGE, Store


def forget_results(store: Store, kept: Collection[str], clip_hashes: Collection[str], *, really: bool) -> int:
    """Remove every result and failure but those under the keys ``kept``, with and without landmarks; returns how many.

    clip_hashes  of clips that nobody else is in: other machines are not told them any more
    really       False: only count

    StoreError where the disk refuses, ObjectError where an object store does.
    """
    keys = {key.removesuffix(WITHOUT_LANDMARKS) for key in kept}
    gone = [name for name in sorted(store.names()) if name.rpartition("/")[2].partition(".")[0] not in keys]
    if not really:
        return len(gone)
    for name in gone:
        store.remove(name)
    store.forget_hashes(clip_hashes)
    with store_errors(store.folder):
        for path in (store.folder / "partial").glob("*"):  # half-written results, of whomever
            with contextlib.suppress(IsADirectoryError, PermissionError):
                path.unlink(missing_ok=True)
    return len(gone)


def rows_digest(features: Features) -> str:
    """What tells an utterance's rows from others'."""
    return hashlib.sha256(features.timestamps_s.tobytes() + features.values.tobytes()).hexdigest()


def keys_of_rows(store: Store, rows: Mapping[str, Collection[str]]) -> set[str]:
    """The keys of the results that hold one of these rows. ``rows``: modality -> digests of ``rows_digest``."""
    keys = set[str]()
    for name in sorted(store.names()):
        modality, _, file = name.split("/")
        if file.endswith(".npz") and modality in rows:
            with store.at_hand(name) as path, contextlib.suppress(OSError, *DAMAGE), np.load(path) as arrays:
                if rows_digest(Features(arrays["values"], arrays["timestamps_s"], ())) in rows[modality]:
                    keys.add(path.stem)
    return keys
