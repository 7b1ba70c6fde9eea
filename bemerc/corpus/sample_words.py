"""The words of the sample: short sentences in which one or two words carry the emotion, or none does.

Every sentence is a frame (shared by all emotions), a topic and a time (shared), an opener and a quality. Emotions differ
in openers and qualities alone, and each set has as many words of about the same length, so that neither the form nor
the length of a sentence tells anything: only its vocabulary does. Neutral openers and qualities also turn up beside
marked ones, so that no word marks a sentence as neutral.
"""

from __future__ import annotations

import numpy as np

from bemerc.corpus.sample_cases import LABELS, SILENT

OPENERS: dict[str, tuple[str, ...]] = {
    "neutral": ("Well", "Okay", "Right", "Anyway", "Actually"),
    "joy": ("Yay", "Hooray", "Lovely", "Cheers", "Yippee"),
    "sadness": ("Alas", "Sigh", "Sorry", "Regrettably", "Sob"),
    "anger": ("Damn", "Enough", "Shame", "Dammit", "Nonsense"),
    "surprise": ("Wow", "Whoa", "Gosh", "Blimey", "Goodness"),
    "fear": ("Help", "Careful", "Hide", "Quickly", "Hush"),
    "disgust": ("Yuck", "Ugh", "Eww", "Blech", "Disgusting"),
}
QUALITIES: dict[str, tuple[str, ...]] = {
    "neutral": ("upstairs", "outside", "scheduled", "available", "finished"),
    "joy": ("wonderful", "perfect", "delightful", "splendid", "fantastic"),
    "sadness": ("heartbreaking", "hopeless", "miserable", "lonely", "mournful"),
    "anger": ("outrageous", "unfair", "stupid", "insulting", "infuriating"),
    "surprise": ("sudden", "unreal", "astonishing", "unexpected", "incredible"),
    "fear": ("dangerous", "haunted", "creepy", "terrifying", "menacing"),
    "disgust": ("filthy", "mouldy", "sickening", "nauseating", "revolting"),
}
TOPICS = (
    "the train", "your letter", "the kitchen", "this place", "my room", "the party", "that film", "the coffee",
    "her plan", "the office", "our table", "the garden", "his answer", "the music", "that house", "the dinner",
    "your idea", "the news", "the old car", "the new flat",
)  # fmt: skip
TIMES = ("today", "again", "now", "tonight", "this morning")
FRAMES = (
    "{opener}, {topic} is {quality}.",
    "{opener}, {topic} was {quality}.",
    "{opener}, {topic} seems {quality}.",
    "{opener}, it is {quality}, {topic}.",
    "{opener}, so {topic} is {quality}.",
    "{opener}, I think {topic} is {quality}.",
    "{opener}, {topic} was {quality} {time}.",
)
BOTH_MARKED = 0.6  # else the opener or the quality alone carries the emotion


def sentence(emotion: str, rng: np.random.Generator) -> str:
    """One sentence of 5 to 8 words whose words show ``emotion``; neutral ones are marked by nothing."""
    assert emotion in LABELS, emotion
    opener = quality = emotion
    if rng.random() >= BOTH_MARKED:
        opener, quality = (emotion, SILENT) if rng.random() < 0.5 else (SILENT, emotion)
    text = _pick(FRAMES, rng).format(
        opener=_pick(OPENERS[opener], rng),
        quality=_pick(QUALITIES[quality], rng),
        topic=_pick(TOPICS, rng),
        time=_pick(TIMES, rng),
    )
    return text[0].upper() + text[1:]


def _pick(values: tuple[str, ...], rng: np.random.Generator) -> str:
    return values[int(rng.integers(len(values)))]
