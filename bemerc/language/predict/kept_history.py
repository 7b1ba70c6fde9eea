"""Label scores of one utterance after the other, the dialogue before it computed once and kept.

A conversation that goes on asks about its newest turn alone. What the language model computed of the path to it (keys and
values of head, turns and question) stays in memory; of the next question only the nodes that differ are computed. The
window of the prompt moves in steps (prompts.history_start), so that this is the new turn and the question nearly always.
The sums are those of ``score_labels`` up to rounding: there a mask, here the order of computing keeps branches apart.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bemerc.language.inputs import batching, packing
from bemerc.language.inputs import prompts as prompt
from bemerc.language.inputs.encoding import Encoder, Example, Node
from bemerc.language.predict.fitting import Asked

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.model.behavior_model import BehaviorModel


class KeptHistory:
    """The path that was computed last; ``computed`` counts positions that were computed."""

    def __init__(self, model: BehaviorModel, encoder: Encoder) -> None:
        self.computed = 0
        self._model, self._encoder = model, encoder
        self._nodes: tuple[Node, ...] = ()
        self._kept: dict[str, Any] = {}

    def score(self, asked: Asked, tokens: TokenFile) -> dict[str, NDArray[np.float64]]:
        """Utterance id -> (C,) log-probability of each label's tokens, as ``score_labels``."""
        with torch.inference_mode():
            return {one.id: self._sums(one, labels, tokens) for one, labels in asked}

    def _sums(self, one: prompt.Prompt, labels: tuple[str, ...], tokens: TokenFile) -> NDArray[np.float64]:
        ended = self._encoder.overlap(labels, prompt.label_target)
        examples = self._encoder.encode_answers(one, [prompt.label_target(label) for label in labels], ended)
        sums = np.full(len(labels), np.nan)
        # Where the room is short, a long label has fewer turns before it than a short one.
        first: torch.Tensor | None = None
        for path, answers in itertools.groupby(examples, key=lambda example: example.nodes[:-1]):
            for example in answers:
                if first is None or self._nodes != path:  # also where a model could not forget the answer before
                    first = self._move_to(path, one.id, tokens)
                sums[example.answer] = self._answer(example, first, tokens)
        return sums

    def _move_to(self, path: tuple[Node, ...], id: str, tokens: TokenFile) -> torch.Tensor:
        """(V,) log-probabilities of what follows the path; what is kept ends with it afterwards."""
        same = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._nodes, path, strict=False))
        )
        same = min(same, len(path) - 1)  # the last node's logits are not kept
        if not self._crop(sum(len(node.ids) for node in self._nodes[same:])):
            same = 0
        self._nodes = path[:same]  # where the model fails, what is kept still fits what it is said to be
        logits = self._read(Example(id, path[same:]), tokens)
        self._nodes = path
        return logits[-1]

    def _answer(self, example: Example, first: torch.Tensor, tokens: TokenFile) -> float:
        """The log-probability of the answer's tokens, the first of which follow the path by ``first``."""
        target = example.nodes[-1]
        total = float(first[target.ids[0]])
        if len(target.ids) > 1:
            words = replace(target.inputs, target=False)
            rest = self._read(Example(example.id, (words,)), tokens, keep=len(words.ids))
            total += float(rest[torch.arange(len(rest)), torch.tensor(target.ids[1:])].double().sum())
            self._crop(len(words.ids))
        return total

    def _read(self, example: Example, tokens: TokenFile, keep: int = 1) -> torch.Tensor:
        batch = batching.collate([packing.make_tree([example])], tokens)
        self.computed += batch.positions
        logits, self._kept = self._model.extend(batch, self._kept, keep)
        return logits.cpu()

    def _crop(self, positions: int) -> bool:
        """Forget the last ``positions``; False, and everything is forgotten, where a model cannot (a sliding window that
        has dropped what was before, a recurrent state)."""
        try:
            for cache in self._kept.values() if positions else ():
                cache.crop(-positions)
        except (AttributeError, NotImplementedError, RuntimeError, ValueError):
            self._kept, self._nodes = {}, ()
            return False
        return True
