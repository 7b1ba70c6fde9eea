"""The videos of a page: which a browser plays as they are, and how the page refers to them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bemerc.cache import FrameCache
from bemerc.core.errors import MachineError, MediaError
from bemerc.core.hashing import sha256
from bemerc.corpus.manifest import Modality
from bemerc.media.container import open_container, origin_of, video_stream

# What Chromium, Firefox and Safari all play, or two of them and the third with a plugin of the system.
_SUFFIXES = {".mp4", ".m4v", ".mov", ".webm"}
_CODECS = {"h264", "vp8", "vp9", "av1"}
_SOUNDS = {".mp3", ".m4a", ".wav", ".ogg", ".flac"}
_PIXELS = {"yuv420p", "yuvj420p"}
# A clip that begins later has another clock in a browser, and browsers disagree on which.
_LATEST_START_S = 0.01


@dataclass(frozen=True)
class ClipHeader:
    """Whether a browser plays a clip, whether it has pictures, and their width over their height as displayed."""

    playable: bool
    has_picture: bool = False
    aspect: float | None = None


def header(clip: Path) -> ClipHeader | None:
    """None where the clip cannot be read."""
    from bemerc.media.video import probe

    try:
        about = probe(clip)
        if not about.has_video or not about.height:
            return ClipHeader(clip.suffix.lower() in _SOUNDS)
        with open_container(clip) as container:
            codec = video_stream(container).codec_context
            playable = clip.suffix.lower() in _SUFFIXES and codec.name in _CODECS and codec.pix_fmt in _PIXELS
            playable &= abs(origin_of(container)) <= _LATEST_START_S
            return ClipHeader(playable, True, about.width / about.height)
    except (MediaError, MachineError):
        return None


def is_another(clip: Path, id_: str, caches: Mapping[Modality, FrameCache]) -> bool:
    """Whether a clip is not the file of which faces and bodies of this utterance were measured, as far as caches say."""
    # Of what was imported the hash is the other tool's file's; sound may have a file of its own.
    own = [cache for m, cache in caches.items() if m != "audio" and "imported" not in cache.params]
    measured = {cache.sources[id_] for cache in own if id_ in cache.sources}
    with contextlib.suppress(OSError):
        return bool(measured) and sha256(clip) not in measured
    return False


def relative_url(file: Path, page: Path) -> str:
    """A file's address relative to the page's."""
    return quote(Path(os.path.relpath(file.absolute(), page.absolute().parent)).as_posix())


def served_name(number: int, video: Path) -> str:
    """A video's path on the server, below the page's."""
    return f"videos/{number}{video.suffix.lower()}"
