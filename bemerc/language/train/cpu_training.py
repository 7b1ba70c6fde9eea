"""Training on a CPU: what it will hold, said before it begins, and a warning where its precision is slow there."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
import torch

from bemerc.core.progress import say
from bemerc.language.train import parts

if TYPE_CHECKING:
    from bemerc.language.inputs.packing import Tree
    from bemerc.language.model.behavior_model import BehaviorModel
    from bemerc.language.train.params import Params

SLOWER = 1.5  # from which on half a precision's memory is not worth its time
ROWS, WIDTH, TIMES = 256, 512, 5
_log = logging.getLogger(__name__)


def tell(
    what: str, model: BehaviorModel, groups: Sequence[Sequence[Tree]], params: Params, steps: int, done: int = 0
) -> None:
    """A line on the length of a training and its memory; warnings where the machine has not that much, or multiplies
    the precision in use slowly.

    groups  the trees of an epoch's steps
    steps   of all epochs
    done    of them, before this run
    """
    needed, free = parts.memory_bytes(model, groups, params.accumulate), psutil.virtual_memory().available
    resumed = f", {done} of them done before" if done else ""
    say(f"{what}: {steps} steps{resumed}, threads: {torch.get_num_threads()}, about {needed / 1e9:.1f} GB of memory")
    if needed > free:
        _log.warning(
            "%s needs about %.1f GB of memory and %.1f are free. Lower row_tokens, set model.gradient_checkpointing: true, or "
            "model.dtype: bfloat16.",
            what,
            needed / 1e9,
            free / 1e9,
        )
    multiplied = params.precision if params.precision != "float32" else model.params.dtype
    if multiplied != "float32":
        warn_if_slow(multiplied)


def warn_if_slow(precision: str) -> float:
    """Time a product in ``precision`` and in float32 (milliseconds) and warn where float32 is faster; returns how many times
    as long it takes.

    Measured, since what a processor lacks has another name on every kind of it.
    """
    ratio = _seconds(getattr(torch, precision)) / _seconds(torch.float32)
    if ratio > SLOWER:
        _log.warning(
            "This processor multiplies %s %.0f times as slowly as float32. Set precision and model.dtype to float32.",
            precision,
            ratio,
        )
    return ratio


def _seconds(dtype: torch.dtype) -> float:
    """The quickest of some products of (ROWS, WIDTH) by (WIDTH, WIDTH)."""
    left, right = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    spent = []
    for _ in range(TIMES):
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        spent.append(time.perf_counter() - start)
    return min(spent)
