"""Remove results from a store: those that are of nobody who stays."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from bemerc.extraction.errors import store_errors
from bemerc.extraction.fingerprint import WITHOUT_LANDMARKS


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
