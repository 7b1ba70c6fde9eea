"""The looks of the sample's speakers: traits that bend the portrait into different faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bemerc.sample.face_geometry import (
    LEFT_ALA,
    LEFT_BROW,
    LEFT_CHEEK,
    LEFT_CORNER,
    LEFT_INNER_BROW,
    LEFT_JAW,
    LEFT_OUTER_BROW,
    LEFT_PUPIL,
    NOSE_TIP,
    RIGHT_ALA,
    RIGHT_BROW,
    RIGHT_CHEEK,
    RIGHT_CORNER,
    RIGHT_INNER_BROW,
    RIGHT_JAW,
    RIGHT_OUTER_BROW,
    RIGHT_PUPIL,
    UPPER_LIP,
    Push,
    both_sides,
)

# Trait, -1 to 1 -> the displacement fields that it scales.
TRAITS: dict[str, tuple[Push, ...]] = {
    "brow_height": both_sides(LEFT_BROW, RIGHT_BROW, 0.0, -2.2, 14.0),
    "brow_slant": both_sides(LEFT_INNER_BROW, RIGHT_INNER_BROW, 0.0, -1.6, 9.0)
    + both_sides(LEFT_OUTER_BROW, RIGHT_OUTER_BROW, 0.0, 1.6, 9.0),
    "nose_width": both_sides(LEFT_ALA, RIGHT_ALA, 2.2, 0.0, 7.0),
    "nose_length": (Push(NOSE_TIP, (0.0, 2.2), 8.0),),
    "mouth_width": both_sides(LEFT_CORNER, RIGHT_CORNER, 1.5, 0.0, 10.0),
    "mouth_corners": both_sides(LEFT_CORNER, RIGHT_CORNER, 0.0, -1.2, 9.0),
    "lips": (Push(UPPER_LIP, (0.0, -1.4), 6.0), Push((222.3, 155.0), (0.0, 1.6), 6.0)),
    "chin": (Push((222.3, 178.0), (0.0, 4.0), 14.0),),
    "jaw_width": both_sides(LEFT_JAW, RIGHT_JAW, 4.0, 0.0, 16.0),
    "cheeks": both_sides(LEFT_CHEEK, RIGHT_CHEEK, 2.0, 0.0, 14.0),
    "eye_distance": both_sides(LEFT_PUPIL, RIGHT_PUPIL, 0.8, 0.0, 11.0),
}
TRAIT_NAMES = (*TRAITS, "eye_opening", "head_width", "shoulders", "framing", "warmth", "brightness", "suit")


@dataclass(frozen=True)
class Look:
    """One speaker's face: a value in -1 to 1 for each of TRAIT_NAMES, and whether the picture is mirrored."""

    traits: Mapping[str, float]
    mirror: bool


def looks(count: int, seed: int) -> tuple[Look, ...]:
    """``count`` faces spread evenly over every trait (a Latin hypercube), half of them mirrored."""
    rng = np.random.default_rng([seed, 11])
    levels = np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    table = {name: rng.permutation(levels) for name in TRAIT_NAMES}
    mirrored = rng.permutation(count) < count // 2
    return tuple(Look({n: float(table[n][i]) for n in TRAIT_NAMES}, bool(mirrored[i])) for i in range(count))
