"""A dialogue computed once equals one prompt per utterance on real model classes; what is saved loads; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES, Manifest
from bemerc.language.inputs import batching, encoding, packing, prompts
from bemerc.language.model import behavior_model, model_folder, tree_masks
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import score_labels
from bemerc.language.train import align
from tests import families
from tests import toy_language as language
from tests.errors import raises
from tests.slow import beyond


class World:
    """A manifest with long dialogues, its tokens and a backbone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: Manifest = language.manifest({"train": 2, "dev": 1, "test": 1}, turns=7)
        self.tokens: TokenFile = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest)

    def family(self, name: str) -> behavior_model.Params:
        """A tiny model of a real class, with the tokenizer of the backbone, so that it speaks and is no longer random."""
        folder = self.folder / name
        if not folder.exists():
            families.build(folder, name, AutoTokenizer.from_pretrained(self.folder / "backbone"))
        return replace(self.params, name_or_path=str(folder))

    def model(
        self, params: behavior_model.Params | None = None, *modalities: str, trees: TreeSupport | None = None
    ) -> behavior_model.BehaviorModel:
        torch.manual_seed(0)
        widths = language.variant(*(modalities or MODALITIES))
        made = model_folder.build(params or self.params, widths, language.K, trees=trees)
        with torch.no_grad():  # LoRA's B is zero at first, and then nothing of the adapter would be tested
            for name, weight in made.trainable().items():
                if "lora_B" in name:
                    weight.normal_(0, 0.1)
        return made.eval()

    def examples(
        self, made: behavior_model.BehaviorModel, window: int = 12, kind: str = "anchored"
    ) -> list[encoding.Example]:
        shape = prompts.Params(window=window, windowing=kind)
        encoder = score_labels.encoder_for(made, shape, 1024)
        modalities = tuple(m for m in MODALITIES if m in made.projectors)
        return [
            encoder.encode(prompts.merc_prompt(d, i, self.manifest.labels, modalities, shape))
            for d in self.manifest.dialogues()
            for i in range(len(d.utterances))
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def per_example(
    made: behavior_model.BehaviorModel, trees: list[packing.Tree], tokens: TokenFile | None
) -> torch.Tensor:
    """(N, targets of one example) log-probabilities, in the examples' order."""
    batch = batching.collate(trees, tokens)
    found = made.target_log_probs(batch)
    return torch.stack([found[torch.from_numpy(batch.example) == i].sum() for i in range(len(batch.keys))])


def gradients(made: behavior_model.BehaviorModel, loss: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    made.zero_grad()
    loss.backward()
    yield from ((name, p.grad.clone()) for name, p in made.trainable().items() if p.grad is not None)


@pytest.mark.parametrize("name", beyond(["llama3", "gemma2", "qwen2 window"], families.FAMILIES))
def test_a_dialogue_computed_once_equals_one_prompt_per_utterance(world: World, name: str) -> None:
    made = world.model(world.family(name))
    examples = world.examples(made, window=2)  # dialogues of 7 turns: longer than the window
    rows, alone = packing.pack_trees(examples, 10_000), packing.pack_trees(examples, 0)
    assert len(rows) < len(alone) == len(examples)
    together, single = (per_example(made, trees, world.tokens) for trees in (rows, alone))
    assert single.std() > 0.01  # else equality would say nothing
    assert torch.allclose(together, single, atol=2e-4, rtol=1e-5)
    once, each = (dict(gradients(made, -per_example(made, trees, world.tokens).mean())) for trees in (rows, alone))
    assert once.keys() == each.keys()
    assert all(torch.allclose(once[key], each[key], atol=1e-4, rtol=1e-3) for key in once)


@pytest.mark.parametrize(("window", "kind"), [(3, "sliding"), (12, "anchored")])
def test_other_windows_are_as_exact(world: World, window: int, kind: str) -> None:
    made = world.model()
    examples = world.examples(made, window, kind)
    found = [per_example(made, packing.pack_trees(examples, room), world.tokens) for room in (0, 300, 10_000)]
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[0], found[2], atol=1e-5)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_one_prompt_equals_what_transformers_says_of_it(world: World, name: str) -> None:
    """Words alone, given as words: the class makes its own masks, windows included."""
    plain = world.model(world.family(name), "none")
    example = world.examples(plain)[5]
    assert len(example) > 2 * families.WINDOW
    ids = torch.tensor([[i for n in example.nodes for i in n.ids]])
    with torch.inference_mode():
        logits = plain.lm(input_ids=ids).logits[0].log_softmax(-1)
        expected = sum(logits[t - 1, ids[0, t]] for t in range(ids.shape[1] - len(example.nodes[-1].ids), ids.shape[1]))
        found = per_example(plain, packing.pack_trees([example], 0), None)
    assert found.item() == pytest.approx(float(expected), abs=1e-4)


def test_an_answer_does_not_see_itself_nor_its_siblings(world: World) -> None:
    made = world.model()
    encoder = score_labels.encoder_for(made, prompts.Params(), 1024)
    d = world.manifest.dialogues()[0]
    asked = prompts.merc_prompt(d, 2, world.manifest.labels, MODALITIES, prompts.Params())
    answers = [encoder.encode(replace(asked, target=f" {word}")) for word in ("joy", "anger", "neutral neutral")]
    alone = torch.cat([per_example(made, packing.pack_trees([one], 0), world.tokens) for one in answers])
    beside = per_example(made, packing.pack_trees(answers, 10_000), world.tokens)
    assert torch.allclose(alone, beside, atol=1e-5)


def test_the_behavior_of_one_utterance_reaches_that_utterance_alone(world: World) -> None:
    made = world.model()
    trees = packing.pack_trees(world.examples(made)[:7], 10_000)
    batch = batching.collate(trees, world.tokens)
    before = made.target_log_probs(batch)
    values, mask = batch.behavior["face"]
    moved = values.copy()
    moved[3] += 5.0
    after = made.target_log_probs(replace(batch, behavior={**batch.behavior, "face": (moved, mask)}))
    changed = {int(i) for i in batch.example[(before != after).detach().numpy()]}
    assert changed == {3}


def test_absent_tokens_are_no_zeros_and_their_numbers_do_not_matter(world: World) -> None:
    made = world.model(None, "face")
    face = made.projectors["face"]
    zeros, seen = torch.zeros(1, 2, 5), torch.ones(1, 2, dtype=torch.bool)
    hidden = torch.zeros(1, 2, dtype=torch.bool)
    assert not torch.allclose(face(zeros, seen), face(zeros, hidden))
    assert torch.equal(face(zeros, hidden), face(zeros + 7, hidden))
    half = torch.tensor([[True, False]])
    assert torch.equal(
        face(torch.tensor([[[1.0] * 5, [0.0] * 5]]), half), face(torch.tensor([[[1.0] * 5, [9.0] * 5]]), half)
    )


@pytest.mark.parametrize("name", ["llama2", "gemma", "gemma3"])  # Gemma's words grow on their way to the layers
def test_projected_tokens_have_the_size_of_words(world: World, name: str) -> None:
    made = world.model(world.family(name), "face")
    words = made.lm.get_input_embeddings()(torch.arange(300)).pow(2).mean().sqrt()
    tokens = made.projectors["face"](torch.randn(50, 2, 5) * 3, torch.ones(50, 2, dtype=torch.bool))
    assert tokens.pow(2).mean().sqrt().item() == pytest.approx(float(words), rel=0.05)


def facts(made: behavior_model.BehaviorModel, tokens: TokenFile, task: str = "merc") -> behavior_model.ModelMetadata:
    modalities = tuple(m for m in MODALITIES if m in made.projectors)
    return behavior_model.ModelMetadata(
        task=task,
        variant="TVB",
        modalities=modalities,
        labels=language.LABELS,
        corpora=("made",),
        backbone=made.params.name_or_path,
        fingerprint=made.backbone,
        k=language.K,
        columns={m: tokens.columns[m] for m in modalities},
        tokens={"params": tokens.params, "calibration": tokens.calibration.to_json()},
        references=None,
        params={"model": vars(made.params)},
        dev={},
        data=align.counted(language.manifest({"train": 2, "dev": 1, "test": 1}, turns=7)),
    )


@pytest.fixture
def saved(world: World, tmp_path: Path) -> Path:
    made = world.model()
    made.save(tmp_path / "saved", facts(made, world.tokens))
    return tmp_path / "saved"


def test_a_saved_model_says_the_same_and_knows_its_facts(world: World, saved: Path) -> None:
    made = world.model()
    loaded, known = model_folder.load(saved, device="cpu")
    trees = packing.pack_trees(world.examples(made)[:5], 10_000)
    with torch.inference_mode():
        assert torch.equal(per_example(made, trees, world.tokens), per_example(loaded, trees, world.tokens))
    assert known.labels == language.LABELS
    assert known.columns["pose"] == world.tokens.columns["pose"]
    assert not any(p.requires_grad for n, p in loaded.named_parameters() if "lora_" in n)


def test_peft_itself_loads_the_folder(world: World, saved: Path) -> None:
    lm = AutoModelForCausalLM.from_pretrained(world.params.name_or_path)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = peft.PeftModel.from_pretrained(lm, saved).eval()
    made = world.model()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert torch.equal(adapted(ids).logits, made.lm(ids).logits)
    assert not list(saved.glob("*.bin")) + list(saved.glob("*.pt"))


def test_a_backbone_may_lie_elsewhere(world: World, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "moved")
    known = json.loads((saved / "metadata.json").read_text())
    (saved / "metadata.json").write_text(json.dumps(known | {"backbone": "nowhere", "backbone_at": "../nowhere"}))
    with pytest.raises(ModelError, match="--backbone"):
        model_folder.load(saved, device="cpu")
    assert model_folder.load(saved, str(tmp_path / "moved"), "cpu")[1].task == "merc"


def test_another_backbone_is_refused(world: World, saved: Path, tmp_path: Path) -> None:
    language.build(tmp_path / "other", world.manifest, replace(language.TINY, seed=5))
    with raises(ModelError, path=saved, name=behavior_model.read_metadata(saved).backbone):
        model_folder.load(saved, str(tmp_path / "other"), "cpu")
    with raises(ModelError, path=saved, name=behavior_model.read_metadata(saved).backbone):
        model_folder.build(
            replace(world.params, name_or_path=str(tmp_path / "other")), language.WIDTHS, language.K, saved
        )


def test_another_adapter_shape_is_refused(world: World, saved: Path) -> None:
    with raises(ModelError, path=saved, name="model.rank"):
        model_folder.build(replace(world.params, rank=8), language.WIDTHS, language.K, saved)


def test_starting_from_a_model_takes_its_weights_for_the_modalities_in_use(world: World, saved: Path) -> None:
    made = model_folder.build(world.params, language.variant("audio"), language.K, saved)
    whole = world.model()
    mine, theirs = made.trainable(), dict(whole.named_parameters())
    assert {name.split(".")[1] for name in mine if name.startswith("projectors")} == {"audio"}
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert any("lora_" in name for name in mine)


def test_tokens_of_another_kind_are_refused_with_what_differs(world: World, saved: Path) -> None:
    known, columns = behavior_model.read_metadata(saved), dict(world.tokens.columns)
    model_folder.check_tokens(known, language.K, columns, saved)
    with pytest.raises(ModelError, match="K = 2 behavior tokens, these are 3"):
        model_folder.check_tokens(known, 3, columns, saved)
    with raises(ModelError, path=saved, name="face"):
        model_folder.check_tokens(known, language.K, columns | {"face": columns["face"][:4]}, saved)
    with pytest.raises(ModelError, match="these have 0"):
        model_folder.check_tokens(known, language.K, {"face": columns["face"]}, saved)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "metadata.json").unlink(), "no model folder"),
        (lambda f: (f / "metadata.json").write_text("{"), "not what a model says of itself"),
        (lambda f: (f / "metadata.json").write_text('{"schema_version": 99}'), "schema version 99"),
        (lambda f: (f / "metadata.json").write_text('{"schema_version": 1}'), "a fact is missing or cannot be"),
        (lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"), "pickled weights are refused"),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"nonsense"), "no safetensors file"),
        (lambda f: (f / "projectors.safetensors").unlink(), "weights are not there"),
        (lambda f: (f / "projectors.safetensors").write_bytes(b"nonsense"), "no safetensors file"),
    ],
)
def test_a_folder_that_is_not_whole_is_a_sentence(saved: Path, spoil: Callable[[Path], object], sentence: str) -> None:
    spoil(saved)
    with pytest.raises(ModelError, match=sentence):
        model_folder.load(saved, device="cpu")


def test_a_backbone_of_pickles_or_none_at_all_is_refused(world: World, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="pickled ones are refused"):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path)), {}, language.K)
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path / "nothing")), {}, language.K)


def test_a_backbone_cut_short_is_a_sentence(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "b")
    (tmp_path / "b" / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="no causal language model could be loaded"):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path / "b")), {}, language.K)


def test_a_target_module_that_is_not_there_is_a_sentence(world: World) -> None:
    with raises(ModelError, key="model.targets"):
        model_folder.build(replace(world.params, targets=("no_such_layer",)), {}, language.K)


def test_a_tokenizer_needs_an_end_but_no_padding(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.params.name_or_path, tmp_path / "b")
    path = tmp_path / "b" / "tokenizer_config.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in known.items() if k != "pad_token"}))
    unpadded = model_folder.build(replace(world.params, name_or_path=str(tmp_path / "b")), {}, language.K).eval()
    examples = world.examples(unpadded)
    assert torch.isfinite(per_example(unpadded, packing.pack_trees(examples, 200), None)).all()
    path.write_text(json.dumps({k: v for k, v in known.items() if k != "eos_token"}))
    with raises(ModelError, path=str(tmp_path / "b")):
        model_folder.build(replace(world.params, name_or_path=str(tmp_path / "b")), {}, language.K)


def test_logits_are_computed_where_a_target_is_and_nowhere_else(world: World) -> None:
    made = world.model()
    shapes: list[tuple[int, ...]] = []
    hook = made.lm.get_output_embeddings().register_forward_hook(lambda _, given, out: shapes.append(tuple(out.shape)))
    batch = batching.collate(packing.pack_trees(world.examples(made), 10_000), world.tokens)
    made.target_log_probs(batch)
    hook.remove()
    assert shapes == [(1, len(batch.logit_positions), made.lm.config.vocab_size)]
    assert len(batch.logit_positions) < batch.positions / 5


def test_gradient_checkpointing_changes_nothing_but_memory(world: World) -> None:
    found = []
    for checkpointing in (False, True):
        made = world.model(replace(world.params, gradient_checkpointing=checkpointing, lora_dropout=0.0))
        made.train()
        for projector in made.projectors.values():
            projector.eval()
        loss = -per_example(made, packing.pack_trees(world.examples(made)[:4], 10_000), world.tokens).mean()
        found.append(dict(gradients(made, loss)))
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in found[0])


def test_params_that_cannot_be_are_named() -> None:
    assert list(behavior_model.Params().check()) == []
    bad = behavior_model.Params(rank=0, lora_dropout=1.0, targets=())
    assert [fault.split(":")[0] for fault in bad.check()] == ["rank", "lora_dropout", "targets"]


def test_the_mask_by_its_definition() -> None:
    node = torch.tensor([[0, 0, 1, 2, 2, -1]])
    ancestors = torch.tensor([[[1, 0, 0], [1, 1, 0], [1, 0, 1]]], dtype=torch.bool)
    seen = (tree_masks.tree_mask(node, ancestors, torch.float32)[0, 0] == 0).int().numpy()
    expected = [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert np.array_equal(seen, expected)
