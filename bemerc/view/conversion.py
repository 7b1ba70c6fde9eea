"""Videos that are made for a page: clips that browsers do not play, and clips with all but one face made coarse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import MachineError, MediaError
from bemerc.interop.filenames import file_of
from bemerc.media.video import Video
from bemerc.view import media_files
from bemerc.view.dialogue_data import DialogueData, Turn
from bemerc.view.encoding import Rgb, TimedFrame, read_sound_of, write_video

log = logging.getLogger(__name__)
Painter = Callable[[Rgb, float], Rgb]

_BLOCKS = 14  # of a coarse picture, along its shorter side: no face is recognised in so few
# What stays sharp around the middle of the measured face, in heights of its box.
_HALF_WIDTH, _HALF_HEIGHT = 0.55, 0.7
_SAME_FRAME_S = 1e-3


def video_for_page(clip: Path, dialogue: DialogueData, folder: Path, number: int, blurred: bool) -> Path | None:
    """The clip itself where a browser plays it, else an MP4 made of it in ``folder``; None, and a warning, where that
    is not possible."""
    about = media_files.header(clip)
    if about is not None and about.playable and not (blurred and about.has_picture):
        return clip
    out = file_of(folder, f"{number:04d}_{clip.stem}", ".mp4")
    try:
        turns = [t for t in dialogue.turns if dialogue.segments[t.span.segment].clip == clip]
        painter = blur(turns) if blurred else None
        write_video(out, _frames(clip, painter), read_sound_of(clip))
    except (MediaError, MachineError) as error:
        log.warning("%s: not in the page. %s", clip, error)
        return None
    return out


def _frames(clip: Path, painter: Painter | None) -> Iterator[TimedFrame]:
    with Video(clip) as video:
        for frame in video:
            rgb = frame.rgb()
            yield frame.timestamp_s, rgb if painter is None else painter(rgb, frame.timestamp_s)


def blur(turns: Sequence[Turn]) -> Painter:
    """Paints the frames of a clip coarse but for the face that was measured in these turns of it."""
    return _Blur(turns)


class _Blur:
    """Paints a frame coarse except for the measured face; where none was measured, all of it."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        tracks = [_face_track(turn) for turn in turns]
        self._times_s = np.concatenate([np.empty(0), *(times for times, _ in tracks)])
        self._boxes = np.concatenate([np.empty((0, 3)), *(box for _, box in tracks)])

    def __call__(self, rgb: Rgb, time_s: float) -> Rgb:
        coarse = coarsened(rgb)
        if not len(self._times_s):
            return coarse
        nearest = int(np.argmin(np.abs(self._times_s - time_s)))
        if abs(self._times_s[nearest] - time_s) > _SAME_FRAME_S or not np.isfinite(self._boxes[nearest]).all():
            return coarse
        height, width = rgb.shape[:2]
        x, y, size = self._boxes[nearest] * (width, height, height)
        half_x, half_y = _HALF_WIDTH * size, _HALF_HEIGHT * size
        top, bottom = (round(float(np.clip(edge, 0, height))) for edge in (y - half_y, y + half_y))
        left, right = (round(float(np.clip(edge, 0, width))) for edge in (x - half_x, x + half_x))
        coarse[top:bottom, left:right] = rgb[top:bottom, left:right]
        return coarse


def _face_track(turn: Turn) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times on the clip's clock (T,), and the measured face's middle and height (T, 3) as fractions of the whole
    frame."""
    face = turn.clip.get("face")
    if face is None or not {"face_x", "face_y", "face_size"} <= {*face.columns}:
        return np.empty(0), np.empty((0, 3))
    tracks = np.stack([face.column(name).astype(np.float64) for name in ("face_x", "face_y", "face_size")], axis=1)
    left, top, right, bottom = turn.utterance.crop or (0.0, 0.0, 1.0, 1.0)
    tracks = tracks * (right - left, bottom - top, bottom - top) + (left, top, 0)
    return face.timestamps_s + (turn.utterance.start_s or 0.0), tracks


def coarsened(rgb: Rgb) -> Rgb:
    """The picture in a few large squares, each the mean of what it covers."""
    height, width = rgb.shape[:2]
    side = max(1, -(-min(height, width) // _BLOCKS))
    rows, columns = np.arange(0, height, side), np.arange(0, width, side)
    sums = np.add.reduceat(np.add.reduceat(rgb.astype(np.float32), rows, axis=0), columns, axis=1)
    counts = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))[..., None]
    means = (sums / counts).astype(np.uint8)
    return np.ascontiguousarray(means.repeat(side, axis=0).repeat(side, axis=1)[:height, :width])
