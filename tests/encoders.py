"""Tiny speech encoders of the real classes with random weights, made on the spot and saved as ordinary folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

WIDTH, LAYERS = 32, 3
_KINDS = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}


def tiny_encoder(folder: Path, family: str = "wavlm", norm: str = "layer", seed: int = 0, **options: Any) -> Path:
    """A network of three layers and 32 columns. norm: layer (masks padding, as the large models) or group (as the base ones)."""
    torch.manual_seed(seed)
    if family == "whisper":
        return _tiny_whisper(folder)
    configure, kind = _KINDS[family]
    stable = norm == "layer"
    config = configure(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=stable,
        conv_bias=stable,
        initializer_range=0.3,
        **options,
    )
    kind(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=stable, do_normalize=True).save_pretrained(folder)
    return folder


def _tiny_whisper(folder: Path) -> Path:
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layers": LAYERS, "decoder_layers": 1}
    marks = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 1, "vocab_size": 64}
    config = WhisperConfig(d_model=WIDTH, num_mel_bins=80, init_std=0.2, **heads, **sizes, **marks)
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder
