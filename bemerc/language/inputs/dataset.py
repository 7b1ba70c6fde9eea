"""Prompts -> examples (token ids and loss mask, born together) -> trees -> batches of arrays.

The obvious dataset is one padded row per utterance, in which the history of a dialogue of n turns is computed n times.
Here an example is a path of nodes (head, one node per turn, branch, target), and examples that begin alike share the
beginning: a row is a tree in which every position sees its own node up to itself and the nodes that it descends from,
and stands at the position id that it would have alone. A single prompt is a tree without branches, so both layouts are
one data structure and one code path. (Tree attention is known from speculative decoding; its use here is ours.)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import MODALITIES, Modality
from bemerc.language.inputs.prompts import ChatFrame, Markup, Part, Placeholder, Prompt, answer_in_chat, in_chat

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile

T = TypeVar("T")
U = TypeVar("U")

WORDS = -1  # in ``modality``: this position is a word, not a behavior token
BRIEF = len(MODALITIES)  # added in ``modality``: this position is one of the few tokens that stand for all K
BRIEF_K = 2
PADDING = -1  # in ``node``: this position is not there


class DatasetError(BemercError):
    """An example cannot be made: its target does not fit, or its behavior tokens are not there."""


@dataclass(frozen=True)
class Node:
    """One part of a prompt as the model takes it.

    ids       token ids; 0 where a behavior token stands
    modality  per position: WORDS, or the index in MODALITIES; for a brief placeholder BRIEF more than that
    behavior  whose tokens stand there, in order
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
        """Worked out once: a turn is looked up in every path that it stands in."""
        return self._hash

    @cached_property
    def laid(self) -> Node:
        """What of the node stands in a row: of a target all but its last token, from which nothing is predicted."""
        return replace(self, ids=self.ids[:-1], modality=self.modality[:-1]) if self.target else self


@dataclass(frozen=True)
class Example:
    """One question with one answer, as a path of nodes from the head to the target; the target is never cut.

    id      the utterance
    answer  which of the answers to one question this is, such as the index of a label
    """

    id: str
    nodes: tuple[Node, ...]
    answer: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """(utterance, answer): batches are put together by length, so what is computed is never matched by its order."""
        return self.id, self.answer

    def __len__(self) -> int:
        return sum(len(node.ids) for node in self.nodes)


@dataclass(frozen=True)
class Tree:
    """Examples that share what they have in common; L positions, S nodes, P target tokens.

    ids, position, node, modality  (L,); ``position`` counts from the head along the example's own path
    ancestors  (S, S) bool: [i, j] where node i descends from node j or is node j
    behavior   whose tokens stand in the tree, in the order of their positions
    source     (P,) the position from which each target token is predicted
    token      (P,) the target tokens
    example    (P,) the example, as an index into ``examples``
    """

    ids: NDArray[np.int64]
    position: NDArray[np.int64]
    node: NDArray[np.int64]
    modality: NDArray[np.int64]
    ancestors: NDArray[np.bool_]
    behavior: tuple[Placeholder, ...]
    source: NDArray[np.int64]
    token: NDArray[np.int64]
    example: NDArray[np.int64]
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """Trees side by side; B rows of L positions, padded on the right.

    input_ids, position_ids, node, modality  (B, L) int64; ``node`` is PADDING where nothing stands
    ancestors  (B, S, S) bool
    behavior   modality -> (values (N, K, D') float32, mask (N, K) bool), in the order in which a row-by-row walk over
               ``modality`` meets them
    brief      the same for brief placeholders: all K are given, and the model makes BRIEF_K of them
    source     (M,) the positions whose logits are needed, as row * L + column, each once
    which      (P,) index into ``source``, for every target token
    token      (P,) the target tokens
    example    (P,) index of the example, for every target token
    keys       the examples' keys (utterance, answer), in the order that ``example`` counts
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    node: NDArray[np.int64]
    modality: NDArray[np.int64]
    ancestors: NDArray[np.bool_]
    behavior: Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]
    brief: Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]
    source: NDArray[np.int64]
    which: NDArray[np.int64]
    token: NDArray[np.int64]
    example: NDArray[np.int64]
    keys: tuple[tuple[str, int], ...]

    @property
    def positions(self) -> int:
        """How many positions hold something."""
        return int((self.node != PADDING).sum())


class Encoder:
    """Prompts -> examples, for one tokenizer; what was encoded once is remembered, since turns recur in every history."""

    def __init__(self, tokenizer: Any, k: int, max_length: int, frame: ChatFrame | None = None) -> None:
        self.k, self.max_length, self.frame = k, max_length, frame
        self._tokenizer = tokenizer
        self._known: dict[tuple[Part, bool], Node] = {}
        self._words: dict[str, tuple[int, ...]] = {}
        # A chat template opens with its own mark, and ends an answer with its own.
        self._begin = () if frame or tokenizer.bos_token_id is None else (int(tokenizer.bos_token_id),)
        self._newline = self._line_break()
        self.end = self._mark(frame.end) if frame and frame.end else int(tokenizer.eos_token_id)

    def encode(self, prompt: Prompt, ended: bool = True, answer: int = 0) -> Example:
        """The prompt as a path of nodes, its oldest turns left out until it fits ``max_length``; ``ended``: the mark that
        ends an answer is part of the target; ``answer``: which of several answers to one question the target is.

        Raises DatasetError with the id and both lengths where the target utterance alone does not fit.
        """
        framed = in_chat(prompt, self.frame) if self.frame else prompt
        head, branch = self._node(framed.head, self._begin), self._node(framed.branch)
        target = self._target(framed.target, ended)
        turns = [self._node(part) for part in framed.history]
        room = self.max_length - sum(len(node.ids) for node in (head, branch, target))
        kept = _newest(turns, room)
        if turns and not kept:
            length = self.max_length - room + len(turns[-1].ids)
            raise DatasetError(
                f"{prompt.id}: the target utterance alone takes {length} tokens, but max_length is {self.max_length}. "
                "Raise max_length, or take fewer behavior tokens."
            )
        return Example(prompt.id, (head, *kept, branch, target), answer)

    def question(self, prompt: Prompt) -> Example:
        """The prompt without its answer, for a model that is to write one itself."""
        return Example(prompt.id, self.encode(prompt).nodes[:-1])

    def _target(self, text: str, ended: bool) -> Node:
        ids = self._encode_words(text) + (self.end,) * ended
        return Node(ids, (WORDS,) * len(ids), (), True)

    def _node(self, part: Part, begin: tuple[int, ...] = ()) -> Node:
        key = (part, bool(begin))
        if key not in self._known:
            self._known[key] = self._encode_part(part, begin)
        return self._known[key]

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
        """What people said may hold "</s>"; split, it is only words."""
        if text not in self._words:
            found, before = self._split("\n" + text), self._newline
            behind_a_break = bool(before) and found[: len(before)] == before
            self._words[text] = found[len(before) :] if behind_a_break else self._split(text)
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
        found = sorted(self._encode_words(text) for text in framed)
        return any(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(found))

    def tell_apart(self, labels: Sequence[str], answer: Callable[[str], str]) -> None:
        """DatasetError where the tokenizer makes nothing of a label, or the same of two."""
        known: dict[tuple[int, ...], str] = {}
        for label in labels:
            ids = self._encode_words(answer(label).strip())
            if not ids or ids in known:
                other = f"the same as of '{known[ids]}'" if ids else "nothing"
                raise DatasetError(
                    f"The tokenizer makes {other} of the label '{label}', so no answer could name it. Rename one with "
                    "prepare.label_map, or take another backbone."
                )
            known[ids] = label


def _newest(turns: Sequence[Node], room: int) -> tuple[Node, ...]:
    """As many of the newest turns as fit."""
    kept: list[Node] = []
    for turn in reversed(turns):
        room -= len(turn.ids)
        if room < 0:
            break
        kept.append(turn)
    return tuple(reversed(kept))


def grow(examples: Sequence[Example], row_tokens: int) -> list[Tree]:
    """Neighbours with the same head share a tree, up to ``row_tokens`` positions; 0: every example stands alone.

    An example longer than ``row_tokens`` has a tree of its own: rows are filled, never cut.
    """
    trees: list[Tree] = []
    row = _Layout()
    for example in examples:
        full = row.length + row.added(example) > row_tokens
        if row.examples and (full or row.examples[0].nodes[0] is not example.nodes[0]):
            trees.append(row.finish())
            row = _Layout()
        row.add(example)
    return [*trees, row.finish()] if row.examples else trees


def join(trees: Sequence[Tree], row_tokens: int, size: int) -> list[Tree]:
    """Neighbours with the same head as one tree, up to ``row_tokens`` positions and ``size`` examples; none is cut."""
    rows: list[list[Example]] = []
    length = 0
    for t in trees:
        head = t.examples[0].nodes[0]
        if rows and rows[-1][0].nodes[0] is head:
            added = len(t) - len(head.ids)
            if length + added <= row_tokens and len(rows[-1]) + len(t.examples) <= size:
                rows[-1] += t.examples
                length += added
                continue
        rows.append(list(t.examples))
        length = len(t)
    return [tree(row) for row in rows]


def tree(examples: Sequence[Example]) -> Tree:
    """Lay out examples so that common beginnings stand once, in the order in which they are first met."""
    layout = _Layout()
    for example in examples:
        layout.add(example)
    return layout.finish()


class _Layout:
    """A tree while it grows."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.found: dict[tuple[int | None, Node], int] = {}  # (parent, node) -> number
        self.nodes: list[Node] = []
        self.parents: list[int] = []
        self.starts: list[int] = []  # where the node begins in the row
        self.depths: list[int] = []  # where it begins on its path
        self.length = 0
        self.targets: list[tuple[int, int, int]] = []  # source, token, example

    def added(self, example: Example) -> int:
        """How many positions longer the example would make the row."""
        parent: int | None = -1
        for depth, node in enumerate(example.nodes):
            parent = self.found.get((parent, node.laid))
            if parent is None:
                return sum(len(other.laid.ids) for other in example.nodes[depth:])
        return 0

    def add(self, example: Example) -> None:
        parent = -1
        for node in example.nodes:
            if node.target:
                self._aim(len(self.examples), parent, node)
            parent = self._place(parent, node)
        self.examples.append(example)

    def _place(self, parent: int, node: Node) -> int:
        node = node.laid
        number = self.found.get((parent, node))
        if number is None:
            number = self.found[parent, node] = len(self.nodes)
            self.nodes.append(node)
            self.parents.append(parent)
            self.starts.append(self.length)
            self.depths.append(0 if parent < 0 else self.depths[parent] + len(self.nodes[parent].ids))
            self.length += len(node.ids)
        return number

    def _aim(self, index: int, parent: int, node: Node) -> None:
        """Each target token is predicted from the position before it: the first from the end of the branch."""
        start = self.starts[self._place(parent, node)]
        before = self.starts[parent] + len(self.nodes[parent].ids) - 1
        for offset, token in enumerate(node.ids):
            self.targets.append((before if offset == 0 else start + offset - 1, token, index))

    def finish(self) -> Tree:
        lengths = np.array([len(node.ids) for node in self.nodes])
        within = np.concatenate([np.arange(n) for n in lengths])
        targets = np.array(self.targets, np.int64).reshape(-1, 3)
        return Tree(
            ids=np.concatenate([np.array(node.ids, np.int64) for node in self.nodes]),
            position=np.repeat(np.array(self.depths), lengths) + within,
            node=np.repeat(np.arange(len(self.nodes)), lengths),
            modality=np.concatenate([np.array(node.modality, np.int64) for node in self.nodes]),
            ancestors=_ancestors(self.parents),
            behavior=tuple(place for node in self.nodes for place in node.behavior),
            source=targets[:, 0],
            token=targets[:, 1],
            example=targets[:, 2],
            examples=tuple(self.examples),
        )


def _ancestors(parents: Sequence[int]) -> NDArray[np.bool_]:
    """(S, S): a node sees itself and what its parent sees; parents come before their children."""
    seen = np.eye(len(parents), dtype=bool)
    for number, parent in enumerate(parents):
        if parent >= 0:
            seen[number] |= seen[parent]
    return seen


def collate(trees: Sequence[Tree], tokens: TokenFile | None) -> Batch:
    """Trees -> one batch. Raises DatasetError where an utterance's behavior is asked for and not in the token file."""
    length, nodes = max(map(len, trees)), max(len(t.ancestors) for t in trees)
    ancestors = np.zeros((len(trees), nodes, nodes), bool)
    for row, t in enumerate(trees):
        ancestors[row, : len(t.ancestors), : len(t.ancestors)] = t.ancestors
    source, which = np.unique(
        np.concatenate([row * length + t.source for row, t in enumerate(trees)]), return_inverse=True
    )
    first = np.cumsum([0] + [len(t.examples) for t in trees])
    places = [place for t in trees for place in t.behavior]
    return Batch(
        input_ids=_pad([t.ids for t in trees], length, 0),
        position_ids=_pad([t.position for t in trees], length, 0),
        node=_pad([t.node for t in trees], length, PADDING),
        modality=_pad([t.modality for t in trees], length, WORDS),
        ancestors=ancestors,
        behavior=_behavior([place for place in places if not place.brief], tokens),
        brief=_behavior([place for place in places if place.brief], tokens),
        source=source,
        which=which,
        token=np.concatenate([t.token for t in trees]),
        example=np.concatenate([start + t.example for start, t in zip(first, trees, strict=False)]),
        keys=tuple(example.key for t in trees for example in t.examples),
    )


def _pad(rows: Sequence[NDArray[np.int64]], length: int, fill: int) -> NDArray[np.int64]:
    padded = np.full((len(rows), length), fill, np.int64)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


def _behavior(
    places: Iterable[Placeholder], tokens: TokenFile | None
) -> dict[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    found: dict[Modality, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {}
    for place in places:
        if tokens is None or place.utterance not in tokens:
            raise DatasetError(
                f"{place.utterance}: the token file has no behavior of this utterance. Run 'bemerc tokens' again."
            )
        read = tokens[place.utterance][place.modality]
        found.setdefault(place.modality, []).append((read.values, read.mask))
    return {m: (np.stack([v for v, _ in pairs]), np.stack([k for _, k in pairs])) for m, pairs in found.items()}


def batches(trees: Sequence[Tree], size: int, shuffle: np.random.Generator | None = None) -> Iterator[list[Tree]]:
    """Groups of trees with about ``size`` examples each and little padding.

    Shuffled: trees in random order, sorted by length within stretches of eight groups, the groups again in random order.
    Else: the longest first, so that what does not fit in memory fails at once.
    """
    if shuffle is None:
        order = sorted(range(len(trees)), key=lambda i: -len(trees[i]))
        yield from _groups([trees[i] for i in order], size)
        return
    mixed = [trees[i] for i in shuffle.permutation(len(trees))]
    groups: list[list[Tree]] = []
    for stretch in _groups(mixed, 8 * size):
        groups += _groups(sorted(stretch, key=len), size)
    for i in shuffle.permutation(len(groups)):
        yield groups[i]


def _groups(trees: Iterable[Tree], size: int) -> Iterator[list[Tree]]:
    group: list[Tree] = []
    count = 0
    for t in trees:
        group.append(t)
        count += len(t.examples)
        if count >= size:
            yield group
            group, count = [], 0
    if group:
        yield group


def ahead(groups: Iterable[T], make: Callable[[T], U]) -> Iterator[tuple[U, float]]:
    """``make`` of every group and how long it was waited for, seconds; the next one is made while this one is in use.

    One thread and one item ahead: nearly all of a step is spent outside Python, where the thread can work.
    """
    with ThreadPoolExecutor(1, "batches") as pool:
        waiting: Future[U] | None = None
        for group in groups:
            coming = pool.submit(make, group)
            if waiting is not None:
                yield _waited(waiting)
            waiting = coming
        if waiting is not None:
            yield _waited(waiting)


def _waited(coming: Future[U]) -> tuple[U, float]:
    start = time.monotonic()
    return coming.result(), time.monotonic() - start
