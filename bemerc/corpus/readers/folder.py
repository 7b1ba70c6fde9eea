"""Read a folder of clips without words and labels: a dialogue per folder in it, turns in natural order of their names.
Clips directly in it are no conversation that anybody named: each is a dialogue of its own.

Ids are the paths below the folder without suffix; where two files would share one, with suffix.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES, NOBODY, Utterance
from bemerc.corpus.reading import SOUND, VIDEO, Finding, Reading, natural, natural_id, nearest, person

# What commands leave beside clips, where --out names their folder or one in it: no clips, and nothing to tell of.
_FEATURES = {
    *(f"{modality}.h5" for modality in (*MODALITIES, "speech")),
    *("utterances.csv", "descriptions.jsonl", "events.jsonl", "predictions.jsonl", "evidence.jsonl", "settings.json"),
}
_VIDEOS = "_videos"  # of a page: the end of their folder's name


@dataclass(frozen=True)
class Params:
    """The folder, and one name for all speakers, as file names do not say who speaks; "" = they may be several."""

    folder: str = "data/folder"
    speaker: str = NOBODY


@dataclass(frozen=True)
class Listing:
    """The files in a folder and below it.

    clips     in the order of dialogues and turns
    others    files with other suffixes, sorted
    findings  clips that are left out, folders that cannot be read, links that are not followed
    """

    directory: Path
    clips: tuple[Path, ...]
    others: tuple[Path, ...]
    findings: tuple[Finding, ...]


def read(directory: Path, name: str = "", speaker: str = NOBODY) -> Reading:
    """All clips below ``directory`` as unlabelled utterances of the split test; ids start with ``name/`` if one is
    given.

    Raises CorpusError when there is no such folder or no clip in it.
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
        try:
            beside = sorted(path.name for path in directory.parent.iterdir() if not path.name.startswith("."))
        except OSError:
            beside = []
        hint = nearest(directory.name, beside)
        raise CorpusError(f"there is no such folder or clip{hint}", path=directory, missing=True)
    files, findings = _files(directory)
    others = [path for path in files if path.suffix.lower() not in VIDEO + SOUND]
    clips, left_out = _clips([path for path in files if path.suffix.lower() in VIDEO + SOUND], directory)
    if not clips:
        reasons = "".join(f" {finding.id}: {finding.reason}" for finding in [*findings, *left_out][:3])
        suffixes = ", ".join(VIDEO + SOUND)
        if any((directory / f"{modality}.h5").is_file() for modality in MODALITIES):
            raise CorpusError(
                "these are features, and no clips. Name the folder of the clips that they were "
                "measured of; where nothing is to be measured, write --caches in front of features.",
                path=directory,
            )
        raise CorpusError(
            f"there is no clip in it; a clip's name ends in {suffixes}.{printable(reasons)}",
            path=directory,
            missing=True,
        )
    return Listing(directory, tuple(clips), tuple(sorted(others)), (*findings, *left_out))


def _alone(clip: Path) -> Listing:
    """A single clip as a listing, with the files beside it that have its name."""
    if clip.suffix.lower() not in VIDEO + SOUND:
        suffixes = ", ".join(VIDEO + SOUND)
        raise CorpusError(f"this is no clip; a clip's name ends in {suffixes}.", path=clip)
    beside = (path for path in clip.parent.iterdir() if path.name.startswith(f"{clip.stem}.") and path.is_file())
    others = tuple(sorted(path for path in beside if path.suffix.lower() not in VIDEO + SOUND))
    return Listing(clip.parent, (clip,), others, ())


def reading(listing: Listing, name: str = "", speaker: str = NOBODY) -> Reading:
    """The clips of a listing as utterances, without findings."""
    directory, clips = listing.directory, listing.clips
    prefix = f"{name}/" if name else ""
    ids = _ids(clips, directory)
    folders = {_id(path.parent, directory) for path in clips}
    position: Counter[str] = Counter()
    utterances = []
    for path in clips:
        inner = _id(path.parent, directory)
        dialogue = prefix + (inner if inner != "." else _alone_in(ids[path], path.suffix, folders))
        utterances.append(
            Utterance(prefix + ids[path], dialogue, position[dialogue], person(speaker), "", None, "test", str(path))
        )
        position[dialogue] += 1
    return Reading(name, tuple(utterances))


def unread(directory: Path, files: Iterable[Path]) -> list[Finding]:
    """One finding per suffix of the files that no reader reads."""
    kinds: dict[str, list[Path]] = {}
    for path in files:
        if path.name not in _FEATURES:
            kinds.setdefault(path.suffix.lower(), []).append(path)
    return [
        Finding(
            "type",
            f"{directory.as_posix()}/**/*{_escaped(Path(suffix or '(no suffix)'))}",
            f"{len(paths)} {'files are' if len(paths) > 1 else 'file is'} no clip by its name's end ({_escaped(Path(paths[0].name))}).",
            "leaves out",
        )
        for suffix, paths in kinds.items()
    ]


def from_ids(ids: Iterable[str]) -> Reading:
    """Utterances with nothing but ids, such as those of imported features: the dialogue is the part before the last /,
    without one the utterance is its own; turns are in natural order."""
    ordered = sorted(ids, key=natural_id)
    folders = {id_.rpartition("/")[0] for id_ in ordered}
    position: Counter[str] = Counter()
    utterances = []
    for id_ in ordered:
        dialogue = id_.rpartition("/")[0] or _alone_in(id_, " (clip)", folders)
        utterances.append(Utterance(id_, dialogue, position[dialogue], NOBODY, "", None, "test", None))
        position[dialogue] += 1
    return Reading("", tuple(utterances))


def _clips(files: list[Path], directory: Path) -> tuple[list[Path], list[Finding]]:
    """Clips in dialogue order, and what is left out: macOS's shadow files, invalid names, sound beside its own
    video."""
    files = sorted(files, key=lambda p: [natural(part) for part in p.relative_to(directory).parts])
    videos = {path.with_suffix("") for path in files if path.suffix.lower() in VIDEO}
    clips, findings = [], []
    for path in files:
        reason = _reason_against(path, videos)
        if reason:
            findings.append(Finding("extra", _escaped(path), reason, "leaves out"))
        else:
            clips.append(path)
    return clips, findings


def _files(directory: Path) -> tuple[list[Path], list[Finding]]:
    """All files below a folder except hidden ones and those of a store of results; findings on folders that were not
    entered."""
    findings: list[Finding] = []

    def refused(error: OSError) -> None:
        reason = f"The folder cannot be read ({error.strerror}), so nothing in it is."
        findings.append(Finding("unreadable", _escaped(Path(error.filename)), reason, "leaves out", needs_you=True))

    files: list[Path] = []
    for base, folders, names in os.walk(directory, onerror=refused):
        pages = {f"{Path(name).stem}{_VIDEOS}": name for name in names if name.endswith(".html")}
        for folder in {*folders} & {*pages}:
            reason = f"They are the videos of the page {printable(pages[folder])}."
            findings.append(Finding("extra", _escaped(Path(base, folder)), reason, "leaves out"))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in pages and not _is_store(Path(base, name))
        ]
        for folder in folders:
            if (link := Path(base, folder)).is_symlink():
                reason = "A link to a folder is not followed; put the folder itself there."
                findings.append(Finding("link", _escaped(link), reason, "leaves out"))
        files += [Path(base, name) for name in names if not name.startswith(".") or _is_shadow(name)]
    return files, findings


def _is_store(folder: Path) -> bool:
    return folder.name == "store" and (folder / "contents.jsonl").is_file()


def _is_shadow(name: str) -> bool:
    return name.startswith("._") and Path(name).suffix.lower() in VIDEO + SOUND


def _reason_against(path: Path, videos: set[Path]) -> str:
    if path.name.startswith("._"):
        return "macOS left this shadow file."
    if _escaped(path) != str(path):
        return "Its name is not valid UTF-8; rename it to have it read."
    if path.suffix.lower() in SOUND and path.with_suffix("") in videos:
        return "The video of the same name is read, sound and all."
    return ""


def _escaped(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def _ids(clips: Sequence[Path], directory: Path) -> dict[Path, str]:
    """Clip -> its path below the folder without suffix; with suffix where two would share an id (x.mp4 and x.mkv, and
    then x.mp4.avi too); numbered where two names differ only in their Unicode form."""
    whole = {path: _id(path, directory) for path in clips}
    ids = {path: _id(path.with_suffix(""), directory) for path in clips}
    while longer := {path: whole[path] for path in _sharing(ids) if ids[path] != whole[path]}:
        ids |= longer
    taken = set(ids.values())
    used: set[str] = set()
    for path in sorted(_sharing(ids), key=os.fsencode):
        if ids[path] in used:
            number = next(n for n in count(2) if f"{ids[path]} ({n})" not in taken)
            ids[path] = f"{ids[path]} ({number})"
            taken.add(ids[path])
        used.add(ids[path])
    return ids


def _sharing(ids: Mapping[Path, str]) -> list[Path]:
    often = Counter(ids.values())
    return [path for path, id_ in ids.items() if often[id_] > 1]


def _id(path: Path, directory: Path) -> str:
    """In NFC: macOS decomposes the ü of a file name, and a clip must have the same id everywhere."""
    return unicodedata.normalize("NFC", path.relative_to(directory).as_posix())


def _alone_in(id_: str, suffix: str, folders: Set[str]) -> str:
    """The dialogue of a clip in no folder: its id, longer where a folder is called so."""
    while id_ in folders:
        id_ += suffix
    return id_
