"""Attention along the paths of a tree, for inference on a CPU: computes only what a mask over the row would keep.

Under a mask (tree_masks.py) every position of a row is multiplied with every other, and most products are discarded: on a
CPU a quarter of the time of labelling. Here a tree is walked depth first, and one buffer holds keys and values of the
current path. A node's queries attend to that path only; what the walk leaves is overwritten and never copied.

The buffer is written in place and has no gradients, so training keeps the mask. So does a GPU, where by arithmetic (it was
not measured) one masked row is cheaper than forty small products. On loading, both ways are compared on seven tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bemerc.language.model import tree_masks

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch

NAME = "bemerc_paths"
# How a model understands a row that branches: not at all, under a mask over the row, or along its paths too.
TreeSupport = Literal["no", "masks", "paths"]


@dataclass(frozen=True)
class Step:
    """Where the walk stands: a node, with those of its children that nothing follows (the labels) in one go.

    row, start, stop  the positions in the batch
    depth             how many positions of the path lie before it
    """

    row: int
    start: int
    stop: int
    depth: int


@dataclass(frozen=True)
class Plan:
    """A walk over a batch of trees; ``seen``: window (0: none) -> per step, (n, depth + n) additive float."""

    steps: tuple[Step, ...]
    masks: Mapping[int, tuple[Tensor, ...]]

    @property
    def longest(self) -> int:
        """Positions of the longest path."""
        return max(step.depth + step.stop - step.start for step in self.steps)


def plan(
    node: NDArray[np.int64],
    ancestors: NDArray[np.bool_],
    position: NDArray[np.int64],
    windows: Mapping[int, int],
    like: Tensor,
) -> Plan:
    """node, position (B, L), ancestors (B, S, S) -> the walk; ``windows``: what layers call theirs -> how far it reaches."""
    steps: list[Step] = []
    masks: dict[int, list[Tensor]] = {name: [] for name in windows}
    for row in range(len(node)):
        for start, stop in _depth_first(node[row], ancestors[row]):
            step = Step(row, start, stop, int(position[row, start]))
            steps.append(step)
            inner = np.tril(ancestors[row][np.ix_(node[row, start:stop], node[row, start:stop])])
            visible = np.concatenate([np.ones((stop - start, step.depth), bool), inner], axis=1)
            own_position = position[row, start:stop]
            distance = own_position[:, None] - np.concatenate([np.arange(step.depth), own_position])
            for name, reach in windows.items():
                hidden = torch.from_numpy(~(visible & (distance < reach)) if reach else ~visible)
                masks[name].append(torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf).to(like))
    return Plan(tuple(steps), {name: tuple(of) for name, of in masks.items()})


def _depth_first(node: NDArray[np.int64], ancestors: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Stretches of a row, depth first: every node, and with it the childless children that stand right behind it."""
    starts = {int(n): int(at) for n, at in zip(*np.unique(node, return_index=True), strict=True) if n >= 0}
    ends = {n: at + int((node == n).sum()) for n, at in starts.items()}
    depth = ancestors.sum(1)
    children: dict[int, list[int]] = {n: [] for n in [-1, *starts]}
    for n in sorted(starts):
        above = [int(a) for a in np.flatnonzero(ancestors[n]) if a != n]
        children[max(above, key=lambda a: int(depth[a]), default=-1)].append(n)
    waiting = children[-1][::-1]
    while waiting:
        n = waiting.pop()
        stop, left = ends[n], list[int]()
        for child in children[n]:
            if not children[child] and starts[child] == stop and not left:
                stop = ends[child]
            else:
                left.append(child)
        yield starts[n], stop
        waiting += left[::-1]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    paths: Plan,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention: query (B, heads, L, d), key and value (B, groups, L, d) -> (B, L, heads, d).

    Raises TypeError where a layer has what is not known here: sinks (GPT-OSS), a learned bias (T5).
    """
    _must_be_plain(s_aux, position_bias)
    heads = query.shape[1]
    key, value = _per_head(heads, key, value)
    keys, values = (given.new_empty(1, heads, paths.longest, given.shape[3]) for given in (key, value))
    out = query.new_zeros(len(query), query.shape[2], heads, value.shape[3])
    for step, mask in zip(paths.steps, paths.masks[sliding_window or 0], strict=True):
        here, end = slice(step.start, step.stop), step.depth + step.stop - step.start
        keys[0, :, step.depth : end] = key[step.row, :, here]
        values[0, :, step.depth : end] = value[step.row, :, here]
        asked = query[step.row : step.row + 1, :, here]
        attended = _one(asked, keys[:, :, :end], values[:, :, :end], mask, scaling, softcap)
        out[step.row, here] = attended[0].transpose(0, 1)
    return out, None


def attend_masked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """The same under a mask over whole rows, (B or 1, 1, L, L) additive float; -> (B, L, heads, d)."""
    _must_be_plain(s_aux, position_bias)
    if mask is None:
        raise TypeError("attention without a mask")
    key, value = _per_head(query.shape[1], key, value)
    return _one(query, key, value, mask, scaling, softcap).transpose(1, 2).contiguous()


def _must_be_plain(s_aux: Tensor | None, position_bias: Tensor | None) -> None:
    if s_aux is not None or position_bias is not None:
        raise TypeError("attention with sinks or a position bias")


def _per_head(heads: int, *parts: Tensor) -> tuple[Tensor, ...]:
    """(B, groups, L, d) -> (B, heads, L, d), where several heads share a key."""
    return tuple(of if of.shape[1] == heads else of.repeat_interleave(heads // of.shape[1], dim=1) for of in parts)


def _one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None, cap: float | None) -> Tensor:
    if cap is None:
        return nn.functional.scaled_dot_product_attention(query, key, value, mask.to(query.device), scale=scale)
    scores = query @ key.transpose(2, 3) * (query.shape[3] ** -0.5 if scale is None else scale)
    scores = cap * torch.tanh(scores / cap) + mask.to(query.device)
    return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value


@contextlib.contextmanager
def along_paths(lm: Any, logit_positions: Tensor | None) -> Iterator[None]:
    """Within it, every layer of ``lm`` attends by ``attend``, which wants a plan as ``paths``.

    What the last layer does beside its keys and values is done at the positions ``logit_positions`` (M,) of the flat batch alone,
    since nothing depends on the others. The output is right at those positions and nowhere else. None: all positions.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    text = lm.config.get_text_config()
    before, text._attn_implementation = text._attn_implementation, NAME
    try:
        with contextlib.ExitStack() as narrowed:
            if logit_positions is not None:
                for part in _last(lm, text.num_hidden_layers):
                    narrowed.enter_context(_ending_at(part, logit_positions))
            yield
    finally:
        text._attn_implementation = before


def _last(lm: Any, layers: int) -> list[nn.Module]:
    """What the last layer computes position by position, where its class names it as nearly all do: what a position asks, what
    becomes of the answer, and the feed-forward part."""
    stacks = [part for part in lm.modules() if isinstance(part, nn.ModuleList) and len(part) == layers]
    last = dict(stacks[-1][-1].named_modules()) if stacks else {}
    return [last[name] for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp") if name in last]


@contextlib.contextmanager
def _ending_at(part: nn.Module, positions: Tensor) -> Iterator[None]:
    """Within it, ``part`` computes (B, L, H) -> (B, L, H') at the flat ``positions`` and leaves zeros elsewhere."""
    shape: list[torch.Size] = []

    def fewer(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        shape[:] = [args[0].shape]
        return (args[0].flatten(0, 1)[positions.to(args[0].device)].unsqueeze(0),)

    def back(_: nn.Module, args: tuple[Tensor], narrowed: Tensor) -> Tensor:
        whole = narrowed.new_zeros(shape[0][0] * shape[0][1], narrowed.shape[-1])
        whole[positions.to(narrowed.device)] = narrowed[0]
        return whole.view(*shape[0][:2], -1)

    handles = [part.register_forward_pre_hook(fewer), part.register_forward_hook(back)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def forward_kwargs(lm: Any, batch: Batch, like: Tensor) -> dict[str, Any]:
    """What ``lm`` is called with beside the embeddings ``like``, inside ``along_paths``."""
    window = tree_masks.sliding_window(lm.config.get_text_config())
    walk = plan(batch.node, batch.ancestors, batch.position_ids, {0: 0, window: window}, like)
    return _arguments(walk, torch.from_numpy(batch.position_ids).to(like.device), like)


def _arguments(walk: Plan, position: Tensor, like: Tensor) -> dict[str, Any]:
    # A mask of four dimensions is handed on as it is; without one, transformers would make its own.
    return {"attention_mask": like.new_zeros(1, 1, 1, 1), "position_ids": position, "paths": walk}


def supported_trees(lm: Any, most: TreeSupport | None = None) -> TreeSupport:
    """How the model understands a row that branches, found out on seven tokens.

    ``most``: the most that is asked of it, whatever the device; None: paths on a CPU, masks elsewhere.
    """
    if most == "no" or not tree_masks.understands_trees(lm):
        return "no"
    if most is None:
        # A GPU gains nothing, and on the meta device there is nobody to ask.
        most = "paths" if lm.get_input_embeddings().weight.device.type == "cpu" else "masks"
    return "paths" if most == "paths" and _paths_agree(lm) else "masks"


def _paths_agree(lm: Any) -> bool:
    """Whether a tree says the same along its paths as under a mask, at the ends of its branches.

    Asked with windows of two positions, so that a layer which looks over one shows that it tells of it.
    """
    row, window = tree_masks.example(lm), tree_masks.sliding_window(lm.config.get_text_config())
    ends = torch.tensor([4, 6])
    with torch.inference_mode():
        words = lm.get_input_embeddings()(row.ids)
        mask = tree_masks.for_layers(lm.config, row.node, row.ancestors, row.position, words.dtype, narrowed=2)
        masked = lm(inputs_embeds=words, attention_mask=mask, position_ids=row.position, use_cache=False).logits
        text = lm(inputs_embeds=words, use_cache=False).logits
        node, ancestors, position = (of.cpu().numpy() for of in (row.node, row.ancestors, row.position))
        walk = plan(node, ancestors, position, {0: 0, window: 2 if window else 0}, words)
        try:
            with along_paths(lm, ends):
                walked = lm(inputs_embeds=words, use_cache=False, **_arguments(walk, row.position, words)).logits
        except (TypeError, ValueError, RuntimeError, KeyError):
            return False  # the class takes no attention from outside, or has layers of a kind that is not known here
    return tree_masks.alike(lm, *(logits[0, ends] for logits in (walked, masked, text)))
