"""What gpu_check.py measures: training, labelling beside generate, and a speech encoder, on backbones of random
weights."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.core.errors import MediaError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES, Manifest, Utterance
from bemerc.extraction.audio import speech_encoder
from bemerc.extraction.audio.speech_encoder_torch import Encoder
from bemerc.language.inputs import encoding, packing
from bemerc.language.inputs import prompts as prompt
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.predict import score_labels
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import loop, memory_estimate
from bemerc.language.train.log import log_of

LABELS = LABEL_SETS["meld"]
K = 8
LEFT_OUT = 2  # steps that warm things up and are not timed
WORDS = re.split(
    " ",
    "well you know i was there and she said that we would never go back to him because it is not what they want so "
    "please tell me how this could be right or wrong oh no yes really come on stop it now wait here look at that one "
    "thing more time good bad love hate fine sorry thanks maybe okay never always again today",
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


# Llama 3.2 1B and Qwen 2.5 7B, as their makers' config.json have them.
LLAMA_1B = {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16} | {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
WAVLM_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


@dataclass(frozen=True)
class Size:
    """What is measured: a config by model_type, how many dialogues of ten turns, examples per step, and whether a
    training computes its layers again on the way back."""

    kind: str
    shape: Mapping[str, Any]
    dialogues: int
    batch: int
    checkpointing: bool = False

    def tiny(self) -> Size:
        small = SMALL | {"vocab_size": 2048, "num_key_value_heads": 2}
        return replace(self, shape={**small, "max_position_embeddings": 4096}, dialogues=2, batch=5)


SIZES = {
    "1B": Size("llama", LLAMA_1B, 32, 16),
    "7B": Size("qwen2", memory_estimate.QWEN25[1] | {"max_position_embeddings": 32768}, 20, 16, checkpointing=True),
}


def corpus(dialogues: int, turns: int = 10, seed: int = 0) -> Manifest:
    """Dialogues of about MELD's lengths, of words that say nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for d in range(dialogues):
        for i in range(turns):
            text = " ".join(rng.choice(WORDS, int(rng.integers(2, 18))))
            label = LABELS[int(rng.integers(len(LABELS)))]
            made.append(
                Utterance(f"d{d:03d}_u{i:02d}", f"d{d:03d}", i, "ABC"[int(rng.integers(3))], text, label, "train", None)
            )
    return Manifest(tuple(made), LABELS, ("made",), Path())


class World:
    """A backbone of random weights on the device, its tokenizer, a corpus and its behavior tokens."""

    def __init__(self, folder: Path, size: Size, device: str) -> None:
        self.folder, self.size, self.device = folder, size, device
        self.manifest = corpus(size.dialogues)
        asked = score_labels.prompts(self.manifest, ("train",), LABELS, MODALITIES, prompt.Params())
        self.asked = asked
        texts = [u.text for u in self.manifest.utterances] + [one.text for one, _ in asked[:200]]
        self.tokenizer = backbone.train_tokenizer(texts, min(2000, size.shape["vocab_size"]), 4096)
        self.tokenizer.save_pretrained(folder)
        self.config = transformers.AutoConfig.for_model(size.kind, **size.shape)
        self.config.save_pretrained(folder)
        self.tokens = self._tokens()

    def _tokens(self) -> file.TokenFile:
        rng, ids = np.random.default_rng(1), [u.id for u in self.manifest.utterances]
        width = memory_estimate.WIDTH
        columns = {m: tuple(f"{m}_{i}" for i in range(width)) for m in MODALITIES}
        values = {
            m: (rng.normal(0, 1, (len(ids), K, width)).astype(np.float32), np.ones((len(ids), K), bool))
            for m in MODALITIES
        }
        zeros, ones = (0.0,) * width, (1.0,) * width
        calibration = Calibration({m: Statistics("made 1", columns[m], zeros, ones) for m in MODALITIES})
        file.write_tokens(self.folder / "tokens.h5", ids, values, calibration, file.Params(k=K))
        return file.open_tokens(self.folder / "tokens.h5")

    @property
    def params(self) -> behavior_model.Params:
        checkpointing = self.size.checkpointing
        return behavior_model.Params(
            str(self.folder), dtype="bfloat16", device=self.device, gradient_checkpointing=checkpointing
        )

    def model(self, trees: TreeSupport = "masks") -> behavior_model.BehaviorModel:
        torch.manual_seed(0)
        with torch.device(self.device):
            lm = transformers.AutoModelForCausalLM.from_config(self.config, dtype=torch.bfloat16)
        lm.requires_grad_(False)
        widths = dict.fromkeys(MODALITIES, memory_estimate.WIDTH)
        return model_folder.fresh(lm, self.tokenizer, widths, K, self.params, trees=trees)


def training_params(size: Size, row_tokens: int) -> loop.Params:
    return loop.Params(
        epochs=1,
        patience=0,
        batch=size.batch,
        accumulate=1,
        row_tokens=row_tokens,
        max_length=4096,
        precision="bfloat16",
        adapter_lr=1e-4,
        projector_lr=1e-4,
        warmup=0.1,
        weight_decay=0.0,
        clip=1.0,
        ema_decay=0.0,
        seed=0,
    )


def peak_gib(device: str) -> float | None:
    """The most that tensors took of the GPU; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.startswith("cuda") else None


def fresh_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def synchronise(device: str) -> float:
    """The time, when all that was asked of the device is done, seconds."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measure_training(size: Size, device: str, folder: Path) -> dict[str, Any]:
    """An epoch with dialogues as trees and one with a row per utterance: speed; peak memory beside the estimate's."""
    world = World(folder, size, device)
    result: dict[str, Any] = {"checkpointing": size.checkpointing}
    for name, row_tokens in (("trees", 1024), ("rows", 0)):
        params = training_params(size, row_tokens)
        prompts = [one for one, _ in world.asked]
        expected = memory_estimate.run(prompts, MODALITIES, K, prompt.Params(), world.params, params)
        fresh_memory(device)
        made = world.model()
        encode = score_labels.encoder_for(made, prompt.Params(), params.max_length)
        trees = packing.pack_trees([encode.encode(one) for one in prompts], row_tokens)
        out = folder / name
        loop.fit(made, trees, world.tokens, lambda _: loop.Score(0.0, {}), params, out, f"training, {name}")
        result[name] = timed(out, loop.order(trees, params, 0)) | {
            "peak_gib": peak_gib(device),
            "estimated_gib": expected.bytes / 2**30,
            "flops": expected.flops,
            "parameters": expected.parameters,
        }
        result[name]["tflops"] = expected.flops / expected.examples * result[name]["per_s"] / 1e12
        del made
    return result


def timed(out: Path, groups: Sequence[Sequence[packing.Tree]]) -> dict[str, float]:
    """Examples and positions per second over an epoch's steps but the first ones, and the losses at both ends."""
    lines = [json.loads(line) for line in log_of(out).read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if "step" in line]
    positions = [sum(map(len, group)) for group in groups]
    seconds = [n / step["tokens_per_s"] for n, step in zip(positions, steps, strict=True)]
    examples = [sum(len(tree.examples) for tree in group) for group in groups]
    first = min(LEFT_OUT, len(steps) - 1)
    return {
        "per_s": sum(examples[first:]) / sum(seconds[first:]),
        "positions_per_s": sum(positions[first:]) / sum(seconds[first:]),
        "steps": len(steps),
        "loss_first": steps[0]["loss"],
        "loss_last": steps[-1]["loss"],
    }


def measure_labelling(size: Size, device: str, folder: Path) -> dict[str, Any]:
    """Utterances labelled per second: every label's score on both routes, and generate in batches."""
    world = World(folder, size, device)
    made = world.model().eval()
    encode = score_labels.encoder_for(made, prompt.Params(), 4096)
    result: dict[str, Any] = {"utterances": len(world.asked)}
    sums: dict[str, dict[str, Any]] = {}
    routes: tuple[tuple[str, TreeSupport, int], ...] = (
        ("masks", "masks", 4096),
        ("paths", "paths", 4096),
        ("rows", "masks", 0),
    )
    for name, trees, row_tokens in routes:
        made.trees = trees
        how = score_labels.Params(row_tokens=row_tokens)
        few = world.asked[:10]
        score_labels.score_labels(made, encode, few, world.tokens, how, quiet=True)  # warms up
        fresh_memory(device)
        start = synchronise(device)
        sums[name] = score_labels.score_labels(made, encode, world.asked, world.tokens, how, quiet=True)
        result[name] = {
            "per_s": len(world.asked) / (synchronise(device) - start),
            "peak_gib": peak_gib(device),
            "away": max(float(np.abs(sums[name][id] - sums["masks"][id]).max()) for id in sums[name]),
        }
    longest = max(len(made.tokenizer(f" {label}", add_special_tokens=False)["input_ids"]) for label in LABELS)
    questions = [encode.question(one) for one, _ in world.asked]
    generate(made, questions[:4], world.tokens, longest + 1)
    fresh_memory(device)
    start = synchronise(device)
    for at in range(0, len(questions), 32):
        generate(made, questions[at : at + 32], world.tokens, longest + 1)
    result["generate"] = {
        "per_s": len(questions) / (synchronise(device) - start),
        "peak_gib": peak_gib(device),
        "written": longest + 1,
    }
    return result


def generate(
    made: behavior_model.BehaviorModel, questions: Sequence[encoding.Example], read: file.TokenFile, new: int
) -> Any:
    """What a user of transformers would write: prompts padded on the left, and ``new`` tokens for the answer."""
    width = max(map(len, questions))
    ids = np.zeros((len(questions), width), np.int64)
    modality = np.full((len(questions), width), encoding.WORDS)
    mask = np.zeros((len(questions), width), np.int64)
    for row, question in enumerate(questions):
        ids[row, width - len(question) :] = [i for node in question.nodes for i in node.ids]
        modality[row, width - len(question) :] = [m for node in question.nodes for m in node.modality]
        mask[row, width - len(question) :] = 1
    on = made.device
    with torch.inference_mode():
        embedded = made.lm.get_input_embeddings()(torch.from_numpy(ids).to(on))
        for number, name in enumerate(MODALITIES):
            values = np.stack([read[question.id][name].values for question in questions])
            given = torch.from_numpy(values).to(on)
            projected = made.projectors[name](given, torch.ones(given.shape[:2], dtype=torch.bool, device=on))
            where = torch.from_numpy(modality == number).to(on).unsqueeze(-1)
            embedded = embedded.masked_scatter(where, projected.flatten(0, 1).to(embedded.dtype))
        return made.lm.generate(
            inputs_embeds=embedded,
            attention_mask=torch.from_numpy(mask).to(on),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=made.tokenizer.pad_token_id,
        )


def measure_encoder(device: str, folder: Path, tiny: bool) -> dict[str, Any]:
    """Seconds of sound per second through a WavLM large of random weights, and how far its rows lie from a CPU's."""
    shape: dict[str, Any] = SMALL | {"conv_dim": (16,) * 7} if tiny else dict(WAVLM_LARGE)
    heads = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4} if tiny else {}
    config = transformers.WavLMConfig(
        feat_extract_norm="layer", do_stable_layer_norm=True, **shape, **heads, num_buckets=320
    )
    with torch.device(device):
        transformers.WavLMModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True).save_pretrained(folder)
    rng = np.random.default_rng(0)
    lengths = rng.integers(16000, 80000, 6 if tiny else 128)
    sounds = [rng.normal(0, 0.1, int(n)).astype(np.float32) for n in lengths]
    result: dict[str, Any] = {"seconds": float(lengths.sum()) / 16000}
    expected = opened(folder, "float32", "cpu").clip(sounds[0]).values
    dtypes = ("float32", "bfloat16", "float16") if device.startswith("cuda") else ("float32", "bfloat16")
    for dtype in dtypes:
        fresh_memory(device)
        listener = opened(folder, dtype, device)
        rows = listener.clips(sounds[:4])[0]
        if isinstance(rows, MediaError):
            raise rows
        start = synchronise(device)
        listener.clips(sounds)
        result[dtype] = {
            "per_s": result["seconds"] / (synchronise(device) - start),
            "peak_gib": peak_gib(device),
            "away": float(np.abs(rows.values - expected).max() / np.abs(expected).max()),
        }
    return result


def opened(folder: Path, dtype: Any, device: str) -> Encoder:
    params = speech_encoder.Params(name_or_path=str(folder), dtype=dtype)
    one = speech_encoder.resolve(
        params, {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in speech_encoder.files(params)}
    )
    return Encoder(one, speech_encoder.columns(one), device)
