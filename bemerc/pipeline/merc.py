"""Conversation and behavior -> label, stage 2, one variant of inputs; starts from align; dev picks the epoch.

in: data/manifest.jsonl, data/tokens.h5, the backbone, models/align/, the descriptions that the variant reads (section
``variants``).  out: models/merc/VARIANT/
"""

from __future__ import annotations

from pathlib import Path

from bemerc.behavior.tokens import file
from bemerc.core.jsonfile import read_json
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import prompts, variants
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop, merc
from bemerc.pipeline.project import Project


def run(project: Project, variant: str, tensorboard: Path | None = None) -> loop.Epoch:
    """Train ``variant`` and save its best epoch, which is returned. ``tensorboard``: a folder for its events."""
    inputs = variants.named(variants.read(project.params), variant)
    shape, model_params = project.load("prompt", prompts.Params), project.load("model", behavior_model.Params)
    params, start, out = project.load("merc", merc.Params), project.align, project.merc(variant)
    manifest, references = read_manifest(project.manifest_file), read_json(project.references)
    with file.open_tokens(project.tokens) as tokens:
        align.check_inputs(manifest, tokens, references)
        described = variants.read_described(inputs, project.data, manifest)
        given = (variant, manifest, tokens, references, start, shape, model_params, params, out, tensorboard)
        best = merc.run(*given, inputs, described)
    if "crossfit" in inputs.sources:
        merc.keep_align_model(start, out)
    return best
