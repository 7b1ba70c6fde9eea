"""EMA: an exponential moving average of weights over steps; and copies of weights that may be sharded.

Under FSDP 2 a parameter is a DTensor, sharded over processes; what is kept, written and compared is all of it. Without
sharding these functions copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def unsharded(weight: Tensor) -> Tensor:
    """A detached copy of a whole weight; every process must ask for it at once."""
    weight = weight.detach()
    return weight.full_tensor() if isinstance(weight, DTensor) else weight.clone()


def overwrite(weight: Tensor, value: Tensor) -> None:
    """Set a weight, sharded or not, to a whole value."""
    with torch.no_grad():
        value = value.to(weight.device)
        if isinstance(weight, DTensor):
            value = distribute_tensor(value, weight.device_mesh, weight.placements)
        weight.copy_(value)


class EMA:
    """The exponential moving average of ``weights`` by name: average <- decay * average + (1 - decay) * weight."""

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.weights, self.decay, self.steps = weights, decay, 0
        self.averages = {name: weight.detach().clone() for name, weight in weights.items()}

    def update(self) -> None:
        """Take in the present weights. Early on the decay is smaller, so that the first weights do not linger."""
        self.steps += 1
        decay = min(self.decay, 1 - 1 / self.steps)
        with torch.no_grad():
            for name, weight in self.weights.items():
                self.averages[name].lerp_(weight, 1 - decay)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within it the model's weights are the averages."""
        now = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self._copy_in(self.averages)
        try:
            yield
        finally:
            self._copy_in(now)

    def _copy_in(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """The averages as they are now, unsharded."""
        return {name: unsharded(value) for name, value in self.averages.items()}

    def load_state(self, averages: Mapping[str, Tensor], steps: int) -> None:
        """Go on from what ``state`` gave after ``steps`` updates."""
        self.steps = steps
        for name, value in averages.items():
            overwrite(self.averages[name], value)
