"""Projectors, a frozen causal language model and its LoRA adapter: a batch goes in, log-probabilities of its targets come out.

The usual way to give a language model one's own embeddings is to fork its class. Here the model stays what transformers
made of it, any causal one: behavior tokens are projected to the width of its embeddings, put in their places and handed
in as ``inputs_embeds``, a batch of trees (dataset.py) is told by a 4D mask and position ids, and the head computes logits
only where a target token is predicted from. On disk a model is an ordinary PEFT adapter folder, which PEFT itself loads,
with the projectors and ``bemerc.json`` beside it. The projector is ours: BeMERC's is not public.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bemerc.corpus import MODALITIES, Modality
from bemerc.errors import ModelError
from bemerc.progress import transformers_quiet

if TYPE_CHECKING:
    from bemerc.dataset import Batch

FACTS = "bemerc.json"
PROJECTORS = "projectors.safetensors"
SCHEMA_VERSION = 1
# Numbers taken from each weight for a backbone's fingerprint: enough to tell two models apart, little enough for 7B.
_SAMPLED = 2048


@dataclass(frozen=True)
class Params:
    """params.yaml: model.

    name_or_path       any causal LM: a folder, or a name that transformers finds
    dtype              of the backbone; projectors and adapter stay float32
    device             auto: a GPU where there is one
    attention          sdpa, or eager for families whose soft-capped attention wants it (Gemma 2)
    gradient_checkpointing  slower, with far less memory
    rank, alpha, lora_dropout, targets  of the LoRA adapter; targets [all-linear] or names such as q_proj
    projector_hidden   width of the projectors' hidden layer
    projector_dropout  share of token columns, and of hidden units, dropped in training
    token_dropout      share of behavior tokens that training hides
    """

    name_or_path: str = "models/backbone"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    attention: Literal["sdpa", "eager"] = "sdpa"
    gradient_checkpointing: bool = False
    rank: int = 16
    alpha: float = 32.0
    lora_dropout: float = 0.3
    targets: tuple[str, ...] = ("all-linear",)
    projector_hidden: int = 128
    projector_dropout: float = 0.2
    token_dropout: float = 0.1

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name in ("rank", "projector_hidden"):
            if getattr(self, name) < 1:
                yield f"{name}: must be at least 1, not {getattr(self, name)}."
        for name in ("lora_dropout", "projector_dropout", "token_dropout"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: must be at least 0 and below 1, not {getattr(self, name)}."
        if not self.targets:
            yield "targets: must name at least one, such as all-linear or q_proj."


@dataclass(frozen=True)
class Facts:
    """bemerc.json: what a model folder says of itself, so that it needs no other file to be used.

    task        align or merc
    variant     name of the inputs: T, TV, TB, TVB
    modalities  what is read beside words
    labels, corpora  of training
    backbone, fingerprint  the language model's name or folder, and what its weights must look like
    k, columns  behavior tokens per modality, and their columns
    tokens      tokens.Params and the calibration on train, as the token file holds them
    references  describe.References of train, where known
    params      the sections model, prompt and align or merc as they were
    dev         what the best epoch reached on dev
    """

    task: Literal["align", "merc"]
    variant: str
    modalities: tuple[Modality, ...]
    labels: tuple[str, ...]
    corpora: tuple[str, ...]
    backbone: str
    fingerprint: str
    k: int
    columns: Mapping[Modality, tuple[str, ...]]
    tokens: Mapping[str, Any]
    references: Any
    params: Mapping[str, Any]
    dev: Mapping[str, float]


class Projector(nn.Module):
    """(N, K, D') calibrated behavior tokens of one modality -> (N, K, H) embeddings at the scale of word embeddings.

    Each token is read beside the utterance's mean token, by a line and a small MLP; its place among the K is learned, and
    a masked token becomes a learned "absent", which no measured token can be mistaken for.
    """

    def __init__(self, width: int, k: int, out: int, scale: float, params: Params) -> None:
        super().__init__()
        self.hide, self.scale = params.token_dropout, scale
        self.line = nn.Linear(2 * width, out, bias=False)
        self.curve = nn.Sequential(
            nn.Linear(2 * width, params.projector_hidden),
            nn.GELU(),
            nn.Dropout(params.projector_dropout),
            nn.Linear(params.projector_hidden, out),
        )
        self.dropout = nn.Dropout(params.projector_dropout)
        self.place = nn.Parameter(0.5 * torch.randn(k, out))
        self.absent = nn.Parameter(torch.randn(out))
        self.norm = nn.RMSNorm(out)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """values (N, K, D') float32, mask (N, K) bool -> (N, K, H) float32."""
        if self.training and self.hide:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= self.hide)
        seen = mask.unsqueeze(-1)
        values = self.dropout(values * seen)
        mean = values.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        both = torch.cat([values, mean.expand_as(values)], dim=-1)
        known = self.line(both) + self.curve(both)
        result: Tensor = self.norm(torch.where(seen, known, self.absent) + self.place) * self.scale
        return result


class BehaviorModel(nn.Module):
    """A causal LM with its adapter, and one projector per modality in use."""

    def __init__(
        self, lm: Any, tokenizer: Any, widths: Mapping[Modality, int], k: int, params: Params, backbone: str
    ) -> None:
        super().__init__()
        self.lm, self.tokenizer, self.params, self.k = lm, tokenizer, params, k
        self.backbone = backbone  # the fingerprint of the language model without its adapter
        self._no_split_modules = getattr(lm, "_no_split_modules", None)  # which layers FSDP shards one by one
        words = lm.get_input_embeddings().weight
        scale = float(words.detach().float().pow(2).mean().sqrt())
        self.projectors = nn.ModuleDict(
            {m: Projector(widths[m], k, words.shape[1], scale, params) for m in MODALITIES if m in widths}
        )
        self.projectors.to(words.device)

    @property
    def device(self) -> torch.device:
        """Where the word embeddings lie."""
        device: torch.device = self.lm.get_input_embeddings().weight.device
        return device

    @property
    def max_length(self) -> int:
        """The longest path that the backbone's positions allow."""
        return int(getattr(self.lm.config, "max_position_embeddings", 2**31))

    def forward(self, batch: Batch) -> Tensor:
        """The loss: minus the mean log-probability of the target tokens."""
        return -self.target_log_probs(batch).mean()

    def target_log_probs(self, batch: Batch) -> Tensor:
        """(P,) float32 natural log-probability of every target token, given what its position may see."""
        here = self._here
        embeddings = self._embed(here(batch.input_ids), here(batch.modality), batch)
        mask = tree_mask(here(batch.node), here(batch.ancestors), embeddings.dtype)
        logits = self._logits(embeddings, here(batch.position_ids), mask, here(batch.source))
        log_probs: Tensor = logits.float().log_softmax(-1)[here(batch.which), here(batch.token)]
        return log_probs

    def _here(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _embed(self, ids: Tensor, modality: Tensor, batch: Batch) -> Tensor:
        embeddings: Tensor = self.lm.get_input_embeddings()(ids)
        for number, name in enumerate(MODALITIES):
            if name in batch.behavior:
                values, mask = (self._here(array) for array in batch.behavior[name])
                tokens = self.projectors[name](values, mask).to(embeddings.dtype).flatten(0, 1)
                embeddings = embeddings.masked_scatter((modality == number).unsqueeze(-1), tokens)
        return embeddings

    def _logits(self, embeddings: Tensor, positions: Tensor, mask: Tensor, source: Tensor) -> Tensor:
        """(M, V) logits at ``source`` alone: a vocabulary's worth of numbers at every position is what fills memory."""
        head = self.lm.get_output_embeddings()
        handle = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[source].unsqueeze(0),))
        try:
            out = self.lm(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False)
        finally:
            handle.remove()
        logits: Tensor = out.logits[0]
        return logits

    def write(self, batch: Batch, limit: int) -> list[list[int]]:
        """The likeliest next token after every prompt, over and over: B lists of at most ``limit`` ids, no end mark.

        The rows are single prompts of one length without targets, so that no position is padding.
        """
        assert (batch.node >= 0).all(), "prompts of one length"
        ids = self._here(batch.input_ids)
        given: dict[str, Any] = {"inputs_embeds": self._embed(ids, self._here(batch.modality), batch)}
        written = torch.empty(len(ids), 0, dtype=torch.long, device=self.device)
        ended = torch.zeros(len(ids), dtype=torch.bool, device=self.device)
        cache = None
        for _ in range(limit):
            out = self.lm(**given, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, best = out.past_key_values, out.logits[:, -1].argmax(-1)
            written = torch.cat([written, best.unsqueeze(1)], dim=1)
            ended |= best == self.tokenizer.eos_token_id
            if bool(ended.all()):
                break
            given = {"input_ids": best.unsqueeze(1)}
        return [_until(row, self.tokenizer.eos_token_id) for row in written.tolist()]

    def trainable(self) -> dict[str, nn.Parameter]:
        """Adapter and projectors by name; all else is frozen."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def save(self, folder: Path, facts: Facts, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write adapter, projectors and bemerc.json; the folder appears when it is complete.

        ``weights`` stand in for the model's own of the same names: another epoch's, or whole ones where these are shards.
        """
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        own = {name: value.detach() for name, value in self.trainable().items()} | dict(weights or {})
        held = {name: value.cpu().contiguous() for name, value in own.items()}
        self.lm.save_pretrained(partial, state_dict=_under("lm.", held))
        save_file(_under("projectors.", held), partial / PROJECTORS)
        document = {"schema_version": SCHEMA_VERSION, **asdict(facts)}
        (partial / FACTS).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(partial.iterdir(), key=lambda path: path.name == FACTS):
            file.replace(folder / file.name)
        partial.rmdir()


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def tree_mask(node: Tensor, ancestors: Tensor, dtype: torch.dtype) -> Tensor:
    """node (B, L), ancestors (B, S, S) -> (B, 1, L, L) additive float mask; -1 in ``node`` is padding.

    A position sees earlier positions of its own node and of the nodes above it. Float, because a bool mask is silently
    wrong under eager attention; padding sees itself, because a row of nothing but -inf is NaN.
    """
    count, length = node.shape
    known = node.clamp(min=0)
    rows = ancestors.gather(1, known.unsqueeze(-1).expand(count, length, ancestors.shape[2]))
    seen = rows.gather(2, known.unsqueeze(1).expand(count, length, length))
    there = node >= 0
    causal = torch.ones(length, length, dtype=torch.bool, device=node.device).tril()
    seen = seen & causal & there.unsqueeze(1) & there.unsqueeze(2)
    seen = seen | torch.eye(length, dtype=torch.bool, device=node.device)
    mask = torch.zeros(count, 1, length, length, dtype=dtype, device=node.device)
    return mask.masked_fill(~seen.unsqueeze(1), torch.finfo(dtype).min)


# ------------------------------------------------------------------------------------------------------ making, loading


def build(params: Params, widths: Mapping[Modality, int], k: int, start: Path | None = None) -> BehaviorModel:
    """A model to train: fresh, or from the model folder ``start``, with a projector for every modality in ``widths``.

    Raises ModelError where the backbone cannot be had, or ``start`` was made with another backbone or adapter shape.
    """
    import peft

    lm, tokenizer = load_backbone(params)
    backbone = fingerprint(lm)
    if start is None:
        targets = "all-linear" if params.targets == ("all-linear",) else list(params.targets)
        shape = peft.LoraConfig(
            r=params.rank,
            lora_alpha=params.alpha,
            lora_dropout=params.lora_dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        try:
            with _quiet():
                adapted = peft.get_peft_model(lm, shape)
        except ValueError as error:
            raise ModelError(f"model.targets: {error}") from None
    else:
        _must_fit(read_facts(start), params, backbone, start)
        adapted = _adapter(lm, start, trainable=True)
    model = BehaviorModel(adapted, tokenizer, widths, k, params, backbone)
    if start is not None:
        _load_projectors(model, start)
    if params.gradient_checkpointing:
        # transformers 5.2x gave it a new name and warns of the old one.
        enable = getattr(lm, "activation_checkpointing_enable", None) or lm.gradient_checkpointing_enable
        enable()
        lm.enable_input_require_grads()
    return model


def load(folder: Path, backbone: str | None = None, device: str = "auto") -> tuple[BehaviorModel, Facts]:
    """A trained model, ready to predict, and its facts. ``backbone`` names another place where the same one lies."""
    facts = read_facts(folder)
    stored = dict(facts.params["model"])
    stored |= {"targets": tuple(stored["targets"]), "device": device, "name_or_path": backbone or facts.backbone}
    params = Params(**stored)
    lm, tokenizer = load_backbone(params)
    found = fingerprint(lm)
    _must_fit(facts, params, found, folder)
    widths = {m: len(facts.columns[m]) for m in facts.modalities}
    model = BehaviorModel(_adapter(lm, folder, trainable=False), tokenizer, widths, facts.k, params, found)
    _load_projectors(model, folder)
    return model.eval(), facts


def load_backbone(params: Params) -> tuple[Any, Any]:
    """The frozen language model and its tokenizer: safetensors only, and never a repository's own code."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(params.name_or_path)
    if place.is_dir() and not list(place.glob("*.safetensors")):
        raise ModelError(
            f"{place}: there are no safetensors weights in this folder, and pickled ones are refused because loading them "
            "runs whatever they hold. Save the model with save_pretrained(..., safe_serialization=True)."
        )
    try:
        with _quiet():
            lm = AutoModelForCausalLM.from_pretrained(
                params.name_or_path,
                dtype=getattr(torch, params.dtype),
                attn_implementation=params.attention,
                use_safetensors=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(params.name_or_path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model.name_or_path '{params.name_or_path}': no causal language model could be loaded from there ({first}). "
            "Run 'dvc repro backbone' for the embedded one, or name a folder or a model that transformers can find."
        ) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{params.name_or_path}: its tokenizer has no end-of-text token, so no answer could end.")
    lm.requires_grad_(False)
    return lm.to(_device(params.device)), tokenizer


def read_facts(folder: Path) -> Facts:
    """bemerc.json of a model folder; ModelError where it is not one, or of another version."""
    path = folder / FACTS
    if not path.is_file():
        raise ModelError(
            f"{folder}: this is no model folder, there is no {FACTS} in it. 'bemerc train' or 'dvc repro' makes one."
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.pop("schema_version")
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: this is not what a model says of itself ({error}). Train the model again.") from None
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"{path}: schema version {version}, this bemerc reads {SCHEMA_VERSION}. Train the model again."
        )
    try:
        for key in ("modalities", "labels", "corpora"):
            document[key] = tuple(document[key])
        document["columns"] = {m: tuple(names) for m, names in document["columns"].items()}
        return Facts(**document)
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path}: a fact is missing or unknown ({error}). Train the model again.") from None


def fingerprint(lm: Any) -> str:
    """A hash of a backbone's shape and of some numbers of each weight: the same weights give the same, wherever they lie."""
    digest = hashlib.sha256()
    for name, weight in sorted(lm.named_parameters()):
        flat = weight.detach().flatten()
        some = flat[:: max(1, len(flat) // _SAMPLED)].float().cpu().numpy()
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(np.ascontiguousarray(some).tobytes())
    return digest.hexdigest()[:32]


def check_tokens(facts: Facts, k: int, columns: Mapping[Modality, tuple[str, ...]], folder: Path) -> None:
    """ModelError where behavior tokens are not of the kind that the model in ``folder`` was trained on."""
    if k != facts.k:
        raise ModelError(f"{folder}: it was trained with K = {facts.k} behavior tokens, these are {k}. Train it again.")
    for modality in facts.modalities:
        found, wanted = columns.get(modality, ()), facts.columns[modality]
        if tuple(found) != wanted:
            odd = sorted(set(found) ^ set(wanted))[:4] or ["their order"]
            raise ModelError(
                f"{folder}: its {modality} tokens have {len(wanted)} columns, these have {len(found)}; they differ in "
                f"{', '.join(odd)}. Make the tokens as for training, or train it again."
            )


def _must_fit(facts: Facts, params: Params, found: str, folder: Path) -> None:
    if found != facts.fingerprint:
        raise ModelError(
            f"{folder}: it was trained on another backbone ('{facts.backbone}', {facts.fingerprint[:8]}) than "
            f"'{params.name_or_path}' ({found[:8]}). Name that one, or train again."
        )
    stored = facts.params["model"]
    for key in ("rank", "alpha", "targets", "projector_hidden"):
        now = asdict(params)[key]
        if (list(now) if isinstance(now, tuple) else now) != (list(stored[key]) if key == "targets" else stored[key]):
            raise ModelError(
                f"{folder}: it was trained with model.{key} = {stored[key]}, now it is {now}. Train it again."
            )


def _adapter(lm: Any, folder: Path, trainable: bool) -> Any:
    import peft

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{folder}: adapter_model.safetensors is not there; pickled weights are refused. Train it again."
        )
    try:
        with _quiet():
            return peft.PeftModel.from_pretrained(lm, str(folder), is_trainable=trainable)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder}: PEFT could not load the adapter ({first}). Train it again.") from None


def _load_projectors(model: BehaviorModel, folder: Path) -> None:
    """Weights of the modalities that the model uses; a folder may know more of them."""
    try:
        found = load_file(folder / PROJECTORS)
        wanted = model.projectors.state_dict()
        missing = sorted({name.split(".")[0] for name in wanted if name not in found})
        if missing:
            raise ModelError(f"{folder}: it has no projector for {', '.join(missing)}. Train it with these modalities.")
        model.projectors.load_state_dict({name: found[name] for name in wanted})
    except (OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder / PROJECTORS}: the projectors do not fit ({error}). Train it again.") from None


def _device(name: str) -> str:
    if name != "auto":
        return name
    # Under `accelerate launch` every process has a GPU of its own.
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Loading bars of transformers, one per model, say nothing that ours do not; nor does PEFT's use of an older name."""
    with transformers_quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
