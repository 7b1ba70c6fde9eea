"""Count the frames that a clip's container lists, without decoding: a check on the number of decoded frames."""

from __future__ import annotations

from pathlib import Path

import av.error

from bemerc.core.errors import MediaError
from bemerc.media.container import open_container, origin_of, video_stream


def listed_frames(path: Path, start_s: float | None = None, end_s: float | None = None) -> int:
    """The number of frames between two times by the container: its packets or, if fewer, what its frame rate gives.

    (Some formats have several packets a frame.) 0 without a video track; MediaError where the clip cannot be read.
    """
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
        listed = [time_s for time_s in times if first <= time_s < end]
        if not listed or not stream.average_rate:
            return len(listed)
        return min(len(listed), round((max(listed) - min(listed)) * float(stream.average_rate)) + 1)
