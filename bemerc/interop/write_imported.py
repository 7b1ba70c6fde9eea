"""Imported features as a frame cache: items of other tools' files are matched with utterances and written.

The importers read each layout into Items; the writer is that of extracted caches, so that readers see no difference.
The cache records the file of each utterance by its hash.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from bemerc.cache import MOST_HZ, Features, Head, Kind, Rows, write_cache
from bemerc.core.closeable import Closeable
from bemerc.core.errors import CacheError, CorpusError
from bemerc.core.ownership import WouldReplaceError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest, Utterance

VERSION = "1"


@dataclass(frozen=True)
class Item:
    """One utterance: its features, or the reason why there are none.

    sha256  of the file that it was read from, empty where there is none
    """

    id: str
    content: Features | str
    duration_s: float = float("nan")
    note: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Imported:
    """The result of an import. failures: id -> reason; notes: id -> sentence."""

    path: Path
    utterances: int
    columns: tuple[str, ...]
    failures: Mapping[str, str]
    notes: Mapping[str, str]


def write_imported(
    path: Path,
    *,
    modality: Kind,
    columns: Sequence[str],
    rate: Literal["clip"] | float,
    tool: str,
    provenance: Mapping[str, Any],
    items: Iterable[Item],
) -> Imported:
    """Write imported items, in any order, as one frame cache. Memory does not grow with their number.

    ``tool`` names their origin and ``provenance`` how they were read (units, thresholds), for the cache's params.
    CacheError, with the first reasons, where not one item could be read.
    """
    failures: dict[str, str] = {}
    notes: dict[str, str] = {}
    sources: dict[str, str] = {}
    with _Spool(tuple(columns)) as spool:
        for item in items:
            if item.id in failures or item.id in spool:
                raise CacheError(
                    f"two of {tool}'s files are of the utterance '{printable(item.id)}'. Take one away.", path=path
                )
            if isinstance(item.content, str):
                failures[item.id] = item.content
            else:
                spool.put(item.id, item.content, item.duration_s)
            notes |= {item.id: item.note} if item.note else {}
            sources |= {item.id: item.sha256} if item.sha256 else {}
        if not len(spool):
            first = "\n".join(f"  {id_}: {reason}" for id_, reason in sorted(failures.items())[:5])
            raise CacheError(
                f"not one of {len(failures)} utterances could be read from {tool}'s files:\n{first}", path=path
            )
        params = {"imported": {"from": tool, **provenance}}
        digest = hashlib.sha256(json.dumps([VERSION, params, sources, failures], sort_keys=True).encode()).hexdigest()
        clips = ((id_, features, duration_s, None) for id_, features, duration_s in spool)
        head = Head(modality, tuple(columns), rate, f"{tool}-import/{VERSION}", params)
        write_cache(path, head, Rows(clips, failures, notes, sources), contents=digest)
        return Imported(path, len(spool) + len(failures), tuple(columns), failures, notes)


def check_free(paths: Sequence[Path], replace: bool) -> None:
    """WouldReplaceError where an import would replace a file without ``replace``: it may exist nowhere else."""
    existing = [path for path in paths if path.exists()]
    if existing and not replace:
        raise WouldReplaceError(
            "there is a file already. Name another folder with --out, or replace it with --force.", path=existing[0]
        )


def check_rate(rate_hz: float | None) -> None:
    """CacheError for an impossible rate."""
    if rate_hz is not None and not 0 < rate_hz <= MOST_HZ:
        raise CacheError(f"{rate_hz} rows per second: they are more than 0 and at most {MOST_HZ}.")


class _Spool(Closeable):
    """Features in a temporary file, put in any order and read back in sorted order of their ids."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._offsets: dict[str, tuple[int, float]] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._offsets

    def put(self, id_: str, features: Features, duration_s: float) -> None:
        try:
            self._offsets[id_] = self._file.seek(0, 2), duration_s
            np.save(self._file, features.values)
            np.save(self._file, features.timestamps_s)
        except OSError as error:
            raise CacheError(
                f"no room to sort the rows in ({error.strerror}). Make room.", path=tempfile.gettempdir()
            ) from None

    def __iter__(self) -> Iterator[tuple[str, Features, float]]:
        for id_ in sorted(self._offsets):
            at, duration_s = self._offsets[id_]
            self._file.seek(at)
            yield id_, Features(np.load(self._file), np.load(self._file), self._columns), duration_s


# --------------------------------------------------------------------------------------------------------------
# matching


@dataclass(frozen=True)
class Request:
    """One utterance to import: its id, the name of the file or entry with its features (None = there is none), and its
    segment."""

    id: str
    name: str | None
    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None


def match(names: Sequence[str], manifest: Manifest | None) -> list[Request]:
    """Match names of files or entries with utterances. Without a manifest the names are the ids.

    With one, an utterance's id and its clip's path are compared with the names from their ends, and the longest common
    end decides: ``train/dia0_utt0`` fits ``meld/train/dia0_utt0`` and no other. CorpusError where two clips fit one
    name equally well, and where nothing fits at all.
    """
    if manifest is None:
        return [Request(name, name) for name in sorted(names)]
    by_end: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for end in _ends(name):
            by_end[end].append(name)
    requests = [Request(u.id, _fit(u, by_end), u.start_s, u.end_s, u.crop) for u in manifest.utterances]
    if not any(request.name for request in requests):
        raise CorpusError(
            f"None of {len(names)} names (such as '{min(names, default='')}') fits an utterance of the manifest (such as "
            f"'{manifest.utterances[0].id if manifest.utterances else ''}'). Names fit by their ends: lay the files out as the clips lie."
        )
    _check_shared(manifest, requests)
    return requests


def _ends(name: str) -> list[str]:
    """a/b/c -> a/b/c, b/c, c."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _fit(utterance: Utterance, by_end: Mapping[str, list[str]]) -> str | None:
    clip = PurePosixPath(utterance.clip).with_suffix("").as_posix() if utterance.clip else ""
    ends = sorted({*_ends(utterance.id), *_ends(clip)}, key=lambda end: -end.count("/"))
    for end in ends:
        names = by_end.get(end, [])
        if len(names) > 1:
            raise CorpusError(
                f"'{names[0]}' and '{names[1]}' fit it equally well. Lay the files out as the clips lie.",
                id=utterance.id,
            )
        if names:
            return names[0]
    return None


def _check_shared(manifest: Manifest, requests: Sequence[Request]) -> None:
    """CorpusError where one file matches two clips: MELD restarts its numbers in each split."""
    owner: dict[str, tuple[str | None, str]] = {}
    for utterance, request in zip(manifest.utterances, requests, strict=True):
        if request.name is None:
            continue
        clip, first = owner.setdefault(request.name, (utterance.clip, utterance.id))
        if clip != utterance.clip:
            raise CorpusError(
                f"'{request.name}' fits both {first} and {utterance.id}, which are different clips. Lay the files out as the "
                "clips lie, one folder per split, and name the folder above them.",
                name=request.name,
            )
