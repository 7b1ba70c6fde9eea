"""MoSE's dynamic weights: what is visible and the voice are weighed against the one that dominates, once per epoch, on train.

How far a side helps is ``d = log p(y | text, side) - log p(y | text)``, and how one-sidedly it does, ``rho = sum d / sum |d|``,
between -1 and 1. The experts of the sides then weigh ``2 softmax(-rho / T)``: the side that has less to say so far is turned
up. Sums run over epochs, each counting half as much as the next. A side is hidden as utterances without it are: its tokens
are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bemerc.corpus.manifest import Modality
from bemerc.language.inputs import batching
from bemerc.language.model.adapters.state import SIDES
from bemerc.language.model.params import Params

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.inputs.batching import Batch, Behavior
    from bemerc.language.inputs.packing import Tree
    from bemerc.language.model.behavior_model import BehaviorModel

# Examples that are asked about, at most, and per batch: three forward passes each.
MOST, BATCH = 256, 32
LEFT = 0.5  # what an epoch leaves of the sums before it


def updater(params: Params, trees: Sequence[Tree], tokens: TokenFile | None) -> Callable[[BehaviorModel], None]:
    """What a training on ``trees`` does between two epochs: ``update``, or nothing where ``params`` do not ask for it."""
    wanted = params.adapter == "mose" and params.dynamic_weights
    return (lambda model: update(model, trees, tokens)) if wanted else (lambda model: None)


def update(model: BehaviorModel, trees: Sequence[Tree], tokens: TokenFile | None) -> None:
    """Set the weights of ``model``'s sides by what each says of the right answers; nothing changes where it reads one side."""
    state = model.adapter
    assert state is not None
    present = [i for i, side in enumerate(SIDES) if state.present & set(side)]
    if len(present) < 2:
        return
    gains = np.zeros((len(SIDES), 2))
    with torch.inference_mode():
        for group in batching.batches(some(trees), BATCH):
            batch = batching.collate(group, tokens, model.length_multiple())
            words = _log_probs(model, batch, ())
            for number, side in enumerate(SIDES):
                helped = _log_probs(model, batch, side) - words
                gains[number] += helped.sum(), np.abs(helped).sum()
    state.set_sides(LEFT * state.gains + torch.from_numpy(gains).to(state.gains), model.params.weight_temperature)


def some(trees: Sequence[Tree]) -> list[Tree]:
    """Trees from all over train with about MOST examples: every n-th."""
    count = sum(len(tree.examples) for tree in trees)
    return list(trees[:: max(1, round(count / MOST))])


def _log_probs(model: BehaviorModel, batch: Batch, shown: Collection[Modality]) -> NDArray[np.float64]:
    """(examples,) log-probability of each right answer, where of behavior only the modalities ``shown`` can be made out."""
    hidden = replace(batch, behavior=_only(batch.behavior, shown), brief=_only(batch.brief, shown))
    each = model.target_log_probs(hidden).double().cpu().numpy()
    return np.bincount(batch.example, weights=each, minlength=len(batch.keys)).astype(np.float64)


def _only(
    behavior: Behavior, shown: Collection[Modality]
) -> Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    return {m: (values, mask if m in shown else np.zeros_like(mask)) for m, (values, mask) in behavior.items()}
