"""Pool the frames of one clip (T, D) into K segments (K, D'): levels, peaks and speeds of each column, by its name.

An intensity becomes four numbers: the clip's resting level (its 10th percentile), and, relative to that, the segment's
mean and peak, and its speed. A mean alone would lose a movement of two frames; and who somebody is shows in the
resting level only, the other three are about movement. What was not measured is NaN; file.py turns it into masks. All
of this is ours.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events, statistics, voice
from bemerc.cache import VISIBLE

Array = NDArray[np.float64]

# base   the clip's 10th percentile, the same in all segments        mean    segment mean minus base
# peak   segment maximum minus base                                  speed   largest change between two frames, per second
# level  segment mean                                                swing   signed largest deviation from the clip's median
# spread standard deviation within the segment                       seen    share of the segment's frames with a value
# clip   one number for the whole clip, the same in all segments
Kind = Literal["base", "mean", "peak", "speed", "level", "swing", "spread", "seen", "clip"]
WHOLE_CLIP: frozenset[Kind] = frozenset({"base", "clip"})

# Column name (regular expression) -> the kinds that it is pooled into; an intensity rises from rest, an angle goes
# both ways.
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


@dataclass(frozen=True)
class Pool:
    """One column of a behavior token: ``kind`` of the signal ``signal``."""

    signal: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.signal}.{self.kind}"


def plan(columns: Sequence[str]) -> tuple[Pool, ...]:
    """The token columns of frames with these columns. Those without a rule (raw keypoints, quality) are left out."""
    return tuple(Pool(name, kind) for name in signal_names(columns) for kind in _kinds(name))


def signal_names(columns: Sequence[str]) -> tuple[str, ...]:
    """The signals of frames with these columns: columns as they are, and those computed from several."""
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

    NaN where nothing was measured. A segment without any measured value is NaN throughout, the columns of the whole
    clip included.
    """
    pools = plan(columns)
    result = np.full((k, len(pools)), np.nan)
    if not len(values) or not pools:
        return result
    signals = _signals(values, timestamps_s, columns)
    names = signal_names(columns)
    frames = np.column_stack([signals[name] for name in names])
    segments = _segments(timestamps_s, duration_s, k)
    pooled = _pooled(frames, timestamps_s, segments, k, {item.kind for item in pools})
    index = {name: i for i, name in enumerate(names)}
    for column, item in enumerate(pools):
        result[:, column] = pooled[item.kind][:, index[item.signal]]
    local = [item.kind not in WHOLE_CLIP and item.kind != "seen" for item in pools]
    result[np.isnan(result[:, local]).all(axis=1)] = np.nan
    return result


@functools.cache
def _kinds(signal: str) -> tuple[Kind, ...]:
    return next((kinds for pattern, kinds in KINDS if re.fullmatch(pattern, signal)), ())


def _mel(columns: Sequence[str]) -> list[str]:
    return [c for c in columns if c.startswith("logmel_")]


def _signals(values: NDArray[np.float32], timestamps_s: Array, columns: Sequence[str]) -> Mapping[str, Array]:
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    signals = {name: finite[:, i] for i, name in enumerate(columns)}
    # Extraction takes a person's rest in the clip from their units; whether that is the person or the mood is for the
    # calibration to say, which knows the speaker's other clips.
    for name in columns:
        if f"rest_{name.removesuffix('_r')}" in columns:
            signals[name] = signals[name] + signals[f"rest_{name.removesuffix('_r')}"]
    if set(SHOULDERS) <= set(columns):
        signals |= _shoulders(signals)
    if set(PROSODY) <= set(columns):
        signals |= _voice(signals, timestamps_s, columns)
    return signals


def _shoulders(signals: Mapping[str, Array]) -> dict[str, Array]:
    """Middle and width of the shoulders, in shoulder widths, so that the distance of the camera does not count."""
    visible = np.minimum(signals["left_shoulder_visibility"], signals["right_shoulder_visibility"]) >= VISIBLE
    left, right = (
        {a: np.where(visible, signals[f"{s}_shoulder_{a}"], np.nan) for a in "xy"} for s in ("left", "right")
    )
    width = np.abs(left["x"] - right["x"])
    median_width = float(statistics.quantile(width, 0.5))
    if not median_width > 0:
        return dict.fromkeys(("shoulders_dx", "shoulders_dy", "shoulders_width"), np.full(len(width), np.nan))
    return {
        "shoulders_dx": (left["x"] + right["x"]) / 2 / median_width,
        "shoulders_dy": (left["y"] + right["y"]) / 2 / median_width,
        "shoulders_width": width / median_width,
    }


def _voice(signals: Mapping[str, Array], timestamps_s: Array, columns: Sequence[str]) -> dict[str, Array]:
    """Pitch in semitones, spectral shape while speaking (its level subtracted), and the clip's five voice measures."""
    pitch, energy = signals["pitch_hz"], signals["energy_db"]
    sound = voice.Sound(pitch, energy, events.frame_s(timestamps_s), signals.get("speech"))
    measures, loud = voice.measure(sound), voice.speaking(sound)
    result = {"pitch_st": voice.semitones(np.where(sound.is_speech, pitch, np.nan))}
    result |= {c: np.where(loud, signals[c], np.nan) for c in SPECTRAL if c in signals}
    result |= {f"voice_{m}": np.full(len(energy), getattr(measures, m)) for m in voice.MEASURES}
    mel = _mel(columns)
    if mel:
        bands = np.array([part.mean(axis=0) for part in np.array_split(np.array([signals[c] for c in mel]), BANDS)])
        shape = np.where(loud, bands - bands.mean(axis=0), np.nan)
        result |= {f"band_{b}": shape[b] for b in range(BANDS)}
    return result


def _segments(timestamps_s: Array, duration_s: float, k: int) -> NDArray[np.int64]:
    """The segment of each frame (T,), 0 to k - 1. The last frame ends a clip whose duration is NaN or too short."""
    end = timestamps_s[-1] + events.frame_s(timestamps_s)
    span = duration_s if np.isfinite(duration_s) and duration_s > timestamps_s[-1] else end
    if span <= 0:
        return np.zeros(len(timestamps_s), np.int64)
    segments: NDArray[np.int64] = np.clip(np.floor(timestamps_s / span * k), 0, k - 1).astype(np.int64)
    return segments


def _pooled(
    frames: Array, timestamps_s: Array, segments: NDArray[np.int64], k: int, kinds: Set[Kind]
) -> dict[Kind, Array]:
    """Kind -> (K, S) of all S signals; "level" alone where nothing else is asked (an encoder's hundreds of columns)."""
    parts = [segments == s for s in range(k)]
    mean = np.array([statistics.mean(frames[part]) for part in parts])
    if kinds == {"level"}:
        return {"level": mean}
    base, middle = statistics.quantile(frames, 0.1), statistics.quantile(frames, 0.5)
    speeds = _speeds(frames, timestamps_s)
    away = frames - middle
    top = np.array([statistics.maximum(frames[part]) for part in parts])
    high = np.array([statistics.maximum(away[part]) for part in parts])
    low = -np.array([statistics.maximum(-away[part]) for part in parts])
    return {
        "base": np.tile(base, (k, 1)),
        "clip": np.tile(base, (k, 1)),
        "mean": mean - base,
        "peak": top - base,
        "speed": np.array([statistics.maximum(speeds[part]) for part in parts]),
        "level": mean,
        "swing": np.where(high >= -low, high, low),
        "spread": np.array(
            [np.sqrt(statistics.mean((frames[part] - m) ** 2)) for part, m in zip(parts, mean, strict=True)]
        ),
        "seen": np.array([_measured_share(frames[part]) for part in parts]),
    }


def _speeds(frames: Array, timestamps_s: Array) -> Array:
    """|change| per second since the frame before, (T, S); NaN for the first frame and across a gap."""
    steps = np.diff(timestamps_s)
    steps = np.where(steps > 0, steps, np.nan)[:, None]
    return np.vstack([np.full((1, frames.shape[1]), np.nan), np.abs(np.diff(frames, axis=0)) / steps])


def _measured_share(rows: Array) -> Array:
    return (~np.isnan(rows)).mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)
