"""A face that sways, and a voice with a pause: two utterances of about a second, and what it all is measured with."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ
from tests.cli.test_bad_input import portrait
from tests.spoken import spoken

FPS = 10
SPOKEN_S = ((0.5, 1.5), (2.8, 3.6))
LENGTH_S = 4.4


def voice(seconds: float = LENGTH_S, spoken_s: tuple[tuple[float, float], ...] = SPOKEN_S) -> NDArray[np.float32]:
    """(N,) a synthetic voice where somebody speaks, faint noise throughout."""
    sound = np.random.default_rng(0).normal(0, 3e-4, round(seconds * SAMPLE_RATE_HZ))
    for start_s, end_s in spoken_s:
        start = round(start_s * SAMPLE_RATE_HZ)
        words = spoken(end_s - start_s)[: max(0, len(sound) - start)]
        sound[start : start + len(words)] += words
    return sound.astype(np.float32)


class Instant:
    """A clock on which nobody waits."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


def make(path: Path, sound: bool = True, seconds: float = LENGTH_S) -> Path:
    """The clip, or its first ``seconds``."""
    face = portrait()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 256, 256, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono") if sound else None
        for i in range(round(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.roll(face, round(6 * np.sin(i / 3)), axis=1), format="rgb24")
            frame.pts = i
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            samples = (32767 * voice(seconds)).astype(np.int16)
            block = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            block.sample_rate = SAMPLE_RATE_HZ
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path
