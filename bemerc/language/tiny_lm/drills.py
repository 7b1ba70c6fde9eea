"""What the embedded backbone reads before it is of any use: train's texts inside the prompts' frames, and drills.

A real LLM can be asked what stands in a line; a tiny one, trained on a few hundred utterances as plain text, cannot, and
then no tuning on as few makes it attend to the behavior tokens. Drills teach that skill and nothing else: in a line of
random words and in the places where behavior tokens will stand, which words were there? Every label counts as right beside
them, so that tuning starts among the labels and not among all words. No drill holds a sentence that anybody said, and
slots hold label words at random, so that no utterance is ever paired with its label.
All of this is ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bemerc.corpus.manifest import MODALITIES, Dialogue, Manifest, Modality, Utterance
from bemerc.language.inputs.prompts import Params, Part, Placeholder, align_prompts, label_target, merc_prompt

FRAMED = 0.15  # share of drills with head and history around them; the others open where the last line is said last
IN_SLOT = 0.6  # chance that a modality's place is there
LABEL_IN_SLOT = 0.3
SLOT_WEIGHT = 2  # a place holds one or two words, a line up to ten


@dataclass(frozen=True)
class Drill:
    """question  a prompt up to the word before the answer, words in the places of the behavior tokens
    words     what stood in the last line and in those places, and every label; any of them is right
    """

    question: str
    words: tuple[str, ...]


def texts(manifest: Manifest, descriptions: Mapping[str, Mapping[str, str]], shape: Params, seed: int = 0) -> list[str]:
    """Train's dialogues in the prompt's frame, each with a label drawn at random, and train's descriptions in theirs.

    Raises nothing: an empty train split gives no texts, which ``backbone.build`` refuses.
    """
    rng = random.Random(seed)
    lines: list[str] = []
    for dialogue in _train(manifest):
        prompt = merc_prompt(dialogue, len(dialogue.utterances) - 1, manifest.labels, (), shape)
        lines.append(prompt.text + label_target(rng.choice(manifest.labels)))
        for turn in dialogue.utterances:
            for asked in align_prompts(turn.id, descriptions.get(turn.id, {}), MODALITIES):
                lines.append(_filled((*asked.head, *asked.branch), {}) + asked.target)
    return lines


def drills(manifest: Manifest, count: int, shape: Params, seed: int = 0) -> list[Drill]:
    """``count`` drills over the words, speakers and labels of train, in the frame of ``shape``."""
    rng = random.Random(seed)
    turns = [turn for dialogue in _train(manifest) for turn in dialogue.utterances]
    spoken = [word for turn in turns for word in re.findall(r"[^\W_]+", turn.text)]
    if not spoken:
        return []
    maker = _Maker(rng, spoken, sorted(set(spoken)), sorted({turn.speaker for turn in turns}), manifest.labels, shape)
    return [maker.drill() for _ in range(count)]


@dataclass(frozen=True)
class _Maker:
    rng: random.Random
    spoken: Sequence[str]
    vocabulary: Sequence[str]
    speakers: Sequence[str]
    labels: Sequence[str]
    shape: Params

    def drill(self) -> Drill:
        lines = [self.line() for _ in range(self.rng.randint(1, 3))]
        utterances = [" ".join(line) + self.rng.choice((".", "!", "?")) for line in lines]
        turns = tuple(
            Utterance("", "", i, self.rng.choice(self.speakers), t, None, "train", None)
            for i, t in enumerate(utterances)
        )
        modalities = [m for m in MODALITIES if self.rng.random() < IN_SLOT]
        prompt = merc_prompt(Dialogue("", turns), len(turns) - 1, self.labels, modalities, self.shape)
        slots = {m: [self.slot_word() for _ in range(self.rng.randint(1, 2))] for m in modalities}
        last = () if self.shape.repeat_target_utterance else prompt.history[-1:]
        before = (prompt.head, *prompt.history) if self.rng.random() < FRAMED else last
        question = "".join(_filled(part, slots) for part in (*before, prompt.branch))
        words = lines[-1] + SLOT_WEIGHT * [word for slot in slots.values() for word in slot] + list(self.labels)
        return Drill(question, tuple(f" {word}" for word in words))

    def line(self) -> list[str]:
        """Three to ten words, half of them as often as they are said, half as rare as any."""
        return [
            self.rng.choice(self.spoken if self.rng.random() < 0.5 else self.vocabulary)
            for _ in range(self.rng.randint(3, 10))
        ]

    def slot_word(self) -> str:
        return self.rng.choice(self.labels if self.rng.random() < LABEL_IN_SLOT else self.vocabulary)


def _filled(part: Part, slots: Mapping[Modality, Sequence[str]]) -> str:
    """A part of a prompt as text, with words where behavior tokens would stand."""
    return "".join(
        "".join(f" {word}" for word in slots.get(piece.modality, ())) if isinstance(piece, Placeholder) else str(piece)
        for piece in part
    )


def _train(manifest: Manifest) -> list[Dialogue]:
    return [dialogue for dialogue in manifest.dialogues() if dialogue.utterances[0].split == "train"]
