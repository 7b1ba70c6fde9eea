"""Find the clips of a corpus in MELD's shape: one file per turn, by its number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.corpus.manifest import Split
from bemerc.corpus.readers.meld_tables import Key, Turn
from bemerc.corpus.reading import SOUND, VIDEO

if TYPE_CHECKING:
    from bemerc.corpus.readers.meld import Params

# Where people keep the clips, relative to the corpus's folder; the first match wins.
CLIP_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train_splits", "train/train_splits", "train"),
    "dev": ("dev_splits_complete", "dev/dev_splits_complete", "dev_splits", "dev", "val", "valid"),
    "test": (
        "output_repeated_splits_test",
        "test/output_repeated_splits_test",
        "test_splits",
        "test_splits_complete",
        "test",
    ),
}
CLIP_ROOTS = (".", "MELD.Raw", "clips", "videos")

_CLIP = re.compile(r"(final_videos_test)?dia(\d+)_utt(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Clips:
    """The clips of one split.

    folder   where they are
    plain    (dialogue, utterance) number -> diaX_uttY
    final    number -> its twin final_videos_testdiaX_uttY
    unknown  files with another name, or with the number of another file
    """

    folder: Path | None
    plain: Mapping[tuple[int, int], Path]
    final: Mapping[tuple[int, int], Path]
    unknown: tuple[Path, ...]


def list_clips(root: Path, split: Split, params: Params) -> Clips:
    """The clips of a split, in the first of the usual folders that has any."""
    given = params.clips.get(split)
    if given is not None:
        directories = [root / given, Path(given)]
    else:
        directories = [root / base / folder for base in CLIP_ROOTS for folder in CLIP_FOLDERS[split]]
    for directory in directories:
        listed = _listed(directory) if directory.is_dir() else None
        if listed is not None and (listed.plain or listed.final):
            return listed
    return Clips(None, {}, {}, ())


def _listed(folder: Path) -> Clips:
    """List a folder. Of several files with one number, the one with the first suffix of VIDEO and SOUND counts."""
    plain: dict[tuple[int, int], Path] = {}
    final: dict[tuple[int, int], Path] = {}
    unknown: list[Path] = []
    with os.scandir(folder) as entries:
        files = sorted((Path(e.path) for e in entries if e.is_file()), key=lambda p: (_rank(p), p.name))
    for path in files:
        if _rank(path) == len(VIDEO) + len(SOUND):
            continue
        match = _CLIP.fullmatch(path.stem)
        if match is None:
            unknown.append(path)
            continue
        index = final if match[1] else plain
        if index.setdefault((int(match[2]), int(match[3])), path) is not path:
            unknown.append(path)
    return Clips(folder, plain, final, tuple(sorted(unknown)))


def _rank(path: Path) -> int:
    order = (*VIDEO, *SOUND)
    suffix = path.suffix.lower()
    return order.index(suffix) if suffix in order else len(order)


def choose_clips(turns: Iterable[Turn], clips: Mapping[Split, Clips], params: Params) -> dict[Key, Path]:
    """Key -> the clip in use. With ``twins: plain`` a twin is not taken even where the plain file is missing."""
    chosen = {}
    for turn in turns:
        of_split = clips[turn.split]
        path = of_split.plain.get(turn.clip)
        if params.twins == "final":
            path = of_split.final.get(turn.clip, path)
        if path is not None:
            chosen[turn.key] = path
    return chosen


def other_clip(turn: Turn, clips: Mapping[Split, Clips], chosen: Mapping[Key, Path]) -> Path | None:
    """The other file that claims to be the clip of a turn, or None."""
    of_split, mine = clips[turn.split], chosen.get(turn.key)
    pair = (of_split.plain.get(turn.clip), of_split.final.get(turn.clip))
    return next((path for path in pair if path is not None and path != mine), None)
