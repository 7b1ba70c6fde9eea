"""Tiny real clips for tests: coloured frames and a tone, written by the same library that reads them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FPS = 25


def ffmpeg(*arguments: str | Path, folder: Path | None = None) -> None:
    """The program ffmpeg, in ``folder``; an output that is there is replaced."""
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)], cwd=folder, check=True)


def write_clip(
    path: Path,
    seconds: float = 0.8,
    *,
    size: tuple[int, int] = (64, 48),
    color: tuple[int, int, int] = (200, 40, 40),
    times_s: Sequence[float] | None = None,
    tone_hz: float | None = 440.0,
    rate_hz: int = 48_000,
    channels: int = 1,
    picture: bool = True,
    faststart: bool = False,
    quality: int = 12,
) -> Path:
    """A clip whose left half darkens from frame to frame and whose right half keeps ``color``, with a tone below it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        video = audio = None
        if picture:
            video = container.add_stream("libx264", rate=1000 if times_s is not None else FPS)
            video.width, video.height = size
            video.pix_fmt = "yuv420p" if not (size[0] % 2 or size[1] % 2) else "yuv444p"
            video.options = {"crf": str(quality), "preset": "ultrafast", "g": "10"}
            video.codec_context.time_base = Fraction(1, 1000)
        if tone_hz is not None:
            codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
            audio = container.add_stream(codec, rate=rate_hz, layout="stereo" if channels == 2 else "mono")
        if video is not None:
            for i, time_s in enumerate(times_s if times_s is not None else np.arange(0, seconds, 1 / FPS)):
                frame = av.VideoFrame.from_ndarray(picture_of(i, size, color), format="rgb24")
                frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            for sound in _tone(seconds, tone_hz or 0.0, rate_hz, channels):
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
    return path


def picture_of(index: int, size: tuple[int, int], color: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Frame ``index`` as it is drawn: (H, W, 3), the left half as bright as ``brightness`` says, the right half of one colour."""
    picture = np.empty((size[1], size[0], 3), np.uint8)
    picture[:] = color
    picture[:, : size[0] // 2] = brightness(index)
    return picture


def brightness(index: int) -> int:
    """The grey of the left half of frame ``index``, so that a decoded frame can be told from its neighbours."""
    return 240 - 10 * (index % 20)


def _tone(seconds: float, tone_hz: float, rate_hz: int, channels: int) -> list[Any]:
    import av

    count = round(seconds * rate_hz)
    samples = (0.5 * 32767 * np.sin(2 * np.pi * tone_hz * np.arange(count) / rate_hz)).astype(np.int16)
    frames = []
    for start in range(0, count, 1024):
        block = np.repeat(samples[start : start + 1024], channels)[None]
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo" if channels == 2 else "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        frames.append(frame)
    return frames


def turn(path: Path) -> Path:
    """Mark an mp4 as filmed with the camera on its side: a quarter turn in the track header, pixels as they were."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes stand between the box's type and its matrix
    one, quarter = 1 << 16, [0, 1, 0, -1, 0, 0, 0, 0, 0]
    matrix = b"".join((v * one).to_bytes(4, "big", signed=True) for v in quarter[:8]) + (1 << 30).to_bytes(4, "big")
    data[at : at + 36] = matrix
    path.write_bytes(data)
    return path
