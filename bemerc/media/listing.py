"""The frames that a clip's container lists, without decoding one: what a decoder is held against."""

from __future__ import annotations

from pathlib import Path

import av.error

from bemerc.core.errors import MediaError
from bemerc.media.container import open_container, origin_of, video_stream


def listed_frames(path: Path, start_s: float | None = None, end_s: float | None = None) -> int:
    """How many frames a clip shows between two times by its container: its packets, or where that is less what its frame
    rate gives (some formats have several packets a frame). 0 without a picture track; MediaError where it cannot be read."""
    with open_container(path) as container:
        stream = video_stream(container)
        if stream is None:
            return 0
        origin, times = origin_of(container), []
        try:
            for packet in container.demux(stream):
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None and not packet.is_discard:
                    times.append(float(stamp * stream.time_base - origin))
        except av.error.FFmpegError as error:
            raise MediaError(f"The clip cannot be read to its end ({error.strerror}).") from None
        first, end = start_s or 0.0, end_s if end_s is not None else float("inf")
        shown = [time_s for time_s in times if first <= time_s < end]
        if not shown or not stream.average_rate:
            return len(shown)
        return min(len(shown), round((max(shown) - min(shown)) * float(stream.average_rate)) + 1)
