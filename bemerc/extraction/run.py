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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from bemerc.cache import (
    SCHEMA_VERSION,
    CacheState,
    Choice,
    Features,
    PackedLandmarks,
    open_cache,
    state_of,
    write_cache,
    write_nothing,
)
from bemerc.core import atomic
from bemerc.core.errors import BemercError, CacheError, MachineError, MediaError
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.extraction.audio import egemaps
from bemerc.extraction.audio import prosody as audio
from bemerc.extraction.audio import speech_encoder as encoder
from bemerc.extraction.face import extractor as face
from bemerc.extraction.face import openface
from bemerc.extraction.jobs import Job, Measure, Setup, Task, Track, Want, fault, measure, together
from bemerc.extraction.pool import Crew
from bemerc.extraction.pose import body as pose
from bemerc.extraction.store import (
    Claims,
    Contents,
    DamagedError,
    Identity,
    Part,
    Refused,
    Store,
    Unread,
    identity,
    unread,
)

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
    track             the sound track that mouths are compared with: auto, the one with a voice, or a number, from 1
    """

    face_backend: Literal["mesh", "openface"] = "mesh"
    face: face.Params = field(default_factory=face.Params)
    openface: openface.Params = field(default_factory=openface.Params)
    pose: pose.Params = field(default_factory=pose.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0
    track: Track = "auto"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _param_faults(self.max_failed_share, self.clip_timeout_s, self.track)


@dataclass(frozen=True)
class AudioParams:
    """Section ``extract_audio`` of params.yaml; limits as in ``extract_video``.

    audio           prosody, which the descriptions read: it is measured in any case
    speech_backend  what else is measured of the sound, into a cache of its own | none | encoder: a transformers model, by the
                    section encoder | egemaps: openSMILE's low-level descriptors
    track           the sound track that is measured: auto, the one with a voice, or a number, from 1
    """

    audio: audio.Params = field(default_factory=audio.Params)
    speech_backend: Literal["none", "encoder", "egemaps"] = "none"
    encoder: encoder.Params = field(default_factory=encoder.Params)
    max_failed_share: float = 0.1
    clip_timeout_s: float = 120.0
    track: Track = "auto"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        return _param_faults(self.max_failed_share, self.clip_timeout_s, self.track)


def _param_faults(max_failed_share: float, clip_timeout_s: float, track: Track) -> Iterator[str]:
    if isinstance(track, int) and track < 1:
        yield f"track: {track} must be auto or the number of a sound track, from 1."
    if not 0 <= max_failed_share <= 1:
        yield f"max_failed_share: {max_failed_share} must lie between 0 and 1."
    if not 1 <= clip_timeout_s <= 86_400:
        yield f"clip_timeout_s: {clip_timeout_s} must lie between 1 second and a day, 86400."


@dataclass(frozen=True)
class Outcome:
    """What a run did, and how it stands with every utterance: the four mappings share no id, and who is in none of them was
    measured whole.

    paths     modality -> sealed cache
    measured  utterances that this run measured, whole or in part
    at_hand   those measured before, by another process meanwhile, or as the same part of the same clip under another name
    partly    id -> what is missing or odd, for utterances that were measured with a note
    absent    id -> reason, where a clip lacks the track or the corpus the clip: no damage
    failures  id -> reason, where the clip is to blame; not tried again, but by ``retry_failed`` or another decoder
    passing   id -> reason, where the machine is to blame, or a worker did not survive it: tried again next time
    unseen    utterances in which no face was seen, of those that were measured
    unsure    utterances with several faces of which it is uncertain whose is the one
    alone     the modality that was measured, where the others were at hand for every clip
    dropped   finished pieces of earlier runs that lost their landmarks
    """

    paths: Mapping[str, Path]
    utterances: int
    measured: int
    at_hand: int
    partly: Mapping[str, str]
    absent: Mapping[str, str]
    failures: Mapping[str, str]
    passing: Mapping[str, str]
    seconds: float
    unseen: int = 0
    unsure: int = 0
    alone: str = ""
    dropped: int = 0

    @property
    def whole(self) -> int:
        """Utterances that were measured whole, now or before."""
        return self.utterances - sum(map(len, (self.partly, self.absent, self.failures, self.passing)))

    def sentence(self) -> str:
        """For the end of a command: what was done, time, where the caches are; and counts that add up."""
        alone = f" ({self.alone} alone)" if self.alone and self.measured else ""
        parts = [f"{self.measured} of {self.utterances} utterances were measured{alone} in {self.seconds:.1f} s"]
        if self.at_hand:
            parts.append(f"{'all' if self.at_hand == self.utterances else self.at_hand} were at hand")
        if self.dropped:
            parts.append(f"{self.dropped} finished before lost their landmarks")
        return f"{'; '.join(parts)}: {', '.join(map(str, self.paths.values()))}.\n{self._counts()}"

    def _counts(self) -> str:
        counts = [(self.whole, "measured whole"), (len(self.partly), "measured with a note")]
        counts += [(len(self.absent), "with nothing to measure"), (len(self.failures), "failed")]
        counts += [(len(self.passing), "not measured this time")]
        told = ", ".join(f"{count} {what}" for count, what in counts if count) or "0 measured whole"
        of = f"Of {self.utterances} {'/'.join(self.paths)}: {told}."
        if self.unseen:
            of += f" In {self.unseen} no face was seen."
        if self.unsure:
            of += f" Of {self.unsure} it is uncertain whose face was to be measured."
        if self.passing:
            of += " The same command tries again what was not measured this time."
        return of

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return told | {"paths": {kind: str(path) for kind, path in self.paths.items()}, "whole": self.whole}


def extract_video(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: VideoParams,
    workers: int = 0,
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Face and body from one decode per clip: ``face.h5`` and ``pose.h5`` in ``out_dir``. Raises as ``run`` does.

    Where landmarks are not to be kept, the store remembers it, and those of earlier runs leave it first.
    """
    own = params.face_backend == "mesh"
    if own:
        faces = measure("face", face.__name__, params.face, params.track)
    else:
        faces = measure("face", openface.__name__, params.openface)
    measures = (faces, measure("pose", pose.__name__, params.pose))
    store = Store(store_dir)
    store.set_landmarks(params.face.landmarks)
    dropped = 0 if params.face.landmarks else store.drop_landmarks("face")
    limits = params.max_failed_share, params.clip_timeout_s
    outcome = run(jobs, measures, out_dir, store_dir, workers, *limits, retry_failed=retry_failed)
    return replace(outcome, dropped=dropped)


def extract_audio(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: AudioParams,
    workers: int = 0,
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Prosody: ``audio.h5`` in ``out_dir``. Raises as ``run`` does."""
    measures = (measure("audio", audio.__name__, params.audio, params.track),)
    limits = params.max_failed_share, params.clip_timeout_s
    return run(jobs, measures, out_dir, store_dir, workers, *limits, retry_failed=retry_failed)


def extract_speech(
    jobs: Sequence[Job],
    out_dir: Path,
    store_dir: Path,
    params: AudioParams,
    workers: int = 0,
    *,
    retry_failed: bool = False,
) -> Outcome | None:
    """What ``speech_backend`` names: ``speech.h5`` in ``out_dir``; None where it is none. Raises as ``run`` does, and
    BemercError where the encoder or openSMILE is not there."""
    if params.speech_backend == "none":
        return None
    if params.speech_backend == "egemaps":
        found = measure("speech", egemaps.__name__, egemaps.Params(), params.track)
    else:
        found = measure("speech", encoder.__name__, _encoder(params.encoder, Contents(Store(store_dir))), params.track)
    limits = params.max_failed_share, params.clip_timeout_s
    return run(jobs, (found,), out_dir, store_dir, workers, *limits, retry_failed=retry_failed)


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
            if isinstance(found, Unread):
                raise BemercError(f"{path}: {found.reason}")
            known[path] = found[1]
    return encoder.choose(params, {path: content for path, content in known.items() if content is not None})


def no_speech(out_dir: Path) -> Path:
    """A cache of nothing at ``out_dir/speech.h5``: DVC wants every output of a stage to be there."""
    path = out_dir / "speech.h5"
    _replaceable(path)
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
    *,
    retry_failed: bool = False,
) -> Outcome:
    """Measure what the store lacks and seal one cache per measure. ``workers`` 0 = one per core, 8 at most.

    retry_failed  drop the reasons that are kept for these utterances, and try them again

    Pieces of the store that turn out damaged are measured anew. Raises MediaError when more than ``max_failed_share`` of the
    utterances could not be measured (or all that have a clip), MachineError when the machine alone was at fault, CacheError
    when store or caches cannot be written, BemercError when workers cannot start. On any of them, and on
    KeyboardInterrupt, what was finished is kept and the same call goes on from there.
    """
    assert len({job.id for job in jobs}) == len(jobs), "ids are unique in a manifest"
    start = time.monotonic()
    paths: dict[str, Path] = {m.modality: out_dir / f"{m.modality}.h5" for m in measures}
    found = {modality: _replaceable(path) for modality, path in paths.items()}
    store = Store(store_dir)
    store.sweep()
    atomic.sweep_partials(out_dir, other_machines=not store.keeps_landmarks)
    listing = store_dir / f"failed-{'-'.join(m.modality for m in measures)}.txt"
    wanted: set[str] = set()
    done: set[str] = set()
    # All damaged pieces of one modality are found, and removed, at one sealing.
    for more in reversed(range(len(measures) + 2)):
        plan = _plan(jobs, measures, store, retry_failed=retry_failed and not wanted)
        wanted |= {*plan.wanted(measures)}
        limit = _Limit(len(jobs) - len(plan.absent), max_failed_share, listing)
        limit.check(plan.failures, plan.passing)
        lost = _measure(plan, measures, store, workers or _cores(), clip_timeout_s, done)
        try:
            verdicts = {m.modality: _verdicts(m, plan, store, lost) for m in measures}
            states = _states(verdicts.values())
            limit.check(states.failures, states.passing)
            for m in measures:
                _seal(paths[m.modality], m, plan, store, verdicts[m.modality], found[m.modality])
            break
        except DamagedError:
            if not more:
                raise
    return _outcome(paths, plan, states, done, wanted, time.monotonic() - start)


def _outcome(
    paths: Mapping[str, Path], plan: _Plan, states: _Verdicts, done: set[str], wanted: set[str], seconds: float
) -> Outcome:
    """The one place where utterances are counted."""
    out = states.absent.keys() | states.failures.keys() | states.passing.keys()
    notes: dict[str, list[str]] = {}
    unseen = unsure = 0
    for path in paths.values():
        with open_cache(path) as cache:
            unseen += sum(choice.faces == 0 for choice in cache.choices.values())
            unsure += sum(choice.uncertain for choice in cache.choices.values())
            for id_, note in cache.notes.items():
                if id_ not in out and note not in notes.setdefault(id_, []):
                    notes[id_].append(note)
    partly = {id_: " ".join(found) for id_, found in notes.items()}
    good = {tuple(names.values()) for id_, names in plan.names.items() if id_ not in out}
    measured = sum(not done.isdisjoint(names) for names in good)
    utterances = len(plan.names.keys() | plan.failures.keys() | plan.passing.keys() | plan.absent.keys())
    at_hand = utterances - len(out) - measured
    alone = next(iter(wanted)) if len(wanted) == 1 < len(paths) else ""
    verdicts = states.absent, states.failures, states.passing
    return Outcome(paths, utterances, measured, at_hand, partly, *verdicts, seconds, unseen, unsure, alone)


def _cores() -> int:
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _measure(
    plan: _Plan,
    measures: tuple[Measure, ...],
    store: Store,
    workers: int,
    clip_timeout_s: float,
    done: set[str],
) -> dict[str, str]:
    """Have everything measured that the plan lists: piece -> reason for what could not be this time. What was measured here
    joins ``done``."""
    if not plan.tasks:
        return {}
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
    done |= crew.done
    return crew.lost


# ---------------------------------------------------------------------------------------------------------------- plan


@dataclass(frozen=True)
class _Plan:
    """What is known before any clip is opened.

    names     id -> modality -> the piece in the store, for utterances whose clip could be hashed
    clips     id -> the clip's hash, for the same ones
    failures  id -> reason, for those whose clip is none
    passing   id -> reason, for those whose clip the disk does not give this time
    absent    id -> reason, for those that have no clip
    tasks     what the store lacks, one task per clip, longest first
    """

    names: Mapping[str, Mapping[str, str]]
    clips: Mapping[str, str]
    failures: Mapping[str, str]
    passing: Mapping[str, str]
    absent: Mapping[str, str]
    tasks: Sequence[Task]

    def wanted(self, measures: Iterable[Measure]) -> list[str]:
        """The modalities of which anything is to be measured."""
        lacking = {modality for task in self.tasks for want in task.wants for modality in want.names}
        return [m.modality for m in measures if m.modality in lacking]


def _plan(jobs: Sequence[Job], measures: Sequence[Measure], store: Store, *, retry_failed: bool = False) -> _Plan:
    files = _files({job.path for job in jobs if job.path is not None}, Contents(store))
    names: dict[str, dict[str, str]] = {}
    clips: dict[str, str] = {}
    failures: dict[str, str] = {}
    passing: dict[str, str] = {}
    absent: dict[str, str] = {}
    groups: dict[str, tuple[Path, Identity, dict[Part, dict[str, str]]]] = {}
    for job in jobs:
        found = files[job.path] if job.path is not None else None
        wrong = fault(job.part)
        if job.path is None:
            absent[job.id] = "The corpus has no clip for it."
        elif wrong is not None:
            failures[job.id] = wrong
        elif isinstance(found, Unread):
            (passing if found.passing else failures)[job.id] = found.reason
        elif found is not None:
            clips[job.id] = found[1]
            names[job.id] = {m.modality: m.name(found[1], job.part) for m in measures}
            if retry_failed:
                for modality, name in names[job.id].items():
                    store.forget(modality, name)
            left = {modality: name for modality, name in names[job.id].items() if store.state(modality, name) is None}
            if left:
                groups.setdefault(found[1], (job.path, found[0], {}))[2][job.part] = left
    tasks = [_task(content, *group) for content, group in groups.items()]
    tasks.sort(key=lambda task: (-task.identity.size, task.content))
    return _Plan(names, clips, failures, passing, absent, tasks)


def _files(paths: Collection[Path], contents: Contents) -> dict[Path, tuple[Identity, str] | Unread]:
    """Each clip's identity and hash, or why it cannot be read."""
    found: dict[Path, tuple[Identity, str] | Unread] = {}
    new = []
    for path in sorted(paths):
        try:
            now = identity(path)
        except OSError as error:
            found[path] = unread(path, error)
            continue
        content = contents.known(path, now)
        if content is None:
            new.append(path)
        else:
            found[path] = now, content
    if new:
        with bar("Reading clips", len(new), "clips") as advance:
            found |= contents.read(new, advance)
    return found


def _task(content: str, path: Path, seen: Identity, parts: Mapping[Part, dict[str, str]]) -> Task:
    return Task(content, path, seen, tuple(Want(part, names) for part, names in parts.items()))


# ------------------------------------------------------------------------------------------------------------ failures


@dataclass(frozen=True)
class _Verdicts:
    """id -> reason for the utterances without features, apart for damage, for faults of the machine and for absence."""

    failures: dict[str, str]
    passing: dict[str, str]
    absent: dict[str, str]

    def reasons(self) -> dict[str, str]:
        return self.absent | self.failures | self.passing


def _verdicts(m: Measure, plan: _Plan, store: Store, lost: Mapping[str, str]) -> _Verdicts:
    """Those of one modality. DamagedError, when all were looked at, where a reason that is kept cannot be read."""
    verdicts = _Verdicts(dict(plan.failures), dict(plan.passing), dict(plan.absent))
    damaged: DamagedError | None = None
    for id_, names in plan.names.items():
        name = names[m.modality]
        state = store.state(m.modality, name)
        if state is Refused:
            try:
                refused = store.refused(m.modality, name)
            except DamagedError as error:
                damaged = error
                continue
            (verdicts.absent if refused.absent else verdicts.failures)[id_] = refused.reason
        elif state is None and name in lost:
            verdicts.passing[id_] = lost[name]
        elif state is None:
            raise CacheError(
                f"{store.folder}: a finished clip has gone from here meanwhile, as happens when another run drops landmarks. Run "
                "the same command again."
            )
    if damaged is not None:
        raise damaged
    return verdicts


def _states(verdicts: Collection[_Verdicts]) -> _Verdicts:
    """Of all modalities together, every utterance in one group: what can be tried again comes first, absence last."""
    passing = {id_: reason for v in verdicts for id_, reason in v.passing.items()}
    failures = {id_: reason for v in verdicts for id_, reason in v.failures.items() if id_ not in passing}
    known = passing.keys() | failures.keys()
    return _Verdicts(
        failures, passing, {id_: reason for v in verdicts for id_, reason in v.absent.items() if id_ not in known}
    )


@dataclass(frozen=True)
class _Limit:
    """How many of ``utterances`` may go unmeasured, and where the whole list of those that did is written."""

    utterances: int
    share: float
    listing: Path

    def check(self, failures: Mapping[str, str], passing: Mapping[str, str]) -> None:
        """Write the list; raise, with its first few lines, when it is longer than the limit or nothing is left."""
        found = {**failures, **passing}
        with atomic.disk(self.listing):
            if not found:
                self.listing.unlink(missing_ok=True)
                return
            lines = [f"{printable(id_)}\t{printable(reason, 2000)}" for id_, reason in sorted(found.items())]
            atomic.write_text(self.listing, "\n".join(lines) + "\n")
        everything = len(found) >= self.utterances
        if not everything and len(found) <= self.share * self.utterances:
            return
        first = "\n".join(f"  {line}" for line in lines[:_LISTED]).replace("\t", ": ")
        more = f"\n  ... and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        allowed = "" if everything else f", and max_failed_share allows {self.share:.0%}"
        advice = ["mend the clips"] if failures else []
        advice += ["see to what the machine lacks"] if passing else []
        advice += [] if everything else ["raise the limit"]
        raise (MediaError if failures else MachineError)(
            f"{len(found)} of {self.utterances} utterances could not be measured{allowed}:\n{first}{more}\nAll of them are "
            f"listed in {self.listing}. What was measured is kept; {' or '.join(advice)}, and run the same command again."
        )


# ---------------------------------------------------------------------------------------------------------------- seal


def _seal(path: Path, m: Measure, plan: _Plan, store: Store, verdicts: _Verdicts, found: CacheState) -> None:
    """Write the cache of one modality from the store, unless the one that was found there is sound and made of the same
    pieces."""
    reasons = verdicts.reasons()
    names = {id_: plan.names[id_][m.modality] for id_ in sorted(plan.names) if id_ not in reasons}
    params = m.facts
    sources = {id_: plan.clips[id_] for id_ in sorted(plan.clips)}
    contents = digest(m.version, params, names, reasons, sources)
    if found.kind == "sound" and found.contents == contents and path.exists():
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
    """All pieces, and DamagedError at the end where some were damaged: all of them are then known, and removed."""
    damaged: DamagedError | None = None
    for id_, name in names.items():
        advance(1)
        try:
            piece = store.finished(m.modality, name, m.columns)
        except DamagedError as error:
            damaged = error
            continue
        if piece.note:
            notes[id_] = piece.note
        if piece.choice is not None:
            choices[id_] = piece.choice
        yield id_, piece.features, piece.duration_s, piece.landmarks
    if damaged is not None:
        raise damaged


def digest(
    version: str, params: Any, names: Mapping[str, str], reasons: Mapping[str, str], sources: Mapping[str, str]
) -> str:
    """What a cache is made of, as one hash: extractor, params, pieces of the store, failures, clips."""
    parts = [SCHEMA_VERSION, version, params, names, reasons, sources]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _replaceable(path: Path) -> CacheState:
    """What lies at a cache's place. CacheError where it is not ours: what was extracted can be extracted again; what was imported,
    or is somebody's file, may exist nowhere else."""
    found = state_of(path)
    if found.kind == "imported":
        raise CacheError(
            f"{path}: this cache was imported, and extracting would replace it. Name another folder, or move it."
        )
    if found.kind == "foreign":
        raise CacheError(
            f"{path}: extracting would replace this file, and it cannot be told that 'bemerc extract' made it. Move it, or name "
            f"another folder. ({found.reason})"
        )
    return found
