"""The processes and devices of one training, as ``accelerate launch`` set them up, and the process left as it was found.

accelerate keeps the first training's precision and device for the whole process, moves a model to the current GPU whatever
GPU it was loaded on, and torch's generators of random numbers are the process's own. Here a model is trained where it
lies, one training at a time, and accelerate's state and the generators are put back when it ends.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from bemerc.core.errors import ModelError

if TYPE_CHECKING:
    from bemerc.language.model.behavior_model import BehaviorModel
    from bemerc.language.train.params import Params

PRECISIONS = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
_ONE_TRAINING = threading.Lock()


def leads() -> bool:
    """Whether this process writes and speaks: of those that a launcher started, the first one does."""
    return int(os.environ.get("RANK", 0)) == 0


@contextlib.contextmanager
def training(model: BehaviorModel, params: Params) -> Iterator[Accelerator]:
    """An Accelerator for one training of ``model`` where it lies; the generators are seeded by ``params.seed``.

    A second thread waits for the first one's end. Raises ModelError where a launcher started several processes and the
    model does not lie on this process's device.
    """
    with _ONE_TRAINING, seeded(params.seed), _accelerates_state_kept(), _current(model.device):
        accelerator = prepared(model, params)
        torch.manual_seed(params.seed + accelerator.process_index)
        yield accelerator


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it torch's generators begin at ``seed``; afterwards they stand where they stood before."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        torch.manual_seed(seed)
        yield


def prepared(model: BehaviorModel, params: Params) -> Accelerator:
    """The Accelerator itself. It moves nothing: the model's parts may lie on several GPUs, or on another than the first."""
    on_cpu = model.device.type == "cpu"
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    try:
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=PRECISIONS[params.precision], device_placement=False)
    except ValueError as error:
        raise ModelError(
            f"{params.precision} cannot be multiplied in on {model.device} ({error}). Set it to float32, or to "
            "bfloat16 where the device has it.",
            key="precision",
        ) from None
    if on_cpu and params.precision == "float16":
        # torch computes float16 on CPUs, accelerate does not offer it: slow, but the same steps as on a GPU.
        accelerator.native_amp, accelerator.scaler = True, torch.amp.GradScaler("cpu")
    accelerator.gradient_accumulation_steps = 1  # a launch config's number would divide our sums a second time
    if accelerator.num_processes > 1 and not on_cpu and model.device != accelerator.device:
        raise ModelError(
            f"the model lies on {model.device}, and process {accelerator.process_index} of "
            f"{accelerator.num_processes} computes on {accelerator.device}. Set model.device: auto, and every process takes a "
            "GPU of its own.",
            key="model.device",
        )
    return accelerator


@contextlib.contextmanager
def _accelerates_state_kept() -> Iterator[None]:
    """accelerate's process-wide state as it was before; processes that a launcher started keep theirs, it is the launch's."""
    kept = [(held, dict(held._shared_state)) for held in (AcceleratorState, PartialState, GradientState)]
    try:
        yield
    finally:
        if not torch.distributed.is_initialized():
            for held, state in kept:
                held._shared_state.clear()
                held._shared_state.update(state)


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """``device`` as the one that kernels without a device of their own run on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
