"""What live says while it goes on, as JSON objects: one a line for programs, one a message for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bemerc.behavior.describe.description import SLOTS, Description
from bemerc.language.predict.records import Prediction, Unlabelled
from bemerc.live.onlooker import Observed
from bemerc.live.sound import Voice

Event = dict[str, Any]


def frame(observed: Observed, face: Mapping[str, float], number: int, latency_s: float) -> Event:
    """A frame that was measured: the columns of the largest face, how many faces there are."""
    return {
        "event": "frame",
        "number": number,
        "time_s": round(observed.time_s, 4),
        "utterance": observed.utterance,
        "faces": len(observed.faces),
        "body": observed.keypoints is not None,
        "face": {name: _rounded(value) for name, value in face.items()} or None,
        "latency_ms": round(1000 * latency_s, 1),
    }


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
    return event | {"description": sentences(description), "latency_ms": round(1000 * latency_s, 1)}


def sentences(description: Description) -> dict[str, str]:
    """The sentences of a description, as far as there are any."""
    texts = asdict(description)
    return {slot: texts[slot] for slot in SLOTS if texts[slot]}


def _rounded(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
