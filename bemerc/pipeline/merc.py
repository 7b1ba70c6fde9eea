"""Conversation and behavior -> label, stage 2, one variant of inputs; starts from align; dev picks the epoch.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/align/, the descriptions that the variant reads (section
``variants``); a variant that reads words alone needs the manifest and the backbone, no more.  out: models/merc/VARIANT/
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bemerc.behavior.describe.references import GENERAL
from bemerc.behavior.tokens import file, words_alone
from bemerc.core.jsonfile import read_json
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictSet, must_fit, read_conflict_set
from bemerc.corpus.manifest import Manifest, read_manifest
from bemerc.language.inputs import prompts, variants
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop, merc
from bemerc.pipeline.project import Project


def run(project: Project, variant: str, tensorboard: Path | None = None) -> loop.Epoch:
    """Train ``variant`` and save its best epoch, which is returned. ``tensorboard``: a folder for its events."""
    inputs = variants.named(variants.read(project.params), variant)
    shape, model_params = project.load("prompt", prompts.Params), project.load("model", behavior_model.Params)
    params, start, out = project.load("merc", merc.Params), project.align, project.merc(variant)
    manifest = read_manifest(project.manifest_file)
    references = _references(project, manifest, inputs)
    with words_alone.open_if_read(project.tokens, manifest, file.Params().k, inputs.modalities) as tokens:
        align.check_inputs(manifest, tokens, references)
        described = variants.read_described(inputs, project.data, manifest)
        given = (variant, manifest, tokens, references, start, shape, model_params, params, out, tensorboard)
        best = merc.run(*given, inputs, described, _conflicts(project, manifest, params))
    if "crossfit" in inputs.sources:
        merc.keep_align_model(start, out)
    return best


def _conflicts(project: Project, manifest: Manifest, params: merc.Params) -> ConflictSet | None:
    """The conflict items, where training is to learn from them. StaleError where they are another manifest's."""
    if not params.conflict.reads_items:
        return None
    conflicts = read_conflict_set(project.conflict_items)
    must_fit(conflicts, manifest, project.conflict_items, "train")
    return conflicts


def _references(project: Project, manifest: Manifest, inputs: variants.Variant) -> Any:
    """What is usual in train, for the model's folder; general values where nothing was described and nothing is read of it."""
    if project.references.exists() or inputs.modalities or inputs.described:
        return read_json(project.references)
    return json.loads(replace(GENERAL, fitted=provenance.fitted(manifest)).to_json())
