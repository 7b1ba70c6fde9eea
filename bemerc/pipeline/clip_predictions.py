"""A model's answers for clips of no corpus: measured, made into tokens as its training's were, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.behavior.tokens import file
from bemerc.core.config import Source
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Manifest
from bemerc.language.inputs import variants
from bemerc.language.model.behavior_model import ModelMetadata, read_metadata
from bemerc.language.predict import ledger, score_labels
from bemerc.language.predict.records import Prediction, Unlabelled
from bemerc.pipeline import clip_descriptions, clips
from bemerc.pipeline.clips import Measured
from bemerc.pipeline.project import Project

if TYPE_CHECKING:
    from bemerc.behavior.describe.description import Description
    from bemerc.language.inputs.left_out import Choice
    from bemerc.language.predict.evidence import Evidence


@dataclass(frozen=True)
class Predicted:
    """What a model predicts for clips.

    predictions  sorted by id, with words, speaker and time
    without      utterances that have no label, and why: there are no words, and nothing was measured that the model reads
    metadata     what the model's folder says of its training
    descriptions by rules, what face, body and voice do: utterance id -> Description
    measured     the utterances and their caches
    folder       where the files lie that were made on the way
    evidence     the ledger of every prediction, where it was asked for
    """

    predictions: tuple[Prediction, ...]
    without: tuple[Unlabelled, ...]
    metadata: ModelMetadata
    descriptions: Mapping[str, Description]
    measured: Measured
    folder: Path
    evidence: tuple[Evidence, ...] = ()


def run(
    model: Path | score_labels.MercModel,
    source: Path | None,
    out: Path | None,
    params: Source,
    *,
    caches: Path | None = None,
    workers: int = 0,
    asr: str | None = None,
    teacher: str | None = None,
    backbone: str | None = None,
    evidence: Choice | None = None,
) -> Predicted:
    """Measure what is not measured yet, and score the model's labels; ``model``: a folder, or one that is loaded.

    See ``bemerc.api.predict``.
    """
    loaded, model = (model, model.folder) if isinstance(model, score_labels.MercModel) else (None, model)
    metadata = read_metadata(model) if loaded is None else loaded.metadata
    params, asr = clips.params_for(source, caches, out, params, asr)
    project = clip_descriptions.work_of(source, caches, out, params)
    scoring = project.load("predict", score_labels.Params)
    inputs = variants.of_model(metadata.params, metadata.modalities)
    if "teacher" in inputs.sources and teacher is None:
        raise BemercError(
            "this variant reads a teacher's descriptions. Name the vision-language model with --teacher.", path=model
        )
    if caches is None:
        _check_speech(model, metadata, project)
    measured = clips.measured(source, caches, out, params, workers=workers, asr=asr)
    clip_descriptions.make_tokens(project, measured, model)
    by_rules = clip_descriptions.describe_by_rules(project, measured, model)
    described = _described(project, measured, model, inputs, by_rules, teacher, backbone)
    with file.open_tokens(project.tokens) as tokens:
        loaded = loaded or score_labels.MercModel(model, backbone, scoring.device)
        scored, counted = ledger.score_if_asked(
            loaded, measured.manifest, tokens, ("test",), scoring, evidence, described
        )
        # Descriptions are of face, body and voice together, whatever the model reads as tokens.
        reads = tuple(tokens.widths) if inputs.described else metadata.modalities
        scored = [replace(one, corpora=metadata.corpora) for one in scored]
        labelled, without = _with_context(measured.manifest, scored, tokens, reads)
    ids = {one.id for one in labelled}
    own = tuple(one for one in counted if one.id in ids)
    return Predicted(labelled, without, metadata, by_rules, measured, project.data, own)


def _with_context(
    manifest: Manifest, scored: Sequence[Prediction], tokens: file.TokenFile, reads: Sequence[Any]
) -> tuple[tuple[Prediction, ...], tuple[Unlabelled, ...]]:
    """Predictions with speaker, words and time of the utterance; one without words and measurements gets no label,
    whatever its scores."""
    scores, labelled, without = {one.id: one for one in scored}, [], []
    for u in manifest.utterances:
        unmeasured = tuple(m for m in reads if not tokens[u.id][m].mask.any())
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
            labelled.append(replace(scores[u.id], **about, unmeasured=unmeasured or None))
    return tuple(labelled), tuple(without)


def _described(
    project: Project,
    measured: Measured,
    model: Path,
    inputs: variants.Variant,
    by_rules: Mapping[str, Description],
    teacher: str | None,
    backbone: str | None,
) -> variants.Described:
    """The descriptions that the model's variant reads, made for these clips; nothing for most variants."""
    described: dict[variants.Source, Mapping[str, Description]] = {}
    if "rules" in inputs.sources:
        described["rules"] = by_rules
    if "teacher" in inputs.sources and teacher is not None:
        described["teacher"] = clip_descriptions.ask_teacher(project, measured, teacher).descriptions
    if "crossfit" in inputs.sources:
        align = variants.align_folder(model)
        described["crossfit"] = clip_descriptions.describe_by_align(project, measured, align, backbone)
    return described


def _check_speech(model: Path, metadata: ModelMetadata, project: Project) -> None:
    """BemercError, before an hour of measuring, where a model reads a speech encoder's columns and none is named."""
    from bemerc.behavior.tokens.calibration import SOURCES, Calibration
    from bemerc.extraction.params import AudioParams

    audio = Calibration.from_json(metadata.tokens.get("calibration", "")).modalities.get("audio")
    both = audio is not None and len(audio.extractor.split(" + ")) == len(SOURCES["audio"])
    if audio is not None and both and project.load("extract_audio", AudioParams).speech_backend == "none":
        raise BemercError(
            f"it was trained on sound measured by {audio.extractor}, and extract_audio.speech_backend is none. "
            "Name the params file of its training with --params, or caches with --caches.",
            path=model,
        )
