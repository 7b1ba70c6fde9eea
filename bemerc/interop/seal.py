"""Other people's features in and ours out: OpenFace's tables, MMSA's pickles, MERTools' folders of .npy, CSV and Parquet.

``incoming`` reads each layout into Items, and all of them are sealed here, by the same writer as extracted caches: what
comes after reads columns by name and cannot tell the difference, and the cache says what it was made of, file by file.
``outgoing`` writes our caches as those layouts.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal

import numpy as np

from bemerc.cache import MOST_HZ, Features, Kind, write_cache
from bemerc.core.errors import CacheError, CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest, Utterance

VERSION = "1"


@dataclass(frozen=True)
class Item:
    """What was found for one utterance: its features, or the reason why there are none.

    sha256  of the file that it was read from, empty where there is none
    """

    id: str
    found: Features | str
    duration_s: float = float("nan")
    note: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Imported:
    """What an import did. failures: id -> reason; notes: id -> sentence."""

    path: Path
    utterances: int
    columns: tuple[str, ...]
    failures: Mapping[str, str]
    notes: Mapping[str, str]


def seal(
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

    ``tool`` says where they come from and ``provenance`` how they were read (units, thresholds), for the cache's params.
    CacheError where not one item could be read: the first reasons are in it.
    """
    failures: dict[str, str] = {}
    notes: dict[str, str] = {}
    sources: dict[str, str] = {}
    with _Spool(tuple(columns)) as spool:
        for item in items:
            if item.id in failures or item.id in spool:
                raise CacheError(
                    f"{path}: two of {tool}'s files are of the utterance '{printable(item.id)}'. Take one away."
                )
            if isinstance(item.found, str):
                failures[item.id] = item.found
            else:
                spool.put(item.id, item.found, item.duration_s)
            notes |= {item.id: item.note} if item.note else {}
            sources |= {item.id: item.sha256} if item.sha256 else {}
        if not len(spool):
            first = "\n".join(f"  {id_}: {reason}" for id_, reason in sorted(failures.items())[:5])
            raise CacheError(
                f"{path}: not one of {len(failures)} utterances could be read from {tool}'s files:\n{first}"
            )
        params = {"imported": {"from": tool, **provenance}}
        digest = hashlib.sha256(json.dumps([VERSION, params, sources, failures], sort_keys=True).encode()).hexdigest()
        write_cache(
            path,
            modality=modality,
            columns=columns,
            rate=rate,
            extractor=f"{tool}-import/{VERSION}",
            params=params,
            clips=((id_, features, duration_s, None) for id_, features, duration_s in spool),
            failures=failures,
            notes=notes,
            sources=sources,
            contents=digest,
        )
        return Imported(path, len(spool) + len(failures), tuple(columns), failures, notes)


def check_free(paths: Sequence[Path], replace: bool) -> None:
    """CacheError where an import would replace something: what was imported before may exist nowhere else."""
    taken = [path for path in paths if path.exists()]
    if taken and not replace:
        raise CacheError(
            f"{taken[0]}: there is a file already. Name another folder with --out, or replace it with --force."
        )


def check_rate(rate_hz: float | None) -> None:
    """CacheError for a rate that no rows have."""
    if rate_hz is not None and not 0 < rate_hz <= MOST_HZ:
        raise CacheError(f"{rate_hz} rows per second: they are more than 0 and at most {MOST_HZ}.")


class _Spool:
    """Features in a temporary file, put in any order and read back in sorted order of their ids."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._places: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> _Spool:
        self._file = tempfile.TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._places

    def put(self, id_: str, features: Features, duration_s: float) -> None:
        try:
            self._places[id_] = self._file.seek(0, 2), duration_s
            np.save(self._file, features.values)
            np.save(self._file, features.timestamps_s)
        except OSError as error:
            raise CacheError(
                f"{tempfile.gettempdir()}: no room to sort the rows in ({error.strerror}). Make room."
            ) from None

    def __iter__(self) -> Iterator[tuple[str, Features, float]]:
        for id_ in sorted(self._places):
            at, duration_s = self._places[id_]
            self._file.seek(at)
            yield id_, Features(np.load(self._file), np.load(self._file), self._columns), duration_s


# ----------------------------------------------------------------------------------------------------- whose file is it


@dataclass(frozen=True)
class Wanted:
    """One utterance to import: its id, the name of what holds it (None: nothing does), and the part of that."""

    id: str
    name: str | None
    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None


def match(names: Sequence[str], manifest: Manifest | None) -> list[Wanted]:
    """Which name holds which utterance. Without a manifest the names are the ids.

    With one, an utterance's id and its clip's path are compared with the names from their ends, and the longest common
    end decides: ``train/dia0_utt0`` fits ``meld/train/dia0_utt0`` and no other. CorpusError where two clips fit one name
    equally well, and where nothing fits at all.
    """
    if manifest is None:
        return [Wanted(name, name) for name in sorted(names)]
    by_end: dict[str, list[str]] = defaultdict(list)
    for name in names:
        for end in _ends(name):
            by_end[end].append(name)
    wanted = [Wanted(u.id, _fit(u, by_end), u.start_s, u.end_s, u.crop) for u in manifest.utterances]
    if not any(one.name for one in wanted):
        raise CorpusError(
            f"None of {len(names)} names (such as '{min(names, default='')}') fits an utterance of the manifest (such as "
            f"'{manifest.utterances[0].id if manifest.utterances else ''}'). Names fit by their ends: lay the files out as the clips lie."
        )
    _check_shared(manifest, wanted)
    return wanted


def _ends(name: str) -> list[str]:
    """a/b/c -> a/b/c, b/c, c."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _fit(utterance: Utterance, by_end: Mapping[str, list[str]]) -> str | None:
    clip = PurePosixPath(utterance.clip).with_suffix("").as_posix() if utterance.clip else ""
    ends = sorted({*_ends(utterance.id), *_ends(clip)}, key=lambda end: -end.count("/"))
    for end in ends:
        found = by_end.get(end, [])
        if len(found) > 1:
            raise CorpusError(
                f"{utterance.id}: '{found[0]}' and '{found[1]}' fit it equally well. Lay the files out as the clips lie."
            )
        if found:
            return found[0]
    return None


def _check_shared(manifest: Manifest, wanted: Sequence[Wanted]) -> None:
    """One file for two clips is a mistake: MELD restarts its numbers in each split."""
    owner: dict[str, tuple[str | None, str]] = {}
    for utterance, one in zip(manifest.utterances, wanted, strict=True):
        if one.name is None:
            continue
        clip, first = owner.setdefault(one.name, (utterance.clip, utterance.id))
        if clip != utterance.clip:
            raise CorpusError(
                f"'{one.name}' fits both {first} and {utterance.id}, which are different clips. Lay the files out as the "
                "clips lie, one folder per split, and name the folder above them."
            )
