"""OpenFace's tables: read as our columns, and written from them; its column names and units beside ours.

A frame counts only if OpenFace reports success with enough confidence; all others are NaN, where its own zeros look
like a neutral face. Of several faces the one with most frames is taken, and the note names it. Headers have leading
spaces.

Units: OpenFace's angles are radians and ours degrees; its pose_Ry grows as the head turns to the image's left, ours to
the right (measured on a real clip: r -0.85, slope -0.96 on yaw; +0.97 on roll, +0.40 on pitch). It corrects head pose
for perspective with an assumed lens, ours does not: for a face at the frame's edge the two differ by a constant.
"""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events
from bemerc.cache import Features, clock_fault
from bemerc.core.errors import CacheError

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)  # those with an intensity; AU28 has only _c
_PRESENT = (*UNITS[:-1], 28, 45)
_DEGREES = 180 / math.pi
# Theirs, ours, and what theirs is multiplied with.
NAMES: tuple[tuple[str, str, float], ...] = (
    *((f"AU{unit:02d}_r", f"AU{unit:02d}_r", 1.0) for unit in UNITS),
    ("pose_Rx", "pose_pitch_deg", _DEGREES),
    ("pose_Ry", "pose_yaw_deg", -_DEGREES),
    ("pose_Rz", "pose_roll_deg", _DEGREES),
    ("gaze_angle_x", "gaze_x_deg", _DEGREES),
    ("gaze_angle_y", "gaze_y_deg", _DEGREES),
    *((f"AU{unit:02d}_c", f"AU{unit:02d}_c", 1.0) for unit in _PRESENT),
    ("confidence", "confidence", 1.0),
)
IN_DEGREES = "pose_Rx, pose_Ry (sign turned), pose_Rz, gaze_angle_x and gaze_angle_y: radians to degrees"
# What OpenFace advises; below it landmarks are often off the face.
CONFIDENT = 0.8
# How C++ programs, and exports of ours, write what is no number.
_NAN = {"", "nan", "-nan", "nan(ind)", "-nan(ind)", "-1.#ind", "1.#qnan", "inf", "-inf"}
# Eleven hours at 25 a second. A table of two rows may number them as it likes, and every frame between takes memory.
_MOST_FRAMES = 1_000_000


@dataclass(frozen=True)
class OpenFaceTable:
    """A table as it was read: one row per frame of the clip.

    features    columns named as ours; NaN rows where the face was not detected well enough
    boxes       (T, 4) left, top, right, bottom of the 2D landmarks in pixels; NaN where the table has none
    duration_s  to the end of the last frame
    faces       how many were tracked
    note        a sentence on what is odd, empty where nothing is
    """

    features: Features
    boxes: NDArray[np.float32]
    duration_s: float
    faces: int
    note: str


def columns_of(path: Path) -> tuple[str, ...]:
    """Which of our columns a table has, from its header. CacheError where it is no table of a clip by OpenFace."""
    return tuple(ours for theirs, ours, _ in NAMES if theirs in _header(path))


def read(path: Path, columns: Sequence[str], min_confidence: float = CONFIDENT) -> OpenFaceTable:
    """Read a table by OpenFace's FeatureExtraction or FaceLandmarkVidMulti as ``columns``; those it lacks are NaN.

    Of several faces the one detected in most frames is taken. CacheError where it is no such table, breaks off in the
    middle, or where its times do not grow.
    """
    header = _header(path)
    cells, is_cut = _numbers(path, header)
    if not len(cells):
        raise CacheError("The table holds no frame.")
    column = {name: i for i, name in enumerate(header.wanted)}
    valid = (cells[:, column["success"]] == 1) & (cells[:, column["confidence"]] >= min_confidence)
    faces = cells[:, column["face_id"]] if "face_id" in column else np.zeros(len(cells))
    face, count = _face_with_most_frames(faces, valid)
    _check_twins(cells[:, column["frame"]], faces)
    frames, stamps = _clock(cells[:, column["frame"]], cells[:, column["timestamp"]])
    error = clock_fault(stamps)
    if error:
        raise CacheError(error)
    selected = (faces == face) & valid
    rows = np.searchsorted(frames, cells[selected, column["frame"]])
    values = np.full((len(frames), len(columns)), np.nan, np.float32)
    for theirs, ours, factor in NAMES:
        if ours in columns and theirs in column:
            values[rows, columns.index(ours)] = cells[selected, column[theirs]] * factor
    boxes = np.full((len(frames), 4), np.nan, np.float32)
    boxes[rows] = _boxes(header, cells[selected])
    step_s = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    note = _note(count, face, len(rows), len(frames), is_cut)
    return OpenFaceTable(Features(values, stamps, tuple(columns)), boxes, float(stamps[-1]) + step_s, count, note)


@dataclass(frozen=True)
class _Header:
    """The names that are read and where they stand; ``width`` names in all."""

    wanted: tuple[str, ...]
    indices: tuple[int, ...]
    width: int

    def __contains__(self, name: object) -> bool:
        return name in self.wanted


def _header(path: Path) -> _Header:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CacheError(f"The table cannot be read ({_why(error)}).") from None
    missing = [name for name in ("frame", "timestamp", "confidence", "success") if name not in names]
    if missing:
        pictures = " FaceLandmarkImg's tables are of single pictures." if "face" in names else ""
        raise CacheError(f"It is no table of a clip by OpenFace: it has no column {', '.join(missing)}.{pictures}")
    if not any(theirs in names for theirs, ours, _ in NAMES if ours != "confidence"):
        raise CacheError("It holds no action unit, head pose or gaze. Run OpenFace with -aus -pose -gaze.")
    readable = {"frame", "timestamp", "success", "face_id", *(theirs for theirs, _, _ in NAMES)}
    columns = [(name, i) for i, name in enumerate(names) if name in readable or _is_landmark(name)]
    return _Header(tuple(name for name, _ in columns), tuple(i for _, i in columns), len(names))


def _is_landmark(name: str) -> bool:
    return name[:2] in ("x_", "y_") and name[2:].isdecimal()


def _numbers(path: Path, header: _Header) -> tuple[NDArray[np.float64], bool]:
    """(rows, wanted columns), and whether a last line broke off, as it does when OpenFace is stopped."""
    rows: list[list[float]] = []
    short = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            next(lines)
            for line in lines:
                if short:
                    raise CacheError(f"Line {short} has fewer cells than the header's {header.width}.")
                if len(line) < header.width:
                    short = lines.line_num if line else 0
                    continue
                if any(cell.strip() for cell in line[header.width :]):
                    raise CacheError(
                        f"Line {lines.line_num} has {len(line)} cells, and the header names {header.width}. Were decimal commas written? "
                        "Run OpenFace with LC_ALL=C."
                    )
                rows.append([_number(line[index], lines.line_num) for index in header.indices])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CacheError(f"The table cannot be read ({_why(error)}).") from None
    return np.array(rows, np.float64).reshape(-1, len(header.indices)), bool(short)


def _number(cell: str, line: int) -> float:
    try:
        number = float(cell)
    except ValueError:
        if cell.strip().lower() not in _NAN:
            raise CacheError(f"Line {line} holds '{cell.strip()[:20]}' where a number belongs.") from None
        return math.nan
    return number if math.isfinite(number) else math.nan


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _face_with_most_frames(faces: NDArray[np.float64], good: NDArray[np.bool_]) -> tuple[float, int]:
    """The face with most frames that count (of equals the lowest id), and how many faces there are."""
    ids, index = np.unique(faces, return_inverse=True)
    return float(ids[np.argmax(np.bincount(index, weights=good, minlength=len(ids)))]), len(ids)


def _check_twins(frames: NDArray[np.float64], faces: NDArray[np.float64]) -> None:
    pairs, counts = np.unique(np.column_stack([frames, faces]), axis=0, return_counts=True)
    if (counts > 1).any():
        frame = pairs[int(np.argmax(counts > 1)), 0]
        raise CacheError(
            f"{int((counts > 1).sum())} frames stand there twice, frame {frame:g} first. Were two tables written into one file?"
        )


def _clock(frames: NDArray[np.float64], stamps: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every frame from the first to the last and its time. Frames without a row (OpenFace's tool for several faces
    writes none where it detected no face) are interpolated between their neighbours."""
    numbers, index = np.unique(frames, return_index=True)
    times = stamps[index]
    if not (np.isfinite(numbers).all() and np.isfinite(times).all()) or numbers[0] < 0 or numbers[-1] > _MOST_FRAMES:
        raise CacheError(f"Its frames are numbered {numbers[0]:g} to {numbers[-1]:g}, or their times are no numbers.")
    if (numbers != np.round(numbers)).any():
        raise CacheError(
            f"Its frames are not numbered by whole numbers, but by {numbers[numbers != np.round(numbers)][0]:g}."
        )
    if (np.diff(times) <= 0).any() or times[0] < 0:
        at = int(np.argmax(np.diff(times) <= 0))
        raise CacheError(
            f"Its times do not grow: frame {numbers[at]:g} is at {times[at]:g} s, the next at {times[at + 1]:g} s."
        )
    frames_all = np.arange(min(1.0, numbers[0]), numbers[-1] + 1)
    step_s = float(np.median(np.diff(times) / np.diff(numbers))) if len(numbers) > 1 else 0.0
    before = times[0] - (numbers[0] - frames_all) * step_s
    return frames_all, np.where(frames_all < numbers[0], np.maximum(before, 0.0), np.interp(frames_all, numbers, times))


def _boxes(header: _Header, cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 4) left, top, right, bottom of the landmarks, in pixels."""
    across = [i for i, name in enumerate(header.wanted) if name.startswith("x_")]
    down = [i for i, name in enumerate(header.wanted) if name.startswith("y_")]
    if not across or not down:
        return np.full((len(cells), 4), np.nan)
    x, y = cells[:, across], cells[:, down]
    return np.column_stack([x.min(axis=1), y.min(axis=1), x.max(axis=1), y.max(axis=1)])


def _note(faces: int, face: float, valid: int, frames: int, is_cut: bool) -> str:
    parts = []
    if faces > 1:
        parts.append(f"{faces} faces are in the table; face {face:g}, found in {valid} of {frames} frames, was taken.")
    if is_cut:
        parts.append("The table's last line breaks off and was left out.")
    return " ".join(parts)


# ------------------------------------------------------------------------------------------------------------ writing


def as_table(features: Features) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Face frames (T, D) as OpenFace's columns, name and (T,) values, in its order; NaN where no face was detected.

    ``confidence`` is our ``quality`` where OpenFace's own is not in the cache. ``AUxx_c`` is OpenFace's own where the
    cache has it, and else left out: OpenFace's threshold of 1 on our intensities, before they had a zero, called units present in
    every frame of some faces. AU45_c marks blinks, which are detected against the clip's own median.
    """
    frames = len(features.values)
    valid = np.asarray(np.isfinite(features.values).any(axis=1))
    columns = {name: features.values[:, i].astype(np.float64) for i, name in enumerate(features.columns)}
    confidence = columns.get("confidence", columns.get("quality", np.ones(frames)))
    yield "frame", np.arange(1, frames + 1, dtype=np.float64)
    yield "face_id", np.zeros(frames)
    yield "timestamp", features.timestamps_s
    yield "confidence", np.where(valid, np.nan_to_num(confidence), 0.0)
    yield "success", valid.astype(np.float64)
    order = sorted(NAMES, key=lambda name: (not name[0].startswith("gaze"), not name[0].startswith("pose")))
    for theirs, ours, factor in order:
        if theirs == "confidence":
            continue
        if ours in columns:
            yield theirs, columns[ours] / factor
        elif theirs == "AU45_c" and "AU45_r" in columns:
            yield theirs, _blinking(columns["AU45_r"], features.timestamps_s)


def _blinking(closure: NDArray[np.float64], timestamps_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) 1 in the frames of a blink, 0 in others, NaN where no face was detected."""
    blinking = np.where(np.isfinite(closure), 0.0, np.nan)
    for blink in events.blinks(closure, events.frame_s(timestamps_s), events.BLINK):
        blinking[blink.first : blink.last + 1] = 1.0
    return blinking


def name_of(path: Path, folder: Path) -> str:
    """The name of a table below ``folder``: its path without suffix, NFC as ids are."""
    return unicodedata.normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
