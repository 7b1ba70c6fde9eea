"""Adapted linear layers beside plain LoRA: MoSE, MokA and HydraLoRA (docs/training/adapters.md).

Each adds a product of small matrices to a frozen layer, as LoRA does, and differs in which of them are shared. Kinds are
text and the modalities (blocks.KINDS); M of them, E experts, r the rank.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bemerc.language.inputs.blocks import TEXT
from bemerc.language.model.adapters.context import Context, Current
from bemerc.language.model.adapters.shapes import M, Size, shapes
from bemerc.language.model.params import Params


class AdaptedLinear(nn.Module):
    """``base_layer`` (in -> out), frozen, plus ``alpha / rank`` times what a subclass adds; ``rank``: this layer's own.

    index  of the layer among the adapted ones
    """

    lora_A: Tensor
    lora_B: Tensor
    lora_gate: Tensor

    def __init__(
        self, base_layer: nn.Module, size: Size, rank: int, index: int, params: Params, current: Current
    ) -> None:
        super().__init__()
        self.base_layer, self.size, self.rank, self.index = base_layer, size, rank, index
        self.params, self.current = params, current
        # Of the params' rank, not the layer's: with another one for every adapter rates would mean different steps.
        self.scaling = params.alpha / params.rank
        self.lora_dropout = nn.Dropout(params.lora_dropout)
        device = next(base_layer.parameters()).device
        for name, shape in shapes(size, rank, params).items():
            self.register_parameter(name, nn.Parameter(_first(name, shape, device)))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(B, L, in) -> (B, L, out)."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        context = self.current.of(x)
        flat = x.flatten(0, 1).to(self.lora_A.dtype)
        added = self.added(flat, self.lora_dropout(flat), context).view(*x.shape[:-1], -1)
        return (result + added * self.scaling).to(result.dtype)

    def added(self, x: Tensor, dropped: Tensor, context: Context) -> Tensor:
        """x and its copy after dropout (B * L, in) -> (B * L, out)."""
        raise NotImplementedError

    @staticmethod
    def mean_expert(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """lora_A and lora_B -> A (r, in) and B (out, r) of the plain LoRA that comes nearest on text."""
        raise NotImplementedError


def _first(name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """B begins at zero, so that nothing is added at first; the others as PEFT draws A, or experts would stay alike."""
    weight = torch.zeros(*shape, device=device)
    if name == "lora_B":
        return weight
    return nn.init.uniform_(weight, -1 / math.sqrt(shape[-1]), 1 / math.sqrt(shape[-1]))


class Mose(AdaptedLinear):
    """Mixture of modality-specific experts: A is shared, every kind has E matrices B of its own and a gate over them.

    The gate decides once per block, by the mean of A x over it; the experts of a modality weigh ``Context.weights``.
    """

    def added(self, x: Tensor, dropped: Tensor, context: Context) -> Tensor:
        low = functional.linear(dropped, self.lora_A)
        gates = self._gates(low, context)
        kind = context.kind if context.weights is None else context.kind * context.weights
        share = kind.unsqueeze(2) * gates[context.block].unsqueeze(1)  # (B * L, M, E)
        return _mixed(share.flatten(1), low, self.lora_B.flatten(0, 1))

    def _gates(self, low: Tensor, context: Context) -> Tensor:
        """A x (B * L, r) -> (N, E) the gate of every block."""
        if context.goes_on:
            assert context.gates is not None
            return context.gates[self.index]
        looked_at = low[context.pooled].float()
        sums = looked_at.new_zeros(len(context.size), self.rank)
        sums = sums.index_add(0, context.block[context.pooled], looked_at)
        means = sums / context.size
        gates = (means.unsqueeze(1) * self.lora_gate[context.block_kind]).sum(2).softmax(1)
        if context.gates is not None:
            context.gates[self.index] = gates[context.last_block]
        if context.shares is not None:
            self._note(gates, context, context.shares)
        return gates

    def _note(self, gates: Tensor, context: Context, shares: Tensor) -> None:
        """The penalty on these gates, and how much each expert was used (state.py)."""
        assert context.pull is not None
        balance = (context.pull[self.index][context.block_kind] * gates).sum(1)
        entropy = -(gates * gates.clamp(min=1e-9).log()).sum(1)
        each = self.params.gate_balance * balance + self.params.gate_entropy * entropy
        context.penalties[self.index] = (each * shares).sum()
        with torch.no_grad():
            counted = gates * (shares > 0).unsqueeze(1)
            uses = counted.new_zeros(M, gates.shape[1])
            context.uses[self.index] = uses.index_add(0, context.block_kind, counted)

    @staticmethod
    def mean_expert(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a, b[TEXT].mean(0).T


class Moka(AdaptedLinear):
    """MokA (arXiv 2506.05191) without its attention between modalities: every kind has an A of its own, B is shared."""

    def added(self, x: Tensor, dropped: Tensor, context: Context) -> Tensor:
        low = functional.linear(dropped, self.lora_A.flatten(0, 1)).unflatten(1, (M, -1))
        return (low * context.kind.to(low.dtype).unsqueeze(2)).sum(1) @ self.lora_B

    @staticmethod
    def mean_expert(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a[TEXT], b.T


class Hydra(AdaptedLinear):
    """HydraLoRA (arXiv 2404.19245): A is shared, E matrices B, and a router that looks at every position by itself."""

    def added(self, x: Tensor, dropped: Tensor, context: Context) -> Tensor:
        gates = functional.linear(x, self.lora_gate).float().softmax(1)
        return _mixed(gates, functional.linear(dropped, self.lora_A), self.lora_B)

    @staticmethod
    def mean_expert(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a, b.mean(0).T


LAYERS: dict[str, type[AdaptedLinear]] = {"mose": Mose, "moka": Moka, "hydra": Hydra}


def _mixed(share: Tensor, low: Tensor, experts: Tensor) -> Tensor:
    """share (P, C), low (P, r), experts (C, r, out) -> (P, out): every position's own mixture of C matrices, as one product."""
    wide = share.to(low.dtype).unsqueeze(2) * low.unsqueeze(1)
    return wide.flatten(1) @ experts.flatten(0, 1)
