"""OpenFace 2's tables -> face.h5."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bemerc.cache import Features
from bemerc.core.errors import CacheError
from bemerc.core.hashing import sha256
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.interop import openface_tables
from bemerc.interop.importers.arrays import NO_FILE, files_below
from bemerc.interop.write_imported import Imported, Item, Request, check_free, match, write_imported


def from_openface(
    path: Path,
    out: Path,
    manifest: Manifest | None,
    min_confidence: float = openface_tables.CONFIDENT,
    replace: bool = False,
) -> Imported:
    """Tables by OpenFace 2 -> face.h5 in ``out``. A table that cannot be read becomes a failure with its reason.

    An utterance that is a segment of a long clip gets the rows of its segment; times start at 0 again.
    """
    if not 0 <= min_confidence <= 1:
        raise CacheError(f"The least confidence {min_confidence} must lie between 0 and 1.")
    check_free([out / "face.h5"], replace)
    folder, files = files_below(path, ".csv")
    by_name: dict[str, Path] = {}
    for file in files:
        name = openface_tables.name_of(file, folder)
        if by_name.setdefault(name, file) != file:
            raise CacheError(f"{by_name[name]} and {file.name} are both called '{printable(name)}'. Rename one.")
    columns, errors = _columns(by_name)
    if not columns:
        raise CacheError("\n".join(f"{by_name[name]}: {reason}" for name, reason in list(errors.items())[:5]))
    requests = match(list(by_name), manifest)
    read = functools.lru_cache(4)(
        functools.partial(openface_tables.read, columns=columns, min_confidence=min_confidence)
    )

    def items() -> Iterator[Item]:
        with bar("Reading tables", len(requests), "utterances") as advance:
            for request in sorted(requests, key=lambda request: (request.name or "", request.id)):
                yield _openface_item(request, by_name, read)
                advance(1)

    provenance = {"units": openface_tables.IN_DEGREES, "min_confidence": min_confidence}
    return write_imported(
        out / "face.h5",
        modality="face",
        columns=columns,
        rate="clip",
        tool="openface",
        provenance=provenance,
        items=items(),
    )


def _columns(by_name: Mapping[str, Path]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns that any table has, in our order; and name -> error for tables whose header cannot be used."""
    columns: set[str] = set()
    errors = {}
    for name, file in by_name.items():
        try:
            columns |= set(openface_tables.columns_of(file))
        except CacheError as error:
            errors[name] = str(error)
    return tuple(ours for _, ours, _ in openface_tables.NAMES if ours in columns), errors


def _openface_item(
    request: Request, by_name: Mapping[str, Path], read: Callable[[Path], openface_tables.OpenFaceTable]
) -> Item:
    if request.name is None:
        return Item(request.id, NO_FILE)
    file = by_name[request.name]
    content = sha256(file)
    if request.crop is not None:
        return Item(
            request.id,
            "It is a part of the picture, and a table does not say which of its faces is in it.",
            sha256=content,
        )
    try:
        table = read(file)
    except CacheError as error:
        return Item(request.id, str(error), sha256=content)
    features, duration_s = table.features, table.duration_s
    if request.start_s is not None or request.end_s is not None:
        features, duration_s = _cut(features, duration_s, request)
        if duration_s <= 0:
            return Item(
                request.id,
                f"It starts at {request.start_s} s, and its table ends at {table.duration_s:.2f} s.",
                sha256=content,
            )
    return Item(request.id, features, duration_s, table.note, content)


def _cut(features: Features, duration_s: float, request: Request) -> tuple[Features, float]:
    start_s = request.start_s or 0.0
    end_s = duration_s if request.end_s is None else min(request.end_s, duration_s)
    inside = (features.timestamps_s >= start_s) & (features.timestamps_s < end_s)
    cut = Features(features.values[inside], features.timestamps_s[inside] - start_s, features.columns)
    return cut, end_s - start_s
