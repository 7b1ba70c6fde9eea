"""Clips: frames with their true timestamps, and the waveform, on one clock.

OpenCV is the usual choice and cannot be it: it reads no sound, and it numbers frames where a clip with a variable frame
rate has times. PyAV reads both tracks and says when each frame is shown. Two further differences save work and keep
results equal: a frame is converted to RGB only when somebody asks for its pixels, and nothing ever seeks, so that
an utterance cut out of a long video is the same frames whether it is read alone or with its neighbours.

What cannot be read is a MediaError, a sentence about "the clip": callers put the id or the path before it, since the same
content may lie under several names. A clip that breaks off, or has damaged frames, gives what can be decoded, and
``faults`` says what is missing. A change that alters pixels, times or samples must raise DECODING in extract/store.py, so
that finished clips are measured anew.
"""

from __future__ import annotations

import errno
import math
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import av.audio.resampler
import av.error
import av.logging
import av.video.reformatter
import numpy as np
from numpy.typing import NDArray

from bemerc.errors import MediaError

SAMPLE_RATE_HZ = 16_000

# Above this a header is taken to be damaged: one RGB frame would need more than 300 MB.
_MOST_PIXELS = 100_000_000
# A decoder's clock may jitter; a hole in the sound longer than this is filled with silence, so that times stay true.
_HOLE_S = 0.1
_LONGEST_HOLE_S = 600.0
# Samples that an array of sound has room for beyond those that it holds, at most: four minutes.
_ROOM = 1 << 22
# Headers round, and some count a last frame that is not there: a clip counts as broken off when more than this is missing.
_MISSING_S = 0.5
_MISSING_SHARE = 0.1

# Converters take so many pixels of a row at a time; a part that begins at a whole number of them is converted as in the whole.
_LANES = 32

Crop = tuple[float, float, float, float]

av.logging.set_level(av.logging.PANIC)


class NoTrackError(MediaError):
    """The clip is sound but has no picture, or the other way round: absence, not damage."""


@dataclass(frozen=True)
class Probe:
    """What a clip's header says: duration in s (NaN where it does not), mean frame rate, size as shown, tracks."""

    duration_s: float
    fps: float | None
    width: int
    height: int
    has_video: bool
    has_audio: bool


def probe(path: Path) -> Probe:
    """Read the header, and one frame for the rotation. MediaError for what is no clip."""
    with _open(path) as container:
        video, audio = _video_stream(container), container.streams.best("audio")
        rotation = 0
        if video is not None:
            _check_decoder(video, "picture")
            first = next(_decoded(container, video, []), None)
            rotation = first.rotation if first is not None else 0
        width, height = (video.width, video.height) if video is not None else (0, 0)
        if rotation % 180:
            width, height = height, width
        fps = float(video.average_rate) if video is not None and video.average_rate else None
        return Probe(_declared_s(container), fps, width, height, video is not None, audio is not None)


# ------------------------------------------------------------------------------------------------------------- picture


class Frame:
    """One frame: ``timestamp_s`` on the clip's clock, and its pixels for whoever takes them."""

    def __init__(self, frame: Any, timestamp_s: float, reformatter: Any) -> None:
        self.timestamp_s = timestamp_s
        self._frame, self._reformatter = frame, reformatter
        self._rgb: NDArray[np.uint8] | None = None

    def rgb(self, crop: Crop | None = None, longest_side: int | None = None) -> NDArray[np.uint8]:
        """Contiguous (H, W, 3) uint8, upright, cut to ``crop`` = (left, top, right, bottom) as fractions of the frame,
        then scaled down until no side exceeds ``longest_side`` pixels. Converted once, however many ask."""
        if self._rgb is None:
            self._rgb = _to_rgb(self._frame, self._reformatter)
        picture = self._rgb if crop is None else _cut(self._rgb, crop)
        if longest_side is None or max(picture.shape[:2]) <= longest_side:
            return picture
        return _scaled(picture, longest_side)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what ``rgb()`` gives."""
        width, height = self._frame.width, self._frame.height
        return (height, width) if round(self._frame.rotation / 90) % 2 else (width, height)

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
        """``rgb()[top:bottom, left:right]`` without converting the rest, or None where that cannot be done simply."""
        left, top, right, bottom = box
        if self._rgb is not None or not self._is_plain() or left % _LANES or top % 2:
            return None
        part = self._like((right - left, bottom - top))
        for number, (plane, whole) in enumerate(zip(part.planes, self._frame.planes, strict=True)):
            half = 2 if number else 1
            width, height = plane.width, plane.height
            _samples(plane)[:] = _samples(whole)[
                top // half : top // half + height, left // half : left // half + width
            ]
        return _to_rgb(part, self._reformatter)

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """``rgb()[rows[:, None], columns]`` without converting the rest, or None where that cannot be done simply."""
        if self._rgb is not None or not self._is_plain():
            return None
        # Each pixel becomes four, since four share a colour: converted they are what they are in the whole.
        picked = self._like((2 * len(columns), 2 * len(rows)))
        luma, *colours = (_samples(plane) for plane in self._frame.planes)
        _samples(picked.planes[0])[:] = luma[rows[:, None], columns].repeat(2, axis=0).repeat(2, axis=1)
        for plane, colour in zip(picked.planes[1:], colours, strict=True):
            _samples(plane)[:] = colour[rows[:, None] // 2, columns // 2]
        return _to_rgb(picked, self._reformatter)[::2, ::2]

    def _is_plain(self) -> bool:
        """Whether the frame is of the usual kind: three planes of bytes, colours at half size, upright, of even size; and not
        interlaced, since of such a frame each half is converted by itself."""
        frame = self._frame
        plain = frame.format.name in ("yuv420p", "yuvj420p") and not round(frame.rotation / 90) % 4
        return plain and not (frame.width % 2 or frame.height % 2 or frame.interlaced_frame)

    def _like(self, size: tuple[int, int]) -> Any:
        """An empty frame of another size, of the same kind."""
        made = av.VideoFrame(*size, self._frame.format.name)
        made.color_range, made.colorspace = self._frame.color_range, self._frame.colorspace
        return made


class Picture:
    """A frame cut to ``crop`` for those who may need a part of it alone: of the usual kind of video only that part is then
    converted, to the same pixels that the whole frame would have there."""

    def __init__(self, frame: Frame, crop: Crop | None = None) -> None:
        self._frame, self._crop = frame, crop
        self._rgb: NDArray[np.uint8] | None = None
        self._left, self._top, right, bottom = _box(frame.size, crop)
        self.size = right - self._left, bottom - self._top

    @property
    def is_there(self) -> bool:
        """Whether ``rgb()`` costs nothing any more."""
        return self._rgb is not None

    def rgb(self) -> NDArray[np.uint8]:
        """All of it, contiguous (H, W, 3) uint8."""
        if self._rgb is None:
            self._rgb = self._frame.rgb(self._crop)
        return self._rgb

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """``rgb()[top:bottom, left:right]`` for a box (left, top, right, bottom) in pixels."""
        left, top, right, bottom = box
        part = None
        if not self.is_there:
            x, y = self._left, self._top
            part = self._frame.part((x + left, y + top, x + right, y + bottom))
        return self.rgb()[top:bottom, left:right] if part is None else part

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(R, C, 3), the pixels where these rows and columns cross."""
        picked = None if self.is_there else self._frame.pixels(self._top + rows, self._left + columns)
        return self.rgb()[rows[:, None], columns] if picked is None else picked


class Video:
    """The picture track of one clip, for one pass: ``for frame in video`` inside a ``with`` block.

    duration_s  the clip's length by its header; after a pass that found it broken off, what there really was
    faults      sentences on what was left out, complete after the pass
    """

    def __init__(self, path: Path) -> None:
        self.faults: list[str] = []
        self._container = _open(path)
        try:
            self._stream = _video_stream(self._container)
            if self._stream is None:
                raise NoTrackError("The clip has no video track.")
            _check_decoder(self._stream, "picture")
            width, height = self._stream.width, self._stream.height
            if width * height > _MOST_PIXELS:
                raise MediaError(f"The clip claims frames of {width}x{height}; its header is damaged.")
        except BaseException:
            self._container.close()
            raise
        self._stream.codec_context.thread_count = 1  # workers are the parallel part, and CPU time is what they share
        self.duration_s = _declared_s(self._container)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Frames with increasing timestamps, in seconds from the clip's start. MediaError if none can be decoded."""
        reformatter = av.video.reformatter.VideoReformatter()
        origin, base = _origin(self._container), self._stream.time_base
        step_s = float(1 / self._stream.average_rate) if self._stream.average_rate else 0.04
        damage: list[str] = []
        last_s, size, dropped = -math.inf, None, 0
        for frame in _decoded(self._container, self._stream, damage):
            now_s = float(frame.pts * base - origin) if frame.pts is not None else max(0.0, last_s + step_s)
            size = size or (frame.width, frame.height)
            if frame.is_corrupt or now_s <= last_s or (frame.width, frame.height) != size:
                dropped += 1
                continue
            last_s = now_s
            yield Frame(frame, now_s, reformatter)
        if last_s == -math.inf:
            raise MediaError(f"Of the clip's video track no frame can be decoded{_because(damage)}.")
        if dropped:
            self.faults.append(f"{dropped} damaged, untimed or differently sized frames were left out.")
        track_s = _track_s(self._container, self._stream)
        self.duration_s, faults = _ending("picture", self.duration_s, track_s, last_s + step_s, damage)
        self.faults += faults


def _to_rgb(frame: Any, reformatter: Any) -> NDArray[np.uint8]:
    """Upright RGB. The frame's own colour range is handed on: by default a full-range clip would come out too contrasty."""
    if frame.width * frame.height > _MOST_PIXELS:
        raise MediaError(f"A frame claims {frame.width}x{frame.height} pixels; the clip is damaged.")
    converted = reformatter.reformat(
        frame, format="rgb24", src_color_range=frame.color_range, dst_color_range="JPEG", threads=1
    )
    turns = round(frame.rotation / 90) % 4
    picture = converted.to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)


def _samples(plane: Any) -> NDArray[np.uint8]:
    """The bytes of a plane (H, W), in place."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _cut(picture: NDArray[np.uint8], crop: Crop) -> NDArray[np.uint8]:
    left, top, right, bottom = _box((picture.shape[1], picture.shape[0]), crop)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _box(size: tuple[int, int], crop: Crop | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a crop in pixels of a frame of ``size`` (width, height)."""
    width, height = size
    if crop is None:
        return 0, 0, width, height
    left, right = round(crop[0] * width), round(crop[2] * width)
    top, bottom = round(crop[1] * height), round(crop[3] * height)
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise MediaError(
            f"The crop {crop} leaves nothing of a frame of {width}x{height} pixels; it takes left, top, right, bottom in 0 to 1."
        )
    return left, top, right, bottom


def _scaled(picture: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    share = longest_side / max(height, width)
    size = {"width": max(1, round(width * share)), "height": max(1, round(height * share))}
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(**size, interpolation="AREA", threads=1)
    return np.ascontiguousarray(frame.to_ndarray())


# --------------------------------------------------------------------------------------------------------------- sound


@dataclass(frozen=True)
class Sound:
    """The sound track of a clip from its start: (N,) float32 mono at 16 kHz in -1 to 1, true duration, what was wrong."""

    waveform: NDArray[np.float32]
    duration_s: float
    faults: list[str] = field(default_factory=list)

    def cut(self, start_s: float | None, end_s: float | None) -> NDArray[np.float32]:
        """The samples from start_s to end_s; shorter where the track ends before."""
        start = 0 if start_s is None else max(0, round(start_s * SAMPLE_RATE_HZ))
        end = None if end_s is None else max(0, round(end_s * SAMPLE_RATE_HZ))
        return np.ascontiguousarray(self.waveform[start:end])


def read_waveform(path: Path, start_s: float | None = None, end_s: float | None = None) -> NDArray[np.float32]:
    """(N,) float32 mono at 16 kHz, the part from start_s to end_s. MediaError without a readable sound track."""
    return read_sound(path, end_s).cut(start_s, end_s)


def read_sound(path: Path, until_s: float | None = None) -> Sound:
    """Decode the sound track up to ``until_s``: mixed to mono, resampled to 16 kHz, sample 0 at the clip's start.

    A track that begins after the picture is preceded by silence, as a player does it; holes are filled likewise.
    Raises NoTrackError where there is no sound track, MediaError where nothing of it can be decoded.
    """
    with _open(path) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise NoTrackError("The clip has no sound track.")
        _check_decoder(stream, "sound")
        timeline, damage = _Timeline(), cast("list[str]", [])
        origin, ended = _origin(container), True
        for frame in _decoded(container, stream, damage):
            start_s = float(frame.pts * frame.time_base - origin) if frame.pts is not None else timeline.now_s
            # A second more than asked for: the resampler's last samples depend on what follows them.
            if until_s is not None and min(start_s, timeline.now_s) > until_s + 1:
                ended = False
                break
            timeline.add(frame, start_s)
        declared_s, track_s = _declared_s(container), _track_s(container, stream)
    waveform = timeline.finish()
    if not waveform.size:
        raise MediaError(f"Of the clip's sound track nothing can be decoded{_because(damage)}.")
    if not ended:
        return Sound(waveform, declared_s)
    return Sound(waveform, *_ending("sound", declared_s, track_s, waveform.size / SAMPLE_RATE_HZ, damage))


class _Timeline:
    """Decoded sound laid out on the clip's clock: holes filled with silence, what lies before time 0 cut off."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._samples = _Growing()
        self._kind: tuple[Any, ...] = ()
        self._resampler: Any = None
        self._early = 0

    def add(self, frame: Any, start_s: float) -> None:
        """Append the samples of ``frame``, which are heard from start_s on."""
        if self._resampler is None and start_s < 0:
            self.now_s, self._early = start_s, round(-start_s * SAMPLE_RATE_HZ)
        kind = (frame.sample_rate, frame.format.name, frame.layout.name)
        hole_s = start_s - self.now_s
        if kind != self._kind or _HOLE_S < hole_s < _LONGEST_HOLE_S:
            self._begin(kind, hole_s)
        frame.pts = None  # the clock is kept here: given times that jump, a resampler would invent samples
        self._take(frame)
        self.now_s += frame.samples / frame.sample_rate

    def finish(self) -> NDArray[np.float32]:
        """All samples so far; nothing can be added afterwards."""
        self._take(None)
        return self._samples.all()[self._early :]

    def _begin(self, kind: tuple[Any, ...], hole_s: float) -> None:
        self._take(None)
        if 0 < hole_s < _LONGEST_HOLE_S:
            self._samples.add(np.zeros(round(hole_s * SAMPLE_RATE_HZ), np.float32))
            self.now_s += hole_s
        self._kind = kind
        # Whole numbers out: only for them does the mixer weigh the channels so that their sum cannot exceed full scale.
        self._resampler = av.audio.resampler.AudioResampler(format="s32", layout="mono", rate=SAMPLE_RATE_HZ)

    def _take(self, frame: Any) -> None:
        if self._resampler is not None:
            for part in self._resampler.resample(frame):
                self._samples.add((part.to_ndarray().reshape(-1) / float(1 << 31)).astype(np.float32))


class _Growing:
    """Samples joined as they come. A list of parts, joined at the end, would hold a long track twice; this array is moved by
    the system as it grows, not copied."""

    def __init__(self) -> None:
        self._held, self._count = np.zeros(0, np.float32), 0

    def add(self, part: NDArray[np.float32]) -> None:
        """Append samples."""
        end = self._count + len(part)
        if end > len(self._held):
            self._held.resize(max(end, min(2 * end, end + _ROOM)), refcheck=False)
        self._held[self._count : end] = part
        self._count = end

    def all(self) -> NDArray[np.float32]:
        """What was added; nothing can be added afterwards."""
        self._held.resize(self._count, refcheck=False)
        return self._held


# ----------------------------------------------------------------------------------------------------------- container


def _open(path: Path) -> Any:
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


def _video_stream(container: Any) -> Any:
    """The picture track, or None; the cover picture of a song is none."""
    stream = container.streams.best("video")
    return None if stream is None or stream.disposition & av.stream.Disposition.attached_pic else stream


def _check_decoder(stream: Any, track: str) -> None:
    if stream.codec_context is None:
        raise MediaError(f"The clip's {track} is in a format that this machine cannot decode.")


def _decoded(container: Any, stream: Any, damage: list[str]) -> Iterator[Any]:
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


def _origin(container: Any) -> Fraction:
    return Fraction(container.start_time or 0, av.time_base)


def _declared_s(container: Any) -> float:
    return math.nan if container.duration is None else float(Fraction(container.duration, av.time_base))


def _track_s(container: Any, stream: Any) -> float:
    """When the track ends by its header, on the clip's clock; the clip's own end where the track does not say."""
    if stream.duration is None:
        return _declared_s(container)
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base - _origin(container))


def _ending(track: str, declared_s: float, track_s: float, end_s: float, damage: list[str]) -> tuple[float, list[str]]:
    """The clip's true length, and sentences where the track ends before its header says or has holes."""
    if track_s - end_s > max(_MISSING_S, _MISSING_SHARE * track_s):
        return end_s, [f"The {track} ends at {end_s:.2f} of {track_s:.2f} s{_because(damage)}."]
    faults = [f"{len(damage)} pieces of the {track} could not be decoded{_because(damage)}."] if damage else []
    return (end_s if math.isnan(declared_s) else declared_s), faults


def _because(damage: list[str]) -> str:
    return f" ({damage[0]})" if damage else ""
