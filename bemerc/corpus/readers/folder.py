"""A plain folder of clips, no labels and no words: one dialogue per folder, turns in the order of their names.

Names sort as people number them (clip2 before clip10), which a plain sort does not. Ids are the paths below the folder
without suffix, so that somebody who knows the files knows the ids; where two files would share one, both keep theirs.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import NOBODY, Utterance
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, natural, natural_id, person


@dataclass(frozen=True)
class Params:
    """Where the clips lie. ``speaker`` names everybody, since file names do not say who speaks; empty = they may be many."""

    folder: str = "data/folder"
    speaker: str = NOBODY


@dataclass(frozen=True)
class Listing:
    """What lies in a folder and below it, each folder listed once.

    clips     what is read, in the order of dialogues and turns
    others    files of other kinds, sorted; what nobody reads becomes a finding by ``unread``
    findings  clips that are left out, folders that may not be read, links that are not followed
    """

    directory: Path
    clips: tuple[Path, ...]
    others: tuple[Path, ...]
    findings: tuple[Finding, ...]


def read(directory: Path, name: str = "", speaker: str = NOBODY) -> Reading:
    """All clips below ``directory`` as unlabelled utterances of the split test; ids open with ``name/`` if one is given.

    Raises CorpusError when the folder is not there or holds no clip.
    """
    listing = listed(directory)
    return replace(
        reading(listing, name, speaker), findings=(*listing.findings, *unread(listing.directory, listing.others))
    )


def listed(directory: Path) -> Listing:
    """List a folder, or of a single clip's folder what is called as the clip is; errors as of ``read``."""
    if directory.is_file():
        return _alone(directory)
    if not directory.is_dir():
        raise CorpusError(f"{printable(directory)}: there is no such folder of clips.")
    files, findings = _files(directory)
    others = [path for path in files if path.suffix.lower() not in VIDEO + SOUND]
    clips, left_out = _clips([path for path in files if path.suffix.lower() in VIDEO + SOUND], directory)
    if not clips:
        there = "".join(f" {finding.id}: {finding.reason}" for finding in [*findings, *left_out][:3])
        known = ", ".join(VIDEO + SOUND)
        raise CorpusError(
            f"{printable(directory)}: there is no clip in it; a clip's name ends in {known}.{printable(there)}"
        )
    return Listing(directory, tuple(clips), tuple(sorted(others)), (*findings, *left_out))


def _alone(clip: Path) -> Listing:
    if clip.suffix.lower() not in VIDEO + SOUND:
        known = ", ".join(VIDEO + SOUND)
        raise CorpusError(f"{printable(clip)}: this is no clip; a clip's name ends in {known}.")
    beside = (path for path in clip.parent.iterdir() if path.name.startswith(f"{clip.stem}.") and path.is_file())
    others = tuple(sorted(path for path in beside if path.suffix.lower() not in VIDEO + SOUND))
    return Listing(clip.parent, (clip,), others, ())


def reading(listing: Listing, name: str = "", speaker: str = NOBODY) -> Reading:
    """The clips of a listing as utterances, without findings."""
    directory, clips = listing.directory, listing.clips
    prefix = f"{name}/" if name else ""
    ids = _ids(clips, directory)
    position: Counter[str] = Counter()
    utterances = []
    for path in clips:
        dialogue = prefix + _dialogue(path, directory)
        utterances.append(
            Utterance(prefix + ids[path], dialogue, position[dialogue], person(speaker), "", None, "test", str(path))
        )
        position[dialogue] += 1
    return Reading(name, tuple(utterances))


def unread(directory: Path, files: Iterable[Path]) -> list[Finding]:
    """One finding per kind of file by its name's end: what no reader here reads."""
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(path.suffix.lower(), []).append(path)
    return [
        Finding(
            "type",
            f"{directory.as_posix()}/**/*{_shown(Path(suffix or '(no suffix)'))}",
            f"{len(paths)} {'files are' if len(paths) > 1 else 'file is'} no clip by its name's end ({_shown(Path(paths[0].name))}).",
            "leaves out",
        )
        for suffix, paths in kinds.items()
    ]


def from_ids(ids: Iterable[str]) -> Reading:
    """Utterances of which only the ids are known, such as those of imported features: what stands before an id's last /
    is its dialogue, and turns follow in the order of their names."""
    position: Counter[str] = Counter()
    utterances = []
    for id_ in sorted(ids, key=natural_id):
        dialogue = id_.rpartition("/")[0] or "clips"
        utterances.append(Utterance(id_, dialogue, position[dialogue], NOBODY, "", None, "test", None))
        position[dialogue] += 1
    return Reading("", tuple(utterances))


def _clips(found: list[Path], directory: Path) -> tuple[list[Path], list[Finding]]:
    """Clips in dialogue order, and what was left out: shadow files, unreadable names, sound beside its own video."""
    found = sorted(found, key=lambda p: [natural(part) for part in p.relative_to(directory).parts])
    videos = {path.with_suffix("") for path in found if path.suffix.lower() in VIDEO}
    clips, findings = [], []
    for path in found:
        reason = _reason_against(path, videos)
        if reason:
            findings.append(Finding("extra", _shown(path), reason, "leaves out"))
        else:
            clips.append(path)
    return clips, findings


def _files(directory: Path) -> tuple[list[Path], list[Finding]]:
    """All files below a folder but hidden ones, and the folders that were not entered."""
    findings: list[Finding] = []

    def refused(error: OSError) -> None:
        reason = f"The folder cannot be read ({error.strerror}), so nothing in it is."
        findings.append(Finding("unreadable", _shown(Path(error.filename)), reason, "leaves out", needs_you=True))

    files: list[Path] = []
    for base, folders, names in os.walk(directory, onerror=refused):
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for folder in folders:
            if (place := Path(base, folder)).is_symlink():
                reason = "A link to a folder is not followed; put the folder itself there."
                findings.append(Finding("link", _shown(place), reason, "leaves out"))
        files += [Path(base, name) for name in names if not name.startswith(".") or _is_shadow(name)]
    return files, findings


def _is_shadow(name: str) -> bool:
    return name.startswith("._") and Path(name).suffix.lower() in VIDEO + SOUND


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


def _ids(clips: Sequence[Path], directory: Path) -> dict[Path, str]:
    """Clip -> its path below the folder without suffix; with it where two would share one (x.mp4 and x.mkv, and then
    x.mp4.avi too); numbered where two names differ in the Unicode form of their accents alone."""
    whole = {path: _id(path, directory) for path in clips}
    ids = {path: _id(path.with_suffix(""), directory) for path in clips}
    while longer := {path: whole[path] for path in _sharing(ids) if ids[path] != whole[path]}:
        ids |= longer
    taken = set(ids.values())
    seen: set[str] = set()
    for path in sorted(_sharing(ids), key=os.fsencode):
        if ids[path] in seen:
            number = next(n for n in count(2) if f"{ids[path]} ({n})" not in taken)
            ids[path] = f"{ids[path]} ({number})"
            taken.add(ids[path])
        seen.add(ids[path])
    return ids


def _sharing(ids: Mapping[Path, str]) -> list[Path]:
    often = Counter(ids.values())
    return [path for path, id_ in ids.items() if often[id_] > 1]


def _id(path: Path, directory: Path) -> str:
    """NFC, because macOS decomposes the ü of a file name and the same clip must have the same id everywhere."""
    return unicodedata.normalize("NFC", path.relative_to(directory).as_posix())


def _dialogue(path: Path, directory: Path) -> str:
    """The folder below ``directory``; for clips that lie in it directly, its own name."""
    inner = _id(path.parent, directory)
    return inner if inner != "." else unicodedata.normalize("NFC", directory.resolve().name) or "clips"
