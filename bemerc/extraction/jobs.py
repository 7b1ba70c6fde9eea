"""What is to be measured: utterances and where each lies, from a manifest or a plain folder; and how a worker is told so."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bemerc.cache import Kind
from bemerc.core.config import to_mapping
from bemerc.corpus.manifest import Manifest
from bemerc.corpus.readers import folder
from bemerc.extraction.store import Identity, Part, fingerprint

WHOLE = Part()
# A clip's sound track: auto, the one with a voice, or a number, from 1.
Track = Literal["auto"] | int


@dataclass(frozen=True)
class Job:
    """One utterance: its id, its clip (None where the corpus has none), and the part of the clip that it is."""

    id: str
    path: Path | None
    part: Part = WHOLE


def jobs_from_manifest(manifest: Manifest) -> list[Job]:
    """One job per utterance, sorted by id."""
    jobs = [Job(u.id, manifest.clip_path(u), Part(u.start_s, u.end_s, u.crop)) for u in manifest.utterances]
    return sorted(jobs, key=lambda job: job.id)


def jobs_from_folder(video_dir: Path) -> list[Job]:
    """One job per clip below ``video_dir``; its id is its path in there without the suffix.

    Raises CorpusError when the folder is not there or holds no clip.
    """
    return jobs_from_manifest(folder.read(video_dir).manifest(video_dir))


def fault(part: Part) -> str | None:
    """Why no clip can have this part, or None."""
    start_s, end_s, crop = part.start_s, part.end_s, part.crop
    if start_s is not None and not start_s >= 0:
        return f"It starts at {start_s} s; a part of a clip starts at 0 or later."
    if end_s is not None and not end_s > (start_s or 0):
        return f"It ends at {end_s} s and starts at {start_s or 0} s, so nothing lies between."
    if crop is not None and not (0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
        return f"The crop {crop} must be left, top, right, bottom as growing fractions from 0 to 1."
    return None


# ------------------------------------------------------------------------------------------------- what a worker is told


@dataclass(frozen=True)
class Measure:
    """One modality and how it is measured: the extractor's module by name, and what that module says of itself.

    rate_hz  rows per second, and for video how often a frame is taken; None = one row per frame
    track    the sound track that is heard: auto, the one with a voice, or a number, from 1
    """

    modality: Kind
    module: str
    params: Any
    version: str
    columns: tuple[str, ...]
    rate_hz: float | None = None
    track: Track = "auto"

    @property
    def rate(self) -> Literal["clip"] | float:
        """The rate as the cache states it."""
        return "clip" if self.rate_hz is None else self.rate_hz

    @cached_property
    def facts(self) -> Any:
        """What the store and the cache know of the params: all, or what they say themselves that the numbers depend on.
        Worked out once: every utterance's name asks for them."""
        told = getattr(self.params, "facts", None)
        facts = to_mapping(self.params) if told is None else told()
        return facts if self.track == "auto" else facts | {"track": self.track}

    def name(self, content: str, part: Part) -> str:
        """What the store calls the piece that is measured of a part of a clip."""
        return fingerprint(content, part, self.modality, self.version, self.facts)


def measure(modality: Kind, module: str, params: Any, track: Track = "auto") -> Measure:
    """Ask an extractor's module (without opening it) what it measures with these params."""
    extractor = importlib.import_module(module)
    rate_hz = getattr(params, "rate_hz", None)  # face has none: it takes every frame
    # Where a model file that the user names decides the numbers, the version names its content.
    version = extractor.version(params) if hasattr(extractor, "version") else extractor.VERSION
    return Measure(modality, module, params, version, extractor.columns(params), rate_hz, track)


@dataclass(frozen=True)
class Want:
    """One utterance's part of a clip, and the modalities wanted of it with the names of their pieces in the store."""

    part: Part
    names: dict[str, str]


@dataclass(frozen=True)
class Task:
    """One clip, as it was when it was hashed, and what is wanted of it.

    content  its hash; by it processes claim it
    alone    one of those that were in hand when a worker ended, so it is not handed out beside others again
    deaths   how many workers ended over it since one part of it was last finished
    """

    content: str
    path: Path
    identity: Identity
    wants: tuple[Want, ...]
    alone: bool = False
    deaths: int = 0


@dataclass(frozen=True)
class Setup:
    """What a worker is told first."""

    store: Path
    measures: tuple[Measure, ...]


def together(m: Measure) -> int:
    """How many clips one process measures at once. More than one: that process wants the machine's GPU to itself.

    Asked only where there is something to measure, since the answer may need a heavy library.
    """
    extractor = importlib.import_module(m.module)
    return int(extractor.together(m.params)) if hasattr(extractor, "together") else 1
