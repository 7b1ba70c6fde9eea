"""References: train's rest, reach and quantiles of every column, against which one clip's behavior is put into words.

A unit is strong when it is strong among train's clips, and at rest where the clip itself rests, within what this
speaker's earlier turns and train's speakers allow. One threshold for all (0.8 of 5: MER-Factory) holds only for the
estimator that it was chosen with. Volume, pitch and rate are very low to very high by train's quantiles .10, .25, .75
and .90 (SpeechCueLLM). The rest of it is ours.

Without references (a single clip, nothing trained) fixed thresholds are used, and the volume is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.behavior.signals import events
from bemerc.behavior.signals.statistics import measured
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import JsonError, parse_json

Array = NDArray[np.float64]
Level = tuple[float, float, float]
Measures = Mapping[str, float]

QUANTILES = (0.10, 0.25, 0.75, 0.90)
REACHES = (0.75, 0.87, 0.95)  # shares of train's clips below "slight", "clear" and "strong"
PRIOR_TURNS = 2.0  # the weight of train's rest, in earlier turns
SLACK = 2.0  # a clip's own rest counts up to this many of train's deviations from the expected one


@dataclass(frozen=True)
class Item:
    """A movement of one column: a rise (sign 1) or a fall (sign -1) from rest, and its phrase.

    intensity  the column rests at its low end (an intensity) and not in its middle (an angle)
    least      thresholds of slight, clear and strong without references; half of them are the lowest that references give
    trust      how well the column is measured on real people, 0 to 1: the less, the later it stands in a
               sentence, and without train's reaches the further it must go to be named
    """

    column: str
    sign: int
    phrase: str
    intensity: bool
    least: tuple[float, float, float]
    trust: float = 1.0

    @property
    def key(self) -> str:
        return f"{self.column}{'+' if self.sign > 0 else '-'}"


@dataclass(frozen=True)
class References:
    """Train's usual values; a model folder has a copy.

    rest       column -> (where clips rest, standard deviation between speakers)
    reaches    item key -> how far from rest is slight, clear, strong
    quantiles  measure -> its .10, .25, .75 and .90 quantiles over clips
    fitted     fingerprint of the train and dev splits that they were fitted on (corpus.provenance); empty: unknown
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
            document = parse_json(text, "references")
            rest, reaches, quantiles = (
                _numbers(document[k], n) for k, n in (("rest", 2), ("reaches", 3), ("quantiles", 4))
            )
            return References(rest, reaches, quantiles, str(document.get("fitted", "")))
        except (JsonError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CacheError(f"These are not describer references ({error}). Run the describe stage again.") from error


def _numbers(entries: Mapping[str, Any], size: int) -> Any:
    rows = {str(key): tuple(float(v) for v in values) for key, values in entries.items()}
    if any(len(row) != size or not np.isfinite(row).all() for row in rows.values()):
        raise ValueError(f"every entry must hold {size} numbers")
    return rows


# Where nothing was fitted: action units rest at 0, as extraction measures them; adult speech of both sexes, pitch in
# semitones above 100 Hz.
GENERAL = References(
    {f"AU{unit:02d}_r": (0.0, 0.25) for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28)},
    {},
    {
        "pitch_st": (0.0, 3.0, 13.0, 16.0),
        "pitch_variation_st": (1.2, 1.8, 3.6, 4.8),
        "rate_hz": (2.0, 3.0, 5.0, 6.0),
    },
)


def level(series: Array, intensity: bool) -> Level:
    """(low, middle, high) of where a series (T,) may be at rest: thrice its 10th percentile (an intensity), or its
    10th, 50th and 90th percentile (an angle). NaN where nothing was measured."""
    values = measured(series)
    if not values.size:
        return (float("nan"),) * 3
    low, middle, high = np.quantile(values, (0.1, 0.1, 0.1) if intensity else (0.1, 0.5, 0.9)).tolist()
    return low, middle, high


def rest(own: Level, earlier: Sequence[float], expected: tuple[float, float] | None) -> float:
    """The value of a column at rest in one clip.

    own       the clip's level: low, middle, high
    earlier   the middles of the speaker's earlier turns; their mean, shrunk to train's rest, is the centre
    expected  train's rest and deviation; None: the clip's own middle is returned

    The value is the one between low and high that is nearest to the centre, within SLACK deviations of it.
    """
    if expected is None or not np.isfinite(own[1]):
        return own[1]
    middles = [value for value in earlier if np.isfinite(value)]
    centre = (sum(middles) + PRIOR_TURNS * expected[0]) / (len(middles) + PRIOR_TURNS)
    nearest = float(np.clip(centre, own[0], own[2]))
    return float(np.clip(nearest, centre - SLACK * expected[1], centre + SLACK * expected[1]))


def reach(away: Array) -> float:
    """The largest of the deviations (T,) that lasts two to three frames; 0 where nothing was measured."""
    values = measured(events.smooth(away))
    return float(np.max(values)) if values.size else 0.0


def fit_rest(levels: Iterable[tuple[str, Mapping[str, Level]]]) -> dict[str, tuple[float, float]]:
    """(speaker, levels) of train's clips -> per column the median, and how far the speakers' own medians lie from it
    (root of the mean square over clips). Clips of a speaker without a name count as a speaker each."""
    middles: dict[str, dict[str, list[float]]] = {}
    for number, (speaker, clip) in enumerate(levels):
        for column, (_, middle, _) in clip.items():
            if np.isfinite(middle):
                middles.setdefault(column, {}).setdefault(speaker or f"\0{number}", []).append(middle)
    return {column: _rest_of(middles[column]) for column in sorted(middles)}


def _rest_of(speakers: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    middle = float(np.median(np.concatenate([np.array(values) for values in speakers.values()])))
    own = np.repeat([np.median(v) for v in speakers.values()], [len(v) for v in speakers.values()])
    return middle, float(np.sqrt(np.mean((own - middle) ** 2)))


def fit_reaches(items: Sequence[Item], reached: Iterable[Measures]) -> dict[str, tuple[float, float, float]]:
    """How far train's clips went, by item key -> slight, clear and strong, at least half of the items' own."""
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
