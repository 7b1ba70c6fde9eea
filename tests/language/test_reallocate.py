"""Attention that is moved: what is moved where, on every route, for every family; and where nothing may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AutoTokenizer
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from bemerc.core.errors import ModelError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import encoding, prompts
from bemerc.language.model import attention_rows, behavior_model
from bemerc.language.model.attention_rows import Rows
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import reallocate, score_labels, temperature
from bemerc.language.predict.modes import MODES, Mode
from bemerc.language.predict.reallocation_file import Reallocation
from tests import families
from tests import toy_language as language
from tests.language.test_model import World
from tests.language.test_pretrained import NO_TREES, TREES, drawn
from tests.language.test_tree_attention import OWN_ATTENTION
from tests.slow import beyond

LABELS = LABEL_SETS["meld"]
CHOSEN = {0: (0, 1), 1: (1,)}
SINKS = {0: (0, 2 * language.K)}
BETA = 0.8
CASES = ["llama3", "qwen2 window", "mistral window", "gemma2", "gemma3", "gpt_neox"]


def made_for(heads: int, **other: Any) -> Reallocation:
    """tau that differs by layer, head and place, and a narrow band, so that most rows are moved."""
    rng = np.random.default_rng(0)
    tau, band = rng.uniform(0.2, 0.8, (2, heads, 2)), rng.uniform(0.01, 0.05, (2, heads, 2))
    how: dict[str, Any] = {"beta": BETA, "boost": 0.3, "gamma": 0.5, "chosen": CHOSEN} | other
    return Reallocation("x", language.K, tau, band, drawn={0: (heads - 1,)}, sinks=SINKS, made={}, **how)


class Scored(World):
    """Dialogues of seven turns whose labels are of one to several tokens, asked of tiny models of real classes."""

    def made(self, name: str, trees: TreeSupport) -> behavior_model.BehaviorModel:
        if name == "gpt_neox" and not (folder := self.folder / name).exists():
            tokenizer = AutoTokenizer.from_pretrained(self.folder / "backbone")
            config = TREES[name].__class__(**{**TREES[name].to_dict(), "vocab_size": len(tokenizer)})
            drawn(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        params = replace(self.params, name_or_path=str(self.folder / name)) if name == "gpt_neox" else self.family(name)
        made = self.model(params, trees=trees)
        assert made.trees == trees
        return made

    def asked(self) -> score_labels.Asked:
        return score_labels.prompts(self.manifest, ("dev", "test"), LABELS, MODALITIES, prompts.Params(window=2))

    def scores(
        self, made: behavior_model.BehaviorModel, mode: Mode = "reallocate", batch: int = 48, **other: Any
    ) -> dict[str, np.ndarray]:
        how = score_labels.Params(batch, 0 if made.trees == "no" else 4096, "cpu", mode)
        encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
        heads = made.lm.config.get_text_config().num_attention_heads
        some = other.pop("asked", self.asked())
        return score_labels.reallocated(made, encoder, some, self.tokens, how, made_for(heads, **other), quiet=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("world"))


def alike(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], **tolerance: float) -> bool:
    return list(found) == list(expected) and all(np.allclose(found[id], expected[id], **tolerance) for id in expected)


def same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return list(found) == list(expected) and all(np.array_equal(found[id], expected[id]) for id in expected)


# ------------------------------------------------------------------------------------------------------------ the rule


class Layer(torch.nn.Module):
    layer_idx = 0


def test_a_row_of_three_tokens_by_hand() -> None:
    """Voice .4, face .1, the query itself .5: rho is .8, and tau .5 +- .1 with beta 1 makes .6 of it, so .3, .2, .5."""
    logits = torch.tensor([0.4, 0.1, 0.5]).log()
    query, key = torch.ones(1, 1, 3, 1), logits.view(1, 1, 3, 1)
    value = torch.tensor([1.0, 10.0, 100.0]).view(1, 1, 3, 1)
    ones = np.full((1, 1, 2), 1.0)
    rule = reallocate.Shift({0: [0]}, 0.5 * ones, 0.1 * ones, 1.0, {}, 1)
    yes, slot = torch.tensor([[True]]), torch.tensor([[2, 0]])  # audio, face, of one token each
    rows = Rows(rule, torch.tensor([[2]]), yes, ~yes, 0 * yes, torch.tensor([[0, 1]]), slot, {}, (("u", 0),), 1)
    causal = torch.full((3, 3), -torch.inf).triu(1).view(1, 1, 3, 3)
    plain, _ = attention_rows.attend(Layer(), query, key, value, causal, scaling=1.0)
    found, _ = attention_rows.attend(Layer(), query, key, value, causal, rows=rows, scaling=1.0)
    assert plain[0, 2, 0, 0].item() == pytest.approx(0.4 + 1 + 50)
    assert found[0, 2, 0, 0].item() == pytest.approx(0.3 + 2 + 50)
    assert torch.equal(found[:, :2], plain[:, :2])  # nobody asked about these


@pytest.mark.parametrize(
    ("masses", "tau", "expected"),
    [
        ([0.4, 0.1], 0.5, [0.75, 2.0]),  # rho .8 -> .6
        ([0.1, 0.4], 0.5, [2.0, 0.75]),  # rho .2 -> .4
        ([0.25, 0.25], 0.45, [1.0, 1.0]),  # within the band
        ([0.4, 0.0], 0.5, [1.0, 1.0]),  # a side is absent
        ([0.0009, 0.00005], 0.5, [1.0, 1.0]),  # nothing to speak of
    ],
)
def test_factors_move_rho_to_its_band(masses: list[float], tau: float, expected: list[float]) -> None:
    found = reallocate.factors(torch.tensor(masses), torch.tensor(tau), torch.tensor(0.1), 1.0)
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("beta", [-1.0, -0.4, 0.3, 1.0])
def test_what_is_moved_leaves_the_sum_as_it_was(beta: float) -> None:
    generator = torch.Generator().manual_seed(0)
    masses = torch.rand(1000, 2, generator=generator) ** 8
    tau, band = torch.rand(1000, generator=generator), torch.rand(1000, generator=generator) / 4
    found = masses * reallocate.factors(masses, tau, band, beta)
    assert torch.allclose(found.sum(-1), masses.sum(-1), atol=1e-6)
    assert (found >= 0).all()
    before, after = ((of[:, 0] / of.sum(-1) - tau).abs() for of in (masses, found))
    assert ((after - before) * np.sign(beta) <= 1e-5).all()
    assert ((after - before).abs() > 0.01).any()


# ---------------------------------------------------------------------------------------------------------- the routes


def moved_anew(made: Reallocation, lm: Any, modality: torch.Tensor, asked_from: int, calls: list[int]) -> Any:
    """Attention written once more, for one prompt without a tree: whole rows, changed weight by weight."""

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> tuple[torch.Tensor, None]:
        heads, layer = query.shape[1], module.layer_idx
        key, value = (of.repeat_interleave(heads // of.shape[1], 1) for of in (key, value))
        scores = query @ key.transpose(2, 3) * given["scaling"]
        if given.get("softcap"):
            scores = torch.tanh(scores / given["softcap"]) * given["softcap"]
        weights = (scores + mask).softmax(-1)
        calls.append(layer)
        for head in made.chosen[layer]:
            for at in range(asked_from, query.shape[2]):
                row, place = weights[0, head, at], int(at > asked_from)
                slots = [
                    i for i in range(len(modality)) if modality[i] >= 0 and modality[i] not in made.sinks.get(layer, ())
                ]
                voice = [i for i in slots if modality[i] >= 2 * language.K]
                seen = [i for i in slots if modality[i] < 2 * language.K]
                a, v = row[voice].sum(), row[seen].sum()
                if min(a, v) == 0 or a + v < 1e-3:
                    continue
                tau, band = made.tau[layer, head, place], made.band[layer, head, place]
                rho = a / (a + v)
                if abs(rho - tau) > band:
                    new = rho - made.beta * (rho - tau - band * torch.sign(rho - tau))
                    row[voice] *= new / rho
                    row[seen] *= (1 - new) / (1 - rho)
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
        return (weights @ value).transpose(1, 2), None

    return attention


def one_at_a_time(world: Scored, made: behavior_model.BehaviorModel, how: Reallocation) -> dict[str, np.ndarray]:
    """Utterance -> (7,) label scores, one prompt and label after the other."""
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    text, calls, sums = made.lm.config.get_text_config(), list[int](), dict[str, np.ndarray]()
    before, name = text._attn_implementation, "bemerc_test"
    AttentionMaskInterface.register(name, eager_mask)
    for asked, _ in world.asked():
        found = []
        for label in LABELS:
            example = encoder.encode(replace(asked, target=f" {label}"), encoder.overlap(LABELS, prompts.label_target))
            row, slot = embedded(world, made, example)
            answer = len(example.nodes[-1].ids)
            AttentionInterface.register(name, moved_anew(how, made.lm, slot, len(slot) - answer - 1, calls))
            text._attn_implementation = name
            logs = made.lm(inputs_embeds=row[:, :-1]).logits[0].log_softmax(-1)
            text._attn_implementation = before
            ids = example.nodes[-1].ids
            found.append(sum(logs[len(slot) - answer - 1 + i, token].item() for i, token in enumerate(ids)))
        sums[asked.id] = np.array(found)
    assert set(calls) == {0, 1}
    return sums


def embedded(
    world: World, made: behavior_model.BehaviorModel, example: encoding.Example
) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, L, H) embeddings of a prompt with its answer, and (L,) the slot of every measured behavior token, else -1."""
    parts, slots = [], []
    for node in example.nodes:
        behavior, at = iter(node.behavior), 0
        while at < len(node.ids):
            if node.modality[at] == encoding.WORDS:
                parts.append(made.lm.get_input_embeddings()(torch.tensor([node.ids[at]])))
                slots.append(-1)
                at += 1
                continue
            place = next(behavior)
            read = world.tokens[place.utterance][place.modality]
            parts.append(
                made.projectors[place.modality](torch.from_numpy(read.values)[None], torch.from_numpy(read.mask)[None])[
                    0
                ]
            )
            first = MODALITIES.index(place.modality) * made.k
            slots += [first + i if read.mask[i] else -1 for i in range(made.k)]
            at += made.k
    return torch.cat(parts)[None], torch.tensor(slots)


@pytest.mark.parametrize("name", beyond(["llama3", "gemma2"], CASES))
def test_every_route_moves_what_plain_attention_would(world: Scored, name: str) -> None:
    found = {trees: world.scores(world.made(name, trees)) for trees in ("no", "masks", "paths")}
    plain = world.scores(world.made(name, "paths"), "none")
    with torch.inference_mode():
        made = world.made(name, "no")
        expected = one_at_a_time(world, made, made_for(made.lm.config.get_text_config().num_attention_heads))
    assert not alike(found["paths"], plain, atol=1e-2)
    for trees, scores in found.items():
        assert alike(scores, expected, atol=3e-4), trees


@pytest.mark.parametrize("trees", ["no", "masks", "paths"])
def test_a_strength_of_nothing_changes_no_bit(world: Scored, trees: TreeSupport) -> None:
    made = world.made("llama3", trees)
    plain = world.scores(made, "none")
    for mode in MODES:
        assert same_bits(world.scores(made, mode, beta=0.0, boost=0.0, gamma=0.0), plain), mode


def test_a_row_that_is_left_alone_keeps_its_bits(world: Scored) -> None:
    """Along paths the same attention is computed with and without a rule, so what no rule moves is the same number."""
    made, nothing = world.made("gemma2", "paths"), {u.id for u in world.manifest.utterances if _unmeasured(world, u.id)}
    plain, moved = world.scores(made, "none"), world.scores(made)
    assert {id for id in plain if np.array_equal(plain[id], moved[id])} == nothing & set(plain) != set()


def _unmeasured(world: Scored, id: str) -> bool:
    return not any(of.mask.any() for of in world.tokens[id].values())


def test_a_side_that_is_absent_is_not_made_up_for(world: Scored) -> None:
    made, modalities = world.model(world.family("llama3"), "face", "pose", trees="paths"), ("face", "pose")
    asked = score_labels.prompts(world.manifest, ("dev",), LABELS, modalities, prompts.Params(window=2))
    assert same_bits(world.scores(made, asked=asked), world.scores(made, "none", asked=asked))
    boosted = world.scores(made, "presoftmax", asked=asked)
    assert not alike(boosted, world.scores(made, "none", asked=asked), atol=1e-3)


@pytest.mark.parametrize("trees", ["no", "masks", "paths"])
def test_an_utterance_is_moved_alike_whoever_is_beside_it(world: Scored, trees: TreeSupport) -> None:
    made = world.made("gemma3", trees)
    together = world.scores(made)
    for batch in (1, 3):
        assert alike(world.scores(made, batch=batch), together, atol=2e-4)
    for one in world.asked()[::5]:
        assert alike(world.scores(made, asked=[one]), {one[0].id: together[one[0].id]}, atol=2e-4)


@pytest.mark.parametrize("trees", ["no", "masks", "paths"])
def test_the_controls_are_what_they_are_called(world: Scored, trees: TreeSupport) -> None:
    made = world.made("llama3", trees)
    found = {mode: world.scores(made, mode) for mode in MODES}
    assert alike(found["random_heads"], world.scores(made, chosen={0: (3,)}), atol=0)
    modes = list(found)
    for n, mode in enumerate(modes):
        for other in modes[:n]:
            assert not alike(found[mode], found[other], atol=1e-3), (mode, other)


def test_the_boost_raises_what_stands_before_the_softmax(world: Scored) -> None:
    rule = reallocate.Boost({0: [0]}, 0.5)
    yes = torch.tensor([[True]])
    rows = Rows(rule, 3 * yes, yes, ~yes, 0 * yes, torch.tensor([[0, 2, 0]]), torch.tensor([[0, 2, 3]]), {}, (), 1)
    scores = torch.tensor([-2.0, 1.0, torch.finfo(torch.float32).min, 3.0]).view(1, 1, 1, 4)
    found = rule.logits(0, scores, rows)
    assert found is not None
    assert found.flatten().tolist() == [-1.0, 1.0, torch.finfo(torch.float32).min, 3.0]


def test_the_texts_own_belief_is_that_of_unmeasured_behavior(world: Scored) -> None:
    made, asked = world.made("llama3", "paths"), world.asked()
    found, plain = world.scores(made, "text_prior"), world.scores(made, "none")
    hidden = world.scores(made, "none", asked=[(prompts.without_behavior(one), labels) for one, labels in asked])
    for one, _ in asked:
        both = [temperature.scaled(of, 1.0) for of in (plain[one.id], hidden[f"{one.id}\0"])]
        assert np.allclose(found[one.id], both[0] - 0.5 * both[1], atol=1e-4)
        assert np.allclose(*both, atol=1e-4) == _unmeasured(world, one.id)


@pytest.mark.parametrize("name", [*OWN_ATTENTION, *NO_TREES])
def test_a_class_without_attention_from_outside_is_refused(name: str) -> None:
    made = drawn((OWN_ATTENTION | NO_TREES)[name])
    with pytest.raises(ModelError, match=r"reallocate: none"):
        attention_rows.must_give_rows(made, name, "no" if name in NO_TREES else "masks")


@pytest.mark.parametrize("trees", ["no", "masks"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*families.FAMILIES, *TREES])
def test_every_family_gives_rows(name: str, dtype: torch.dtype, trees: TreeSupport) -> None:
    made = (drawn(TREES[name]) if name in TREES else drawn(families.config(name, 500))).to(dtype)
    before = made.config.get_text_config()._attn_implementation
    attention_rows.must_give_rows(made, name, trees)
    assert made.config.get_text_config()._attn_implementation == before


def test_a_file_of_another_shape_is_refused(world: Scored) -> None:
    made = world.made("llama3", "paths")
    how = score_labels.Params(device="cpu", reallocate="reallocate")
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    with pytest.raises(ModelError):
        score_labels.reallocated(made, encoder, world.asked(), world.tokens, how, made_for(2), quiet=True)
