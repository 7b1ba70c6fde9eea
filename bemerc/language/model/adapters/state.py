"""What the adapted layers of a model have in common: the batch's context, the gates' running means, the modalities' weights.

The penalty on MoSE's gates is ``balance * KL(running mean of the gates || uniform) + entropy * mean entropy of a gate``:
experts are used alike over many blocks, and each block decides. It is the gradient of the first term at the running mean
that is taken, so that the penalty of a step is a sum over its blocks, however many parts and processes compute it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bemerc.corpus.manifest import Modality
from bemerc.language.inputs.blocks import KINDS
from bemerc.language.model.adapters.context import Context, Current, context_of
from bemerc.language.model.adapters.layers import AdaptedLinear
from bemerc.language.model.params import Params

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch
    from bemerc.language.inputs.packing import Tree

# What a step leaves of the gates' running means.
KEPT = 0.95
# The two sides between which weights are shared out, by the modalities of each.
SIDES: tuple[tuple[Modality, ...], ...] = (("face", "pose"), ("audio",))


class AdapterState(nn.Module):
    """Of one model; ``layers``: by name as the backbone has them.

    usage   buffer (layers, M, E): running means of the gates by kind; MoSE alone has it
    sides   buffer (2,): weights of what is visible and of the voice; 1 until train/modality_weights.py changes them
    gains   buffer (2, 2): per side the running sums from which ``sides`` follow
    lora_share  (2,) trained: logits by which face and pose share the visible side's weight
    """

    usage: Tensor
    sides: Tensor
    gains: Tensor

    def __init__(self, layers: Mapping[str, AdaptedLinear], current: Current, params: Params, device: Any) -> None:
        super().__init__()
        self.layers, self.current, self.params = dict(layers), current, params
        self.gated = params.adapter == "mose"
        self.present: frozenset[Modality] = frozenset()
        if self.gated:
            shape = (len(layers), len(KINDS), params.experts)
            self.register_buffer("usage", torch.full(shape, 1 / params.experts, device=device))
            self.register_buffer("sides", torch.ones(2, device=device))
            self.register_buffer("gains", torch.zeros(2, 2, device=device))
            if params.dynamic_weights:
                self.lora_share = nn.Parameter(torch.zeros(2, device=device))
            self._forget()

    def _forget(self) -> None:
        """Nothing of the next step is known."""
        self._uses = torch.zeros_like(self.usage)
        self._blocks = self.usage.new_zeros(len(KINDS))

    def begin(self, batch: Batch, device: torch.device, writes: bool = False) -> Context:
        """Set the context of a batch; ``writes``: its rows will be gone on with."""
        context = context_of(batch, device)
        given: dict[str, Any] = {"gates": {}} if writes else {}
        if self.gated:
            given["weights"] = self._weights()
            if context.shares is not None:
                given["pull"] = (self.usage.clamp(min=1e-6) * self.params.experts).log()
        self.current.context = Context(**{**vars(context), **given})
        return self.current.context

    def _weights(self) -> Tensor | None:
        """(M,) weights of the kinds' experts: text has 1, a side that the model does not read takes nothing from the other."""
        if not self.params.dynamic_weights:
            return None
        both = {"face", "pose"} <= self.present
        visible = 2 * self.lora_share.softmax(0) if both else torch.ones_like(self.lora_share)
        return torch.cat([torch.ones_like(self.sides[:1]), self.sides[0] * visible, self.sides[1:]])

    def with_shares(self, batch: Batch, count: float, group: Sequence[Tree]) -> Batch:
        """A part of the step ``group`` with what its blocks weigh. Parts weigh by ``count``, the targets in each, and over all of
        them the penalty is to be a mean over the blocks of each kind."""
        if not self.gated:
            return batch
        blocks = np.bincount(np.concatenate([tree.block_kind for tree in group]), minlength=len(KINDS))
        targets = sum(float(tree.weight.sum()) for tree in group)
        shares = tuple(targets / (count * n) if n and count else 0.0 for n in blocks.tolist())
        return replace(batch, block_shares=shares)

    def penalty(self) -> Tensor | None:
        """That of the context's batch; its gates' uses are noted for ``end_step``."""
        context = self.current.context
        if context is None or context.shares is None or not context.penalties:
            return None
        for index, uses in context.uses.items():
            self._uses[index] += uses.to(self._uses.device)
        counted = torch.zeros_like(self._blocks)
        self._blocks += counted.index_add(0, context.block_kind, (context.shares > 0).float())
        each = [one.to(context.kind.device) for one in context.penalties.values()]
        return torch.stack(each).sum() / len(self.layers)

    def end_step(self, accelerator: Any) -> None:
        """Take a step's gates into the running means, those of all processes."""
        if not self.gated:
            return
        if accelerator.num_processes > 1:
            self._uses, self._blocks = (accelerator.reduce(one, "sum") for one in (self._uses, self._blocks))
        met = self._blocks > 0
        means = self._uses[:, met] / self._blocks[met].view(1, -1, 1)
        self.usage[:, met] = KEPT * self.usage[:, met] + (1 - KEPT) * means
        self._forget()

    def set_sides(self, gains: Tensor, temperature: float) -> None:
        """Take (2, 2) ``gains``, per side the sums of d and of |d|, and weigh the sides by them (train/modality_weights.py)."""
        self.gains.copy_(gains)
        rho = self.gains[:, 0] / self.gains[:, 1].clamp(min=1e-9)
        self.sides.copy_(len(SIDES) * (-rho / temperature).softmax(0))

    def lora_count(self) -> int:
        """How many weights plain LoRA of model.rank would train in the same places."""
        return sum(self.params.rank * (layer.size[0] + layer.size[1]) for layer in self.layers.values())

    def kept(self) -> dict[str, Tensor]:
        """Buffers by name, which belong to a trained model beside its trained weights."""
        return {f"adapter.{name}": value for name, value in self.named_buffers()}
