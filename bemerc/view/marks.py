"""What happens at one moment, as marks on the time axis: micro-expressions, blinks, shut eyes, nods, head shakes, cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bemerc.behavior.describe import acts, micro_expressions, phrases
from bemerc.behavior.describe.clip import Clip, ClipFeatures
from bemerc.behavior.describe.speaking import settled
from bemerc.behavior.signals import events


def of_clip(clip: ClipFeatures, start_s: float) -> list[dict[str, Any]]:
    """The marks of one utterance that begins at ``start_s``: kind, start, apex and end in seconds, and what it is."""
    clip = Clip.of(clip)
    face = settled(clip).get("face")
    if face is None or not len(face.values):
        return []
    stamps = face.timestamps_s + start_s
    ends = stamps + events.frame_s(stamps)  # the last frame of an event is a part of it
    marks = []
    for event in micro_expressions.spot(clip):
        what = "" if event.kind == "blink" else phrases.LIDS.get(event.kind, _phrases(event.units))
        marks.append(_mark(event.kind, stamps[event.onset], stamps[event.apex], ends[event.offset], what))
    for column, kind in phrases.OSCILLATIONS.items():
        for one in acts.oscillations(face, column):
            middle = (stamps[one.first] + stamps[one.last]) / 2
            marks.append(_mark(kind, stamps[one.first], middle, ends[one.last], phrases.count(one.count, kind)))
    return sorted(marks, key=lambda mark: float(mark["start_s"]))


def cuts(clip: Path, first_s: float, last_s: float) -> list[float]:
    """Seconds of the clip at which a new shot begins, between these two. MediaError where it cannot be read."""
    from bemerc.extraction.face.shots import ShotDetector
    from bemerc.media.video import CroppedFrame, Video

    detector = ShotDetector()
    times_s = []
    with Video(clip) as video:
        for frame in video:
            if frame.timestamp_s > last_s:
                break
            if detector(CroppedFrame(frame)) and frame.timestamp_s > first_s:
                times_s.append(frame.timestamp_s)
    return times_s


def cut_mark(time_s: float) -> dict[str, Any]:
    """The mark of a cut."""
    return _mark("cut", time_s, time_s, time_s, "")


def _mark(kind: str, start_s: float, apex_s: float, end_s: float, what: str) -> dict[str, Any]:
    times = {"start_s": start_s, "apex_s": apex_s, "end_s": end_s}
    return {"kind": kind, "what": what} | {name: round(float(value), 3) for name, value in times.items()}


def _phrases(units: Any) -> str:
    names = {item.column: item.phrase for item in phrases.UNITS}
    return ", ".join(names.get(unit, unit.removesuffix("_r")) for unit in units)
