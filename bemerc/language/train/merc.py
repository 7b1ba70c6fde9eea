"""Merc, stage 2: the model learns to name the emotion of an utterance from the conversation and the speaker's behavior.

A variant is a choice of inputs (variant.py): T words, TV and voice, TB and face and body, TVB all, and what else
params.yaml defines. Variants with behavior start from align; T has no behavior to be aligned with and starts from the
backbone, so that the ladder compares what is read, not what was rehearsed. Dev picks the epoch by the log-probability of
its labels; the test split is not looked at here.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import ModelError
from bemerc.corpus import provenance
from bemerc.corpus.conflict import ConflictSet
from bemerc.corpus.manifest import Manifest, Split
from bemerc.language.inputs import encoding, packing, variants
from bemerc.language.inputs import prompts as prompt
from bemerc.language.inputs.variants import Described, Variant
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import modality_gate, score_labels, temperature
from bemerc.language.train import conflict_items, fit_gate, loop, modality_weights
from bemerc.language.train.align import alone, metadata_of


@dataclass(frozen=True)
class Params(loop.Params):
    """params.yaml: merc.

    conflict  what is learned from conflict items (conflict_items.py); nothing by default
    """

    epochs: int = 6
    batch: int = 16
    adapter_lr: float = 6.0e-3
    conflict: conflict_items.Params = field(default_factory=conflict_items.Params)


def run(
    name: str,
    manifest: Manifest,
    tokens: TokenFile,
    references: Any,
    start: Path | None,
    shape: prompt.Params,
    model_params: behavior_model.Params,
    params: loop.Params,
    out: Path,
    board: Path | None = None,
    inputs: Variant | None = None,
    described: Described = variants.NOBODY,
    conflicts: ConflictSet | None = None,
) -> loop.Epoch:
    """Train the variant ``name`` on train's labels from the align model ``start`` (None: from the backbone); save folder ``out``.

    board      a folder for TensorBoard
    inputs     what the name stands for; None: one of T, TV, TB, TVB
    described  descriptions by source, where the variant reads any
    conflicts  the conflict items, where ``params.conflict`` asks for them

    Raises ModelError where the variant is unknown or asks for what is not there, ``start`` does not fit, or train or dev
    has no labels.
    """
    inputs = inputs or variants.named(variants.LADDER, name)
    variants.must_have_columns(name, inputs, tokens.columns, tokens.path)
    variants.must_be_described(name, inputs, described, manifest, ("train", "dev", "test"))
    modalities = inputs.modalities
    start = start if inputs.align else None
    _must_have_labels(manifest)
    widths = {m: tokens.widths[m] for m in modalities}
    if start is not None:
        _must_begin_here(start, name, tokens, manifest)
    with loop.seeded(params.seed):
        learner = model_folder.build(model_params, widths, tokens.k, start)
    read = tokens.without(inputs.hidden(tokens.columns))
    encoder = score_labels.encoder_for(learner, shape, params.max_length)
    encoder.check_labels_distinct(manifest.labels, prompt.label_target)
    sentences = variants.sentences(inputs, described, [u.id for u in manifest.utterances])
    splits: tuple[Split, ...] = ("train", "dev")
    questions = {
        s: score_labels.prompts(manifest, (s,), manifest.labels, modalities, shape, inputs.behavior_of, sentences)
        for s in splits
    }
    dev_sums = _dev_sums(manifest, read, questions["dev"], encoder, params)
    score = _dev_scorer(manifest, dev_sums)
    taught = [one for one, _ in questions["train"] if one.target]
    weight_of: dict[str, float] = {}
    if conflicts is not None and isinstance(params, Params):
        weight_of = conflict_items.weights(conflicts, [one.id for one in taught], params.conflict.consistency)
        if {"face", "audio"} <= set(modalities):  # one side alone has nothing to be at odds with
            items = conflict_items.drawn(conflicts, len(taught), params.conflict)
            asked = (manifest, manifest.labels, modalities, shape, inputs.behavior_of, sentences)
            taught = conflict_items.prompts_with(taught, items, *asked)
    examples = [replace(encoder.encode(one), weight=weight_of.get(one.id, 1.0)) for one in taught]
    trees = packing.pack_trees(examples, params.row_tokens)
    sections = {"model": model_params.stored(), "prompt": asdict(shape), "merc": asdict(params)}
    sections |= {"variant": asdict(inputs)}
    between = modality_weights.updater(model_params, trees, read)
    with alone(out):
        fitted = loop.fit(learner, trees, read, score, params, out, f"merc {name}", board, between)
        if model_params.head == "modality_gate" and modalities:
            gate, numbers = fit_gate.fit(manifest, read, modalities, dev_sums(learner.eval()))
            learner.beside = [partial(modality_gate.write, gate)]
            fitted = replace(fitted, best=replace(fitted.best, dev={**fitted.best.dev, **numbers}))
        loop.save(
            learner,
            out,
            fitted,
            lambda epoch: metadata_of("merc", name, learner, manifest, tokens, references, sections, epoch),
        )
    return fitted.best


def keep_align_model(align_folder: Path, out: Path) -> None:
    """Put the align model beside the variant that reads its descriptions: a model folder needs no other."""
    if not loop.leads():
        return
    shutil.copytree(
        align_folder, out / variants.CROSSFIT, ignore=shutil.ignore_patterns("last", "*.csv"), dirs_exist_ok=True
    )


def _must_begin_here(start: Path, name: str, tokens: TokenFile, manifest: Manifest) -> None:
    """ModelError where ``start`` is no align model, or one of other tokens; StaleError where it learned from other splits."""
    if not (start / behavior_model.METADATA).is_file():
        raise ModelError(
            f"merc {name} starts from an align model, and there is none here. Run `bemerc train --stage 1` first"
            ", or train a variant that has align: false.",
            path=start,
        )
    metadata = behavior_model.read_metadata(start)
    if metadata.task != "align":
        raise ModelError(
            f"merc starts from an align model, this one was trained for {metadata.task}.",
            path=start,
            name=metadata.task,
        )
    model_folder.check_tokens(metadata, tokens.k, tokens.columns, start)
    provenance.must_match(start, metadata.data.get("fitted"), provenance.fitted(manifest), "bemerc train --stage 1")


def _must_have_labels(manifest: Manifest) -> None:
    for split in ("train", "dev"):
        labels = {u.label for u in manifest.utterances if u.split == split and u.label is not None}
        if not labels:
            raise ModelError(
                f"merc: {split} has no labelled utterance. See `bemerc corpus check`, then prepare again.", name=split
            )
    lacking = [label for label in manifest.labels if label not in {u.label for u in manifest.by_split("train")}]
    if lacking:
        raise ModelError(
            f"merc: train has no utterance with the label {', '.join(lacking)}, so it could never be learned. "
            "Leave it out of the label set: prepare.table.labels for a table of one's own, prepare.labels and prepare.label_map for "
            "the known corpora. `bemerc corpus check` names the key.",
            name=lacking[0],
        )


DevSums = Callable[[behavior_model.BehaviorModel], dict[str, NDArray[np.float64]]]


def _dev_sums(
    manifest: Manifest,
    tokens: TokenFile,
    prompts: Sequence[tuple[prompt.Prompt, tuple[str, ...]]],
    encoder: encoding.Encoder,
    params: loop.Params,
) -> DevSums:
    """A model -> its label scores on dev's labelled utterances."""
    labelled = {u.id for u in manifest.by_split("dev") if u.label is not None}
    asked = [one for one in prompts if one[0].id in labelled]
    how = score_labels.Params(batch=max(params.batch, 48), row_tokens=params.row_tokens and 2 * params.row_tokens)
    return lambda of: score_labels.score_labels(of, encoder, asked, tokens, how, quiet=True)


def _dev_scorer(manifest: Manifest, dev_sums: DevSums) -> Callable[[behavior_model.BehaviorModel], loop.Score]:
    """The log-probability of dev's right labels decides, each epoch at its own temperature.

    F1 is what will be reported, but over the hundred utterances of a small dev split it jumps by several points from epoch
    to epoch and may pick one that has hardly begun; a log-probability uses how sure every answer was. The temperature is
    taken out, so that being too sure, which no answer shows, does not end a training that still learns.
    """
    labels = manifest.labels
    gold = {u.id: labels.index(u.label) for u in manifest.by_split("dev") if u.label is not None}

    def score(of: behavior_model.BehaviorModel) -> loop.Score:
        sums = dev_sums(of)
        return judged(np.stack([sums[id] for id in gold]), np.array(list(gold.values())))

    return score


def judged(sums: NDArray[np.float64], right: NDArray[np.int64]) -> loop.Score:
    """sums (N, C) label log-probabilities, right (N,) codes -> dev's score; NaN, with no numbers, where a sum is no number."""
    if not np.isfinite(sums).all():
        return loop.Score(math.nan, {})
    logs = temperature.scaled(sums, 1.0)
    named, cooled = logs.argmax(axis=1), temperature.fit(logs, right)
    loss = temperature.loss(logs, right, cooled)
    return loop.Score(
        -loss,
        {
            "weighted_f1": weighted_f1(right, named),
            "accuracy": float((named == right).mean()),
            "loss": temperature.loss(logs, right, 1.0),
            "temperature": cooled,
            "loss_at_temperature": loss,
        },
    )


def weighted_f1(gold: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """F1 of each class, weighted by its frequency in ``gold``; a class that is never predicted has F1 0.

    ``evaluate``, which may not be imported here, has it with intervals; a test holds both to scikit-learn's.
    """
    total = 0.0
    for label in np.unique(gold):
        actual, named = gold == label, predicted == label
        total += actual.sum() * 2 * (actual & named).sum() / (actual.sum() + named.sum())
    return float(total / len(gold))
