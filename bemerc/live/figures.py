"""How quick it was: latencies, frames dropped, processor and memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import deque
from typing import Any

import numpy as np

_KEPT = 100_000  # latencies: an hour of frames


class Figures:
    """Counts what happens from ``begin`` on."""

    def __init__(self) -> None:
        self.frames = self.dropped = 0
        self.dropped_sound_s = 0.0
        self.overlay_s: deque[float] = deque(maxlen=_KEPT)  # capture to overlay, or to the line printed
        self.emotion_s: deque[float] = deque(maxlen=_KEPT)  # end of utterance to emotion
        self.begin()

    def begin(self) -> None:
        """From here on processor time counts: models are loaded."""
        self._start_s, self._start_cpu_s = time.monotonic(), _cpu_s()

    def summary(self) -> dict[str, Any]:
        """For people and programs; milliseconds, and ``cores``: processor time over time."""
        wall_s = max(time.monotonic() - self._start_s, 1e-9)
        return {
            "seconds": round(wall_s, 1),
            "frames": self.frames,
            "dropped": self.dropped,
            "dropped_sound_s": round(self.dropped_sound_s, 2),
            "overlay_ms": _percentiles(self.overlay_s),
            "utterances": len(self.emotion_s),
            "emotion_ms": _percentiles(self.emotion_s),
            "cores": round((_cpu_s() - self._start_cpu_s) / wall_s, 2),
            "memory_mb": round(_memory_mb()),
        }


def _percentiles(seconds: deque[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p95 = np.percentile(np.array(seconds) * 1000, (50, 95)).tolist()
    return {"p50": round(p50, 1), "p95": round(p95, 1)}


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _memory_mb() -> float:
    """The most that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
