"""Who sees whom in a row that is a tree, told to a model that was made for rows that are text.

A 4D mask says it all to a model with plain attention; transformers hands it to every layer as it is. That is silently
wrong in layers that look back over a sliding window only, so these get a mask of their own, by distance along the path.
It is silently ignored by models without attention, and position ids are by models with ALiBi: so every model is asked
once, on seven tokens, whether a tree gives what its paths give alone, and one that fails is only ever given whole rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def tree_mask(
    node: Tensor, ancestors: Tensor, dtype: torch.dtype, position: Tensor | None = None, window: int = 0
) -> Tensor:
    """node (B, L), ancestors (B, S, S) -> (B, 1, L, L) additive float mask; -1 in ``node`` is padding.

    A position sees earlier positions of its own node and of the nodes above it; with ``window`` those alone that are less
    than so far away by ``position`` (B, L). Float, because a bool mask is silently wrong under eager attention; padding
    sees itself, because a row of nothing but -inf is NaN.
    """
    count, length = node.shape
    known = node.clamp(min=0)
    rows = ancestors.gather(1, known.unsqueeze(-1).expand(count, length, ancestors.shape[2]))
    seen = rows.gather(2, known.unsqueeze(1).expand(count, length, length))
    there = node >= 0
    causal = torch.ones(length, length, dtype=torch.bool, device=node.device).tril()
    seen = seen & causal & there.unsqueeze(1) & there.unsqueeze(2)
    if window:
        assert position is not None
        seen = seen & (position.unsqueeze(2) - position.unsqueeze(1) < window)
    seen = seen | torch.eye(length, dtype=torch.bool, device=node.device)
    mask = torch.zeros(count, 1, length, length, dtype=dtype, device=node.device)
    return mask.masked_fill(~seen.unsqueeze(1), torch.finfo(dtype).min)


def for_layers(config: Any, node: Tensor, ancestors: Tensor, position: Tensor, dtype: torch.dtype) -> Any:
    """The mask of every layer, as the model's class wants it: one for all, or one per kind of layer by name."""
    text = config.get_text_config()
    window = sliding_window(text)
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


def understands_trees(lm: Any) -> bool:
    """Whether a tree of two branches gives the logits that its second path gives alone.

    Measured against what the model would say had it taken the row for plain text, so that the dtype's grain does not matter.
    """
    device = lm.get_input_embeddings().weight.device
    if device.type == "meta":
        return True
    ids = torch.arange(5, 12, device=device).unsqueeze(0)  # a b c | d e | f g
    node = torch.tensor([[0, 0, 0, 1, 1, 2, 2]], device=device)
    position = torch.tensor([[0, 1, 2, 3, 4, 3, 4]], device=device)
    ancestors = torch.tensor([[[1, 0, 0], [1, 1, 0], [1, 0, 1]]], dtype=torch.bool, device=device)
    with torch.inference_mode():
        # First what every causal model can do, so that what fails here is not taken for a want of trees.
        path = lm(input_ids=ids[:, [0, 1, 2, 5, 6]], use_cache=False).logits[0, -2:]
        text = lm(input_ids=ids, use_cache=False).logits[0, -2:]
        words = lm.get_input_embeddings()(ids)
        mask = for_layers(lm.config, node, ancestors, position, words.dtype)
        try:
            tree = lm(inputs_embeds=words, attention_mask=mask, position_ids=position, use_cache=False).logits[0, -2:]
        except (TypeError, ValueError, RuntimeError, KeyError):
            return False  # the class takes no such mask
    off, would_be = (tree - path).abs().max().item(), (text - path).abs().max().item()
    coarse = words.dtype != torch.float32 or getattr(lm, "is_quantized", False)
    return bool(off <= (0.4 if coarse else 0.1) * would_be)
