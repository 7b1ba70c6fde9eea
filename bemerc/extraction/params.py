"""The params of extraction: sections ``extract_video`` and ``extract_audio`` of params.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bemerc.extraction.audio import prosody, speech_encoder
from bemerc.extraction.face import extractor as face_extractor
from bemerc.extraction.face import openface as openface_extractor
from bemerc.extraction.jobs import Track
from bemerc.extraction.pose import body


@dataclass(frozen=True)
class VideoParams:
    """Section ``extract_video`` of params.yaml.

    face_backend      mesh: the bundled face mesh, by the section face | openface: the user's OpenFace 2, by the section
                      openface
    pose              body and hands, measured with either
    max_failed_share  the stage stops when more than this share of the utterances cannot be measured
    clip_timeout_s    a clip is given up when its worker sends no heartbeat (no frame done) for so long
    part_clips        clips per file of a cache, for corpora of tens of thousands; 0 = one file; None = as the cache is, or was
    track             the sound track that mouths are compared with: auto, the one with a voice, or a number, from 1
    """

    face_backend: Literal["mesh", "openface"] = "mesh"
    face: face_extractor.Params = field(default_factory=face_extractor.Params)
    openface: openface_extractor.Params = field(default_factory=openface_extractor.Params)
    pose: body.Params = field(default_factory=body.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0
    part_clips: int | None = None
    track: Track = "auto"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _errors(self.max_failed_share, self.clip_timeout_s, self.track, self.part_clips)


@dataclass(frozen=True)
class AudioParams:
    """Section ``extract_audio`` of params.yaml; limits as in ``extract_video``.

    audio           prosody, which the descriptions read: it is measured in any case
    speech_backend  what else is measured of the sound, into a cache of its own | none | encoder: a transformers model,
                    by the section encoder | egemaps: openSMILE's low-level descriptors
    track           the sound track that is measured: auto, the one with a voice, or a number, from 1
    """

    audio: prosody.Params = field(default_factory=prosody.Params)
    speech_backend: Literal["none", "encoder", "egemaps"] = "none"
    encoder: speech_encoder.Params = field(default_factory=speech_encoder.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0
    part_clips: int | None = None
    track: Track = "auto"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _errors(self.max_failed_share, self.clip_timeout_s, self.track, self.part_clips)


def _errors(max_failed_share: float, clip_timeout_s: float, track: Track, part_clips: int | None) -> Iterator[str]:
    if part_clips is not None and part_clips < 0:
        yield f"part_clips: {part_clips} must be 0, for one file, or a number of clips."
    if isinstance(track, int) and track < 1:
        yield f"track: {track} must be auto or the number of a sound track, from 1."
    if not 0 <= max_failed_share <= 1:
        yield f"max_failed_share: {max_failed_share} must lie between 0 and 1."
    if not 1 <= clip_timeout_s <= 86_400:
        yield f"clip_timeout_s: {clip_timeout_s} must lie between 1 second and a day, 86400."
