"""Forget a person where clips or features lie in an object store: the same there as in the folder before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bemerc.core import objects
from bemerc.core.objects import Url
from bemerc.core.terminal import printable
from bemerc.extraction import scratch
from bemerc.pipeline import remote_out


def folder_of(features: Path | Url) -> Path:
    """The folder itself, or the one that stands before an object store, with what ``bemerc extract`` left there."""
    return remote_out.folder_of(features, remote_out.SUFFIXES) if isinstance(features, Url) else features


def repeat(folder: Path, out: Url, removed: Iterable[Path]) -> None:
    """Change there what was changed in the folder before it, from which the files ``removed`` are gone."""
    remote_out.withdraw(folder, out, [path.name for path in removed if path.parent == folder])
    remote_out.publish(folder, out)


def forget_copies(really: bool) -> list[Path]:
    """Copies of clips of object stores on this machine. All of them: they are fetched again where they are needed, and
    that of a clip which was replaced has no name any more by which it could be told."""
    copies = scratch.of_this_machine().copies()
    for path in copies if really else ():
        path.unlink(missing_ok=True)
    return copies


def left(out: Url | None) -> Iterator[str]:
    """What is left of somebody in the object store, and of what was fetched from it. ``out``: that of the features."""
    names = objects.listed(out) if out is not None else ()
    others = [name for name in names if not name.startswith("store/") and Path(name).suffix not in remote_out.SUFFIXES]
    if others:
        yield f"{len(others)} other objects below {out}, such as {printable(others[0], 200)}, which were not looked into."
    yield (
        "What the object store itself keeps of objects that are removed: former versions (a bucket with versioning), "
        "replicas, backups. Remove them by its own tools."
    )
    yield (
        "Copies on other machines that worked on these clips: their scratch space (BEMERC_SCRATCH), with the folders out-* "
        "in it. It may be deleted at any time."
    )
