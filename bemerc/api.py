"""Five names for notebooks and scripts: ``extract``, ``open_cache``, ``describe``, ``predict``, ``compare``.

    from bemerc.api import compare, describe, extract, open_cache, predict

The command line calls the same functions and prints what they return, so the two cannot drift apart. Nothing here prints
but progress bars (to stderr), and every fault that a user can cause is a BemercError whose text is the sentence that the
command line would say. Only what is called is imported: ``extract`` needs no torch, ``predict`` on given caches no video
library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bemerc.cache import open_cache as open_cache
from bemerc.core.errors import BemercError, CacheError

if TYPE_CHECKING:
    from bemerc.behavior.describe.description import Description
    from bemerc.behavior.describe.references import References
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.cache import Kind
    from bemerc.corpus.manifest import Manifest
    from bemerc.corpus.reading import Reading
    from bemerc.evaluate.compare import Comparison
    from bemerc.extraction.run import Outcome
    from bemerc.language.inputs.variants import Described
    from bemerc.language.model.behavior_model import Facts
    from bemerc.language.predict.records import Prediction, Unlabelled

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What is there after a folder of clips was measured, or a folder of caches was named.

    manifest  the utterances: their ids, clips, words where subtitles or a Whisper gave some
    caches    face, pose, audio, speech -> frame cache, for ``open_cache``; None where there is none
    outcomes  what was measured now, what failed, what had nothing to measure; empty where caches were given
    unheard   recordings that could not be transcribed, and why
    left_out  files, kinds of files and cues of the folder that are no utterances, by name, and why
    repaired  what was merged or repaired in reading words, by name, and why
    """

    manifest: Manifest
    caches: Mapping[Kind, Path | None]
    outcomes: tuple[Outcome, ...] = ()
    unheard: Mapping[Path, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted:
    """What a model says of clips.

    predictions  sorted by id, with words, speaker and time
    without      utterances that have no label, and why: nothing was said in them, and nothing measured that the model reads
    manifest     the utterances
    facts        what the model's folder says of its training
    unheard      as in Measured
    """

    predictions: tuple[Prediction, ...]
    without: tuple[Unlabelled, ...]
    manifest: Manifest
    facts: Facts
    unheard: Mapping[Path, str]


def extract(
    video_dir: Path | str,
    out: Path | str = "features",
    *,
    params: Path | str | None = None,
    workers: int = 0,
    asr: str | None = None,
    landmarks: bool | None = None,
    retry_failed: bool = False,
) -> Measured:
    """Measure face, body and voice of every clip below ``video_dir``, once, into frame caches in ``out``.

    params        a params.yaml, of which extract_video and extract_audio are read; None = the defaults
    workers       processes; 0 = one per core
    asr           a Whisper (name or folder) that transcribes videos without subtitles
    landmarks     keep the raw points of faces, which can identify people; None = as was said of ``out`` before, else as params
                  say
    retry_failed  try again what failed before and is known as such

    Interrupted work goes on where it stopped. Raises BemercError; a clip that cannot be measured is no error: it stands in
    ``outcomes`` and in the caches with its reason.
    """
    from bemerc.cache import KINDS
    from bemerc.extraction import run as loop
    from bemerc.extraction.jobs import jobs_from_manifest

    for name, folder in (("video_dir", video_dir), ("out", out)):
        if not str(folder):
            raise BemercError(f"{name} is empty, as a shell's unset variable is. Name the folder; '.' is this one.")
    out = Path(out)
    audio = replace(section(params, "extract_audio", loop.AudioParams), max_failed_share=1.0)
    manifest, unheard, reading = _clips(Path(video_dir), asr, out, audio.track)
    jobs = jobs_from_manifest(manifest)
    # In a folder of somebody's clips a broken one is a line in the summary, not a reason to stop.
    video = replace(section(params, "extract_video", loop.VideoParams), max_failed_share=1.0)
    if landmarks is None and _are_left_out(out):
        landmarks = False
    if landmarks is not None:
        video = replace(video, face=replace(video.face, landmarks=landmarks))
    loop.check_speech(audio)
    found = (
        loop.extract_video(jobs, out, out / "store", video, workers, retry_failed=retry_failed),
        loop.extract_audio(jobs, out, out / "store", audio, workers, retry_failed=retry_failed),
        loop.extract_speech(jobs, out, out / "store", audio, workers, retry_failed=retry_failed),
    )
    outcomes = tuple(outcome for outcome in found if outcome is not None)
    paths = {kind: path for outcome in outcomes for kind, path in outcome.paths.items()}
    left_out, repaired = reading.by_action("leaves out"), reading.by_action("keeps, repaired")
    return Measured(manifest, {kind: paths.get(kind) for kind in KINDS}, outcomes, unheard, left_out, repaired)


def beside(caches: Path | str | None) -> Path:
    """Where what is made of clips lies by default: in features; of given caches: in their own folder."""
    if caches is None:
        return Path("features")
    return Path(caches) if Path(caches).is_dir() else Path(caches).parent


def measured(
    video_dir: Path | str | None,
    caches: Path | str | None,
    out: Path | str = "features",
    *,
    params: Path | str | None = None,
    workers: int = 0,
    asr: str | None = None,
) -> Measured:
    """Clips measured now, or the caches of a folder, whose ids are the utterances where no clips are named."""
    if caches is not None:
        return _given(Path(caches), video_dir, asr, Path(out))
    if video_dir is None:
        raise BemercError("Name a folder of clips with --video-dir, or a folder of caches with --caches.")
    return extract(video_dir, out, params=params, workers=workers, asr=asr)


def _are_left_out(out: Path) -> bool:
    """Whether somebody said that ``out`` is to keep no landmarks. The store remembers it; of an earlier release's the cache
    alone tells."""
    from bemerc.extraction.store import Store

    store = out / "store"
    if store.is_dir() and not Store(store).keeps_landmarks:
        return True
    try:
        with open_cache(out / "face.h5", "face") as cache:
            return cache.params.get("landmarks") is False
    except CacheError:  # there is none, or it is damaged and is about to be written anew
        return False


def _given(caches: Path, video_dir: Path | str | None, asr: str | None, out: Path) -> Measured:
    from bemerc.cache import KINDS, caches_at
    from bemerc.corpus.readers import folder

    files = caches_at(caches)
    ids: set[str] = set()
    opened: dict[Kind, Path] = {}
    for modality, file in files.items():
        # A single file may have any name; what it is of stands in it.
        with open_cache(file, modality if caches.is_dir() else None) as cache:  # type: ignore[arg-type]
            ids.update(cache.ids)
            opened[cache.modality] = file
    unheard: Mapping[Path, str] = {}
    if video_dir is None:
        manifest = folder.from_ids(ids).manifest(caches)
    else:
        manifest, unheard, _ = _clips(Path(video_dir), asr, out)
    if not any(u.id in ids for u in manifest.utterances):
        raise BemercError(
            f"{caches}: none of its {len(ids)} utterances (such as '{min(ids, default='')}') is among the clips in {video_dir}."
        )
    out.mkdir(parents=True, exist_ok=True)
    return Measured(manifest, {kind: opened.get(kind) for kind in KINDS}, (), unheard)


def _clips(
    video_dir: Path, asr: str | None, out: Path, track: Literal["auto"] | int = "auto"
) -> tuple[Manifest, Mapping[Path, str], Reading]:
    """The clips of a folder as utterances; the cues of subtitles beside a video are the turns of it.

    ``asr`` transcribes those without, into out/transcripts; which it could not, and why, comes second. Third what was found
    in the folder.
    """
    from bemerc.corpus.readers import recording

    without: Mapping[Path, str] = {}
    if asr is None:
        reading = recording.read_dir(video_dir)
    else:
        from bemerc.corpus import transcribe

        found = transcribe.run(recording.without_cues(video_dir), asr, out / "transcripts", track=track)
        reading, without = recording.read_dir(video_dir, transcripts=found.files), found.without
    return reading.manifest(video_dir), without, reading


def describe(
    video_dir: Path | str | None = None,
    out: Path | str | None = None,
    *,
    caches: Path | str | None = None,
    model: Path | str | None = None,
    params: Path | str | None = None,
    workers: int = 0,
    teacher: str | None = None,
    student: Path | str | None = None,
) -> dict[str, Description]:
    """What face, body and voice do in every clip, in plain English: id -> Description. Measures what is not measured yet.

    out      where the sentences go; None = features, or the folder of the given caches
    caches   a folder of frame caches to use in place of clips
    model    a model folder whose train says what is strong and what is weak; None = general references
    teacher  a vision-language model that watches the clips in place of the rules; an id without a usable answer is left out
    student  an align model that describes in place of the rules, from behavior tokens

    The rules' descriptions are left in ``out``/descriptions.jsonl, micro-expressions and blinks in events.jsonl, a teacher's
    or a student's in a file of its name. Raises BemercError.
    """
    out = beside(caches) if out is None else Path(out)
    found = measured(video_dir, caches, out, params=params, workers=workers)
    said = _ruled(found, out, model, params)
    if teacher is not None:
        return _taught(found.manifest, teacher, out, said, params)
    if student is not None:
        _tokens(found, Path(student), out)
        return _student(found.manifest, Path(student), out, params)
    return said


def _ruled(found: Measured, out: Path, model: Path | str | None, params: Path | str | None) -> dict[str, Description]:
    from bemerc.behavior.describe import rules as describer

    file, known = out / "descriptions.jsonl", _references(Path(model)) if model else None
    describer.run(found.manifest, found.caches, file, section(params, "describe", describer.Params), known)
    return dict(describer.read_descriptions(file))


def _taught(
    manifest: Manifest, model: str, out: Path, ruled: Mapping[str, Description], params: Path | str | None
) -> dict[str, Description]:
    """A teacher's descriptions, also in ``out``/teacher.jsonl; what was dropped, and why, in teacher_dropped.json."""
    from bemerc.language.teacher import vlm as teacher

    # In a folder of somebody's clips an unusable answer is a line in a file, not a reason to stop.
    settings = replace(section(params, "teacher", teacher.Params), max_dropped_share=1.0)
    voices = {id: said.voice for id, said in ruled.items()}
    found = teacher.run(manifest, model, settings, out / "store" / "teacher", voices)
    teacher.write(found, out)
    return dict(found.descriptions)


def _tokens(found: Measured, model: Path, out: Path) -> None:
    """Tokens in ``out``/tokens.h5, made as the model's train had them."""
    from bemerc.behavior.tokens import file as tokens
    from bemerc.behavior.tokens.calibration import Calibration
    from bemerc.core.config import from_mapping
    from bemerc.language.model.behavior_model import read_facts

    known = read_facts(model).tokens
    settings = from_mapping(known.get("params", {}), tokens.Params, f"{model}: tokens.params")
    calibration = Calibration.from_json(known.get("calibration", ""))
    tokens.run(found.manifest, found.caches, out / "tokens.h5", settings, calibration)


def _student(
    manifest: Manifest, align: Path, out: Path, params: Path | str | None, backbone: str | None = None
) -> dict[str, Description]:
    from bemerc.behavior.describe.description import write_descriptions
    from bemerc.behavior.tokens import file as tokens
    from bemerc.language.predict import score_labels as scorer

    with tokens.open_tokens(out / "tokens.h5") as read:
        ids = [u.id for u in manifest.utterances]
        how = section(params, "predict", scorer.Params)
        said = scorer.generate_descriptions(align, ids, read, how, backbone=backbone)
    write_descriptions(out / "student.jsonl", said)
    return said


def predict(
    model: Path | str,
    video_dir: Path | str | None = None,
    out: Path | str = "features",
    *,
    caches: Path | str | None = None,
    params: Path | str | None = None,
    workers: int = 0,
    asr: str | None = None,
    teacher: str | None = None,
    backbone: str | None = None,
) -> Predicted:
    """Clips (or caches) in, a probability for every label of the model out. Measures what is not measured yet.

    model    a folder of the merc training, such as models/merc/TVB
    teacher  the vision-language model, for a variant that reads a teacher's descriptions
    backbone where the model's backbone lies (a folder, or a name of the hub), if it is not found beside the model

    The tokens are made as the model's train had them. Raises BemercError: a folder that is no model, caches that lack
    columns which the model reads, nothing to judge.
    """
    from bemerc.behavior.tokens import file as tokens
    from bemerc.language.model.behavior_model import read_facts
    from bemerc.language.predict import score_labels as scorer

    facts, out, how = read_facts(Path(model)), Path(out), section(params, "predict", scorer.Params)
    if caches is None:
        _needs_speech(Path(model), facts, params)
    found = measured(video_dir, caches, out, params=params, workers=workers, asr=asr)
    _tokens(found, Path(model), out)
    described = _described(found, Path(model), facts, out, params, teacher, backbone)
    with tokens.open_tokens(out / "tokens.h5") as read:
        scored = scorer.run(Path(model), found.manifest, read, ("test",), how, described, backbone)
        labelled, without = _beside_words(found.manifest, scored, read, facts)
    return Predicted(labelled, without, found.manifest, facts, found.unheard)


def _beside_words(
    manifest: Manifest, scored: Sequence[Prediction], read: TokenFile, facts: Facts
) -> tuple[tuple[Prediction, ...], tuple[Unlabelled, ...]]:
    """Predictions with what is known of the utterance; one of which nothing is known has no label, whatever scores say."""
    from bemerc.language.inputs import variants
    from bemerc.language.predict.records import Unlabelled

    of, labelled, without = {one.id: one for one in scored}, [], []
    inputs = variants.of_model(facts.params, facts.modalities)
    # Descriptions are of face, body and voice together, whatever the model reads as tokens.
    reads = tuple(read.widths) if inputs.described else facts.modalities
    for u in manifest.utterances:
        unmeasured = tuple(m for m in reads if not read[u.id][m].mask.any())
        about: dict[str, Any] = {
            "speaker": u.speaker or None,
            "text": u.text or None,
            "start_s": u.start_s,
            "end_s": u.end_s,
        }
        if not u.text.strip() and unmeasured == tuple(reads):
            nothing = (
                f" and nothing was measured of {', '.join(reads)}" if reads else ", and the model reads words alone"
            )
            without.append(Unlabelled(u.id, f"There are no words{nothing}.", **about))
        else:
            labelled.append(replace(of[u.id], **about, unmeasured=unmeasured or None))
    return tuple(labelled), tuple(without)


def _described(
    found: Measured,
    model: Path,
    facts: Facts,
    out: Path,
    params: Path | str | None,
    teacher: str | None,
    backbone: str | None,
) -> Described:
    """The descriptions that the model's variant reads, made for these clips; nothing for most variants."""
    from bemerc.language.inputs import variants

    inputs = variants.of_model(facts.params, facts.modalities)
    if "teacher" in inputs.sources and teacher is None:
        raise BemercError(
            f"{model}: this variant reads a teacher's descriptions. Name the vision-language model with --teacher."
        )
    said: dict[variants.Source, Mapping[str, Description]] = {}
    if {"rules", "teacher"} & set(inputs.sources):
        said["rules"] = _ruled(found, out, model, params)
    if "teacher" in inputs.sources and teacher is not None:
        said["teacher"] = _taught(found.manifest, teacher, out, said["rules"], params)
    if "student" in inputs.sources:
        said["student"] = _student(found.manifest, model / variants.STUDENT, out, params, backbone)
    return said


def _needs_speech(model: Path, facts: Facts, params: Path | str | None) -> None:
    """BemercError, before an hour of measuring, where a model reads a speech encoder's columns and none is named."""
    from bemerc.behavior.tokens.calibration import SOURCES, Calibration
    from bemerc.extraction.run import AudioParams

    audio = Calibration.from_json(facts.tokens.get("calibration", "")).modalities.get("audio")
    both = audio is not None and len(audio.extractor.split(" + ")) == len(SOURCES["audio"])
    if audio is not None and both and section(params, "extract_audio", AudioParams).speech_backend == "none":
        raise BemercError(
            f"{model}: it was trained on sound measured by {audio.extractor}, and extract_audio.speech_backend is none. Name the "
            "params file of its training with --params, or caches with --caches."
        )


def compare(manifest: Path | str, runs: Sequence[Path | str], params: Path | str | None = None) -> Comparison:
    """Runs against the first of them on the test split: see bemerc.evaluate.compare.

    manifest  the corpus's manifest.jsonl
    runs      predictions files, or folders with one per training seed
    params    a params file whose section ``evaluate`` says how many resamples and which confidence; None: the defaults

    ``bemerc.evaluate.compare.markdown`` and ``latex`` make tables of what comes back. Raises BemercError.
    """
    from bemerc.corpus.manifest import read_manifest
    from bemerc.evaluate import compare as judge
    from bemerc.evaluate import metrics

    read = read_manifest(Path(manifest))
    return judge.compare(
        read, judge.load(read, [Path(run) for run in runs]), section(params, "evaluate", metrics.Params)
    )


def _references(model: Path) -> References | None:
    """What is usual in the model's train, where its folder says so."""
    import json

    from bemerc.behavior.describe.references import References
    from bemerc.language.model.behavior_model import read_facts

    found = read_facts(model).references
    return References.from_json(json.dumps(found)) if found else None


def section(params: Path | str | None, name: str, cls: type[T]) -> T:
    """A section of a params file, or the defaults where none was named. Raises ConfigError."""
    from bemerc.core.config import load

    return cls() if params is None else load(Path(params), name, cls)
