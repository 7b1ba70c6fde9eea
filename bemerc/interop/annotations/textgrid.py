"""Write Praat's TextGrid in its long text form, to the letter: other programs' readers expect Praat's own lines.

Every tier covers the whole recording, so what lies between intervals is an interval without text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bemerc.core.atomic import write_text
from bemerc.corpus.readers.tiers import Interval, Tier, clean
from bemerc.interop.annotations.recordings import Recording, tiers


def write(recording: Recording, path: Path) -> None:
    """Write one recording as UTF-8. DiskError where the disk refuses."""
    write_text(path, "\n".join(_lines(list(tiers(recording, path)), recording.length_ms)) + "\n")


def _lines(written: list[Tier], length_ms: int) -> Iterator[str]:
    yield 'File type = "ooTextFile"'
    yield 'Object class = "TextGrid"'
    yield ""
    yield "xmin = 0 "
    yield f"xmax = {_seconds(length_ms)} "
    yield "tiers? <exists> "
    yield f"size = {len(written)} "
    yield "item []: "
    for number, tier in enumerate(written, 1):
        intervals = list(_tiled(tier, length_ms))
        yield f"    item [{number}]:"
        yield '        class = "IntervalTier" '
        yield f"        name = {_quoted(tier.name)} "
        yield "        xmin = 0 "
        yield f"        xmax = {_seconds(length_ms)} "
        yield f"        intervals: size = {len(intervals)} "
        for at, interval in enumerate(intervals, 1):
            yield f"        intervals [{at}]:"
            yield f"            xmin = {_seconds(interval.onset_ms)} "
            yield f"            xmax = {_seconds(interval.offset_ms)} "
            yield f"            text = {_quoted(interval.value)} "


def _tiled(tier: Tier, length_ms: int) -> Iterator[Interval]:
    """The tier's intervals with those without text between them."""
    reached = 0
    for interval in tier.intervals:
        if interval.onset_ms > reached:
            yield Interval(reached, interval.onset_ms, "")
        yield interval
        reached = interval.offset_ms
    if reached < length_ms:
        yield Interval(reached, length_ms, "")


def _seconds(time_ms: int) -> str:
    return f"{time_ms / 1000:.3f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    doubled = clean(text).replace('"', '""')
    return f'"{doubled}"'
