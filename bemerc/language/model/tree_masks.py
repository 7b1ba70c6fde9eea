"""Attention masks for rows that are trees: a position attends to its own path only.

transformers hands a 4D mask to every layer as it is. Layers with a sliding window get a mask of their own, by distance along
the path. Models without attention ignore masks, and models with ALiBi position ids, both silently; so every model is tested
once, on seven tokens, whether a tree gives the logits of its paths alone, and one that fails is only given single paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def tree_mask(
    node: Tensor, ancestors: Tensor, dtype: torch.dtype, position: Tensor | None = None, window: int = 0
) -> Tensor:
    """node (B, L), ancestors (B, S, S) -> (B, 1, L, L) additive float mask; -1 in ``node`` is padding.

    A position attends to earlier positions of its own node and of the nodes above it; with ``window`` only to those less
    than so many positions away by ``position`` (B, L). Float, because a bool mask is silently wrong under eager attention;
    padding attends to itself, because a row of nothing but -inf is NaN.
    """
    count, length = node.shape
    number = node.clamp(min=0)
    rows = ancestors.gather(1, number.unsqueeze(-1).expand(count, length, ancestors.shape[2]))
    visible = rows.gather(2, number.unsqueeze(1).expand(count, length, length))
    real = node >= 0
    causal = torch.ones(length, length, dtype=torch.bool, device=node.device).tril()
    visible = visible & causal & real.unsqueeze(1) & real.unsqueeze(2)
    if window:
        assert position is not None
        visible = visible & (position.unsqueeze(2) - position.unsqueeze(1) < window)
    visible = visible | torch.eye(length, dtype=torch.bool, device=node.device)
    mask = torch.zeros(count, 1, length, length, dtype=dtype, device=node.device)
    return mask.masked_fill(~visible.unsqueeze(1), torch.finfo(dtype).min)


def for_layers(
    config: Any, node: Tensor, ancestors: Tensor, position: Tensor, dtype: torch.dtype, narrowed: int | None = None
) -> Any:
    """The mask of every layer, as the model's class wants it: one for all, or one per kind of layer by name.

    ``narrowed`` stands in for the width of a sliding window, where there is one.
    """
    text = config.get_text_config()
    window = sliding_window(text) and (narrowed or sliding_window(text))
    kinds = set(getattr(text, "layer_types", None) or ())
    if not window or kinds == {"full_attention"}:
        return tree_mask(node, ancestors, dtype)
    narrow = tree_mask(node, ancestors, dtype, position, window)
    if not kinds:
        return narrow
    return {"full_attention": tree_mask(node, ancestors, dtype), "sliding_attention": narrow}


def sliding_window(text: Any) -> int:
    """How far back the layers with a sliding window look, positions; 0 where none has one."""
    window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
    return int(window or 0)


@dataclass(frozen=True)
class Example:
    """A row of seven tokens with two branches, a b c | d e | f g: ids, node, position (1, 7), ancestors (1, 3, 3)."""

    ids: Tensor
    node: Tensor
    position: Tensor
    ancestors: Tensor


def example(lm: Any) -> Example:
    """The row that every model is asked about, where its word embeddings lie."""
    ids, node, position = [5, 6, 7, 8, 9, 10, 11], [0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 3, 4]
    ancestors = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    device = lm.get_input_embeddings().weight.device
    first, second, third = (torch.tensor([of], device=device) for of in (ids, node, position))
    return Example(first, second, third, ancestors.unsqueeze(0).to(device))


def understands_trees(lm: Any) -> bool:
    """Whether a tree of two branches gives the logits that its second path gives alone."""
    if lm.get_input_embeddings().weight.device.type == "meta":
        return True
    row = example(lm)
    with torch.inference_mode():
        # First what every causal model can do, so that what fails here is not taken for a want of trees.
        path = lm(input_ids=row.ids[:, [0, 1, 2, 5, 6]], use_cache=False).logits[0, -2:]
        text = lm(input_ids=row.ids, use_cache=False).logits[0, -2:]
        words = lm.get_input_embeddings()(row.ids)
        mask = for_layers(lm.config, row.node, row.ancestors, row.position, words.dtype)
        try:
            tree = lm(inputs_embeds=words, attention_mask=mask, position_ids=row.position, use_cache=False).logits
        except (TypeError, ValueError, RuntimeError, KeyError):
            return False  # the class takes no such mask
    return alike(lm, tree[0, -2:], path, text)


def alike(lm: Any, logits: Tensor, expected: Tensor, text: Tensor) -> bool:
    """Whether logits are what they should be.

    Measured against what the model says when it takes the row for plain text, so that the dtype's grain does not matter.
    """
    error, as_text = (logits - expected).abs().max().item(), (text - expected).abs().max().item()
    coarse = logits.dtype != torch.float32 or getattr(lm, "is_quantized", False)
    return bool(error <= (0.4 if coarse else 0.1) * as_text)
