"""One cache, row by row: clocks, rates, ranges, landmarks, checksums."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import KINDS, Choice, FrameCache, clock_fault, summary, unpack_landmarks
from bemerc.core.errors import CacheError
from bemerc.core.progress import bar
from bemerc.extraction.validate.report import Finding, Report

# Name of a column -> the least and the largest value that it can have.
_RANGES: tuple[tuple[str, float, float], ...] = (
    (r"AU\d\d_r", 0, 5),
    (r"AU\d\d_c|quality|confidence|voicing|\w+_visibility|\w+_hand_(open|near_face)", 0, 1),
    (r"(pose|gaze)_\w+_deg|\w+_tilt_deg|(lean|sway)_deg", -180, 180),
    (r"face_size", 0, 10),
)
_SLACK = 1e-3
# Headers round, and a decoder may lack the last frames: an end counts as missing from half a second and a tenth on.
_MISSING_S, _MISSING_SHARE = 0.5, 0.1
_HOLE_S = 1.0
# Of the frames that the clip's own rate leads one to expect.
_LACKING_SHARE = 0.1
_BLOCK = 4096


def check(cache: FrameCache, also: Sequence[Finding] = ()) -> Report:
    """Read every row of a cache. ``also``: findings made elsewhere, for the same report."""
    findings = list(also) + _provenance(cache)
    unseen: list[str] = []
    with bar(f"Checking {cache.path.name}", len(cache), "utterances") as advance:
        for id_ in cache:
            try:
                findings += [Finding(id_, *rest) for rest in _utterance(cache, id_)]
                if cache.frames(id_) and np.isnan(cache.unchecked(id_).values).all():
                    unseen.append(id_)
            except CacheError as error:  # a chunk whose bytes are damaged
                findings.append(Finding(id_, "unreadable", str(error), True))
            advance(1)
    told: dict[str, Any] = {}
    if not any(finding.what == "unreadable" for finding in findings):
        told = summary(cache)
        findings += _empty_columns(told)
    return Report(str(cache.path), told, tuple(unseen), tuple(sorted(findings, key=lambda f: (not f.wrong, f.what))))


_Told = tuple[str, str, bool]


def _utterance(cache: FrameCache, id_: str) -> Iterator[_Told]:
    features, duration_s = cache.unchecked(id_), cache.duration_s(id_)
    rows, stamps = features.values, features.timestamps_s
    if not cache.is_as_written(id_):
        yield (
            "checksum",
            "Its rows, duration or landmarks are not what was written: they were damaged or changed.",
            True,
        )
    if id_ in cache.notes:
        yield "note", cache.notes[id_], False
    if id_ in cache.failures:
        if len(rows):
            yield "failure", f"It is listed as not measured ({cache.failures[id_]}) and has {len(rows)} rows.", True
        return
    if not (np.isfinite(duration_s) and duration_s >= 0):
        known = bool(cache.params.get("imported"))
        yield "duration", f"Its duration is {duration_s} s.", not known
    if not len(rows):
        if duration_s >= _MISSING_S:
            yield "no rows", f"It lasts {duration_s:.2f} s and has no rows, and no reason is given.", False
        return
    yield from _clock(cache, id_, stamps, duration_s)
    yield from _values(rows, features.columns)
    if cache.has_landmarks:
        yield from _landmarks(cache, id_, rows)
    if id_ in cache.choices:
        yield from _choice(cache.choices[id_], len(rows))


def _choice(choice: Choice, rows: int) -> Iterator[_Told]:
    if any(not 0 <= stretch.first < stretch.end <= rows for stretch in choice.stretches):
        yield "choice", f"Its rows are said to be of faces beyond its {rows} rows.", True
    if choice.uncertain:
        says = f"Up to {choice.faces} faces are seen at a time, and by {choice.by} the one chosen scores {choice.score:.2f}."
        yield "whose face", says, False


def _clock(cache: FrameCache, id_: str, stamps: NDArray[np.float64], duration_s: float) -> Iterator[_Told]:
    """Timestamps against themselves, the duration and the rate."""
    fault = clock_fault(stamps)
    if fault or stamps[0] < -_SLACK:
        yield "timestamps", fault or f"Its first row is at {stamps[0]:.3f} s, and a clip starts at 0.", True
        return
    steps = np.diff(stamps)
    step_s = float(np.median(steps)) if len(steps) else 0.0
    yield from _rate(cache, stamps, step_s)
    if len(steps) and steps.max() > max(_HOLE_S, 10 * step_s):
        yield "hole", f"No rows for {steps.max():.2f} s after {stamps[np.argmax(steps)]:.2f} s.", False
    if not np.isfinite(duration_s):
        return
    if stamps[-1] > duration_s + step_s + 0.05:
        yield "duration", f"Its last row is at {stamps[-1]:.2f} s and it lasts {duration_s:.2f} s.", True
    missing_s = duration_s - stamps[-1] - step_s
    if missing_s > max(_MISSING_S, _MISSING_SHARE * duration_s) and id_ not in cache.notes:
        says = f"It lasts {duration_s:.2f} s and its rows end at {stamps[-1] + step_s:.2f} s."
        # A sound track may well end before the picture does.
        yield "duration", says, cache.modality not in ("audio", "speech")


def _rate(cache: FrameCache, stamps: NDArray[np.float64], step_s: float) -> Iterator[_Told]:
    """Rows against the cache's rate; at the clip's own rate, against the step that most of its rows keep.

    Rows may be fewer than a rate says, where a clip shows fewer frames, but not more. Sound has no frames to be fewer.
    """
    if len(stamps) < 5:
        return
    found_hz = (len(stamps) - 1) / float(stamps[-1] - stamps[0])
    if isinstance(cache.rate, str):
        if found_hz < (1 - _LACKING_SHARE) / step_s:
            share = 1 - found_hz * step_s
            yield (
                "rate",
                f"{share:.0%} of the frames are missing that its own {1 / step_s:.2f} a second lead one to expect.",
                False,
            )
        return
    says = f"It has {found_hz:.2f} rows per second, and the cache's rate is {cache.rate:g}."
    sound = cache.modality in ("audio", "speech")
    if found_hz > cache.rate * (1 + 1 / len(stamps)) + _SLACK:
        yield "rate", says, True
    elif found_hz < (1 - _LACKING_SHARE if sound else 0.6) * cache.rate:
        yield "rate", says, sound


def _values(rows: NDArray[np.float32], columns: Sequence[str]) -> Iterator[_Told]:
    infinite = np.isinf(rows).any(axis=0)
    if infinite.any():
        names = [name for name, bad in zip(columns, infinite, strict=True) if bad]
        yield "infinite", f"Infinite numbers in {', '.join(names[:4])}; what is not known is NaN in a cache.", True
    for at, name in enumerate(columns):
        low, high = _range(name)
        seen = rows[np.isfinite(rows[:, at]), at]
        if len(seen) and (seen.min() < low - _SLACK or seen.max() > high + _SLACK):
            found = f"{seen.min():.3g} to {seen.max():.3g}"
            yield "range", f"{name} runs from {found}; it can only lie between {low:g} and {high:g}.", True


def _range(column: str) -> tuple[float, float]:
    return next(((low, high) for name, low, high in _RANGES if re.fullmatch(name, column)), (-np.inf, np.inf))


def _landmarks(cache: FrameCache, id_: str, rows: NDArray[np.float32]) -> Iterator[_Told]:
    """A cache may keep no points of a few utterances; of one it keeps all or none."""
    measured = np.isfinite(rows).any(axis=1)
    with_points, without = 0, 0
    for first in range(0, len(rows), _BLOCK):  # points of a whole film are gigabytes
        packed = cache.packed_landmarks(id_, first, first + _BLOCK)
        assert packed is not None
        there = np.isfinite(unpack_landmarks(packed)).all(axis=(1, 2))
        with_points += int(there.sum())
        without += int((measured[first : first + _BLOCK] & ~there).sum())
    if without and with_points:
        yield "landmarks", f"{without} of {len(rows)} rows hold measurements and no landmarks.", True


def _empty_columns(told: Mapping[str, Any]) -> Iterator[Finding]:
    for name, numbers in told["columns"].items():
        if told["rows"] and numbers["nan_share"] == 1.0:
            yield Finding("", "empty column", f"The column {name} is NaN in every row.", False)


def _provenance(cache: FrameCache) -> list[Finding]:
    """The cache as a whole: what it was made of, and whether its head is as it was written."""
    odd = [id_ for id_, content in cache.sources.items() if not re.fullmatch("[0-9a-f]{64}", content)]
    findings = [Finding(id_, "source", f"Its source '{cache.sources[id_]}' is no SHA-256.", True) for id_ in odd]
    if not cache.head_is_as_written():
        says = "Its attributes, ids, columns, failures or notes are not what was written: they were damaged or changed."
        findings.append(Finding("", "checksum", says, True))
    if cache.path.stem in KINDS and cache.path.stem != cache.modality:
        says = (
            f"It holds {cache.modality} and is called {cache.path.name}: it was copied over another cache, or misnamed."
        )
        findings.append(Finding("", "name", says, True))
    return findings
