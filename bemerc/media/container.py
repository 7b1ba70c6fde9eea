"""What both tracks of a clip share: opening it, decoding past damage, its clock, and where it ends."""

from __future__ import annotations

import errno
import math
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging

from bemerc.errors import MediaError

# Headers round, and some count a last frame that is not there: a clip counts as broken off when more than this is missing.
_MISSING_S = 0.5
_MISSING_SHARE = 0.1

av.logging.set_level(av.logging.PANIC)


class NoTrackError(MediaError):
    """The clip is sound but has no picture, or the other way round: absence, not damage."""


def open_container(path: Path) -> Any:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe is waited for, a device has no end
            raise MediaError("The clip is no ordinary file.")
        if found.st_size == 0:
            raise MediaError("The clip is empty (0 bytes).")
        # "file:" and the whitelist: a name with a colon is no protocol, and a playlist inside a clip opens no address.
        return av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except FileNotFoundError:
        raise MediaError("The clip is not there.") from None
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(f"The clip cannot be opened ({error.strerror}).") from None


def video_stream(container: Any) -> Any:
    """The picture track, or None; the cover picture of a song is none."""
    stream = container.streams.best("video")
    return None if stream is None or stream.disposition & av.stream.Disposition.attached_pic else stream


def check_decoder(stream: Any, track: str) -> None:
    if stream.codec_context is None:
        raise MediaError(f"The clip's {track} is in a format that this machine cannot decode.")


def decoded_frames(container: Any, stream: Any, damage: list[str]) -> Iterator[Any]:
    """All frames that can be decoded; what cannot goes into ``damage``, and the next packet is tried, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
        except av.error.FFmpegError as error:
            # Decoders say EPERM for what is not allowed in a stream; people would look at the file's rights.
            damage.append("data that the format forbids" if error.errno == errno.EPERM else str(error.strerror))
            frames = []
            if packets.gi_frame is None:
                packet = None
        yield from frames
        if packet is None:
            return


def origin_of(container: Any) -> Fraction:
    return Fraction(container.start_time or 0, av.time_base)


def declared_duration_s(container: Any) -> float:
    return math.nan if container.duration is None else float(Fraction(container.duration, av.time_base))


def track_end_s(container: Any, stream: Any) -> float:
    """When the track ends by its header, on the clip's clock; the clip's own end where the track does not say."""
    if stream.duration is None:
        return declared_duration_s(container)
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base - origin_of(container))


def ending(track: str, declared_s: float, track_s: float, end_s: float, damage: list[str]) -> tuple[float, list[str]]:
    """The clip's true length, and sentences where the track ends before its header says or has holes."""
    if track_s - end_s > max(_MISSING_S, _MISSING_SHARE * track_s):
        return end_s, [f"The {track} ends at {end_s:.2f} of {track_s:.2f} s{because(damage)}."]
    faults = [f"{len(damage)} pieces of the {track} could not be decoded{because(damage)}."] if damage else []
    return (end_s if math.isnan(declared_s) else declared_s), faults


def because(damage: list[str]) -> str:
    return f" ({damage[0]})" if damage else ""
