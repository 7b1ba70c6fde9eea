"""Names of devices in params files (auto, cpu, cuda, cuda:N, spread), and what to do where a device's memory does not suffice."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

import torch

from bemerc.core.errors import ModelError


def device_of(name: str) -> str:
    """Where ``auto``, ``cpu``, ``cuda`` or ``cuda:1`` is on this machine; ModelError where there is no such GPU."""
    if name.startswith("cuda"):
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= there:
            raise ModelError(
                f"device {name}: torch can use {there or 'no'} GPU{'' if there == 1 else 's'} on this machine. Set device: auto, or "
                "cpu; where there should be one, look at the driver and at torch's build (`bemerc doctor`)."
            )
    if name != "auto":
        return name
    # Under `accelerate launch` every process has a GPU of its own.
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def device_faults(name: str) -> Iterator[str]:
    """What is wrong with a params file's ``device``."""
    if not re.fullmatch(r"auto|cpu|cuda|cuda:\d+|spread", name):
        yield f"device: must be auto, cpu, cuda, cuda:N or spread, not {name!r}."


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """The GPU's memory, where it does not suffice, as a sentence."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise ModelError(
            "The GPU's memory does not suffice for judging. Lower predict.batch or predict.row_tokens, or set "
            "predict.device: spread or cpu."
        ) from None
