"""Examples -> trees: examples that begin alike share the beginning, so that a dialogue's history is computed once.

One padded row per utterance would compute the history of a dialogue of n turns n times. In a tree every position attends to
its own node up to itself and to the nodes above it, at the position id that it would have alone. A single prompt is a tree
without branches: both layouts are one data structure. (Tree attention comes from speculative decoding; this use is ours.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.language.inputs.blocks import blocks_of
from bemerc.language.inputs.encoding import Example, Node
from bemerc.language.inputs.prompts import Placeholder


@dataclass(frozen=True)
class Tree:
    """Examples that share what they have in common; L positions, S nodes, P target tokens.

    ids, position, node, modality  (L,); ``position`` counts from the head along the example's own path
    ancestors  (S, S) bool: [i, j] where node i descends from node j or is node j
    behavior   utterance and modality of the tree's behavior tokens, in the order of their positions
    block      (L,) the block that a position belongs to, and block_kind (N,) of what each block is (blocks.py)
    answer     (L,) bool: positions of answers, which no gate may look at
    logit_positions  (P,) the position from which each target token is predicted
    token      (P,) the target tokens
    example    (P,) the example, as an index into ``examples``
    """

    ids: NDArray[np.int64]
    position: NDArray[np.int64]
    node: NDArray[np.int64]
    modality: NDArray[np.int64]
    ancestors: NDArray[np.bool_]
    behavior: tuple[Placeholder, ...]
    block: NDArray[np.int64]
    block_kind: NDArray[np.int64]
    answer: NDArray[np.bool_]
    logit_positions: NDArray[np.int64]
    token: NDArray[np.int64]
    example: NDArray[np.int64]
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def weight(self) -> NDArray[np.float32]:
        """(P,) weights of the target tokens in the loss."""
        return np.array([example.weight for example in self.examples], np.float32)[self.example]


def pack_trees(examples: Sequence[Example], row_tokens: int) -> list[Tree]:
    """Neighbours with the same head share a tree, up to ``row_tokens`` positions; 0: every example stands alone.

    An example longer than ``row_tokens`` has a tree of its own: rows are filled, never cut.
    """
    trees: list[Tree] = []
    row = _TreeBuilder()
    for example in examples:
        full = row.length + row.added(example) > row_tokens
        if row.examples and (full or row.examples[0].nodes[0] is not example.nodes[0]):
            trees.append(row.finish())
            row = _TreeBuilder()
        row.add(example)
    return [*trees, row.finish()] if row.examples else trees


def merge_trees(trees: Sequence[Tree], row_tokens: int, size: int) -> list[Tree]:
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
    return [make_tree(row) for row in rows]


def make_tree(examples: Sequence[Example]) -> Tree:
    """One tree of the examples, in which common beginnings stand once, in order of first occurrence."""
    layout = _TreeBuilder()
    for example in examples:
        layout.add(example)
    return layout.finish()


class _TreeBuilder:
    """Builds one tree, example by example."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.numbers: dict[tuple[int | None, Node], int] = {}  # (parent, node) -> number
        self.nodes: list[Node] = []
        self.parents: list[int] = []
        self.starts: list[int] = []  # where the node begins in the row
        self.depths: list[int] = []  # where it begins on its path
        self.length = 0
        self.targets: list[tuple[int, int, int]] = []  # source, token, example
        self.path: tuple[tuple[Node, ...], int] = (
            (),
            -1,
        )  # of the latest example before its last node, and that path's end

    def added(self, example: Example) -> int:
        """How many positions longer the example would make the row."""
        *before, last = example.nodes
        if self.path[0] == tuple(before):  # another answer to the same question
            return 0 if (self.path[1], last.inputs) in self.numbers else len(last.inputs.ids)
        parent: int | None = -1
        for depth, node in enumerate(example.nodes):
            parent = self.numbers.get((parent, node.inputs))
            if parent is None:
                return sum(len(other.inputs.ids) for other in example.nodes[depth:])
        return 0

    def add(self, example: Example) -> None:
        *before, last = example.nodes
        if self.path[0] != tuple(before):
            end = -1
            for node in before:
                end = self._add_node(end, node)
            self.path = tuple(before), end
        if last.target:
            self._add_targets(len(self.examples), self.path[1], last)
        self._add_node(self.path[1], last)
        self.examples.append(example)

    def _add_node(self, parent: int, node: Node) -> int:
        node = node.inputs
        number = self.numbers.get((parent, node))
        if number is None:
            number = self.numbers[parent, node] = len(self.nodes)
            self.nodes.append(node)
            self.parents.append(parent)
            self.starts.append(self.length)
            self.depths.append(0 if parent < 0 else self.depths[parent] + len(self.nodes[parent].ids))
            self.length += len(node.ids)
        return number

    def _add_targets(self, index: int, parent: int, node: Node) -> None:
        """Each target token is predicted from the position before it: the first from the end of the branch."""
        start = self.starts[self._add_node(parent, node)]
        before = self.starts[parent] + len(self.nodes[parent].ids) - 1
        for offset, token in enumerate(node.ids):
            self.targets.append((before if offset == 0 else start + offset - 1, token, index))

    def finish(self) -> Tree:
        lengths = np.array([len(node.ids) for node in self.nodes])
        within = np.concatenate([np.arange(n) for n in lengths])
        targets = np.array(self.targets, np.int64).reshape(-1, 3)
        node_of = np.repeat(np.arange(len(self.nodes)), lengths)
        modality = np.concatenate([np.array(node.modality, np.int64) for node in self.nodes])
        blocks = blocks_of(node_of, modality, self.parents, [node.target for node in self.nodes])
        return Tree(
            ids=np.concatenate([np.array(node.ids, np.int64) for node in self.nodes]),
            position=np.repeat(np.array(self.depths), lengths) + within,
            node=node_of,
            modality=modality,
            ancestors=_ancestors(self.parents),
            behavior=tuple(placeholder for node in self.nodes for placeholder in node.behavior),
            block=blocks.block,
            block_kind=blocks.kind,
            answer=blocks.answer,
            logit_positions=targets[:, 0],
            token=targets[:, 1],
            example=targets[:, 2],
            examples=tuple(self.examples),
        )


def _ancestors(parents: Sequence[int]) -> NDArray[np.bool_]:
    """(S, S): a node, its parent, and the parent's ancestors; parents come before their children."""
    ancestors = np.eye(len(parents), dtype=bool)
    for number, parent in enumerate(parents):
        if parent >= 0:
            ancestors[number] |= ancestors[parent]
    return ancestors
