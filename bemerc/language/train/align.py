"""Align, stage 1: the model learns to say what the behavior is, from behavior tokens alone.

One question per slot (facial expression, body language, posture, voice), without the words that were said: they could
give the description away. Idea and name of the stage are BeMERC's; the questions are ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from bemerc.behavior.describe.description import Description
from bemerc.behavior.tokens.file import TokenFile
from bemerc.core import locking
from bemerc.core.errors import ModelError
from bemerc.corpus import provenance
from bemerc.corpus.manifest import MODALITIES, SPLITS, Manifest, Modality, Split
from bemerc.language.inputs import batching, encoding, packing
from bemerc.language.inputs import prompts as prompt
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.train import loop


def run(
    manifest: Manifest,
    tokens: TokenFile,
    descriptions: Mapping[str, Description],
    references: Any,
    model_params: behavior_model.Params,
    params: loop.Params,
    out: Path,
    board: Path | None = None,
) -> loop.Epoch:
    """Train on train's descriptions, pick the epoch on dev's, save the model folder ``out``; ``board``: for TensorBoard."""
    widths = {m: width for m, width in tokens.widths.items() if width}
    with loop.seeded(params.seed):
        learner = model_folder.build(model_params, widths, tokens.k)
    encoder = score_labels.encoder_for(learner, prompt.Params(), params.max_length)
    splits: tuple[Split, ...] = ("train", "dev")
    trees = {s: _trees(manifest, s, descriptions, encoder, params, tuple(widths)) for s in splits}
    for split, own in trees.items():
        if not manifest.by_split(split):
            raise ModelError(
                f"align: {split} has no utterance. See `bemerc corpus check`, then prepare again.",
                name=split,
                missing=True,
            )
        if not own:
            raise ModelError(
                f"align: {split} has no utterance with a description. Run 'bemerc describe data/manifest.jsonl' again.",
                name=split,
            )

    def score(of: behavior_model.BehaviorModel) -> loop.Score:
        loss = _loss(of, trees["dev"], tokens, params.batch)
        return loop.Score(-loss, {"loss": loss})

    sections = {"model": model_params.stored(), "prompt": asdict(prompt.Params()), "align": asdict(params)}
    with alone(out):
        fitted = loop.fit(learner, trees["train"], tokens, score, params, out, "align", board)
        loop.save(
            learner,
            out,
            fitted,
            lambda epoch: metadata_of("align", "TVB", learner, manifest, tokens, references, sections, epoch),
        )
    return fitted.best


def alone(out: Path) -> AbstractContextManager[None]:
    """While a model is trained into ``out``: LockedError where another process does. Of several processes of one training the
    first one holds the lock."""
    return locking.held(out) if loop.leads() else nullcontext()


def check_inputs(manifest: Manifest, tokens: TokenFile, references: Any) -> None:
    """StaleError where tokens or references (references.json's value) were fitted on another train or dev than the
    manifest's: files of an earlier choice of splits may have seen what is now the test split."""
    wanted = provenance.fitted(manifest)
    provenance.must_match(tokens.path, tokens.calibration.fitted, wanted, "bemerc tokens")
    of = references.get("fitted") if isinstance(references, Mapping) else ""
    provenance.must_match("references.json", of, wanted, "bemerc describe data/manifest.jsonl")


def metadata_of(
    task: Literal["align", "merc"],
    variant: str,
    learner: behavior_model.BehaviorModel,
    manifest: Manifest,
    tokens: TokenFile,
    references: Any,
    sections: Mapping[str, Any],
    epoch: loop.Epoch,
) -> behavior_model.ModelMetadata:
    """What a trained model says of itself; ``sections`` are the params that made it."""
    modalities = tuple(m for m in MODALITIES if m in learner.projectors)
    return behavior_model.ModelMetadata(
        task=task,
        variant=variant,
        modalities=modalities,
        labels=manifest.labels,
        corpora=manifest.corpora,
        backbone=learner.params.name_or_path,
        fingerprint=learner.backbone,
        k=tokens.k,
        columns={m: tuple(tokens.columns[m]) for m in modalities},
        tokens={"params": tokens.params, "calibration": tokens.calibration.to_json()},
        references=references,
        params=sections,
        dev=epoch.dev,
        data=counted(manifest),
        trained=learner.trained_counts(),
    )


def counted(manifest: Manifest) -> dict[str, Any]:
    """The manifest's fingerprint (who said what, where, under which label), those of what is learned from
    (corpus.provenance), and counts per split."""
    digest = hashlib.sha256()
    for one in manifest.utterances:
        fields = [one.id, one.dialogue, one.index, one.speaker, one.text, one.label, one.split]
        digest.update(json.dumps(fields, ensure_ascii=False).encode())
    return {
        "manifest": digest.hexdigest()[:32],
        "fitted": provenance.fitted(manifest),
        "learned": provenance.learned(manifest),
        "splits": {
            split: {
                "utterances": len(own := manifest.by_split(split)),
                "dialogues": len({one.dialogue for one in own}),
                "speakers": len({one.speaker for one in own if one.speaker}),
                "labels": {label: sum(one.label == label for one in own) for label in manifest.labels},
            }
            for split in SPLITS
        },
    }


def prompts(
    manifest: Manifest, split: Split, descriptions: Mapping[str, Description], modalities: Sequence[Modality]
) -> list[prompt.Prompt]:
    """A question per slot of every described utterance of the split, utterance by utterance."""
    return [
        one
        for utterance in manifest.by_split(split)
        if utterance.id in descriptions
        for one in prompt.align_prompts(utterance.id, asdict(descriptions[utterance.id]), modalities)
    ]


def _trees(
    manifest: Manifest,
    split: Split,
    descriptions: Mapping[str, Description],
    encoder: encoding.Encoder,
    params: loop.Params,
    modalities: tuple[Modality, ...],
) -> list[packing.Tree]:
    asked = prompts(manifest, split, descriptions, modalities)
    return packing.pack_trees([encoder.encode(one) for one in asked], params.row_tokens)


def _loss(of: behavior_model.BehaviorModel, trees: Sequence[packing.Tree], tokens: TokenFile, batch: int) -> float:
    """Mean loss per target token over the trees."""
    total = count = 0.0
    with torch.inference_mode():
        for group in batching.batches(trees, batch):
            parts = of.target_log_probs(batching.collate(group, tokens, of.length_multiple()))
            total -= float(parts.sum())
            count += len(parts)
    return total / count
