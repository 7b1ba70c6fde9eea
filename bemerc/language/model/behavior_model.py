"""Projectors, a frozen causal language model and its LoRA adapter: a batch goes in, log-probabilities of its targets come out.

The usual way to give a language model one's own embeddings is to fork its class. Here the model stays what transformers
made of it, any causal one: behavior tokens are projected to the width of its embeddings, put in their places and handed
in as ``inputs_embeds``, a batch of trees (dataset.py) is told by a 4D mask and position ids, and the head computes logits
only where a target token is predicted from. On disk a model is an ordinary PEFT adapter folder, which PEFT itself loads,
with the projectors and ``bemerc.json`` beside it. The projector is ours: BeMERC's is not public.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bemerc.core import huggingface
from bemerc.core.config import from_mapping
from bemerc.core.errors import ModelError
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES, Modality
from bemerc.language.model import card, tree_attention
from bemerc.language.model.metadata import FACTS as FACTS
from bemerc.language.model.metadata import Facts as Facts
from bemerc.language.model.metadata import backbone_places, placed, write_facts
from bemerc.language.model.metadata import read_facts as read_facts
from bemerc.language.model.pretrained import OTHER_SENSES, device_faults, fingerprint, load_backbone, quiet
from bemerc.language.model.tree_attention import Trees
from bemerc.language.model.tree_masks import for_layers

if TYPE_CHECKING:
    from bemerc.language.inputs.dataset import Batch

PROJECTORS, ADAPTER = "projectors.safetensors", "adapter_model.safetensors"


@dataclass(frozen=True)
class Params:
    """params.yaml: model.

    name_or_path       any causal LM: a folder, or a name that transformers finds
    dtype              of the backbone; projectors and adapter stay float32
    quantize           the backbone's matrices in 8 or 4 bits (bitsandbytes); dtype is then what is multiplied in
    device             auto: a GPU where there is one; cpu, cuda, cuda:1; spread: layer by layer over all GPUs there are
    attention          auto: sdpa where the class has it, else eager (Gemma 2, whose attention is soft-capped)
    gradient_checkpointing  slower, with far less memory
    compile            the backbone's layers by torch.compile: the first steps take minutes, the others less time
    rank, alpha, lora_dropout, targets  of the LoRA adapter; targets [all-linear] or names such as q_proj
    projector_hidden   width of the projectors' hidden layer
    projector_dropout  share of token columns, and of hidden units, dropped in training
    token_dropout      share of behavior tokens that training hides
    """

    name_or_path: str = "models/backbone"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantize: Literal["none", "8bit", "4bit"] = "none"
    device: str = "auto"
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    rank: int = 16
    alpha: float = 32.0
    lora_dropout: float = 0.3
    targets: tuple[str, ...] = ("all-linear",)
    projector_hidden: int = 128
    projector_dropout: float = 0.2
    token_dropout: float = 0.1

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name, most in (("rank", 4096), ("projector_hidden", 1 << 16)):
            if not 1 <= getattr(self, name) <= most:
                yield f"{name}: must lie between 1 and {most}, not {getattr(self, name)}."
        if not 0 < self.alpha <= 1e6:
            yield f"alpha: must be above 0 and at most a million, not {self.alpha}."
        for name in ("lora_dropout", "projector_dropout", "token_dropout"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: must be at least 0 and below 1, not {getattr(self, name)}."
        yield from device_faults(self.device)
        if not self.targets:
            yield "targets: must name at least one, such as all-linear or q_proj."
        for target in self.targets:
            if not re.fullmatch(r"[\w.-]{1,200}", target):
                yield f"targets: {printable(target)} is no name of a module, such as q_proj."


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
        self,
        lm: Any,
        tokenizer: Any,
        widths: Mapping[Modality, int],
        k: int,
        params: Params,
        backbone: str,
        trees: Trees,
    ) -> None:
        super().__init__()
        self.lm, self.tokenizer, self.params, self.k = lm, tokenizer, params, k
        self.backbone = backbone  # the fingerprint of the language model without its adapter
        self.trees = trees  # how it understands rows that branch
        # While it computes, hooks and an attention of ours stand in its layers; a second thread waits.
        self._one_at_a_time = threading.RLock()
        self._no_split_modules = getattr(lm, "_no_split_modules", None)  # which layers FSDP shards one by one
        words = _words(lm)
        scale = float(words.float().pow(2).mean().sqrt()) if words.device.type != "meta" else 1.0
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
        return int(getattr(self.lm.config.get_text_config(), "max_position_embeddings", 2**31))

    def forward(self, batch: Batch) -> Tensor:
        """The loss: minus the mean log-probability of the target tokens."""
        return -self.target_log_probs(batch).mean()

    def target_log_probs(self, batch: Batch) -> Tensor:
        """(P,) float32 natural log-probability of every target token, given what its position may see.

        Threads may share a model: they take turns.
        """
        with self._one_at_a_time:
            return self._target_log_probs(batch)

    def _target_log_probs(self, batch: Batch) -> Tensor:
        here = self._here
        embeddings = self._embed(here(batch.input_ids), here(batch.modality), batch)
        node, position = here(batch.node), here(batch.position_ids)
        if self.trees == "paths" and not torch.is_grad_enabled():
            with tree_attention.along(self.lm, here(batch.source)):
                logits = self._logits(embeddings, tree_attention.given(self.lm, batch, embeddings), here(batch.source))
            return self._picked(logits, batch)
        if self.trees != "no":
            mask = for_layers(self.lm.config, node, here(batch.ancestors), position, embeddings.dtype)
            given = {"attention_mask": mask, "position_ids": position}
        else:
            self._must_be_paths(batch)
            given = {"attention_mask": (node >= 0).long()}
        return self._picked(self._logits(embeddings, given, here(batch.source)), batch)

    def _picked(self, logits: Tensor, batch: Batch) -> Tensor:
        which, token = (torch.from_numpy(array).to(logits.device) for array in (batch.which, batch.token))
        log_probs: Tensor = logits.float().log_softmax(-1)[which, token].to(self.device)
        return log_probs

    def _must_be_paths(self, batch: Batch) -> None:
        """Raise ModelError where a row branches and the backbone would take it for plain text."""
        counted = np.arange(batch.node.shape[1])
        if ((batch.position_ids != counted) & (batch.node >= 0)).any():
            raise ModelError(
                f"'{self.params.name_or_path}' ({self.lm.config.model_type}) cannot compute a dialogue as one tree: it has "
                "no plain attention, or takes no position ids. Set row_tokens: 0 in align, merc and predict."
            )

    def _here(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _embed(self, ids: Tensor, modality: Tensor, batch: Batch) -> Tensor:
        embeddings: Tensor = self.lm.get_input_embeddings()(ids)
        for number, name in enumerate(MODALITIES):
            for code, given in ((number, batch.behavior), (number + len(MODALITIES), batch.brief)):
                if name in given:
                    values, mask = (self._here(array) for array in given[name])
                    tokens = self.projectors[name](values, mask).to(embeddings.dtype)
                    tokens = (tokens if given is batch.behavior else halves(tokens)).flatten(0, 1)
                    embeddings = embeddings.masked_scatter((modality == code).unsqueeze(-1), tokens)
        return embeddings

    def _logits(self, embeddings: Tensor, given: Mapping[str, Any], source: Tensor) -> Tensor:
        """(M, V) logits at ``source`` alone: a vocabulary's worth of numbers at every position is what fills memory."""
        head = self.lm.get_output_embeddings()
        # The head may lie on another device than the embeddings.
        handle = head.register_forward_pre_hook(
            lambda _, hidden: (hidden[0].flatten(0, 1)[source.to(hidden[0].device)].unsqueeze(0),)
        )
        try:
            out = self.lm(inputs_embeds=embeddings, use_cache=False, **given)
        finally:
            handle.remove()
        logits: Tensor = out.logits[0]
        return logits

    def write(self, batch: Batch, limit: int, end: int) -> list[list[int]]:
        """The likeliest next token after every prompt, over and over, up to the mark ``end``: B lists of at most ``limit`` ids.

        The rows are single prompts of one length without targets, so that no position is padding.
        """
        with self._one_at_a_time:
            return self._write(batch, limit, end)

    def _write(self, batch: Batch, limit: int, end: int) -> list[list[int]]:
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
            ended |= best == end
            if bool(ended.all()):
                break
            given = {"input_ids": best.unsqueeze(1)}
        return [_until(row, end) for row in written.tolist()]

    def merge(self) -> None:
        """Put the adapter into the backbone's weights, in memory: the same up to rounding, and no second way to compute.

        Only where weights are float32: in fewer digits a small adapter would be rounded away, and the model with it.
        """
        whole = all(p.dtype == torch.float32 for name, p in self.lm.named_parameters() if "lora_" not in name)
        if whole and hasattr(self.lm, "merge_and_unload"):
            with quiet():
                self.lm = self.lm.merge_and_unload()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Adapter and projectors by name; all else is frozen."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def save(self, folder: Path, facts: Facts, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write adapter, projectors, bemerc.json and a card; the folder appears when it is complete.

        ``weights`` stand in for the model's own of the same names: another epoch's, or whole ones where these are shards.
        """
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        facts = placed(facts, folder)
        own = {name: value.detach() for name, value in self.trainable().items()} | dict(weights or {})
        held = {name: value.cpu().contiguous() for name, value in own.items()}
        for config in self.lm.peft_config.values():
            _put_in_order(config)
            config.base_model_name_or_path = facts.backbone
        # PEFT would ask the hub whether the vocabulary has grown.
        self.lm.save_pretrained(partial, state_dict=_under("lm.", held), save_embedding_layers=False)
        write_beside(partial, _under("projectors.", held), facts)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted(partial.iterdir(), key=lambda path: path.name == FACTS):
            file.replace(folder / file.name)
        partial.rmdir()


def write_beside(folder: Path, projectors: Mapping[str, Tensor], facts: Facts) -> None:
    """What stands beside a language model or its adapter: projectors, bemerc.json, the card."""
    save_file({name: weight.cpu().contiguous() for name, weight in projectors.items()}, folder / PROJECTORS)
    card.write(folder, facts)
    write_facts(folder, facts)


def _words(lm: Any) -> Tensor:
    """(V or fewer, H) word embeddings as the layers get them: Gemma's are stored at a sixtieth of their size."""
    table = lm.get_input_embeddings()
    some = torch.arange(min(4096, len(table.weight)), device=table.weight.device)
    with torch.no_grad():
        words: Tensor = table(some)
    return words


def _put_in_order(config: Any) -> None:
    """PEFT writes its sets of names as they come, in another order in every process; the same model has the same files."""
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def halves(tokens: Tensor) -> Tensor:
    """(N, K, H) -> (N, 2, H): the means of the first and of the second half, for turns of the history; K = 1 stays one."""
    middle = (tokens.shape[1] + 1) // 2
    return torch.stack([part.mean(1) for part in (tokens[:, :middle], tokens[:, middle:]) if part.shape[1]], dim=1)


# ------------------------------------------------------------------------------------------------------ making, loading


def build(
    params: Params, widths: Mapping[Modality, int], k: int, start: Path | None = None, trees: Trees | None = None
) -> BehaviorModel:
    """A model to train: fresh, or from the model folder ``start``, with a projector for every modality in ``widths``.

    ``trees``: the most that is asked of it in rows that branch; None: what suits the device.

    Raises ModelError where the backbone cannot be had, or ``start`` was made with another backbone or adapter shape.
    """
    lm, tokenizer = load_backbone(params)
    backbone, known = fingerprint(params.name_or_path), tree_attention.understood(lm, trees)
    if start is None:
        return fresh(lm, tokenizer, widths, k, params, backbone, known)
    _must_fit(read_facts(start), params, backbone, start)
    model = BehaviorModel(_adapter(lm, start, params, trainable=True), tokenizer, widths, k, params, backbone, known)
    _load_projectors(model, start)
    return _ready(model, lm)


def fresh(
    lm: Any,
    tokenizer: Any,
    widths: Mapping[Modality, int],
    k: int,
    params: Params,
    backbone: str = "",
    trees: Trees = "masks",
) -> BehaviorModel:
    """A fresh model on a backbone that is there already, be it without weights (on the meta device)."""
    return _ready(BehaviorModel(_lora(lm, params), tokenizer, widths, k, params, backbone, trees), lm)


def _lora(lm: Any, params: Params) -> Any:
    """The backbone with a fresh adapter of the shape that ``params`` say."""
    import peft

    shape = peft.LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        lora_dropout=params.lora_dropout,
        target_modules="all-linear" if params.targets == ("all-linear",) else list(params.targets),
        exclude_modules=OTHER_SENSES if lm.config.get_text_config() is not lm.config else None,
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            return peft.get_peft_model(lm, shape)
    except ValueError as error:
        raise ModelError(f"model.targets: {error}") from None


def _ready(model: BehaviorModel, lm: Any) -> BehaviorModel:
    """As training wants it: checkpointed and compiled where params say so."""
    if model.params.gradient_checkpointing:
        # transformers 5.2x gave it a new name and warns of the old one.
        enable = getattr(lm, "activation_checkpointing_enable", None) or lm.gradient_checkpointing_enable
        enable()
        lm.enable_input_require_grads()
    if model.params.compile:
        _compile(lm)
        model.trees = "no" if model.trees == "no" else "masks"  # every walk is another program
    return model


def _compile(lm: Any) -> None:
    """Every decoder layer by itself: they are alike, so that one compilation serves them all, of any length."""
    split = set(getattr(lm, "_no_split_modules", None) or ())
    for module in lm.modules():
        if type(module).__name__ in split:
            module.compile(dynamic=True)


def load(
    folder: Path,
    backbone: str | None = None,
    device: str = "auto",
    quantize: str | None = None,
    trees: Trees | None = None,
) -> tuple[BehaviorModel, Facts]:
    """A trained model, ready to predict, and its facts.

    backbone  another place where the backbone lies: a folder, or a name of the hub, which is fetched where it is not here.
              None: it is looked for beside the model (metadata.backbone_places) and in Hugging Face's cache
    quantize  in place of what held in training
    trees     see ``build``

    Raises ModelError where the folder is no model, claims what its weights do not hold, or the backbone is not found.
    """
    facts = read_facts(folder)
    stored = dict(facts.params["model"]) | {"device": device}
    stored |= {} if quantize is None else {"quantize": quantize}
    params = from_mapping(stored, Params, f"{folder / FACTS}: params.model")
    _must_hold_what_it_claims(facts, params, folder)
    params = replace(params, name_or_path=str(folder if facts.merged else _find_backbone(facts, folder, backbone)))
    lm, tokenizer = load_backbone(params)
    known = tree_attention.understood(lm, trees)
    adapted = lm if facts.merged else _adapter(lm, folder, params, trainable=False)
    widths = {m: len(facts.columns[m]) for m in facts.modalities}
    model = BehaviorModel(adapted, tokenizer, widths, facts.k, params, facts.fingerprint, known)
    _load_projectors(model, folder)
    return model.eval(), facts


def _find_backbone(facts: Facts, folder: Path, named: str | None) -> Path:
    """The folder of the backbone that a model was trained on, known by its fingerprint. Only a name that a person gave
    may be asked of the hub: a model folder's own word could send anybody anywhere."""
    if named is not None:
        try:
            place = huggingface.folder_of(named)
        except huggingface.PretrainedError as error:
            raise ModelError(f"{error} Name the folder of the backbone '{printable(facts.backbone)}'.") from None
        _must_be_its_backbone(facts, fingerprint(str(place)), named, folder)
        return place
    places = [p for p in dict.fromkeys(backbone_places(facts, folder)) if (p / huggingface.CONFIG).is_file()]
    of_hub = not facts.backbone_at and huggingface.is_hub_name(facts.backbone)
    cached = huggingface.cached(facts.backbone) if of_hub else None
    others = []
    for place in [*places, *([cached] if cached else [])]:
        with contextlib.suppress(ModelError):  # something else of the same name
            found = fingerprint(str(place))
            if found == facts.fingerprint:
                return place
            others.append((place, found))
    for place, found in others:
        _must_be_its_backbone(facts, found, str(place), folder)
    hub = f", or {facts.backbone} to fetch it" if of_hub else ""
    raise ModelError(
        f"{folder}: it was trained on the backbone '{printable(facts.backbone)}', which is not found from this folder or the "
        f"folders above it, nor in Hugging Face's cache. Name its folder with --backbone{hub}."
    )


def _must_hold_what_it_claims(facts: Facts, params: Params, folder: Path) -> None:
    """ModelError where bemerc.json and the shapes of the weights differ: no memory is taken for what is not there."""
    if not facts.merged:
        for name, shape in _shapes(folder / ADAPTER).items():
            if "lora_A" in name and shape[:1] != [params.rank]:
                raise ModelError(
                    f"{folder / ADAPTER}: {name} has {shape}, and model.rank is {params.rank}. Train it again."
                )
    shapes = _shapes(folder / PROJECTORS)
    for modality in facts.modalities:
        place, line = shapes.get(f"{modality}.place", []), shapes.get(f"{modality}.line.weight", [])
        if place[:1] != [facts.k] or line[1:] != [2 * len(facts.columns[modality])]:
            raise ModelError(
                f"{folder / PROJECTORS}: its projector for {modality} is not of K = {facts.k} behavior tokens of "
                f"{len(facts.columns[modality])} columns. Train it again."
            )


def _shapes(path: Path) -> dict[str, list[int]]:
    """Weights' shapes by name, of which nothing else is read."""
    if not path.is_file():
        raise ModelError(f"{path}: these weights are not there; pickled weights are refused. Train it again.")
    try:
        with safe_open(path, "pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{path}: this is no safetensors file ({error}). Train it again.") from None


def check_tokens(facts: Facts, k: int, columns: Mapping[Modality, tuple[str, ...]], folder: Path) -> None:
    """ModelError where behavior tokens are not of the kind that the model in ``folder`` was trained on."""
    if k != facts.k:
        raise ModelError(
            f"{folder}: it was trained with K = {facts.k} behavior tokens, these are {k}. Make them with tokens.k: {facts.k}, or "
            "train it again."
        )
    for modality in facts.modalities:
        found, wanted = columns.get(modality, ()), facts.columns[modality]
        if tuple(found) != wanted:
            odd = sorted(set(found) ^ set(wanted))[:4] or ["their order"]
            raise ModelError(
                f"{folder}: its {modality} tokens have {len(wanted)} columns, these have {len(found)}; they differ in "
                f"{', '.join(odd)}. Make the tokens as for training, or train it again."
            )


def _must_fit(facts: Facts, params: Params, found: str, folder: Path) -> None:
    _must_be_its_backbone(facts, found, params.name_or_path, folder)
    stored = facts.params["model"]
    for key in ("rank", "alpha", "targets", "projector_hidden"):
        now = asdict(params)[key]
        if (list(now) if isinstance(now, tuple) else now) != (list(stored[key]) if key == "targets" else stored[key]):
            raise ModelError(
                f"{folder}: it was trained with model.{key} = {stored[key]}, now it is {now}. Train it again."
            )


def _must_be_its_backbone(facts: Facts, found: str, name: str, folder: Path) -> None:
    if found != facts.fingerprint:
        raise ModelError(
            f"{folder}: it was trained on another backbone ('{printable(facts.backbone)}', {printable(facts.fingerprint[:8])}) than "
            f"'{name}' ({found[:8]}). Name that one, or train again."
        )


def _adapter(lm: Any, folder: Path, params: Params, trainable: bool) -> Any:
    """The backbone with the adapter in ``folder``.

    adapter_config.json is written for people who use PEFT alone and is not read here: it could name other models to load,
    patterns to search with and ranks that fill the memory. The shape is that of ``params``; the weights must fit it.
    """
    import peft

    weights = _weights(folder / ADAPTER)
    adapted = _lora(lm, params)
    wanted = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    _must_be_of_shape(folder / ADAPTER, weights, wanted)
    peft.set_peft_model_state_dict(adapted, weights)
    for weight in adapted.parameters():
        weight.requires_grad_(weight.requires_grad and trainable)
    return adapted


def _weights(path: Path) -> dict[str, Tensor]:
    _shapes(path)
    found: dict[str, Tensor] = load_file(path)
    return found


def _must_be_of_shape(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """ModelError where weights are missing, of another shape, no floats or not finite."""
    for name, weight in wanted.items():
        if name not in found or found[name].shape != weight.shape:
            has = f"has {list(found[name].shape)}" if name in found else "is missing"
            raise ModelError(f"{path}: {name} {has}; the model needs {list(weight.shape)}. Train it again.")
        if not found[name].is_floating_point() or not found[name].isfinite().all():
            raise ModelError(f"{path}: {name} holds {found[name].dtype} or values that are no numbers. Train it again.")


def _load_projectors(model: BehaviorModel, folder: Path) -> None:
    """Weights of the modalities that the model uses; a folder may know more of them."""
    found, wanted = _weights(folder / PROJECTORS), model.projectors.state_dict()
    missing = sorted({name.split(".")[0] for name in wanted if name not in found})
    if missing:
        raise ModelError(f"{folder}: it has no projector for {', '.join(missing)}. Train it with these modalities.")
    _must_be_of_shape(folder / PROJECTORS, found, wanted)
    model.projectors.load_state_dict({name: found[name] for name in wanted})
