"""Prompts -> examples: token ids and loss mask, made together, for one tokenizer.

An example is a path of nodes: head, one node per turn, branch, target. Nodes that examples have in common are computed
once (packing.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs.chat_frame import ChatFrame, answer_in_chat, in_chat
from bemerc.language.inputs.prompts import Markup, Part, Placeholder, Prompt

WORDS = -1  # in ``modality``: a token of text, not a behavior token
BRIEF = len(MODALITIES)  # added in ``modality``: one of the few tokens that stand for all K
BRIEF_K = 2


class ExampleError(BemercError):
    """An example cannot be made: its target does not fit, or its behavior tokens are not there."""


@dataclass(frozen=True)
class Node:
    """One part of a prompt as the model takes it.

    ids       token ids; 0 where a behavior token stands
    modality  per position: WORDS, or the index in MODALITIES; for a brief placeholder BRIEF more than that
    behavior  utterance and modality of the behavior tokens there, in order
    target    whether loss is taken on these ids
    """

    ids: tuple[int, ...]
    modality: tuple[int, ...]
    behavior: tuple[Placeholder, ...]
    target: bool

    @cached_property
    def _hash(self) -> int:
        return hash((self.ids, self.modality, self.behavior, self.target))

    def __hash__(self) -> int:
        """Computed once: a turn is looked up in every path that holds it."""
        return self._hash

    @cached_property
    def inputs(self) -> Node:
        """The node as the model reads it: a target without its last token, since nothing is predicted from that."""
        return replace(self, ids=self.ids[:-1], modality=self.modality[:-1]) if self.target else self


@dataclass(frozen=True)
class Example:
    """One question with one answer, as a path of nodes from the head to the target; the target is never cut.

    id      the utterance
    answer  which of the answers to one question this is, such as the index of a label
    weight  of its tokens in the loss, beside others
    """

    id: str
    nodes: tuple[Node, ...]
    answer: int = 0
    weight: float = 1.0

    @property
    def key(self) -> tuple[str, int]:
        """(utterance, answer): batches are put together by length, so what is computed is never matched by its order."""
        return self.id, self.answer

    def __len__(self) -> int:
        return sum(len(node.ids) for node in self.nodes)


class Encoder:
    """Prompts -> examples, for one tokenizer. Encoded parts are kept, since turns recur in every history."""

    def __init__(self, tokenizer: Any, k: int, max_length: int, frame: ChatFrame | None = None) -> None:
        self.k, self.max_length, self.frame = k, max_length, frame
        self._tokenizer = tokenizer
        self._nodes: dict[tuple[Part, bool], Node] = {}
        self._words: dict[str, tuple[int, ...]] = {}
        self._targets: dict[tuple[str, bool], Node] = {}
        # A chat template opens with its own mark, and ends an answer with its own.
        self._begin = () if frame or tokenizer.bos_token_id is None else (int(tokenizer.bos_token_id),)
        self._newline = self._line_break()
        self.end = self._mark(frame.end) if frame and frame.end else int(tokenizer.eos_token_id)

    def encode(self, prompt: Prompt, ended: bool = True, answer: int = 0) -> Example:
        """The prompt as a path of nodes, its oldest turns left out until it fits ``max_length``; ``ended``: the mark that
        ends an answer is part of the target; ``answer``: which of several answers to one question the target is.

        Raises ExampleError with the id and both lengths where the target utterance alone does not fit.
        """
        return replace(self.encode_answers(prompt, (prompt.target,), ended)[0], answer=answer)

    def encode_answers(self, prompt: Prompt, answers: Sequence[str], ended: bool = True) -> list[Example]:
        """As ``encode``, with each of the answers in place of the prompt's own; the prompt is encoded once."""
        framed = in_chat(prompt, self.frame) if self.frame else prompt
        head, branch = self._node(framed.head, self._begin), [self._node(part) for part in framed.branch_parts]
        turns = [self._node(part) for part in framed.history]
        room = self.max_length - sum(len(node.ids) for node in (head, *branch))
        examples = []
        for number, answer in enumerate(answers):
            target = self._target(answer_in_chat(answer, self.frame) if self.frame else answer, ended)
            kept = _newest(turns, room - len(target.ids))
            if turns and not kept:
                length = self.max_length - room + len(target.ids) + len(turns[-1].ids)
                raise ExampleError(
                    f"the target utterance alone takes {length} tokens, but max_length is {self.max_length}. "
                    "Raise max_length, or take fewer behavior tokens.",
                    id=prompt.id,
                )
            examples.append(Example(prompt.id, (head, *kept, *branch, target), number))
        return examples

    def turns_that_fit(self, prompt: Prompt, answers: Sequence[str]) -> int:
        """How many turns of the history are left before the longest of the answers. ExampleError as ``encode`` raises it."""
        fewest = min(len(example.nodes) for example in self.encode_answers(prompt, answers))
        return fewest - len(prompt.branch_parts) - 2

    def question(self, prompt: Prompt) -> Example:
        """The prompt without its answer, for a model that is to write one itself."""
        return Example(prompt.id, self.encode(prompt).nodes[:-1])

    def _target(self, text: str, ended: bool) -> Node:
        if (text, ended) not in self._targets:
            ids = self._encode_words(text) + (self.end,) * ended
            self._targets[text, ended] = Node(ids, (WORDS,) * len(ids), (), True)
        return self._targets[text, ended]

    def _node(self, part: Part, begin: tuple[int, ...] = ()) -> Node:
        key = (part, bool(begin))
        if key not in self._nodes:
            self._nodes[key] = self._encode_part(part, begin)
        return self._nodes[key]

    def _encode_part(self, part: Part, begin: tuple[int, ...]) -> Node:
        ids, modality = list(begin), [WORDS] * len(begin)
        for piece in part:
            if isinstance(piece, Placeholder):
                count = min(BRIEF_K, self.k) if piece.brief else self.k
                ids += [0] * count
                modality += [MODALITIES.index(piece.modality) + BRIEF * piece.brief] * count
            else:
                words = self._encode_markup(piece) if isinstance(piece, Markup) else self._encode_words(piece)
                ids += words
                modality += [WORDS] * len(words)
        behavior = tuple(piece for piece in part if isinstance(piece, Placeholder))
        return Node(tuple(ids), tuple(modality), behavior, False)

    def _encode_words(self, text: str) -> tuple[int, ...]:
        """Token ids of text that people said: a "</s>" in it is split, and no special token."""
        if text not in self._words:
            ids, before = self._split("\n" + text), self._newline
            behind_a_break = bool(before) and ids[: len(before)] == before
            self._words[text] = ids[len(before) :] if behind_a_break else self._split(text)
        return self._words[text]

    def _split(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _line_break(self) -> tuple[int, ...]:
        """The tokens of a line break where the tokenizer puts a space before every text (Llama 2), else nothing.

        Such a tokenizer is handed every piece behind a line break, which is cut off again: a piece is no beginning.
        """
        alone, after = self._split("\n"), self._split("\na")
        return alone if after != alone + self._split("a") and after[: len(alone)] == alone else ()

    def _encode_markup(self, piece: Markup) -> tuple[int, ...]:
        return tuple(self._tokenizer(piece.text, add_special_tokens=False)["input_ids"])

    def _mark(self, end: str) -> int:
        """The token that ends an answer: the template's, where it is one token of its own, else the end of text."""
        first = self._encode_markup(Markup(end))[0]
        own = first in self._tokenizer.all_special_ids or self._tokenizer.decode([first]).strip() == end
        return int(first if own else self._tokenizer.eos_token_id)

    def overlap(self, labels: Sequence[str], answer: Callable[[str], str]) -> bool:
        """Whether the tokens of a label begin those of another: then only the mark that ends an answer parts them."""
        texts = [answer(label) for label in labels]
        framed = [answer_in_chat(text, self.frame) for text in texts] if self.frame else texts
        ordered = sorted(self._encode_words(text) for text in framed)
        return any(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(ordered))

    def check_labels_distinct(self, labels: Sequence[str], answer: Callable[[str], str]) -> None:
        """ExampleError where the tokenizer makes nothing of a label, or the same of two."""
        label_of: dict[tuple[int, ...], str] = {}
        for label in labels:
            ids = self._encode_words(answer(label).strip())
            if not ids or ids in label_of:
                other = f"the same as of '{label_of[ids]}'" if ids else "nothing"
                raise ExampleError(
                    f"The tokenizer makes {other} of the label '{label}', so no answer could name it. Rename one with "
                    "prepare.label_map, or take another backbone.",
                    name=label,
                )
            label_of[ids] = label


def _newest(turns: Sequence[Node], room: int) -> tuple[Node, ...]:
    """As many of the newest turns as fit."""
    kept: list[Node] = []
    for turn in reversed(turns):
        room -= len(turn.ids)
        if room < 0:
            break
        kept.append(turn)
    return tuple(reversed(kept))
