"""Blocks: runs of positions of one kind (text, or a modality's behavior tokens) within one node of a tree.

An adapter's gate decides once per block (adapters/). A block lies in one node and has no position of an answer, so its gate
follows from the prompt alone: not from what a sibling holds, nor from the answer that is scored. An answer goes on in the
last block of text before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs.encoding import WORDS

TEXT = 0
KINDS: tuple[str, ...] = ("text", *MODALITIES)


@dataclass(frozen=True)
class Blocks:
    """block (L,): of every position, counted from 0; kind (N,): of every block, an index in KINDS; answer (L,) bool: positions
    that no gate may look at."""

    block: NDArray[np.int64]
    kind: NDArray[np.int64]
    answer: NDArray[np.bool_]


def kinds_of(modality: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes of encoding.Node -> indices in KINDS; a brief token is of its modality's kind."""
    return np.where(modality == WORDS, TEXT, modality % len(MODALITIES) + 1)


def blocks_of(
    node: NDArray[np.int64], modality: NDArray[np.int64], parents: Sequence[int], answers: Sequence[bool]
) -> Blocks:
    """node, modality (L,) of a row, in which nodes stand one after the other; parents, answers per node: the node above it (-1:
    none), and whether it is an answer."""
    kind = kinds_of(modality)
    begins = np.ones(len(node), bool)
    begins[1:] = (node[1:] != node[:-1]) | (kind[1:] != kind[:-1])
    run = np.cumsum(begins) - 1
    answer = np.array(answers, bool)[node]
    last_text = np.full(len(parents), -1)
    own = (kind == TEXT) & ~answer
    np.maximum.at(last_text, node[own], run[own])
    for number, parent in enumerate(parents):  # parents come before their children
        if last_text[number] < 0 <= parent:
            last_text[number] = last_text[parent]
    block = np.where(answer, last_text[node], run)
    used, numbered = np.unique(block, return_inverse=True)
    return Blocks(numbered, kind[begins][used], answer)
