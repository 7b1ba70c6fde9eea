"""Checks of one cache, row by row: timestamps, rates, ranges, landmarks, checksums."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import KINDS, Choice, FrameCache, clock_fault, summary, unpack_landmarks
from bemerc.core.errors import CacheError
from bemerc.core.progress import bar
from bemerc.extraction.validate.report import MISSING_S, MISSING_SHARE, Issue, Report

# Name of a column -> the least and the largest value that it can have.
_RANGES: tuple[tuple[str, float, float], ...] = (
    (r"AU\d\d_r", 0, 5),
    (r"AU\d\d_c|quality|confidence|voicing|\w+_visibility|\w+_hand_(open|near_face)", 0, 1),
    (r"(pose|gaze)_\w+_deg|\w+_tilt_deg|(lean|sway)_deg", -180, 180),
    (r"face_size", 0, 10),
)
_SLACK = 1e-3
# A codec fills its last packet: 1,024 samples of AAC are an eighth of a second at 8 kHz.
_PACKET_S = 0.15
_HOLE_S = 1.0
# Of the frames that the clip's own rate leads one to expect.
_LACKING_SHARE = 0.1
_BLOCK = 4096


def check_rows(cache: FrameCache, also: Sequence[Issue] = ()) -> Report:
    """Read every row of a cache. ``also``: issues from other checks, for the same report."""
    issues = list(also) + _provenance(cache)
    all_nan: list[str] = []
    with bar(f"Checking {cache.path.name}", len(cache), "utterances") as advance:
        for id_ in cache:
            try:
                issues += [Issue(id_, *rest) for rest in _utterance(cache, id_)]
                if cache.frames(id_) and np.isnan(cache.unchecked(id_).values).all():
                    all_nan.append(id_)
            except CacheError as error:  # a chunk whose bytes are damaged
                issues.append(Issue(id_, "unreadable", str(error), "error"))
            advance(1)
    issues += _others(cache)
    totals: dict[str, Any] = {}
    if not any(issue.kind == "unreadable" for issue in issues):
        totals = summary(cache)
        issues += _empty_columns(totals)
    ordered = sorted(issues, key=lambda issue: (issue.severity, issue.kind))
    return Report(str(cache.path), totals, tuple(all_nan), tuple(ordered))


_CHANGED = "Its rows, duration or landmarks are not what was written: they were damaged or changed."
# Kind, message and severity of an issue.
_Issue = tuple[str, str, Literal["error", "warning"]]


def _utterance(cache: FrameCache, id_: str) -> Iterator[_Issue]:
    features, duration_s = cache.unchecked(id_), cache.duration_s(id_)
    rows, stamps = features.values, features.timestamps_s
    if not cache.is_as_written(id_):
        yield "checksum", _CHANGED, "error"
    if id_ in cache.notes:
        yield "note", cache.notes[id_], "warning"
    if id_ in cache.failures:
        if len(rows):
            yield "failure", f"It is listed as not measured ({cache.failures[id_]}) and has {len(rows)} rows.", "error"
        return
    if not (np.isfinite(duration_s) and duration_s >= 0):
        imported = bool(cache.params.get("imported"))
        yield "duration", f"Its duration is {duration_s} s.", "warning" if imported else "error"
    if not len(rows):
        if duration_s >= MISSING_S:
            yield "no rows", f"It lasts {duration_s:.2f} s and has no rows, and no reason is given.", "warning"
        return
    yield from _clock(cache, id_, stamps, duration_s)
    yield from _values(rows, features.columns)
    if cache.has_landmarks:
        yield from _landmarks(cache, id_, rows)
    if id_ in cache.choices:
        yield from _choice(cache.choices[id_], len(rows))


def _others(cache: FrameCache) -> Iterator[Issue]:
    """Rows of other people, who are in sight for a part of an utterance only."""
    others = cache.others
    for id_ in others or ():
        assert others is not None
        try:
            features = others.unchecked(id_)
            faults: list[_Issue] = [] if others.is_as_written(id_) else [("checksum", _CHANGED, "error")]
            if fault := clock_fault(features.timestamps_s):
                faults.append(("timestamps", fault, "error"))
            faults += _values(features.values, features.columns)
            faults += _landmarks(others, id_, features.values) if others.has_landmarks else ()
        except CacheError as error:
            faults = [("unreadable", str(error), "error")]
        yield from (Issue(id_, *fault) for fault in faults)


def _choice(choice: Choice, rows: int) -> Iterator[_Issue]:
    if any(not 0 <= span.first < span.end <= rows for span in choice.spans):
        yield "choice", f"Its choice of a face covers rows beyond its {rows} rows.", "error"
    if choice.uncertain:
        message = f"Up to {choice.faces} faces are visible at a time, and the target face, selected by {choice.by}, scores {choice.score:.2f}."
        yield "target face", message, "warning"


def _clock(cache: FrameCache, id_: str, stamps: NDArray[np.float64], duration_s: float) -> Iterator[_Issue]:
    """Timestamps against themselves, the duration and the rate."""
    fault = clock_fault(stamps)
    if fault or stamps[0] < -_SLACK:
        yield "timestamps", fault or f"Its first row is at {stamps[0]:.3f} s, and a clip starts at 0.", "error"
        return
    steps = np.diff(stamps)
    step_s = float(np.median(steps)) if len(steps) else 0.0
    yield from _rate(cache, stamps, step_s)
    if len(steps) and np.max(steps) > max(_HOLE_S, 10 * step_s):
        yield "hole", f"No rows for {np.max(steps):.2f} s after {stamps[np.argmax(steps)]:.2f} s.", "warning"
    if not np.isfinite(duration_s):
        return
    beyond_s = _PACKET_S if cache.modality in ("audio", "speech") else 0.05
    if stamps[-1] > duration_s + step_s + beyond_s:
        yield "duration", f"Its last row is at {stamps[-1]:.2f} s and it lasts {duration_s:.2f} s.", "error"
    missing_s = duration_s - stamps[-1] - step_s
    if missing_s > max(MISSING_S, MISSING_SHARE * duration_s) and id_ not in cache.notes:
        message = f"It lasts {duration_s:.2f} s and its rows end at {stamps[-1] + step_s:.2f} s."
        # A sound track may well end before the picture does.
        yield "duration", message, "warning" if cache.modality in ("audio", "speech") else "error"


def _rate(cache: FrameCache, stamps: NDArray[np.float64], step_s: float) -> Iterator[_Issue]:
    """Rows against the cache's rate; at the clip's own rate, against the step that most of its rows keep.

    Rows may be fewer than a rate message, where a clip shows fewer frames, but not more. Sound has no frames to be
    fewer.
    """
    if len(stamps) < 5:
        return
    actual_hz = (len(stamps) - 1) / float(stamps[-1] - stamps[0])
    if isinstance(cache.rate, str):
        if actual_hz < (1 - _LACKING_SHARE) / step_s:
            share = 1 - actual_hz * step_s
            yield (
                "rate",
                f"{share:.0%} of the frames are missing that its own {1 / step_s:.2f} a second lead one to expect.",
                "warning",
            )
        return
    message = f"It has {actual_hz:.2f} rows per second, and the cache's rate is {cache.rate:g}."
    sound = cache.modality in ("audio", "speech")
    if actual_hz > cache.rate * (1 + 1 / len(stamps)) + _SLACK:
        yield "rate", message, "error"
    elif actual_hz < (1 - _LACKING_SHARE if sound else 0.6) * cache.rate:
        yield "rate", message, "error" if sound else "warning"


def _values(rows: NDArray[np.float32], columns: Sequence[str]) -> Iterator[_Issue]:
    infinite = np.asarray(np.isinf(rows).any(axis=0))
    if infinite.any():
        names = [name for name, bad in zip(columns, infinite, strict=True) if bad]
        yield "infinite", f"Infinite numbers in {', '.join(names[:4])}; missing values are NaN in a cache.", "error"
    for at, name in enumerate(columns):
        low, high = _range(name)
        valid = rows[np.isfinite(rows[:, at]), at]
        if len(valid) and (valid.min() < low - _SLACK or valid.max() > high + _SLACK):
            yield (
                "range",
                f"{name} runs from {valid.min():.3g} to {valid.max():.3g}; it can only lie between {low:g} and {high:g}.",
                "error",
            )


def _range(column: str) -> tuple[float, float]:
    return next(((low, high) for name, low, high in _RANGES if re.fullmatch(name, column)), (-np.inf, np.inf))


def _landmarks(cache: FrameCache, id_: str, rows: NDArray[np.float32]) -> Iterator[_Issue]:
    """A cache may keep no points of a few utterances; of one it keeps all or none."""
    measured = np.asarray(np.isfinite(rows).any(axis=1))
    with_points, without = 0, 0
    for first in range(0, len(rows), _BLOCK):  # points of a whole film are gigabytes
        packed = cache.packed_landmarks(id_, first, first + _BLOCK)
        assert packed is not None
        has_points = np.isfinite(unpack_landmarks(packed)).all(axis=(1, 2))
        with_points += int(has_points.sum())
        without += int((measured[first : first + _BLOCK] & ~has_points).sum())
    if without and with_points:
        yield "landmarks", f"{without} of {len(rows)} rows hold measurements and no landmarks.", "error"


def _empty_columns(totals: Mapping[str, Any]) -> Iterator[Issue]:
    for name, numbers in totals["columns"].items():
        if totals["rows"] and numbers["nan_share"] == 1.0:
            yield Issue("", "empty column", f"The column {name} is NaN in every row.", "warning")


def _provenance(cache: FrameCache) -> list[Issue]:
    """The cache as a whole: what it was made of, and whether its head is as it was written."""
    not_hashes = [id_ for id_, content in cache.sources.items() if not re.fullmatch("[0-9a-f]{64}", content)]
    issues = [Issue(id_, "source", f"Its source '{cache.sources[id_]}' is no SHA-256.", "error") for id_ in not_hashes]
    if not cache.head_is_as_written():
        message = (
            "Its attributes, ids, columns, failures or notes are not what was written: they were damaged or changed."
        )
        issues.append(Issue("", "checksum", message, "error"))
    if cache.path.stem in KINDS and cache.path.stem != cache.modality:
        message = f"It holds {cache.modality} and is called {cache.path.name}: another cache was replaced by it, or it was misnamed."
        issues.append(Issue("", "name", message, "error"))
    return issues
