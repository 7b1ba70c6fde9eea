"""DVC's cache, which keeps every former output of a stage: what is in it of an utterance."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from bemerc.pipeline.mentions import mentions


def objects_with(root: Path, ids: Collection[str], speaker: str, clips: Collection[Path]) -> list[Path]:
    """Files of the cache in ``root`` (.dvc) that hold these utterances, or are one of the clips. Lists of folders, which
    hold file names alone, are none of them."""
    files = [path for path in sorted((root / "cache").glob("files/md5/??/*")) if path.suffix != ".dir"]
    digests = {_md5(clip) for clip in clips if clip.is_file()}
    return [path for path in files if path.parent.name + path.name in digests or mentions(path, ids, speaker)]


def has_remote(root: Path) -> bool:
    """Whether DVC may have pushed copies elsewhere."""
    files = (root / "config", root / "config.local")
    return any('remote "' in path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file())


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
