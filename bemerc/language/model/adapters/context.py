"""What an adapted layer needs to know of the batch that is computed: of what kind every position is, and its block.

``BehaviorModel`` sets the context before it calls the language model, and the layers read it: transformers hands on no
argument of ours. It stays until the next batch, since checkpointed layers are computed a second time on the way back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bemerc.core.errors import ModelError
from bemerc.language.inputs.blocks import KINDS, TEXT, kinds_of

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch


@dataclass(frozen=True)
class Context:
    """B rows of L positions, flat (B * L,), with N blocks and M kinds of positions.

    shape       (B, L)
    kind        (B * L, M) float: 1 where a position is of the kind
    block       (B * L,) the block of a position
    pooled      (P,) the flat positions that gates look at: neither answers nor padding
    size        (N, 1) float: how many of them a block has; at least 1
    block_kind  (N,)
    last_block  (B,) the block in which an answer after the row's last position goes on
    weights     (M,) how much the experts of a kind weigh; None: all the same
    shares      (N,) what a block weighs in the penalty; None: nothing is penalised
    pull        (layers, M, E) the penalty of using an expert at all (state.py)
    penalties, uses  by layer: its penalty, and (M, E) the sums of its gates by kind
    gates       by layer: (B, E) the gates of ``last_block``; kept where a model writes
    goes_on     whether the rows are what the model has written: their gates are ``gates``
    """

    shape: tuple[int, int]
    kind: Tensor
    block: Tensor
    pooled: Tensor
    size: Tensor
    block_kind: Tensor
    last_block: Tensor
    weights: Tensor | None = None
    shares: Tensor | None = None
    pull: Tensor | None = None
    penalties: dict[int, Tensor] = field(default_factory=dict)
    uses: dict[int, Tensor] = field(default_factory=dict)
    gates: dict[int, Tensor] | None = None
    goes_on: bool = False
    copies: dict[torch.device, Context] = field(default_factory=dict)

    def to(self, device: torch.device) -> Context:
        """The same on another device, for layers that lie there; what layers note stays shared."""
        if device == self.kind.device:
            return self
        if device not in self.copies:
            moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
            self.copies[device] = replace(self, **moved, copies={})
        return self.copies[device]

    def written(self) -> Context:
        """The context of one token more per row, which the model has written itself."""
        rows = self.shape[0]
        kind = torch.zeros(rows, len(KINDS), device=self.kind.device)
        kind[:, TEXT] = 1
        return replace(
            self, shape=(rows, 1), kind=kind, block=torch.arange(rows, device=kind.device), goes_on=True, copies={}
        )


def context_of(batch: Batch, device: torch.device) -> Context:
    """The context of a batch of trees."""
    kind, rows = kinds_of(batch.modality), np.arange(len(batch.node))
    pooled = np.flatnonzero(~batch.answer)
    size = np.bincount(batch.block.ravel()[pooled], minlength=len(batch.block_kind))
    text = (kind == TEXT) & ~batch.answer
    last = kind.shape[1] - 1 - text[:, ::-1].argmax(axis=1)

    def here(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Context(
        shape=(kind.shape[0], kind.shape[1]),
        kind=here(np.eye(len(KINDS), dtype=np.float32)[kind.ravel()]),
        block=here(batch.block.ravel()),
        pooled=here(pooled),
        size=here(np.maximum(size, 1).astype(np.float32)[:, None]),
        block_kind=here(batch.block_kind),
        last_block=here(batch.block[rows, last]),
        shares=here(np.array(batch.block_shares, np.float32)[batch.block_kind]) if batch.block_shares else None,
    )


def plain_text(rows: int, length: int, device: torch.device) -> Context:
    """The context of rows of words that nobody described: a block each."""
    kind = torch.zeros(rows * length, len(KINDS), device=device)
    kind[:, TEXT] = 1
    every = torch.arange(rows, device=device)
    return Context(
        shape=(rows, length),
        kind=kind,
        block=every.repeat_interleave(length),
        pooled=torch.arange(rows * length, device=device),
        size=torch.full((rows, 1), float(length), device=device),
        block_kind=torch.zeros(rows, dtype=torch.long, device=device),
        last_block=every,
    )


class Current:
    """The context that holds now, which all layers of a model share; None where the language model is called by itself."""

    def __init__(self) -> None:
        self.context: Context | None = None

    def of(self, x: Tensor) -> Context:
        """The context of a layer's input (B, L, H). ModelError where the layer computes other positions than the batch has."""
        if self.context is None:
            if x.dim() != 3:
                raise ModelError("An adapted layer takes rows of positions. Set model.adapter: lora.")
            return plain_text(x.shape[0], x.shape[1], x.device)
        if tuple(x.shape[:-1]) != self.context.shape:
            raise ModelError(
                f"A layer of this backbone is computed at {list(x.shape[:-1])} positions of {list(self.context.shape)}, "
                "so an adapter that goes by modality cannot sit there. Name other layers in model.targets, or set "
                "model.adapter: lora."
            )
        return self.context.to(x.device)
