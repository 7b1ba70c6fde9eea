"""The tiny language model of the embedded default, as an ordinary Hugging Face folder.

The usual stand-in for an LLM is random weights, with which nothing downstream can be judged. This one has read what the
pipeline will ask it to read, so a run that needs no download still shows what behavior is worth. It is trained as a
plain causal language model on texts and drills that it is handed; which those are, and that none of them pairs an
utterance with its label, is the business of ``drills``. Everything after it treats it like any other folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bemerc.core import atomic
from bemerc.core.errors import ModelError
from bemerc.core.progress import bar, transformers_quiet
from bemerc.language.tiny_lm import drills as pretraining

if TYPE_CHECKING:
    from bemerc.behavior.describe.description import Description
    from bemerc.corpus.manifest import Manifest
    from bemerc.language.inputs import prompts

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
COPY = 0.7


@dataclass(frozen=True)
class Params:
    """params.yaml: backbone.

    vocabulary  most tokens that the byte-level BPE tokenizer may have, at least 300
    hidden, layers, heads  of the Llama; ``hidden`` is a multiple of 2 * ``heads``
    context     longest sequence that the configuration promises, positions
    steps       optimizer steps; 0 leaves the weights as they were drawn
    texts, length  stretches of text per step, and the tokens in each
    drills      drills per step
    lr          peak learning rate
    seed        of the weights and of the order of reading
    """

    vocabulary: int = 2048
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    context: int = 4096
    steps: int = 400
    texts: int = 4
    length: int = 128
    drills: int = 96
    lr: float = 3.0e-3
    seed: int = 0

    def check(self) -> list[str]:
        low = ("layers", "heads", "texts", "length", "drills")
        faults = [f"{name}: must be at least 1, not {getattr(self, name)}." for name in low if getattr(self, name) < 1]
        if self.vocabulary < 300:
            faults.append(f"vocabulary: must be at least 300 (256 bytes and the marks), not {self.vocabulary}.")
        if self.heads >= 1 and self.hidden % (2 * self.heads):
            faults.append(f"hidden: must be a multiple of 2 * heads = {2 * self.heads}, not {self.hidden}.")
        return faults


@dataclass(frozen=True)
class Losses:
    """Means over the last tenth of the steps, nats: per token of text, and per drill (its floor is the words' entropy)."""

    text: float
    drill: float


def run(
    manifest: Manifest, descriptions: Mapping[str, Description], out: Path, params: Params, shape: prompts.Params
) -> float:
    """The embedded backbone of a manifest: train's texts, and as many drills as the steps ask for, in prompts of ``shape``.

    Returns the loss per token of text at the end, nats.
    """
    sentences = {key: asdict(description) for key, description in descriptions.items()}
    made = pretraining.drills(manifest, max(1, params.steps) * params.drills, shape, params.seed)
    pairs = [(drill.question, drill.words) for drill in made]
    return build(pretraining.texts(manifest, sentences, shape, params.seed), pairs, out, params).text


def build(texts: Sequence[str], drills: Sequence[tuple[str, Sequence[str]]], out: Path, params: Params) -> Losses:
    """Train tokenizer and model and save both in folder ``out``.

    texts   read as plain text
    drills  (question, words): after the question, any of the words is right
    Same texts, drills, params, machine and number of threads: same bytes. Raises ModelError where there is nothing to read.
    """
    if not any(text.strip() for text in texts) or not drills:
        raise ModelError("The backbone has nothing to read: the train split has no words. Run 'bemerc prepare' again.")
    # A word counts as often as it is said, and the words that drills add must be tokens as well.
    spoken = [*texts, *(question + "".join(words) for question, words in drills[: len(texts)])]
    tokenizer = train_tokenizer(spoken, params.vocabulary, params.context)
    with torch.random.fork_rng(devices=()):  # the process's own generator stays where it stands
        torch.manual_seed(params.seed)
        model = LlamaForCausalLM(config(params, tokenizer))
        _carry_values_through(model)
    with atomic.disk(out, "cannot be made"):  # before the work
        out.mkdir(parents=True, exist_ok=True)
    losses = _train(model, _stream(texts, tokenizer), _encode(drills, tokenizer), params)
    with transformers_quiet():
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return losses


def train_tokenizer(texts: Sequence[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: no text is unknown to it, whatever the language."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def config(params: Params, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The Llama that ``params`` describe, for this tokenizer."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.hidden,
        intermediate_size=3 * params.hidden,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.heads,
        max_position_embeddings=params.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def _carry_values_through(model: LlamaForCausalLM) -> None:
    """Start every layer with output times value near half the identity, so that attention copies what it looks at.

    Trained models come to look like that, and starting there saves what takes thousands of steps to form (mimetic
    initialization, Trockman and Kolter 2023; the plus sign and the scale are ours). Without it 250 steps of drills left
    the loss near that of guessing.
    """
    with torch.no_grad():
        for layer in model.model.layers:
            weight = layer.self_attn.v_proj.weight
            turned, _ = torch.linalg.qr(torch.randn(weight.shape))
            weight.copy_(turned * COPY)
            layer.self_attn.o_proj.weight.copy_(turned.T * COPY)


def _stream(texts: Sequence[str], tokenizer: Any) -> Tensor:
    """All texts in one row, each between its marks; (N,) int64."""
    ids: list[int] = []
    for tokens in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        ids += [tokenizer.bos_token_id, *tokens, tokenizer.eos_token_id]
    return torch.tensor(ids)


def _encode(drills: Sequence[tuple[str, Sequence[str]]], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Question ids, and the first id of every word that is right."""
    questions = tokenizer([question for question, _ in drills], add_special_tokens=False)["input_ids"]
    vocabulary = sorted({word for _, words in drills for word in words})
    word_ids = tokenizer(vocabulary, add_special_tokens=False)["input_ids"]
    first = {word: ids[0] for word, ids in zip(vocabulary, word_ids, strict=True)}
    return [(ids, [first[word] for word in words]) for ids, (_, words) in zip(questions, drills, strict=True)]


def _train(
    model: LlamaForCausalLM, stream: Tensor, drills: Sequence[tuple[list[int], list[int]]], params: Params
) -> Losses:
    """Both readings in every step, each with the same weight: in one stream, answers would be lost among the words."""
    generator = torch.Generator().manual_seed(params.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.lr, weight_decay=0.1, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, params.steps))
    order = _by_length(drills, params.drills, generator)
    kept: list[tuple[float, float]] = []
    with bar("backbone", params.steps, "steps") as advance:
        for step in range(params.steps):
            text = _text_loss(model, _stretches(stream, params, generator))
            drill = _drill_loss(model, [drills[i] for i in order[step % len(order)]])
            optimizer.zero_grad()
            (text + drill).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            kept.append((text.item(), drill.item()))
            advance(1)
    last = kept[-max(1, params.steps // 10) :] or [(math.nan, math.nan)]
    return Losses(sum(t for t, _ in last) / len(last), sum(d for _, d in last) / len(last))


def _rate(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _by_length(drills: Sequence[tuple[list[int], list[int]]], size: int, generator: torch.Generator) -> list[list[int]]:
    """Batches of drills of like length, in random order: padding would cost more than reading."""
    mixed = torch.randperm(len(drills), generator=generator).tolist()
    ordered = [
        i
        for at in range(0, len(mixed), 8 * size)
        for i in sorted(mixed[at : at + 8 * size], key=lambda i: len(drills[i][0]))
    ]
    groups = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def _stretches(stream: Tensor, params: Params, generator: torch.Generator) -> Tensor:
    """(texts, length + 1) ids from random places of the stream."""
    length = min(params.length, len(stream) - 1)
    starts = torch.randint(len(stream) - length, (params.texts, 1), generator=generator)
    return stream[starts + torch.arange(length + 1)]


def _text_loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    logits = model(input_ids=ids[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _drill_loss(model: LlamaForCausalLM, drills: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """Cross-entropy against all right words at once: one drawn at random says a tenth as much per drill."""
    last = torch.tensor([len(question) - 1 for question, _ in drills])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(q) for q, _ in drills], batch_first=True)
    hidden = model.model(input_ids=ids).last_hidden_state[torch.arange(len(drills)), last]
    log_probs = model.lm_head(hidden).log_softmax(-1)
    return -torch.stack([log_probs[row, words].mean() for row, (_, words) in enumerate(drills)]).mean()
