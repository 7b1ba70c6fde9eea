"""fit(): the one training loop, for align and merc alike. What differs between them is handed in.

A trainer of a library would bring its own collator, its own padding and its own idea of which epoch is best. Here a step
is a batch of trees (dataset.py), the loss is taken on targets alone, and the caller's dev scorer picks the epoch: a
higher score wins, between equal scores the one that is surer of dev's answers. Test data never enters this module.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bemerc import dataset
from bemerc.errors import ModelError
from bemerc.progress import bar

if TYPE_CHECKING:
    from bemerc.dataset import Tree
    from bemerc.model import BehaviorModel
    from bemerc.tokens import TokenFile


@dataclass(frozen=True)
class Params:
    """params.yaml: align and merc, one section each.

    epochs, patience  most epochs, and how many in a row may fail to improve dev before training stops; 0 = never stop early
    batch             examples per step, about: a tree is never cut
    row_tokens        positions that examples with a common beginning may share a tree of; 0: every example alone
    max_length        longest path of an example in tokens; the oldest turns are left out until it fits
    adapter_lr, projector_lr  peak learning rates, after a warm-up over ``warmup`` of the steps, falling as a cosine
    weight_decay, clip  of AdamW; the gradients' largest norm
    seed              of the new weights, the order and the dropout
    """

    epochs: int
    patience: int
    batch: int
    row_tokens: int
    max_length: int
    adapter_lr: float
    projector_lr: float
    warmup: float
    weight_decay: float
    clip: float
    seed: int

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name in ("epochs", "batch", "max_length"):
            if getattr(self, name) < 1:
                yield f"{name}: must be at least 1, not {getattr(self, name)}."
        for name in ("adapter_lr", "projector_lr", "clip"):
            if not getattr(self, name) > 0:
                yield f"{name}: must be above 0, not {getattr(self, name)}."
        for name in ("patience", "row_tokens", "weight_decay"):
            if getattr(self, name) < 0:
                yield f"{name}: must not be negative, not {getattr(self, name)}."
        if not 0 <= self.warmup < 1:
            yield f"warmup: must be at least 0 and below 1, not {self.warmup}."


@dataclass(frozen=True)
class Score:
    """What a dev scorer found: ``value`` decides, ``surety`` breaks ties (both higher is better), ``numbers`` are logged."""

    value: float
    surety: float
    numbers: dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """One line of train_log.jsonl."""

    epoch: int
    loss: float
    lr: float
    tokens_per_s: float
    seconds: float
    best: bool
    dev: dict[str, float]

    def line(self) -> str:
        """As JSON, the dev numbers beside the others."""
        plain = {key: value for key, value in asdict(self).items() if key != "dev"}
        return json.dumps(plain | {f"dev_{name}": value for name, value in self.dev.items()})


def fit(
    model: BehaviorModel,
    trees: Sequence[Tree],
    tokens: TokenFile | None,
    score: Callable[[BehaviorModel], Score],
    params: Params,
    log: Path,
    what: str,
) -> Epoch:
    """Train adapter and projectors on ``trees``; leaves the best epoch's weights in ``model`` and returns its line.

    Deterministic on the CPU: same weights, trees, params and thread count, same numbers. Raises ModelError when the loss
    is no longer a number, or the device's memory does not suffice.
    """
    torch.manual_seed(params.seed)
    optimizer = _optimizer(model, params)
    per_epoch = sum(1 for _ in dataset.batches(trees, params.batch, np.random.default_rng(0)))
    steps = params.epochs * per_epoch
    best: tuple[Score, Epoch, dict[str, torch.Tensor]] | None = None
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as file, bar(what, steps, "steps") as advance:
        for number in range(params.epochs):
            loss, rate = _epoch(model, trees, tokens, optimizer, params, (number, per_epoch, steps), advance)
            found = score(model.eval())
            better = best is None or (found.value, found.surety) > (best[0].value, best[0].surety)
            lr = optimizer.param_groups[0]["lr"]
            epoch = Epoch(number + 1, loss, lr, rate, time.monotonic() - start, better, found.numbers)
            file.write(epoch.line() + "\n")
            file.flush()
            if better:
                best = found, epoch, {name: p.detach().clone() for name, p in model.trainable().items()}
            assert best is not None
            if params.patience and epoch.epoch - best[1].epoch >= params.patience:
                break
    assert best is not None
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            parameter.copy_(best[2][name])
    return best[1]


def weighted_f1(gold: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """F1 of each class, weighted by how often it is the right one; a class that is never named has F1 0.

    ``evaluate`` has this number as well, with intervals. It is worked out here anew so that editing the metrics does not
    make DVC train every model again; a test holds both to scikit-learn's.
    """
    total = 0.0
    for label in np.unique(gold):
        right, said = gold == label, predicted == label
        total += right.sum() * 2 * (right & said).sum() / (right.sum() + said.sum())
    return float(total / len(gold))


def _optimizer(model: BehaviorModel, params: Params) -> torch.optim.AdamW:
    named = model.trainable()
    groups = [
        {"params": [p for n, p in named.items() if "lora_" in n], "lr": params.adapter_lr},
        {"params": [p for n, p in named.items() if "lora_" not in n], "lr": params.projector_lr},
    ]
    for group in groups:
        group["peak"] = group["lr"]
    kept = [group for group in groups if group["params"]]
    return torch.optim.AdamW(kept, betas=(0.9, 0.98), weight_decay=params.weight_decay)


def _epoch(
    model: BehaviorModel,
    trees: Sequence[Tree],
    tokens: TokenFile | None,
    optimizer: torch.optim.AdamW,
    params: Params,
    place: tuple[int, int, int],
    advance: Callable[[int], None],
) -> tuple[float, float]:
    """One pass over the trees; ``place`` = (epoch, steps per epoch, steps in all). Mean loss per example, positions/s."""
    model.train()
    number, per_epoch, steps = place
    start, positions, losses, weights = time.monotonic(), 0, [], []
    shuffle = np.random.default_rng([params.seed, number])
    for index, group in enumerate(dataset.batches(trees, params.batch, shuffle)):
        _set_rate(optimizer, number * per_epoch + index, steps, params.warmup)
        batch = dataset.collate(group, tokens)
        losses.append(_step(model, batch, optimizer, params.clip, number + 1, index + 1))
        weights.append(len(batch.ids))
        positions += batch.positions
        advance(1)
    return float(np.average(losses, weights=weights)), positions / max(time.monotonic() - start, 1e-9)


def _step(
    model: BehaviorModel, batch: dataset.Batch, optimizer: torch.optim.AdamW, clip: float, epoch: int, step: int
) -> float:
    try:
        loss = model(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"The loss became {value} in epoch {epoch}, step {step}. Lower adapter_lr and projector_lr, or use float32."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
        optimizer.step()
        return value
    except torch.cuda.OutOfMemoryError:
        raise ModelError(
            f"The GPU's memory does not suffice for a batch of {len(batch.ids)} examples in rows of "
            f"{batch.input_ids.shape[1]} positions. Lower batch or row_tokens, or set model.gradient_checkpointing: true."
        ) from None


def _set_rate(optimizer: torch.optim.AdamW, step: int, steps: int, warmup: float) -> None:
    """Up in a line over the warm-up, then down a cosine to a hundredth of the peak."""
    rising = max(1.0, warmup * steps)
    falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * min(1.0, (step + 1) / rising) * falling
