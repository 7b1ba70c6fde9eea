"""MoSE, MokA and HydraLoRA: exact in trees, blind to answers and neighbours, as many weights as LoRA, whole on disk, resumable."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from bemerc.core.errors import ConfigError, ModelError
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import batching, blocks, packing, prompts
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.model.adapters import inject, shapes
from bemerc.language.model.adapters.layers import Mose
from bemerc.language.predict import generate, score_labels
from bemerc.language.train import align, checkpoint, loop, merc, modality_weights
from tests import toy_language as language
from tests.errors import raises
from tests.language.test_model import World, facts, gradients, per_example
from tests.language.test_train import Killed, killed_at, same
from tests.slow import beyond
from tests.toy_language import TRAINING

ADAPTERS = ("mose", "moka", "hydra")
FEW = ("llama3", "qwen2 window", "gemma3")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def params(world: World, adapter: str, **changed: object) -> behavior_model.Params:
    return replace(world.params, **{"adapter": adapter, "rank": 16, "alpha": 32.0, "lora_dropout": 0.0} | changed)


def model(world: World, adapter: str, family: str | None = None, **changed: object) -> behavior_model.BehaviorModel:
    """A model whose adapter adds something, and whose gates are decided."""
    shape = params(world, adapter, **changed)
    if family is not None:
        shape = replace(shape, name_or_path=world.family(family).name_or_path)
    made = world.model(shape)
    with torch.no_grad():
        for name, weight in made.trainable().items():
            if "lora_gate" in name and adapter == "mose":
                weight.mul_(8)
    return made


# ---------------------------------------------------------------------------------------------------------------- blocks


def test_blocks_by_their_definition() -> None:
    node = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 4])  # head; turn; branch; answer; next turn
    modality = np.array([-1, -1, -1, 0, 3, 1, 2, -1, -1, -1, -1])
    made = blocks.blocks_of(node, modality, [-1, 0, 1, 2, 1], [False, False, False, True, False])
    assert made.block.tolist() == [0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 6]
    assert [blocks.KINDS[kind] for kind in made.kind] == ["text", "text", "face", "pose", "audio", "text", "text"]
    assert np.flatnonzero(made.answer).tolist() == [8]


def test_an_answer_goes_on_in_the_text_above_a_branch_that_ends_in_behavior() -> None:
    made = blocks.blocks_of(np.array([0, 0, 1, 2]), np.array([-1, -1, 0, -1]), [-1, 0, 1], [False, False, True])
    assert made.block.tolist() == [0, 0, 1, 0]


# ------------------------------------------------------------------------------------------------------ exact in trees


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("family", FEW)
def test_a_dialogue_computed_once_equals_one_prompt_per_utterance(world: World, family: str, adapter: str) -> None:
    made = model(world, adapter, family)
    assert made.trees == "paths"
    examples = world.examples(made, window=2)
    rows, alone = packing.pack_trees(examples, 10_000), packing.pack_trees(examples, 0)
    together, single = (per_example(made, trees, world.tokens) for trees in (rows, alone))
    assert single.std() > 0.01
    assert torch.allclose(together, single, atol=2e-4, rtol=1e-5)
    with torch.inference_mode():
        walked = per_example(made, rows, world.tokens)
    assert torch.allclose(walked, single, atol=2e-4, rtol=1e-5)
    once, each = (dict(gradients(made, -per_example(made, trees, world.tokens).mean())) for trees in (rows, alone))
    assert once.keys() == each.keys() == made.trainable().keys()
    for key, gradient in once.items():
        assert torch.allclose(gradient, each[key], atol=2e-5 * float(gradient.abs().max()) + 1e-4, rtol=1e-3), key
    assert all(once[key].abs().max() > 0 for key in once if "lora_gate" in key or "lora_A" in key)


def test_a_gate_sees_its_block_and_what_stands_above_it_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another answer, another branch, another row: every gate stays as it was, to the bit."""
    made = model(world, "mose")
    gates: list[torch.Tensor] = []
    real = Mose._gates

    def noted(self: Mose, low: torch.Tensor, context: object) -> torch.Tensor:
        gates.append(real(self, low, context))
        return gates[-1]

    monkeypatch.setattr(Mose, "_gates", noted)
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    first, second = (
        [
            encoder.encode(replace(one, target=" anger anger joy"))
            for one, _ in score_labels.prompts(
                world.manifest, ("train",), world.manifest.labels, MODALITIES, prompts.Params()
            )
            if one.id.startswith(f"made/train/d{d}_")
        ]
        for d in (0, 1)
    )
    batch = batching.collate([packing.make_tree(first), packing.make_tree(second)], world.tokens)

    def of(batch: batching.Batch) -> list[torch.Tensor]:
        gates.clear()
        with torch.inference_mode():
            made.target_log_probs(batch)
        return list(gates)

    before = of(batch)
    assert max(gate.std() for gate in before) > 0.05  # decided, else equality would say nothing
    ids = np.where(batch.answer & (batch.node >= 0), 7, batch.input_ids)
    assert (ids != batch.input_ids).any()
    assert all(map(torch.equal, before, of(replace(batch, input_ids=ids))))

    values, mask = batch.behavior["face"]
    moved = values.copy()
    moved[3] += 5.0  # the branch of the fourth utterance of the first dialogue
    after = of(replace(batch, behavior={**batch.behavior, "face": (moved, mask)}))
    placeholder = np.flatnonzero(batch.modality[0] == 0)[3 * language.K]
    branch = batch.node[0, placeholder]
    own = np.unique(batch.block[0, batch.node[0] == branch])
    others = np.setdiff1d(np.arange(len(batch.block_kind)), own)
    assert all(torch.equal(a[others], b[others]) for a, b in zip(before, after, strict=True))
    assert any(not torch.equal(a[own], b[own]) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_what_a_model_writes_goes_on_as_it_is_scored(world: World, adapter: str) -> None:
    """The likeliest token at every step is the one that scoring the text so far makes likeliest."""
    made = model(world, adapter)
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    (asked, _), *_ = score_labels.prompts(
        world.manifest, ("train",), world.manifest.labels, MODALITIES, prompts.Params()
    )
    example = encoder.question(asked)
    (written,) = made.generate(batching.collate([packing.make_tree([example])], world.tokens), 4, -1)
    node = replace(encoder.encode(replace(asked, target=" joy")).nodes[-1], ids=(*written,), modality=(-1,) * 4)
    batch = batching.collate([packing.make_tree([replace(example, nodes=(*example.nodes, node))])], world.tokens)
    scored: list[torch.Tensor] = []
    hook = made.lm.get_output_embeddings().register_forward_hook(lambda _, given, out: scored.append(out))
    with torch.inference_mode():
        made.target_log_probs(batch)
    hook.remove()
    assert scored[0][0].argmax(-1).tolist() == written


# ------------------------------------------------------------------------------------------------------ equal parameters


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("experts", [2, 3])
def test_every_adapter_trains_as_many_weights_as_lora(world: World, adapter: str, experts: int) -> None:
    def count(of: behavior_model.BehaviorModel) -> int:
        return sum(p.numel() for name, p in of.trainable().items() if name.startswith("lm."))

    plain = count(world.model(params(world, "lora")))
    assert count(world.model(params(world, adapter, experts=experts))) == pytest.approx(plain, rel=0.05)
    assert count(world.model(params(world, adapter, equal_parameters=False))) > 1.2 * plain


def test_a_rank_too_small_to_be_shared_out_is_a_sentence_with_one_that_is_enough(world: World) -> None:
    with pytest.raises(ModelError, match=r"model\.rank: 2 is too small.* Set it to (\d+)") as error:
        world.model(params(world, "mose", rank=2))
    enough = int(str(error.value).split("Set it to ")[1].split(",")[0])
    assert world.model(params(world, "mose", rank=enough)).adapter is not None


# --------------------------------------------------------------------------------------------------------------- on disk


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_saved_model_says_the_same(world: World, adapter: str, tmp_path: Path) -> None:
    made = model(world, adapter)
    made.save(tmp_path / "saved", facts(made, world.tokens))
    loaded, _ = model_folder.load(tmp_path / "saved", device="cpu")
    trees = packing.pack_trees(world.examples(made)[:5], 10_000)
    with torch.inference_mode():
        assert torch.equal(per_example(made, trees, world.tokens), per_example(loaded, trees, world.tokens))
    assert not loaded.trainable().keys() - {name for name in loaded.trainable() if name.startswith("projectors")}
    again = model_folder.build(made.params, language.WIDTHS, language.K, tmp_path / "saved")
    assert same(made.trainable(), again.trainable())
    assert again.trainable().keys() == made.trainable().keys()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_peft_itself_loads_the_mean_expert(world: World, adapter: str, tmp_path: Path) -> None:
    """On words alone, with gates that do not decide, nothing is lost by that."""
    made = model(world, adapter)
    with torch.no_grad():
        for name, weight in made.trainable().items():
            if "lora_gate" in name:
                weight.zero_()
    made.save(tmp_path / "saved", facts(made, world.tokens))
    lm = AutoModelForCausalLM.from_pretrained(world.params.name_or_path)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.inference_mode():
        bare = lm(ids).logits
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        plain = peft.PeftModel.from_pretrained(lm, tmp_path / "saved").eval()
    with torch.inference_mode():
        assert torch.allclose(plain(ids).logits, made.lm(ids).logits, atol=1e-5)
        assert not torch.allclose(bare, made.lm(ids).logits, atol=1e-2)


@pytest.fixture(scope="module")
def saved_mose(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, made = tmp_path_factory.mktemp("mose") / "m", model(world, "mose")
    made.save(folder, facts(made, world.tokens))
    return folder


@pytest.fixture
def mose(saved_mose: Path, tmp_path: Path) -> Path:
    """A copy of ``saved_mose``, to be spoiled."""
    return Path(shutil.copytree(saved_mose, tmp_path / "m"))


def rewritten(folder: Path, **changed: object) -> None:
    path = folder / "metadata.json"
    known = json.loads(path.read_text())
    known["params"]["model"].update(changed)
    path.write_text(json.dumps(known))


def spoiled(folder: Path, key: str, how: str) -> None:
    path = folder / inject.EXPERTS
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.endswith(key))
    if how == "missing":
        del weights[name]
    else:
        weights[name] = {
            "nan": weights[name] * float("nan"),
            "int8": weights[name].to(torch.int8),
            "shape": weights[name].flatten()[:1].clone(),
            "wider": torch.zeros(*weights[name].shape[:-1], 1),
        }[how]
    save_file(weights, path)


@pytest.mark.parametrize("key", ["lora_A", "lora_B", "lora_gate", "adapter.sides", "adapter.usage"])
@pytest.mark.parametrize("how", ["nan", "int8", "shape", "wider", "missing"])
def test_experts_that_do_not_fit_are_a_sentence(mose: Path, key: str, how: str) -> None:
    spoiled(mose, key, how)
    with pytest.raises(ModelError):
        model_folder.load(mose, device="cpu")


@pytest.mark.parametrize(
    "claim",
    [{"adapter": "lora"}, {"adapter": "moka"}, {"adapter": "hydra"}, {"experts": 3}, {"experts": 0}, {"adapter": "x"}],
)
def test_an_adapter_of_another_kind_is_a_sentence(mose: Path, claim: dict[str, object]) -> None:
    rewritten(mose, **claim)
    with pytest.raises((ModelError, ConfigError)):
        model_folder.load(mose, device="cpu")


def test_training_starts_from_an_adapter_of_the_same_kind_alone(world: World, tmp_path: Path) -> None:
    made = model(world, "mose")
    made.save(tmp_path / "mose", facts(made, world.tokens))
    plain = world.model(params(world, "lora"))
    plain.save(tmp_path / "lora", facts(plain, world.tokens))
    for start, adapter in (("mose", "lora"), ("mose", "moka"), ("lora", "mose")):
        with raises(ModelError, path=tmp_path / start, name="model.adapter"):
            model_folder.build(params(world, adapter), language.WIDTHS, language.K, tmp_path / start)
    with raises(ModelError, path=tmp_path / "mose", name="model.experts"):
        model_folder.build(params(world, "mose", experts=3), language.WIDTHS, language.K, tmp_path / "mose")


def test_plain_lora_is_saved_as_ever_where_another_model_lay(world: World, tmp_path: Path) -> None:
    for adapter in ("mose", "lora"):
        made = world.model(params(world, adapter))
        made.save(tmp_path / "m", replace(facts(made, world.tokens), params={"model": made.params.stored()}))
    assert not (tmp_path / "m" / inject.EXPERTS).exists()
    assert "adapter" not in json.loads((tmp_path / "m" / "metadata.json").read_text())["params"]["model"]
    assert model_folder.load(tmp_path / "m", device="cpu")[0].adapter is None


def test_no_gate_is_merged_away(world: World) -> None:
    made = model(world, "mose")
    trees = packing.pack_trees(world.examples(made)[:3], 10_000)
    with torch.inference_mode():
        before = per_example(made, trees, world.tokens)
        made.merge()
        assert torch.equal(before, per_example(made, trees, world.tokens))


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
def test_what_takes_no_such_adapter_is_a_sentence(world: World) -> None:
    for targets in (("lm_head",), ("embed_tokens",)):
        with raises(ModelError, key="model.targets"):
            world.model(params(world, "mose", targets=targets))
    assert [f.split(":")[0] for f in params(world, "mose", compile=True).check()] == ["compile"]


# -------------------------------------------------------------------------------------------------------------- training


class Trained:
    """Trainings of one adapter on the world's dialogues."""

    def __init__(self, world: World, adapter: str, **changed: object) -> None:
        self.world, self.params = world, params(world, adapter, lora_dropout=0.1, **changed)
        encoder = score_labels.encoder_for(self.model(), prompts.Params(), 512)
        asked = score_labels.prompts(world.manifest, ("train",), world.manifest.labels, MODALITIES, prompts.Params())
        self.trees = packing.pack_trees([encoder.encode(one) for one, _ in asked], 400)

    def model(self) -> behavior_model.BehaviorModel:
        torch.manual_seed(0)
        return model_folder.build(self.params, language.WIDTHS, language.K)

    def fit(self, out: Path, params: loop.Params = TRAINING, kill_at: int | None = None) -> dict[str, torch.Tensor]:
        made = self.model()
        if kill_at is not None:
            made.register_forward_pre_hook(killed_at(kill_at))

        def score(of: behavior_model.BehaviorModel) -> loop.Score:
            return loop.Score(float(sum(p.detach().double().sum() for p in of.trainable().values())), {})

        loop.fit(made, self.trees, self.world.tokens, score, params, out, "test")
        return {name: p.detach().clone() for name, p in (made.trainable() | made.buffers_kept()).items()}


@pytest.mark.parametrize("adapter", beyond(["mose"], ADAPTERS))
def test_a_killed_training_goes_on_bit_for_bit(
    world: World, adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Trained(world, adapter)
    whole = training.fit(tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        training.fit(tmp_path / "cut", kill_at=3)
    torch.manual_seed(999)
    again = training.fit(tmp_path / "cut")
    assert again.keys() == whole.keys()
    assert same(whole, again)
    if adapter == "mose":
        assert (whole["adapter.usage"] != 0.5).any()


def test_a_step_in_parts_is_the_same_step_with_the_penalty(world: World, tmp_path: Path) -> None:
    training = Trained(world, "mose", gate_balance=1.0, gate_entropy=1.0)
    training.params = replace(training.params, lora_dropout=0.0, projector_dropout=0.0, token_dropout=0.0)
    parts = [
        training.fit(tmp_path / str(n), replace(TRAINING, batch=12, accumulate=n, epochs=1, row_tokens=0))
        for n in (1, 3)
    ]
    assert all(torch.allclose(parts[0][name], parts[1][name], atol=2e-3) for name in parts[0])
    assert torch.allclose(parts[0]["adapter.usage"], parts[1]["adapter.usage"], atol=1e-4)


def test_penalties_make_gates_decide_and_use_every_expert(world: World) -> None:
    """By their gradient: entropy falls where gates lie apart, and an expert that was never used gains."""
    made = model(world, "mose", gate_balance=1.0, gate_entropy=0.0)
    made.adapter.usage[..., 0], made.adapter.usage[..., 1] = 0.9, 0.1
    batch = batching.collate(packing.pack_trees(world.examples(made)[:4], 10_000), world.tokens)
    batch = replace(batch, block_shares=(1.0,) * len(blocks.KINDS))

    def penalty() -> torch.Tensor:
        made.target_log_probs(batch)
        return made.adapter.penalty()

    def after_a_step() -> torch.Tensor:
        made.zero_grad()
        penalty().backward()
        with torch.no_grad():
            for name, weight in made.trainable().items():
                if "lora_gate" in name:
                    weight -= 0.05 * weight.grad
        made.adapter._forget()
        penalty()
        return (made.adapter._uses / made.adapter._uses.sum(-1, keepdim=True)).mean((0, 1))

    penalty()
    before = (made.adapter._uses / made.adapter._uses.sum(-1, keepdim=True)).mean((0, 1))
    assert after_a_step()[1] > before[1]
    sharp = model(world, "mose", gate_balance=0.0, gate_entropy=1.0)
    made = sharp
    first = float(penalty().detach())
    after_a_step()
    assert float(penalty().detach()) < first


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_gradient_checkpointing_changes_nothing_but_memory(world: World, adapter: str) -> None:
    found = []
    for checkpointing in (False, True):
        made = model(world, adapter, gradient_checkpointing=checkpointing, gate_entropy=1.0)
        made.train()
        for projector in made.projectors.values():
            projector.eval()
        batch = batching.collate(packing.pack_trees(world.examples(made)[:4], 10_000), world.tokens)
        found.append(dict(gradients(made, made(replace(batch, block_shares=(1.0,) * len(blocks.KINDS))))))
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in found[0])


@pytest.mark.parametrize("dtype", ["bfloat16"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_adapter_computes_in_few_digits(world: World, adapter: str, dtype: str) -> None:
    made = model(world, adapter, dtype=dtype)
    found = per_example(made, packing.pack_trees(world.examples(made)[:4], 10_000), world.tokens)
    assert torch.isfinite(found).all()
    assert all(p.dtype == torch.float32 for p in made.trainable().values())


def test_shapes_are_counted_as_they_are(world: World) -> None:
    for adapter in ADAPTERS:
        made = world.model(params(world, adapter))
        for layer in made.adapter.layers.values():
            size = (layer.base_layer.in_features, layer.base_layer.out_features)
            own = sum(p.numel() for p in layer.parameters(recurse=False))
            assert own == shapes.trained(size, layer.rank, made.params)


# ------------------------------------------------------------------------------------------------------- dynamic weights


def hidden(batch: batching.Batch, *shown: str) -> batching.Batch:
    made = {m: (v, mask if m in shown else np.zeros_like(mask)) for m, (v, mask) in batch.behavior.items()}
    return replace(batch, behavior=made)


def test_weights_follow_their_formula_against_the_side_that_dominates(world: World) -> None:
    made = model(world, "mose", weight_temperature=0.5)
    trees = packing.pack_trees(world.examples(made), 400)
    batch = batching.collate(trees, world.tokens)

    def of(*shown: str) -> np.ndarray:
        with torch.inference_mode():
            each = made.target_log_probs(hidden(batch, *shown)).double().numpy()
        return np.bincount(batch.example, weights=each)

    gain = [of(*side) - of() for side in (("face", "pose"), ("audio",))]
    rho = np.array([one.sum() / np.abs(one).sum() for one in gain])
    expected = 2 * np.exp(-rho / 0.5) / np.exp(-rho / 0.5).sum()
    modality_weights.update(made, trees, world.tokens)
    assert np.allclose(made.adapter.sides.numpy(), expected, atol=1e-3)
    assert abs(rho[0] - rho[1]) > 0.01
    assert np.argmin(expected) == np.argmax(rho)
    assert made.adapter._weights()[0] == 1  # text
    assert made.adapter._weights()[1:3].tolist() == pytest.approx([expected[0]] * 2, rel=1e-3)  # shared alike at first
    now = [of(*side) - of() for side in (("face", "pose"), ("audio",))]  # with other weights, what helps is another
    expected = modality_weights.LEFT * made.adapter.gains + torch.tensor([[d.sum(), np.abs(d).sum()] for d in now])
    modality_weights.update(made, trees, world.tokens)
    assert torch.allclose(made.adapter.gains, expected.float(), rtol=1e-3, atol=1e-3)


def test_a_side_alone_keeps_its_weight(world: World) -> None:
    shape = params(world, "mose")
    made = world.model(shape, "audio")
    trees = packing.pack_trees(world.examples(made), 400)
    modality_weights.update(made, trees, world.tokens)
    assert made.adapter.sides.tolist() == [1, 1]
    face = world.model(shape, "face", "audio")
    with torch.no_grad():
        face.adapter.lora_share[0] = 2.0  # there is nobody to share with
    assert face.adapter._weights().tolist() == [1, 1, 1, 1]


def test_many_examples_are_asked_about_by_a_sample_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(world, "mose")
    trees = packing.pack_trees(world.examples(made), 0)
    monkeypatch.setattr(modality_weights, "MOST", 7)
    chosen = modality_weights.some(trees)
    assert len(chosen) == 7
    assert chosen[0] is trees[0]
    assert chosen[-1] in trees[-4:]


@pytest.mark.parametrize("dynamic", beyond([True], [True, False]))
def test_merc_weighs_the_sides_and_goes_on_bit_for_bit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dynamic: bool
) -> None:
    shape = params(world, "mose", lora_dropout=0.1, dynamic_weights=dynamic)
    training = replace(TRAINING, epochs=3)

    def run(out: Path) -> dict[str, torch.Tensor]:
        merc.run("TVB", world.manifest, world.tokens, {}, None, prompts.Params(), shape, training, out)
        return load_file(out / inject.EXPERTS) | load_file(out / "last" / inject.EXPERTS)

    whole = run(tmp_path / "whole")
    assert (whole["adapter.sides"] != 1).all() == dynamic
    assert whole["adapter.sides"].sum() == pytest.approx(2)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    dying = killed_at(3)
    real = behavior_model.BehaviorModel.forward

    def killed(self: behavior_model.BehaviorModel, batch: batching.Batch) -> torch.Tensor:
        dying()
        return real(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(behavior_model.BehaviorModel, "forward", killed)
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    again = run(tmp_path / "cut")
    assert again.keys() == whole.keys()
    assert same(whole, again)
    known = json.loads((tmp_path / "cut" / "metadata.json").read_text())
    assert known["trained"]["adapter"] == pytest.approx(known["trained"]["lora"], rel=0.05)
    loaded, _ = model_folder.load(tmp_path / "cut", device="cpu")
    assert torch.equal(loaded.adapter.sides, load_file(tmp_path / "cut" / inject.EXPERTS)["adapter.sides"])


@pytest.mark.parametrize("adapter", beyond(["mose"], ADAPTERS))
def test_align_and_merc_train_the_same_adapter(world: World, adapter: str, tmp_path: Path) -> None:
    shape, short = params(world, adapter), replace(TRAINING, epochs=1)
    said = language.describe(world.manifest)
    align.run(world.manifest, world.tokens, said, {}, shape, short, tmp_path / "align")
    merc.run("TV", world.manifest, world.tokens, {}, tmp_path / "align", prompts.Params(), shape, short, tmp_path / "m")
    how = score_labels.Params(device="cpu")
    scored = score_labels.MercModel(tmp_path / "m").score(world.manifest, world.tokens, ("test",), how)
    alone = score_labels.MercModel(tmp_path / "m").score(
        world.manifest, world.tokens, ("test",), replace(how, row_tokens=0)
    )
    for a, b in zip(scored, alone, strict=True):
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-5)
    written = generate.generate_descriptions(tmp_path / "align", [scored[0].id], world.tokens, how, 3)
    assert written.keys() == {scored[0].id}
