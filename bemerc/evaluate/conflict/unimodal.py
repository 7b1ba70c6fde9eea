"""Predictors of the emotion from one side alone: face and body, voice, or words.

Each is a multinomial regression on what evaluate/baselines.py pools. Train is predicted by folds of whole dialogues, dev
and test by a regression on all of train, so nobody is predicted by a regression that learned from them. How tokens are
pooled, how strongly it is regularised, and the temperature that makes its probabilities calibrated are picked by the
predictions of the folds; dev is used for one thing only: whether the predictor is better than chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import BemercError, CorpusError
from bemerc.corpus.manifest import Manifest, Modality
from bemerc.evaluate import baselines, metrics
from bemerc.language.inputs import prompts
from bemerc.language.predict import temperature

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.bool_]
Side = Literal["text", "voice", "face"]
INPUTS: Mapping[Side, tuple[baselines.Input, ...]] = {"text": ("words",), "voice": ("audio",), "face": ("face", "pose")}
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Measurements further from train's mean are taken for so many deviations: a column that hardly moves in train may lie a
# thousand away in another utterance, and would outvote all others there.
FURTHEST = 4.0
# Whether a predictor is better than chance: answers of dev dealt out anew so many times, and the p that is asked.
PERMUTATIONS, SIGNIFICANCE = 2000, 0.05
_TINY = 1e-12


class ChanceError(BemercError):
    """A predictor of one side is no better than chance, so that no conflict can be read off it.

    side      face or voice
    accuracy  balanced accuracy on dev
    chance    the mean of the same when its answers are dealt out at random
    p_value   the share of such deals that are as good
    """

    def __init__(self, side: Side, accuracy: float, chance: float, p_value: float) -> None:
        super().__init__(
            f"The {side} alone predicts no emotion here: balanced accuracy {accuracy:.3f} on dev, {chance:.3f} by chance "
            f"(p = {p_value:.2g}, below {SIGNIFICANCE} is asked). Conflicts cannot be built by such a predictor. Use a corpus "
            "with labels per modality (label_face and label_voice), or look at what was measured: bemerc cache info."
        )
        self.side, self.accuracy, self.chance, self.p_value = side, accuracy, chance, p_value


class MissingSideError(CorpusError):
    """Not one utterance has the tokens of a side. ``side``: face or voice."""

    def __init__(self, side: Side, tokens: Path) -> None:
        super().__init__(
            f"nothing of the {side} was measured in any utterance, so that nothing can contradict it. Conflict items need clips "
            "with picture and sound: run 'bemerc extract', then 'bemerc tokens'.",
            path=tokens,
        )
        self.side = side


@dataclass(frozen=True)
class Predictor:
    """What one side says of every utterance.

    features       how its inputs are given to the regression
    strength       scikit-learn's C
    temperature    fitted on the predictions of the folds
    accuracy, chance, p_value  on dev, as in ChanceError
    probabilities  (N, C) calibrated, for the manifest's utterances in its order
    """

    side: Side
    features: str
    strength: float
    temperature: float
    accuracy: float
    chance: float
    p_value: float
    probabilities: Floats

    def summary(self) -> dict[str, Any]:
        """All but the probabilities, for a report."""
        keys = ("features", "strength", "temperature", "accuracy", "chance", "p_value")
        return {key: getattr(self, key) for key in keys}

    def must_beat_chance(self) -> None:
        """Raise ChanceError unless it does."""
        if self.p_value > SIGNIFICANCE:
            raise ChanceError(self.side, self.accuracy, self.chance, self.p_value)


def measured(manifest: Manifest, tokens: TokenFile, side: Side) -> Rows:
    """(N,) whether anything of this side was measured; of words, whether there are any."""
    if side == "text":
        return np.array([bool(u.text.strip()) for u in manifest.utterances])
    modalities: list[Modality] = [m for m in ("face", "pose", "audio") if m in INPUTS[side] and m in tokens.widths]
    return np.array(
        [u.id in tokens and any(tokens[u.id][m].mask.any() for m in modalities) for u in manifest.utterances],
        dtype=np.bool_,
    )


def targets(manifest: Manifest, side: Side) -> Ints:
    """(N,) what the side is to predict: its own label where people gave one, else that of the whole; -1 = neither."""
    code: dict[str | None, int] = {label: i for i, label in enumerate(manifest.labels)}
    own = (getattr(u, f"label_{side}") or u.label for u in manifest.utterances)
    return np.array([code.get(label, -1) for label in own], dtype=np.int64)


def fit(manifest: Manifest, tokens: TokenFile, side: Side, folds: int) -> Predictor:
    """Fit the predictor of one side.

    Raises CorpusError where train has too few dialogues or labels, or dev no labelled utterance.
    """
    gold, present = targets(manifest, side), measured(manifest, tokens, side)
    split = np.array([u.split for u in manifest.utterances])
    train, dev = ((split == name) & present & (gold >= 0) for name in ("train", "dev"))
    if not dev.any():
        raise CorpusError(f"dev has no labelled utterance whose {side} was measured. Run 'bemerc corpus check'.")
    parts = _parts(manifest, train, gold, folds, side)
    ways = baselines.options(manifest, tokens, INPUTS[side], prompts.Params())
    classes = len(manifest.labels)
    crossed = min(
        (_crossed(n, _matrix(ways[n], train), parts, train, gold, classes) for n in ways), key=lambda c: c.loss
    )
    rest = _predicted(_matrix(ways[crossed.features], train), crossed.strength, train, gold, classes)
    logs = np.where(train[:, None], crossed.logs, np.log(np.maximum(rest, _TINY)))
    probabilities = np.exp(temperature.scaled(logs, crossed.temperature))
    accuracy, chance, p_value = against_chance(gold[dev], probabilities[dev].argmax(1), classes)
    return Predictor(
        side, crossed.features, crossed.strength, crossed.temperature, accuracy, chance, p_value, probabilities
    )


def against_chance(gold: Ints, answers: Ints, classes: int) -> tuple[float, float, float]:
    """Balanced accuracy, its mean when the answers are dealt out at random, and the share of deals that are as good.

    gold, answers (N,) codes. A permutation test, seeded; its p is never below 1 / (PERMUTATIONS + 1).
    """

    def balanced(given: Ints) -> float:
        counts = metrics.confusion(gold, given, classes)
        return float(metrics.recall(counts)[metrics.support(counts) > 0].mean())

    rng = np.random.default_rng(0)
    own = balanced(answers)
    dealt = np.array([balanced(rng.permutation(answers)) for _ in range(PERMUTATIONS)])
    return own, float(dealt.mean()), float((1 + (dealt >= own - _TINY).sum()) / (1 + PERMUTATIONS))


@dataclass(frozen=True)
class _Crossed:
    """One way's predictions of train by folds: log-probabilities (N, C), and their loss at their temperature."""

    features: str
    strength: float
    temperature: float
    loss: float
    logs: Floats


def _parts(manifest: Manifest, train: Rows, gold: Ints, folds: int, side: Side) -> list[Rows]:
    """Train's rows of each fold: whole dialogues, dealt out in turn by sorted name."""
    dialogues = [u.dialogue for u in manifest.utterances]
    names = sorted({name for name, mine in zip(dialogues, train, strict=True) if mine})
    if len(names) < folds:
        raise CorpusError(
            f"train has {len(names)} dialogues with labels and a measured {side}, and conflict.folds is {folds}. Lower it, or "
            "use a larger corpus."
        )
    number = {name: i % folds for i, name in enumerate(names)}
    fold_of = np.array([number.get(name, -1) for name in dialogues])
    parts = [train & (fold_of == i) for i in range(folds)]
    if any(len(set(gold[train & ~part])) < 2 for part in parts):
        raise CorpusError("Without one of its folds train has fewer than two labels. Run 'bemerc corpus check'.")
    return parts


def _matrix(blocks: baselines.Blocks, train: Rows) -> Any:
    """(N, D), scaled by train without its labels."""
    matrix = baselines.design_matrix(blocks, train)
    return matrix.clip(-FURTHEST, FURTHEST) if isinstance(matrix, np.ndarray) else matrix


def _crossed(name: str, matrix: Any, parts: Sequence[Rows], train: Rows, gold: Ints, classes: int) -> _Crossed:
    """The regularisation with the smallest loss on the folds, from the strongest on until the loss grows."""
    best: _Crossed | None = None
    for strength in STRENGTHS:
        scores = np.zeros((len(gold), classes))
        for part in parts:
            scores[part] = _predicted(matrix, strength, train & ~part, gold, classes)[part]
        logs = np.log(np.maximum(scores, _TINY))
        degree = temperature.fit(logs[train], gold[train])
        loss = temperature.loss(logs[train], gold[train], degree)
        if best is not None and loss > best.loss:
            break
        best = _Crossed(name, strength, degree, loss, logs)
    assert best is not None
    assert math.isfinite(best.loss)
    return best


def _predicted(matrix: Any, strength: float, train: Rows, gold: Ints, classes: int) -> Floats:
    """(N, C) probabilities of all rows by a regression on the rows ``train``; 0 for labels that those lack."""
    model = LogisticRegression(C=strength, max_iter=10_000).fit(matrix[train], gold[train])
    scores = np.zeros((len(gold), classes))
    scores[:, model.classes_] = model.predict_proba(matrix)
    return scores
