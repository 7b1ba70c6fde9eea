"""Shapes of an adapted layer's trained weights, and ranks at which every adapter trains as many numbers as plain LoRA.

An adapter with more matrices gets a smaller rank. One whole number for all layers would miss LoRA's count by ten per cent
and more; so ranks go down or up from layer to layer, in their order, as keeps the sum so far nearest to LoRA's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bemerc.core.errors import ModelError
from bemerc.language.inputs.blocks import KINDS
from bemerc.language.model.params import Params

Size = tuple[int, int]  # numbers in and out of a layer
WITHIN = 0.05
M = len(KINDS)


def shapes(size: Size, rank: int, params: Params) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what the adapter of one layer trains (layers.py)."""
    inputs, outputs = size
    experts = params.experts
    if params.adapter == "mose":
        return {"lora_A": (rank, inputs), "lora_B": (M, experts, rank, outputs), "lora_gate": (M, experts, rank)}
    if params.adapter == "moka":
        return {"lora_A": (M, rank, inputs), "lora_B": (rank, outputs)}
    if params.adapter == "hydra":
        return {"lora_A": (rank, inputs), "lora_B": (experts, rank, outputs), "lora_gate": (experts, inputs)}
    return {"lora_A": (rank, inputs), "lora_B": (outputs, rank)}


def trained(size: Size, rank: int, params: Params) -> int:
    """How many numbers the adapter of one layer trains."""
    return sum(math.prod(shape) for shape in shapes(size, rank, params).values())


def ranks(sizes: Sequence[Size], params: Params) -> list[int]:
    """The rank of every layer. ModelError where model.rank is too small to be shared out within five per cent."""
    if params.adapter == "lora" or not params.equal_parameters:
        return [params.rank] * len(sizes)
    made = _shared_out(sizes, params.rank, params)
    if _far(sizes, made, params.rank, params):
        larger = range(params.rank + 1, 257)
        enough = next((r for r in larger if not _far(sizes, _shared_out(sizes, r, params), r, params)), None)
        raise ModelError(
            f"model.rank: {params.rank} is too small for a {params.adapter} adapter with as many trained weights as LoRA. "
            + (f"Set it to {enough}" if enough else "Lower model.experts")
            + ", or set model.equal_parameters: false."
        )
    return made


def _shared_out(sizes: Sequence[Size], rank: int, params: Params) -> list[int]:
    made: list[int] = []
    owed = 0.0
    for size in sizes:
        fixed = trained(size, 0, params)
        per_rank = trained(size, 1, params) - fixed
        owed += rank * sum(size)
        made.append(max(1, round((owed - fixed) / per_rank)))
        owed -= per_rank * made[-1] + fixed
    return made


def _far(sizes: Sequence[Size], made: Sequence[int], rank: int, params: Params) -> bool:
    wanted = rank * sum(map(sum, sizes))
    count = sum(trained(size, own, params) for size, own in zip(sizes, made, strict=True))
    return abs(count - wanted) > WITHIN * wanted
