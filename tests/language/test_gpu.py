"""What only a GPU computes, on tiny models: the same steps, scores and rows as on a CPU, in every precision, and resumed.

``pytest -m gpu tests/language/test_gpu.py`` on a machine with one, or ``make gpu-check``. The same tests run on a CPU by
BEMERC_TEST_DEVICE=cpu, so that they are known to run.
"""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoTokenizer

from bemerc.core.errors import MediaError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES
from bemerc.extraction.audio import speech_encoder
from bemerc.extraction.audio.speech_encoder_torch import Encoder
from bemerc.language.inputs import batching, packing, prompts
from bemerc.language.model import behavior_model
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import score_labels
from bemerc.language.train import checkpoint, loop, processes
from tests import families
from tests import toy_language as language
from tests.extraction.test_speech_encoder import resolved, sound, tiny_encoder
from tests.language.test_model import World, per_example

DEVICE = os.environ.get("BEMERC_TEST_DEVICE", "cuda")
ON_GPU = DEVICE.startswith("cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
LABELS = LABEL_SETS["meld"]
# Dropout is drawn by another generator on every device; without it losses must agree.
STILL = {"lora_dropout": 0.0, "projector_dropout": 0.0, "token_dropout": 0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("gpu"))


def on(
    world: World, device: str = DEVICE, family: str = "", trees: TreeSupport | None = None, **params: object
) -> behavior_model.BehaviorModel:
    """A model on a device: of a family with random weights, or on the embedded backbone."""
    given = world.family(family) if family else world.params
    return world.model(replace(given, device=device, **params), trees=trees)


def trained(
    world: World,
    out: Path,
    made: behavior_model.BehaviorModel,
    params: loop.Params = language.TRAINING,
    score: Callable[[behavior_model.BehaviorModel], loop.Score] = lambda _: loop.Score(0.0, {}),
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses by step, and the weights at the end on the CPU."""
    examples = [e for e in world.examples(made) if "/train/" in e.id]
    fitted = loop.fit(made, packing.pack_trees(examples, params.row_tokens), world.tokens, score, params, out, "gpu")
    rows = (out / "steps.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[1]) for row in rows], {n: w.cpu() for n, w in fitted.last_weights.items()}


def test_a_training_on_a_gpu_has_the_losses_of_one_on_a_cpu(world: World, tmp_path: Path) -> None:
    made = on(world, **STILL)
    assert {w.device.type for w in made.parameters()} == {torch.device(DEVICE).type}
    here, there = trained(world, tmp_path / "a", made), trained(world, tmp_path / "b", on(world, "cpu", **STILL))
    assert here[0] == pytest.approx(there[0], abs=1e-3)
    assert len(here[0]) > 3


@pytest.mark.parametrize(("precision", "near"), [("bfloat16", 0.05), ("float16", 0.3)])
def test_few_digits_train_to_almost_the_same_losses(world: World, tmp_path: Path, precision: str, near: float) -> None:
    """float16's scaler begins high and skips the first steps, until nothing overflows."""
    exact, _ = trained(world, tmp_path / "a", on(world, **STILL))
    params = replace(language.TRAINING, precision=precision)
    coarse, weights = trained(world, tmp_path / "b", on(world, **STILL), params)
    assert coarse == pytest.approx(exact, rel=near)
    assert coarse != exact
    assert all(w.dtype == torch.float32 and w.isfinite().all() for w in weights.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_stored_in_few_digits_train(world: World, tmp_path: Path, dtype: str) -> None:
    losses, weights = trained(
        world, tmp_path / "a", on(world, dtype=dtype, **STILL), replace(language.TRAINING, precision="bfloat16")
    )
    assert all(map(math.isfinite, losses))
    assert all(w.dtype == torch.float32 for w in weights.values())


def test_a_killed_training_goes_on_with_the_same_dropout(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its generator is the device's own; sums on a GPU may differ in their last bits from run to run."""
    whole, _ = trained(world, tmp_path / "whole", on(world))
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    made, steps = on(world), iter(range(99))

    def dying(*_: object) -> None:
        if next(steps) == 3:
            raise InterruptedError

    made.register_forward_pre_hook(dying)
    with pytest.raises(InterruptedError):
        trained(world, tmp_path / "cut", made)
    again, _ = trained(world, tmp_path / "cut", on(world))
    assert again == pytest.approx(whole, abs=2e-3)


def test_the_generators_are_left_as_they_were(world: World, tmp_path: Path) -> None:
    made = on(world)
    torch.manual_seed(5)
    expected = torch.rand(3, device=DEVICE)
    torch.manual_seed(5)
    trained(world, tmp_path / "a", made)
    assert torch.equal(torch.rand(3, device=DEVICE), expected)


@pytest.mark.parametrize("family", ["llama3", "gemma2", "qwen2 window"])
@pytest.mark.parametrize(("trees", "rows"), [("no", 0), ("masks", 0), ("masks", 4096), ("paths", 4096)])
def test_labels_on_a_gpu_have_the_scores_of_a_cpu(world: World, family: str, trees: TreeSupport, rows: int) -> None:
    asked = score_labels.prompts(world.manifest, ("dev", "test"), LABELS, MODALITIES, prompts.Params())

    def scores(device: str, route: TreeSupport, row_tokens: int) -> dict[str, np.ndarray]:
        made = on(world, device, family, route)
        assert made.trees == route
        encode = score_labels.encoder_for(made, prompts.Params(), 1024)
        how = score_labels.Params(row_tokens=row_tokens)
        return score_labels.score_labels(made, encode, asked, world.tokens, how, quiet=True)

    expected = scores("cpu", "no", 0)
    for id, found in scores(DEVICE, trees, rows).items():
        assert found == pytest.approx(expected[id], abs=2e-3)


def test_what_suits_the_device_is_taken(world: World) -> None:
    assert on(world).trees == ("masks" if ON_GPU else "paths")


def test_what_is_written_is_what_a_cpu_writes(world: World) -> None:
    written = []
    for device in (DEVICE, "cpu"):
        made = on(world, device)
        encode = score_labels.encoder_for(made, prompts.Params(), 1024)
        asked = prompts.align_prompts(world.manifest.utterances[0].id, {"facial_expression": "?"}, MODALITIES)[0]
        with torch.inference_mode():
            batch = batching.collate([packing.make_tree([encode.question(asked)])], world.tokens)
            written.append(made.generate(batch, 8, encode.end))
    assert written[0] == written[1]


@pytest.mark.parametrize(("bits", "near"), [("8bit", 0.05), ("4bit", 0.15)])
@pytest.mark.filterwarnings("ignore")
def test_a_quantised_backbone_is_near_and_trains(world: World, tmp_path: Path, bits: str, near: float) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is an extra")
    wide = families.SHAPE | {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}  # in blocks of 64
    tokenizer = AutoTokenizer.from_pretrained(world.params.name_or_path)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(tokenizer), **wide)).save_pretrained(
        tmp_path / "b"
    )
    tokenizer.save_pretrained(tmp_path / "b")
    params = replace(world.params, name_or_path=str(tmp_path / "b"), device=DEVICE, **STILL)
    whole, made = world.model(params), world.model(replace(params, quantize=bits, dtype="bfloat16"))
    trees = packing.pack_trees(world.examples(made)[:7], 10_000)
    exact, found = (per_example(one, trees, world.tokens).detach().cpu() for one in (whole, made))
    assert ((found - exact).abs().mean() / exact.abs().mean()).item() < near
    losses, _ = trained(world, tmp_path / "m", made, replace(language.TRAINING, precision="bfloat16"))
    assert all(map(math.isfinite, losses))


@pytest.mark.filterwarnings("ignore")
def test_checkpointed_and_spread_models_train_to_the_same_losses(world: World, tmp_path: Path) -> None:
    plain, _ = trained(world, tmp_path / "a", on(world, **STILL))
    kept, _ = trained(world, tmp_path / "b", on(world, gradient_checkpointing=True, **STILL))
    spread, _ = trained(world, tmp_path / "c", on(world, "spread", **STILL))
    assert kept == pytest.approx(plain, abs=1e-3)
    assert spread == pytest.approx(plain, abs=1e-3)


@pytest.mark.skipif(not ON_GPU, reason="minutes on a CPU; tests/language/test_pretrained.py has a slow test")
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_train_to_the_same_losses(world: World, tmp_path: Path) -> None:
    params = replace(language.TRAINING, epochs=1)
    plain, _ = trained(world, tmp_path / "a", on(world, **STILL), params)
    fast, _ = trained(world, tmp_path / "b", on(world, compile=True, **STILL), params)
    assert fast == pytest.approx(plain, abs=1e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_second_gpu_is_trained_on_and_the_first_is_left_alone(world: World, tmp_path: Path) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(0)
    made = on(world, "cuda:1")
    torch.cuda.reset_peak_memory_stats(0)
    first = torch.cuda.get_rng_state(0)
    with processes.training(made, language.TRAINING):
        assert torch.cuda.current_device() == 1
    trained(world, tmp_path / "a", made)
    assert {str(w.device) for w in made.parameters()} == {"cuda:1"}
    assert torch.cuda.max_memory_allocated(0) == before
    assert torch.equal(torch.cuda.get_rng_state(0), first)
    assert torch.cuda.current_device() == 0


# ------------------------------------------------------------------------------------------------------ speech encoders


@pytest.mark.parametrize("kind", [("wavlm", "layer"), ("hubert", "group"), ("whisper", "layer")], ids="-".join)
def test_rows_of_an_encoder_are_those_of_a_cpu(tmp_path: Path, kind: tuple[str, str]) -> None:
    one = resolved(tiny_encoder(tmp_path / "e", *kind))
    here, there = (Encoder(one, speech_encoder.columns(one), device) for device in (DEVICE, "cpu"))
    sounds = [sound(n, seed) for seed, n in enumerate((47000, 16000, 33333, 250, 15999))]
    for waveform, found in zip(sounds, here.clips(sounds), strict=True):
        assert not isinstance(found, MediaError)
        expected = there.clip(waveform)
        np.testing.assert_allclose(found.values, expected.values, rtol=2**-8, atol=5e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", *(["float16"] if ON_GPU else [])])
def test_an_encoder_in_few_digits_is_near(tmp_path: Path, dtype: str) -> None:
    folder = tiny_encoder(tmp_path / "e", "wavlm")
    coarse = resolved(folder, device="auto", dtype=dtype)
    exact = resolved(folder)
    found = Encoder(coarse, speech_encoder.columns(coarse), DEVICE).clip(sound(16000)).values
    expected = Encoder(exact, speech_encoder.columns(exact), "cpu").clip(sound(16000)).values
    # How near is the processor's own affair, with weights that learned nothing.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.85


def test_an_encoder_that_overflows_is_a_failed_clip(tmp_path: Path) -> None:
    """The device's own NaN, whatever its bits are."""
    one = resolved(tiny_encoder(tmp_path / "loud", "hubert"))
    extractor = Encoder(one, speech_encoder.columns(one), DEVICE)
    extractor._network.encoder.layer_norm.weight.fill_(math.inf)
    with pytest.raises(MediaError):
        extractor.clip(sound(4000))
