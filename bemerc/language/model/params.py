"""The section ``model`` of params.yaml: which backbone, how it is loaded, and the shape of what is trained on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bemerc.core.terminal import printable
from bemerc.language.model.devices import device_faults

# Keys that say something where the adapter is no plain LoRA.
_OF_ADAPTERS = (
    "adapter", "experts", "equal_parameters", "gate_balance", "gate_entropy", "dynamic_weights", "weight_temperature",
)  # fmt: skip


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
    adapter            lora, or one that knows modalities apart: mose, moka, hydra (docs/training/adapters.md)
    experts            of mose per modality, of hydra in all
    equal_parameters   ranks of the others are so small that each trains as many weights as LoRA of ``rank``
    gate_balance, gate_entropy  of mose: weights of the penalties on experts that are never used, and on gates that do not decide
    dynamic_weights    of mose in merc: what is visible and the voice are weighed against the one that dominates, epoch by epoch
    weight_temperature  of the same: the higher, the nearer are both to 1
    head               modality_gate: of merc, a gate that adds what each modality says by itself to the label scores
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
    adapter: Literal["lora", "mose", "moka", "hydra"] = "lora"
    experts: int = 2
    equal_parameters: bool = True
    gate_balance: float = 0.01
    gate_entropy: float = 0.01
    dynamic_weights: bool = True
    weight_temperature: float = 1.0
    head: Literal["none", "modality_gate"] = "none"

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name, most in (("rank", 4096), ("projector_hidden", 1 << 16), ("experts", 64)):
            if not 1 <= getattr(self, name) <= most:
                yield f"{name}: must lie between 1 and {most}, not {getattr(self, name)}."
        if not 0 < self.alpha <= 1e6:
            yield f"alpha: must be above 0 and at most a million, not {self.alpha}."
        for name in ("lora_dropout", "projector_dropout", "token_dropout"):
            if not 0 <= getattr(self, name) < 1:
                yield f"{name}: must be at least 0 and below 1, not {getattr(self, name)}."
        for name in ("gate_balance", "gate_entropy"):
            if not 0 <= getattr(self, name) <= 1e3:
                yield f"{name}: must lie between 0 and a thousand, not {getattr(self, name)}."
        if not 0 < self.weight_temperature <= 1e3:
            yield f"weight_temperature: must be above 0 and at most a thousand, not {self.weight_temperature}."
        if self.compile and self.adapter != "lora":
            yield f"compile: an adapter of the kind {self.adapter} cannot be compiled. Set compile: false, or adapter: lora."
        yield from device_faults(self.device)
        if not self.targets:
            yield "targets: must name at least one, such as all-linear or q_proj."
        for target in self.targets:
            if not re.fullmatch(r"[\w.-]{1,200}", target):
                yield f"targets: {printable(target)} is no name of a module, such as q_proj."

    def stored(self) -> dict[str, Any]:
        """The section as metadata.json holds it: of plain LoRA, as it was before there were other adapters."""
        left_out = {*(_OF_ADAPTERS if self.adapter == "lora" else ()), *(("head",) if self.head == "none" else ())}
        return {key: value for key, value in asdict(self).items() if key not in left_out}
