"""Hash every file of a corpus, so that ``dvc repro`` notices when a clip is added or replaced.

The manifest names clips and not their content, so it stays the same when a damaged clip is replaced. (DVC cannot
depend on data/NAME of the corpora in use itself: only a stage with a matrix expands a list of params.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.errors import CorpusError
from bemerc.core.hashing import sha256
from bemerc.corpus import prepare


def run(params: prepare.Params, name: str, folder: Path, out: Path, advance: Callable[[int], None]) -> int:
    """Write the hashes of all files below ``folder`` to ``out``, JSON by path; returns their number.

    Raises CorpusError where the settings of corpus ``name`` point to another place than ``folder``, which DVC watches.
    """
    _must_lie_in(params, name, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")
    with ThreadPoolExecutor(4) as pool:
        hashes = {}
        for path, digest in zip(files, pool.map(sha256, files), strict=True):
            hashes[path.relative_to(folder).as_posix()] = digest
            advance(1)
    atomic.write_text(out, json.dumps(hashes, indent=0, sort_keys=True, ensure_ascii=False) + "\n")
    return len(files)


def count(folder: Path) -> int:
    """Files below ``folder``; CorpusError where there is no such folder."""
    if not folder.is_dir():
        raise CorpusError(
            f"there is no such folder. Put the corpus there, or a link to it: ln -s /where/it/lies {folder}",
            path=folder,
            missing=True,
        )
    return sum(path.is_file() for path in folder.rglob("*"))


def _must_lie_in(params: prepare.Params, name: str, folder: Path) -> None:
    source = prepare.source_path(params, name)
    if source != folder and folder not in source.parents:
        raise CorpusError(
            f"prepare.{name} names {source}, but DVC watches {folder}. Put a link there instead: ln -s {source} {folder}"
        )
