"""The loop: jobs in, sealed frame caches out, with worker processes, failures by id, and nothing measured twice.

Three steps. *Plan*: hash the clips (remembered), look up what the store has. *Measure*: hand what is left to workers, one
clip at a time, longest first; a worker that crashes or hangs is one failed clip and a new worker. *Seal*: write the
store's pieces into one cache per modality in sorted order. The cache's bytes depend on the jobs alone, not on who
measured what when, because the seal reads the store and the store knows pieces by what they are made of. With nothing to
do no perception library is imported: this process only ever starts those who do.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bemerc.cache import SCHEMA_VERSION, Choice, Features, PackedLandmarks, open_cache, write_cache, write_nothing
from bemerc.errors import BemercError, CacheError, MediaError
from bemerc.extract import audio, face, openface, pose
from bemerc.extract.audio import egemaps, encoder
from bemerc.extract.crew import Crew
from bemerc.extract.jobs import Job, Measure, Setup, Task, Want, fault, measure, together
from bemerc.extract.store import Claims, Contents, Identity, Part, Refused, Store, disk, identity
from bemerc.progress import bar

# One worker needs some 400 MB on long 1080p clips.
_MOST_WORKERS = 8
_LISTED = 5


@dataclass(frozen=True)
class VideoParams:
    """Section ``extract_video`` of params.yaml.

    face_backend      mesh: the bundled face mesh, by the section face | openface: the user's OpenFace 2, by the section openface
    pose              body and hands, measured with either
    max_failed_share  the stage stops when more than this share of the utterances cannot be measured
    clip_timeout_s    a clip is given up when its worker gives no sign of life (no frame done) for so long
    """

    face_backend: Literal["mesh", "openface"] = "mesh"
    face: face.Params = field(default_factory=face.Params)
    openface: openface.Params = field(default_factory=openface.Params)
    pose: pose.Params = field(default_factory=pose.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _limit_faults(self.max_failed_share, self.clip_timeout_s)


@dataclass(frozen=True)
class AudioParams:
    """Section ``extract_audio`` of params.yaml; limits as in ``extract_video``.

    audio           prosody, which the descriptions read: it is measured in any case
    speech_backend  what else is measured of the sound, into a cache of its own | none | encoder: a transformers model, by the
                    section encoder | egemaps: openSMILE's low-level descriptors
    """

    audio: audio.Params = field(default_factory=audio.Params)
    speech_backend: Literal["none", "encoder", "egemaps"] = "none"
    encoder: encoder.Params = field(default_factory=encoder.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _limit_faults(self.max_failed_share, self.clip_timeout_s)


def _limit_faults(max_failed_share: float, clip_timeout_s: float) -> Iterator[str]:
    if not 0 <= max_failed_share <= 1:
        yield f"max_failed_share: {max_failed_share} must lie between 0 and 1."
    if not clip_timeout_s >= 1:
        yield f"clip_timeout_s: {clip_timeout_s} must be at least 1 second."


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    paths     modality -> sealed cache
    measured  utterances that this run measured
    at_hand   those measured before, by another process meanwhile, or as the same part of the same clip under another name
    failures  id -> reason, for utterances of which at least one modality could not be measured
    absent    id -> reason, where a clip lacks the track or the corpus the clip: no damage
    unsure    utterances with several faces of which it is uncertain whose is the one
    alone     the modality that was measured, where the others were at hand for every clip
    dropped   finished pieces of earlier runs that lost their landmarks
    """

    paths: Mapping[str, Path]
    utterances: int
    measured: int
    failures: Mapping[str, str]
    absent: Mapping[str, str]
    seconds: float
    unsure: int = 0
    alone: str = ""
    at_hand: int = 0
    dropped: int = 0

    def sentence(self) -> str:
        """For the end of a command: counts, time, and where the caches are."""
        alone = f" ({self.alone} alone)" if self.alone and self.measured else ""
        parts = [f"{self.measured} of {self.utterances} utterances were measured{alone} in {self.seconds:.1f} s"]
        if self.at_hand:
            parts.append(f"{'all' if self.at_hand == self.utterances else self.at_hand} were at hand")
        if self.absent:
            parts.append(f"{len(self.absent)} have nothing to measure")
        if self.unsure:
            parts.append(f"of {self.unsure} it is uncertain whose face was to be measured")
        if self.dropped:
            parts.append(f"{self.dropped} finished before lost their landmarks")
        if self.failures:
            parts.append(f"{len(self.failures)} failed, for reasons that the cache lists")
        return f"{'; '.join(parts)}: {', '.join(map(str, self.paths.values()))}."


def extract_video(
    jobs: Sequence[Job], out_dir: Path, store_dir: Path, params: VideoParams, workers: int = 0
) -> Outcome:
    """Face and body from one decode per clip: ``face.h5`` and ``pose.h5`` in ``out_dir``. Raises as ``run`` does.

    Where landmarks are not to be kept, those of earlier runs leave the store first: they are not left behind there.
    """
    own = params.face_backend == "mesh"
    faces = measure("face", *((face.__name__, params.face) if own else (openface.__name__, params.openface)))
    measures = (faces, measure("pose", pose.__name__, params.pose))
    dropped = 0 if params.face.landmarks else Store(store_dir).drop_landmarks("face")
    outcome = run(jobs, measures, out_dir, store_dir, workers, params.max_failed_share, params.clip_timeout_s)
    return replace(outcome, dropped=dropped)


def extract_audio(
    jobs: Sequence[Job], out_dir: Path, store_dir: Path, params: AudioParams, workers: int = 0
) -> Outcome:
    """Prosody: ``audio.h5`` in ``out_dir``. Raises as ``run`` does."""
    measures = (measure("audio", audio.__name__, params.audio),)
    return run(jobs, measures, out_dir, store_dir, workers, params.max_failed_share, params.clip_timeout_s)


def extract_speech(
    jobs: Sequence[Job], out_dir: Path, store_dir: Path, params: AudioParams, workers: int = 0
) -> Outcome | None:
    """What ``speech_backend`` names: ``speech.h5`` in ``out_dir``; None where it is none. Raises as ``run`` does, and
    BemercError where the encoder or openSMILE is not there."""
    if params.speech_backend == "none":
        return None
    if params.speech_backend == "egemaps":
        found = measure("speech", egemaps.__name__, egemaps.Params())
    else:
        found = measure("speech", encoder.__name__, _encoder(params.encoder, Contents(Store(store_dir))))
    return run(jobs, (found,), out_dir, store_dir, workers, params.max_failed_share, params.clip_timeout_s)


def check_speech(params: AudioParams) -> None:
    """BemercError where the encoder or openSMILE is not there: told before an hour of video is measured."""
    if params.speech_backend == "egemaps":
        egemaps.version(egemaps.Params())
    elif params.speech_backend == "encoder":
        encoder.choose(params.encoder, dict.fromkeys(encoder.files(params.encoder), ""))


def _encoder(params: encoder.Params, contents: Contents) -> encoder.Chosen:
    """The model with its weights' hash, which is remembered as clips' are: a large one takes seconds to read."""
    known = {path: contents.known(path, identity(path)) for path in encoder.files(params)}
    unread = [path for path, content in known.items() if content is None]
    if unread:
        with bar("Reading the encoder", len(unread), "files") as advance:
            read = contents.read(unread, advance)
        for path, found in read.items():
            if isinstance(found, str):
                raise BemercError(f"{path}: {found}")
            known[path] = found[1]
    return encoder.choose(params, {path: content for path, content in known.items() if content is not None})


def no_speech(out_dir: Path) -> Path:
    """A cache of nothing at ``out_dir/speech.h5``: DVC wants every output of a stage to be there."""
    path = out_dir / "speech.h5"
    _spare_imported([path])
    write_nothing(path, "speech")
    return path


def run(
    jobs: Sequence[Job],
    measures: tuple[Measure, ...],
    out_dir: Path,
    store_dir: Path,
    workers: int = 0,
    max_failed_share: float = 0.1,
    clip_timeout_s: float = 120.0,
) -> Outcome:
    """Measure what the store lacks and seal one cache per measure. ``workers`` 0 = one per core, 8 at most.

    Raises MediaError when more than ``max_failed_share`` of the utterances failed (or all that have a clip), CacheError when
    store or caches cannot be written, BemercError when workers cannot start. On any of them, and on KeyboardInterrupt,
    what was finished is kept and the same call goes on from there.
    """
    assert len({job.id for job in jobs}) == len(jobs), "ids are unique in a manifest"
    start = time.monotonic()
    paths: dict[str, Path] = {m.modality: out_dir / f"{m.modality}.h5" for m in measures}
    _spare_imported(paths.values())
    store = Store(store_dir)
    store.sweep()
    plan = _plan(jobs, measures, store)
    listing = store_dir / f"failed-{'-'.join(m.modality for m in measures)}.txt"
    limit = _Limit(len(jobs) - len(plan.absent), max_failed_share, listing)
    limit.check(plan.lost)
    measured, lost = _measure(plan, measures, store, workers or _cores(), clip_timeout_s)
    verdicts = {m.modality: _verdicts(m, plan, store, lost) for m in measures}
    failures = {id_: reason for v in verdicts.values() for id_, reason in v.failures.items()}
    absent = {id_: reason for v in verdicts.values() for id_, reason in v.absent.items()}
    limit.check(failures)
    for m in measures:
        _seal(paths[m.modality], m, plan, store, verdicts[m.modality])
    seconds, wanted = time.monotonic() - start, plan.wanted(measures)
    alone = wanted[0] if len(wanted) == 1 < len(measures) else ""
    given_up = sum(any(name in lost for name in names.values()) for names in plan.names.values())
    at_hand = max(0, len(plan.names) - measured - given_up)
    return Outcome(paths, len(jobs), measured, failures, absent, seconds, _unsure(paths), alone, at_hand)


def _unsure(paths: Mapping[str, Path]) -> int:
    if "face" not in paths:
        return 0
    with open_cache(paths["face"]) as cache:
        return sum(choice.uncertain for choice in cache.choices.values())


def _cores() -> int:
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _measure(
    plan: _Plan, measures: tuple[Measure, ...], store: Store, workers: int, clip_timeout_s: float
) -> tuple[int, dict[str, str]]:
    """Have everything measured that the plan lists: how much was, and piece -> reason for what a worker did not survive."""
    if not plan.tasks:
        return 0, {}
    setup = Setup(store.folder.absolute(), measures)
    hand = max(map(together, measures))
    workers = 1 if hand > 1 else workers
    total = sum(len(task.wants) for task in plan.tasks)
    with (
        Claims(store) as claims,
        Crew(setup, store, claims, min(workers, len(plan.tasks)), clip_timeout_s, hand) as crew,
        bar(f"Measuring {' and '.join(plan.wanted(measures))}", total, "utterances") as advance,
    ):
        crew.measure(plan.tasks, advance)
    return crew.measured, crew.lost


# ---------------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class _Plan:
    """What is known before any clip is opened.

    names   id -> modality -> the piece in the store, for utterances whose clip could be hashed
    clips   id -> the clip's hash, for the same ones
    lost    id -> reason, for those whose clip cannot be read
    absent  id -> reason, for those that have no clip
    tasks   what the store lacks, one task per clip, longest first
    """

    names: Mapping[str, Mapping[str, str]]
    clips: Mapping[str, str]
    lost: Mapping[str, str]
    absent: Mapping[str, str]
    tasks: Sequence[Task]

    def wanted(self, measures: Iterable[Measure]) -> list[str]:
        """The modalities of which anything is to be measured."""
        lacking = {modality for task in self.tasks for want in task.wants for modality in want.names}
        return [m.modality for m in measures if m.modality in lacking]


def _plan(jobs: Sequence[Job], measures: Sequence[Measure], store: Store) -> _Plan:
    files = _files({job.path for job in jobs if job.path is not None}, Contents(store))
    names: dict[str, dict[str, str]] = {}
    clips: dict[str, str] = {}
    lost, absent = {}, {}
    groups: dict[str, tuple[Path, Identity, dict[Part, dict[str, str]]]] = {}
    for job in jobs:
        found = files[job.path] if job.path is not None else None
        reason = fault(job.part) or (found if isinstance(found, str) else None)
        if job.path is None:
            absent[job.id] = "The corpus has no clip for it."
        elif reason is not None:
            lost[job.id] = reason
        elif isinstance(found, tuple):
            clips[job.id] = found[1]
            names[job.id] = {m.modality: m.name(found[1], job.part) for m in measures}
            left = {modality: name for modality, name in names[job.id].items() if store.state(modality, name) is None}
            if left:
                groups.setdefault(found[1], (job.path, found[0], {}))[2][job.part] = left
    tasks = [_task(content, *group) for content, group in groups.items()]
    tasks.sort(key=lambda task: (-task.identity.size, task.content))
    return _Plan(names, clips, lost, absent, tasks)


def _files(paths: Collection[Path], contents: Contents) -> dict[Path, tuple[Identity, str] | str]:
    """Each clip's identity and hash, or why it cannot be read."""
    found: dict[Path, tuple[Identity, str] | str] = {}
    unread = []
    for path in sorted(paths):
        try:
            now = identity(path)
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            found[path] = (
                f"There is no file '{path.name}'." if missing else f"The clip cannot be read ({error.strerror})."
            )
            continue
        content = contents.known(path, now)
        if content is None:
            unread.append(path)
        else:
            found[path] = now, content
    if unread:
        with bar("Reading clips", len(unread), "clips") as advance:
            found |= contents.read(unread, advance)
    return found


def _task(content: str, path: Path, seen: Identity, parts: Mapping[Part, dict[str, str]]) -> Task:
    return Task(content, path, seen, tuple(Want(part, names) for part, names in parts.items()))


# ------------------------------------------------------------------------------------------------------------ failures


@dataclass(frozen=True)
class _Verdicts:
    """id -> reason for the utterances without features in one modality, apart for damage and for absence."""

    failures: dict[str, str]
    absent: dict[str, str]


def _verdicts(m: Measure, plan: _Plan, store: Store, lost: Mapping[str, str]) -> _Verdicts:
    verdicts = _Verdicts(dict(plan.lost), dict(plan.absent))
    for id_, names in plan.names.items():
        name = names[m.modality]
        state = store.state(m.modality, name)
        if state is Refused:
            refused = store.refused(m.modality, name)
            (verdicts.absent if refused.absent else verdicts.failures)[id_] = refused.reason
        elif state is None and name in lost:
            verdicts.failures[id_] = lost[name]
        elif state is None:
            raise CacheError(
                f"{store.folder}: a finished clip has gone from here meanwhile, as happens when another run drops landmarks. Run "
                "the same command again."
            )
    return verdicts


@dataclass(frozen=True)
class _Limit:
    """How many of ``utterances`` may fail, and where the whole list of those that did is written."""

    utterances: int
    share: float
    listing: Path

    def check(self, failures: Mapping[str, str]) -> None:
        """Write the list; MediaError, with its first few lines, when it is longer than the limit or nothing is left."""
        if not failures:
            self.listing.unlink(missing_ok=True)
            return
        lines = [f"{id_}\t{reason}" for id_, reason in sorted(failures.items())]
        with disk(self.listing.parent):
            self.listing.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if len(failures) < self.utterances and len(failures) <= self.share * self.utterances:
            return
        first = "\n".join(f"  {line}" for line in lines[:_LISTED]).replace("\t", ": ")
        more = f"\n  ... and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        raise MediaError(
            f"{len(failures)} of {self.utterances} utterances could not be measured, and max_failed_share allows "
            f"{self.share:.0%}:\n{first}{more}\nAll of them are listed in {self.listing}. What was measured is kept; mend "
            "the clips or raise the limit, and run the same command again."
        )


# ---------------------------------------------------------------------------------------------------------------- seal


def _seal(path: Path, m: Measure, plan: _Plan, store: Store, verdicts: _Verdicts) -> None:
    """Write the cache of one modality from the store, unless the one that is there was made of the same pieces."""
    reasons = verdicts.failures | verdicts.absent
    names = {id_: plan.names[id_][m.modality] for id_ in sorted(plan.names) if id_ not in reasons}
    params = m.facts
    sources = {id_: plan.clips[id_] for id_ in sorted(plan.clips)}
    contents = digest(m.version, params, names, reasons, sources)
    if _is_sealed(path, contents):
        return
    notes: dict[str, str] = {}
    choices: dict[str, Choice] = {}
    with bar(f"Sealing {path.name}", len(names), "utterances") as advance:
        write_cache(
            path,
            modality=m.modality,
            columns=m.columns,
            rate=m.rate,
            extractor=m.version,
            params=params,
            clips=_pieces(m, names, store, notes, choices, advance),
            failures=reasons,
            notes=notes,
            sources=sources,
            choices=choices,
            contents=contents,
        )


def _pieces(
    m: Measure,
    names: Mapping[str, str],
    store: Store,
    notes: dict[str, str],
    choices: dict[str, Choice],
    advance: Callable[[int], None],
) -> Iterator[tuple[str, Features, float, PackedLandmarks | None]]:
    for id_, name in names.items():
        piece = store.finished(m.modality, name, m.columns)
        if piece.note:
            notes[id_] = piece.note
        if piece.choice is not None:
            choices[id_] = piece.choice
        yield id_, piece.features, piece.duration_s, piece.landmarks
        advance(1)


def digest(
    version: str, params: Any, names: Mapping[str, str], reasons: Mapping[str, str], sources: Mapping[str, str]
) -> str:
    """What a cache is made of, as one hash: extractor, params, pieces of the store, failures, clips."""
    parts = [SCHEMA_VERSION, version, params, names, reasons, sources]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _spare_imported(paths: Iterable[Path]) -> None:
    """What was extracted can be extracted again; what was imported may exist nowhere else."""
    for path in paths:
        try:
            with open_cache(path) as cache:
                imported = bool(cache.params.get("imported"))
        except CacheError:
            continue
        if imported:
            raise CacheError(
                f"{path}: this cache was imported, and extracting would replace it. Name another folder, or move it."
            )


def _is_sealed(path: Path, contents: str) -> bool:
    try:
        with open_cache(path) as cache:
            return cache.contents == contents
    except CacheError:
        return False
