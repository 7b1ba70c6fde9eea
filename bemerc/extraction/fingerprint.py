"""Store keys: a hash over everything that the measurement of one segment of a clip depends on."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Raised when media/ comes to give other pixels, times or samples, or when a result comes to be written in another way.
DECODING = 2

# At the end of a key: the same result without its landmarks. The key shows it, so that no file needs to be opened.
WITHOUT_LANDMARKS = ".bare"


@dataclass(frozen=True)
class Segment:
    """A segment of a clip: seconds from its start, and a crop (left, top, right, bottom) as fractions of the frame.
    None = all of it. The field names are part of the fingerprint.

    track  number of the sound track that belongs to it; None: that of the params
    sound  SHA-256 of another file whose sound belongs to it; None: the clip's own
    """

    start_s: float | None = None
    end_s: float | None = None
    crop: tuple[float, float, float, float] | None = None
    track: int | None = None
    sound: str | None = None

    def as_key(self) -> dict[str, Any]:
        """For the fingerprint: a sound of its own is named only where there is one."""
        own_sound = {"track": self.track, "sound": self.sound}
        place = {"start_s": self.start_s, "end_s": self.end_s, "crop": self.crop}
        return place | {name: value for name, value in own_sound.items() if value is not None}


WHOLE_CLIP = Segment()


def fingerprint(
    clip_hash: str, segment: Segment, modality: str, version: str, params: Mapping[str, Any], decoding: int = DECODING
) -> str:
    """The store key of one result: 40 hex digits.

    Leaving out landmarks changes no number: a result without them has the key of the one with them, and a suffix.
    """
    bare = params.get("landmarks") is False
    parts = [
        decoding,
        clip_hash,
        segment.as_key(),
        modality,
        version,
        {**params, "landmarks": True} if bare else params,
    ]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return digest[:40] + (WITHOUT_LANDMARKS if bare else "")


@functools.cache
def decoder_version() -> str:
    """PyAV and the FFmpeg libraries in its wheel, as 8 hex digits. PyAV is not imported: the main process never needs
    it."""
    try:
        libraries = [file.name for file in importlib.metadata.files("av") or () if file.name.startswith("libav")]
        parts = [importlib.metadata.version("av"), *sorted(libraries)]
    except importlib.metadata.PackageNotFoundError:
        parts = []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]
