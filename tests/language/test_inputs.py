"""Examples, trees and batches: the target is never cut, the oldest turns go first, and a position sees its own path alone."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bemerc.behavior.tokens.file import BehaviorTokens
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES, Dialogue, Modality, Utterance
from bemerc.language.inputs.batching import PADDING, batches, collate, prefetch
from bemerc.language.inputs.chat_frame import chat_frame
from bemerc.language.inputs.encoding import WORDS, Encoder, Example, ExampleError, Node
from bemerc.language.inputs.packing import make_tree, pack_trees
from bemerc.language.inputs.prompts import Params, align_prompts, merc_prompt
from bemerc.language.tiny_lm.model import train_tokenizer
from tests.errors import raises

LABELS = LABEL_SETS["meld"]
K = 3


def dialogue(turns: int, name: str = "d") -> Dialogue:
    said = [f"well {name} number {i} said it" for i in range(turns)]
    return Dialogue(
        name, tuple(Utterance(f"{name}{i}", name, i, "Ann", t, "joy", "train", None) for i, t in enumerate(said))
    )


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(train_tokenizer(["well it was said </s> joy anger"] * 3, 400, 512), K, 2048)


def examples(encoder: Encoder, turns: int = 4, window: int = 12, name: str = "d") -> list[Example]:
    d = dialogue(turns, name)
    return [encoder.encode(merc_prompt(d, i, LABELS, MODALITIES, Params(window=window))) for i in range(turns)]


class Tokens:
    """Rows that say whose they are."""

    def __contains__(self, key: object) -> bool:
        return key != "unknown"

    def __getitem__(self, key: str) -> dict[Modality, BehaviorTokens]:
        number = float(key.lstrip("abcdefgh") or 0)
        return {
            m: BehaviorTokens(np.full((K, 2 + i), number, np.float32), np.ones(K, bool))
            for i, m in enumerate(MODALITIES)
        }


def node(*ids: int, target: bool = False) -> Node:
    return Node(ids, (WORDS,) * len(ids), (), target)


def test_loss_is_on_the_answer_and_the_mark_that_ends_it(encoder: Encoder) -> None:
    t = make_tree(examples(encoder, 1))
    assert encoder._tokenizer.decode(t.token.tolist()) == " joy<|end|>"
    assert t.ids[t.logit_positions[0]] == encoder._tokenizer(":", add_special_tokens=False)["input_ids"][0]


def test_behavior_takes_k_positions_and_nothing_else_does(encoder: Encoder) -> None:
    t = make_tree(examples(encoder, 1))
    assert [(t.modality == i).sum() for i in range(3)] == [K, K, K]
    assert [p.modality for p in t.behavior] == list(MODALITIES)


def test_the_oldest_turns_go_first_and_the_target_stays(encoder: Encoder) -> None:
    whole = examples(encoder, 4)[3]
    turn = len(whole.nodes[1].ids)
    short = Encoder(encoder._tokenizer, K, len(whole) - turn - 1)
    cut = short.encode(merc_prompt(dialogue(4), 3, LABELS, MODALITIES, Params()))
    assert cut.nodes == (whole.nodes[0], *whole.nodes[3:])
    assert cut.nodes[-1] == whole.nodes[-1]


def test_a_target_that_does_not_fit_is_an_error_with_its_id_and_both_lengths(encoder: Encoder) -> None:
    prompt = merc_prompt(dialogue(2), 1, LABELS, MODALITIES, Params())
    alone = encoder.encode(merc_prompt(dialogue(2), 1, LABELS, MODALITIES, Params(window=1, windowing="sliding")))
    assert len(Encoder(encoder._tokenizer, K, len(alone)).encode(prompt).nodes) == 4
    with pytest.raises(ExampleError, match=rf"d1: .* takes {len(alone)} tokens, but max_length is {len(alone) - 1}"):
        Encoder(encoder._tokenizer, K, len(alone) - 1).encode(prompt)


def test_what_people_say_cannot_be_a_special_token(encoder: Encoder) -> None:
    d = Dialogue("d", (Utterance("u", "d", 0, "Ann", "bye <|end|>", "joy", "train", None),))
    example = encoder.encode(merc_prompt(d, 0, LABELS, (), Params()))
    ends = [i for n in example.nodes for i in n.ids if i == encoder._tokenizer.eos_token_id]
    assert len(ends) == 1


def test_in_a_chat_template_the_marks_are_special_and_open_the_prompt(encoder: Encoder) -> None:
    frame = chat_frame(lambda messages, _: f"<|begin|>{messages[-1][1]}<|pad|>")
    example = Encoder(encoder._tokenizer, K, 999, frame).encode(merc_prompt(dialogue(1), 0, LABELS, (), Params()))
    marks = encoder._tokenizer.bos_token_id, encoder._tokenizer.pad_token_id
    assert (example.nodes[0].ids[0], example.nodes[-2].ids[-1]) == marks
    assert sum(i == marks[0] for n in example.nodes for i in n.ids) == 1


def path_seen(t: object, position: int) -> list[int]:
    """Ids that a position sees, by position id: what the mask in the model is made of."""
    mine = t.ancestors[t.node[position]][t.node]
    mine &= np.arange(len(t.ids)) <= position
    return [int(t.ids[i]) for i in np.flatnonzero(mine)[np.argsort(t.position[mine], kind="stable")]]


def test_every_branch_of_a_dialogue_sees_what_it_would_see_alone(encoder: Encoder) -> None:
    alone = examples(encoder, 5, window=2)
    rows = pack_trees(alone, 10_000)
    assert sum(len(row) for row in rows) < sum(len(e) for e in alone)
    for t in rows:
        for index, example in enumerate(t.examples):
            last = t.logit_positions[t.example == index][-1]
            flat = [i for n in example.nodes for i in n.ids]
            assert path_seen(t, last) == flat[:-1]
            assert t.position[last] == len(flat) - 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=8),
    st.integers(0, 60),
)
def test_any_examples_survive_being_laid_out_as_trees(paths: list[tuple[int, int, int]], room: int) -> None:
    pool = [node(1), node(1, 2), node(3, 1)]
    given_ = [
        Example(str(i), (node(9), *(pool[p] for p in path), node(7, 8, target=True))) for i, path in enumerate(paths)
    ]
    rows = pack_trees(given_, room)
    assert [e for t in rows for e in t.examples] == given_
    for t in rows:
        assert len(t.examples) == 1 or len(t) <= room
        for index, example in enumerate(t.examples):
            flat = [i for n in example.nodes for i in n.ids]
            assert path_seen(t, t.logit_positions[t.example == index][-1]) == flat[:-1]
            assert t.token[t.example == index].tolist() == [7, 8]


def test_the_slots_of_a_description_share_their_behavior(encoder: Encoder) -> None:
    said = {"facial_expression": "a", "body_language": "b", "posture": "c", "voice": "d"}
    t = make_tree([encoder.encode(p) for p in align_prompts("a1", said, MODALITIES)])
    assert len(t.behavior) == 3
    assert len(t.examples) == 4


def test_zero_row_tokens_means_one_example_per_row(encoder: Encoder) -> None:
    assert [len(t.examples) for t in pack_trees(examples(encoder, 3), 0)] == [1, 1, 1]


def test_examples_without_behavior_and_of_two_heads_stay_apart(encoder: Encoder) -> None:
    other = encoder.encode(merc_prompt(dialogue(1), 0, ("calm",), (), Params()))
    assert [len(t.examples) for t in pack_trees([*examples(encoder, 2), other], 10_000)] == [2, 1]


def test_a_batch_pads_on_the_right_and_reads_each_row_of_tokens_where_it_stands(encoder: Encoder) -> None:
    rows = [make_tree(examples(encoder, 2, name="a")), make_tree(examples(encoder, 5, name="b"))]
    batch = collate(rows, Tokens())
    length = batch.input_ids.shape[1]
    assert (batch.node[0, len(rows[0]) :] == PADDING).all()
    assert batch.positions == len(rows[0]) + len(rows[1])
    assert [id for id, _ in batch.keys] == ["a0", "a1", "b0", "b1", "b2", "b3", "b4"]
    assert batch.behavior["pose"][0][:, 0, 0].tolist() == [0, 1, 0, 1, 2, 3, 4]
    assert (batch.modality == MODALITIES.index("pose")).sum() == 7 * K
    flat = batch.logit_positions[batch.logit_index]
    second = flat // length == 1
    assert (flat[second] % length).tolist() == rows[1].logit_positions.tolist()
    assert batch.example[second].min() == 2


def test_an_utterance_without_tokens_is_named(encoder: Encoder) -> None:
    prompt = merc_prompt(
        Dialogue("d", (Utterance("unknown", "d", 0, "A", "hi", "joy", "train", None),)), 0, LABELS, ["face"], Params()
    )
    with raises(ExampleError, id="unknown"):
        collate([make_tree([encoder.encode(prompt)])], Tokens())


def test_batches_hold_every_tree_once_and_differ_by_seed_alone(encoder: Encoder) -> None:
    rows = [make_tree(examples(encoder, n % 5 + 1, name="abcdefgh"[n % 8])) for n in range(20)]
    plain = list(batches(rows, 4))
    assert sorted(map(id, rows)) == sorted(id(t) for group in plain for t in group)
    assert len(plain[0][0]) == max(map(len, rows))
    first, again, other = ([[id(t) for t in g] for g in batches(rows, 4, np.random.default_rng(s))] for s in (1, 1, 2))
    assert first == again != other
    assert sorted(map(id, rows)) == sorted(i for group in first for i in group)


def test_words_never_need_hdf5_rows(tmp_path: Path, encoder: Encoder) -> None:
    prompt = merc_prompt(dialogue(1), 0, LABELS, (), Params())
    assert collate([make_tree([encoder.encode(prompt)])], None).behavior == {}


def test_a_batch_is_made_while_the_one_before_is_used() -> None:
    made: list[int] = []

    def make(group: int) -> int:
        time.sleep(0.02)
        made.append(group)
        return -group

    waits = []
    for group, (item, waited) in zip(range(1, 6), prefetch(range(1, 6), make), strict=True):
        assert item == -group
        assert len(made) <= group + 1
        waits.append(waited)
        time.sleep(0.05)
    assert waits[0] > 0.015
    assert max(waits[1:]) < 0.01


def test_a_fault_in_a_batch_comes_through() -> None:
    def make(group: int) -> int:
        if group == 2:
            raise ExampleError("utterance 2")
        return group

    with pytest.raises(ExampleError, match="utterance 2"):
        list(prefetch(range(5), make))
