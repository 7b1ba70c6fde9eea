"""Store keys: a hash over everything that the measurement of one segment of a clip depends on."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# Raised when media/ comes to give other pixels, times or samples, or when a result comes to be written in another way.
DECODING = 2

# At the end of a key: the same result without its landmarks. The key shows it, so that no file needs to be opened.
WITHOUT_LANDMARKS = ".bare"


@dataclass(frozen=True, slots=True)
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
        span = {"start_s": self.start_s, "end_s": self.end_s, "crop": self.crop}
        return span | {name: value for name, value in own_sound.items() if value is not None}


WHOLE_CLIP = Segment()


def fingerprint(
    clip_hash: str, segment: Segment, modality: str, version: str, params: Mapping[str, Any], decoding: int = DECODING
) -> str:
    """The store key of one result: 40 hex digits.

    Leaving out landmarks changes no number: a result without them has the key of the one with them, and a suffix.
    """
    return fingerprint_by(clip_hash, segment, extractor_key(modality, version, params), decoding)


class ExtractorKey(NamedTuple):
    """An extractor's part of its results' fingerprints, which is computed once for all clips of a corpus."""

    text: str
    suffix: str


def extractor_key(modality: str, version: str, params: Mapping[str, Any]) -> ExtractorKey:
    """The part of a fingerprint that is the same for every clip."""
    bare = params.get("landmarks") is False
    parts = [modality, version, {**params, "landmarks": True} if bare else params]
    return ExtractorKey(json.dumps(parts, sort_keys=True)[1:-1], WITHOUT_LANDMARKS if bare else "")


def fingerprint_by(clip_hash: str, segment: Segment, extractor: ExtractorKey, decoding: int = DECODING) -> str:
    """As ``fingerprint``."""
    text = f"[{decoding}, {json.dumps(clip_hash)}, {_as_json(segment)}, {extractor.text}]"
    return hashlib.sha256(text.encode()).hexdigest()[:40] + extractor.suffix


@functools.lru_cache(64)
def _as_json(segment: Segment) -> str:
    return json.dumps(segment.as_key(), sort_keys=True)


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
