"""What both tracks of a clip share: opening it, decoding past damage, its clock, and where it ends."""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.format
import av.logging

from bemerc.core.errors import MachineError, MediaError
from bemerc.media.losses import Losses

# Headers round, and some count a last frame that is not there: a clip counts as broken off when more than this is missing.
_MISSING_S = 0.5
_MISSING_SHARE = 0.1
# Sound without a container around it, which states no length; of MP3 only some files do.
_BARE = frozenset(
    ["aac", "ac3", "ac4", "amr", "amrnb", "amrwb", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "truehd"]
)
_DURATION_TAG = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)")

# A demuxer that fails so often in a row has met no further packet, and would fail for ever.
_MOST_FAILURES = 100

# Above this a header is taken to be damaged: decoding needs several hundred MB. (8K video has 33 or 35 million.)
MAX_PIXELS = 40_000_000

# Formats whose files are lists of other files. A clip is one file, and nothing that is written in it chooses another.
_LISTS = {"concat", "concatf", "dash", "hds", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "smoothstreaming"}
_LISTS |= {"avisynth", "vapoursynth", "vobsub", "webm_dash_manifest"}
_CLIPS = ",".join(sorted(name for name in av.formats_available if _LISTS.isdisjoint(name.split(","))))

# In formats whose times may start again, such as transport streams; and by how much a time may go back without that.
_RESTARTS = av.format.Flags.ts_discont.value
_JITTER_S = 0.1
_LONGEST_PAUSE_S = 3600.0

av.logging.set_level(av.logging.PANIC)


class NoTrackError(MediaError):
    """The clip is sound but has no picture, or the other way round: absence, not damage."""


class ClipAccessError(MachineError):
    """The machine does not hand over the clip's bytes: it is not there, may not be read, its disk fails, too many files are
    open, the memory is used up. ``errno`` says which."""

    def __init__(self, number: int | None) -> None:
        self.errno = number
        reason = os.strerror(number) if number else "unknown error"
        told = "is not there" if number == errno.ENOENT else f"cannot be read on this machine ({reason})"
        super().__init__(f"The clip {told}.")


class DecoderError(MachineError):
    """This machine's FFmpeg has no decoder for the format of a ``track`` ("picture", "sound")."""

    def __init__(self, track: str) -> None:
        self.track = track
        super().__init__(f"The clip's {track} is in a format that this machine cannot decode.")


class _File:
    """The clip's bytes for FFmpeg. Handed over from here, and not opened by FFmpeg, an error of the disk stays one: demuxers
    take it for the clip's end or for damage. The descriptor is closed with the last reference, which is the container's."""

    def __init__(self, path: Path) -> None:
        self.name = (
            f"clip{path.suffix}"  # the type is a hint to the format; in a whole name % is a pattern for many files
        )
        self._at = 0
        self._descriptor = -1
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe is waited for, a device has no end
            raise MediaError("The clip is not a regular file (a pipe, device or folder).")
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = found.st_size
        if not found.st_size:
            raise MediaError("The clip is empty (0 bytes).")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, count: int) -> bytes:
        data = os.pread(self._descriptor, count, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence])
        return self._at

    def tell(self) -> int:
        return self._at


def open_container(path: Path) -> Any:
    """The opened clip. MediaError where its content is no clip, ClipAccessError where the machine is at fault.

    No other file or address is ever opened: formats that name others are refused, and so are all protocols. Times are left as
    they are in the file, where PyAV would have missing ones invented (see ``decoded_frames``).
    """
    options = {
        "format_whitelist": _CLIPS,
        "protocol_whitelist": "none",
        "fflags": "-genpts",
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        return av.open(_File(path), metadata_errors="replace", options=options)
    except av.error.ArgumentError:
        raise MediaError(
            "The clip cannot be opened. It is damaged, or a list of other files, and lists are not followed."
        ) from None
    except (av.error.FFmpegError, OSError) as error:
        _raise_machine_fault(error)
        raise MediaError(f"The clip cannot be opened ({error.strerror}).") from None


def _raise_machine_fault(error: Exception) -> None:
    """Raise ClipAccessError or DecoderError where an error of FFmpeg or of the disk says nothing of the clip."""
    if not isinstance(error, av.error.FFmpegError):
        raise ClipAccessError(getattr(error, "errno", None)) from None
    if isinstance(error, av.error.MemoryError):
        raise ClipAccessError(errno.ENOMEM) from None


def video_stream(container: Any) -> Any:
    """The picture track, or None; the cover picture of a song is none."""
    best = container.streams.best("video")
    tracks = [stream for stream in (best, *container.streams.video) if stream is not None and not _is_cover(stream)]
    return tracks[0] if tracks else None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))


def check_decoder(stream: Any, track: str) -> None:
    """DecoderError where the track cannot be decoded on this machine, MediaError where it should not be tried."""
    if stream.codec_context is None:
        raise DecoderError(track)
    if stream.type == "video" and stream.width * stream.height > MAX_PIXELS:
        raise MediaError(f"The clip claims frames of {stream.width}x{stream.height}; its header is damaged.")


def decoded_frames(container: Any, stream: Any, losses: Losses) -> Iterator[Any]:
    """All frames that can be decoded; what cannot goes into ``losses``, and the next packet is tried, as players do.

    A frame's pts is the time that FFmpeg's own tools give it (``ffprobe``'s best_effort_timestamp); None where there is none.
    """
    guess = _BestEffort()
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    for packet in _packets(container, stream, losses):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError) as error:
            _raise_machine_fault(error)
            losses.add(_reason(error))
            continue
        for frame in frames:
            frame.pts = guess.time(frame.pts, frame.dts)
            if frame.pts is not None:
                losses.now_s = float((frame.pts + frame.duration) * stream.time_base - origin_of(container))
            yield frame


def _packets(container: Any, stream: Any, losses: Losses) -> Iterator[Any]:
    """The track's packets and a last one that gets the decoder to hand over what it holds. Empty ones say that the picture
    stays as it is, and would end the decoding."""
    failures, joins = 0, _Joins()
    restarts = bool(container.format.flags & _RESTARTS)
    tracks = [*container.streams.video, *container.streams.audio] if restarts else container.streams.get()
    origin = origin_of(container)
    while failures < _MOST_FAILURES:
        try:
            for packet in container.demux(tracks):
                failures = 0
                if restarts:
                    joins.lay(packet)
                if packet.size and packet.stream_index == stream.index:
                    yield packet
                elif packet.size and packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base - origin)
                    losses.others_s = max(losses.others_s, end_s)
            break
        except IndexError:  # PyAV, at the clip's end, over a track that came up after its beginning
            break
        except (av.error.FFmpegError, OSError) as error:  # a demuxer goes on behind what it cannot read
            _raise_machine_fault(error)
            losses.add(_reason(error))
            failures += 1
    last = av.Packet()
    last.stream, last.time_base = stream, stream.time_base
    yield last


def _reason(error: Any) -> str:
    # Decoders say EPERM for what is not allowed in a stream; people would look at the file's rights.
    return "data that the format forbids" if error.errno == errno.EPERM else str(error.strerror)


class _Joins:
    """Recordings that were joined by their bytes, as one may with transport streams: where the next one begins its times go
    back, or, since they are counted round and round, far ahead. It is laid behind the one before, both tracks by the same
    time, as ffmpeg does; pauses of up to an hour, and those of one track alone, are left as they are."""

    def __init__(self) -> None:
        self._shift_s = 0.0
        self._ends_s: dict[int, float] = {}

    def lay(self, packet: Any) -> None:
        """Correct the packet's times. Packets of all tracks come here, in the order in which they are stored."""
        base, track = float(packet.time_base), packet.stream_index
        if packet.dts is not None:
            end_s = self._ends_s.get(track, -math.inf)
            now_s = packet.dts * base + self._shift_s
            latest_s = max(self._ends_s.values(), default=now_s)
            if now_s + _JITTER_S < end_s or now_s > latest_s + _LONGEST_PAUSE_S:
                end_s = end_s if now_s < end_s else latest_s
                self._shift_s += end_s - now_s
                now_s = end_s
            self._ends_s[track] = now_s + (packet.duration or 0) * base
        if self._shift_s:
            ticks = round(self._shift_s / base)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks


class _BestEffort:
    """Times of frames as FFmpeg's tools find them (guess_correct_pts in libavcodec/decode.c): the presentation time, or the
    decoding time, in which AVI and ASF are written, where there is none or where it has gone backwards more often."""

    def __init__(self) -> None:
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._faulty = {"pts": 0, "dts": 0}

    def time(self, pts: int | None, dts: int | None) -> int | None:
        """The frame's time in the track's unit, from what its packet said."""
        for name, value, other in (("dts", dts, pts), ("pts", pts, dts)):
            if value is not None:
                self._faulty[name] += value <= self._last[name]
                self._last[name] = value
            elif other is not None:
                self._last[name] = other
        return pts if pts is not None and (dts is None or self._faulty["pts"] <= self._faulty["dts"]) else dts


def origin_of(container: Any) -> Fraction:
    return Fraction(container.start_time or 0, av.time_base)


def declared_duration_s(container: Any) -> float:
    """The clip's length by its header in seconds; NaN where there is none, as in a browser's recording, or only a guess."""
    if container.duration is None or _is_guess(container):
        return math.nan
    return float(Fraction(container.duration, av.time_base))


def _is_guess(container: Any) -> bool:
    """Whether FFmpeg worked the length out of the file's size and the bit rate at its beginning: several times too much or
    too little where that changes. A length that the file states itself is longer than that once the file was cut off."""
    stream = container.streams.best("audio")
    if container.format.name not in _BARE or stream is None or stream.codec_context is None or stream.duration is None:
        return False
    samples = stream.duration * stream.time_base * stream.codec_context.sample_rate
    if container.format.name == "mp3" and samples.denominator == 1:  # counted by whoever wrote the file
        return False
    by_size_s = 8 * container.size / (stream.codec_context.bit_rate or math.inf)
    return bool(container.duration / av.time_base <= 1.002 * by_size_s + 0.05)


def length_s(path: Path) -> float:
    """How long a clip is in seconds: by its header, or where that says nothing, as in a browser's recording, by its packets.
    Nothing is decoded. NaN where neither says; MediaError where it is no clip."""
    with open_container(path) as container:
        declared_s, origin = declared_duration_s(container), origin_of(container)
        if math.isfinite(declared_s):
            return declared_s
        stream = container.streams.best("video") or container.streams.best("audio")
        end_s = math.nan
        for packet in _packets(container, stream, Losses("clip")) if stream is not None else ():
            if packet.size and packet.pts is not None:
                packet_s = float((packet.pts + (packet.duration or 0)) * packet.time_base - origin)
                end_s = packet_s if math.isnan(end_s) else max(end_s, packet_s)
        return end_s


def has_clock(container: Any) -> bool:
    """Whether the times of frames stand in the file; sound without a container has none, and FFmpeg counts up what it takes
    for the frames' lengths."""
    return container.format.name not in _BARE


def track_end_s(container: Any, stream: Any) -> float:
    """When the track ends by its own header, on the clip's clock; NaN where it does not say. To be asked before anything is
    decoded, since a decoder may change what the header said."""
    stated = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if stated is not None and "matroska" in container.format.name:  # it has no other place for a track's length
        hours, minutes, seconds = stated.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(origin_of(container))
    if stream.duration is None or container.format.name == "asf" or math.isnan(declared_duration_s(container)):
        return math.nan  # of ASF, FFmpeg gives the file's length to each track
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base - origin_of(container))


def ending(declared_s: float, track_s: float, end_s: float, certain: bool, losses: Losses) -> float:
    """The clip's true length; a track that ends at ``end_s``, before its header says, is a loss.

    track_s  when the track ends by its own header. Where that is NaN (FLV, ASF, Matroska by a browser) the clip's length
             counts, unless it is another track's: a microphone may be switched off, and a screen may stand still
    certain  the header's word counts against the track: see ``is_certain``
    """
    if math.isnan(track_s):
        track_s = declared_s if declared_s - losses.others_s > _missing_s(declared_s) else end_s
    is_short = track_s - end_s > _missing_s(track_s)
    if is_short and certain:
        losses.say(f"The {losses.track} ends at {end_s:.2f} of {track_s:.2f} s{losses.because()}.", end_s)
        return end_s
    is_wrong = (is_short and abs(declared_s - track_s) < _MISSING_S) or end_s - declared_s > _missing_s(declared_s)
    if math.isnan(declared_s) or is_wrong:
        return end_s
    return declared_s if certain else max(declared_s, end_s)


def _missing_s(length_s: float) -> float:
    return max(_MISSING_S, _MISSING_SHARE * length_s)


def is_certain(container: Any) -> bool:
    """Whether a track that ends before its header says was cut off. Not so in AVI: FFmpeg takes off what a file lacks to its
    stated size, and recorders that were stopped, or wrote into a pipe, leave lengths that were never filled in. Nor in formats
    whose times may start again: FFmpeg takes the difference of the last and the first one for their length."""
    return bool(container.format.name != "avi" and not container.format.flags & _RESTARTS)
