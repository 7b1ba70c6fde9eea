"""Along the paths of a tree a model says what it says under a mask, whatever the tree; a class that cannot is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import batching, encoding, packing, prompts
from bemerc.language.model import behavior_model, tree_attention
from bemerc.language.predict import score_labels
from tests import families
from tests.language.test_model import World, per_example
from tests.language.test_pretrained import NO_TREES, TREES, drawn
from tests.slow import beyond

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tree_attention.Plan]:
    """The plans by which layers attended."""
    found: list[tree_attention.Plan] = []
    real = tree_attention.attend

    def noted(*given: Any, **named: Any) -> Any:
        found.append(named["paths"])
        return real(*given, **named)

    monkeypatch.setattr(tree_attention, "attend", noted)
    return found


def labelled(world: World, made: behavior_model.BehaviorModel, window: int = 2) -> list[encoding.Example]:
    """Every label of every utterance; one label is of several tokens."""
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    shape = prompts.Params(window=window)
    modalities = tuple(m for m in MODALITIES if m in made.projectors)
    asked = score_labels.prompts(world.manifest, ("train", "dev"), world.manifest.labels, modalities, shape)
    return [
        encoder.encode(replace(one, target=word)) for one, _ in asked for word in (" joy", " anger anger joy", " fear")
    ]


def walked(made: behavior_model.BehaviorModel, trees: list[packing.Tree], world: World) -> torch.Tensor:
    with torch.inference_mode():
        return per_example(made, trees, world.tokens)


@pytest.mark.parametrize("name", beyond(["llama3", "gemma2", "qwen2 window"], families.FAMILIES))
def test_scores_along_paths_are_those_under_a_mask_and_those_of_single_prompts(
    world: World, name: str, calls: list[tree_attention.Plan]
) -> None:
    made = world.model(world.family(name))
    assert made.trees == "paths"
    calls.clear()
    examples = labelled(world, made)  # dialogues of 7 turns: longer than the window
    masked = per_example(made, packing.pack_trees(examples, 10_000), world.tokens).detach()
    assert not calls  # where gradients are asked for, a mask
    single = torch.cat(
        [per_example(made, [tree], world.tokens).detach() for tree in packing.pack_trees(examples[:30], 0)]
    )
    assert single.std() > 0.01  # else equality would say nothing
    for rows in (packing.pack_trees(examples, 10_000), packing.pack_trees(examples, 300)):
        found = walked(made, rows, world)
        assert torch.allclose(found, masked, atol=1e-4, rtol=1e-5)
        assert torch.allclose(found[:30], single, atol=1e-4, rtol=1e-5)
    assert len(calls) == 2 * families.SHAPE["num_hidden_layers"]


def test_a_tree_in_any_order_is_walked_depth_first(world: World) -> None:
    made = world.model()
    examples = labelled(world, made, window=12)
    order = np.random.default_rng(0).permutation(len(examples))
    mixed = [examples[i] for i in order]
    row = packing.make_tree(mixed)
    starts = [int(np.flatnonzero(row.node == n)[0]) for n in range(len(row.ancestors))]
    assert row.position[starts].tolist() != sorted(row.position[starts].tolist())
    alone = walked(made, packing.pack_trees(mixed, 0), world)
    assert torch.allclose(walked(made, [row], world), alone, atol=1e-5)


def test_a_walk_takes_a_branch_with_its_labels_and_leaves_out_padding() -> None:
    node = np.array([[0, 0, 1, 2, 2, 3, 4, 4, -1]])  # 0: head; 1: branch with labels 2 and 3; 4: the next turn
    ancestors = np.eye(5, dtype=bool)
    ancestors[:, 0] = ancestors[2:4, 1] = True
    position = np.array([[0, 1, 2, 3, 4, 3, 2, 3, 0]])
    made = tree_attention.plan(node, ancestors[None], position, {0: 0, 7: 2}, torch.zeros(1))
    assert [(s.start, s.stop, s.depth) for s in made.steps] == [(0, 2, 0), (2, 6, 2), (6, 8, 2)]
    assert made.longest == 6
    assert (made.masks[0][1] == 0).int().tolist() == [
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 0, 0, 1],
    ]
    assert (made.masks[7][1] == 0).int().tolist() == [
        [0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("name", [*TREES, *NO_TREES])
def test_a_class_is_asked_how_it_understands_trees(name: str) -> None:
    made = drawn((TREES | NO_TREES)[name])
    assert tree_attention.supported_trees(made) == ("paths" if name in TREES else "no")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_walks_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    assert tree_attention.supported_trees(drawn(families.config(name, 500)).to(dtype)) == "paths"


@pytest.mark.parametrize("name", ["mistral window", "qwen2 window", "gemma3"])
def test_a_layer_that_does_not_tell_of_its_window_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = drawn(families.config(name, 500)), tree_attention.attend
    monkeypatch.setattr(
        tree_attention, "attend", lambda *given, **named: real(*given, **named | {"sliding_window": None})
    )
    assert tree_attention.supported_trees(made) == "masks"


OWN_ATTENTION = {
    "falcon": transformers.FalconConfig(vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=2),
    "gpt_oss": transformers.GptOssConfig(
        vocab_size=500, intermediate_size=32, num_local_experts=4, num_experts_per_tok=2, **SMALL
    ),
}


@pytest.mark.parametrize("name", OWN_ATTENTION)
def test_a_class_with_an_attention_of_its_own_keeps_the_mask(name: str) -> None:
    assert tree_attention.supported_trees(drawn(OWN_ATTENTION[name])) == "masks"


def test_the_attention_is_the_models_own_again_afterwards(world: World, calls: list[tree_attention.Plan]) -> None:
    made = world.model(world.family("gemma2"))
    text = made.lm.config.get_text_config()
    assert text._attn_implementation == "eager"
    walked(made, packing.pack_trees(labelled(world, made)[:3], 10_000), world)
    assert calls
    assert text._attn_implementation == "eager"


def test_the_last_layer_ends_where_a_target_is(world: World) -> None:
    made = world.model()
    last, shapes = made.lm.get_base_model().model.layers[-1].mlp.down_proj, list[tuple[int, ...]]()
    hook = last.register_forward_hook(lambda _, given, out: shapes.append(tuple(out.shape)))
    batch = batching.collate(packing.pack_trees(labelled(world, made), 10_000), world.tokens)
    with torch.inference_mode():
        made.target_log_probs(batch)
    hook.remove()
    assert shapes == [(1, len(batch.logit_positions), made.lm.config.hidden_size)]
    assert len(batch.logit_positions) < batch.positions / 3


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")
def test_a_compiled_model_keeps_the_mask(world: World) -> None:
    assert world.model(replace(world.params, compile=True)).trees == "masks"


def test_a_merged_model_says_the_same_without_an_adapter(world: World) -> None:
    made = world.model()
    trees = packing.pack_trees(labelled(world, made), 10_000)
    before = walked(made, trees, world)
    made.merge()
    assert not [name for name, _ in made.named_parameters() if "lora_" in name]
    after = walked(made, trees, world)
    assert torch.allclose(before, after, atol=1e-4)
    made.merge()  # there is nothing left to merge
    assert torch.equal(after, walked(made, trees, world))


def test_few_digits_are_not_merged_into(world: World) -> None:
    made = world.model(replace(world.params, dtype="bfloat16"))
    made.merge()
    assert [name for name, _ in made.named_parameters() if "lora_" in name]


def test_dialogues_share_a_row_and_its_head_and_none_is_cut(world: World) -> None:
    made = world.model()
    examples = labelled(world, made, window=12)
    blocks = [packing.make_tree(examples[start : start + 21]) for start in range(0, len(examples), 21)]
    head = len(examples[0].nodes[0].ids)
    (row,) = packing.merge_trees(blocks, 10_000, 1000)
    assert len(row) <= sum(map(len, blocks)) - head * (len(blocks) - 1)
    assert (row.position == 0).sum() == 1
    two = packing.merge_trees(blocks, len(blocks[0]) + len(blocks[1]) - head, 1000)
    assert [len(one.examples) for one in two] == [42, 21]
    assert [len(one.examples) for one in packing.merge_trees(blocks, 10_000, 41)] == [21, 21, 21]
    assert [one.id for t in two for one in t.examples] == [one.id for one in examples]
