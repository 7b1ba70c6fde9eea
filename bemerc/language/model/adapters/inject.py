"""Adapted layers put into a backbone, in the places where PEFT would put LoRA, and their files.

``experts.safetensors`` holds them whole. Beside it stands an ordinary adapter of PEFT, the mean expert: what comes nearest on
text, for people who use PEFT alone. It is not read here.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from bemerc.core.errors import ModelError
from bemerc.language.model.adapters.context import Current
from bemerc.language.model.adapters.layers import LAYERS, AdaptedLinear
from bemerc.language.model.adapters.shapes import ranks, shapes
from bemerc.language.model.adapters.state import AdapterState
from bemerc.language.model.params import Params

EXPERTS = "experts.safetensors"
_PEFT = "base_model.model."  # PEFT's, before the names of a backbone
_MODEL = f"lm.{_PEFT}"  # and BehaviorModel's
_STATE = "adapter."


def inject(
    adapted: Any, params: Params, stored: Mapping[str, Sequence[int]] | None = None, path: Path | None = None
) -> AdapterState:
    """Replace every LoRA layer of ``adapted`` (PEFT's) by one of the kind that ``params`` name.

    stored  shapes in the file ``path`` that is to be loaded, whose ranks are taken; None: ranks as shapes.py gives them

    Raises ModelError where a layer is of a kind that no such adapter fits, or a stored shape does not fit the layer.
    """
    from peft.tuners.lora import LoraLayer

    lora_layers = {name: module for name, module in adapted.named_modules() if isinstance(module, LoraLayer)}
    _must_be_inner_linear(lora_layers, adapted.get_output_embeddings(), params)
    sizes = {
        name.removeprefix(_PEFT): (int(layer.in_features), int(layer.out_features))
        for name, layer in lora_layers.items()
    }
    if stored is None:
        own = dict(zip(sizes, ranks(list(sizes.values()), params), strict=True))
    else:
        own = {name: _stored_rank(name, size, params, stored, path) for name, size in sizes.items()}
    current, layers = Current(), dict[str, AdaptedLinear]()
    for index, ((path_in_model, layer), (name, size)) in enumerate(
        zip(lora_layers.items(), sizes.items(), strict=True)
    ):
        made = LAYERS[params.adapter](layer.get_base_layer(), size, own[name], index, params, current)
        parent, _, child = path_in_model.rpartition(".")
        setattr(adapted.get_submodule(parent), child, made)
        layers[name] = made
    config = adapted.peft_config["default"]
    config.r = params.rank
    config.rank_pattern = {name: layer.rank for name, layer in layers.items() if layer.rank != params.rank}
    config.alpha_pattern = {name: layers[name].scaling * rank for name, rank in config.rank_pattern.items()}
    return AdapterState(layers, current, params, adapted.get_input_embeddings().weight.device)


def _must_be_inner_linear(lora_layers: Mapping[str, Any], head: Any, params: Params) -> None:
    for name, layer in lora_layers.items():
        if layer is head or "default" not in layer.lora_A:
            raise ModelError(
                f"{name.removeprefix(_PEFT)} takes no {params.adapter} adapter. Name linear layers "
                "before the output layer, or set model.adapter: lora.",
                key="model.targets",
            )


def _stored_rank(
    name: str, size: tuple[int, int], params: Params, stored: Mapping[str, Sequence[int]], path: Path | None
) -> int:
    """The rank of a layer in a file, where all its shapes fit: no memory is taken for what is not there."""
    first = list(stored.get(f"{name}.lora_A", ()))
    rank = first[-2] if len(first) > 1 else 0
    for key, shape in shapes(size, rank, params).items():
        if rank < 1 or list(stored.get(f"{name}.{key}", ())) != list(shape):
            raise ModelError(
                f"{name}.{key} is not of a {params.adapter} adapter with {params.experts} experts on a layer of "
                f"{size[0]} to {size[1]} numbers, as metadata.json says. Train it again.",
                path=path,
            )
    return rank


def parameters(state: AdapterState) -> dict[str, Tensor]:
    """What experts.safetensors must hold, by its names: the layers' weights, and the state's weights and buffers."""
    weights = {
        f"{name}.{key}": weight
        for name, layer in state.layers.items()
        for key, weight in layer.named_parameters(recurse=False)
    }
    return weights | {_STATE + name: value for name, value in state.state_dict(keep_vars=True).items()}


def save(state: AdapterState, weights: Mapping[str, Tensor], config: Any, folder: Path) -> None:
    """Write experts.safetensors and, as an adapter of PEFT with its ``config``, the mean expert; ``weights``: by the names that
    a BehaviorModel gives them."""
    own = {name: weights[name if name.startswith(_STATE) else _MODEL + name] for name in parameters(state)}
    save_file(own, folder / EXPERTS)
    save_file(_as_lora(state, weights), folder / "adapter_model.safetensors", {"format": "pt"})
    saved = copy.copy(config)
    saved.inference_mode = True
    saved.save_pretrained(folder)


def _as_lora(state: AdapterState, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean expert, by the names that PEFT gives the weights of a LoRA adapter in a file."""
    made: dict[str, Tensor] = {}
    for name, layer in state.layers.items():
        a, b = layer.mean_expert(*(weights[f"{_MODEL}{name}.{key}"] for key in ("lora_A", "lora_B")))
        made[f"{_PEFT}{name}.lora_A.weight"] = a.contiguous()
        made[f"{_PEFT}{name}.lora_B.weight"] = b.contiguous()
    return made
