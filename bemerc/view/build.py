"""Make the page of the dialogues of some caches, and the videos that lie beside it."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bemerc.core.errors import BemercError
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Dialogue, Manifest
from bemerc.corpus.reading import must_be_no_recording
from bemerc.view import dialogue_data, lists, media_files, page_file
from bemerc.view.dialogue_data import DialogueData
from bemerc.view.lines import BONES, FINGERS, LINES
from bemerc.view.media_files import ClipHeader
from bemerc.view.positions import MESH, SIDES
from bemerc.view.sources import Sources

log = logging.getLogger(__name__)
_MOST_NAMED = 10
_MOST_HOURS = 2  # 90 MB without videos
_MOST_EMBEDDED_MB = 384  # in base64 half a gigabyte, which is the longest text that browsers hold


@dataclass(frozen=True)
class Options:
    """How a page is made.

    dialogues  ids; empty: all that something was measured of
    embed      videos become part of the file
    faces      show videos; False: mesh and curves alone
    blur       videos in which everything but the measured person's face is coarse
    """

    dialogues: tuple[str, ...] = ()
    embed: bool = False
    faces: bool = True
    blur: bool = False


@dataclass(frozen=True)
class Page:
    """A page that was written: its file, its size, how many dialogues it holds, what it holds of people, and the videos
    that it shows, where they are not in it."""

    file: Path
    bytes: int
    dialogues: int
    holds: tuple[str, ...]
    videos: tuple[Path, ...]


def selected(sources: Sources, ids: Sequence[str]) -> list[Dialogue]:
    """The dialogues with these ids; without ids, all of which a cache has an utterance. BemercError where none is, and
    where those are hours."""
    every = {dialogue.id: dialogue for dialogue in sources.manifest.dialogues()}
    if unknown := [id_ for id_ in ids if id_ not in every]:
        some = ", ".join(map(printable, list(every)[:5]))
        raise BemercError(f"There is no dialogue '{printable(unknown[0])}' among the {len(every)}, such as: {some}.")
    if ids:
        return [every[id_] for id_ in dict.fromkeys(ids)]
    measured = [d for d in every.values() if any(u.id in c for u in d.utterances for c in sources.caches.values())]
    if not measured:
        raise BemercError(_no_id_fits(sources))
    hours = sum(_hours(u.id, sources) for dialogue in measured for u in dialogue.utterances)
    if hours > _MOST_HOURS:
        raise BemercError(
            f"These are {len(measured)} dialogues of {hours:.1f} hours, and a page of more than {_MOST_HOURS} opens slowly. Name "
            f"some with --dialogue, such as: {', '.join(printable(d.id) for d in measured[:5])}."
        )
    return measured


def _no_id_fits(sources: Sources) -> str:
    """What to do where caches and utterances have no id in common."""
    wanted = min((u.id for u in sources.manifest.utterances), default="")
    there = min((id_ for cache in sources.caches.values() for id_ in cache.ids), default="")
    return (
        f"{printable(sources.manifest.folder)}: none of its {len(sources.manifest.utterances)} utterances, such as "
        f"'{printable(wanted, 60)}', is in these caches, which have utterances such as '{printable(there, 60)}'. Name the folder "
        "of clips that they were measured of with --video-dir, or its manifest.jsonl with --manifest."
    )


def _hours(id_: str, sources: Sources) -> float:
    stated = (cache.duration_s(id_) for cache in sources.caches.values() if id_ in cache)
    return next((value / 3600 for value in stated if math.isfinite(value)), 0.0)


def clip_headers(manifest: Manifest, dialogues: Sequence[Dialogue]) -> dict[Path, ClipHeader | None]:
    """The clips of these dialogues that are there -> their headers."""
    clips = {manifest.local_clip(u) for dialogue in dialogues for u in dialogue.utterances}
    return {clip: media_files.header(clip) for clip in sorted(c for c in clips if c is not None and c.is_file())}


def _warn_of_others(sources: Sources, dialogues: Sequence[Dialogue], clips: Iterable[Path]) -> None:
    """Say which clips are no longer what was measured: on their pictures stands the mesh of others."""
    of = {sources.manifest.local_clip(u): u.id for dialogue in dialogues for u in dialogue.utterances}
    changed = [clip for clip in clips if media_files.is_another(clip, of[clip], sources.caches)]
    for clip in changed[:_MOST_NAMED]:
        log.warning(
            "%s: this is not the file that was measured, and what is drawn on it may be wrong. Measure it again.", clip
        )
    if len(changed) > _MOST_NAMED:
        log.warning("%d more clips are not the files that were measured.", len(changed) - _MOST_NAMED)


def collect(sources: Sources, options: Options, *, cuts: bool = True) -> list[DialogueData]:
    """The data of the dialogues that the options name; ``cuts``: look for cuts in their clips."""
    dialogues = selected(sources, options.dialogues)
    headers = clip_headers(sources.manifest, dialogues)
    _warn_of_others(sources, dialogues, headers)
    result = []
    with bar("collecting", len(dialogues), "dialogues") as advance:
        for dialogue in dialogues:
            result.append(dialogue_data.collect(dialogue, sources, headers, cuts))
            advance(1)
    return result


def write_page(sources: Sources, out: Path, options: Options, *, served: bool = False) -> Page:
    """Write the page ``out``, and videos that browsers do not play, or blurred ones, into a folder beside it.

    served  a server hands out the videos, by media_files.served_name

    BemercError where an id is unknown, nothing was measured or --embed is too much, DiskError where the disk refuses.
    """
    must_be_no_recording(out)
    dialogues = collect(sources, options)
    with ExitStack() as stack:
        made = out.with_name(f"{out.stem}_videos")
        if options.embed:
            made = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        videos = _videos(dialogues, made, options) if options.faces else []
        if options.embed:
            _must_be_embeddable(videos)
        holds = tuple(_holds(dialogues, bool(videos), options))
        entries = [{"src": _address(n, v, out, options, served), "name": v.name} for n, v in enumerate(videos)]
        index = {
            "dialogues": [_entry(d) for d in dialogues],
            "lists": lists.of(dialogues),
            "videos": entries,
            "holds": holds,
            "lines": [[MESH.index(point) for point in line] for line in LINES],
            "bones": BONES,
            "fingers": FINGERS,
            "sides": SIDES,
        }
        title = dialogues[0].id if len(dialogues) == 1 else f"{len(dialogues)} dialogues"
        blocks = [dialogue.packed() for dialogue in dialogues]
        size = page_file.write(out, f"{title} - bemerc", index, blocks, videos if options.embed else ())
    return Page(out, size, len(dialogues), holds, () if options.embed else tuple(videos))


def _must_be_embeddable(videos: Sequence[Path]) -> None:
    """BemercError where the videos are larger than browsers open."""
    size_mb = sum(video.stat().st_size for video in videos) / 1e6
    if size_mb > _MOST_EMBEDDED_MB:
        raise BemercError(
            f"The videos have {size_mb:.0f} MB, and browsers open a page with up to {_MOST_EMBEDDED_MB} MB in it. Name some of "
            "the dialogues with --dialogue, or leave out --embed: the videos stay beside the page then."
        )


def _address(number: int, video: Path, out: Path, options: Options, served: bool) -> str | None:
    """Where the page finds a video; None where it is in the page."""
    if options.embed:
        return None
    return media_files.served_name(number, video) if served else media_files.relative_url(video, out)


def _entry(dialogue: DialogueData) -> dict[str, Any]:
    speakers = dict.fromkeys(t["speaker"] for t in dialogue.header["utterances"] if t["speaker"])
    return {"id": dialogue.id, "duration_s": dialogue.header["duration_s"], "speakers": list(speakers)}


def _videos(dialogues: Sequence[DialogueData], made: Path, options: Options) -> list[Path]:
    """The videos of the page; each segment's number of its video is set in its header."""
    from bemerc.view import conversion

    numbers: dict[tuple[int, Path], int] = {}
    videos: list[Path] = []
    for number, dialogue in enumerate(dialogues):
        for segment, entry in zip(dialogue.segments, dialogue.header["segments"], strict=True):
            if segment.clip is None:
                continue
            key = (number if options.blur else 0, segment.clip)
            if key not in numbers:
                video = conversion.video_for_page(segment.clip, dialogue, made, len(videos), options.blur)
                if video is None:
                    continue
                numbers[key] = len(videos)
                videos.append(video)
            entry["video"] = numbers[key]
    return videos


def _holds(dialogues: Sequence[DialogueData], videos: bool, options: Options) -> Iterator[str]:
    """What the page holds of people, in words."""
    turns = [turn for dialogue in dialogues for turn in dialogue.header["utterances"]]
    if videos:
        where = "in the page itself" if options.embed else "in files beside the page"
        blurred = ", everything but the measured face made coarse" if options.blur else ""
        yield f"Their pictures and voices, {where}{blurred}."
    if any("face.mesh" in dialogue.header["arrays"] for dialogue in dialogues):
        yield "Face landmarks, by which a person may be recognised."
    if any("pose.joints" in dialogue.header["arrays"] for dialogue in dialogues):
        yield "Joints of the body."
    if any(turn["text"] for turn in turns):
        yield "Their words."
    if any(turn["speaker"] for turn in turns):
        yield "Their names, as the corpus has them."
    yield "Measurements of face, body and voice, which are health and biometric data in some laws."
