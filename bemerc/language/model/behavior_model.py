"""The model: projectors, a frozen causal language model and its adapter, LoRA or one that knows modalities apart (adapters/).

A batch (batching.py) goes in, the log-probabilities of its target tokens come out. The language model is any causal one of
transformers, unchanged: projected behavior tokens stand among its word embeddings (``inputs_embeds``), a tree is expressed by
a 4D mask and position ids, and logits are computed only where a target token is predicted from. On disk it is a PEFT adapter
folder with the projectors and ``metadata.json`` beside it. The projector is ours: BeMERC's is not public.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bemerc.core import atomic
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES, Modality
from bemerc.language.model import attention_rows, card, tree_attention
from bemerc.language.model.adapters import inject
from bemerc.language.model.adapters.state import AdapterState
from bemerc.language.model.metadata import METADATA as METADATA
from bemerc.language.model.metadata import ModelMetadata as ModelMetadata
from bemerc.language.model.metadata import placed, write_metadata
from bemerc.language.model.metadata import read_metadata as read_metadata
from bemerc.language.model.params import Params as Params
from bemerc.language.model.pretrained import quiet
from bemerc.language.model.projector import Projector, halves
from bemerc.language.model.tree_attention import TreeSupport
from bemerc.language.model.tree_masks import for_layers, sliding_window

if TYPE_CHECKING:
    from bemerc.language.inputs.batching import Batch

PROJECTORS = "projectors.safetensors"
LENGTHS = 64


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
        trees: TreeSupport,
        adapter: AdapterState | None = None,
    ) -> None:
        super().__init__()
        self.lm, self.tokenizer, self.params, self.k = lm, tokenizer, params, k
        self.backbone = backbone  # the fingerprint of the language model without its adapter
        self.trees = trees  # how it understands rows that branch
        self.adapter = adapter  # None: plain LoRA
        self.beside: list[Callable[[Path], None]] = []  # what writes further files of a model folder
        self._gives_rows: TreeSupport | None = None  # in what kind of rows its attention was read before
        # While it computes, hooks and an attention of ours stand in its layers; a second thread waits.
        self._one_at_a_time = threading.RLock()
        self._no_split_modules = getattr(lm, "_no_split_modules", None)  # which layers FSDP shards one by one
        words = _word_embeddings(lm)
        scale = float(words.float().pow(2).mean().sqrt()) if words.device.type != "meta" else 1.0
        self.projectors = nn.ModuleDict(
            {m: Projector(widths[m], k, words.shape[1], scale, params) for m in MODALITIES if m in widths}
        )
        self.projectors.to(words.device)
        if adapter is not None:
            adapter.present = frozenset(m for m in MODALITIES if m in widths)

    @property
    def device(self) -> torch.device:
        """Where the word embeddings lie."""
        device: torch.device = self.lm.get_input_embeddings().weight.device
        return device

    @property
    def max_length(self) -> int:
        """The longest path that the backbone's positions allow."""
        return int(getattr(self.lm.config.get_text_config(), "max_position_embeddings", 2**31))

    def length_multiple(self, precision: str = "float32") -> int:
        """What rows are to be padded to a multiple of (batching.collate); ``precision``: of autocast.

        In half precision on a CPU a kernel with memory of its own is kept for every length that was met (oneDNN), which
        took a GB in a hundred steps. float32 has other kernels, and keeps its bits.
        """
        half = precision != "float32" or self.params.dtype != "float32"
        return LENGTHS if half and self.device.type == "cpu" else 1

    def forward(self, batch: Batch) -> Tensor:
        """The loss: minus the mean log-probability of the target tokens, by their weights, and the penalty on gates where there is
        one."""
        with self._one_at_a_time:
            loss = self._loss(batch)
            penalty = None if self.adapter is None else self.adapter.penalty()
            return loss if penalty is None else loss + penalty

    def _loss(self, batch: Batch) -> Tensor:
        log_probs = self.target_log_probs(batch)
        if (batch.weight == 1).all():
            return -log_probs.mean()
        weight = self._here(batch.weight)
        return -(log_probs * weight).sum() / weight.sum()

    def target_log_probs(self, batch: Batch, rule: attention_rows.Rule | None = None) -> Tensor:
        """(P,) float32 natural log-probability of every target token, given what its position may see.

        ``rule``: reads or changes attention where targets are predicted. Threads may share a model: they take turns.
        """
        with self._one_at_a_time:
            return self._target_log_probs(batch, rule)

    def _target_log_probs(self, batch: Batch, rule: attention_rows.Rule | None) -> Tensor:
        here = self._here
        embeddings = self._embed(here(batch.input_ids), here(batch.modality), batch)
        if self.adapter is not None:
            self.adapter.begin(batch, self.device)
        source, walked = here(batch.logit_positions), self.trees == "paths" and not torch.is_grad_enabled()
        with contextlib.ExitStack() as attention:
            if walked:
                ends = source if self.adapter is None else None  # a gate looks at whole blocks
                attention.enter_context(tree_attention.along_paths(self.lm, ends))
                given = tree_attention.forward_kwargs(self.lm, batch, embeddings)
            elif self.trees != "no":
                node, position = here(batch.node), here(batch.position_ids)
                mask = for_layers(self.lm.config, node, here(batch.ancestors), position, embeddings.dtype)
                given = {"attention_mask": mask, "position_ids": position}
            else:
                self._must_be_paths(batch)
                given = {"attention_mask": here(batch.node >= 0).long()}
            windows = {0, sliding_window(self.lm.config.get_text_config())} if walked else ()
            if rule and (rows := attention_rows.rows_of(batch, rule, self.device, tuple(windows))):
                attention.enter_context(attention_rows.attending(self.lm))
                given["rows"] = rows
            logits = self._logits(embeddings, given, source)
        return self._picked(logits, batch)

    def must_give_rows(self) -> None:
        """Raise ModelError where no rule can read this model's attention."""
        with self._one_at_a_time:
            if self._gives_rows == self.trees:
                return
            if self.adapter is not None:
                self.adapter.current.context = None  # what is asked is plain text
            attention_rows.must_give_rows(self.lm, self.params.name_or_path, self.trees)
            self._gives_rows = self.trees

    def _picked(self, logits: Tensor, batch: Batch) -> Tensor:
        which, token = (torch.from_numpy(array).to(logits.device) for array in (batch.logit_index, batch.token))
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

    def generate(self, batch: Batch, limit: int, end: int) -> list[list[int]]:
        """The likeliest next token after every prompt, over and over, up to the mark ``end``: B lists of at most ``limit`` ids.

        The rows are single prompts of one length without targets, so that no position is padding.
        """
        with self._one_at_a_time:
            return self._generate(batch, limit, end)

    def _generate(self, batch: Batch, limit: int, end: int) -> list[list[int]]:
        assert (batch.node >= 0).all(), "prompts of one length"
        ids = self._here(batch.input_ids)
        given: dict[str, Any] = {"inputs_embeds": self._embed(ids, self._here(batch.modality), batch)}
        written = torch.empty(len(ids), 0, dtype=torch.long, device=self.device)
        ended = torch.zeros(len(ids), dtype=torch.bool, device=self.device)
        context = None if self.adapter is None else self.adapter.begin(batch, self.device, writes=True)
        for _ in range(limit):
            out = self.lm(**given, use_cache=True, logits_to_keep=1)
            best = out.logits[:, -1].argmax(-1)
            written = torch.cat([written, best.unsqueeze(1)], dim=1)
            ended |= best == end
            if bool(ended.all()):
                break
            cache = "cache" if "cache" in out else "past_key_values"  # its name before transformers 5.24
            given = {"input_ids": best.unsqueeze(1), cache: out[cache]}
            if self.adapter is not None and context is not None:
                self.adapter.current.context = context.written()
        return [_until(row, end) for row in written.tolist()]

    def extend(self, batch: Batch, kept: Mapping[str, Any], keep: int = 1) -> tuple[Tensor, dict[str, Any]]:
        """Read on: (keep, V) log-probabilities of what follows each of the last ``keep`` positions of ``batch``, one row of
        text, read behind what ``kept`` holds; and what holds both, for the next call. ``kept``: {} at the start.

        Not for adapters that know modalities apart, whose gates look at whole blocks.
        """
        with self._one_at_a_time:
            words = self._embed(self._here(batch.input_ids), self._here(batch.modality), batch)
            out = self.lm(inputs_embeds=words, use_cache=True, logits_to_keep=keep, **kept)
            cache = "cache" if "cache" in out else "past_key_values"  # its name before transformers 5.24
            return out.logits[0].float().log_softmax(-1), {cache: out[cache]}

    def merge(self) -> None:
        """Put the adapter into the backbone's weights, in memory: the same up to rounding, and no second way to compute.

        Only where weights are float32: in fewer digits a small adapter would be rounded away, and the model with it. And only
        plain LoRA: what another adapter adds differs from position to position.
        """
        if self.adapter is not None:
            return
        whole = all(p.dtype == torch.float32 for name, p in self.lm.named_parameters() if "lora_" not in name)
        if whole and hasattr(self.lm, "merge_and_unload"):
            with quiet():
                self.lm = self.lm.merge_and_unload()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Adapter and projectors by name; all else is frozen."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def trained_counts(self) -> dict[str, int]:
        """How many weights are trained, for ModelMetadata.trained; nothing of plain LoRA."""
        if self.adapter is None:
            return {}
        counts = {name: p.numel() for name, p in self.trainable().items()}
        projectors = sum(count for name, count in counts.items() if name.startswith("projectors."))
        return {
            "adapter": sum(counts.values()) - projectors,
            "projectors": projectors,
            "lora": self.adapter.lora_count(),
        }

    def buffers_kept(self) -> dict[str, Tensor]:
        """What belongs to a trained model beside its trained weights, by name; nothing of plain LoRA."""
        return {} if self.adapter is None else self.adapter.kept()

    def save(self, folder: Path, metadata: ModelMetadata, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write adapter, projectors, metadata.json and a card; the folder appears when it is complete.

        ``weights`` stand in for the model's own of the same names: another epoch's, or whole ones where these are shards.
        """
        metadata = placed(metadata, folder)
        own = {name: value.detach() for name, value in (self.trainable() | self.buffers_kept()).items()}
        own |= dict(weights or {})
        held = {name: value.cpu().contiguous() for name, value in own.items()}
        for config in self.lm.peft_config.values():
            _put_in_order(config)
            config.base_model_name_or_path = metadata.backbone
        with atomic.replacing_files(folder, last=METADATA) as partial:
            if self.adapter is None:
                # PEFT would ask the hub whether the vocabulary has grown.
                self.lm.save_pretrained(partial, state_dict=_under("lm.", held), save_embedding_layers=False)
            else:
                inject.save(self.adapter, held, self.lm.peft_config["default"], partial)
            for write in self.beside:
                write(partial)
            write_beside(partial, _under("projectors.", held), metadata)
            if self.adapter is None:
                (folder / inject.EXPERTS).unlink(missing_ok=True)  # of a model that was trained here before


def write_beside(folder: Path, projectors: Mapping[str, Tensor], metadata: ModelMetadata) -> None:
    """What stands beside a language model or its adapter: projectors, metadata.json, the card."""
    save_file({name: weight.cpu().contiguous() for name, weight in projectors.items()}, folder / PROJECTORS)
    card.write(folder, metadata)
    write_metadata(folder, metadata)


def _word_embeddings(lm: Any) -> Tensor:
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
