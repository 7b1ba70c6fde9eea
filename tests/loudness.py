"""The smallest sound extractor: the loudness of each tenth of a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features

VERSION = "loudness/1"


@dataclass(frozen=True)
class Params:
    rate_hz: float = 10.0


def columns(params: Params) -> tuple[str, ...]:
    return ("rms",)


def open_extractor(params: Params) -> Loudness:
    return Loudness()


class Loudness:
    def reset(self) -> None:
        pass

    def clip(self, waveform: NDArray[np.float32]) -> Features:
        rows = waveform[: waveform.size // 1600 * 1600].reshape(-1, 1600)
        values = np.sqrt((rows.astype(np.float64) ** 2).mean(axis=1, keepdims=True)).astype(np.float32)
        return Features(values, np.arange(len(values)) / 10.0, ("rms",))
