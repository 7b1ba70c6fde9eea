"""The smallest extractor that is one: the mean colour of each frame. It breaks in the ways that real ones do, when told to."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features
from bemerc.core.errors import MachineError

VERSION = "mean-color/1"


@dataclass(frozen=True)
class Params:
    """rate_hz: None = every frame. crash_red, hang_red, raise_red, machine_red: what to do when the right half is as red as this.

    log: a file that gets a line per clip finished. pause_s: how long a frame takes. spoil: a clip to change while it is read.
    """

    rate_hz: float | None = None
    crash_red: int = -100
    hang_red: int = -100
    raise_red: int = -100
    machine_red: int = -100
    log: str = ""
    pause_s: float = 0.0
    spoil: str = ""

    def recorded(self) -> dict[str, float | None]:
        """How it breaks changes no number."""
        return {"rate_hz": self.rate_hz}


def columns(params: Params) -> tuple[str, ...]:
    return ("red", "green", "blue")


def open_extractor(params: Params) -> MeanColor:
    return MeanColor(params)


class MeanColor:
    def __init__(self, params: Params) -> None:
        self.params = params

    def reset(self) -> None:
        self.rows: list[NDArray[np.float64]] = []
        self.times: list[float] = []

    def frame(self, rgb: NDArray[np.uint8], timestamp_s: float) -> None:
        time.sleep(self.params.pause_s)
        self.rows.append(rgb.reshape(-1, 3).mean(0))
        self.times.append(timestamp_s)
        right = rgb[:, rgb.shape[1] // 2 + 4 :, 0].mean()
        if abs(right - self.params.crash_red) < 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if abs(right - self.params.raise_red) < 3:
            raise ArithmeticError("this red is too much")
        if abs(right - self.params.machine_red) < 3:
            raise MachineError("Something is not installed.")
        if abs(right - self.params.hang_red) < 3:
            time.sleep(1000)
        if self.params.spoil:
            with Path(self.params.spoil).open("ab") as clip:
                clip.write(b"more")

    def finish(self) -> Features:
        if self.params.log:
            with Path(self.params.log).open("a") as log:
                log.write(f"{os.getpid()} {len(self.rows)}\n")
        values = np.array(self.rows, np.float32).reshape(-1, 3)
        return Features(values, np.array(self.times, np.float64), columns(self.params))
