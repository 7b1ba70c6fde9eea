"""A tiny Whisper of the real class with its real processor, made on the spot: it has learned to say one sentence."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

SAID = " Hello there."
ENDS_S = 1.2
_MARKS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"]
_MARKS += ["<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]


def tiny_whisper(folder: Path, steps: int = 60) -> Path:
    """A Whisper of one layer, in ``folder``: whatever it hears, it hears SAID from 0 to ENDS_S."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    model = WhisperForConditionalGeneration(_config(tokenizer))
    start = _generation(tokenizer)
    path = [*_ids(tokenizer, "<|startoftranscript|>", "<|en|>", "<|transcribe|>"), _time(tokenizer, 0.0)]
    path += [*tokenizer(SAID, add_special_tokens=False)["input_ids"], _time(tokenizer, ENDS_S), tokenizer.eos_token_id]
    _learn(model, torch.tensor([path]), steps)
    model.generation_config = start
    model.save_pretrained(folder)
    features = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(features, tokenizer).save_pretrained(folder)
    return folder


def _tokenizer() -> WhisperTokenizer:
    vocabulary = {byte: i for i, byte in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": _MARKS[1:]})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)], special_tokens=True)
    return tokenizer


def _ids(tokenizer: WhisperTokenizer, *marks: str) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(mark) for mark in marks]


def _time(tokenizer: WhisperTokenizer, seconds: float) -> int:
    return int(tokenizer.convert_tokens_to_ids(f"<|{seconds:.2f}|>"))


def _config(tokenizer: WhisperTokenizer) -> WhisperConfig:
    end, start = _ids(tokenizer, "<|endoftext|>", "<|startoftranscript|>")
    sizes = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 32))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    return WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        num_mel_bins=80,
        max_target_positions=64,
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        **sizes,
        **heads,
    )


def _generation(tokenizer: WhisperTokenizer) -> GenerationConfig:
    end, start, english, translate, transcribe, *_, previous, _, untimed = _ids(tokenizer, *_MARKS)
    return GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=40,
        is_multilingual=True,
        lang_to_id={"<|en|>": english},
        task_to_id={"transcribe": transcribe, "translate": translate},
        no_timestamps_token_id=untimed,
        prev_sot_token_id=previous,
        max_initial_timestamp_index=50,
        return_timestamps=True,
    )


def _learn(model: WhisperForConditionalGeneration, path: torch.Tensor, steps: int) -> None:
    optimizer = torch.optim.Adam(model.model.decoder.parameters(), lr=1e-2)
    heard = torch.zeros(1, 80, 3000)
    with torch.no_grad():
        states = model.model.encoder(heard).last_hidden_state
    for _ in range(steps):
        out = model(encoder_outputs=(states,), decoder_input_ids=path[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(out[0], path[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1, f"the tiny Whisper did not learn its sentence: {loss.item():.2f}"
