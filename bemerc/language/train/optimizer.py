"""AdamW with one peak learning rate for the adapter and one for the projectors, and their schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from bemerc.language.model.behavior_model import BehaviorModel
    from bemerc.language.train.params import Params


def make_optimizer(model: BehaviorModel, params: Params) -> torch.optim.AdamW:
    """AdamW over the trainable weights; each group keeps its peak learning rate as ``peak``."""
    named = model.trainable()
    groups = [
        {"params": [p for n, p in named.items() if "lora_" in n], "lr": params.adapter_lr},
        {"params": [p for n, p in named.items() if "lora_" not in n], "lr": params.projector_lr},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, betas=(0.9, 0.98), weight_decay=params.weight_decay)


def set_learning_rate(optimizer: Any, step: int, steps: int, warmup: float) -> None:
    """Linear warm-up over that share of ``steps``, times a cosine that ends at a hundredth of the peak."""
    warmup_steps = max(1.0, warmup * steps)
    cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps - 1)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * min(1.0, (step + 1) / warmup_steps) * cosine
