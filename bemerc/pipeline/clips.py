"""Clips of no corpus: a folder, or a single file, is measured into frame caches; or caches that are there are taken
as they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bemerc.cache import KINDS, Kind, caches_at, open_cache
from bemerc.core import atomic
from bemerc.core.config import Source
from bemerc.core.errors import BemercError, CacheError
from bemerc.core.objects import Url
from bemerc.corpus.manifest import Manifest, read_manifest
from bemerc.corpus.readers import folder, recording
from bemerc.corpus.reading import Reading
from bemerc.pipeline import clip_settings
from bemerc.pipeline.project import Project

if TYPE_CHECKING:
    from bemerc.extraction.engine import Workers
    from bemerc.extraction.outcome import Outcome

log = logging.getLogger(__name__)
FEATURES = Path("features")
Only = Literal["video", "audio"]


@dataclass(frozen=True)
class Measured:
    """What is there after clips were measured, or a folder of caches was named.

    manifest         the utterances: their ids, clips, words where subtitles or a Whisper gave some
    caches           face, pose, audio, speech -> frame cache, for ``open_cache``; None where there is none
    outcomes         what was measured now, what failed, what had nothing to measure; empty where caches were given
    not_transcribed  recordings that could not be transcribed, and why
    left_out         files, kinds of files and cues of the folder that are no utterances, by name, and why
    repaired         what was merged or repaired in reading words, by name, and why
    """

    manifest: Manifest
    caches: Mapping[Kind, Path | None]
    outcomes: tuple[Outcome, ...] = ()
    not_transcribed: Mapping[Path, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, str] = field(default_factory=dict)


def is_manifest(source: Path | Url) -> bool:
    """Whether a source names a prepared corpus and not clips."""
    return isinstance(source, Path) and source.suffix.lower() == ".jsonl"


def project_of(source: Path | Url, params: Source, out: Path | None = None) -> Project:
    """Where the caches of a source lie.

    A manifest's: in cache/ beside it, as the other files of its project. A folder's: in features/; a single clip's: in
    features/NAME, so that one clip's do not replace another's. ``out``: another folder for the caches.
    """
    if isinstance(source, Path) and is_manifest(source):
        store = None if out is None else out / "store"
        return Project(params, data=source.parent, cache=out, store=store)
    if out is None and isinstance(source, Path) and source.is_file():
        out, store = FEATURES / source.stem, FEATURES / "store"
    else:
        out = out or FEATURES
        store = out / "store"
    return Project(params, data=out, cache=out, store=store)


def local_out(out: Path | Url | None) -> Path | None:
    """The folder of this machine in which what is made is written. BemercError where there cannot be one."""
    if not isinstance(out, Url):
        return out
    if out.scheme == "memory":
        raise BemercError(
            "what lies in a process's memory is gone with it. Name s3://, gs:// or a folder.", path=str(out)
        )
    from bemerc.pipeline import remote_out

    return remote_out.folder_of(out)


def extract(
    source: Path | Url,
    out: Path | Url | None,
    params: Source,
    *,
    only: Only | None = None,
    workers: Workers = 0,
    asr: str | None = None,
    landmarks: bool | None = None,
    retry_failed: bool = False,
) -> Measured:
    """Measure the clips of ``source``: a folder, a single clip, either by URL too, or a manifest.jsonl. See ``bemerc.api.extract``."""
    from bemerc.pipeline import extract_audio, extract_video, remote_out

    there = out if isinstance(out, Url) else None
    out = local_out(out)
    project, prepared = project_of(source, params, out), is_manifest(source)
    reading, not_transcribed = Reading("", ()), dict[Path, str]()
    audio = extract_audio.params_of(project)
    if isinstance(source, Path) and prepared:
        manifest = read_manifest(source)
    elif isinstance(source, Path):
        manifest, not_transcribed, reading = read_clips(source, asr, project.data, audio.track)
    else:
        manifest, reading = _read_remote(source, asr)
    if not prepared and landmarks is None and _drops_landmarks(project):
        landmarks = False
    if not prepared:
        clip_settings.remember(project.cache_dir, params, asr)
    log.info("%s: %d utterances, into %s", source, len(manifest.utterances), project.cache_dir)
    # In a folder of somebody's clips a broken one is a line in the summary, not a reason to stop.
    how = {"retry_failed": retry_failed, "tolerant": not prepared}
    outcomes: list[Outcome] = []
    if only != "audio":
        outcomes.append(extract_video.run(project, manifest, workers, landmarks=landmarks, **how))
    if only != "video":
        outcomes += extract_audio.run(project, manifest, workers, **how)
    if there is not None and out is not None:
        remote_out.publish(out, there)
    paths = {kind: path for outcome in outcomes for kind, path in outcome.paths.items()}
    left_out, repaired = reading.by_action("leaves out"), reading.by_action("keeps, repaired")
    caches = {kind: paths.get(kind) for kind in KINDS}
    return Measured(manifest, caches, tuple(outcomes), not_transcribed, left_out, repaired)


def _read_remote(source: Url, asr: str | None) -> tuple[Manifest, Reading]:
    from bemerc.pipeline import remote_folder

    if asr is not None:
        raise BemercError(
            "--asr transcribes clips of this machine; of an object store they are read with their subtitles."
        )
    if source.scheme == "memory":
        raise BemercError(
            "what lies in one process's memory is not seen by the workers. Name s3://, gs:// or a folder.",
            path=str(source),
        )
    return remote_folder.read(source)


def _drops_landmarks(project: Project) -> bool:
    """Whether landmarks were switched off for these caches before. The store remembers it; an earlier release's did
    not, and its cache tells."""
    from bemerc.extraction.remote_store import store_at

    if project.store_dir.is_dir() and not store_at(project.store_dir).keeps_landmarks:
        return True
    try:
        with open_cache(project.cache_dir / "face.h5", "face") as cache:
            return cache.params.get("landmarks") is False
    except CacheError:  # there is none, or it is damaged and is about to be written anew
        return False


def measured(
    source: Path | None,
    caches: Path | None,
    out: Path | None,
    params: Source,
    *,
    workers: int = 0,
    asr: str | None = None,
) -> Measured:
    """Clips measured now, or the caches of a folder, whose ids are the utterances where no clips are named."""
    if caches is not None:
        return _given(caches, source, asr, out or beside(caches))
    if source is None:
        raise BemercError("Name a folder of clips, a clip, or with --caches a folder of caches.")
    return extract(source, out, params, workers=workers, asr=asr)


def params_for(
    source: Path | None, caches: Path | None, out: Path | None, params: Source, asr: str | None = None
) -> tuple[Source, str | None]:
    """Params and Whisper for what is made of clips beyond their measurements: those with which ``extract`` measured
    them, where it did (see clip_settings)."""
    if caches is not None or source is None or is_manifest(source):
        return params, asr
    return clip_settings.as_before(project_of(source, params, out).cache_dir, params, asr)


def beside(caches: Path | None, source: Path | None = None) -> Path:
    """Where what is made of clips lies by default: beside their caches."""
    if caches is not None:
        return caches if caches.is_dir() else caches.parent
    return FEATURES if source is None else project_of(source, "").cache_dir


def _given(caches: Path, source: Path | None, asr: str | None, out: Path) -> Measured:
    ids: set[str] = set()
    opened: dict[Kind, Path] = {}
    for modality, file in caches_at(caches).items():
        # A single file may have any name; what it is of stands in it.
        with open_cache(file, modality if caches.is_dir() else None) as cache:  # type: ignore[arg-type]
            ids.update(cache.ids)
            opened[cache.modality] = file
    not_transcribed: Mapping[Path, str] = {}
    if source is None:
        manifest = folder.from_ids(ids).manifest(caches)
    elif is_manifest(source):
        manifest = read_manifest(source)
    elif asr is None:
        manifest = clip_settings.read_clips(source, beside(caches))
    else:
        manifest, not_transcribed, _ = read_clips(source, asr, out)
    if not any(u.id in ids for u in manifest.utterances):
        some = min(ids, default="")
        raise BemercError(
            f"none of its {len(ids)} utterances (such as '{some}') is among the clips in {source}.", path=caches
        )
    with atomic.disk(out, "cannot be made"):
        out.mkdir(parents=True, exist_ok=True)
    return Measured(manifest, {kind: opened.get(kind) for kind in KINDS}, (), not_transcribed)


def read_clips(
    source: Path, asr: str | None, out: Path, track: Literal["auto"] | int = "auto"
) -> tuple[Manifest, dict[Path, str], Reading]:
    """The clips of a folder, or a single one, as utterances; the cues of subtitles beside a video are the turns of it.

    ``asr`` transcribes those without, into out/transcripts; which it could not, and why, comes second. Third what was
    found in the folder.
    """
    not_transcribed: dict[Path, str] = {}
    if asr is None:
        reading = recording.read_dir(source)
    else:
        from bemerc.corpus import transcribe

        answer = transcribe.run(recording.without_cues(source), asr, out / "transcripts", track=track)
        reading, not_transcribed = recording.read_dir(source, transcripts=answer.files), dict(answer.without)
    return reading.manifest(source.parent if source.is_file() else source), not_transcribed, reading
