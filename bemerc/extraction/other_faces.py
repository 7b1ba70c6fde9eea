"""Other people in an utterance's picture as arrays of one stored result, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.cache import Choice, Features, Other, PackedLandmarks
from bemerc.core.jsonfile import parse_json

LANDMARKS = ("others_points", "others_scale")
# others: a JSON list of [name, number of rows, choice], whose rows stand end to end in the arrays.
NAMES = ("others", "others_values", "others_timestamps_s", *LANDMARKS)


def to_arrays(others: Sequence[Other]) -> dict[str, NDArray[Any]]:
    """The arrays of all of them, by NAMES; none where there is nobody."""
    if not others:
        return {}
    listed = [[o.name, len(o.features.values), None if o.choice is None else o.choice.as_json()] for o in others]
    arrays: dict[str, NDArray[Any]] = {
        "others": np.frombuffer(json.dumps(listed).encode(), np.uint8),
        "others_values": np.concatenate([o.features.values for o in others]),
        "others_timestamps_s": np.concatenate([o.features.timestamps_s for o in others]),
    }
    packed = [o.landmarks for o in others if o.landmarks is not None]
    if packed:
        parts = np.concatenate([p.points for p in packed]), np.concatenate([p.scale for p in packed])
        arrays |= dict(zip(LANDMARKS, parts, strict=True))
    return arrays


def from_arrays(arrays: Mapping[str, NDArray[Any]], columns: tuple[str, ...]) -> tuple[Other, ...]:
    """The inverse. ValueError, TypeError or KeyError where the arrays are damaged."""
    if "others" not in arrays:
        return ()
    values, times_s = arrays["others_values"], arrays["others_timestamps_s"]
    packed = PackedLandmarks(*(arrays[name] for name in LANDMARKS)) if LANDMARKS[0] in arrays else None
    others, at = [], 0
    for name, count, choice in parse_json(arrays["others"].tobytes(), "other people"):
        rows = slice(at, at := at + int(count))
        features = Features(values[rows], times_s[rows], columns)
        landmarks = None if packed is None else PackedLandmarks(packed.points[rows], packed.scale[rows])
        others.append(Other(str(name), features, landmarks, None if choice is None else Choice.from_json(choice)))
    if values.shape != (at, len(columns)) or times_s.shape != (at,):
        raise ValueError(f"values of {values.shape} for {at} rows of other people")
    return tuple(others)
