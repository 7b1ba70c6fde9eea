"""fit(): the one training loop, for align and merc alike. What differs between them is handed in.

A trainer of a library would bring its own collator, its own padding and its own idea of which epoch is best. Here a step
is a batch of trees (dataset.py), the loss is taken on targets alone, and the caller's dev scorer picks the epoch: a
higher score wins, between equal scores the one that is surer of dev's answers. Test data never enters this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bemerc import dataset
from bemerc.errors import ModelError
from bemerc.progress import bar

if TYPE_CHECKING:
    from bemerc.dataset import Tree
    from bemerc.model import BehaviorModel
    from bemerc.tokens import TokenFile

# Training may lose so much when it is killed. A constant and no parameter: it changes nothing in what comes out.
CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Params:
    """params.yaml: align and merc, one section each.

    epochs, patience  most epochs, and how many in a row may fail to improve dev before training stops; 0 = never stop early
    batch             examples per step, about: a tree is never cut
    row_tokens        positions that examples with a common beginning may share a tree of; 0: every example alone
    max_length        longest path of an example in tokens; the oldest turns are left out until it fits
    adapter_lr, projector_lr  peak learning rates, after a warm-up over ``warmup`` of the steps, falling as a cosine
    weight_decay, clip  of AdamW; the gradients' largest norm
    average           of weights over steps, w <- average * w + (1 - average) * new; dev judges the average, and it is what
                      is kept: on a few hundred utterances single steps leap. 0: the last step's weights
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
    average: float
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
        for name in ("warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: must be at least 0 and below 1, not {getattr(self, name)}."


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


@dataclass
class _State:
    """Where training stands, beside the weights: what a checkpoint must hold for the rest to come out bit for bit."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    losses: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    positions: int = 0
    seconds: float = 0.0  # of this epoch
    total_s: float = 0.0
    lines: list[str] = field(default_factory=list)
    best: tuple[Score, Epoch, dict[str, Tensor]] | None = None


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

    Deterministic on the CPU: same weights, trees, params and thread count, same numbers, also where a killed run went on
    from its checkpoint, which lies beside the log's folder until training ends. Raises ModelError when the loss is no
    longer a number, the device's memory does not suffice or the disk is full.
    """
    torch.manual_seed(params.seed)
    optimizer, mean = _optimizer(model, params), _Mean(model, params.average)
    per_epoch = sum(1 for _ in dataset.batches(trees, params.batch, np.random.default_rng(0)))
    steps = params.epochs * per_epoch
    mark = _mark(model, trees, tokens, params)
    checkpoint = _Checkpoint(log.parent.with_name(f"{log.parent.name}.checkpoint"), model, optimizer, mean, mark)
    state = checkpoint.load()
    with bar(what, steps, "steps") as advance:
        advance(state.epoch * per_epoch + state.step)
        while state.epoch < params.epochs and not _over(state, params):
            _epoch(model, trees, tokens, optimizer, params, state, (per_epoch, steps), advance, checkpoint)
            _close_epoch(model, optimizer, mean, score, state)
            _write_log(log, state.lines)
            checkpoint.save(state)
    assert state.best is not None
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            parameter.copy_(state.best[2][name])
    checkpoint.remove()
    return state.best[1]


def _over(state: _State, params: Params) -> bool:
    """Whether dev has not improved for too long."""
    return bool(params.patience and state.best and state.epoch - state.best[1].epoch >= params.patience)


def _close_epoch(
    model: BehaviorModel,
    optimizer: torch.optim.AdamW,
    mean: _Mean,
    score: Callable[[BehaviorModel], Score],
    state: _State,
) -> None:
    """Let dev score the mean weights, write the epoch's line, keep the weights where they are the best."""
    with mean.in_place():
        found = score(model.eval())
    better = state.best is None or (found.value, found.surety) > (state.best[0].value, state.best[0].surety)
    state.total_s += state.seconds
    line = Epoch(
        epoch=state.epoch + 1,
        loss=float(np.average(state.losses, weights=state.weights)),
        lr=optimizer.param_groups[0]["lr"],
        tokens_per_s=state.positions / max(state.seconds, 1e-9),
        seconds=state.total_s,
        best=better,
        dev=found.numbers,
    )
    state.lines.append(line.line())
    if better:
        state.best = found, line, mean.copy()
    state.epoch, state.step, state.positions, state.seconds = state.epoch + 1, 0, 0, 0.0
    state.losses, state.weights = [], []


def _write_log(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


class _Checkpoint:
    """A file from which training goes on as if nothing had happened; one of another training is passed over."""

    def __init__(self, path: Path, model: BehaviorModel, optimizer: torch.optim.AdamW, mean: _Mean, mark: str) -> None:
        self.path, self.model, self.optimizer, self.mean, self.mark = path, model, optimizer, mean, mark
        self.saved = time.monotonic()

    def save(self, state: _State) -> None:
        """Write the checkpoint; where the disk is full, the last good one stays and ModelError says so."""
        partial = self.path.with_name(f"{self.path.name}.partial")
        held = {
            "mark": self.mark,
            "state": _as_plain(state),
            "weights": {name: p.detach() for name, p in self.model.trainable().items()},
            "mean": self.mean.mean,
            "mean_steps": self.mean.steps,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(held, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            with contextlib.suppress(OSError):
                partial.unlink()
            raise ModelError(
                f"{self.path}: the checkpoint could not be written ({error}). The last good one stays: make room and run "
                "again, and training goes on from there."
            ) from None
        self.saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.saved >= CHECKPOINT_S

    def load(self) -> _State:
        """The state to go on from; a fresh one where there is no checkpoint of this very training."""
        if not self.path.is_file():
            return _State()
        try:
            held = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return _State()  # cut short by a crash of the machine: what it held can be computed again
        if not isinstance(held, dict) or held.get("mark") != self.mark:
            return _State()
        with torch.no_grad():
            for name, parameter in self.model.trainable().items():
                parameter.copy_(held["weights"][name])
        self.mean.mean, self.mean.steps = self.mean.copy_of(held["mean"]), held["mean_steps"]
        self.optimizer.load_state_dict(held["optimizer"])
        torch.set_rng_state(held["random"])
        if held["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(held["random_cuda"])
        return _from_plain(held["state"])

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _mark(model: BehaviorModel, trees: Sequence[Tree], tokens: TokenFile | None, params: Params) -> str:
    """What makes this training this one: params, starting weights, backbone, examples and their behavior."""
    digest = hashlib.sha256(json.dumps(asdict(params), sort_keys=True).encode())
    digest.update(model.backbone.encode())
    for name, parameter in model.trainable().items():
        digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    for tree in trees:
        digest.update(tree.ids.tobytes() + tree.node.tobytes() + tree.token.tobytes() + repr(tree.behavior).encode())
        for values, mask in dataset.collate([tree], tokens).behavior.values():
            digest.update(values.tobytes() + mask.tobytes())
    return digest.hexdigest()


def _as_plain(state: _State) -> dict[str, Any]:
    plain = {f.name: getattr(state, f.name) for f in fields(_State) if f.name != "best"}
    best = state.best
    return plain | {"best": None if best is None else (asdict(best[0]), asdict(best[1]), best[2])}


def _from_plain(plain: dict[str, Any]) -> _State:
    best = plain.pop("best")
    return _State(**plain, best=None if best is None else (Score(**best[0]), Epoch(**best[1]), best[2]))


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


class _Mean:
    """A running mean of the trainable weights."""

    def __init__(self, model: BehaviorModel, average: float) -> None:
        self.weights, self.average, self.steps = model.trainable(), average, 0
        self.mean = {name: weight.detach().clone() for name, weight in self.weights.items()}

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
        """The mean as it is now."""
        return {name: value.clone() for name, value in self.mean.items()}

    def copy_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``values`` where the weights lie."""
        return {name: values[name].to(weight.device) for name, weight in self.weights.items()}


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
    state: _State,
    plan: tuple[int, int],
    advance: Callable[[int], None],
    checkpoint: _Checkpoint,
) -> None:
    """The rest of one pass over the trees, from where ``state`` stands; ``plan`` = (steps per epoch, steps in all)."""
    model.train()
    # The order is a function of seed and epoch alone, so that a resumed epoch skips what it has done.
    shuffle = np.random.default_rng([params.seed, state.epoch])
    for index, group in enumerate(dataset.batches(trees, params.batch, shuffle)):
        if index < state.step:
            continue
        start = time.monotonic()
        _set_rate(optimizer, state.epoch * plan[0] + index, plan[1], params.warmup)
        batch = dataset.collate(group, tokens)
        state.losses.append(_step(model, batch, optimizer, params.clip, state.epoch + 1, index + 1))
        checkpoint.mean.update()
        state.weights.append(len(batch.ids))
        state.positions += batch.positions
        state.seconds += time.monotonic() - start
        state.step = index + 1
        advance(1)
        if checkpoint.due():
            checkpoint.save(state)


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
