"""Forget a person or a clip: what was made of it is removed, and what is left is listed (``bemerc forget``).

Caches and tokens are removed whole: without the person they are made again from the store, and nothing is measured.
Tables and JSON lines lose the lines that concern the person; other files that name one of the utterances are removed.
A result in the store has no name in it: what is not one of the others' results, by the settings of today and of the
caches, may be the person's and is removed too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bemerc.cache import KINDS, OTHER, id_of_other, is_part, open_cache, split_other, state_of
from bemerc.core import objects
from bemerc.core.errors import BemercError
from bemerc.core.objects import Url
from bemerc.core.terminal import printable
from bemerc.corpus import prepare, pseudonyms
from bemerc.corpus.manifest import Manifest, Utterance, listener_id, read_manifest, write_manifest
from bemerc.corpus.reading import renumbered
from bemerc.extraction import run as extraction
from bemerc.extraction.forget import forget_results
from bemerc.extraction.jobs import ExtractorSpec, clip_of, jobs_from_manifest
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.plan import make_plan
from bemerc.extraction.remote_store import store_at
from bemerc.extraction.store import PART_CLIPS
from bemerc.pipeline import dvc_cache, forget_remote, mentions
from bemerc.pipeline.mentions import Gone, without_rows
from bemerc.pipeline.project import Project

DVC = Path(".dvc")


@dataclass
class Forgotten:
    """What was removed, or would be.

    utterances  ids that are forgotten
    removed     files that are gone
    rows        cache -> how many utterances' rows were taken out of it
    shortened   file -> how many lines were taken out of it
    results     results that were removed from the store
    objects     files that were removed from DVC's cache
    left        what is left of the person, in sentences
    """

    utterances: tuple[str, ...]
    removed: list[Path] = field(default_factory=list)
    rows: dict[Path, int] = field(default_factory=dict)
    shortened: dict[Path, int] = field(default_factory=dict)
    results: int = 0
    objects: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def run(project: Project, whom: str, *, really: bool, out: Url | None = None) -> Forgotten:
    """Forget ``whom``: a speaker (by name or pseudonym), an utterance by its id, or a clip by its path in the manifest or its file name.

    really  False: only find out what would be done
    out     where the project's folder of caches stands before an object store: there too

    The manifest is changed last, so that an interrupted run can be repeated. BemercError where nobody has that name.
    """
    manifest = read_manifest(project.manifest_file)
    table = pseudonyms.read(project.data / pseudonyms.NAME)
    whom = table.get(whom, whom)
    gone = matching(manifest, whom)
    ids = {u.id for u in gone}
    listening = {u.id for u in manifest.utterances if whom in dict(u.listeners or ())}
    rest = [_without_listener(u, whom) for u in manifest.utterances if u.id not in ids]
    speaker = whom if listening or any(u.speaker == whom for u in gone) else ""
    done = Forgotten(tuple(sorted(ids)))
    clips = _paths(manifest, gone) - _paths(manifest, rest)
    names = ids | {u.clip for u in gone if u.clip and clip_of(manifest, u) in clips}
    names |= {listener_id(id_) for id_ in ids | listening} | {id_of_other(id_, whom) for id_ in listening}
    if project.store_dir.is_dir():
        done.results, hashes = _forget_results(project, manifest, ids, speaker, really)
        names |= hashes
    for path in _files(project):
        forget_file(path, names, Gone(frozenset(ids), speaker), clips, done, really)
    is_remote = out is not None or any(isinstance(clip, Url) for clip in clips)
    if is_remote:
        done.removed += forget_remote.forget_copies(really)
    if any(u.split == "train" for u in gone) and project.references.is_file():  # statistics of train
        done.removed.append(project.references)
        if really:
            project.references.unlink()
    done.objects = dvc_cache.objects_with(DVC, names, speaker, {clip for clip in clips if isinstance(clip, Path)})
    done.shortened[project.manifest_file] = len(ids | listening)
    done.left = [*_left(project, manifest, gone, clips), *(forget_remote.left(out) if is_remote else ())]
    if speaker in table.values():
        done.shortened[project.data / pseudonyms.NAME] = 1
    if really and out is not None:
        forget_remote.repeat(project.cache_dir, out, done.removed)
    if really:
        for path in done.objects:
            path.unlink(missing_ok=True)
        if speaker in table.values():
            others = {name: pseudonym for name, pseudonym in table.items() if pseudonym != speaker}
            pseudonyms.write(project.data / pseudonyms.NAME, others)
        write_manifest(project.manifest_file, renumbered(rest), manifest.labels, manifest.corpora)
    return done


def _without_listener(utterance: Utterance, name: str) -> Utterance:
    if utterance.listeners is None:
        return utterance
    return replace(utterance, listeners=tuple(one for one in utterance.listeners if one[0] != name))


def matching(manifest: Manifest, whom: str) -> list[Utterance]:
    """The utterances that a name means, none of somebody who only listens; BemercError where nobody has it."""
    gone = [u for u in manifest.utterances if whom in (u.speaker, u.id, u.clip, u.clip and Path(u.clip).name)]
    if not gone and not any(whom in dict(u.listeners or ()) for u in manifest.utterances):
        people = sorted({u.speaker for u in manifest.utterances if u.speaker})
        some = ", ".join(printable(name, 40) for name in people[:20]) or "not known"
        raise BemercError(
            f"'{printable(whom)}' is no speaker, no utterance and no clip of {manifest.folder}. The speakers are: {some}."
        )
    return gone


def _paths(manifest: Manifest, utterances: Sequence[Utterance]) -> set[Path | Url]:
    return {path for u in utterances if (path := clip_of(manifest, u)) is not None}


def _forget_results(
    project: Project, manifest: Manifest, ids: set[str], speaker: str, really: bool
) -> tuple[int, set[str]]:
    """Remove from the store what is not the others'; how many results, and the hashes of clips that nobody else is
    in."""

    def gone(id_: str) -> bool:
        """Whether rows are of a forgotten utterance, or of the person as a listener."""
        utterance, name = split_other(id_) if OTHER in id_ else (id_, "")
        return utterance in ids or id_ in ids or bool(speaker and name == speaker)

    pictures = jobs_from_manifest(manifest, listeners=True)
    sounds = [job.of_sound() for job in pictures if not job.listener]
    audio = project.load("extract_audio", AudioParams)
    wanted = [(pictures, extraction.video_specs(project.load("extract_video", VideoParams)))]
    wanted += [(sounds, (spec,)) for spec in extraction.audio_specs(audio, project.store_dir)]
    store = store_at(project.store_dir)
    keys: set[str] = set()
    theirs, others = set[str](), set[str]()
    for path in _caches(project):
        with open_cache(path) as cache:
            spec = ExtractorSpec(cache.modality, "", _Recorded(cache.params), cache.extractor, cache.columns)
            jobs = pictures if cache.modality in ("face", "pose") else sounds
            wanted.append((jobs, (spec,)))
            for job in jobs:  # their clips may be gone
                here = isinstance(job.path, Path) and job.path.exists()
                if job.id in cache.sources and not here and not gone(job.id):
                    keys.add(spec.key(cache.sources[job.id], job.segment))
    for jobs, specs in wanted:
        plan = make_plan(jobs, specs, store)
        keys |= {key for of in plan.keys.values() for id_, key in of.items() if not gone(id_)}
        for id_, digest in plan.clip_hashes.items():
            (theirs if gone(id_) else others).add(digest)
    theirs -= others
    return forget_results(store, keys, theirs, really=really), theirs


@dataclass(frozen=True)
class _Recorded:
    """Params as a cache has them."""

    mapping: Mapping[str, Any]

    def recorded(self) -> Mapping[str, Any]:
        return self.mapping


def _caches(project: Project) -> list[Path]:
    files = [project.cache_dir / f"{kind}.h5" for kind in KINDS]
    return [path for path in files if path.is_file() and state_of(path).kind == "sound"]


def _files(project: Project) -> Iterator[Path]:
    """Files that were made of the corpus: not the corpus itself, not the store's results, not the models."""
    params = project.load("prepare", prepare.Params)
    corpora = [prepare.source_path(params, name).absolute() for name in prepare.READERS]
    store = project.store_dir.absolute()
    files = {path for top in (project.data, project.cache_dir, project.results) for path in top.rglob("*")}
    files -= {project.manifest_file, project.data / pseudonyms.NAME}
    # An index before its parts: without one of them it cannot be read.
    for path in sorted(files, key=lambda path: (is_part(path.name), path)):
        path = path.absolute()
        is_result = path.is_relative_to(store) and path.parent != store
        of_corpus = any(path.is_relative_to(corpus) for corpus in corpora)
        if path.is_file() and not path.is_symlink() and not is_result and not of_corpus:
            yield path


def forget_file(path: Path, names: set[str], gone: Gone, clips: set[Path | Url], done: Forgotten, really: bool) -> None:
    """Remove a file that mentions one of the ``names`` or the person, or the lines of it that do. ``clips``: their paths,
    or their ids as ones."""
    if path.suffix == PART_CLIPS:  # a number, which may be an id too
        return
    if mentions.is_by_line(path):
        lines = mentions.without_lines(path, {*names, *([gone.name] if gone.name else [])}, really=really)
        if lines:
            done.shortened[path] = lines
        return
    if not mentions.mentions(path, names, gone.name) and not _is_of(path, clips):
        return
    if path.suffix == ".h5" and state_of(path).kind == "imported":
        with open_cache(path) as cache:
            done.rows[path] = gone.count(cache)
        if really:
            without_rows(path, gone)
        return
    done.removed.append(path)
    if really:
        path.unlink(missing_ok=True)


def _is_of(path: Path, clips: set[Path | Url]) -> bool:
    """Whether a file is a transcript of one of the clips: it has the clip's name, and a key."""
    return path.suffix == ".vtt" and any(path.name.startswith(f"{Path(clip.name).stem}.") for clip in clips)


def _exists(clip: Path | Url) -> bool:
    return objects.info(clip) is not None if isinstance(clip, Url) else clip.exists()


def _left(project: Project, manifest: Manifest, gone: Sequence[Utterance], clips: set[Path | Url]) -> Iterator[str]:
    there = sorted(str(clip) for clip in clips if _exists(clip))
    if there:
        yield (
            f"The clips themselves, {len(there)}, such as {printable(there[0], 200)}, and what the corpus's own files say: "
            "delete them there, or name the ids in prepare.leave_out; else `bemerc prepare` brings them back."
        )
    elif gone:
        yield "What the corpus's own files say: name the ids in prepare.leave_out, else `bemerc prepare` brings them back."
    if project.load("extract_video", VideoParams).face.keep == "all":
        yield "Their face in the store's results of others' utterances, where they were in the picture (face.keep: all)."
    shared = _paths(manifest, gone) - clips
    if shared:
        yield f"{len(shared)} clips that others speak in too, such as {printable(min(map(str, shared)), 200)}, and their transcripts."
    splits = {split: sum(u.split == split for u in gone) for split in ("train", "dev", "test")}
    for folder in sorted({path.parent for path in project.models.rglob("*.safetensors") if path.parent.name != "last"}):
        if splits["train"]:
            yield f"{folder}: a model that was trained on {splits['train']} utterances of theirs. Train it again."
        elif splits["dev"]:
            yield f"{folder}: a model that was chosen by {splits['dev']} utterances of theirs among others. Train it again."
    if (project.results / "metrics.json").is_file():
        yield f"{project.results}: numbers and pictures over all utterances, theirs among them. Evaluate again."
    if any(u.dialogue in {one.dialogue for one in gone} for u in manifest.utterances if u not in gone):
        yield "Predictions of others' turns, which were made with their words as history; and their name in others' words."
    if dvc_cache.has_remote(DVC):
        yield "Copies that DVC has pushed to a remote: `dvc gc --workspace --cloud`."
    if Path(".git").exists():
        yield "Former versions of files that git tracks (results/): git's history keeps them."
    yield "Whatever was copied or exported elsewhere: pages, tables, annotated videos, released models."
