"""What is usual: train's rest, reach and spread of every column, against which one clip's behavior is put into words.

The plain choice is one threshold for all (0.8 of 5: MER-Factory), which holds for no estimator but the one it was found
with, and not for every face. Here a unit is strong when it is strong among train's clips, and at rest where the clip
itself rests, as far as this speaker's earlier turns, or train's people, ever rest there. Volume, pitch and rate are very
low to very high by train's quantiles .10, .25, .75 and .90 (SpeechCueLLM). The rest of it is ours.

Without references (a single clip, nothing trained) fixed thresholds stand in, and a volume is not judged at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import JsonError, parse_json

Array = NDArray[np.float64]
Level = tuple[float, float, float]
Measures = Mapping[str, float]

QUANTILES = (0.10, 0.25, 0.75, 0.90)
REACHES = (0.75, 0.87, 0.95)  # shares of train's clips below "slight", "clear" and "strong"
PRIOR_TURNS = 2.0  # train's rest weighs as much as this many earlier turns
SLACK = 2.0  # a clip's own rest counts as rest up to this many of train's deviations from what is expected


@dataclass(frozen=True)
class Item:
    """Something that a column can do: rise (sign 1) or fall (sign -1) from rest.

    intensity  the column rests at its low end (an intensity) and not in its middle (an angle)
    least      slight, clear and strong without references; half of it is the floor of what references say
    """

    column: str
    sign: int
    phrase: str
    intensity: bool
    least: tuple[float, float, float]

    @property
    def key(self) -> str:
        return f"{self.column}{'+' if self.sign > 0 else '-'}"


@dataclass(frozen=True)
class References:
    """Train's usual values; a model folder carries it.

    rest       column -> (where clips rest, standard deviation between speakers)
    reaches    item key -> how far from rest is slight, clear, strong
    quantiles  measure -> its .10, .25, .75 and .90 quantiles over clips
    fitted     fingerprint of the train and dev that they were fitted on (corpus.provenance), empty where it is not known
    """

    rest: Mapping[str, tuple[float, float]]
    reaches: Mapping[str, tuple[float, float, float]]
    quantiles: Mapping[str, tuple[float, float, float, float]]
    fitted: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> References:
        """CacheError where the text is not what to_json wrote."""
        try:
            found = parse_json(text, "references")
            rest, reaches, quantiles = (
                _numbers(found[k], n) for k, n in (("rest", 2), ("reaches", 3), ("quantiles", 4))
            )
            return References(rest, reaches, quantiles, str(found.get("fitted", "")))
        except (JsonError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CacheError(f"These are not describer references ({error}). Run the describe stage again.") from error


def _numbers(found: Mapping[str, Any], size: int) -> Any:
    rows = {str(key): tuple(float(v) for v in values) for key, values in found.items()}
    if any(len(row) != size or not np.isfinite(row).all() for row in rows.values()):
        raise ValueError(f"every entry must hold {size} numbers")
    return rows


# General values for where nothing was fitted: adult speech between the sexes, in semitones above 100 Hz.
GENERAL = References(
    {},
    {},
    {
        "pitch_st": (0.0, 3.0, 13.0, 16.0),
        "pitch_variation_st": (1.2, 1.8, 3.6, 4.8),
        "rate_hz": (2.0, 3.0, 5.0, 6.0),
    },
)


def level(series: Array, intensity: bool) -> Level:
    """Where a series (T,) may be at rest: at its 10th percentile (an intensity), or anywhere between its 10th and 90th
    percentile, the median in the middle (an angle). NaN where nothing is known."""
    known = series[np.isfinite(series)]
    if not known.size:
        return (float("nan"),) * 3
    low, middle, high = np.quantile(known, (0.1, 0.1, 0.1) if intensity else (0.1, 0.5, 0.9)).tolist()
    return low, middle, high


def rest(own: Level, earlier: Sequence[float], expected: tuple[float, float] | None) -> float:
    """The rest of a column in one clip: of all that the clip may rest at, what lies nearest to what the middles of the
    speaker's earlier turns, shrunk to train's, lead one to expect; but no further from that than train's deviation
    allows. Without ``expected`` (train's rest and deviation) the clip's own middle."""
    if expected is None or not np.isfinite(own[1]):
        return own[1]
    said = [value for value in earlier if np.isfinite(value)]
    centre = (sum(said) + PRIOR_TURNS * expected[0]) / (len(said) + PRIOR_TURNS)
    nearest = float(np.clip(centre, own[0], own[2]))
    return float(np.clip(nearest, centre - SLACK * expected[1], centre + SLACK * expected[1]))


def reach(away: Array) -> float:
    """How far a series of deviations (T,) goes, two to three frames long at least; 0 where nothing is known."""
    known = events.smooth(away)
    known = known[np.isfinite(known)]
    return float(known.max()) if known.size else 0.0


def fit_rest(levels: Iterable[tuple[str, Mapping[str, Level]]]) -> dict[str, tuple[float, float]]:
    """(speaker, levels) of train's clips -> per column the median, and how far the speakers' own medians lie from it
    (root of the mean square over clips). Clips of a speaker without a name count as a speaker each."""
    found: dict[str, dict[str, list[float]]] = {}
    for number, (speaker, clip) in enumerate(levels):
        for column, (_, middle, _) in clip.items():
            if np.isfinite(middle):
                found.setdefault(column, {}).setdefault(speaker or f"\0{number}", []).append(middle)
    return {column: _rest_of(found[column]) for column in sorted(found)}


def _rest_of(speakers: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    middle = float(np.median(np.concatenate([np.array(values) for values in speakers.values()])))
    own = np.repeat([np.median(v) for v in speakers.values()], [len(v) for v in speakers.values()])
    return middle, float(np.sqrt(np.mean((own - middle) ** 2)))


def fit_reaches(items: Sequence[Item], reached: Iterable[Measures]) -> dict[str, tuple[float, float, float]]:
    """How far train's clips went per item key -> slight, clear and strong, never below the items' floors."""
    values = _columns(reached)
    result = {}
    for item in items:
        floor = np.array(item.least) / 2
        if item.key in values:
            # An angle goes two ways: each way gets half of the clips that stand out.
            shares = np.array(REACHES) if item.intensity else (1 + np.array(REACHES)) / 2
            slight, clear, strong = np.maximum(np.quantile(values[item.key], shares), floor)
            result[item.key] = (float(slight), float(clear), float(strong))
    return result


def fit_quantiles(measures: Iterable[Measures]) -> dict[str, tuple[float, float, float, float]]:
    """Measures of train's clips -> their quantiles; clips without a measure do not count towards it."""
    result = {}
    for name, values in _columns(measures).items():
        q = np.quantile(values, QUANTILES)
        result[name] = (float(q[0]), float(q[1]), float(q[2]), float(q[3]))
    return result


def _columns(rows: Iterable[Measures]) -> dict[str, Array]:
    gathered: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if np.isfinite(value):
                gathered.setdefault(name, []).append(value)
    return {name: np.array(gathered[name]) for name in sorted(gathered)}
