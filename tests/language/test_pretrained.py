"""Backbones as people find them: in bits, compiled, without attention, half there; each is exact, or refused with a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bemerc.core import huggingface
from bemerc.core.errors import ModelError
from bemerc.language.inputs import packing, prompts
from bemerc.language.model import behavior_model, model_folder, pretrained, projector, tree_masks
from bemerc.language.predict import score_labels
from bemerc.release import export
from tests import families
from tests import toy_language as language
from tests.errors import raises
from tests.language.test_model import World, facts, gradients, per_example

NO_TREES = {
    "bloom": transformers.BloomConfig(vocab_size=500, hidden_size=32, n_layer=2, n_head=2),
    "mamba": transformers.MambaConfig(vocab_size=500, hidden_size=32, num_hidden_layers=2, state_size=4),
}
TREES = {
    "gpt2": transformers.GPT2Config(vocab_size=500, n_embd=32, n_layer=2, n_head=2),
    "gpt_neox": transformers.GPTNeoXConfig(
        vocab_size=500, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def drawn(config: transformers.PreTrainedConfig) -> torch.nn.Module:
    torch.manual_seed(1)
    made = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3)
    return made


@pytest.mark.parametrize(("name", "knows"), [*((n, True) for n in TREES), *((n, False) for n in NO_TREES)])
def test_a_model_is_asked_whether_it_understands_trees(name: str, knows: bool) -> None:
    assert tree_masks.understands_trees(drawn((TREES | NO_TREES)[name])) is knows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_says_yes_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    assert tree_masks.understands_trees(drawn(families.config(name, 500)).to(dtype))


def test_a_model_without_trees_takes_whole_rows_and_no_others(world: World, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.params.name_or_path)
    drawn(NO_TREES["bloom"]).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    made = world.model(replace(world.params, name_or_path=str(tmp_path / "bloom")), "none")
    examples = world.examples(made)[:4]
    with pytest.raises(ModelError, match=r"\(bloom\) cannot compute a dialogue as one tree.* Set row_tokens: 0"):
        per_example(made, packing.pack_trees(examples, 10_000), None)
    found = per_example(made, packing.pack_trees(examples, 0), None)
    for example, value in zip(examples, found, strict=True):
        ids = torch.tensor([[i for n in example.nodes for i in n.ids]])
        answer = len(example.nodes[-1].ids)
        logits = made.lm(input_ids=ids).logits[0].log_softmax(-1)
        expected = sum(logits[t - 1, ids[0, t]] for t in range(ids.shape[1] - answer, ids.shape[1]))
        assert value.item() == pytest.approx(expected.item(), abs=1e-4)


def test_a_backbone_that_lacks_weights_is_refused_and_not_drawn_at_random(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "b")
    path = tmp_path / "b" / "model.safetensors"
    whole = load_file(path)
    lost = next(name for name in whole if "q_proj" in name)
    save_file({k: v for k, v in whole.items() if k != lost}, path, {"format": "pt"})
    with raises(ModelError, name=lost):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path / "b")), {}, language.K)


def test_a_fingerprint_is_of_the_weights_wherever_and_however_they_lie(world: World, tmp_path: Path) -> None:
    name = world.params.name_or_path
    lm = AutoModelForCausalLM.from_pretrained(name)
    lm.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(huggingface.weight_files(tmp_path / "shards")) > 1
    assert pretrained.fingerprint(str(tmp_path / "shards")) == pretrained.fingerprint(name)
    coarse = world.model(replace(world.params, dtype="bfloat16"))
    assert coarse.backbone == world.model().backbone
    with torch.no_grad():
        lm.get_input_embeddings().weight += 1e-3
    lm.save_pretrained(tmp_path / "tuned")
    assert pretrained.fingerprint(str(tmp_path / "tuned")) != pretrained.fingerprint(name)
    (tmp_path / "tuned" / "model.safetensors").write_bytes(b"nonsense")
    with raises(ModelError, path=tmp_path / "tuned" / "model.safetensors"):
        pretrained.fingerprint(str(tmp_path / "tuned"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"unk_token": "<|end|>"}, "end-of-text token and its unknown token too"),
        ({}, r"needs \d+ embeddings, its model has"),
    ],
)
def test_a_tokenizer_whose_tokens_clash_is_refused(
    world: World, tmp_path: Path, changed: dict[str, str], says: str
) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "b")
    if changed:
        path = tmp_path / "b" / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    else:
        small = families.config("llama2", 200)
        AutoModelForCausalLM.from_config(small).save_pretrained(tmp_path / "b")
    with pytest.raises(ModelError, match=says):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path / "b")), {}, language.K)


def test_padding_that_is_the_end_of_text_does_no_harm(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "b")
    path = tmp_path / "b" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token": "<|end|>", "bos_token": "<|end|>"}))
    made = world.model(replace(world.params, name_or_path=str(tmp_path / "b")))
    examples = world.examples(made)
    rows, alone = (per_example(made, packing.pack_trees(examples, size), world.tokens) for size in (10_000, 0))
    assert torch.allclose(rows, alone, atol=1e-4)
    assert examples[0].nodes[0].ids[0] == examples[0].nodes[-1].ids[-1]


@pytest.mark.parametrize(("bits", "near"), [("8bit", 0.02), ("4bit", 0.1)])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_quantised_backbone_is_near_and_its_trees_are_exact(
    world: World, tmp_path: Path, bits: str, near: float
) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is an extra")
    wide = families.SHAPE | {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # in blocks of 64
    tokenizer = AutoTokenizer.from_pretrained(world.params.name_or_path)
    drawn(transformers.LlamaConfig(vocab_size=len(tokenizer), **wide)).save_pretrained(tmp_path / "b")
    tokenizer.save_pretrained(tmp_path / "b")
    params = replace(world.params, name_or_path=str(tmp_path / "b"))
    whole, made = world.model(params), world.model(replace(params, quantize=bits))
    assert made.backbone == whole.backbone
    examples = world.examples(made)[:7]
    rows, alone = (per_example(made, packing.pack_trees(examples, size), world.tokens) for size in (10_000, 0))
    assert torch.allclose(rows, alone, atol=0.02)
    exact = per_example(whole, packing.pack_trees(examples, 0), world.tokens)
    assert 0 < ((alone - exact).abs().mean() / exact.abs().mean()).item() < near
    found = dict(gradients(made, -rows.mean()))
    assert any("lora_" in name and grad.abs().sum() > 0 for name, grad in found.items())


def test_bits_without_bitsandbytes_are_a_sentence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r'pip install "bemerc\[quantize\]", or set model.quantize: none'):
        model_folder.build(replace(world.params, quantize="4bit"), {}, language.K)


def test_spread_over_what_there_is_gives_the_same(world: World) -> None:
    made, spread = world.model(), world.model(replace(world.params, device="spread"))
    trees = packing.pack_trees(world.examples(made)[:7], 10_000)
    assert torch.equal(per_example(made, trees, world.tokens), per_example(spread, trees, world.tokens))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_say_the_same(world: World) -> None:
    made, fast = world.model(), world.model(replace(world.params, compile=True))
    for count in (3, 7):
        trees = packing.pack_trees(world.examples(made)[:count], 10_000)
        usual, compiled = (per_example(one, trees, world.tokens) for one in (made, fast))
        assert torch.allclose(usual, compiled, atol=1e-5)
    kinds = [type(m).__name__ for m in fast.lm.modules() if m._compiled_call_impl is not None]
    assert kinds == ["LlamaDecoderLayer"] * 2


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "CPU"])
def test_a_device_that_there_cannot_be_is_named(name: str) -> None:
    assert any("device: must be auto" in fault for fault in behavior_model.Params(device=name).check())
    assert any("device: must be auto" in fault for fault in score_labels.Params(device=name).check())
    assert not list(behavior_model.Params(device="cuda:1").check())


def test_a_gpu_that_is_not_there_is_a_sentence(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ModelError, match=r"device cuda: torch can use no GPUs on this machine\. Set device: auto, or cpu"
    ):
        world.model(replace(world.params, device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ModelError, match=r"device cuda:1: torch can use 1 GPU on this machine"):
        world.model(replace(world.params, device="cuda:1"))
    with pytest.raises(ModelError, match="device: must be auto"):
        export.run(tmp_path, tmp_path / "out", device="gpu")


def test_attention_that_a_class_does_not_have_is_named(world: World, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(world.params.name_or_path)
    capped = families.build(tmp_path / "gemma2", "gemma2", tokenizer)
    with pytest.raises(ModelError, match=r"model\.attention: sdpa is not made for .*Set it to auto"):
        world.model(replace(world.params, name_or_path=str(capped), attention="sdpa"))


def full(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_memory_that_does_not_suffice_for_labels_is_a_sentence(world: World, tmp_path: Path) -> None:
    made = world.model()
    shape = vars(prompts.Params())
    known = replace(
        facts(made, world.tokens),
        params={"model": vars(made.params), "prompt": shape, "merc": {"max_length": 512, "seed": 0}},
    )
    made.save(tmp_path / "m", known)
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, given, out: full() if isinstance(module, projector.Projector) else None
    )
    with pytest.raises(ModelError, match=r"memory does not suffice .* Lower predict.batch or predict.row_tokens"):
        score_labels.MercModel(tmp_path / "m").score(
            world.manifest, world.tokens, ("test",), score_labels.Params(device="cpu")
        )
    hook.remove()


def test_memory_that_does_not_suffice_for_the_weights_is_a_sentence(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.LlamaForCausalLM, "to", full)
    with pytest.raises(ModelError, match=r"weights do not fit in the GPU's memory. Set model.dtype: bfloat16"):
        model_folder.build(world.params, {}, language.K)


def test_an_utterance_without_words_or_behavior_is_judged_all_the_same(world: World) -> None:
    first = world.manifest.utterances[0]
    silent = replace(first, text="", speaker="")
    bare = replace(world.manifest, utterances=(silent, *world.manifest.utterances[1:]))
    assert not any(world.tokens[first.id][m].mask.any() for m in ("face", "pose", "audio"))
    made = world.model()
    encoder = score_labels.encoder_for(made, prompts.Params(), 512)
    asked = score_labels.prompts(bare, (first.split,), language.LABELS, ("face", "pose", "audio"), prompts.Params())
    sums = score_labels.score_labels(made, encoder, asked, world.tokens, score_labels.Params(device="cpu"), quiet=True)
    assert torch.isfinite(torch.tensor(sums[first.id])).all()
