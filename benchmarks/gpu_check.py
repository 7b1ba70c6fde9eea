"""Everything about bemerc that needs a GPU, in one call of under ten minutes, and docs/gpu.md out of it.

    make gpu-check                                          (or: python -m benchmarks.gpu_check --out docs/gpu.md)
    python -m benchmarks.gpu_check --device cpu --tiny      the same code in a minute on any machine, tiny shapes

Runs the tests marked gpu, then measures a training, a labelling (beside transformers' own generate) and a speech encoder. The
backbones have the shapes of Llama 3.2 1B and Qwen 2.5 7B and random weights, drawn on the device in bfloat16: speed and
memory do not depend on what was learned, and nothing is downloaded. The tokenizer is trained on the spot. Every part runs in
a process of its own with a limit of its own, and the document is written again after each, so that what fails costs nothing
else. Needs torch, transformers, peft, accelerate, h5py and pytest; no video library.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
import transformers

from bemerc.behavior.tokens import file
from bemerc.behavior.tokens.calibration import Calibration, Statistics
from bemerc.corpus.manifest import LABEL_SETS, MODALITIES, Manifest, Utterance
from bemerc.extraction.audio import speech_encoder
from bemerc.extraction.audio.speech_encoder_torch import Encoder
from bemerc.language.inputs import dataset
from bemerc.language.inputs import prompts as prompt
from bemerc.language.model import behavior_model
from bemerc.language.model.tree_attention import Trees
from bemerc.language.predict import score_labels
from bemerc.language.tiny_lm import model as backbone
from bemerc.language.train import loop, memory_estimate
from bemerc.language.train.log import log_of

NEEDED = ("torch", "transformers", "peft", "accelerate", "h5py", "safetensors", "tokenizers", "pytest")
ROOT = Path(__file__).resolve().parents[1]
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
    """What is measured: a config by model_type, how many dialogues of ten turns, examples per step, and whether a training
    computes its layers again on the way back."""

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
# Part -> seconds that it may take: nine minutes in all.
LIMITS_S = {"tests": 200, "training 1B": 70, "labelling 1B": 40, "training 7B": 100, "labelling 7B": 60, "encoder": 60}


# --------------------------------------------------------------------------------------------------------- what is read


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

    def model(self, trees: Trees = "masks") -> behavior_model.BehaviorModel:
        torch.manual_seed(0)
        with torch.device(self.device):
            lm = transformers.AutoModelForCausalLM.from_config(self.config, dtype=torch.bfloat16)
        lm.requires_grad_(False)
        widths = dict.fromkeys(MODALITIES, memory_estimate.WIDTH)
        return behavior_model.fresh(lm, self.tokenizer, widths, K, self.params, trees=trees)


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
        average=0.0,
        seed=0,
    )


# ---------------------------------------------------------------------------------------------------------- measurements


def peak_gib(device: str) -> float | None:
    """The most that tensors took of the GPU; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.startswith("cuda") else None


def gib(size: float | None) -> str:
    return "" if size is None else f"{size:.1f}"


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
    """An epoch with dialogues as trees and one with a row per utterance: examples per second, peak memory beside the estimate's."""
    world = World(folder, size, device)
    found: dict[str, Any] = {"checkpointing": size.checkpointing}
    for name, row_tokens in (("trees", 1024), ("rows", 0)):
        params = training_params(size, row_tokens)
        prompts = [one for one, _ in world.asked]
        expected = memory_estimate.run(prompts, MODALITIES, K, prompt.Params(), world.params, params)
        fresh_memory(device)
        made = world.model()
        encode = score_labels.encoder_for(made, prompt.Params(), params.max_length)
        trees = dataset.grow([encode.encode(one) for one in prompts], row_tokens)
        out = folder / name
        loop.fit(made, trees, world.tokens, lambda _: loop.Score(0.0, {}), params, out, f"training, {name}")
        found[name] = timed(out, loop.order(trees, params, 0)) | {
            "peak_gib": peak_gib(device),
            "estimated_gib": expected.bytes / 2**30,
            "flops": expected.flops,
            "parameters": expected.parameters,
        }
        found[name]["tflops"] = expected.flops / expected.examples * found[name]["per_s"] / 1e12
        del made
    return found


def timed(out: Path, groups: Sequence[Sequence[dataset.Tree]]) -> dict[str, float]:
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
    found: dict[str, Any] = {"utterances": len(world.asked)}
    sums: dict[str, dict[str, Any]] = {}
    routes: tuple[tuple[str, Trees, int], ...] = (
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
        found[name] = {
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
    found["generate"] = {
        "per_s": len(questions) / (synchronise(device) - start),
        "peak_gib": peak_gib(device),
        "written": longest + 1,
    }
    return found


def generate(
    made: behavior_model.BehaviorModel, questions: Sequence[dataset.Example], read: file.TokenFile, new: int
) -> Any:
    """What a user of transformers would write: prompts padded on the left, and ``new`` tokens for the answer."""
    width = max(map(len, questions))
    ids = np.zeros((len(questions), width), np.int64)
    modality = np.full((len(questions), width), dataset.WORDS)
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
            told = made.projectors[name](given, torch.ones(given.shape[:2], dtype=torch.bool, device=on))
            where = torch.from_numpy(modality == number).to(on).unsqueeze(-1)
            embedded = embedded.masked_scatter(where, told.flatten(0, 1).to(embedded.dtype))
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
    found: dict[str, Any] = {"seconds": float(lengths.sum()) / 16000}
    expected = opened(folder, "float32", "cpu").clip(sounds[0]).values
    dtypes = ("float32", "bfloat16", "float16") if device.startswith("cuda") else ("float32", "bfloat16")
    for dtype in dtypes:
        fresh_memory(device)
        listener = opened(folder, dtype, device)
        rows = listener.clips(sounds[:4])[0]
        start = synchronise(device)
        listener.clips(sounds)
        found[dtype] = {
            "per_s": found["seconds"] / (synchronise(device) - start),
            "peak_gib": peak_gib(device),
            "away": float(np.abs(rows.values - expected).max() / np.abs(expected).max()),
        }
    return found


def opened(folder: Path, dtype: Any, device: str) -> Encoder:
    params = speech_encoder.Params(name_or_path=str(folder), dtype=dtype)
    one = speech_encoder.choose(
        params, {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in speech_encoder.files(params)}
    )
    return Encoder(one, speech_encoder.columns(one), device)


def run_tests(device: str) -> dict[str, Any]:
    """The tests marked gpu, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-rsfE", "-W", "ignore", "-p", "no:cacheprovider"]
    given = os.environ | {"BEMERC_TEST_DEVICE": device}
    done = subprocess.run(
        [*command, "tests/language/test_gpu.py"], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    noted = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    return {"summary": lines[-1] if lines else done.stderr[-300:], "noted": noted, "passed": done.returncode == 0}


def measure(part: str, device: str, tiny: bool) -> dict[str, Any]:
    """One part, in this process; its numbers, and the seconds that it took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        what, _, name = part.partition(" ")
        if what == "tests":
            found = run_tests(device)
        elif what == "encoder":
            found = measure_encoder(device, folder, tiny)
        else:
            size = SIZES[name].tiny() if tiny else SIZES[name]
            found = (measure_training if what == "training" else measure_labelling)(size, device, folder)
    return found | {"took_s": time.perf_counter() - start}


# ----------------------------------------------------------------------------------------------------------- the document


def apart(part: str, device: str, tiny: bool, limit_s: float) -> dict[str, Any]:
    """One part in a process of its own; where it fails or takes too long, the reason under ``error``."""
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--device", device, "--one", part, str(answer)]
        try:
            done = subprocess.run(
                command + ["--tiny"] * tiny, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return {"error": f"It took longer than its limit of {limit_s:.0f} s."}
        if done.returncode or not answer.is_file():
            said = [line for line in done.stderr.splitlines() if line.strip()]
            return {"error": said[-1] if said else f"It ended with code {done.returncode}."}
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def machine(device: str) -> dict[str, str]:
    """The device's name and the versions of what computes on it."""
    names = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "numpy")
    found = {"Python": platform.python_version()}
    for name in names:
        found[name] = importlib.metadata.version(name) if importlib.util.find_spec(name) else "not installed"
    if device.startswith("cuda"):
        of = torch.cuda.get_device_properties(device)
        found |= {"device": f"{of.name}, {of.total_memory / 2**30:.0f} GiB", "CUDA": str(torch.version.cuda)}
    else:
        found["device"] = f"CPU, {torch.get_num_threads()} threads"
    return found


def document(found: Mapping[str, Mapping[str, Any]], of: Mapping[str, str], command: str) -> str:
    """docs/gpu.md."""
    lines = [
        "# On a GPU",
        "",
        f"Written by `{command}` on {of['device']} ("
        + ", ".join(f"{name} {value}" for name, value in of.items() if name != "device")
        + "). What is measured and how: the opening of `benchmarks/gpu_check.py`.",
    ]
    for part, result in found.items():
        lines += ["", f"## {part[0].upper()}{part[1:]}", ""]
        if "error" in result:
            lines.append(f"**Not measured.** {result['error']}")
        else:
            lines += TABLES[part.partition(" ")[0]](result)
            lines += ["", f"{result['took_s']:.0f} s in all."]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def tests_table(of: Mapping[str, Any]) -> list[str]:
    return [of["summary"], *(f"- {line}" for line in of["noted"])]


def training_table(of: Mapping[str, Any]) -> list[str]:
    head = (
        "",
        "utterances/s",
        "positions/s",
        "TFLOPS",
        "peak memory, GiB",
        "estimated, GiB",
        "steps",
        "loss, first to last",
    )
    titles = {"trees": "a dialogue as one tree (`row_tokens: 1024`)", "rows": "a row per utterance (`row_tokens: 0`)"}
    rows = [
        (
            titles[name],
            f"{one['per_s']:.1f}",
            f"{one['positions_per_s']:.0f}",
            f"{one['tflops']:.3g}",
            gib(one["peak_gib"]),
            f"{one['estimated_gib']:.1f}",
            f"{one['steps']:.0f}",
            f"{one['loss_first']:.2f} to {one['loss_last']:.2f}",
        )
        for name in titles
        if (one := of[name])
    ]
    weights, faster = of["trees"]["parameters"] / 1e9, of["trees"]["per_s"] / of["rows"]["per_s"]
    return [
        f"{weights:.2f} billion frozen weights in bfloat16, LoRA of rank 16"
        + (", layers computed again on the way back" if of["checkpointing"] else "")
        + f". A tree is **{faster:.1f} times** as fast.",
        "",
        *table(head, rows),
    ]


def labelling_table(of: Mapping[str, Any]) -> list[str]:
    head = ("", "utterances/s", "to generate", "peak memory, GiB", "largest difference of a score")
    titles = {
        "masks": "a dialogue as one tree, under a mask (what a GPU takes)",
        "paths": "a dialogue as one tree, along its paths",
        "rows": "a row per label",
        "generate": f"generate, 32 prompts at a time, {of['generate']['written']} tokens each",
    }
    rows = [
        (
            title,
            f"{of[name]['per_s']:.1f}",
            f"{of[name]['per_s'] / of['generate']['per_s']:.2f}",
            gib(of[name]["peak_gib"]),
            f"{of[name]['away']:.1e}" if "away" in of[name] else "",
        )
        for name, title in titles.items()
    ]
    return [f"{of['utterances']} utterances, seven labels.", "", *table(head, rows)]


def encoder_table(of: Mapping[str, Any]) -> list[str]:
    head = ("", "seconds of sound per second", "peak memory, GiB", "largest difference from a CPU's float32")
    rows = [
        (name, f"{one['per_s']:.0f}", gib(one["peak_gib"]), f"{one['away']:.1e}")
        for name, one in of.items()
        if isinstance(one, Mapping)
    ]
    return [
        f"A WavLM large of random weights, {of['seconds']:.0f} s of sound in clips of 1 to 5 s.",
        "",
        *table(head, rows),
    ]


TABLES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "tests": tests_table,
    "training": training_table,
    "labelling": labelling_table,
    "encoder": encoder_table,
}


def check(parts: Sequence[str], device: str, tiny: bool, out: Path | None, limits_s: Mapping[str, float]) -> bool:
    """Every part in turn, the document written after each; whether nothing failed."""
    of = machine(device)
    shown = " ".join(["python -m benchmarks.gpu_check", *(["--device", device, "--tiny"] if tiny else [])])
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        found[part] = apart(part, device, tiny, limits_s[part])
        if out is not None:
            out.write_text(document(found, of, shown), encoding="utf-8")
            out.with_suffix(".json").write_text(json.dumps({"machine": of, "parts": found}, indent=1), encoding="utf-8")
    print(document(found, of, shown))
    return all("error" not in one and one.get("passed", True) for one in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description="The tests and benchmarks that need a GPU, in under ten minutes.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1; cpu with --tiny, to see that everything runs")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes: to see that everything runs, not how fast")
    parser.add_argument("--out", type=Path, help="write the document there after every part, and its numbers beside it")
    parser.add_argument("--parts", nargs="+", default=list(LIMITS_S), choices=list(LIMITS_S), help="default: all")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        part, answer = given.one
        Path(answer).write_text(json.dumps(measure(part, given.device, given.tiny)), encoding="utf-8")
        return
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} must be installed: pip install {' '.join(missing)}")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here. --device cpu --tiny runs the same code without one.")
    if not check(given.parts, given.device, given.tiny, given.out, LIMITS_S):
        sys.exit("Not everything passed: see above.")


if __name__ == "__main__":
    main()
