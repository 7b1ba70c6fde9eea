"""What face, body and voice do in clips of no corpus, in plain English: by rules, by a teacher or by an align model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.behavior.describe import listener_descriptions, rules
from bemerc.behavior.describe import run as describer
from bemerc.behavior.describe.description import Description, read_descriptions, write_descriptions
from bemerc.behavior.describe.references import References
from bemerc.core.config import Source
from bemerc.core.errors import BemercError
from bemerc.language.inputs import variants
from bemerc.pipeline import clips
from bemerc.pipeline.clips import Measured
from bemerc.pipeline.project import Project

if TYPE_CHECKING:
    from bemerc.language.teacher.vlm import Taught


@dataclass(frozen=True)
class ClipDescriptions:
    """Descriptions of clips.

    descriptions  utterance id -> Description
    dropped       id -> why a teacher gave no usable answer
    file          where the descriptions lie
    events        where micro-expressions, blinks and shut eyes lie, with their times
    measured      the utterances and their caches
    """

    descriptions: Mapping[str, Description]
    file: Path
    events: Path
    measured: Measured
    dropped: Mapping[str, str] = field(default_factory=dict)


def run(
    source: Path | None,
    out: Path | None,
    params: Source,
    *,
    caches: Path | None = None,
    model: Path | None = None,
    workers: int = 0,
    teacher: str | None = None,
    align: Path | None = None,
) -> ClipDescriptions:
    """Measure what is not measured yet, and describe it. See ``bemerc.api.describe``."""
    params, asr = clips.params_for(source, caches, out, params)
    measured = clips.measured(source, caches, out, params, workers=workers, asr=asr)
    project = work_of(source, caches, out, params)
    by_rules = describe_by_rules(project, measured, model)
    file, events = project.data / variants.FILES["rules"], project.data / describer.EVENTS
    if teacher is not None:
        answers = ask_teacher(project, measured, teacher)
        file = project.data / variants.FILES["teacher"]
        return ClipDescriptions(answers.descriptions, file, events, measured, answers.dropped)
    if align is not None:
        make_tokens(project, measured, align)
        file = project.data / variants.FILES["crossfit"]
        return ClipDescriptions(describe_by_align(project, measured, align), file, events, measured)
    return ClipDescriptions(by_rules, file, events, measured)


def work_of(source: Path | None, caches: Path | None, out: Path | None, params: Source) -> Project:
    """The folder in which everything lies that is made of clips: ``data`` of a project."""
    if caches is not None:
        out = out or clips.beside(caches)
        return Project(params, data=out, cache=caches, store=out / "store")
    if source is None:
        raise BemercError("Name a folder of clips, a clip, or with --caches a folder of caches.")
    project = clips.project_of(source, params, out)
    if clips.is_manifest(source):
        if out is None:
            raise BemercError("name a folder with --out; the files beside the manifest are its project's.", path=source)
        return Project(params, data=out, cache=project.cache, store=project.store)
    return project


def describe_by_rules(project: Project, measured: Measured, model: Path | None) -> dict[str, Description]:
    """The rules' descriptions, also in descriptions.jsonl; references are those of ``model``, else general ones."""
    file = project.data / variants.FILES["rules"]
    trained = None if model is None else references_of(model)
    params = project.load("describe", rules.Params)
    references = describer.run(measured.manifest, measured.caches, file, params, trained)
    listener_descriptions.add(measured.manifest, measured.caches, file, references, params)
    return dict(read_descriptions(file))


def references_of(model: Path) -> References | None:
    """What is usual in the model's train, where its folder says so."""
    import json

    from bemerc.language.model.behavior_model import read_metadata

    saved = read_metadata(model).references
    return References.from_json(json.dumps(saved)) if saved and "rest" in saved else None  # else words alone


def ask_teacher(project: Project, measured: Measured, teacher: str) -> Taught:
    """A teacher's descriptions, also in teacher.jsonl; an unusable answer is no reason to stop."""
    from bemerc.pipeline import describe

    return describe.ask(project, measured.manifest, teacher, tolerant=True)


def make_tokens(project: Project, measured: Measured, model: Path) -> None:
    """Tokens in tokens.h5, made as those of the model's training."""
    from bemerc.behavior.tokens import file
    from bemerc.behavior.tokens.calibration import Calibration
    from bemerc.core.config import from_mapping
    from bemerc.language.model.behavior_model import read_metadata

    saved = read_metadata(model).tokens
    params = from_mapping(saved.get("params", {}), file.Params, f"{model}: tokens.params")
    calibration = Calibration.from_json(saved.get("calibration", ""))
    file.run(measured.manifest, measured.caches, project.tokens, params, calibration)


def describe_by_align(
    project: Project, measured: Measured, align: Path, backbone: str | None = None
) -> dict[str, Description]:
    """The align model's descriptions of the tokens that were made, also in a file of its name."""
    from bemerc.behavior.tokens import file
    from bemerc.language.predict import generate, score_labels

    ids = [u.id for u in measured.manifest.utterances]
    params = project.load("predict", score_labels.Params)
    with file.open_tokens(project.tokens) as tokens:
        written = generate.generate_descriptions(align, ids, tokens, params, backbone=backbone)
    write_descriptions(project.data / variants.FILES["crossfit"], written)
    return written
