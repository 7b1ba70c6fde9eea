"""An extraction run: jobs in, frame caches out, with worker processes, failures by id, and nothing extracted twice.

Three steps. *Plan* (plan.py): hash the clips and look up what the store has. *Extract* (worker_pool.py): hand the rest to
worker processes, one clip at a time. *Write* (write_caches.py): the store's results into one cache per modality. This
process imports no perception library.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bemerc.cache import CacheState, choices_in, notes_in, state_of
from bemerc.core import atomic
from bemerc.core.cpu import usable_cores
from bemerc.core.errors import BemercError
from bemerc.core.progress import bar
from bemerc.extraction.audio import egemaps, prosody, speech_encoder
from bemerc.extraction.engine import Engine, RayWorkers, Workers
from bemerc.extraction.errors import DamagedError
from bemerc.extraction.face import extractor as face
from bemerc.extraction.face import openface
from bemerc.extraction.failures import FailureLimit, Unmeasured, combined, unmeasured
from bemerc.extraction.hash_cache import FileHashCache, UnreadableFile, file_identity
from bemerc.extraction.jobs import ExtractorSpec, Job, WorkerSetup, batch_size, extractor_spec
from bemerc.extraction.leases import Leases
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.plan import Plan, make_plan
from bemerc.extraction.pose import body
from bemerc.extraction.remote_store import store_at
from bemerc.extraction.store import Store
from bemerc.extraction.worker_pool import WorkerPool
from bemerc.extraction.worker_process import ProcessEngine
from bemerc.extraction.write_caches import check_parts, quickly_replaceable, write_modality

# One worker needs some 400 MB on long 1080p clips.
_MOST_WORKERS = 8


def extract_video(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: VideoParams,
    workers: Workers = 0,
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Face and body from one decode per clip: ``face.h5`` and ``pose.h5`` in ``out_dir``. Raises as ``run`` does.

    Where landmarks are not to be kept, the store records that, and those of earlier runs are removed from it first.
    """
    store = store_at(store_dir)
    store.set_landmarks(params.face.landmarks)
    dropped = 0 if params.face.landmarks else store.drop_landmarks("face")
    outcome = _run_section(jobs, video_specs(params), out_dir, store_dir, params, workers, retry_failed)
    return replace(outcome, dropped_landmarks=dropped)


def extract_audio(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: AudioParams,
    workers: Workers = 0,
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Prosody: ``audio.h5`` in ``out_dir``. Raises as ``run`` does."""
    sound = [job.of_sound() for job in jobs]
    return _run_section(sound, (_audio_spec(params),), out_dir, store_dir, params, workers, retry_failed)


def extract_speech(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: AudioParams,
    workers: Workers = 0,
    *,
    retry_failed: bool = False,
) -> Outcome | None:
    """What ``speech_backend`` names: ``speech.h5`` in ``out_dir``; None where it is none. Raises as ``run`` does, and
    BemercError where the encoder or openSMILE is missing."""
    spec = _speech_spec(params, store_dir)
    if spec is None:
        return None
    sound = [job.of_sound() for job in jobs]
    return _run_section(sound, (spec,), out_dir, store_dir, params, workers, retry_failed)


def video_specs(params: VideoParams) -> tuple[ExtractorSpec, ...]:
    """What is measured of pictures."""
    if params.face_backend == "mesh":
        face_spec = extractor_spec("face", face.__name__, params.face, params.track)
    else:
        face_spec = extractor_spec("face", openface.__name__, params.openface)
    return face_spec, extractor_spec("pose", body.__name__, params.pose)


def audio_specs(params: AudioParams, store_dir: Path) -> tuple[ExtractorSpec, ...]:
    """What is measured of sound. BemercError where the encoder or openSMILE is missing."""
    speech = _speech_spec(params, store_dir)
    return _audio_spec(params), *([speech] if speech else [])


def _audio_spec(params: AudioParams) -> ExtractorSpec:
    return extractor_spec("audio", prosody.__name__, params.audio, params.track)


def _speech_spec(params: AudioParams, store_dir: Path) -> ExtractorSpec | None:
    if params.speech_backend == "none":
        return None
    if params.speech_backend == "egemaps":
        return extractor_spec("speech", egemaps.__name__, egemaps.Params(), params.track)
    encoder = _resolve_encoder(params.encoder, FileHashCache(Store(store_dir).folder))
    return extractor_spec("speech", speech_encoder.__name__, encoder, params.track)


def check_speech(params: AudioParams) -> None:
    """BemercError where the encoder or openSMILE is missing: asked before an hour of video is extracted."""
    if params.speech_backend == "egemaps":
        egemaps.version(egemaps.Params())
    elif params.speech_backend == "encoder":
        speech_encoder.resolve(params.encoder, dict.fromkeys(speech_encoder.files(params.encoder), ""))


def _resolve_encoder(params: speech_encoder.Params, cache: FileHashCache) -> speech_encoder.ResolvedEncoder:
    """The encoder with its weights' hash, which is cached as clips' are: a large one takes seconds to read."""
    hashes = {path: cache.lookup(path, file_identity(path)) for path in speech_encoder.files(params)}
    new = [path for path, digest in hashes.items() if digest is None]
    if new:
        with bar("Hashing the encoder", len(new), "files") as advance:
            hashed = cache.hash(new, advance)
        for path, result in hashed.items():
            if isinstance(result, UnreadableFile):
                raise BemercError(result.reason, path=path)
            hashes[path] = result[1]
    return speech_encoder.resolve(params, {path: digest for path, digest in hashes.items() if digest is not None})


def _run_section(
    jobs: Sequence[Job],
    specs: tuple[ExtractorSpec, ...],
    out_dir: Path,
    store_dir: Path,
    params: VideoParams | AudioParams,
    workers: Workers,
    retry_failed: bool,
) -> Outcome:
    limits = params.max_failed_share, params.clip_timeout_s
    folders, part_clips = (out_dir, store_dir), params.part_clips
    return run(jobs, specs, *folders, workers, *limits, retry_failed=retry_failed, part_clips=part_clips)


def run(
    jobs: Sequence[Job],
    specs: tuple[ExtractorSpec, ...],
    out_dir: Path,
    store_dir: Path,
    workers: Workers = 0,
    max_failed_share: float = 0.1,
    clip_timeout_s: float = 120.0,
    *,
    retry_failed: bool = False,
    part_clips: int | None = None,
) -> Outcome:
    """Extract what the store lacks and write one cache per spec.

    workers       processes (0 = one per core, 8 at most), or a Ray cluster
    retry_failed  delete the stored failures of these utterances, and try them again
    part_clips    utterances per file of a cache; 0 = all in one; None = as the cache is, or was

    Results of the store that turn out damaged are extracted anew. Raises MediaError when more than ``max_failed_share``
    of the utterances could not be measured (or all that have a clip), MachineError when the machine alone was at fault,
    CacheError when store or caches cannot be written, WouldReplaceError when a cache was not extracted, BemercError when workers cannot start. After any of them, and
    after KeyboardInterrupt, finished results are kept and the same call resumes.
    """
    assert len({job.id for job in jobs}) == len(jobs), "ids are unique in a manifest"
    check_parts(part_clips, sum(not job.listener for job in jobs))
    start = time.monotonic()
    paths: dict[str, Path] = {spec.modality: out_dir / f"{spec.modality}.h5" for spec in specs}
    store = store_at(store_dir)
    existing = {modality: quickly_replaceable(path, store) for modality, path in paths.items()}
    store.sweep()
    atomic.sweep_partials(out_dir, other_machines=not store.keeps_landmarks)
    listing = store_dir / f"failed-{'-'.join(spec.modality for spec in specs)}.txt"
    modalities: set[str] = set()
    done: set[str] = set()
    damaged: set[Path] = set()
    with Leases(store.folder) as leases:
        while True:
            plan = make_plan(jobs, specs, store, leases, retry_failed=retry_failed and not modalities)
            store.flush()  # what was hashed here no other machine fetches again
            modalities |= {*plan.modalities(specs)}
            without = Unmeasured(dict(plan.failures), dict(plan.retryable), dict(plan.absent)).without(plan.listeners)
            limit = FailureLimit(plan.utterances - len(without.absent), max_failed_share, listing)
            limit.check(without.failures, without.retryable)
            lost = _extract(plan, specs, store, leases, workers, clip_timeout_s, done)
            store.flush()
            try:
                by_modality = {spec.modality: unmeasured(spec, plan, store, lost) for spec in specs}
                without = combined(by_modality.values()).without(plan.listeners)
                limit.check(without.failures, without.retryable)
                for spec in specs:
                    m = spec.modality
                    _write(paths[m], spec, plan, store, leases, by_modality[m].reasons(), existing[m], part_clips)
                break
            except DamagedError as error:
                # Damaged results were removed, all of a modality's at once or one. The same again: the disk spoils them.
                if error.path in damaged:
                    raise
                damaged.add(error.path)
    only = next(iter(modalities)) if len(modalities) == 1 < len(paths) else ""
    return replace(_outcome(paths, plan, without, done), only=only, seconds=time.monotonic() - start)


def _write(
    path: Path,
    spec: ExtractorSpec,
    plan: Plan,
    store: Store,
    leases: Leases,
    reasons: Mapping[str, str],
    existing: CacheState,
    part_clips: int | None,
) -> None:
    """Write a cache. Of several processes that finish together one writes it, the others wait and find it written."""
    name = f"write-{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}"
    with leases.held(name) as waited:
        existing = state_of(path) if waited else existing
        write_modality(path, spec, plan, store, reasons, existing, leases.beat, part_clips)


def _outcome(paths: Mapping[str, Path], plan: Plan, without: Unmeasured, done: set[str]) -> Outcome:
    """The one place where utterances are counted; ``done``: keys of the results that were extracted here."""
    no_features = without.reasons().keys()
    notes: dict[str, list[str]] = {}
    no_face = uncertain = 0
    for path in paths.values():
        for choice in choices_in(path):
            no_face += choice.faces == 0
            uncertain += choice.uncertain
        for id_, note in notes_in(path):
            if id_ not in no_features and note not in notes.setdefault(id_, []):
                notes[id_].append(note)
    utterances = (id_ for id_ in plan.clip_hashes if id_ not in no_features and id_ not in plan.listeners)
    segments = {tuple(keys[id_] for keys in plan.keys.values()) for id_ in utterances if done}
    measured = sum(not done.isdisjoint(keys) for keys in segments)
    return Outcome(
        paths=paths,
        utterances=plan.utterances,
        measured=measured,
        cached=plan.utterances - len(no_features) - measured,
        with_notes={id_: " ".join(texts) for id_, texts in notes.items()},
        absent=without.absent,
        failures=without.failures,
        retryable=without.retryable,
        seconds=0.0,
        no_face=no_face,
        uncertain=uncertain,
    )


def _extract(
    plan: Plan,
    specs: tuple[ExtractorSpec, ...],
    store: Store,
    leases: Leases,
    workers: Workers,
    clip_timeout_s: float,
    done: set[str],
) -> dict[str, str]:
    """Work off the plan's tasks: store key -> reason for what could not be extracted this time. Keys of results that
    were extracted here are added to ``done``."""
    if not plan.tasks:
        return {}
    total = sum(len(task.requests) for task in plan.tasks)
    with (
        _engine(workers, specs, store, len(plan.tasks)) as engine,
        WorkerPool(engine, store, leases, clip_timeout_s) as pool,
        bar(f"Measuring {' and '.join(plan.modalities(specs))}", total, "utterances") as advance,
    ):
        pool.run(plan.tasks, advance)
    done |= pool.done
    return pool.lost


def _engine(workers: Workers, specs: tuple[ExtractorSpec, ...], store: Store, tasks: int) -> Engine:
    """Where the work is done. BemercError where Ray is asked for and is not there."""
    if isinstance(workers, RayWorkers):
        from bemerc.extraction.ray_engine import RayEngine

        return RayEngine(WorkerSetup(None, specs), workers, tasks)
    clips_per_worker = max(map(batch_size, specs))
    most = 1 if clips_per_worker > 1 else workers or min(_MOST_WORKERS, usable_cores())
    return ProcessEngine(WorkerSetup(store.folder.absolute(), specs), min(most, tasks), clips_per_worker)
