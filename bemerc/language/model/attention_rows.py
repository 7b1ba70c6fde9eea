"""Attention weights that can be read and changed, at the positions where labels are scored.

Attention that is fast gives no weights. Here every position attends as it always does, and beside it the rows of a few
queries are computed anew: those of ``logit_positions``, which are the end of every prompt and the tokens inside a label that
another one follows. What a rule makes of such a row is added to the output as a difference, so that a row which it leaves
alone keeps its bits, and all other positions theirs. It works along paths, under masks and for single prompts alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.model import tree_attention, tree_masks

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch

NAME = "bemerc_rows"


class Rule:
    """What is done with attention rows. B rows of the batch, h heads, Q queries, L positions, N behavior tokens."""

    def heads(self, layer: int, count: int) -> Tensor | None:
        """(h,) int64: the heads of a layer whose rows are computed, of ``count``; None: none."""
        raise NotImplementedError

    def logits(self, layer: int, scores: Tensor, rows: Rows) -> Tensor | None:
        """scores (B, h, Q, L) float32 before the softmax, as they shall be; None: as they are."""
        return None

    def change(self, layer: int, weights: Tensor, rows: Rows) -> Tensor | None:
        """weights (B, h, Q, N) float32 on behavior tokens -> what is to be added to them; None: nothing."""
        return None


@dataclass(frozen=True)
class Rows:
    """Which rows of a batch a rule gets. Tensors lie on one device; B rows, Q queries and N behavior tokens at most in each.

    rule
    query    (B, Q) the query's position in its row; 0 where there are fewer
    real     (B, Q) whether there is a query
    inner    (B, Q) whether the query stands inside a label; else at the end of a prompt
    example  (B, Q) an example that is predicted from there, as an index into ``keys``
    column   (B, N) the positions of measured behavior tokens of the utterances that are asked about; 0 where there are fewer
    slot     (B, N) modality (as in MODALITIES) * K + number of the token; 3 * K where there are fewer
    visible  window (0: none) -> (B, 1, Q, L) additive float32, along paths; elsewhere layers have masks
    keys     the batch's keys
    """

    rule: Rule
    query: Tensor
    real: Tensor
    inner: Tensor
    example: Tensor
    column: Tensor
    slot: Tensor
    visible: dict[int, Tensor]
    keys: tuple[tuple[str, int], ...]
    k: int

    @cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """(M,) row and (M,) position of every query that there is, row by row."""
        row, number = self.real.nonzero(as_tuple=True)
        return row, self.query[row, number]


def rows_of(batch: Batch, rule: Rule, device: torch.device, windows: tuple[int, ...]) -> Rows | None:
    """The rows of a batch; ``windows``: for which masks are made. None where nothing was measured of any utterance."""
    count, length = batch.node.shape
    slot = _slots(batch)
    if slot is None:
        return None
    k = next(iter(batch.behavior.values()))[1].shape[1]
    none = len(MODALITIES) * k
    of_behavior = [np.flatnonzero(one >= 0) for one in slot]
    row_of, at = np.divmod(batch.logit_positions, length)
    inner = np.ones(len(at), bool)
    inner[batch.logit_index[np.unique(batch.example, return_index=True)[1]]] = False
    example = np.zeros(len(at), np.int64)
    example[batch.logit_index] = batch.example
    of_queries = [np.flatnonzero(row_of == row) for row in range(count)]

    def here(parts: list[np.ndarray[Any, Any]], fill: Any) -> Tensor:
        padded = np.full((count, max(map(len, parts))), fill, parts[0].dtype)
        for row, part in enumerate(parts):
            padded[row, : len(part)] = part
        return torch.from_numpy(padded).to(device)

    query = here([at[of] for of in of_queries], 0)
    return Rows(
        rule,
        query,
        here([np.ones(len(of), bool) for of in of_queries], False),
        here([inner[of] for of in of_queries], False),
        here([example[of] for of in of_queries], 0),
        here(of_behavior, 0),
        here([one[of] for one, of in zip(slot, of_behavior, strict=True)], none),
        {window: _visible(batch, query, window) for window in windows},
        batch.keys,
        k,
    )


def _slots(batch: Batch) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """(B, L): modality * K + number of the token where something was measured of an utterance that is asked about, else -1.

    Brief placeholders, of earlier turns, have other codes and are left out.
    """
    slot = np.full(batch.modality.shape, -1)
    for code, name in enumerate(MODALITIES):
        if name in batch.behavior:
            mask = batch.behavior[name][1]
            numbers = np.broadcast_to(code * mask.shape[1] + np.arange(mask.shape[1]), mask.shape)
            slot[batch.modality == code] = np.where(mask, numbers, -1).ravel()
    return slot if (slot >= 0).any() else None


def _visible(batch: Batch, query: Tensor, window: int) -> Tensor:
    """(B, 1, Q, L) additive float32: what a query may see, as in tree_masks, for these queries alone."""
    device = query.device
    node, ancestors, position = (
        torch.from_numpy(of).to(device) for of in (batch.node, batch.ancestors, batch.position_ids)
    )
    count, length = node.shape
    own = node.gather(1, query).clamp(min=0)
    above = ancestors.gather(1, own.unsqueeze(-1).expand(-1, -1, ancestors.shape[2]))
    visible = above.gather(2, node.clamp(min=0).unsqueeze(1).expand(-1, query.shape[1], -1))
    visible &= (torch.arange(length, device=device) <= query.unsqueeze(-1)) & (node >= 0).unsqueeze(1)
    if window:
        visible &= position.gather(1, query).unsqueeze(-1) - position.unsqueeze(1) < window
    hidden = torch.zeros(count, 1, query.shape[1], length, device=device)
    return hidden.masked_fill(~visible.unsqueeze(1), -torch.inf)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: Rows | None = None,
    paths: tree_attention.Plan | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As tree_attention.attend, whether along ``paths`` or under a mask; then the rule's differences."""
    how = {"scaling": scaling, "softcap": softcap}
    if paths is not None:
        out, _ = tree_attention.attend(
            module, query, key, value, None, paths=paths, sliding_window=sliding_window, **how, **others
        )
    else:
        out = tree_attention.attend_masked(query, key, value, attention_mask, **how, **others)
    if rows is not None:
        mask = rows.visible[sliding_window or 0] if paths is not None else _at(attention_mask, rows.query)
        _change(int(module.layer_idx), query, key, value, mask, out, rows, scaling, softcap)
    return out, None


def _at(mask: Tensor | None, query: Tensor) -> Tensor:
    """mask (B or 1, 1, L, L) -> (B, 1, Q, L)."""
    assert mask is not None, "masks are made for this attention"
    rows = torch.arange(len(query), device=mask.device).unsqueeze(-1)
    return mask.expand(len(query), -1, -1, -1)[rows, 0, query.to(mask.device)].unsqueeze(1)


def _change(
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    out: Tensor,
    rows: Rows,
    scaling: float | None,
    softcap: float | None,
) -> None:
    """Add to ``out`` (B, L, heads, d) what the rule changes."""
    heads = rows.rule.heads(layer, query.shape[1])
    if heads is None:
        return
    device = query.device
    heads, asked = heads.to(device), rows.query.to(device)
    group = torch.div(heads, query.shape[1] // key.shape[1], rounding_mode="floor")
    each = torch.arange(len(query), device=device).view(-1, 1, 1)
    some = query[each, heads.view(1, -1, 1), asked.unsqueeze(1)].float()
    scores = some @ key[:, group].float().transpose(2, 3) * (query.shape[3] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores += mask.to(device)
    weights = scores.softmax(-1)
    boosted = rows.rule.logits(layer, scores, rows)
    values = value[:, group].float()
    if boosted is not None:
        difference = (boosted.softmax(-1) - weights) @ values
    else:
        column = rows.column.to(device)
        where = column[:, None, None].expand(-1, len(heads), weights.shape[2], -1)
        changed = rows.rule.change(layer, weights.gather(3, where), rows)
        if changed is None:
            return
        difference = changed @ values[each, torch.arange(len(heads), device=device).view(1, -1, 1), column.unsqueeze(1)]
    row, position = (of.to(device) for of in rows.positions)
    index = (row.unsqueeze(-1), position.unsqueeze(-1), heads)
    added = difference.transpose(1, 2)[rows.real.to(device)]
    out[index] = (out[index] + added).to(out.dtype)


@contextlib.contextmanager
def attending(lm: Any) -> Iterator[None]:
    """Within it, every layer of ``lm`` attends by ``attend``, which takes ``rows``; masks of two dimensions become of four."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(NAME, attend)
    # Without a mask function of its name it would get no mask at all, and sdpa's may give none, for what is causal anyway.
    AttentionMaskInterface.register(NAME, eager_mask)
    text = lm.config.get_text_config()
    before, text._attn_implementation = text._attn_implementation, NAME
    try:
        yield
    finally:
        text._attn_implementation = before


class _Counted(Rule):
    """Looks at no row, and notes which layers ask."""

    def __init__(self) -> None:
        self.layers: list[int] = []

    def heads(self, layer: int, count: int) -> Tensor | None:
        self.layers.append(layer)
        return None


def must_give_rows(lm: Any, name: str, trees: tree_attention.TreeSupport) -> None:
    """Raise ModelError unless every layer attends by what it is handed, and says the same as ever; asked on seven tokens."""
    if lm.get_input_embeddings().weight.device.type == "meta":
        return
    example, counted = tree_masks.example(lm), _Counted()
    with torch.inference_mode():
        words, given = lm.get_input_embeddings()(example.ids), dict[str, Any]()
        if trees == "no":
            given["attention_mask"] = torch.ones_like(example.ids)
        else:
            given["position_ids"] = example.position
            given["attention_mask"] = tree_masks.for_layers(
                lm.config, example.node, example.ancestors, example.position, words.dtype
            )
        usual, backwards = (
            lm(inputs_embeds=of, use_cache=False, **given).logits[0, -1:] for of in (words, words.flip(1))
        )
        empty = torch.zeros(1, 1, dtype=torch.long, device=words.device)
        rows = Rows(counted, empty, empty > 0, empty > 0, empty, empty, empty, {}, (), 1)
        try:
            with attending(lm):
                again = lm(inputs_embeds=words, use_cache=False, rows=rows, **given).logits[0, -1:]
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
            again = None  # the class takes no attention from outside, or layers of a kind that is not known here
    layers = int(lm.config.get_text_config().num_hidden_layers)
    if again is None or counted.layers != list(range(layers)) or not tree_masks.alike(lm, again, usual, backwards):
        raise ModelError(
            f"'{name}' ({lm.config.model_type}): its layers take no attention from outside, so there are no attention weights "
            "to read or to move. Set predict.reallocate: none."
        )
