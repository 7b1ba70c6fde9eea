"""What a teacher answered -> sentences that may be used, or what is wrong with it. Text in, text out.

A vision-language model is asked for JSON and gives JSON in a code fence, with a comma too many, with a word before it, or
half of it; and it names emotions though the prompt forbids it. Whatever is plainly meant is repaired, nothing is guessed: a key
that is missing is missing, a sentence that names an emotion is left out, and both are reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bemerc.language.inputs.prompts import VISIBLE_SLOTS
from bemerc.language.teacher.emotion_words import emotional


@dataclass(frozen=True)
class Answer:
    """One answer, read.

    sentences  slot -> text that may be used
    fault      why the model should be asked again, as a clause; empty if there is no reason to
    repaired   the answer was no clean JSON
    emotional  how many sentences named an emotion and were left out
    """

    sentences: Mapping[str, str]
    fault: str
    repaired: bool
    emotional: int


def read(text: str) -> Answer:
    """Read one answer; never raises."""
    given, repaired = _object(text)
    if given is None:
        return Answer({}, "there is no JSON object in it", False, 0)
    by_key = {re.sub(r"[\s-]+", "_", str(key).strip().lower()): value for key, value in given.items()}
    texts = {slot: _text(by_key[slot]) for slot in VISIBLE_SLOTS if slot in by_key}
    kept = {slot: _neutral(text_of) for slot, text_of in texts.items() if text_of}
    dropped = sum(count for _, count in kept.values())
    missing = [slot for slot in VISIBLE_SLOTS if not texts.get(slot)]
    words = sorted({word for text_of in texts.values() for word in emotional(text_of)})
    fault = "; ".join(
        [
            *([f"the keys {', '.join(missing)} are missing or empty"] if missing else []),
            *([f"it names emotions or moods ({', '.join(words)})"] if words else []),
        ]
    )
    return Answer({slot: text_of for slot, (text_of, _) in kept.items() if text_of}, fault, repaired, dropped)


def _object(text: str) -> tuple[Mapping[str, Any] | None, bool]:
    """The JSON object of an answer, and whether it had to be repaired."""
    try:
        clean = json.loads(text)
        if isinstance(clean, dict) and clean:
            return clean, False
    except (ValueError, RecursionError):
        pass
    start, end = text.find("{"), text.rfind("}")
    if start < 0:
        return None, False
    # Cut short by the limit on tokens, the last sentence may still be whole.
    body = text[start : end + 1] if end > start else text[start:].rstrip().rstrip(",") + "}"
    straight = body.translate({0x201C: '"', 0x201D: '"'})
    for attempt in (body, straight, re.sub(r",(\s*[}\]])", r"\1", straight)):
        try:
            parsed = json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(parsed, dict) and parsed:
            return parsed, True
    return None, False


def _text(value: Any) -> str:
    """One line; a list of texts is read as its sentences, and anything else is no text."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(value)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _neutral(text: str) -> tuple[str, int]:
    """The sentences that name no emotion, with full stops, and how many do."""
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip(" .!?")]
    kept = [one if one[-1] in ".!?" else f"{one}." for one in sentences if not emotional(one)]
    return " ".join(kept), len(sentences) - len(kept)
