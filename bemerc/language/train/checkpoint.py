"""A file from which a killed training goes on as if nothing had happened, and the state that such a file must hold.

Trainers of libraries resume at their last whole epoch, or lose the order of the examples, the dropout or the count of
epochs without improvement. Here all of it is in one file, written beside the model's folder and swapped in when it is
whole, and it says of which training it is: one of another training is passed over.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from bemerc.core.errors import ModelError
from bemerc.language.train.ema import Mean, place, whole
from bemerc.language.train.log import Epoch

# Training may lose so much when it is killed. A constant and no parameter: it changes nothing in what comes out.
CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Score:
    """What a dev scorer found: ``value`` decides (higher is better), ``numbers`` are logged."""

    value: float
    numbers: dict[str, float]


@dataclass
class State:
    """Where training stands, beside the weights.

    epoch, step  epochs done, and steps done in the one that runs
    losses, examples  of the steps of this epoch
    positions, seconds, waited  of the same steps
    total_s      since training began, dev included
    watched      losses of the first steps of all and of the last ones (soundness.py)
    lines        of the journal
    last         the epoch before this one
    best         score, epoch and weights that dev likes best
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    positions: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    total_s: float = 0.0
    watched: list[float] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    last: Epoch | None = None
    best: tuple[Score, Epoch, dict[str, Tensor]] | None = None


class Checkpoint:
    """The checkpoint of one training, which ``mark`` names; every process calls it, the main one writes."""

    def __init__(
        self, path: Path, weights: Mapping[str, Tensor], optimizer: Any, mean: Mean, mark: str, accelerator: Accelerator
    ) -> None:
        self.path, self.weights, self.optimizer, self.mean, self.mark, self.accelerator = (
            path,
            weights,
            optimizer,
            mean,
            mark,
            accelerator,
        )
        # Where dropout is drawn: of several GPUs on each that holds a part of the adapter.
        self.gpus = sorted({w.device for w in weights.values() if w.device.type == "cuda"}, key=str)
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether so long has passed that a kill would hurt."""
        return time.monotonic() - self.saved >= CHECKPOINT_S

    def save(self, state: State) -> None:
        """Write the checkpoint; where the disk is full, the last good one stays and ModelError says so."""
        held = {
            "mark": self.mark,
            "state": _as_plain(state),
            "weights": {name: whole(weight) for name, weight in self.weights.items()},
            "mean": self.mean.copy(),
            "mean_steps": self.mean.steps,
            "optimizer": _gathered(self.optimizer.state_dict()),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "random": gather_object([_generators(self.gpus)]),
        }
        if self.accelerator.is_main_process:
            self._write(held)
        self.saved = time.monotonic()

    def _write(self, held: Mapping[str, Any]) -> None:
        partial = self.path.with_name(f"{self.path.name}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(dict(held), file)
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine could leave the new name on an empty file
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            with contextlib.suppress(OSError):
                partial.unlink()
            why = error if isinstance(error, OSError) else "torch's writer broke off, as it does on a full disk"
            raise ModelError(
                f"{self.path}: the checkpoint could not be written ({why}). The last good one stays: make room and run "
                "again, and training goes on from there."
            ) from None

    def load(self) -> State:
        """The state to go on from; a fresh one where there is no checkpoint of this very training."""
        held = self._read()
        if held is None:
            return State()
        for name, weight in self.weights.items():
            place(held["weights"][name], weight)
        self.mean.go_on_from(held["mean"], held["mean_steps"])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.load_state_dict(_scattered(held["optimizer"], parameters))
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(held["scaler"])
        _set_generators(held["random"][self.accelerator.process_index], self.gpus)
        return _from_plain(held["state"])

    def _read(self) -> dict[str, Any] | None:
        if not self.path.is_file():
            return None
        try:
            held = torch.load(self.path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None  # cut short by a crash of the machine: what it held can be computed again
        return held if isinstance(held, dict) and held.get("mark") == self.mark else None


def _generators(gpus: Iterable[torch.device]) -> list[Tensor]:
    """States of the generators of random numbers: the CPU's, then those of ``gpus``."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(gpu) for gpu in gpus)]


def _set_generators(states: Sequence[Tensor], gpus: Iterable[torch.device]) -> None:
    """Put back what ``_generators`` gave; the GPUs may be others than those that the states were read from."""
    torch.set_rng_state(states[0])
    for state, gpu in zip(states[1:], gpus, strict=False):
        torch.cuda.set_rng_state(state, gpu)


def _gathered(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's state with every moment in one piece."""
    state = {
        i: {key: whole(v) if isinstance(v, Tensor) else v for key, v in held.items()}
        for i, held in optimizer["state"].items()
    }
    return {"state": state, "param_groups": optimizer["param_groups"]}


def _scattered(optimizer: dict[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """The way back: moments lie as their parameters lie."""
    for i, held in optimizer["state"].items():
        for key, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameters[i].shape:
                moment = torch.empty_like(parameters[i])
                place(value, moment)
                held[key] = moment
    return optimizer


def _as_plain(state: State) -> dict[str, Any]:
    plain = {f.name: getattr(state, f.name) for f in fields(State)}
    last, best = state.last, state.best
    return plain | {
        "last": None if last is None else asdict(last),
        "best": None if best is None else (asdict(best[0]), asdict(best[1]), best[2]),
    }


def _from_plain(plain: dict[str, Any]) -> State:
    last, best = plain.pop("last"), plain.pop("best")
    return State(
        **plain,
        last=None if last is None else Epoch(**last),
        best=None if best is None else (Score(**best[0]), Epoch(**best[1]), best[2]),
    )
