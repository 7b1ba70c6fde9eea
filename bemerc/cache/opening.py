"""Opening frame caches: the ones of a folder, and each of them, be it one file or an index with its parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import h5py

from bemerc.cache.guard import GuardedFile, h5_errors
from bemerc.cache.parts import INDEX, PART_CLIPS, PartedCache, part_paths
from bemerc.cache.read import AGAIN, FrameCache
from bemerc.cache.read_checks import check_head
from bemerc.cache.schema import INDEX_VERSION, KINDS, PAIRS, Choice, Kind
from bemerc.core.errors import CacheError
from bemerc.core.terminal import printable

_KIND = "frame cache"
_T = TypeVar("_T")


def caches_at(path: Path) -> dict[str, Path]:
    """The cache named, or those of a folder: modality (or the file's name) -> file. CacheError where there is none."""
    if not path.is_dir():
        return {path.stem: path}
    caches: dict[str, Path] = {k: path / f"{k}.h5" for k in KINDS if (path / f"{k}.h5").is_file()}
    if "speech" in caches and _asks_nothing(caches["speech"]):
        del caches["speech"]
    if not caches:
        names = ", ".join(f"{m}.h5" for m in KINDS)
        raise CacheError(
            f"there is no frame cache in this folder ({names}). {_where_else(path)}", path=path, missing=True
        )
    return caches


def _where_else(path: Path) -> str:
    """What to name in place of ``path``: folders with caches in it, beside it or here; else what makes them."""
    clips = path.parent if path.is_file() else path
    for top in dict.fromkeys((clips, clips.parent, Path())):
        with contextlib.suppress(OSError):
            files = (file for kind in KINDS for here in (f"{kind}.h5", f"*/{kind}.h5") for file in top.glob(here))
            folders = sorted({file.parent for file in files} - {path})
            if folders:
                some = ", ".join(printable(one, 1000) for one in folders[:3])
                more = f" and {len(folders) - 3} more" if len(folders) > 3 else ""
                return f"There are some in {some}{more}: name {'that folder' if len(folders) == 1 else 'one of them'}."
    return "'bemerc extract CLIPS' makes them of clips, in a folder 'features'; 'bemerc cache import' of others' files."


def _asks_nothing(path: Path) -> bool:
    try:
        with open_guarded(path) as file:
            return bool(file.attribute("extractor") == "none")
    except CacheError:
        return False  # open_cache says what is wrong with it


def open_guarded(path: Path) -> GuardedFile:
    """Open a file that should be a frame cache, without checking that it is one."""
    if path.is_dir():
        caches = [printable(path / f"{kind}.h5", 1000) for kind in KINDS if (path / f"{kind}.h5").is_file()]
        way = f"Name a cache in it: {', '.join(caches)}." if caches else f"It has none. {_where_else(path)}"
        raise CacheError(f"this is a folder and no frame cache. {way}", path=path)
    if path.suffix.lower() != ".h5" and path.is_file() and not h5py.is_hdf5(path):
        raise CacheError(f"this is no frame cache, which is an HDF5 file. {_where_else(path)}", path=path)
    message = "there is no frame cache here."
    return GuardedFile(path, _KIND, AGAIN, message if path.exists() else f"{message} {_where_else(path)}")


def open_cache(path: Path | str, modality: Kind | None = None) -> FrameCache:
    """Open and check a frame cache, of one file or of several behind an index. Use it in a ``with`` block.

    Raises CacheError, a sentence, when the file is missing, is not HDF5, is no frame cache, has another schema version
    or modality, links to other files, claims more data than it can hold, or when its shapes contradict each other;
    BusyError and DiskError, which say nothing against it, when another program or the disk is in the way.
    """
    return _opened(Path(path), modality, parts=True)


def _opened(path: Path, modality: Kind | None, *, parts: bool) -> FrameCache:
    file = open_guarded(path)
    try:
        with h5_errors(path, "this cache is damaged", AGAIN):
            if parts and INDEX in file:
                check_head(file, modality, INDEX_VERSION)
                return PartedCache.open(file, modality, partial(_opened, parts=False))
            return FrameCache(path, file, modality)
    except BaseException:
        file.close()
        raise


def parts_of(path: Path) -> dict[Path, str]:
    """The parts that a file is the index of, with the ``contents`` of each; none of a single file. CacheError where it
    cannot be read."""
    with open_guarded(path) as file:
        return part_paths(file)


def notes_in(path: Path) -> Iterator[tuple[str, str]]:
    """The id and note of every utterance with one, in a cache that was found sound: it is not opened, so memory does
    not grow with it."""
    return _read_each(
        path, lambda file: zip(file.texts("notes/ids"), file.texts(f"notes/{PAIRS['notes']}"), strict=True)
    )


def choices_in(path: Path) -> Iterator[Choice]:
    """The choice of every utterance with one, in the same way."""
    name = f"choices/{PAIRS['choices']}"
    return _read_each(path, lambda file: map(Choice.from_json, file.texts(name)) if name in file else ())


def _read_each(path: Path, read: Callable[[GuardedFile], Iterable[_T]]) -> Iterator[_T]:
    """What is read of a cache's file, or of each of its parts. CacheError where one cannot be read."""
    for part in parts_of(path) or [path]:
        with open_guarded(part) as file, h5_errors(part, "this cache is damaged", AGAIN):
            yield from read(file)


def clips_per_part(path: Path) -> int:
    """How many utterances a part of the cache has; 0 where it is a single file, or nothing that can be read."""
    try:
        with open_guarded(path) as file:
            clips = file.attribute(PART_CLIPS)
            return clips if isinstance(clips, int) and clips > 0 and INDEX in file else 0
    except CacheError:
        return 0
