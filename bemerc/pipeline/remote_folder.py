"""A folder of clips in an object store, or a single clip there, read as one on this machine is.

The readers see a folder of the same names: subtitles are copies, clips are empty files. A clip is fetched only where its
length decides something.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bemerc.core import objects
from bemerc.core.errors import CorpusError
from bemerc.core.objects import ObjectInfo, Url
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Manifest
from bemerc.corpus.readers import recording
from bemerc.corpus.reading import Finding, Reading
from bemerc.extraction import scratch

T = TypeVar("T")

# Subtitles are smaller; what is larger is left for the reader to refuse.
_MOST_BYTES = 64 * 2**20


def read(source: Url) -> tuple[Manifest, Reading]:
    """The utterances, whose clips are URLs, and what was found beside them. CorpusError where there is no clip,
    ObjectError where the store does not answer."""
    folder, there = source, objects.listed(source)
    if not there:
        folder = source.parent
        there = _alone(source)
    if not there:
        raise CorpusError(
            "there is nothing in the object store at this URL, or it may not be listed.", path=str(source), missing=True
        )
    with tempfile.TemporaryDirectory(prefix="bemerc-") as base:
        mirror = Path(base, printable(folder.name, 100).replace("/", "_") or "clips")
        findings = _mirror(folder, there, mirror)
        clip = mirror / source.name if folder != source else mirror

        def of_clip(read: Callable[[Path], T], path: Path) -> T:
            name = path.relative_to(mirror).as_posix()
            with scratch.of_this_machine().copy(folder / name, there[name]) as copy:
                return read(copy)

        is_long, header = partial(of_clip, recording.is_long), partial(of_clip, recording.read_header)
        reading = recording.read_dir(clip, is_long=is_long, header=header)
        manifest = reading.manifest(mirror)
        findings += [_renamed(finding, str(mirror), str(folder)) for finding in reading.findings]
    if any(u.sound is not None for u in manifest.utterances):
        raise CorpusError(
            "the speakers' own sound files (participants.csv) are read from a folder of this machine; copy it.",
            path=str(folder),
        )
    utterances = tuple(
        u if u.clip is None else replace(u, clip=(folder / Path(u.clip).relative_to(mirror).as_posix()).text)
        for u in manifest.utterances
    )
    return replace(manifest, utterances=utterances), replace(reading, findings=tuple(findings))


def _alone(clip: Url) -> dict[str, ObjectInfo]:
    """A single clip, with the objects beside it that have its name."""
    if objects.info(clip) is None:
        return {}
    stem = PurePosixPath(clip.name).stem
    return {name: info for name, info in objects.listed(clip.parent).items() if name.startswith(f"{stem}.")}


def _mirror(folder: Url, there: Mapping[str, ObjectInfo], mirror: Path) -> list[Finding]:
    """Make a file for every object; findings on names that no folder can have."""
    findings = []
    for name, info in there.items():
        path = mirror / name
        try:
            if not all(PurePosixPath(name).parts) or ".." in PurePosixPath(name).parts or "//" in name:
                raise OSError("it is no path below a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                if path.suffix.lower() in recording.SUFFIXES and info.size <= _MOST_BYTES:
                    objects.fetch(folder / name, info.size, file)
        except (OSError, ValueError) as error:
            reason = f"No file can have this object's name ({getattr(error, 'strerror', None) or error})."
            findings.append(Finding("extra", printable(name, 200), reason, "leaves out"))
    return findings


def _renamed(finding: Finding, mirror: str, folder: str) -> Finding:
    """A finding about the object, not about the mirror's file."""
    return replace(finding, id=finding.id.replace(mirror, folder), reason=finding.reason.replace(mirror, folder))
