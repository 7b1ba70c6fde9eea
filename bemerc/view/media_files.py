"""The videos of a page: which a browser plays as they are, and how the page refers to them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bemerc.core.errors import MachineError, MediaError
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


def relative_url(file: Path, page: Path) -> str:
    """A file's address relative to the page's."""
    return quote(Path(os.path.relpath(file.absolute(), page.absolute().parent)).as_posix())


def served_name(number: int, video: Path) -> str:
    """A video's path on the server, below the page's."""
    return f"videos/{number}{video.suffix.lower()}"
