"""What a training will need of a GPU, before any weight is loaded or downloaded: memory, and time at a given speed.

The prompts are the real ones of the manifest, at their real lengths in the backbone's tokens; the heaviest step of an
epoch is walked through on the meta device (walk.py) with the backbone's real class, of which only the config is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch

from bemerc.behavior.describe.description import Description
from bemerc.behavior.tokens.file import BehaviorTokens
from bemerc.core import huggingface
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import Modality
from bemerc.language.inputs import batching, encoding, packing, prompts
from bemerc.language.model import behavior_model, model_folder, pretrained
from bemerc.language.train import loop, meta_walk

if TYPE_CHECKING:
    from bemerc.language.inputs.chat_frame import ChatFrame

# Shapes of backbones that people name and a machine may not reach: model_type and what differs from its defaults, as their
# makers' config.json have it.
LLAMA2 = ("llama", {"vocab_size": 32000, "intermediate_size": 11008, "num_key_value_heads": 32})
LLAMA3 = ("llama", {"vocab_size": 128256, "intermediate_size": 14336, "num_key_value_heads": 8})
MISTRAL = ("mistral", {"vocab_size": 32768, "intermediate_size": 14336, "num_key_value_heads": 8})
QWEN25 = (
    "qwen2",
    {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    | {"num_attention_heads": 28, "num_key_value_heads": 4},
)
QWEN3 = (
    "qwen3",
    {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
    | {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128},
)
GEMMA2 = (
    "gemma2",
    {"vocab_size": 256000, "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42}
    | {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256},
)
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "meta-llama/Llama-2-7b-hf": LLAMA2,
    "meta-llama/Llama-2-7b-chat-hf": LLAMA2,
    "lmsys/vicuna-7b-v1.5": LLAMA2,
    "meta-llama/Llama-3.1-8B": LLAMA3,
    "meta-llama/Llama-3.1-8B-Instruct": LLAMA3,
    "mistralai/Mistral-7B-v0.3": MISTRAL,
    "mistralai/Mistral-7B-Instruct-v0.3": MISTRAL,
    "Qwen/Qwen2.5-7B": QWEN25,
    "Qwen/Qwen2.5-7B-Instruct": QWEN25,
    "Qwen/Qwen3-8B": QWEN3,
    "google/gemma-2-9b": GEMMA2,
    "google/gemma-2-9b-it": GEMMA2,
}
# Bytes of a weight in a quantised matrix: nf4 with a scale per 64 that is itself in 8 bits; int8 with a scale per row.
STORED = {"4bit": 0.5 + 1 / 64 + 4 / (64 * 256), "8bit": 1.0 + 4 / 4096}
# Copies of a trained weight in float32: itself, Adam's two moments, the running mean, the best epoch's. Its gradient is
# met on the walk.
COPIES = 5
# A tokenizer that is not there: English dialogue has 3 to 4 characters to a token.
CHARACTERS = 3
# How wide behavior tokens are taken to be; it decides the projectors alone.
WIDTH = 64
# What align learns to say where nobody has described anything yet: the rules' usual words, of their mean length.
TYPICAL = Description(
    "Lip corners pulled down strongly throughout, brows lowered clearly early, lips parted slightly and briefly late; two blinks.",
    "Head raised clearly in the middle; two head shakes; some movement.",
    "Left shoulder lowered slightly and briefly late.",
    "Volume moderate with very high variation, pitch low with high variation, speaking rate moderate.",
)
# Beside the training: merc scores every label on dev, align asks for the loss alone.
JUDGING = {"merc": "about a third more", "align": "a few per cent more"}


@dataclass(frozen=True)
class Estimate:
    """Bytes, operations and counts.

    weights     of the frozen backbone, as they are stored
    trained     adapter and projectors with optimizer and copies
    step        what lives at once in the heaviest step of an epoch
    flops       of one epoch's steps, forward and backward
    examples, positions, steps  of the first epoch
    rows, length  of the heaviest step's largest part
    parameters, trainable  how many
    tokenizer   whether lengths are the backbone's own
    """

    weights: float
    trained: float
    step: float
    flops: float
    examples: int
    positions: int
    steps: int
    rows: int
    length: int
    parameters: int
    trainable: int
    tokenizer: bool

    @property
    def bytes(self) -> float:
        """All of it together, without what CUDA takes for itself."""
        return self.weights + self.trained + self.step


def run(
    asked: Sequence[prompts.Prompt],
    modalities: Sequence[Modality],
    k: int,
    shape: prompts.Params,
    model_params: behavior_model.Params,
    params: loop.Params,
) -> Estimate:
    """A training on the prompts ``asked``. Raises ModelError where neither config nor shape of the backbone is known."""
    lm, tokenizer, frame = _shape_of(model_params, params, shape)
    blank = _Blank(k)
    made = model_folder.fresh(lm, tokenizer or _StandIn(), dict.fromkeys(modalities, WIDTH), k, model_params)
    encoder = encoding.Encoder(made.tokenizer, k, min(params.max_length, made.max_length), frame)
    examples = [encoder.encode(one) for one in asked if one.target]
    if not examples:
        raise ModelError("train has nothing to learn from, so there is nothing to estimate. Prepare the corpus first.")
    trees = packing.pack_trees(examples, params.row_tokens)
    groups = loop.order(trees, params, 0)
    parts = [_parts(group, params.accumulate) for group in groups]
    heavy = max(parts, key=lambda step: max(_size(part) for part in step))
    light = min(parts, key=lambda step: sum(_size(part) for part in step))
    walked = [
        meta_walk.step(made, [batching.collate(part, cast(Any, blank)) for part in step]) for step in (heavy, light)
    ]
    largest = max(heavy, key=_size)
    trainable = sum(weight.numel() for weight in made.trainable().values())
    return Estimate(
        weights=_stored(lm, model_params),
        trained=4.0 * COPIES * trainable,
        step=walked[0].bytes,
        flops=_all(parts, (heavy, light), [one.flops for one in walked]),
        examples=len(examples),
        positions=sum(map(len, trees)),
        steps=len(groups),
        rows=len(largest),
        length=max(map(len, largest)),
        parameters=sum(weight.numel() for weight in lm.parameters() if not weight.requires_grad),
        trainable=trainable,
        tokenizer=tokenizer is not None,
    )


def in_words(estimate: Estimate, params: loop.Params, tflops: float, task: Literal["align", "merc"]) -> str:
    """Memory and time, a line each; ``tflops`` is the speed that the device sustains, not its data sheet's peak."""
    gib, seconds = 2.0**30, estimate.flops / (tflops * 1e12)
    hours = params.epochs * seconds / 3600
    own = "" if estimate.tokenizer else f" (the tokenizer is not here: lengths are characters / {CHARACTERS})"
    return "\n".join(
        (
            f"an epoch: {estimate.examples} examples in {estimate.steps} steps, {estimate.positions} positions{own}",
            f"{_many(estimate.parameters)} frozen weights, {_many(estimate.trainable)} trained",
            f"memory: {estimate.bytes / gib:.1f} GiB, and 1 to 2 more for CUDA itself and fragments",
            f"  weights           {estimate.weights / gib:6.1f}",
            f"  adapter, optimizer{estimate.trained / gib:6.1f}",
            f"  heaviest step     {estimate.step / gib:6.1f}   {estimate.rows} rows of up to {estimate.length} positions",
            f"time: {seconds / 60:.{0 if seconds >= 600 else 1}f} minutes an epoch at {tflops:g} TFLOPS sustained, {hours:.1f} hours for {params.epochs} "
            f"epochs, and {JUDGING[task]} for judging dev",
        )
    )


def _many(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e9 else f"{count / 1e6:.1f} million"


def _shape_of(
    model_params: behavior_model.Params, params: loop.Params, shape: prompts.Params
) -> tuple[Any, Any, ChatFrame | None]:
    """The backbone without weights, its tokenizer if that is here, and its chat template."""
    from transformers import AutoModelForCausalLM

    config = _config(model_params.name_or_path)
    # Under autocast what lives is in the precision that is multiplied in.
    dtype = getattr(torch, params.precision if params.precision != "float32" else model_params.dtype)
    attention = None if model_params.attention == "auto" else model_params.attention
    with torch.device("meta"), pretrained.quiet():
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    lm.requires_grad_(False)
    tokenizer = _tokenizer(model_params.name_or_path)
    frame = None
    if shape.template == "chat" and tokenizer is not None:
        from bemerc.language.inputs import chat_template

        frame = chat_template.frame_of(tokenizer, model_params.name_or_path)
    return lm, tokenizer, frame


def _config(name: str) -> Any:
    from transformers import AutoConfig

    try:
        return huggingface.load(AutoConfig, huggingface.folder_of(name, weights=False, download=name not in SHAPES))
    except huggingface.PretrainedError as error:
        if name not in SHAPES:
            raise ModelError(
                f"model.name_or_path '{name}': its config is not here ({error.reason}), nor is its shape known to bemerc. Known are "
                f"{', '.join(SHAPES)}; or name a folder with a config.json in it."
            ) from None
    kind, values = SHAPES[name]
    return AutoConfig.for_model(kind, **values)


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        with pretrained.quiet():
            return huggingface.load(AutoTokenizer, huggingface.folder_of(name, weights=False, download=False))
    except huggingface.PretrainedError:
        return None


class _StandIn:
    """A tokenizer's length without its tokens."""

    bos_token_id, eos_token_id = 1, 2

    def __call__(self, text: str, **_: Any) -> Mapping[str, list[int]]:
        return {"input_ids": [3] * -(-len(text) // CHARACTERS)}


class _Blank:
    """A token file in which nobody shows anything: the walk needs shapes alone."""

    def __init__(self, k: int) -> None:
        self._one = BehaviorTokens(np.zeros((k, WIDTH), np.float32), np.ones(k, bool))

    def __contains__(self, id: str) -> bool:
        return True

    def __getitem__(self, id: str) -> Mapping[Modality, BehaviorTokens]:
        return dict.fromkeys(("face", "pose", "audio"), self._one)


def _parts(group: Sequence[packing.Tree], accumulate: int) -> list[list[packing.Tree]]:
    """A step as train computes it: in so many parts, as far as there are trees."""
    return [list(group[first::accumulate]) for first in range(min(accumulate, len(group)))]


def _size(part: Sequence[packing.Tree]) -> int:
    return len(part) * max(map(len, part))


def _all(steps: Sequence[Sequence[Sequence[packing.Tree]]], walked: Sequence[Any], flops: Sequence[float]) -> float:
    """Operations of all steps: positions times a, squares of rows times b, with a and b from the two that were walked."""

    def terms(step: Sequence[Sequence[packing.Tree]]) -> tuple[float, float]:
        rows = [(len(part), max(map(len, part))) for part in step]
        return float(sum(n * length for n, length in rows)), float(sum(n * length**2 for n, length in rows))

    measured, total = np.array([terms(step) for step in walked]), np.sum([terms(step) for step in steps], axis=0)
    if np.linalg.cond(measured / measured[0]) > 1e3:  # steps alike say nothing of squares
        return float(flops[0] / measured[0, 0] * total[0])
    return float(total @ np.linalg.solve(measured, np.array(flops)))


def _stored(lm: Any, params: behavior_model.Params) -> float:
    """Bytes of the frozen weights; bitsandbytes leaves embeddings, norms and the head as they are."""
    size = getattr(torch, params.dtype).itemsize
    head = lm.get_output_embeddings()
    linear = [m for m in lm.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    matrices = {id(m.weight) for m in linear if not m.weight.requires_grad}
    frozen = [w for w in lm.parameters() if not w.requires_grad]
    small = STORED.get(params.quantize, size)
    return float(sum(w.numel() * (small if id(w) in matrices else size) for w in frozen))
