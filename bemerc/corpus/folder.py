"""A plain folder of clips, no labels and no words: one dialogue per folder, turns in the order of their names.

Names sort as people number them (clip2 before clip10), which a plain sort does not. Ids are the paths below the folder
without suffix, so that somebody who knows the files knows the ids; where two files would share one, both keep theirs.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bemerc.corpus import Utterance
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, natural
from bemerc.errors import CorpusError

# Nobody is named: what is not known to be one person is never measured against its own earlier turns.
NOBODY = ""


@dataclass(frozen=True)
class Params:
    """Where the clips lie. ``speaker`` names everybody, since file names do not say who speaks; empty = they may be many."""

    folder: str = "data/folder"
    speaker: str = NOBODY


def read(directory: Path, name: str = "", speaker: str = NOBODY) -> Reading:
    """All clips below ``directory`` as unlabelled utterances of the split test; ids open with ``name/`` if one is given.

    Raises CorpusError when the folder is not there or holds no clip.
    """
    if directory.is_file():
        raise CorpusError(f"{directory}: this is a file; name the folder that it lies in.")
    if not directory.is_dir():
        raise CorpusError(f"{directory}: there is no such folder of clips.")
    clips, findings = _clips(directory)
    if not clips:
        raise CorpusError(f"{directory}: there is no clip in it; a clip's name ends in {', '.join(VIDEO + SOUND)}.")
    prefix = f"{name}/" if name else ""
    ids = _ids(clips, directory)
    dialogues = {path: _dialogue(path, directory) for path in clips}
    position: Counter[str] = Counter()
    utterances = []
    for path in clips:
        dialogue = prefix + dialogues[path]
        utterances.append(
            Utterance(prefix + ids[path], dialogue, position[dialogue], speaker, "", None, "test", str(path))
        )
        position[dialogue] += 1
    return Reading(name, tuple(utterances), findings=tuple(findings))


def from_ids(ids: Iterable[str]) -> Reading:
    """Utterances of which only the ids are known, such as those of imported features: what stands before an id's last /
    is its dialogue, and turns follow in the order of their names."""
    position: Counter[str] = Counter()
    utterances = []
    for id_ in sorted(ids, key=lambda id_: [natural(part) for part in id_.split("/")]):
        dialogue = id_.rpartition("/")[0] or "clips"
        utterances.append(Utterance(id_, dialogue, position[dialogue], NOBODY, "", None, "test", None))
        position[dialogue] += 1
    return Reading("", tuple(utterances))


def _clips(directory: Path) -> tuple[list[Path], list[Finding]]:
    """Clips in dialogue order, and what was left out: shadow files, unreadable names, sound beside its own video."""
    found = sorted(_files(directory), key=lambda p: [natural(part) for part in p.relative_to(directory).parts])
    videos = {path.with_suffix("") for path in found if path.suffix.lower() in VIDEO}
    clips, findings = [], []
    for path in found:
        reason = _reason_against(path, videos)
        if reason:
            findings.append(Finding("extra", _shown(path), reason, "leaves out"))
        else:
            clips.append(path)
    return clips, findings


def _files(directory: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(directory):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for file in files:
            path = Path(base, file)
            if path.suffix.lower() in VIDEO + SOUND and (not file.startswith(".") or file.startswith("._")):
                yield path


def _reason_against(path: Path, videos: set[Path]) -> str:
    if path.name.startswith("._"):
        return "macOS left this shadow file."
    if _shown(path) != str(path):
        return "Its name is not valid UTF-8; rename it to have it read."
    if path.suffix.lower() in SOUND and path.with_suffix("") in videos:
        return "The video of the same name is read, sound and all."
    return ""


def _shown(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _ids(clips: list[Path], directory: Path) -> dict[Path, str]:
    bare = {path: _id(path.with_suffix(""), directory) for path in clips}
    often = Counter(bare.values())
    return {path: id_ if often[id_] == 1 else _id(path, directory) for path, id_ in bare.items()}


def _id(path: Path, directory: Path) -> str:
    """NFC, because macOS decomposes the ü of a file name and the same clip must have the same id everywhere."""
    return unicodedata.normalize("NFC", path.relative_to(directory).as_posix())


def _dialogue(path: Path, directory: Path) -> str:
    """The folder below ``directory``; for clips that lie in it directly, its own name."""
    inner = _id(path.parent, directory)
    return inner if inner != "." else unicodedata.normalize("NFC", directory.resolve().name) or "clips"
