"""Weights as training keeps them beside the model: a running mean over steps, and copies in one piece.

A parameter may be sharded over processes (FSDP 2 makes it a DTensor); what is kept, written and compared is the whole of
it. Without sharding all of this is plain copying.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(weight: Tensor) -> Tensor:
    """A detached copy in one piece; every process must ask for it at once."""
    weight = weight.detach()
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.clone()


def place(value: Tensor, into: Tensor) -> None:
    """Overwrite a weight, sharded or not, with a whole value."""
    with torch.no_grad():
        value = value.to(into.device)
        if isinstance(into, DTensor):
            value = distribute_tensor(value, into.device_mesh, into.placements)
        into.copy_(value)


class Mean:
    """A running mean of ``weights``, w <- average * w + (1 - average) * new."""

    def __init__(self, weights: Mapping[str, Tensor], average: float) -> None:
        self.weights, self.average, self.steps = weights, average, 0
        self.mean = {name: weight.detach().clone() for name, weight in weights.items()}

    def update(self) -> None:
        """Take in the present weights; early on the mean is short, so that it does not drag the start along."""
        self.steps += 1
        kept = min(self.average, 1 - 1 / self.steps)
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.mean[name].lerp_(weight, 1 - kept)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the mean for its weights while this lasts."""
        now = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._put(self.mean)
        try:
            yield
        finally:
            self._put(now)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(values[name])

    def copy(self) -> dict[str, Tensor]:
        """The mean as it is now, in one piece."""
        return {name: whole(value) for name, value in self.mean.items()}

    def go_on_from(self, values: Mapping[str, Tensor], steps: int) -> None:
        """Take over what ``copy`` gave."""
        self.steps = steps
        for name, value in values.items():
            place(value, self.mean[name])
