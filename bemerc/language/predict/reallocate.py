"""Attention reallocation: attention is moved between voice and face where one of them dominates more than it does elsewhere.

After MoSEAR's AR (arXiv 2508.01181), whose code is not public; what follows is ours. Where labels are scored, per layer and
head, ``S_A`` and ``S_V`` are the attention on the voice's tokens and on those of face and body; ``rho = S_A / (S_A + S_V)``.
Outside ``tau +- m``, its median and twice its median absolute deviation on dev's consistent items,

    rho' = rho - beta * (rho - tau - m)  above,  rho' = rho - beta * (rho - tau + m)  below,

and each side is scaled by its new share. Everything else in the row stays, and the row still adds up to one. Backbone,
adapter and projectors stay as they are. Beside it, for comparison: the same backwards, in heads drawn at random, a
boost of behavior's logits before the softmax (PAI, arXiv 2407.21771), and the text's own belief subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.model.attention_rows import Rows, Rule
from bemerc.language.predict.modes import Mode

if TYPE_CHECKING:
    from bemerc.language.predict.reallocation_file import Reallocation

LEAST_MASS = 1e-3  # of S_A + S_V: below it there is nothing to move
HIDDEN = -3e4  # logits of what a query may not see lie below it, in every dtype's masks
VOICE, VISIBLE = 0, 1


def share(masses: Tensor) -> Tensor:
    """masses (..., 2) on voice and on face and body -> (...) rho; NaN where a side is absent or both have almost nothing."""
    total = masses.sum(-1)
    there = (masses > 0).all(-1) & (total >= LEAST_MASS)
    return torch.where(there, masses[..., VOICE] / total, torch.nan)


def factors(masses: Tensor, tau: Tensor, band: Tensor, beta: float) -> Tensor:
    """masses (..., 2), tau and band (...) -> (..., 2): what each side's weights are multiplied by; 1 where nothing is to be done.

    >>> factors(torch.tensor([0.4, 0.1]), torch.tensor(0.5), torch.tensor(0.1), 1.0)  # rho .8 -> .6
    tensor([0.7500, 2.0000])
    """
    rho = share(masses)
    excess = torch.where(rho > tau + band, rho - tau - band, torch.where(rho < tau - band, rho - tau + band, 0.0))
    moved = (rho - beta * excess).clamp(0, 1)
    scaled = torch.stack([moved, 1 - moved], -1) * masses.sum(-1, keepdim=True) / masses
    return torch.where((excess != 0).unsqueeze(-1) & scaled.isfinite().all(-1, keepdim=True), scaled, 1.0)


def sides(k: int, sinks: Sequence[int] = ()) -> Tensor:
    """(3 * K + 1, 2) float32: which side each slot (attention_rows.Rows) counts to; ``sinks`` and no slot to none."""
    table = torch.zeros(len(MODALITIES) * k + 1, 2)
    for number, name in enumerate(MODALITIES):
        table[number * k : (number + 1) * k, VOICE if name == "audio" else VISIBLE] = 1
    table[list(sinks)] = 0
    return table


class Shift(Rule):
    """Moves attention in chosen heads.

    chosen  layer -> heads
    tau, band  (layers, heads, 2): at the end of a prompt, and inside a label
    sinks   layer -> slots that are left out
    """

    def __init__(
        self,
        chosen: Mapping[int, Sequence[int]],
        tau: NDArray[np.float64],
        band: NDArray[np.float64],
        beta: float,
        sinks: Mapping[int, Sequence[int]],
        k: int,
    ) -> None:
        self.beta = beta
        self._heads = {layer: torch.tensor(heads) for layer, heads in chosen.items() if len(heads)}
        self._tau, self._band = (
            {layer: torch.from_numpy(of[layer, heads.numpy()]).float() for layer, heads in self._heads.items()}
            for of in (tau, band)
        )
        self._sides = {layer: sides(k, sinks.get(layer, ())) for layer in self._heads}

    def heads(self, layer: int, count: int) -> Tensor | None:
        return self._heads.get(layer)

    def change(self, layer: int, weights: Tensor, rows: Rows) -> Tensor | None:
        device = weights.device
        side = self._sides[layer].to(device)[rows.slot.to(device)].unsqueeze(1)  # (B, 1, N, 2)
        inner = rows.inner.to(device).unsqueeze(1)  # (B, 1, Q)
        tau, band = (
            torch.where(inner, of[:, 1, None].to(device), of[:, 0, None].to(device))
            for of in (self._tau[layer], self._band[layer])
        )
        scaled = factors(weights @ side, tau, band, self.beta) - 1  # (B, h, Q, 2)
        return weights * (scaled @ side.transpose(2, 3))


class Boost(Rule):
    """PAI's boost in chosen heads: the logits of all behavior tokens grow by ``amount`` times their size."""

    def __init__(self, chosen: Mapping[int, Sequence[int]], amount: float) -> None:
        self.amount = amount
        self._heads = {layer: torch.tensor(heads) for layer, heads in chosen.items() if len(heads)}

    def heads(self, layer: int, count: int) -> Tensor | None:
        return self._heads.get(layer)

    def logits(self, layer: int, scores: Tensor, rows: Rows) -> Tensor | None:
        slot, column = rows.slot.to(scores.device), rows.column.to(scores.device)
        raised = torch.ones(len(slot), scores.shape[3], device=scores.device)
        real = slot < len(MODALITIES) * rows.k
        raised[torch.arange(len(slot), device=scores.device).unsqueeze(1).expand_as(slot)[real], column[real]] += 1
        raised_here = (raised[:, None, None] > 1) & (scores > HIDDEN)
        return torch.where(raised_here, scores + self.amount * scores.abs(), scores)


def must_fit(made: Reallocation, lm: Any) -> None:
    """ModelError where the file is of another number of layers or heads than the model."""
    text = lm.config.get_text_config()
    expected = (int(text.num_hidden_layers), int(text.num_attention_heads))
    if made.tau.shape[:2] != expected:
        raise ModelError(
            f"reallocate.json is of {made.tau.shape[0]} layers of {made.tau.shape[1]} heads, the model has {expected[0]} of "
            f"{expected[1]}. Run 'bemerc conflict calibrate' again."
        )


def rule_of(made: Reallocation, mode: Mode) -> Rule | None:
    """The rule of a mode; None where attention stays as it is, as with a strength of 0."""
    if mode == "presoftmax":
        return Boost(made.chosen, made.boost) if made.boost else None
    if mode in ("none", "text_prior") or not made.beta:
        return None
    beta = -made.beta if mode == "reversed" else made.beta
    chosen = made.drawn if mode == "random_heads" else made.chosen
    return Shift(chosen, made.tau, made.band, beta, made.sinks, made.k)
