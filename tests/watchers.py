"""Tiny models of the real Qwen2-VL and Qwen2.5-VL classes, made on the spot; one can learn to give one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from bemerc.language.teacher import qwen

MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
# The Qwen2-VL template's shape: what matters is where pictures stand and where an answer begins.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SAID = '{"facial_expression": "Brows rise.", "body_language": "Nods.", "posture": "Upright.",}'


def tiny_watcher(folder: Path, answer: str = "", steps: int = 120, family: str = "qwen2_vl") -> Path:
    """A vision-language model of two layers in ``folder``; with an ``answer`` it has learned to give it, whatever it sees."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(answer)
    eyes = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    network = _network(family, {mark: tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}, len(tokenizer))
    if answer:
        _learn(network, tokenizer, eyes, answer, steps)
    network.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    for part in (network, tokenizer, eyes):
        part.save_pretrained(folder)
    return folder


def _tokenizer(answer: str) -> Any:
    vocabulary = {byte: i for i, byte in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Qwen2TokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    # Pieces of the answer as words of their own: fewer steps to learn.
    tokenizer.add_tokens([answer[i : i + 8] for i in range(0, len(answer), 8)])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _network(family: str, marks: dict[str, int], words: int) -> Any:
    shape = {
        "vocab_size": words,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
    }
    places = {
        "image_token_id": marks["<|image_pad|>"],
        "video_token_id": marks["<|video_pad|>"],
        "vision_start_token_id": marks["<|vision_start|>"],
        "vision_end_token_id": marks["<|vision_end|>"],
    }
    if family == "qwen2_vl":
        sees = {"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 32, "mlp_ratio": 2}
        return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=shape, vision_config=sees, **places))
    sees = {"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 64}
    sees |= {"fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=shape, vision_config=sees, **places))


def _learn(network: Any, tokenizer: Any, eyes: Any, answer: str, steps: int) -> None:
    """Questions of several lengths and pictures of several colours, all with one answer."""
    rng = np.random.default_rng(0)
    target = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")]
    mark = network.config.image_token_id
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3)
    for _ in range(steps):
        picture = np.full((48, 64, 3), rng.integers(0, 255, 3), np.uint8)
        seen = eyes(images=[picture], return_tensors="pt")
        question = "".join(rng.choice(list("abcdefgh .,\n"), rng.integers(5, 120)))
        asked = qwen.encode(tokenizer, [question], qwen.position_counts(seen, eyes.merge_size), mark)
        ids = torch.tensor([asked + target])
        labels = torch.tensor([[-100] * len(asked) + target])
        found = network(
            input_ids=ids,
            labels=labels,
            mm_token_type_ids=(ids == mark).int(),
            pixel_values=seen["pixel_values"],
            image_grid_thw=seen["image_grid_thw"],
        )
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
