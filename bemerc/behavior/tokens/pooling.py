"""Frames of any number -> K rows: the segments' levels, peaks and speeds, per column, by name.

The plain choice is the mean per segment, which wipes out what matters most here: a flash of two frames. So every
intensity is told as four numbers: the clip's own resting level (its 10th percentile), and, relative to that, the
segment's mean and peak, and its speed. Who somebody is shows in the resting level alone; the other three are about
movement, the same for every face. All of this is ours.

What is not measured stays NaN here; the package turns it into masks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events, voice

Array = NDArray[np.float64]

# base   the clip's 10th percentile, the same in all segments        mean    segment mean minus base
# peak   segment maximum minus base                                  speed   largest change between two frames, per second
# level  segment mean                                                swing   signed largest deviation from the clip's median
# spread standard deviation within the segment                       seen    share of the segment's frames that know the value
# clip   one number for the whole clip, the same in all segments
Kind = Literal["base", "mean", "peak", "speed", "level", "swing", "spread", "seen", "clip"]
WHOLE_CLIP: frozenset[Kind] = frozenset({"base", "clip"})

# Whether a value moves up from rest (an intensity) or swings around a middle (an angle) decides what is worth telling.
KINDS: tuple[tuple[str, tuple[Kind, ...]], ...] = (
    (r"AU45_r", ("base", "mean", "peak")),
    (r"AU\d\d_r", ("base", "mean", "peak", "speed")),
    (r"pose_(pitch|yaw|roll)_deg", ("level", "swing", "speed")),
    (r"gaze_[xy]_deg", ("level", "speed")),
    (r"(lean|sway|shoulder_tilt)_deg|slump", ("level", "swing", "speed")),
    (r"(left|right)_hand_(height|open|near_face)", ("level", "seen")),
    (r"movement|hands_movement", ("level", "peak")),
    (r"shoulders_(dx|dy|width)", ("swing",)),
    (r"pitch_st", ("level", "spread")),
    (r"voicing", ("level",)),
    (r"energy_db", ("level", "peak", "spread")),
    (r"spectral_\w+|zero_crossing_rate", ("level",)),
    (r"band_\d", ("level",)),
    (r"voice_\w+", ("clip",)),
    (r"egemaps_.+", ("level", "spread")),
    (r"\w+_\d{4}", ("level",)),  # an encoder's: its numbers mean something together, and a mean of them still does
)
PROSODY = ("pitch_hz", "voicing", "energy_db")
SPECTRAL = ("spectral_centroid_hz", "spectral_flatness", "spectral_rolloff_hz", "zero_crossing_rate")
SHOULDERS = tuple(f"{side}_shoulder_{axis}" for side in ("left", "right") for axis in ("x", "y", "visibility"))
BANDS = 4
VISIBLE = 0.5


@dataclass(frozen=True)
class Pool:
    """One column of a behavior token: ``kind`` of the signal ``signal``."""

    signal: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.signal}.{self.kind}"


def plan(columns: Sequence[str]) -> tuple[Pool, ...]:
    """What a token tells of frames with these columns. Columns without a rule (raw keypoints, quality) are left out."""
    return tuple(Pool(name, kind) for name in signal_names(columns) for kind in _kinds(name))


def signal_names(columns: Sequence[str]) -> tuple[str, ...]:
    """The signals that frames with these columns give: columns as they are, and those worked out of several."""
    names = [c for c in columns if _kinds(c) and c not in PROSODY and c not in SPECTRAL]
    if set(SHOULDERS) <= set(columns):
        names += ["shoulders_dx", "shoulders_dy", "shoulders_width"]
    if set(PROSODY) <= set(columns):
        names += ["pitch_st", "voicing", "energy_db", *(f"voice_{m}" for m in voice.MEASURES)]
        names += [c for c in SPECTRAL if c in columns]
        names += [f"band_{b}" for b in range(BANDS)] if _mel(columns) else []
    return tuple(names)


def pool(values: NDArray[np.float32], timestamps_s: Array, columns: Sequence[str], duration_s: float, k: int) -> Array:
    """Frames (T, D) at ``timestamps_s`` (T,) of a clip of ``duration_s`` -> (K, D') in plan(columns)'s order.

    NaN where nothing was measured; a segment that no frame tells anything of is NaN throughout, the clip's own
    numbers included.
    """
    pools = plan(columns)
    result = np.full((k, len(pools)), np.nan)
    if not len(values) or not pools:
        return result
    signals = _signals(values, timestamps_s, columns)
    names = signal_names(columns)
    frames = np.column_stack([signals[name] for name in names])
    segments = _segments(timestamps_s, duration_s, k)
    told = _told(frames, timestamps_s, segments, k, {item.kind for item in pools})
    where = {name: i for i, name in enumerate(names)}
    for column, item in enumerate(pools):
        result[:, column] = told[item.kind][:, where[item.signal]]
    local = [item.kind not in WHOLE_CLIP and item.kind != "seen" for item in pools]
    result[np.isnan(result[:, local]).all(axis=1)] = np.nan
    return result


@functools.cache
def _kinds(signal: str) -> tuple[Kind, ...]:
    return next((kinds for pattern, kinds in KINDS if re.fullmatch(pattern, signal)), ())


def _mel(columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c.startswith("logmel_")]


def _signals(values: NDArray[np.float32], timestamps_s: Array, columns: Sequence[str]) -> Mapping[str, Array]:
    known = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    signals = {name: known[:, i] for i, name in enumerate(columns)}
    if set(SHOULDERS) <= set(columns):
        signals |= _shoulders(signals)
    if set(PROSODY) <= set(columns):
        signals |= _voice(signals, timestamps_s, columns)
    return signals


def _shoulders(signals: Mapping[str, Array]) -> dict[str, Array]:
    """The shoulders' middle and width in shoulder widths: where they go within the clip, not where the camera stood."""
    visible = np.minimum(signals["left_shoulder_visibility"], signals["right_shoulder_visibility"]) >= VISIBLE
    left, right = (
        {a: np.where(visible, signals[f"{s}_shoulder_{a}"], np.nan) for a in "xy"} for s in ("left", "right")
    )
    width = np.abs(left["x"] - right["x"])
    usual = _median(width)
    if not usual > 0:
        return dict.fromkeys(("shoulders_dx", "shoulders_dy", "shoulders_width"), np.full(len(width), np.nan))
    return {
        "shoulders_dx": (left["x"] + right["x"]) / 2 / usual,
        "shoulders_dy": (left["y"] + right["y"]) / 2 / usual,
        "shoulders_width": width / usual,
    }


def _voice(signals: Mapping[str, Array], timestamps_s: Array, columns: Sequence[str]) -> dict[str, Array]:
    """Pitch on a scale of hearing, spectral shape while speaking (level taken out), and the clip's five measures."""
    energy, spoken = signals["energy_db"], voice.speaking(signals["energy_db"])
    heard = voice.measure(signals["pitch_hz"], energy, events.frame_s(timestamps_s))
    found = {"pitch_st": voice.semitones(signals["pitch_hz"])}
    found |= {c: np.where(spoken, signals[c], np.nan) for c in SPECTRAL if c in signals}
    found |= {f"voice_{m}": np.full(len(energy), getattr(heard, m)) for m in voice.MEASURES}
    mel = _mel(columns)
    if mel:
        bands = np.array([part.mean(axis=0) for part in np.array_split(np.array([signals[c] for c in mel]), BANDS)])
        shape = np.where(spoken, bands - bands.mean(axis=0), np.nan)
        found |= {f"band_{b}": shape[b] for b in range(BANDS)}
    return found


def _segments(timestamps_s: Array, duration_s: float, k: int) -> NDArray[np.int64]:
    """The segment of each frame (T,), 0 to k - 1. A duration that is unknown or too short gives way to the last frame."""
    end = timestamps_s[-1] + events.frame_s(timestamps_s)
    span = duration_s if np.isfinite(duration_s) and duration_s > timestamps_s[-1] else end
    if span <= 0:
        return np.zeros(len(timestamps_s), np.int64)
    segments: NDArray[np.int64] = np.clip(np.floor(timestamps_s / span * k), 0, k - 1).astype(np.int64)
    return segments


def _told(
    frames: Array, timestamps_s: Array, segments: NDArray[np.int64], k: int, kinds: Set[Kind]
) -> dict[Kind, Array]:
    """All kinds of all signals: kind -> (K, S). An encoder's hundreds of columns want their level alone, and get no more."""
    parts = [segments == s for s in range(k)]
    mean = np.array([_mean(frames[part]) for part in parts])
    if kinds == {"level"}:
        return {"level": mean}
    base, middle = quantile(frames, 0.1), quantile(frames, 0.5)
    speeds = _speeds(frames, timestamps_s)
    away = frames - middle
    top = np.array([_extreme(frames[part], 1) for part in parts])
    high, low = (np.array([_extreme(away[part], sign) for part in parts]) for sign in (1, -1))
    return {
        "base": np.tile(base, (k, 1)),
        "clip": np.tile(base, (k, 1)),
        "mean": mean - base,
        "peak": top - base,
        "speed": np.array([_extreme(speeds[part], 1) for part in parts]),
        "level": mean,
        "swing": np.where(high >= -low, high, low),
        "spread": np.array([np.sqrt(_mean((frames[part] - m) ** 2)) for part, m in zip(parts, mean, strict=True)]),
        "seen": np.array([_seen(frames[part]) for part in parts]),
    }


def _speeds(frames: Array, timestamps_s: Array) -> Array:
    """|change| per second since the frame before, (T, S); NaN for the first frame and across a gap."""
    steps = np.diff(timestamps_s)
    steps = np.where(steps > 0, steps, np.nan)[:, None]
    return np.vstack([np.full((1, frames.shape[1]), np.nan), np.abs(np.diff(frames, axis=0)) / steps])


def quantile(frames: Array, q: float) -> Array:
    """The q-quantile of each column (T, S) -> (S,) over what is not NaN (linear); NaN where nothing is."""
    ordered = np.sort(frames, axis=0)  # NaN sorts last
    known = (~np.isnan(ordered)).sum(axis=0)
    place = q * np.maximum(known - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(known - 1, 0))
    column = np.arange(frames.shape[1])
    result: Array = ordered[below, column] + (place - below) * (ordered[above, column] - ordered[below, column])
    return result


def _median(values: Array) -> float:
    return float(quantile(values[:, None], 0.5)[0]) if len(values) else float("nan")


def _mean(rows: Array) -> Array:
    """Column means over what is not NaN, (S,); NaN where nothing is (numpy's nanmean would warn)."""
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    result: Array = np.where(count > 0, np.where(known, rows, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return result


def _extreme(rows: Array, sign: int) -> Array:
    """Column maxima (sign 1) or minima (sign -1) over what is not NaN, (S,); NaN where nothing is."""
    known = ~np.isnan(rows)
    best = sign * np.where(known, sign * rows, -np.inf).max(axis=0, initial=-np.inf)
    return np.where(known.any(axis=0), best, np.nan)


def _seen(rows: Array) -> Array:
    return (~np.isnan(rows)).mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)
