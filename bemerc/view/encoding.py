"""Write a video: H.264 and AAC in an MP4 that every browser plays, each frame at its own time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from bemerc.core.atomic import PRIVATE, disk, replacing_path
from bemerc.core.errors import MachineError, MediaError
from bemerc.media.audio import read_sound
from bemerc.media.pitch import SAMPLE_RATE_HZ

Rgb = NDArray[np.uint8]
TimedFrame = tuple[float, Rgb]  # seconds, picture

_TICKS = 90_000
_SOUND_FRAME = 1024
_OPTIONS = {"crf": "23", "preset": "veryfast", "bf": "0"}


def read_sound_of(clip: Path) -> NDArray[np.float32]:
    """(N,) the clip's sound, mono at 16 kHz; empty where it has none."""
    try:
        return read_sound(clip).waveform
    except MediaError:
        return np.empty(0, np.float32)


def write_video(out: Path, frames: Iterable[TimedFrame], sound: NDArray[np.float32]) -> None:
    """Write frames with growing times, all scaled to the first one's size, and sound (N,) mono at 16 kHz.

    MediaError where there is no frame, MachineError where FFmpeg cannot encode, DiskError where the disk refuses.
    """
    with disk(out), replacing_path(out) as partial:
        try:
            _write(partial, frames, sound)
        except av.error.FFmpegError as error:
            raise MachineError(f"FFmpeg cannot encode it ({error.strerror}).", path=out) from None
        partial.chmod(PRIVATE)


def _write(path: Path, frames: Iterable[TimedFrame], sound: NDArray[np.float32]) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video, last = None, -1
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono") if len(sound) else None
        for time_s, rgb in frames:
            if video is None:
                video = container.add_stream("libx264", rate=25, options=_OPTIONS)
                video.width, video.height = rgb.shape[1] // 2 * 2, rgb.shape[0] // 2 * 2
                video.pix_fmt, video.time_base = "yuv420p", Fraction(1, _TICKS)
                video.codec_context.time_base = Fraction(1, _TICKS)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame = frame.reformat(width=video.width, height=video.height, format="yuv420p")
            last = max(last + 1, round(time_s * _TICKS))
            frame.pts, frame.time_base = last, Fraction(1, _TICKS)
            container.mux(video.encode(frame))
        if video is None:
            raise MediaError("There is no frame to write.")
        container.mux(video.encode(None))
        if audio is not None:
            _write_sound(container, audio, sound)


def _write_sound(container: av.container.OutputContainer, stream: av.AudioStream, sound: NDArray[np.float32]) -> None:
    for at in range(0, len(sound), _SOUND_FRAME):
        frame = av.AudioFrame.from_ndarray(sound[None, at : at + _SOUND_FRAME], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, at, Fraction(1, SAMPLE_RATE_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
