"""The walk against real steps, the table of backbones against what their makers publish, the recipes against the classes they feed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from bemerc.core import config
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES, Manifest
from bemerc.language.inputs import batching, packing, prompts, variants
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.train import align, loop, memory_estimate, meta_walk
from tests import families
from tests import toy_language as language
from tests.cli.test_cli import ROOT, bemerc
from tests.test_pipeline import SCRIPTS, STAGES, loads

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PAPERS = [path for path in RECIPES if path.stem.endswith("_7b")]
PLAIN = replace(language.TRAINING, batch=4)


class World:
    """A corpus and tiny backbones of two kinds of attention."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest = language.manifest({"train": 8, "dev": 1, "test": 1}, turns=5)
        self.tokens = language.write(
            folder / "tokens.h5", self.manifest, dict.fromkeys(MODALITIES, memory_estimate.WIDTH)
        )
        self.params = language.build(folder / "backbone", self.manifest)
        tokenizer = AutoTokenizer.from_pretrained(folder / "backbone")
        self.gemma2 = replace(self.params, name_or_path=str(families.build(folder / "gemma2", "gemma2", tokenizer)))

    def asked(self, task: str) -> list[prompts.Prompt]:
        """What train asks of a model."""
        if task == "align":
            return align.prompts(self.manifest, "train", language.describe(self.manifest), MODALITIES)
        given = score_labels.prompts(self.manifest, ("train",), language.LABELS, MODALITIES, prompts.Params())
        return [one for one, _ in given]

    def estimate(
        self, params: behavior_model.Params, training: loop.Params = PLAIN, task: str = "merc"
    ) -> memory_estimate.Estimate:
        return memory_estimate.run(self.asked(task), MODALITIES, language.K, prompts.Params(), params, training)

    def steps(
        self, params: behavior_model.Params, training: loop.Params = PLAIN, task: str = "merc"
    ) -> list[meta_walk.Walked]:
        """What every step of an epoch really takes."""
        made = model_folder.build(params, dict.fromkeys(MODALITIES, memory_estimate.WIDTH), language.K).train()
        encoder = score_labels.encoder_for(made, prompts.Params(), training.max_length)
        trees = packing.pack_trees([encoder.encode(one) for one in self.asked(task)], training.row_tokens)
        groups = loop.order(trees, training, 0)
        return [meta_walk.step(made, [batching.collate(group, self.tokens)]) for group in groups]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    ("kind", "checkpointing", "task"),
    [
        ("params", False, "merc"),
        pytest.param("params", True, "merc", marks=pytest.mark.slow),
        pytest.param("gemma2", False, "merc", marks=pytest.mark.slow),
        ("params", False, "align"),
    ],
)
def test_a_walk_finds_what_real_steps_take(world: World, kind: str, checkpointing: bool, task: str) -> None:
    params = replace(getattr(world, kind), gradient_checkpointing=checkpointing)
    real, found = world.steps(params, PLAIN, task), world.estimate(params, PLAIN, task)
    assert found.steps == len(real)
    assert found.step == pytest.approx(max(one.bytes for one in real), rel=0.05)
    assert found.flops == pytest.approx(sum(one.flops for one in real), rel=0.05)


@pytest.mark.slow
def test_checkpointing_takes_less_memory_and_more_operations(world: World, tmp_path: Path) -> None:
    """Of a backbone of which there is nothing but a config; two layers would be too few to see it."""
    deep = {"num_hidden_layers": 8, "vocab_size": 500, "hidden_size": 128, "head_dim": 32, "intermediate_size": 256}
    LlamaConfig(**families.SHAPE | deep).save_pretrained(tmp_path)
    given = replace(world.params, name_or_path=str(tmp_path))
    plain, kept = (world.estimate(replace(given, gradient_checkpointing=on)) for on in (False, True))
    assert kept.step < 0.4 * plain.step
    assert kept.flops > 1.1 * plain.flops
    assert not kept.tokenizer


@pytest.mark.slow
def test_fewer_bits_and_parts_take_less(world: World) -> None:
    whole = world.estimate(world.gemma2)
    parts = world.estimate(world.gemma2, replace(PLAIN, accumulate=4, row_tokens=0))
    assert parts.step < whole.step
    sizes = [world.estimate(replace(world.gemma2, quantize=bits)).weights for bits in ("none", "8bit", "4bit")]
    assert sizes == sorted(sizes, reverse=True)
    assert whole.weights == 4 * whole.parameters


@pytest.mark.slow
def test_two_walks_at_once_count_the_same_and_leave_torch_as_it_was(world: World) -> None:
    usual = torch.nn.functional.scaled_dot_product_attention
    alone = world.estimate(world.params)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: world.estimate(world.params), range(4)))
    assert {(one.step, one.flops) for one in found} == {(alone.step, alone.flops)}
    assert torch.nn.functional.scaled_dot_product_attention is usual


def test_what_live_counts_is_what_lives() -> None:
    with meta_walk.Live() as live:
        kept = torch.ones(1000)
        gone = torch.ones(3000) + 1
        view = kept[:10]
        del gone
        view.add_(1)
    assert (live.now, live.peak) == (4000, 4000 + 2 * 12000)


def test_operations_are_counted_as_torch_counts_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    a, b = torch.ones(3, 40, 50, requires_grad=True), torch.ones(3, 50, 60)
    with FlopCounterMode(display=False) as counted, meta_walk.Live() as live:
        (torch.nn.functional.silu(a) @ b).sum().backward()
    assert live.flops == counted.get_total_flops() == 2 * 2 * 3 * 40 * 50 * 60


PUBLISHED = {
    "meta-llama/Llama-2-7b-hf": 6.74,
    "meta-llama/Llama-3.1-8B": 8.03,
    "mistralai/Mistral-7B-v0.3": 7.25,
    "Qwen/Qwen2.5-7B": 7.62,
    "Qwen/Qwen3-8B": 8.19,
    "google/gemma-2-9b": 9.24,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_known_shapes_have_as_many_weights_as_their_makers_say(name: str) -> None:
    kind, values = memory_estimate.SHAPES[name]
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values), dtype=torch.bfloat16)
    assert sum(weight.numel() for weight in made.parameters()) / 1e9 == pytest.approx(PUBLISHED[name], abs=0.006)


def test_a_backbone_that_nobody_knows_is_a_sentence(world: World) -> None:
    with pytest.raises(ModelError, match=r"config is not here .* Known are meta-llama/Llama-2-7b-hf"):
        world.estimate(replace(world.params, name_or_path="nobody/nothing"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_feeds_every_stage(recipe: Path) -> None:
    told = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for name in {str(name) for stage in STAGES.values() for name in stage.get("params", ())}:
        section, _, key = name.partition(".")
        assert section in told, name
        if key == "${item.variant}":
            assert set(told["evaluate"]["variants"]) <= set(told[section])
        elif key:
            assert key in told[section], name
    variants.read(recipe)
    for script in SCRIPTS.values():
        for section, cls in loads(script):
            config.load(recipe, section, cls)


@pytest.mark.parametrize("recipe", PAPERS, ids=lambda path: path.stem)
def test_a_recipe_holds_the_papers_settings(recipe: Path) -> None:
    tuning, shape = (
        config.load(recipe, name, kind) for name, kind in (("merc", loop.Params), ("model", behavior_model.Params))
    )
    assert (shape.rank, shape.alpha, shape.targets) == (16, 16.0, ("q_proj", "k_proj", "v_proj"))
    assert (tuning.adapter_lr, tuning.epochs, tuning.batch) == (3e-4, 15, 8)
    assert config.load(recipe, "prompt", prompts.Params).window == 12


@pytest.mark.parametrize(
    "recipe",
    [PAPERS[0], *(pytest.param(path, marks=pytest.mark.slow) for path in PAPERS[1:])],
    ids=lambda path: path.stem,
)
def test_a_recipe_is_estimated_by_the_command(world: World, tmp_path: Path, recipe: Path) -> None:
    from bemerc.corpus.manifest import write_manifest

    write_manifest(tmp_path / "manifest.jsonl", world.manifest.utterances, world.manifest.labels, ("made",))
    answer = bemerc("train", "--stage", "2", "--params", recipe, "--data", tmp_path, "--estimate", "--tflops", "100")
    assert answer.returncode == 0, answer.stderr
    assert "6.74 billion frozen weights, " in answer.stdout
    assert "lengths are characters / 3" in answer.stdout
    weights = float(answer.stdout.split("weights  ")[1].split()[0])
    assert weights == pytest.approx(6.74e9 * 2 / 2**30, abs=0.1)
    assert f"15 epochs, and {memory_estimate.JUDGING['merc']}" in answer.stdout


@pytest.mark.slow
def test_align_is_estimated_with_its_own_questions_and_answers(world: World, tmp_path: Path) -> None:
    """Of what is described where there are descriptions, else of typical ones, and then it says so."""
    from bemerc.behavior.describe.description import write_descriptions
    from bemerc.corpus.manifest import write_manifest

    told = yaml.safe_load(PAPERS[0].read_text(encoding="utf-8"))
    told["model"] |= {"name_or_path": world.params.name_or_path}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    write_manifest(tmp_path / "manifest.jsonl", world.manifest.utterances, world.manifest.labels, ("made",))

    def estimated(*more: str) -> str:
        command = ("train", "--stage", "1", "--data", ".", "--estimate", "--tflops", "100", *more)
        answer = bemerc(*command, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    guessed = estimated()
    assert "descriptions.jsonl is not there yet" in guessed
    write_descriptions(tmp_path / "descriptions.jsonl", language.describe(world.manifest))
    known = estimated()
    assert json.loads(estimated("--json"))["examples"] == 4 * len(world.manifest.by_split("train"))
    assert "is not there yet" not in known
    counts = [int(one.split(" positions")[0].split()[-1]) for one in (guessed, known)]
    assert counts[0] > counts[1], "the made descriptions are shorter than the rules'"
    assert f"an epoch: {4 * len(world.manifest.by_split('train'))} examples" in known
    assert f"3 epochs, and {memory_estimate.JUDGING['align']}" in known
