"""The sample's words: short sentences in which two words carry the emotion, or none.

A sentence is a frame and a topic (shared by all emotions) with an opener and a quality. Emotions differ only in
openers and qualities, of which each has equally many of similar length, so that form and length are uninformative.
Neutral openers and qualities also occur elsewhere in sentences of all emotions ("Hooray, the finished letter is
perfect, anyway"), so that no word marks a sentence as neutral. The sets are small, as the default corpus is: each word
occurs about six times in train.
"""

from __future__ import annotations

import numpy as np

from bemerc.sample.cases import LABELS, SILENT

OPENERS: dict[str, tuple[str, ...]] = {
    "neutral": ("Okay", "Right", "Anyway", "Actually"),
    "joy": ("Yay", "Hooray", "Lovely", "Yippee"),
    "sadness": ("Alas", "Sigh", "Sorry", "Regrettably"),
    "anger": ("Damn", "Enough", "Shame", "Nonsense"),
    "surprise": ("Wow", "Gosh", "Blimey", "Goodness"),
    "fear": ("Help", "Careful", "Hush", "Quickly"),
    "disgust": ("Yuck", "Ugh", "Blech", "Disgusting"),
}
QUALITIES: dict[str, tuple[str, ...]] = {
    "neutral": ("upstairs", "scheduled", "available", "finished"),
    "joy": ("wonderful", "perfect", "delightful", "splendid"),
    "sadness": ("heartbreaking", "hopeless", "miserable", "lonely"),
    "anger": ("outrageous", "unfair", "insulting", "infuriating"),
    "surprise": ("sudden", "unreal", "astonishing", "incredible"),
    "fear": ("dangerous", "haunted", "creepy", "terrifying"),
    "disgust": ("filthy", "mouldy", "sickening", "nauseating"),
}
TOPICS = (
    "train", "letter", "kitchen", "place", "room", "party", "film", "coffee",
    "plan", "office", "table", "garden", "answer", "music", "house", "dinner",
)  # fmt: skip
FRAMES = (
    "{opener}, the {topic} is {quality}.",
    "{opener}, that {topic} was {quality}.",
    "{opener}, the {plain} {topic} is {quality}.",
    "{opener}, this {plain} {topic} seems {quality}.",
    "{opener}, {filler}, the {topic} is {quality}.",
    "{opener}, the {topic} was {quality}, {filler}.",
)


def sentence(emotion: str, rng: np.random.Generator) -> str:
    """A random sentence of 5 or 6 words that shows ``emotion``."""
    assert emotion in LABELS, emotion
    opener, quality = _pick(OPENERS[emotion], rng), _pick(QUALITIES[emotion], rng)
    return _pick(FRAMES, rng).format(
        opener=opener,
        quality=quality,
        topic=_pick(TOPICS, rng),
        plain=_pick(tuple(word for word in QUALITIES[SILENT] if word != quality), rng),
        filler=_pick(tuple(word.lower() for word in OPENERS[SILENT] if word != opener), rng),
    )


def _pick(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
