"""The behavior of the sample's speakers: per emotion, two or more recipes of facial units, posture and movements.

A recipe has the values held at the apex, and the movements that repeat. ``perform`` turns it into a value per frame and
channel, with onset, apex and offset, and adds what does not depend on the emotion: lip movement with the sound, blinks,
drift, and sometimes a micro-expression.

The numbers are ours, chosen to look right and to differ from each other; they follow no annotation manual, and nothing
that measures or describes faces may use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.sample.cases import LABELS

UNIT_NAMES = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10",
    "AU12", "AU15", "AU17", "AU20", "AU25", "AU26", "AU45",
)  # fmt: skip
BODY_NAMES = ("yaw", "pitch", "roll", "head_x", "head_y", "lean", "slump", "shrug", "tilt", "sway", "gaze_x", "gaze_y")
# Channels with a left and a right; the side is drawn per utterance.
SIDED = frozenset({"yaw", "roll", "head_x", "tilt", "sway", "gaze_x"})


@dataclass(frozen=True)
class Swing:
    """A repeated movement: ``channel`` swings by ``size`` to either side, ``hz`` times a second."""

    name: str
    channel: str
    size: float
    hz: float


@dataclass(frozen=True)
class Recipe:
    """Values at the apex at full strength: units 0 to 1, angles in degrees, other body channels in shares; and
    swings."""

    name: str
    units: Mapping[str, float] = field(default_factory=dict)
    body: Mapping[str, float] = field(default_factory=dict)
    swings: tuple[Swing, ...] = ()


RECIPES: dict[str, tuple[Recipe, ...]] = {
    "neutral": (
        Recipe("still"),
        Recipe("attentive", {"AU01": 0.10, "AU02": 0.10}, {}, (Swing("nod", "pitch", 1.8, 1.4),)),
        Recipe("glancing", {}, {"yaw": 4.0, "gaze_x": 1.2}),
    ),
    "joy": (
        Recipe(
            "beaming",
            {"AU06": 0.9, "AU12": 1.0, "AU25": 0.4},
            {"lean": 0.03, "roll": 4.0},
            (Swing("nod", "pitch", 3.5, 2.0),),
        ),
        Recipe(
            "laughing",
            {"AU06": 1.0, "AU07": 0.4, "AU12": 0.95, "AU25": 0.7, "AU26": 0.35},
            {"pitch": -7.0, "head_y": -0.1},
            (Swing("bounce", "shrug", 0.35, 3.5),),
        ),
    ),
    "sadness": (
        Recipe(
            "downcast",
            {"AU01": 0.9, "AU15": 1.0, "AU17": 0.4},
            {"slump": 0.8, "pitch": 8.0, "gaze_y": 1.6},
        ),
        Recipe(
            "grieving",
            {"AU01": 0.6, "AU07": 0.5, "AU15": 0.8, "AU17": 0.9},
            {"slump": 1.0, "pitch": 5.0, "roll": 6.0},
            (Swing("shake", "yaw", 4.0, 0.8),),
        ),
    ),
    "anger": (
        Recipe("glaring", {"AU04": 1.0, "AU07": 0.9, "AU17": 0.4}, {"lean": 0.10, "pitch": 5.0}),
        Recipe(
            "shouting",
            {"AU04": 0.9, "AU07": 0.4, "AU10": 0.7, "AU25": 0.9, "AU26": 0.3},
            {"lean": 0.08},
            (Swing("nod", "pitch", 3.5, 3.2),),
        ),
    ),
    "surprise": (
        Recipe(
            "gaping",
            {"AU01": 0.9, "AU02": 1.0, "AU05": 1.0, "AU25": 0.5, "AU26": 1.0},
            {"lean": -0.05, "pitch": -4.0},
        ),
        Recipe(
            "astonished",
            {"AU01": 1.0, "AU02": 0.9, "AU05": 0.8, "AU25": 0.3, "AU26": 0.6},
            {"lean": -0.03, "head_y": -0.15, "roll": 5.0},
        ),
    ),
    "fear": (
        Recipe(
            "frozen",
            {"AU01": 0.9, "AU02": 0.4, "AU04": 0.2, "AU05": 0.9, "AU20": 1.0, "AU25": 0.4},
            {"shrug": 0.9, "lean": -0.07},
        ),
        Recipe(
            "shrinking",
            {"AU01": 0.8, "AU05": 0.7, "AU20": 0.9, "AU26": 0.3},
            {"shrug": 0.9, "yaw": 10.0, "gaze_x": -2.0},
            (Swing("tremble", "yaw", 0.8, 6.0),),
        ),
    ),
    "disgust": (
        Recipe(
            "recoiling",
            {"AU04": 0.3, "AU07": 0.4, "AU09": 1.0, "AU10": 0.6},
            {"yaw": 11.0, "lean": -0.04, "gaze_x": 1.0},
        ),
        Recipe(
            "sneering",
            {"AU09": 0.7, "AU10": 1.0, "AU17": 0.6},
            {"pitch": -6.0, "tilt": 0.5},
            (Swing("shake", "yaw", 4.5, 1.8),),
        ),
    ),
}
assert tuple(RECIPES) == LABELS, "one entry per label, in the label set's order"

# Units of a micro-expression: short, strong, and drawn without regard to the emotion.
MICRO_UNITS = ("AU01", "AU02", "AU04", "AU09", "AU10", "AU12", "AU15", "AU20")
# Body channel -> (event in the truth, from which size on).
EVENTS = {
    "yaw": ("turn", 7.0), "roll": ("head_tilt", 4.0), "pitch": ("head_pitch", 3.5), "lean": ("lean", 0.05),
    "slump": ("slump", 0.4), "shrug": ("shrug", 0.4), "tilt": ("shoulder_tilt", 0.3), "gaze_y": ("look_down", 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class Performance:
    """units (T, len(UNIT_NAMES)) and body (T, len(BODY_NAMES)) float32, and the planted events with their frames."""

    recipe: str
    units: NDArray[np.float32]
    body: NDArray[np.float32]
    events: tuple[Mapping[str, Any], ...]


def perform(
    emotion: str, strength: float, envelope: NDArray[np.float32], fps: float, micro: bool, rng: np.random.Generator
) -> Performance:
    """The behavior in one utterance of len(envelope) frames; ``envelope``: loudness of the voice per frame, 0 to 1."""
    frames = len(envelope)
    recipe = RECIPES[emotion][int(rng.integers(len(RECIPES[emotion])))]
    units = {name: np.zeros(frames) for name in UNIT_NAMES}
    body = {name: _drift(frames, fps, rng) * size for name, size in DRIFT.items()}
    curve, marks = _curve(frames, fps, rng)
    for name, value in recipe.units.items():
        units[name] += strength * value * rng.uniform(0.9, 1.1) * _shifted(curve, int(rng.integers(-1, 2)))
    events = _hold(body, recipe, strength, curve, marks, rng) + _swing(body, recipe, strength, curve, marks, fps, rng)
    events += _blink(units, frames, fps, rng)
    _talk(units, envelope, rng)
    if micro:
        events.append(_micro_expression(units, frames, rng))
    return Performance(
        recipe.name,
        np.clip(np.stack([units[name] for name in UNIT_NAMES], axis=1), 0.0, 1.3).astype(np.float32),
        np.stack([body[name] for name in BODY_NAMES], axis=1).astype(np.float32),
        tuple(events),
    )


# Standard deviation of each channel's drift.
DRIFT = {
    "yaw": 1.2, "pitch": 0.8, "roll": 0.9, "head_x": 0.03, "head_y": 0.02, "lean": 0.006,
    "slump": 0.04, "shrug": 0.05, "tilt": 0.06, "sway": 0.02, "gaze_x": 0.25, "gaze_y": 0.15,
}  # fmt: skip


def _drift(frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Slow noise with about unit deviation: a constant, and three slow waves."""
    t = np.arange(frames) / fps
    waves = [rng.normal() * np.sin(2 * np.pi * (hz * t + rng.random())) for hz in (0.3, 0.6, 1.1)]
    return 0.6 * rng.normal() + 0.65 * sum(waves, np.zeros(frames))


def _curve(frames: int, fps: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Onset, apex and offset of an expression, 0 to 1 per frame, and the frames of start, apex and end."""
    start = rng.uniform(0.0, 0.15) * fps
    rise = rng.uniform(0.2, 0.4) * fps
    fall = rng.uniform(0.2, 0.35) * fps
    end = frames - rng.uniform(0.0, 0.1) * fps
    t = np.arange(frames)
    up, down = np.clip((t - start) / rise, 0, 1), np.clip((end - t) / fall, 0, 1)
    curve = (0.5 - 0.5 * np.cos(np.pi * up)) * (0.5 - 0.5 * np.cos(np.pi * down))
    return curve, (int(start), int(start + rise), min(frames - 1, int(end)))


def _shifted(curve: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """The curve ``by`` frames later, so that units do not all start on the same frame."""
    return np.interp(np.arange(len(curve)) - by, np.arange(len(curve)), curve)


def _hold(
    body: dict[str, NDArray[np.float64]],
    recipe: Recipe,
    strength: float,
    curve: NDArray[np.float64],
    marks: tuple[int, int, int],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    side = 1.0 if rng.random() < 0.5 else -1.0
    events = []
    for name, value in recipe.body.items():
        size = strength * value * (side if name in SIDED else 1.0)
        body[name] = body[name] + size * curve
        kind, least = EVENTS.get(name, ("", np.inf))
        if abs(size) >= least:
            events.append(_event(kind, marks, amount=size))
    return events


def _swing(
    body: dict[str, NDArray[np.float64]],
    recipe: Recipe,
    strength: float,
    curve: NDArray[np.float64],
    marks: tuple[int, int, int],
    fps: float,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    events = []
    for swing in recipe.swings:
        wave = np.sin(2 * np.pi * (swing.hz * np.arange(len(curve)) / fps + rng.random()))
        body[swing.channel] = body[swing.channel] + strength * swing.size * wave * curve
        events.append(_event(swing.name, marks, amount=strength * swing.size, hz=swing.hz))
    return events


def _event(kind: str, marks: tuple[int, int, int], **numbers: float) -> dict[str, Any]:
    start, apex, end = marks
    rounded = {name: round(float(value), 4) for name, value in numbers.items()}
    return {"kind": kind, "onset": start, "apex": apex, "offset": end, **rounded}


def _blink(
    units: dict[str, NDArray[np.float64]], frames: int, fps: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """About one blink in two seconds, a fifth of a second long."""
    events = []
    at = rng.exponential(1.6) * fps
    while at < frames - 2:
        half = rng.uniform(2.0, 3.0) * fps / 25
        closing = np.clip(1.35 * (1 - np.abs(np.arange(frames) - at - half) / half), 0, 1)
        units["AU45"] = np.maximum(units["AU45"], closing)
        events.append(_event("blink", (int(at), min(frames - 1, int(at + half)), min(frames - 1, int(at + 2 * half)))))
        at += 2 * half + (0.4 + rng.exponential(1.6)) * fps
    return events


def _talk(units: dict[str, NDArray[np.float64]], envelope: NDArray[np.float32], rng: np.random.Generator) -> None:
    """The mouth opens with the voice; jaw and lips not always in the same proportion."""
    lips, jaw = rng.uniform(0.5, 0.75), rng.uniform(0.18, 0.32)
    units["AU25"] += lips * envelope
    units["AU26"] += jaw * envelope


def _micro_expression(units: dict[str, NDArray[np.float64]], frames: int, rng: np.random.Generator) -> dict[str, Any]:
    """A micro-expression: one unit, two to six frames from first to last, up and down again."""
    unit = MICRO_UNITS[int(rng.integers(len(MICRO_UNITS)))]
    length, size = int(rng.integers(2, 7)), rng.uniform(0.6, 0.9)
    onset = int(rng.integers(3, frames - length - 2))
    burst = np.sin(np.pi * (np.arange(length) + 1) / (length + 1))
    units[unit][onset : onset + length] += size * burst / burst.max()
    marks = (onset, onset + int(np.argmax(burst)), onset + length - 1)
    return {**_event("micro_expression", marks, amount=size), "unit": unit}
