"""The picture of a clip: frames with their true timestamps, turned into RGB when somebody asks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import av.sidedata.sidedata
import av.video.reformatter
import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MediaError
from bemerc.media.container import (
    MAX_PIXELS,
    NoTrackError,
    check_decoder,
    declared_duration_s,
    decoded_frames,
    ending,
    is_certain,
    open_container,
    origin_of,
    track_end_s,
    video_stream,
)
from bemerc.media.losses import Losses

# Converters take so many pixels of a row at a time; a part that begins at a whole number of them is converted as in the whole.
_LANES = 32

# Rates above this are damaged headers or tricks: what comes sooner after a frame is left out, and so is what comes after a week.
_LEAST_STEP_S = 1e-3
_LONGEST_S = 7 * 86_400.0
_ROUNDING_S = 1e-6
_USUAL_STEP_S = 0.04  # where neither a time nor a rate is known
# Pixels wider or taller than this are damage.
_WIDEST = 8

_MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX

RelativeBox = tuple[float, float, float, float]


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
    """Read the header, and one frame for how it is shown. MediaError for what is no clip."""
    with open_container(path) as container:
        video, audio = video_stream(container), container.streams.best("audio")
        width, height, fps, declared_s = 0, 0, None, declared_duration_s(container)
        if video is not None:
            check_decoder(video, "picture")
            shape = _Shape(video)
            first = next(decoded_frames(container, video, Losses("picture")), None)
            width, height = (video.width, video.height) if first is None else Shown.of(first, shape.aspect).size
            fps = float(video.average_rate) if video.average_rate else None
        return Probe(declared_s, fps, width, height, video is not None, audio is not None)


@dataclass(frozen=True)
class Shown:
    """How a decoded frame is to be shown: ``stored`` width and height with square pixels, then with rows and columns exchanged
    where ``transposed``, then from right to left where ``mirrored``, then from bottom to top where ``flipped``."""

    stored: tuple[int, int]
    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @staticmethod
    def of(frame: Any, aspect: Fraction = Fraction(1)) -> Shown:
        """By the frame's display matrix, to the nearest of the eight ways to lay a picture; ``aspect`` is a pixel's width over
        its height."""
        stored = max(1, round(frame.width * aspect)), frame.height
        matrix = frame.side_data.get(_MATRIX)
        if matrix is None or matrix.buffer_size < 36:
            return Shown(stored)
        # A point (x, y) is shown at (a x + c y, b x + d y).
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
        if abs(b) + abs(c) > abs(a) + abs(d):
            return Shown(stored, True, c < 0, b < 0)
        return Shown(stored, False, a < 0, d < 0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as shown."""
        width, height = self.stored
        return (height, width) if self.transposed else (width, height)

    @property
    def is_as_stored(self) -> bool:
        return not (self.transposed or self.mirrored or self.flipped)

    def lay(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) of the stored size -> contiguous, as shown."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        rows, columns = -1 if self.flipped else 1, -1 if self.mirrored else 1
        return np.ascontiguousarray(picture[::rows, ::columns])


class _Shape:
    """The shape of a track's pixels. The container's word counts before the track's own, which may change on the way."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        own = stream.codec_context.sample_aspect_ratio
        self._stated = None if stream.sample_aspect_ratio == own else stream.sample_aspect_ratio

    @property
    def aspect(self) -> Fraction:
        """A pixel's width over its height, now; 1 where nothing is said, or nothing that a picture can have."""
        aspect = self._stated or self._stream.codec_context.sample_aspect_ratio
        return Fraction(aspect) if aspect and 1 / _WIDEST <= aspect <= _WIDEST else Fraction(1)


class Frame:
    """One frame: ``timestamp_s`` on the clip's clock, and its pixels for whoever takes them.

    Its size is its own: it may change in mid-clip, as in video calls. ``aspect`` is a pixel's width over its height.
    """

    def __init__(self, frame: Any, timestamp_s: float, reformatter: Any, aspect: Fraction = Fraction(1)) -> None:
        self.timestamp_s = timestamp_s
        self._frame, self._reformatter = frame, reformatter
        self._shown = Shown.of(frame, aspect)
        self._rgb: NDArray[np.uint8] | None = None

    def rgb(self, crop: RelativeBox | None = None, longest_side: int | None = None) -> NDArray[np.uint8]:
        """Contiguous (H, W, 3) uint8, upright, with square pixels, cut to ``crop`` = (left, top, right, bottom) as fractions of the frame,
        then scaled down until no side exceeds ``longest_side`` pixels. Converted once, however many ask."""
        if self._rgb is None:
            self._rgb = self._shown.lay(_to_rgb(self._frame, self._reformatter, self._shown.stored))
        picture = self._rgb if crop is None else _cut(self._rgb, crop)
        if longest_side is None or max(picture.shape[:2]) <= longest_side:
            return picture
        return _scaled(picture, longest_side)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what ``rgb()`` gives."""
        return self._shown.size

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
        return _to_rgb(part, self._reformatter, (right - left, bottom - top))

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
        return _to_rgb(picked, self._reformatter, (picked.width, picked.height))[::2, ::2]

    def _is_plain(self) -> bool:
        """Whether the frame is of the usual kind: three planes of bytes, colours at half size, shown as stored, of even size; and not
        interlaced, since of such a frame each half is converted by itself."""
        frame = self._frame
        as_stored = self._shown.is_as_stored and self._shown.stored == (frame.width, frame.height)
        plain = frame.format.name in ("yuv420p", "yuvj420p") and as_stored
        return plain and not (frame.width % 2 or frame.height % 2 or frame.interlaced_frame)

    def _like(self, size: tuple[int, int]) -> Any:
        """An empty frame of another size, of the same kind."""
        made = av.VideoFrame(*size, self._frame.format.name)
        made.color_range, made.colorspace = self._frame.color_range, self._frame.colorspace
        return made


class CroppedFrame:
    """A frame cut to ``crop`` for those who may need a part of it alone: of the usual kind of video only that part is then
    converted, to the same pixels that the whole frame would have there."""

    def __init__(self, frame: Frame, crop: RelativeBox | None = None) -> None:
        self._frame, self._crop = frame, crop
        self._rgb: NDArray[np.uint8] | None = None
        self._left, self._top, right, bottom = _box(frame.size, crop)
        self.size = right - self._left, bottom - self._top

    @property
    def is_decoded(self) -> bool:
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
        if not self.is_decoded:
            x, y = self._left, self._top
            part = self._frame.part((x + left, y + top, x + right, y + bottom))
        return self.rgb()[top:bottom, left:right] if part is None else part

    def pixels(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(R, C, 3), the pixels where these rows and columns cross."""
        picked = None if self.is_decoded else self._frame.pixels(self._top + rows, self._left + columns)
        return self.rgb()[rows[:, None], columns] if picked is None else picked


class Video:
    """The picture track of one clip, for one pass: ``for frame in video`` inside a ``with`` block.

    duration_s  the clip's length by its header; after a pass that found it broken off, what there really was
    losses      what is missing of it, complete after the pass
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
        self._stream.codec_context.thread_count = 1  # workers are the parallel part, and CPU time is what they share
        self.duration_s = declared_duration_s(self._container)

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Frames with increasing timestamps, in seconds from the clip's start. MediaError if none can be decoded."""
        reformatter = av.video.reformatter.VideoReformatter()
        origin, base, shape = origin_of(self._container), self._stream.time_base, _Shape(self._stream)
        step_s = float(1 / self._stream.average_rate) if self._stream.average_rate else _USUAL_STEP_S
        track_s, certain = track_end_s(self._container, self._stream), is_certain(self._container)
        last_s = -math.inf
        for frame in decoded_frames(self._container, self._stream, self.losses):
            now_s = float(frame.pts * base - origin) if frame.pts is not None else max(0.0, last_s + step_s)
            reason = "damaged" if frame.is_corrupt else _out_of_time(now_s, last_s)
            if reason:
                self.losses.leave_out(reason)
                continue
            last_s = now_s
            yield Frame(frame, now_s, reformatter, shape.aspect)
        if last_s == -math.inf:
            raise MediaError(f"Of the clip's video track no frame can be decoded{self.losses.because()}.")
        self.duration_s = ending(self.duration_s, track_s, last_s + step_s, certain, self.losses)

    @property
    def faults(self) -> list[str]:
        """Sentences on all that is missing of the picture, complete after the pass."""
        return self.losses.notes()


def _out_of_time(now_s: float, last_s: float) -> str:
    """Why a frame cannot be shown at ``now_s`` after one at ``last_s``; "" where it can."""
    if now_s <= last_s:
        return "no later than the one before"
    if now_s - last_s < _LEAST_STEP_S - _ROUNDING_S:
        return f"more than {1 / _LEAST_STEP_S:.0f} a second"
    return "" if now_s < _LONGEST_S else "days after the clip's start"


def _to_rgb(frame: Any, reformatter: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB of a size (width, height). The frame's own colour range is handed on: by default a full-range clip would come out
    too contrasty."""
    width, height = size
    if max(frame.width * frame.height, width * height) > MAX_PIXELS:
        raise MediaError(f"A frame claims {width}x{height} pixels; the clip is damaged.")
    try:
        converted = reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            interpolation=None if size == (frame.width, frame.height) else "BICUBIC",
            src_color_range=frame.color_range,
            dst_color_range="JPEG",
            threads=1,
        )
    except av.error.FFmpegError as error:  # colours that the format may name and nothing converts
        raise MediaError(f"A frame cannot be turned into RGB ({error.strerror}).") from None
    return np.asarray(converted.to_ndarray(), np.uint8)


def _samples(plane: Any) -> NDArray[np.uint8]:
    """The bytes of a plane (H, W), in place."""
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
