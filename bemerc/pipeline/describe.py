"""Frame caches -> facial expression, body language, posture and voice of every utterance, in plain English, by rules;
and by a vision-language model as well, where describe.teacher names one.

in: data/manifest.jsonl, data/cache/*.h5, for a teacher the clips.  out: data/descriptions.jsonl, data/events.jsonl
(micro-expressions, blinks and shut eyes), data/references.json (train's quantiles), data/teacher.jsonl (empty without a
teacher) and data/teacher_dropped.json (utterances without a usable answer, and why).
A teacher's answers are kept in data/store, which is no output of DVC's: interrupted work goes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.behavior.describe import description, listener_descriptions, rules
from bemerc.behavior.describe import run as describer
from bemerc.cache import Kind
from bemerc.core import atomic
from bemerc.corpus.manifest import MODALITIES, Manifest, read_manifest
from bemerc.language.inputs import variants
from bemerc.pipeline.project import Project

if TYPE_CHECKING:
    from bemerc.language.teacher.vlm import Taught


def run(project: Project) -> Taught | None:
    """Describe every utterance; returns what the teacher answered, None without a teacher."""
    caches: dict[Kind, Path | None] = {modality: project.cache_dir / f"{modality}.h5" for modality in MODALITIES}
    params, manifest = project.load("describe", rules.Params), read_manifest(project.manifest_file)
    out = project.data / variants.FILES["rules"]
    references = describer.run(manifest, caches, out, params)
    listener_descriptions.add(manifest, caches, out, references, params)
    atomic.write_text(project.references, references.to_json() + "\n", atomic.PUBLIC)
    if params.teacher is None:
        description.write_descriptions(project.data / variants.FILES["teacher"], {})
        return None
    return ask(project, manifest, params.teacher)


def ask(project: Project, manifest: Manifest, model: str, *, tolerant: bool = False) -> Taught:
    """Have the vision-language ``model`` describe the clips; its sentences lie beside the rules', which say what it
    cannot hear.

    tolerant  any number of answers may be unusable; else ``teacher.max_dropped_share`` of them
    """
    from bemerc.language.teacher import vlm  # without a teacher nothing of it is needed

    params = project.load("teacher", vlm.Params)
    if tolerant:
        params = replace(params, max_dropped_share=1.0)
    ruled = description.read_descriptions(project.data / variants.FILES["rules"])
    voices = {id_: one.voice for id_, one in ruled.items()}
    answers = vlm.run(manifest, model, params, project.store_dir / "teacher", voices)
    vlm.write(answers, project.data)
    return answers
