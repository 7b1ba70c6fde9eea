"""Train's words, the prompt's frame and the descriptions -> a tiny Llama and its tokenizer, an ordinary Hugging Face
folder.

Only the embedded default needs it: with ``model.name_or_path`` pointing at another causal LM, what this makes is not
read.

in: data/manifest.jsonl, data/descriptions.jsonl.  out: models/backbone/
"""

from __future__ import annotations

from bemerc.behavior.describe import description
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import prompts, variants
from bemerc.language.tiny_lm import model
from bemerc.pipeline.project import Project


def run(project: Project) -> float:
    """Train the tiny language model; returns its loss per token, in nats."""
    params, shape = project.load("backbone", model.Params), project.load("prompt", prompts.Params)
    descriptions = description.read_descriptions(project.data / variants.FILES["rules"])
    return model.run(read_manifest(project.manifest_file), descriptions, project.backbone, params, shape)
