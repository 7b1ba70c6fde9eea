"""One time axis for a dialogue: its clips end to end, or the one recording that all its turns are cues of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bemerc.corpus.manifest import Utterance


@dataclass(frozen=True)
class Segment:
    """A part of one clip that lies on the axis.

    clip          the clip, None where there is none
    start_s       where it begins on the axis
    clip_start_s  which moment of the clip that is
    duration_s    how long it is
    """

    clip: Path | None
    start_s: float
    clip_start_s: float
    duration_s: float


@dataclass(frozen=True)
class AxisSpan:
    """Where an utterance lies: the number of its segment, and its start and end on the axis."""

    segment: int
    start_s: float
    end_s: float


def lay_out(
    utterances: Sequence[Utterance], duration_s: Mapping[str, float], clip_of: Mapping[str, Path | None]
) -> tuple[list[Segment], list[AxisSpan]]:
    """The segments of a dialogue's turns, and each turn's span. Turns that follow each other in the same clip share a
    segment, pauses between them included. ``duration_s``: id -> seconds; ``clip_of``: id -> clip."""
    segments: list[Segment] = []
    on_axis: list[AxisSpan] = []
    axis_s, at = 0.0, 0
    while at < len(utterances):
        group = _same_clip(utterances[at:])
        spans = [(u.start_s or 0.0, (u.start_s or 0.0) + duration_s[u.id]) for u in group]
        # A recording is watched from its beginning: cues start when somebody speaks.
        first = 0.0 if group[0].start_s is not None and len(group) == len(utterances) else min(s for s, _ in spans)
        last = max(end for _, end in spans)
        segments.append(Segment(clip_of.get(group[0].id), axis_s, first, last - first))
        on_axis += [AxisSpan(len(segments) - 1, axis_s + start - first, axis_s + end - first) for start, end in spans]
        axis_s += last - first
        at += len(group)
    return segments, on_axis


def _same_clip(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The first of these, and those after it that are parts of the same clip."""
    first = utterances[0]
    group = [first]
    if first.clip is not None and first.start_s is not None:
        for u in utterances[1:]:
            if u.clip != first.clip:
                break
            group.append(u)
    return group
