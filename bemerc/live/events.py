"""What live says while it goes on, as JSON objects: one a line for programs, one a message for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bemerc.behavior.describe.description import Description
from bemerc.language.predict.records import Prediction, Unlabelled
from bemerc.live.onlooker import Observed
from bemerc.live.sound import Voice

Event = dict[str, Any]


def frame(
    observed: Observed,
    face: Mapping[str, float],
    number: int,
    latency_s: float,
    others: Sequence[Mapping[str, float]] | None = None,
) -> Event:
    """A frame that was measured: the columns of the largest face, how many faces there are; ``others``: the columns of
    every other face, where they are measured."""
    event: Event = {
        "event": "frame",
        "number": number,
        "time_s": round(observed.time_s, 4),
        "utterance": observed.utterance,
        "faces": len(observed.faces),
        "body": observed.keypoints is not None,
        "face": _all_rounded(face) or None,
        "latency_ms": round(1000 * latency_s, 1),
    }
    return event if others is None else event | {"others": [_all_rounded(one) for one in others]}


def voice(at: Voice, speaking: bool) -> Event:
    """The voice at a moment."""
    pitch = None if at.pitch_hz is None else round(at.pitch_hz, 1)
    return {
        "event": "voice",
        "time_s": round(at.time_s, 3),
        "energy_db": round(at.energy_db, 1),
        "pitch_hz": pitch,
        "speaking": speaking,
    }


def began(number: int, start_s: float) -> Event:
    """An utterance goes on since ``start_s``."""
    return {"event": "begin", "utterance": number, "start_s": start_s}


def utterance(
    answer: Prediction | Unlabelled | None, about: Mapping[str, Any], description: Description, latency_s: float
) -> Event:
    """An utterance that has ended. ``answer``: None without a model; ``about``: its id, words, speaker and times."""
    event: Event = {"event": "utterance", **about, "label": None}
    if isinstance(answer, Prediction):
        event |= {"label": answer.label, "scores": {k: round(v, 4) for k, v in answer.scores.items()}}
        event |= {"unmeasured": answer.unmeasured or (), "note": answer.note}
    elif answer is not None:
        event |= {"reason": answer.reason}
    return event | {"description": description.distinct(), "latency_ms": round(1000 * latency_s, 1)}


def _all_rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in values.items()}


def _rounded(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
