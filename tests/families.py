"""Tiny models of the real classes of the families that people tune, and their chat templates in the families' public form.

Every trait that could break a tree is small enough to matter: windows shorter than a prompt, caps, norms, tied embeddings.
The templates are written anew from what the families publish; what they say beyond a system and a user turn is left out.
"""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
}
WINDOW = 40  # positions; a prompt of the tests has about 150
MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
EYES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
FAMILIES = {
    "llama2": (transformers.LlamaConfig, SHAPE | {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama3": (
        transformers.LlamaConfig,
        SHAPE | {"tie_word_embeddings": True, "rope_parameters": LLAMA3 | {"original_max_position_embeddings": 64}},
    ),
    "qwen2": (transformers.Qwen2Config, SHAPE | {"use_sliding_window": False}),
    "qwen2 window": (transformers.Qwen2Config, SHAPE | MIXED | {"use_sliding_window": True}),
    "qwen3": (transformers.Qwen3Config, SHAPE | {"tie_word_embeddings": True}),
    "mistral": (transformers.MistralConfig, SHAPE | {"sliding_window": None}),
    "mistral window": (transformers.MistralConfig, SHAPE | {"sliding_window": WINDOW}),
    "gemma": (transformers.GemmaConfig, SHAPE),
    "gemma2": (transformers.Gemma2Config, SHAPE | MIXED | {"query_pre_attn_scalar": 8}),
    "gemma3": (transformers.Gemma3TextConfig, SHAPE | MIXED | {"query_pre_attn_scalar": 8}),
    "gemma3 with eyes": (transformers.Gemma3Config, SHAPE | MIXED | {"query_pre_attn_scalar": 8}),
}


def config(name: str, vocabulary: int) -> transformers.PreTrainedConfig:
    """The family's config in miniature."""
    kind, shape = FAMILIES[name]
    if kind is not transformers.Gemma3Config:
        return kind(vocab_size=vocabulary, **shape)
    text = {**shape, "vocab_size": vocabulary}
    seen = EYES | {"image_size": 28, "patch_size": 14}
    return kind(text_config=text, vision_config=seen, mm_tokens_per_image=1, image_token_index=vocabulary - 1)


def build(folder: Path, name: str, tokenizer: PreTrainedTokenizerBase) -> Path:
    """A model of the family in ``folder``, with weights large enough that everything it sees shows in what it says."""
    torch.manual_seed(1)
    made = AutoModelForCausalLM.from_config(config(name, len(tokenizer)))
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(3)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CHATML_TURNS = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
)
# form -> (template, special tokens, the one that ends an answer)
TEMPLATES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "llama2": (
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
        "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
        "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
        "{% if loop.index0 == 0 and system_message != false %}"
        "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>"),
        "</s>",
    ),
    "llama3": (
        "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
        "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
        "{%- endif %}{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}"
        "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
        "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}{{- 'Today Date: ' + date_string + '\\n\\n' }}"
        "{{- system_message }}{{- '<|eot_id|>' }}{%- for message in messages %}"
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
        "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}",
        ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        "<|eot_id|>",
    ),
    "vicuna": (
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] | trim + ' ' }}"
        "{%- set messages = messages[1:] %}{%- else %}{{- 'A chat between a curious user and an artificial intelligence "
        "assistant. ' }}{%- endif %}{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{{- 'USER: ' + message['content'] | trim + ' ' }}{%- else %}{{- 'ASSISTANT: ' + message['content'] | trim + "
        "eos_token }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- 'ASSISTANT:' }}{%- endif %}",
        ("<s>", "</s>"),
        "</s>",
    ),
    "qwen2": (
        "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
        "{%- endif %}" + CHATML_TURNS + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}",
        ("<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
    ),
    "qwen3": (
        "{%- for m in messages %}{%- if m.role == 'assistant' %}{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + "
        "m.content + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
        "{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
        "{%- endif %}",
        ("<|im_start|>", "<|im_end|>", "<think>", "</think>"),
        "<|im_end|>",
    ),
    "mistral": (
        "{{- bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{{- '[INST] ' + message['content'] + ' [/INST]' }}{%- elif message['role'] == 'assistant' %}"
        "{{- ' ' + message['content'] + eos_token }}{%- else %}"
        "{{- raise_exception('Only user and assistant roles are supported!') }}{%- endif %}{%- endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]"),
        "</s>",
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
        "{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
    ),
    "gemma3": (
        "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first = messages[0]['content'] + '\\n\\n' -%}"
        "{%- set messages = messages[1:] -%}{%- else -%}{%- set first = '' -%}{%- endif -%}"
        "{%- for message in messages -%}{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}"
        "{%- set role = message['role'] -%}{%- endif -%}"
        "{{ '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}{{ message['content'] | trim }}"
        "{{ '<end_of_turn>\\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{'<start_of_turn>model\\n'}}{%- endif -%}",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<end_of_turn>",
    ),
}
