"""What is to be extracted: one job per utterance, and the messages in which workers get it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bemerc.cache import Head, Kind, id_of_other
from bemerc.core.config import to_mapping
from bemerc.core.objects import Url, is_url
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.corpus.readers import folder
from bemerc.extraction.fingerprint import WHOLE_CLIP, ExtractorKey, Segment, extractor_key, fingerprint_by
from bemerc.extraction.hash_cache import FileIdentity

# A clip's sound track: auto, the one with a voice, or a number, from 1.
Track = Literal["auto"] | int


@dataclass(frozen=True, slots=True)
class Job:
    """One utterance, or a listener in it: its id, its clip (None where the corpus has none), and its segment of the clip.

    sound     another file that holds the sound of the speaker alone; None: the clip's sound
    listener  whether it is of somebody else than the utterance's speaker: its id is one of ``cache.id_of_other``
    """

    id: str
    path: Path | Url | None
    segment: Segment = WHOLE_CLIP
    sound: Path | None = None
    listener: bool = False

    def of_sound(self) -> Job:
        """The same for what measures the sound alone: of the file that holds it."""
        if self.sound is None:
            return self
        return replace(self, path=self.sound, sound=None, segment=replace(self.segment, crop=None))


def jobs_from_manifest(manifest: Manifest, *, listeners: bool = False) -> list[Job]:
    """One job per utterance, sorted by id. ``listeners``: and one for everybody else with a part of the picture."""
    jobs = []
    for u in manifest.utterances:
        path, sound = clip_of(manifest, u), manifest.sound_path(u)
        jobs.append(Job(u.id, path, Segment(u.start_s, u.end_s, u.crop, u.track), sound))
        for name, crop in u.listeners or () if listeners else ():
            jobs.append(Job(id_of_other(u.id, name), path, Segment(u.start_s, u.end_s, crop), None, listener=True))
    return sorted(jobs, key=lambda job: job.id)


def clip_of(manifest: Manifest, utterance: Utterance) -> Path | Url | None:
    """Where the utterance's clip lies; None where the corpus has none."""
    if utterance.clip is not None and is_url(utterance.clip):
        return Url.parse(utterance.clip)
    return manifest.clip_path(utterance)


def jobs_from_folder(video_dir: Path) -> list[Job]:
    """One job per clip below ``video_dir``; its id is its path in there without the suffix.

    Raises CorpusError when the folder is missing or holds no clip.
    """
    return jobs_from_manifest(folder.read(video_dir).manifest(video_dir))


def segment_error(segment: Segment) -> str | None:
    """Why no clip can have this segment, or None."""
    start_s, end_s, crop = segment.start_s, segment.end_s, segment.crop
    if start_s is not None and not start_s >= 0:
        return f"It starts at {start_s} s; a part of a clip starts at 0 or later."
    if end_s is not None and not end_s > (start_s or 0):
        return f"It ends at {end_s} s and starts at {start_s or 0} s, so nothing lies between."
    if crop is not None and not (0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
        return f"The crop {crop} must be left, top, right, bottom as growing fractions from 0 to 1."
    return None


@dataclass(frozen=True)
class ExtractorSpec:
    """One modality and how it is extracted: the extractor's module by name, its params, version and columns.

    rate_hz  rows per second, and for video how often a frame is taken; None = one row per frame
    track    the sound track that is used: auto, the one with a voice, or a number, from 1
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

    @property
    def head(self) -> Head:
        """What a cache of it says of itself."""
        return Head(self.modality, self.columns, self.rate, self.version, self.recorded_params)

    @cached_property
    def recorded_params(self) -> Any:
        """The params as store keys and the cache record them: those that the numbers depend on. Computed once, since
        every utterance's key needs them."""
        recorded = getattr(self.params, "recorded", None)
        mapping = to_mapping(self.params) if recorded is None else recorded()
        return mapping if self.track == "auto" else mapping | {"track": self.track}

    def key(self, clip_hash: str, segment: Segment) -> str:
        """The store key of a segment's result."""
        return fingerprint_by(clip_hash, segment, self._key)

    @cached_property
    def _key(self) -> ExtractorKey:
        return extractor_key(self.modality, self.version, self.recorded_params)


def extractor_spec(modality: Kind, module: str, params: Any, track: Track = "auto") -> ExtractorSpec:
    """Ask an extractor's module, without opening a model, what it measures with these params."""
    extractor = importlib.import_module(module)
    rate_hz = getattr(params, "rate_hz", None)  # face has none: it takes every frame
    # Where a model file that the user names decides the numbers, the version names its content.
    version = extractor.version(params) if hasattr(extractor, "version") else extractor.VERSION
    return ExtractorSpec(modality, module, params, version, extractor.columns(params), rate_hz, track)


def batch_size(spec: ExtractorSpec) -> int:
    """How many clips one process extracts at once. More than one: that process needs the machine's GPU to itself.

    Asked only where there is something to extract, since the answer may need a heavy library.
    """
    extractor = importlib.import_module(spec.module)
    return int(extractor.batch_size(spec.params)) if hasattr(extractor, "batch_size") else 1


# ------------------------------------------------------------------------------------------------- messages to a worker


@dataclass(frozen=True)
class Request:
    """One segment of a clip, and the modalities wanted of it with the store keys of their results; ``sound``: the file
    that ``segment.sound`` is the hash of."""

    segment: Segment
    keys: dict[str, str]
    sound: Path | None = None


@dataclass(frozen=True)
class Task:
    """One clip, as it was when it was hashed, and what is wanted of it.

    clip_hash      its SHA-256, by which processes lock it
    alone          it was with a worker that died, so it is not handed out beside others again
    worker_deaths  how many workers died over it since one of its segments was last finished
    losses         how many machines went away while it was measured there
    url            where it lies, if that is an object store; ``path`` is then its copy, once there is one
    """

    clip_hash: str
    path: Path
    identity: FileIdentity
    requests: tuple[Request, ...]
    alone: bool = False
    worker_deaths: int = 0
    losses: int = 0
    url: Url | None = None


@dataclass(frozen=True)
class WorkerSetup:
    """The first message to a worker: the folder of the store (None: send results to the pool), and what it extracts."""

    store: Path | None
    specs: tuple[ExtractorSpec, ...]
