"""Fit the gate on modality logits, after merc, with the language model as it is.

Classifiers of single modalities learn from train. The gate learns from dev alone: on train the language model is surer than it
will ever be again, and a gate would learn never to look elsewhere. Its own numbers on dev are cross-fitted by dialogue. All
of it is convex or nearly so, small, and the same each time; test is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bemerc.behavior.tokens.file import TokenFile
from bemerc.corpus.manifest import Manifest, Modality, Utterance
from bemerc.language.inputs.prompts import Placeholder
from bemerc.language.predict import modality_gate
from bemerc.language.predict.modality_gate import Classifier, Floats, ModalityGate
from bemerc.language.predict.temperature import loss, scaled

FOLDS = 5
DECAYS = (1e-3, 1e-2, 1e-1)  # of the classifiers; which one, folds of train say
BIAS_DECAY = 1e-4
GATE_DECAY = 1e-2
CLOSED = -2.0  # softplus of it is .13: every gate begins nearly closed
Codes = NDArray[np.int64]


def fit(
    manifest: Manifest, tokens: TokenFile, modalities: Sequence[Modality], sums: Mapping[str, Floats]
) -> tuple[ModalityGate, dict[str, float]]:
    """The gate, and its numbers on dev, each dialogue by a gate that has not seen it.

    sums  id -> (C,) the language model's label scores on dev's labelled utterances
    """
    train, dev = ([u for u in manifest.by_split(split) if u.label is not None] for split in ("train", "dev"))
    right = _codes(train, manifest.labels)
    counts = np.bincount(right, minlength=len(manifest.labels))
    prior = np.log(counts / counts.sum())
    classifiers = {m: _classifier(m, train, right, tokens, len(prior)) for m in modalities}
    made = ModalityGate(classifiers, prior, np.zeros((len(modalities), 3)), np.zeros(1))
    dev = [u for u in dev if u.id in sums]
    scores, gold = scaled(np.stack([sums[u.id] for u in dev]), 1.0), _codes(dev, manifest.labels)
    evidence = [made.evidence(m, [Placeholder(m, u.id) for u in dev], tokens) for m in modalities]

    def gated(used: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        return _gate(scores[used], [one[used] for one in evidence], gold[used])

    held_out = np.zeros_like(scores)
    for fold in _folds(dev):
        if not fold.all():
            held_out[fold] = modality_gate.mixed(scores[fold], [one[fold] for one in evidence], *gated(~fold))
        else:
            held_out[fold] = scores[fold]
    gate, log_scale = gated(np.ones(len(dev), bool))
    numbers = {"head_loss": loss(held_out, gold, 1.0), "head_accuracy": float((held_out.argmax(1) == gold).mean())}
    return ModalityGate(classifiers, prior, gate, log_scale), numbers


def _codes(utterances: Sequence[Utterance], labels: Sequence[str]) -> Codes:
    return np.array([labels.index(u.label) for u in utterances if u.label is not None], np.int64)


def _folds(utterances: Sequence[Utterance]) -> list[NDArray[np.bool_]]:
    """Masks of up to FOLDS parts; a dialogue is never cut."""
    number = {dialogue: i % FOLDS for i, dialogue in enumerate(sorted({u.dialogue for u in utterances}))}
    of = np.array([number[u.dialogue] for u in utterances])
    return [of == fold for fold in sorted(set(of.tolist()))]


def _classifier(
    modality: Modality, train: Sequence[Utterance], right: Codes, tokens: TokenFile, labels: int
) -> Classifier:
    """Logistic regression on train's utterances that have the modality; the decay with the smallest loss on left-out folds."""
    features, present = modality_gate.features_of(modality, [Placeholder(modality, u.id) for u in train], tokens)
    if not present.any():
        width = features.shape[1]
        return Classifier(np.zeros((labels, width)), np.zeros(labels), np.zeros(width), np.ones(width))
    shown = [u for u, there in zip(train, present, strict=True) if there]
    features, right = features[present], right[present]
    folds = [fold for fold in _folds(shown) if not fold.all()]

    def left_out(decay: float) -> float:
        costs = 0.0
        for fold in folds:
            made = _regression(features[~fold], right[~fold], labels, decay)
            costs += loss(made.log_probs(features[fold]), right[fold], 1.0) * int(fold.sum())
        return costs

    return _regression(features, right, labels, min(DECAYS, key=left_out) if folds else DECAYS[-1])


def _regression(features: Floats, right: Codes, labels: int, decay: float) -> Classifier:
    mean, spread = features.mean(0), features.std(0)
    spread = np.where(spread > 1e-6, spread, 1.0)
    x, y = torch.from_numpy((features - mean) / spread), torch.from_numpy(right)
    weight, bias = torch.zeros(labels, x.shape[1], dtype=x.dtype), torch.zeros(labels, dtype=x.dtype)

    def cost() -> Tensor:
        # The bias too, a little: of a label that none of these utterances has it would fall without end.
        decays = decay * weight.pow(2).sum() + BIAS_DECAY * bias.pow(2).sum()
        return torch.nn.functional.cross_entropy(x @ weight.T + bias, y) + 0.5 * decays

    _minimised(cost, weight, bias)
    return Classifier(weight.detach().numpy(), bias.detach().numpy(), mean, spread)


def _gate(scores: Floats, evidence: Sequence[Floats], right: Codes) -> tuple[Floats, Floats]:
    """The gate (M, 3) and the scale of the language model's scores that name the right labels best."""
    sure = [torch.from_numpy(modality_gate.sureness(scores, one)) for one in evidence]
    own, each = torch.from_numpy(scores), [torch.from_numpy(one) for one in evidence]
    gate, log_scale = torch.zeros(len(each), 3, dtype=own.dtype), torch.zeros(1, dtype=own.dtype)
    gate[:, 0] = CLOSED
    start, y = gate.clone(), torch.from_numpy(right)

    def cost() -> Tensor:
        total = log_scale.exp() * own
        for one, how, weights in zip(each, sure, gate, strict=True):
            total = total + torch.nn.functional.softplus(how @ weights).unsqueeze(1) * one
        return torch.nn.functional.cross_entropy(total, y) + 0.5 * GATE_DECAY * (gate - start).pow(2).sum()

    _minimised(cost, gate, log_scale)
    return gate.detach().numpy(), log_scale.detach().numpy()


def _minimised(cost: Callable[[], Tensor], *weights: Tensor) -> None:
    """Set ``weights`` to where ``cost`` is smallest."""
    for weight in weights:
        weight.requires_grad_(True)
    solver = torch.optim.LBFGS(weights, max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-12)

    def step() -> Tensor:
        solver.zero_grad()
        value = cost()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(step)
