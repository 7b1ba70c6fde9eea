"""Trees -> batches of padded arrays, grouped so that little is padding, and made one ahead of their use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from bemerc.corpus.manifest import Modality, listener_id
from bemerc.language.inputs.encoding import WORDS, ExampleError
from bemerc.language.inputs.packing import Tree
from bemerc.language.inputs.prompts import Placeholder

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import BehaviorTokens, TokenFile

T = TypeVar("T")
U = TypeVar("U")
Behavior = Mapping[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]

PADDING = -1  # in ``node``: nothing stands at this position


@dataclass(frozen=True)
class Batch:
    """Trees side by side; B rows of L positions, padded on the right.

    input_ids, position_ids, node, modality  (B, L) int64; ``node`` is PADDING where nothing stands
    ancestors  (B, S, S) bool
    block, block_kind, answer  (B, L), (N,), (B, L): as a tree has them, blocks numbered through all rows (blocks.py); padding
               belongs to block 0 and counts as an answer
    behavior   modality -> (values (N, K, D') float32, mask (N, K) bool), in the order in which a row-by-row walk over
               ``modality`` meets them
    brief      the same for brief placeholders: all K are given, and the model makes BRIEF_K of them
    logit_positions  (M,) the positions whose logits are needed, as row * L + column, each once
    logit_index      (P,) index into ``logit_positions``, for every target token
    token      (P,) the target tokens
    example    (P,) index of the example, for every target token
    weight     (P,) float32 weight in the loss, for every target token
    keys       the examples' keys (utterance, answer), in the order that ``example`` counts
    block_shares  what a block of each kind weighs in this batch's penalty on gates; empty: there is none (loop.py)
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    node: NDArray[np.int64]
    modality: NDArray[np.int64]
    ancestors: NDArray[np.bool_]
    block: NDArray[np.int64]
    block_kind: NDArray[np.int64]
    answer: NDArray[np.bool_]
    behavior: Behavior
    brief: Behavior
    logit_positions: NDArray[np.int64]
    logit_index: NDArray[np.int64]
    token: NDArray[np.int64]
    example: NDArray[np.int64]
    weight: NDArray[np.float32]
    keys: tuple[tuple[str, int], ...]
    block_shares: tuple[float, ...] = ()

    @property
    def positions(self) -> int:
        """How many positions are no padding."""
        return int((self.node != PADDING).sum())


def collate(trees: Sequence[Tree], tokens: TokenFile | None, multiple: int = 1) -> Batch:
    """Trees -> one batch, padded to a length that is a multiple of ``multiple``.

    Raises ExampleError where an utterance's behavior is asked for and not in the token file.
    """
    length, nodes = -(-max(map(len, trees)) // multiple) * multiple, max(len(t.ancestors) for t in trees)
    ancestors = np.zeros((len(trees), nodes, nodes), bool)
    for row, t in enumerate(trees):
        ancestors[row, : len(t.ancestors), : len(t.ancestors)] = t.ancestors
    logit_positions, logit_index = np.unique(
        np.concatenate([row * length + t.logit_positions for row, t in enumerate(trees)]), return_inverse=True
    )
    first = np.cumsum([0] + [len(t.examples) for t in trees])
    first_block = np.cumsum([0] + [len(t.block_kind) for t in trees])
    placeholders = [placeholder for t in trees for placeholder in t.behavior]
    return Batch(
        input_ids=_pad([t.ids for t in trees], length, 0),
        position_ids=_pad([t.position for t in trees], length, 0),
        node=_pad([t.node for t in trees], length, PADDING),
        modality=_pad([t.modality for t in trees], length, WORDS),
        ancestors=ancestors,
        block=_pad([at + t.block for at, t in zip(first_block, trees, strict=False)], length, 0),
        block_kind=np.concatenate([t.block_kind for t in trees]),
        answer=_pad([t.answer.astype(np.int64) for t in trees], length, 1).astype(bool),
        behavior=_behavior([placeholder for placeholder in placeholders if not placeholder.brief], tokens),
        brief=_behavior([placeholder for placeholder in placeholders if placeholder.brief], tokens),
        logit_positions=logit_positions,
        logit_index=logit_index,
        token=np.concatenate([t.token for t in trees]),
        example=np.concatenate([start + t.example for start, t in zip(first, trees, strict=False)]),
        weight=np.concatenate([t.weight for t in trees]),
        keys=tuple(example.key for t in trees for example in t.examples),
    )


def _pad(rows: Sequence[NDArray[np.int64]], length: int, fill: int) -> NDArray[np.int64]:
    padded = np.full((len(rows), length), fill, np.int64)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


def _behavior(
    placeholders: Iterable[Placeholder], tokens: TokenFile | None
) -> dict[Modality, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    pairs_of: dict[Modality, list[tuple[NDArray[np.float32], NDArray[np.bool_]]]] = {}
    for placeholder in placeholders:
        if (
            tokens is not None
            and placeholder.utterance not in tokens
            and placeholder.utterance.endswith(listener_id(""))
        ):
            raise ExampleError(
                "the token file has no listeners, which this variant reads. Extract with "
                "extract_video.face.keep: all, then run 'bemerc tokens' again.",
                id=placeholder.utterance,
            )
        if tokens is None or placeholder.utterance not in tokens:
            raise ExampleError(
                "the token file has no behavior of this utterance. Run 'bemerc tokens' again.", id=placeholder.utterance
            )
        read = behavior_of(placeholder, tokens)
        pair = (
            (np.zeros_like(read.values), np.zeros_like(read.mask)) if placeholder.hidden else (read.values, read.mask)
        )
        pairs_of.setdefault(placeholder.modality, []).append(pair)
    return {m: (np.stack([v for v, _ in pairs]), np.stack([k for _, k in pairs])) for m, pairs in pairs_of.items()}


def behavior_of(placeholder: Placeholder, tokens: TokenFile) -> BehaviorTokens:
    """What was measured of a placeholder's utterance and modality, without the columns that it leaves out."""
    if placeholder.without:
        return tokens.read(placeholder.utterance, placeholder.modality, placeholder.without)
    return tokens[placeholder.utterance][placeholder.modality]


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


def prefetch(groups: Iterable[T], make: Callable[[T], U]) -> Iterator[tuple[U, float]]:
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
