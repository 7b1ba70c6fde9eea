"""Decode the video track of a clip: frames with their timestamps, converted to RGB when pixels are asked for."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import av.sidedata.sidedata
import av.video.reformatter
import numpy as np
from numpy.typing import NDArray

from bemerc.core.closeable import Closeable
from bemerc.core.errors import MediaError
from bemerc.media.container import (
    MAX_PIXELS,
    NoTrackError,
    check_decoder,
    declared_duration_s,
    decoded_frames,
    is_certain,
    open_container,
    origin_of,
    track_end_s,
    true_duration_s,
    video_stream,
)
from bemerc.media.losses import Losses

# Converters process so many pixels of a row at once; a part is converted as within the whole if it starts at a
# multiple.
_LANES = 32

# Frames that follow sooner than this are dropped (a damaged header), and so are those after a week.
_MIN_STEP_S = 1e-3
_MAX_S = 7 * 86_400.0
_ROUNDING_S = 1e-6
_DEFAULT_STEP_S = 0.04  # without timestamp and frame rate
_MAX_CONVERTERS = 8
# Pixel aspect ratios beyond this are damage.
_MAX_ASPECT = 8

_MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX

# Left, top, right, bottom as fractions of a frame.
RelativeBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Probe:
    """A clip's header: duration in s (NaN = not stated), mean frame rate, size as displayed (0 without a picture), tracks."""

    duration_s: float
    fps: float | None
    width: int
    height: int
    has_video: bool
    has_audio: bool
    sound_tracks: int


def probe(path: Path) -> Probe:
    """Read a clip's header, and one frame for how it is displayed. MediaError where it is no clip."""
    with open_container(path) as container:
        video, audio = video_stream(container), container.streams.best("audio")
        width, height, fps, declared_s = 0, 0, None, declared_duration_s(container)
        if video is not None:
            check_decoder(video, "picture")
            pixel = _PixelShape(video)
            first = next(decoded_frames(container, video, Losses("picture")), None)
            width, height = (video.width, video.height) if first is None else Display.of(first, pixel.aspect).size
            fps = float(video.average_rate) if video.average_rate else None
        return Probe(declared_s, fps, width, height, video is not None, audio is not None, len(container.streams.audio))


@dataclass(frozen=True)
class Display:
    """How a decoded frame is displayed: scaled to ``stored``, its width and height with square pixels; then
    ``transposed`` (rows and columns exchanged), ``mirrored`` (left and right) and ``flipped`` (top and bottom), in
    this order."""

    stored: tuple[int, int]
    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @staticmethod
    def of(frame: Any, aspect: Fraction = Fraction(1)) -> Display:
        """From the frame's display matrix, to the nearest of the eight orientations; ``aspect``: width / height of a
        pixel."""
        stored = max(1, round(frame.width * aspect)), frame.height
        # Not frame.side_data, which the frame keeps, and it the frame: pictures would lie about until garbage is collected.
        matrix = av.sidedata.sidedata.SideDataContainer(frame).get(_MATRIX)
        if matrix is None or matrix.buffer_size < 36:
            return Display(stored)
        # A point (x, y) is displayed at (a x + c y, b x + d y).
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Display(stored, True, c < 0, b < 0)
        return Display(stored, False, a < 0, d < 0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed."""
        width, height = self.stored
        return (height, width) if self.transposed else (width, height)

    @property
    def is_as_stored(self) -> bool:
        return not (self.transposed or self.mirrored or self.flipped)

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) of the stored size -> contiguous, as displayed."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        rows, columns = -1 if self.flipped else 1, -1 if self.mirrored else 1
        return np.ascontiguousarray(picture[::rows, ::columns])


class _PixelShape:
    """The pixel aspect ratio of a track: the container's, if it differs from the track's own, which may change on the
    way."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        own = stream.codec_context.sample_aspect_ratio
        self._stated = None if stream.sample_aspect_ratio == own else stream.sample_aspect_ratio

    @property
    def aspect(self) -> Fraction:
        """Width / height of a pixel at this moment; 1 where none or an impossible one is stated."""
        aspect = self._stated or self._stream.codec_context.sample_aspect_ratio
        return Fraction(aspect) if aspect and 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT else Fraction(1)


class Converters:
    """Converters to RGB of one clip's frames and of parts of them, one for each size: a single one would be set up anew
    whenever the size changes, which took 4 % of an extraction at 360p."""

    def __init__(self) -> None:
        self._by_size: dict[tuple[int, int], Any] = {}

    def of_size(self, size: tuple[int, int]) -> Any:
        """The converter of pictures of ``size``; the ones used last are kept."""
        converter = self._by_size.pop(size, None) or av.video.reformatter.VideoReformatter()
        self._by_size[size] = converter
        if len(self._by_size) > _MAX_CONVERTERS:
            del self._by_size[next(iter(self._by_size))]
        return converter


class Frame:
    """One decoded frame: ``timestamp_s`` on the clip's clock, and its pixels, converted on demand.

    Frames of one clip may differ in size, as in video calls. ``aspect``: width / height of a pixel.
    """

    def __init__(self, frame: Any, timestamp_s: float, converters: Converters, aspect: Fraction = Fraction(1)) -> None:
        self.timestamp_s = timestamp_s
        self._frame, self._converters = frame, converters
        self._display = Display.of(frame, aspect)
        self._rgb: NDArray[np.uint8] | None = None

    def rgb(self, crop: RelativeBox | None = None, longest_side: int | None = None) -> NDArray[np.uint8]:
        """Contiguous (H, W, 3) uint8, upright, with square pixels, cut to ``crop``, then scaled down until no side
        exceeds ``longest_side`` pixels. The frame is converted once."""
        if self._rgb is None:
            self._rgb = self._display.apply(_to_rgb(self._frame, self._converters, self._display.stored))
        picture = self._rgb if crop is None else _cut(self._rgb, crop)
        if longest_side is None or max(picture.shape[:2]) <= longest_side:
            return picture
        return _scaled(picture, longest_side)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of ``rgb()``."""
        return self._display.size

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
        """``rgb()[top:bottom, left:right]`` without converting the rest; None where that is not possible."""
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
        return _to_rgb(part, self._converters, (right - left, bottom - top))

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        """``rgb()[rows[:, None], columns]`` without converting the rest; None where that is not possible."""
        if self._rgb is not None or not self._is_plain():
            return None
        # Each pixel is written four times, as four share a colour: they are then converted as within the whole.
        picked = self._like((2 * len(columns), 2 * len(rows)))
        luma, *colours = (_samples(plane) for plane in self._frame.planes)
        _samples(picked.planes[0])[:] = luma[rows[:, None], columns].repeat(2, axis=0).repeat(2, axis=1)
        for plane, colour in zip(picked.planes[1:], colours, strict=True):
            _samples(plane)[:] = colour[rows[:, None] // 2, columns // 2]
        return _to_rgb(picked, self._converters, (picked.width, picked.height))[::2, ::2]

    def _is_plain(self) -> bool:
        """Whether parts can be converted alone: 8-bit planar YUV 4:2:0 of even size, displayed as stored, not
        interlaced."""
        frame = self._frame
        as_stored = self._display.is_as_stored and self._display.stored == (frame.width, frame.height)
        plain = frame.format.name in ("yuv420p", "yuvj420p") and as_stored
        return plain and not (frame.width % 2 or frame.height % 2 or frame.interlaced_frame)

    def _like(self, size: tuple[int, int]) -> Any:
        """An empty frame of another size, of the same kind."""
        made = av.VideoFrame(*size, self._frame.format.name)
        made.color_range, made.colorspace = self._frame.color_range, self._frame.colorspace
        return made


class CroppedFrame:
    """A view (``frame_view.FrameView``) of a frame cut to ``crop``, which converts only what is asked for where it
    can."""

    def __init__(self, frame: Frame, crop: RelativeBox | None = None) -> None:
        self._frame, self._crop = frame, crop
        self._rgb: NDArray[np.uint8] | None = None
        self._left, self._top, right, bottom = _box(frame.size, crop)
        self.size = right - self._left, bottom - self._top

    @property
    def is_decoded(self) -> bool:
        """Whether all pixels have been converted."""
        return self._rgb is not None

    def rgb(self) -> NDArray[np.uint8]:
        """The whole view, contiguous (H, W, 3) uint8."""
        if self._rgb is None:
            self._rgb = self._frame.rgb(self._crop)
        return self._rgb

    def part(self, box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """``rgb()[top:bottom, left:right]`` for a box (left, top, right, bottom) in pixels."""
        left, top, right, bottom = box
        part = None
        if not self.is_decoded:
            x, y = self._left, self._top
            part = self._frame.part((x + left, y + top, x + right, y + bottom))
        return self.rgb()[top:bottom, left:right] if part is None else part

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(R, C, 3): ``rgb()[rows[:, None], columns]``."""
        picked = None if self.is_decoded else self._frame.pixels(self._top + rows, self._left + columns)
        return self.rgb()[rows[:, None], columns] if picked is None else picked


class Video(Closeable):
    """The video track of a clip, for one pass: ``for frame in video`` inside a ``with`` block.

    duration_s  the clip's length by its header; after the pass, its true length
    losses      what is missing, complete after the pass
    """

    def __init__(self, path: Path) -> None:
        self.losses = Losses("picture")
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container)
            if self._stream is None:
                raise NoTrackError("The clip has no video track.")
            check_decoder(self._stream, "picture")
        except BaseException:
            self._container.close()
            raise
        self._stream.codec_context.thread_count = 1  # worker processes are what runs in parallel
        self.duration_s = declared_duration_s(self._container)

    def close(self) -> None:
        """Close the clip's file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames with increasing timestamps; MediaError if none can be decoded."""
        converters = Converters()
        origin, base, pixel = origin_of(self._container), self._stream.time_base, _PixelShape(self._stream)
        step_s = float(1 / self._stream.average_rate) if self._stream.average_rate else _DEFAULT_STEP_S
        track_s, certain = track_end_s(self._container, self._stream), is_certain(self._container)
        last_s = -math.inf
        for frame in decoded_frames(self._container, self._stream, self.losses):
            now_s = float(frame.pts * base - origin) if frame.pts is not None else max(0.0, last_s + step_s)
            reason = "damaged" if frame.is_corrupt else _time_fault(now_s, last_s)
            if reason:
                self.losses.add_dropped_frame(reason)
                continue
            last_s = now_s
            yield Frame(frame, now_s, converters, pixel.aspect)
        if last_s == -math.inf:
            raise MediaError(f"Of the clip's video track no frame can be decoded{self.losses.because()}.")
        self.duration_s = true_duration_s(self.duration_s, track_s, last_s + step_s, certain, self.losses)

    @property
    def faults(self) -> list[str]:
        """Sentences on everything that is missing, complete after the pass."""
        return self.losses.notes()


def _time_fault(now_s: float, last_s: float) -> str:
    """Why a frame at ``now_s`` after one at ``last_s`` is dropped; "" where it is not."""
    if now_s <= last_s:
        return "no later than the one before"
    if now_s - last_s < _MIN_STEP_S - _ROUNDING_S:
        return f"more than {1 / _MIN_STEP_S:.0f} a second"
    return "" if now_s < _MAX_S else "days after the clip's start"


def _to_rgb(frame: Any, converters: Converters, size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB of ``size`` (width, height). The frame's colour range is passed on: the default would give full-range clips
    too much contrast."""
    width, height = size
    if max(frame.width * frame.height, width * height) > MAX_PIXELS:
        raise MediaError(f"A frame claims {width}x{height} pixels; the clip is damaged.")
    try:
        converted = converters.of_size((frame.width, frame.height)).reformat(
            frame,
            width,
            height,
            "rgb24",
            interpolation=None if size == (frame.width, frame.height) else "BICUBIC",
            src_color_range=frame.color_range,
            dst_color_range="JPEG",
            threads=1,
        )
    except av.error.FFmpegError as error:  # colour spaces that the format may name and swscale does not convert
        raise MediaError(f"A frame cannot be turned into RGB ({error.strerror}).") from None
    return np.asarray(converted.to_ndarray(), np.uint8)


def _samples(plane: Any) -> NDArray[np.uint8]:
    """A writable view (H, W) of a plane's bytes."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _cut(picture: NDArray[np.uint8], crop: RelativeBox) -> NDArray[np.uint8]:
    left, top, right, bottom = _box((picture.shape[1], picture.shape[0]), crop)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _box(size: tuple[int, int], crop: RelativeBox | None) -> tuple[int, int, int, int]:
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
