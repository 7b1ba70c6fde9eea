"""One training step walked through without numbers: how many bytes live at once, and how many operations it takes.

Estimates are usually formulas per layer, true for one family and one release. Here the real model class, with its adapter,
runs forward and backward on torch's meta device, which knows shapes and nothing else: what is kept for the way back, what
checkpointing frees, how large the logits are, is all as the code has it. Only attention is set to the fused kernel
that a GPU would take, since the meta device has none.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch
    from bemerc.language.model.behavior_model import BehaviorModel

_ONE_WALK = threading.Lock()
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACK = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Walked:
    """What one step needs beside weights and optimizer: ``bytes`` alive at once at most, ``flops`` in all."""

    bytes: int
    flops: float


def step(model: BehaviorModel, batches: Sequence[Batch]) -> Walked:
    """Walk through a step in parts, forward and backward; the model lies on the meta device, or the step is real."""
    live = Live()
    with live, _fused():
        for batch in batches:
            (model(batch) / len(batches)).backward()
    for weight in model.trainable().values():
        weight.grad = None
    return Walked(live.peak, float(live.flops))


class Live(TorchDispatchMode):
    """Bytes of the tensors that were made while this lasts and are still there: ``now``, and ``peak``, the most at once.

    ``flops`` are counted beside them by torch's own formulas; torch's counter itself follows modules by hooks that keep alive
    what checkpointing has let go.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.flops = 0
        self._storages: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        counted = FLOPS.get(func._overloadpacket)
        if counted is not None:
            self.flops += counted(*args, **(kwargs or {}), out_val=out)
        given = {t.untyped_storage()._cdata for t in tree_leaves(args) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given:
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._storages:
            self._storages.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._storages.discard(key)
        self.now -= size


@contextlib.contextmanager
def _fused() -> Iterator[None]:
    """sdpa on the meta device as one kernel that keeps no weights of attention, as on a GPU.

    The function is exchanged while this lasts: a mode of torch's would not hold for what checkpointing computes again.
    Other threads notice nothing, since real tensors go the usual way; a second walk waits, else it would take this one's
    function for torch's and leave it there.
    """
    with _ONE_WALK:
        yield from _exchanged()


def _exchanged() -> Iterator[None]:
    usual = torch.nn.functional.scaled_dot_product_attention

    def kernel(query: Tensor, key: Tensor, value: Tensor, **given: Any) -> Tensor:
        if query.device.type != "meta":
            there: Tensor = usual(query, key, value, **given)
            return there
        if given.get("enable_gqa"):
            key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
        attended: Tensor = FUSED(query, key, value, attn_mask=given.get("attn_mask"), scale=given.get("scale"))[0]
        return attended

    torch.nn.functional.scaled_dot_product_attention = kernel
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = usual


def _forward(query: Tensor, key: Tensor, *_: Any, **__: Any) -> int:
    """Two products of (L, D) with (D, L') per head."""
    batch, heads, length, width = query.shape
    return int(4 * batch * heads * length * key.shape[2] * width)


def _backward(_: Tensor, query: Tensor, key: Tensor, *__: Any, **___: Any) -> int:
    """Five such products: the scores are computed anew."""
    batch, heads, length, width = query.shape
    return int(10 * batch * heads * length * key.shape[2] * width)


FLOPS: dict[Any, Any] = {**flop_registry, FUSED: _forward, FUSED_BACK: _backward}
