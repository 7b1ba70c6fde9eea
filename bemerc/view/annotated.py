"""A video with the overlay of the page drawn in: mesh, body and hands of every frame, sound, and subtitles beside it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Features, FrameCache
from bemerc.core.errors import BemercError, MachineError, MediaError
from bemerc.core.ownership import WouldReplaceError
from bemerc.core.progress import bar
from bemerc.core.terminal import printable
from bemerc.interop.annotations import webvtt
from bemerc.interop.annotations.recordings import Annotated, Recording
from bemerc.media.pitch import SAMPLE_RATE_HZ
from bemerc.media.video import Video
from bemerc.view import build, conversion
from bemerc.view.dialogue_data import DialogueData, Turn
from bemerc.view.encoding import Rgb, TimedFrame, read_sound_of, write_video
from bemerc.view.lines import BONES, FINGERS, LINES
from bemerc.view.positions import HAND_POINTS, JOINTS, MESH, hands_of, joints_of, mesh_of
from bemerc.view.sources import Sources
from bemerc.view.time_axis import Segment

log = logging.getLogger(__name__)

# The colours of the page's overlay.
_MESH, _BODY, _HAND, _OTHER = (142, 227, 255), (255, 179, 71), (255, 217, 160), (190, 190, 190)
_NEAR_S = {"face": 0.025, "pose": 0.1}
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class _Layer:
    """What is drawn of one modality: times on the axis (T,), points (T, P, 2) as fractions of the frame, and lines of
    points with a colour."""

    times_s: Matrix
    points: Matrix
    lines: tuple[tuple[int, ...], ...]
    color: tuple[int, int, int]
    near_s: float


def write(sources: Sources, out: Path, options: build.Options) -> str:
    """Write the video of one dialogue and OUT's name with .vtt beside it; returns a sentence.

    BemercError where the options do not name one dialogue or where it has no video, DiskError where the disk refuses.
    """
    dialogues = build.selected(sources, options.dialogues)
    if len(dialogues) != 1:
        some = ", ".join(printable(d.id) for d in dialogues[:5])
        raise BemercError(
            f"A video is of one dialogue, and here are {len(dialogues)}: name one with --dialogue, such as {some}."
        )
    data = build.collect(sources, build.Options((dialogues[0].id,)), cuts=False)[0]
    if all(segment.clip is None for segment in data.segments):
        raise BemercError(f"The clips of '{printable(data.id)}' are not at hand; --video-dir names their folder.")
    _must_replace_no_clip(out, sources)
    layers = [_layers(turn, sources) for turn in data.turns]
    sound = _sound(data) if options.faces else np.empty(0, np.float32)
    write_video(out, _of_one_shape(_frames(data, layers, options)), sound)
    subtitles = out.with_suffix(".vtt")
    webvtt.write(_subtitles(data, out), subtitles)
    return f"{out}: {data.header['duration_s']:.1f} s of {printable(data.id)}. Subtitles: {subtitles}"


def _must_replace_no_clip(out: Path, sources: Sources) -> None:
    """WouldReplaceError where the video or its subtitles would stand in place of a clip or the subtitles of one, BemercError
    where the name is no MP4's."""
    if out.suffix.lower() != ".mp4":
        raise BemercError(f"the video is an MP4. Name it {printable(out.with_suffix('.mp4').name)}.", path=out)
    clips = {clip for u in sources.manifest.utterances if (clip := sources.manifest.local_clip(u)) is not None}
    if out.with_suffix("").resolve() in {clip.with_suffix("").resolve() for clip in clips}:
        raise WouldReplaceError(
            "a clip has this name: the video would replace it, or the subtitles those of the clip. Name another file.",
            path=out,
        )


def _layers(turn: Turn, sources: Sources) -> list[_Layer]:
    layers, at = [], turn.span.start_s
    face, pose = turn.clip.get("face"), turn.clip.get("pose")
    if pose is not None and len(pose.values):
        bones = tuple(tuple(JOINTS.index(name) for name in bone) for bone in BONES)
        fingers = tuple(tuple(first + i for i in f) for first in (0, HAND_POINTS) for f in FINGERS)
        for points, lines, color in ((joints_of(pose, turn.utterance), bones, _BODY), (hands_of(pose, turn.utterance), fingers, _HAND)):  # fmt: skip
            if points is not None:
                layers.append(_Layer(pose.timestamps_s + at, _pairs(points), lines, color, _NEAR_S["pose"]))
    cache = sources.caches.get("face")
    if cache is not None and face is not None and len(face.values) and cache.landmark_points > max(MESH):
        layers.append(_mesh_layer(cache, turn, face, turn.utterance.id, _MESH))
        for id_ in cache.others_of(turn.utterance.id):
            assert cache.others is not None
            layers.append(_mesh_layer(cache.others, turn, cache.others[id_], id_, _OTHER))
    return layers


def _mesh_layer(cache: FrameCache, turn: Turn, face: Features, id_: str, color: tuple[int, int, int]) -> _Layer:
    points = _pairs(mesh_of(cache, turn.utterance, face, id_))
    lines = tuple(tuple(MESH.index(i) for i in line) for line in LINES)
    return _Layer(face.timestamps_s + turn.span.start_s, points, lines, color, _NEAR_S["face"])


def _pairs(points: Matrix) -> Matrix:
    return points.reshape(len(points), -1, 2)


def _frames(data: DialogueData, layers: list[list[_Layer]], options: build.Options) -> Iterator[TimedFrame]:
    with bar("drawing", len(data.segments), "clips") as advance:
        for number, segment in enumerate(data.segments):
            if segment.clip is not None:
                turns = [t for t in data.turns if data.segments[t.span.segment].clip == segment.clip]
                painter = conversion.blur(turns) if options.blur else None
                try:
                    for shift_s, rgb in _frames_of(segment, segment.clip):
                        rgb = rgb if painter is None else painter(rgb, shift_s + segment.clip_start_s)
                        rgb = np.zeros_like(rgb) if not options.faces else rgb.copy()
                        yield _painted(rgb, shift_s + segment.start_s, number, data, layers)
                except (MediaError, MachineError) as error:
                    log.warning("%s: not in the video, or not all of it. %s", segment.clip, error)
            advance(1)


def _of_one_shape(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """The frames with black beside or above, so that all are as wide for their height as the first one."""
    shape = None
    for time_s, rgb in frames:
        height, width = rgb.shape[:2]
        shape = shape or (height, width)
        tall, wide = max(height, round(width * shape[0] / shape[1])), max(width, round(height * shape[1] / shape[0]))
        if (tall, wide) != (height, width):
            top, left = (tall - height) // 2, (wide - width) // 2
            rgb = np.pad(rgb, ((top, tall - height - top), (left, wide - width - left), (0, 0)))
        yield time_s, rgb


def _frames_of(segment: Segment, clip: Path) -> Iterator[TimedFrame]:
    """The frames of a segment, at seconds from its beginning. MediaError where the clip cannot be read."""
    with Video(clip) as video:
        for frame in video:
            shift_s = frame.timestamp_s - segment.clip_start_s
            if shift_s >= segment.duration_s:
                return
            if shift_s >= -1e-6:
                yield shift_s, frame.rgb()


def _painted(rgb: Rgb, time_s: float, segment: int, data: DialogueData, layers: list[list[_Layer]]) -> TimedFrame:
    for turn, of_turn in zip(data.turns, layers, strict=True):
        span = turn.span
        if span.segment == segment and span.start_s - 1e-6 <= time_s < span.end_s:
            for layer in of_turn:
                row = int(np.argmin(np.abs(layer.times_s - time_s)))
                if abs(layer.times_s[row] - time_s) <= layer.near_s:
                    draw_lines(rgb, layer.points[row], layer.lines, layer.color)
    return time_s, rgb


def draw_lines(rgb: Rgb, points: Matrix, lines: tuple[tuple[int, ...], ...], color: tuple[int, int, int]) -> None:
    """Draw lines of points (P, 2), fractions of the picture, into it; NaN ends a line."""
    height, width = rgb.shape[:2]
    scaled = points * (width, height)
    ends = np.array([(a, b) for line in lines for a, b in itertools.pairwise(line)])
    starts, stops = scaled[ends[:, 0]], scaled[ends[:, 1]]
    there = np.isfinite(starts).all(axis=1) & np.isfinite(stops).all(axis=1)
    if not there.any():
        return
    starts, stops = starts[there], stops[there]
    steps = 1 + int(min(np.abs(stops - starts).max(), width + height))
    dots = (starts[:, None] + (stops - starts)[:, None] * np.linspace(0, 1, steps)[:, None]).reshape(-1, 2)
    thick = max(1, round(max(height, width) / 640))
    x, y = np.floor(dots).astype(int).T
    for dx in range(thick):
        for dy in range(thick):
            inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
            rgb[y[inside] + dy, x[inside] + dx] = color


def _sound(data: DialogueData) -> NDArray[np.float32]:
    """(N,) the sound of all segments on the axis; empty where there is none."""
    total = np.zeros(round(data.header["duration_s"] * SAMPLE_RATE_HZ), np.float32)
    has_sound = False
    for segment in data.segments:
        sound = np.empty(0, np.float32) if segment.clip is None else read_sound_of(segment.clip)
        first, at = round(segment.clip_start_s * SAMPLE_RATE_HZ), round(segment.start_s * SAMPLE_RATE_HZ)
        part = sound[first : first + round(segment.duration_s * SAMPLE_RATE_HZ)][: len(total) - at]
        total[at : at + len(part)] = part
        has_sound |= bool(len(part))
    return total if has_sound else np.empty(0, np.float32)


def _subtitles(data: DialogueData, out: Path) -> Recording:
    """The dialogue as one recording: its time axis, words and emotions."""
    utterances = []
    for turn, entry in zip(data.turns, data.header["utterances"], strict=True):
        start_s, end_s = turn.span.start_s, turn.span.end_s
        spoken = replace(turn.utterance, text=entry["text"], speaker=entry["speaker"])
        u = replace(spoken, clip=out.name, start_s=start_s, end_s=end_s)
        predicted = entry["predicted"]
        sure = None if predicted is None else entry["scores"][predicted]
        utterances.append(Annotated(u, end_s - start_s, (), predicted, sure))
    return Recording(data.id, out, tuple(utterances), ())
