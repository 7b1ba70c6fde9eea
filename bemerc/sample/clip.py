"""Encode frames and sound as an mp4 whose bytes are reproducible and whose size does not depend on the content.

One encoder thread and bit-exact headers give the same bytes wherever the same library runs. Since a loud voice or a
moving face takes more bytes than a quiet one, ``pad`` fills every clip to one common size with a `free` box, which
players skip.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

VIDEO = {"preset": "superfast", "crf": "21", "bf": "0"}
AUDIO_BITS_PER_S = 64_000
BLOCK = 4096


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    sound: NDArray[np.int16],
    *,
    size: tuple[int, int],
    fps: int,
    rate_hz: int,
) -> None:
    """Encode ``frames`` (height, width, 3) uint8 RGB and ``sound`` (N,) int16 mono as H.264 and AAC."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream("libx264", rate=fps, options=VIDEO)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.thread_count = 1
        audio = container.add_stream("aac", rate=rate_hz, layout="mono")
        audio.bit_rate = AUDIO_BITS_PER_S
        audio.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        voice = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        voice.sample_rate, voice.pts, voice.time_base = rate_hz, 0, Fraction(1, rate_hz)
        container.mux(audio.encode(voice))
        container.mux(audio.encode())


def padded_size(sizes: Iterable[int]) -> int:
    """The common size in bytes: the largest of ``sizes`` with room for a box, rounded up to whole blocks."""
    return -(-(max(sizes) + 8) // BLOCK) * BLOCK


def pad(path: Path, size: int) -> None:
    """Append one `free` box (ISO 14496-12, 8.1.2) so that the file has ``size`` bytes."""
    missing = size - path.stat().st_size
    assert missing >= 8, (path, missing)
    with path.open("ab") as file:
        file.write(missing.to_bytes(4, "big") + b"free" + bytes(missing - 8))
