"""Open a clip with PyAV; decode its packets past damage; its clock and its length."""

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

# A clip counts as truncated when more than this is missing: headers round, and some count a last frame that is not
# there.
_MISSING_S = 0.5
_MISSING_SHARE = 0.1
# Raw sound formats: without a container, they have no timestamps and no length (of MP3 some files state one).
_RAW = frozenset(["aac", "ac3", "ac4", "amr", "amrnb", "amrwb", "dts", "dtshd", "eac3", "loas", "mlp", "mp3", "truehd"])
_DURATION_TAG = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)")

# A demuxer that fails so often in a row would fail for ever.
_MAX_FAILURES = 100

# Above this a header counts as damaged: decoding would need several hundred MB. (8K video has 33 or 35 million.)
MAX_PIXELS = 40_000_000

# Formats whose files are lists of other files, which are never opened: a clip is one file.
_LISTS = {"concat", "concatf", "dash", "hds", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "smoothstreaming"}
_LISTS |= {"avisynth", "vapoursynth", "vobsub", "webm_dash_manifest"}
_CLIPS = ",".join(sorted(name for name in av.formats_available if _LISTS.isdisjoint(name.split(","))))

# The flag of formats whose times may restart, such as transport streams; and by how much times may go back otherwise.
_RESTARTS = av.format.Flags.ts_discont.value
_JITTER_S = 0.1
_LONGEST_PAUSE_S = 3600.0

# Tags that are no UTF-8 must not keep a clip from being read: before 19, PyAV refuses it unless asked to replace them.
_OPENING = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}

av.logging.set_level(av.logging.PANIC)


class NoTrackError(MediaError):
    """The clip is sound but has no picture, or the other way round: absence, not damage."""


class ClipAccessError(MachineError):
    """The clip's bytes cannot be read: no such file, no permission, a failing disk, too many open files, no memory.

    ``errno`` says which.
    """

    def __init__(self, number: int | None) -> None:
        self.errno = number
        reason = os.strerror(number) if number else "unknown error"
        missing = number == errno.ENOENT
        super().__init__(f"The clip {'is not there' if missing else f'cannot be read on this machine ({reason})'}.")


class DecoderError(MachineError):
    """This machine's FFmpeg has no decoder for the format of a ``track`` ("picture", "sound")."""

    def __init__(self, track: str) -> None:
        self.track = track
        super().__init__(f"The clip's {track} is in a format that this machine cannot decode.")


class _File:
    """A clip's file for FFmpeg to read from. FFmpeg's own file access would hide errors of the disk: demuxers take
    them for the clip's end or for damage. The descriptor is closed with the last reference, which is the
    container's."""

    def __init__(self, path: Path) -> None:
        # The suffix is a hint to the format; in a whole name, % would be a pattern for many files.
        self.name = f"clip{path.suffix}"
        self._at = 0
        self._descriptor = -1
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait, and a device has no end
            raise MediaError("The clip is not a regular file (a pipe, device or folder).")
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = status.st_size
        if not self._size:
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
    """Open a clip. MediaError where its content is no clip, ClipAccessError where its bytes cannot be read.

    No other file or address is ever opened: formats that name others are refused, and so are all protocols. Missing
    timestamps stay missing, where PyAV's default would invent them (see ``decoded_frames``).
    """
    options = {
        "format_whitelist": _CLIPS,
        "protocol_whitelist": "none",
        "fflags": "-genpts",
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        return av.open(_File(path), options=options, **_OPENING)
    except av.error.ArgumentError:
        raise MediaError(
            "The clip cannot be opened. It is damaged, or a list of other files, and lists are not followed."
        ) from None
    except (av.error.FFmpegError, OSError) as error:
        _raise_machine_fault(error)
        raise MediaError(f"The clip cannot be opened ({error.strerror}).") from None


def _raise_machine_fault(error: Exception) -> None:
    """Raise ClipAccessError for errors that are the machine's and not the clip's."""
    if not isinstance(error, av.error.FFmpegError):
        raise ClipAccessError(getattr(error, "errno", None)) from None
    if isinstance(error, av.error.MemoryError):
        raise ClipAccessError(errno.ENOMEM) from None


def video_stream(container: Any) -> Any:
    """The video track, or None; the cover picture of a song does not count."""
    best = container.streams.best("video")
    tracks = [stream for stream in (best, *container.streams.video) if stream is not None and not _is_cover(stream)]
    return tracks[0] if tracks else None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))


def check_decoder(stream: Any, track: str) -> None:
    """DecoderError where this machine has no decoder for the track, MediaError where its header is damaged."""
    if stream.codec_context is None:
        raise DecoderError(track)
    if stream.type == "video" and stream.width * stream.height > MAX_PIXELS:
        raise MediaError(f"The clip claims frames of {stream.width}x{stream.height}; its header is damaged.")


def decoded_frames(container: Any, stream: Any, losses: Losses) -> Iterator[Any]:
    """Yield all frames that can be decoded. Packets that cannot are added to ``losses`` and skipped, as players do.

    A frame's ``pts`` is set to what ffprobe calls best_effort_timestamp; None where there is none.
    """
    timestamps = _BestEffortTimestamps()
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    for packet in _packets(container, stream, losses):
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError) as error:
            _raise_machine_fault(error)
            losses.add_undecoded(_reason(error))
            continue
        for frame in frames:
            frame.pts = timestamps.next(frame.pts, frame.dts)
            if frame.pts is not None:
                losses.now_s = float((frame.pts + frame.duration) * stream.time_base - origin_of(container))
            yield frame


def _packets(container: Any, stream: Any, losses: Losses) -> Iterator[Any]:
    """Yield the track's packets, and an empty one at the end that flushes the decoder. Other empty packets, which mean
    that the picture stays as it is, are dropped: they would flush the decoder too early."""
    failures, joins = 0, _JoinedRecordings()
    restarts = bool(container.format.flags & _RESTARTS)
    tracks = [*container.streams.video, *container.streams.audio] if restarts else container.streams.get()
    origin = origin_of(container)
    while failures < _MAX_FAILURES:
        try:
            for packet in container.demux(tracks):
                failures = 0
                if restarts:
                    joins.correct(packet)
                if packet.size and packet.stream_index == stream.index:
                    yield packet
                elif packet.size and packet.pts is not None:
                    end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base - origin)
                    losses.others_s = max(losses.others_s, end_s)
            break
        except IndexError:  # PyAV, at the clip's end, where a track appeared after its beginning
            break
        except (av.error.FFmpegError, OSError) as error:  # the demuxer continues behind what it cannot read
            _raise_machine_fault(error)
            losses.add_undecoded(_reason(error))
            failures += 1
    last = av.Packet()
    last.stream, last.time_base = stream, stream.time_base
    yield last


def _reason(error: Any) -> str:
    # Decoders report EPERM for what is not allowed in a stream; its text would make people look at the file's
    # permissions.
    return "data that the format forbids" if error.errno == errno.EPERM else str(error.strerror)


class _JoinedRecordings:
    """Corrects the times of transport streams that were concatenated byte by byte. Where the next recording begins,
    times jump back or (their counter wraps around) far ahead; it is moved behind the one before, all tracks by the
    same time, as ffmpeg does. Pauses of up to an hour, and those of one track alone, stay."""

    def __init__(self) -> None:
        self._shift_s = 0.0
        self._ends_s: dict[int, float] = {}

    def correct(self, packet: Any) -> None:
        """Correct a packet's times in place; to be called for the packets of all tracks in the order of the file."""
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


class _BestEffortTimestamps:
    """FFmpeg's best-effort timestamps (guess_correct_pts in libavcodec/decode.c): the presentation time, or the
    decoding time (AVI and ASF have no other) where there is none or where it has gone backwards more often."""

    def __init__(self) -> None:
        self._last = {"pts": -math.inf, "dts": -math.inf}
        self._backward = {"pts": 0, "dts": 0}

    def next(self, pts: int | None, dts: int | None) -> int | None:
        """The time of the next frame, in the unit of the track."""
        for name, value, other in (("dts", dts, pts), ("pts", pts, dts)):
            if value is not None:
                self._backward[name] += value <= self._last[name]
                self._last[name] = value
            elif other is not None:
                self._last[name] = other
        return pts if pts is not None and (dts is None or self._backward["pts"] <= self._backward["dts"]) else dts


def origin_of(container: Any) -> Fraction:
    """The file's time, in seconds, at which the clip's clock is 0."""
    return Fraction(container.start_time or 0, av.time_base)


def declared_duration_s(container: Any) -> float:
    """The clip's length in seconds by its header; NaN where it states none (browsers' recordings)."""
    if container.duration is None or _is_estimated(container):
        return math.nan
    return float(Fraction(container.duration, av.time_base))


def _is_estimated(container: Any) -> bool:
    """Whether the length is FFmpeg's estimate from the file's size and its first bit rate, which may be several times
    wrong. (A length that the file states is longer than that estimate once the file is truncated.)"""
    stream = container.streams.best("audio")
    if container.format.name not in _RAW or stream is None or stream.codec_context is None or stream.duration is None:
        return False
    samples = stream.duration * stream.time_base * stream.codec_context.sample_rate
    if container.format.name == "mp3" and samples.denominator == 1:  # counted by the encoder
        return False
    by_size_s = 8 * container.size / (stream.codec_context.bit_rate or math.inf)
    return bool(container.duration / av.time_base <= 1.002 * by_size_s + 0.05)


def length_s(path: Path) -> float:
    """The length of a clip in seconds, by its header or, where that states none, its packets; NaN where neither does.

    Nothing is decoded. MediaError where it is no clip.
    """
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
    """Whether the file has timestamps: for raw sound, FFmpeg only adds up estimated lengths of frames."""
    return container.format.name not in _RAW


def track_end_s(container: Any, stream: Any) -> float:
    """When the track ends by its own header, in seconds on the clip's clock; NaN where it does not say.

    To be called before anything is decoded, since decoders may change what the header said.
    """
    tag = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if tag is not None and "matroska" in container.format.name:  # it has no other place for a track's length
        hours, minutes, seconds = tag.groups()
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - float(origin_of(container))
    if stream.duration is None or container.format.name == "asf" or math.isnan(declared_duration_s(container)):
        return math.nan  # of ASF, FFmpeg gives the file's length to each track
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base - origin_of(container))


def true_duration_s(declared_s: float, track_s: float, end_s: float, certain: bool, losses: Losses) -> float:
    """The clip's true length in seconds, after a track was decoded up to ``end_s``; a truncated track is added to
    ``losses``.

    declared_s  the clip's length by its header
    track_s     when the track ends by its own header. NaN (FLV, ASF, Matroska by a browser): the clip's length counts,
                unless it is another track's, as a microphone may be switched off and a screen stand still
    certain     whether the header is to be trusted: see ``is_certain``
    """
    if math.isnan(track_s):
        track_s = declared_s if declared_s - losses.others_s > _missing_s(declared_s) else end_s
    is_short = track_s - end_s > _missing_s(track_s)
    if is_short and certain:
        losses.add_note(f"The {losses.track} ends at {end_s:.2f} of {track_s:.2f} s{losses.because()}.", end_s)
        return end_s
    is_wrong = (is_short and abs(declared_s - track_s) < _MISSING_S) or end_s - declared_s > _missing_s(declared_s)
    if math.isnan(declared_s) or is_wrong:
        return end_s
    return declared_s if certain else max(declared_s, end_s)


def _missing_s(length_s: float) -> float:
    return max(_MISSING_S, _MISSING_SHARE * length_s)


def is_certain(container: Any) -> bool:
    """Whether a track that ends before its header says is truncated. Not in AVI: FFmpeg subtracts what a file lacks to
    its stated size, and recorders that were stopped or wrote into a pipe leave lengths unset. Nor in formats whose
    times may restart: FFmpeg takes the difference of the last and the first one for their length."""
    return bool(container.format.name != "avi" and not container.format.flags & _RESTARTS)
