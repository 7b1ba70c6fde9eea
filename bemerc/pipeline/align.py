"""Behavior tokens -> description, stage 1: the model learns to say what the behavior is.

in: data/manifest.jsonl, data/tokens.h5, data/descriptions.jsonl or data/teacher.jsonl (describe.source), the
backbone.  out: models/align/
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bemerc.behavior.describe import description, rules
from bemerc.behavior.tokens import file
from bemerc.core import atomic
from bemerc.core.jsonfile import read_json
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import variants
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop
from bemerc.pipeline.project import Project


def run(project: Project, tensorboard: Path | None = None) -> loop.Epoch | None:
    """Train the align model and save its best epoch, which is returned. ``tensorboard``: a folder for its events.

    None, and an empty folder, where the corpus is words alone: there is no behavior to be aligned with.
    """
    manifest, references = read_manifest(project.manifest_file), read_json(project.references)
    model_params, params = project.load("model", behavior_model.Params), project.load("align", loop.Params)
    source = project.load("describe", rules.Params).source
    with file.open_tokens(project.tokens) as tokens:
        align.check_inputs(manifest, tokens, references)
        if not any(tokens.widths.values()):
            _empty(project.align)
            return None
        descriptions = description.read_descriptions(project.data / variants.FILES[source])
        return align.run(manifest, tokens, descriptions, references, model_params, params, project.align, tensorboard)


def _empty(folder: Path) -> None:
    """An empty folder, also where a model of before lies: DVC wants one, and nothing may start from a stale model."""
    shutil.rmtree(folder, ignore_errors=True)
    with atomic.disk(folder, "cannot be made"):
        folder.mkdir(parents=True)
