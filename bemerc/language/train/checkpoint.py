"""Checkpoints: one file beside the model's folder, from which a killed training resumes to the same weights, bit for bit.

It holds weights, optimizer, EMA, the generators of random numbers and ``State``, and a fingerprint of the training
(``mark``): a checkpoint of another training is ignored. A step has the same examples however many processes share it,
so that a training resumes with another number of processes too: to the same weights but for rounding and dropout.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from bemerc.core import atomic
from bemerc.core.errors import DiskError, ModelError
from bemerc.language.inputs import batching
from bemerc.language.train.ema import EMA, overwrite, unsharded
from bemerc.language.train.log import Epoch

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.inputs.packing import Tree
    from bemerc.language.model.behavior_model import BehaviorModel
    from bemerc.language.train.params import Params

# Of the loop and of this file's keys: a checkpoint of another version is ignored.
VERSION = 3

# Training may lose so much when it is killed. A constant and no parameter: it changes nothing in what comes out.
CHECKPOINT_S = 60.0


@dataclass(frozen=True)
class Score:
    """A dev score: ``value`` picks the epoch (higher is better), ``numbers`` are logged."""

    value: float
    numbers: dict[str, float]


@dataclass
class State:
    """Progress of a training, beside its weights.

    epoch, step  epochs done, and steps done in the one that runs
    losses, examples  of the steps of this epoch
    positions, seconds, waited  of the same steps
    total_s      since training began, dev included
    watched      losses of the first steps and of the last ones (stability.py)
    lines        of the journal
    last         the epoch before this one
    best         score, line and weights of the epoch with the best dev score
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
    """The checkpoint of the training with the fingerprint ``mark``; every process calls it, the main one writes."""

    def __init__(
        self, path: Path, weights: Mapping[str, Tensor], optimizer: Any, ema: EMA, mark: str, accelerator: Accelerator
    ) -> None:
        self.path, self.mark, self.accelerator = path, mark, accelerator
        self.weights, self.optimizer, self.ema = weights, optimizer, ema
        # Where dropout is drawn: of several GPUs on each that holds a part of the adapter.
        self.gpus = sorted({w.device for w in weights.values() if w.device.type == "cuda"}, key=str)
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Whether the last save is more than CHECKPOINT_S ago."""
        return time.monotonic() - self.saved >= CHECKPOINT_S

    def save(self, state: State) -> None:
        """Write the checkpoint; where the disk is full, the last good one stays and ModelError says so."""
        held = {
            "mark": self.mark,
            "state": _as_plain(state),
            "weights": {name: unsharded(weight) for name, weight in self.weights.items()},
            "ema": self.ema.state(),
            "ema_steps": self.ema.steps,
            "optimizer": _gathered(self.optimizer.state_dict()),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "random": gather_object([_generators(self.gpus)]),
        }
        if self.accelerator.is_main_process:
            self._write(held)
        self.saved = time.monotonic()

    def _write(self, held: Mapping[str, Any]) -> None:
        try:
            with atomic.replacing(self.path) as file:
                torch.save(dict(held), file)
        except (DiskError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            why = (
                error.reason if isinstance(error, DiskError) else "torch's writer broke off, as it does on a full disk"
            )
            raise ModelError(
                f"the checkpoint could not be written ({why}). The last good one stays: make room and run "
                "again, and training goes on from there.",
                path=self.path,
            ) from None

    def load(self) -> State:
        """The state to resume from; a fresh one where there is no checkpoint of this training."""
        held = self._read()
        if held is None:
            return State()
        for name, weight in self.weights.items():
            overwrite(weight, held["weights"][name])
        self.ema.load_state(held["ema"], held["ema_steps"])
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.optimizer.load_state_dict(_scattered(held["optimizer"], parameters))
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(held["scaler"])
        self._resume_generators(held["random"])
        return _from_plain(held["state"])

    def _resume_generators(self, states: Sequence[Sequence[Tensor]]) -> None:
        """Of every process that wrote; one that was not there then begins anew, at another place than at the start."""
        index = self.accelerator.process_index
        if index < len(states):
            _set_generators(states[index], self.gpus)
        else:
            torch.manual_seed(torch.initial_seed() + 1_000_000 + self.ema.steps)

    def _read(self) -> dict[str, Any] | None:
        """What the file holds, where it is of this training; ModelError where not every process reads the same file."""
        held = self._read_file()
        readers = gather_object([held is not None])
        if any(readers) and not all(readers):
            raise ModelError(
                f"process {readers.index(False)} of {len(readers)} does not read this checkpoint, and process "
                f"{readers.index(True)} does. The models folder must lie where every node reads the same files.",
                path=self.path,
            )
        return held

    def _read_file(self) -> dict[str, Any] | None:
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
        i: {key: unsharded(v) if isinstance(v, Tensor) else v for key, v in held.items()}
        for i, held in optimizer["state"].items()
    }
    return {"state": state, "param_groups": optimizer["param_groups"]}


def _scattered(optimizer: dict[str, Any], parameters: list[Tensor]) -> dict[str, Any]:
    """The way back: moments lie as their parameters lie."""
    for i, held in optimizer["state"].items():
        for key, value in held.items():
            if isinstance(value, Tensor) and value.shape == parameters[i].shape:
                moment = torch.empty_like(parameters[i])
                overwrite(moment, value)
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


def training_fingerprint(model: BehaviorModel, trees: Sequence[Tree], tokens: TokenFile | None, params: Params) -> str:
    """SHA-256 over all that a training follows from: params, first weights, backbone, examples, behavior tokens."""
    digest = hashlib.sha256(json.dumps([VERSION, asdict(params)], sort_keys=True).encode())
    if model.adapter is not None:
        digest.update(json.dumps(model.params.stored(), sort_keys=True).encode())
    digest.update(model.backbone.encode())
    for name, parameter in model.trainable().items():
        digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    for tree in trees:
        digest.update(tree.ids.tobytes() + tree.node.tobytes() + tree.token.tobytes() + repr(tree.behavior).encode())
        if (tree.weight != 1).any():
            digest.update(tree.weight.tobytes())
        batch = batching.collate([tree], tokens)
        for values, mask in (*batch.behavior.values(), *batch.brief.values()):
            digest.update(values.tobytes() + mask.tobytes())
    return digest.hexdigest()
