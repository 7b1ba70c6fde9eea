"""The learned gate on modality logits: label scores plus what each modality says by itself, weighed utterance by utterance.

    log p(label) ~ s log f(label) + sum_m a_m u_m(label)

f is the language model's. u_m is the evidence of one modality: log-probability minus log prior of a linear classifier of the
utterance's mean token and its spread, so that a modality which says nothing adds nothing. a_m >= 0 is the gate, which sees how
sure the modality and the language model are. The published rival of adapters that know modalities apart is a gate like this; where
it is trained and on what is ours (train/fit_gate.py). An utterance without behavior of a modality gets nothing from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import Modality
from bemerc.language.inputs.batching import behavior_of
from bemerc.language.inputs.prompts import Placeholder, Prompt
from bemerc.language.predict.temperature import scaled

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.model.metadata import ModelMetadata

GATE = "modality_gate.safetensors"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Classifier:
    """Labels of one modality alone. weight (C, 2 D'), bias (C,); mean and spread (2 D',) of the features on train."""

    weight: Floats
    bias: Floats
    mean: Floats
    spread: Floats

    def log_probs(self, features: Floats) -> Floats:
        """features (N, 2 D') -> (N, C)."""
        return scaled((features - self.mean) / self.spread @ self.weight.T + self.bias, 1.0)


@dataclass(frozen=True)
class ModalityGate:
    """classifiers by modality; prior (C,) log shares of the labels on train; gate (M, 3): constant, and how much the modality's and
    the language model's sureness count; log_scale (1,) of the language model's scores."""

    classifiers: Mapping[Modality, Classifier]
    prior: Floats
    gate: Floats
    log_scale: Floats

    def combined(
        self, asked: Sequence[tuple[Prompt, tuple[str, ...]]], sums: Mapping[str, Floats], tokens: TokenFile
    ) -> dict[str, Floats]:
        """Utterance id -> (C,) label scores of the language model -> log-probabilities with what each modality says."""
        ids = list(sums)
        placeholders = {one.id: behavior_in(one) for one, _ in asked}
        scores = scaled(np.stack([sums[id] for id in ids]), 1.0)
        evidence = [
            self.evidence(modality, [placeholders[id].get(modality) for id in ids], tokens)
            for modality in self.classifiers
        ]
        return dict(zip(ids, mixed(scores, evidence, self.gate, self.log_scale), strict=True))

    def evidence(self, modality: Modality, placeholders: Sequence[Placeholder | None], tokens: TokenFile) -> Floats:
        """(N, C) of one modality; 0 where an utterance has no behavior of it."""
        features, present = features_of(modality, placeholders, tokens)
        return (self.classifiers[modality].log_probs(features) - self.prior) * present[:, None]


def behavior_in(prompt: Prompt) -> dict[Modality, Placeholder]:
    """Modality -> the speaker's behavior that stands in the question, where it is not hidden."""
    placeholders = [p for p in prompt.branch if isinstance(p, Placeholder) and not p.brief and not p.hidden]
    return {p.modality: p for p in reversed(placeholders)}  # the listener's comes after it


def features_of(
    modality: Modality, placeholders: Sequence[Placeholder | None], tokens: TokenFile
) -> tuple[Floats, NDArray[np.bool_]]:
    """(N, 2 D') mean and spread of an utterance's tokens, (N,) whether it has any."""
    rows, present = [], []
    for placeholder in placeholders:
        read = behavior_of(placeholder, tokens) if placeholder is not None else None
        there = read.values[read.mask].astype(np.float64) if read is not None else np.empty((0, 0))
        present.append(len(there) > 0)
        width = len(tokens.columns[modality])
        rows.append(np.concatenate([there.mean(0), there.std(0)]) if len(there) else np.zeros(2 * width))
    return np.stack(rows), np.array(present)


def mixed(scores: Floats, evidence: Sequence[Floats], gate: Floats, log_scale: Floats) -> Floats:
    """scores (N, C) log-probabilities, evidence per modality (N, C), gate (M, 3) -> (N, C) log-probabilities."""
    total = np.exp(log_scale) * scores
    for one, weights in zip(evidence, gate, strict=True):
        total = total + np.logaddexp(0, sureness(scores, one) @ weights)[:, None] * one
    return scaled(total, 1.0)


def sureness(scores: Floats, evidence: Floats) -> Floats:
    """(N, 3): one, how far a modality's evidence spreads over the labels, and the language model's entropy as a share of the most."""
    entropy = -(np.exp(scores) * scores).sum(1) / np.log(max(scores.shape[1], 2))
    return np.stack([np.ones(len(scores)), evidence.std(1), entropy], axis=1)


def write(made: ModalityGate, folder: Path) -> None:
    """modality_gate.safetensors in a model folder."""
    arrays = {"prior": made.prior, "gate": made.gate, "log_scale": made.log_scale}
    for modality, classifier in made.classifiers.items():
        arrays |= {f"{modality}.{name}": value for name, value in vars(classifier).items()}
    save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / GATE)


def read(folder: Path, metadata: ModelMetadata) -> ModalityGate | None:
    """The gate of a model folder; None where the model has none. ModelError where it is not there or does not fit."""
    named = metadata.task == "merc" and metadata.params["model"].get("head", "none") != "none"
    if not named or not metadata.modalities:
        return None
    path, labels = folder / GATE, len(metadata.labels)
    shapes: dict[str, tuple[int, ...]] = {"prior": (labels,), "gate": (len(metadata.modalities), 3), "log_scale": (1,)}
    for modality in metadata.modalities:
        width = 2 * len(metadata.columns[modality])
        own = {"weight": (labels, width), "bias": (labels,), "mean": (width,), "spread": (width,)}
        shapes |= {f"{modality}.{name}": shape for name, shape in own.items()}
    if not path.is_file():
        raise ModelError(
            "the gate on modality logits that metadata.json names is not there. Train it again.",
            path=path,
            missing=True,
        )
    try:
        arrays = load_file(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"this is no safetensors file ({error}). Train it again.", path=path) from None
    for name, shape in shapes.items():
        value = arrays.get(name)
        if value is None or value.shape != shape or value.dtype != np.float64 or not np.isfinite(value).all():
            raise ModelError(f"{name} is missing, of another shape or no numbers. Train it again.", path=path)
    if any((arrays[f"{modality}.spread"] <= 0).any() for modality in metadata.modalities):
        raise ModelError("a spread is not above 0. Train it again.", path=path)
    classifiers = {
        m: Classifier(*(arrays[f"{m}.{name}"] for name in ("weight", "bias", "mean", "spread")))
        for m in metadata.modalities
    }
    return ModalityGate(classifiers, arrays["prior"], arrays["gate"], arrays["log_scale"])
