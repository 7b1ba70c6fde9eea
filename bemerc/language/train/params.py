"""Params of a training, which align and merc share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bemerc.core.renames import formerly


@dataclass(frozen=True)
class Params:
    """params.yaml: align, whose defaults these are, and merc, whose defaults merc.py has.

    epochs, patience  most epochs, and how many in a row may fail to improve dev before training stops; patience 0 = never
                      stop early, epochs 0 = learn nothing: the backbone as it is, judged and saved like a trained model
    batch             examples per step, about, over all processes: a tree is never cut
    accumulate        parts that a step is computed in, one after the other: less memory, the same gradient; on a CPU at least
                      as many as keep a part below a GB (parts.py)
    row_tokens        positions that examples with a common beginning may share a tree of; 0: every example alone
    max_length        longest path of an example in tokens; the oldest turns are left out until it fits
    precision         what is multiplied in, by autocast; model.dtype is what the frozen weights are stored in
    adapter_lr, projector_lr  peak learning rates, after a warm-up over ``warmup`` of the steps, falling as a cosine
    weight_decay, clip  of AdamW; the gradients' largest norm
    ema_decay         of an exponential moving average of the weights over steps, w <- decay * w + (1 - decay) * new; dev judges
                      the average, and it is what is kept: on a few hundred utterances single steps leap. 0: the last step's weights
    seed              of the new weights, the order and the dropout
    """

    epochs: int = 4
    patience: int = 0
    batch: int = 32
    accumulate: int = 1
    row_tokens: int = 640
    max_length: int = 2048
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    adapter_lr: float = 3.0e-3
    projector_lr: float = 3.0e-3
    warmup: float = 0.1
    weight_decay: float = 0.1
    clip: float = 1.0
    ema_decay: float = field(default=0.98, metadata=formerly("average"))
    seed: int = 0

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name in ("batch", "accumulate", "max_length"):
            if getattr(self, name) < 1:
                yield f"{name}: must be at least 1, not {getattr(self, name)}."
        for name in ("adapter_lr", "projector_lr", "clip"):
            if not getattr(self, name) > 0:
                yield f"{name}: must be above 0, not {getattr(self, name)}."
        for name in ("epochs", "patience", "row_tokens", "weight_decay"):
            if getattr(self, name) < 0:
                yield f"{name}: must not be negative, not {getattr(self, name)}."
        for name in ("warmup", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: must be at least 0 and below 1, not {getattr(self, name)}."
