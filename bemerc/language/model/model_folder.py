"""Model folders: a model to train from one, or a trained one to predict with.

A folder may come from anybody, so what it claims is compared with the shapes of its weights before memory is taken, and its
backbone is known again by a fingerprint. Only safetensors are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bemerc.core import huggingface
from bemerc.core.config import from_mapping
from bemerc.core.errors import ModelError
from bemerc.core.renames import current_keys
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import Modality
from bemerc.language.model import tree_attention
from bemerc.language.model.adapters import inject
from bemerc.language.model.adapters.state import AdapterState
from bemerc.language.model.behavior_model import PROJECTORS, BehaviorModel
from bemerc.language.model.metadata import METADATA, ModelMetadata, backbone_candidates, read_metadata
from bemerc.language.model.params import Params
from bemerc.language.model.pretrained import NON_TEXT_MODULES, fingerprint, load_backbone, quiet
from bemerc.language.model.projector import FORMER_WEIGHTS
from bemerc.language.model.tree_attention import TreeSupport

ADAPTER = "adapter_model.safetensors"


def build(
    params: Params, widths: Mapping[Modality, int], k: int, start: Path | None = None, trees: TreeSupport | None = None
) -> BehaviorModel:
    """A model to train: fresh, or from the model folder ``start``, with a projector for every modality in ``widths``.

    ``trees``: the most that is asked of it in rows that branch; None: what suits the device.

    Raises ModelError where the backbone cannot be had, or ``start`` was made with another backbone or adapter shape.
    """
    lm, tokenizer = load_backbone(params)
    backbone, supported = fingerprint(params.name_or_path), tree_attention.supported_trees(lm, trees)
    if start is None:
        return fresh(lm, tokenizer, widths, k, params, backbone, supported)
    _must_fit(read_metadata(start), params, backbone, start)
    adapted, state = _adapter(lm, start, params, trainable=True)
    model = BehaviorModel(adapted, tokenizer, widths, k, params, backbone, supported, state)
    _load_projectors(model, start)
    return _ready(model, lm)


def fresh(
    lm: Any,
    tokenizer: Any,
    widths: Mapping[Modality, int],
    k: int,
    params: Params,
    backbone: str = "",
    trees: TreeSupport = "masks",
) -> BehaviorModel:
    """A fresh model on a backbone that is there already, be it without weights (on the meta device)."""
    plain = params.adapter == "lora"
    adapted = _lora(lm, params if plain else replace(params, rank=1))
    state = None if plain else inject.inject(adapted, params)
    return _ready(BehaviorModel(adapted, tokenizer, widths, k, params, backbone, trees, state), lm)


def _lora(lm: Any, params: Params) -> Any:
    """The backbone with a fresh adapter of the shape that ``params`` say."""
    import peft

    shape = peft.LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,
        lora_dropout=params.lora_dropout,
        target_modules="all-linear" if params.targets == ("all-linear",) else list(params.targets),
        exclude_modules=NON_TEXT_MODULES if lm.config.get_text_config() is not lm.config else None,
        task_type="CAUSAL_LM",
    )
    try:
        with quiet():
            return peft.get_peft_model(lm, shape)
    except ValueError as error:
        raise ModelError(str(error), key="model.targets") from None


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
    trees: TreeSupport | None = None,
) -> tuple[BehaviorModel, ModelMetadata]:
    """A trained model, ready to predict, and its metadata.

    backbone  another place where the backbone lies: a folder, or a name of the hub, which is fetched where it is not here.
              None: it is looked for beside the model (metadata.backbone_candidates) and in Hugging Face's cache
    quantize  in place of what held in training
    trees     see ``build``

    Raises ModelError where the folder is no model, claims what its weights do not hold, or the backbone is not found.
    """
    metadata = read_metadata(folder)
    stored = dict(metadata.params["model"]) | {"device": device}
    stored |= {} if quantize is None else {"quantize": quantize}
    params = from_mapping(stored, Params, f"{folder / METADATA}: params.model")
    _must_hold_what_it_claims(metadata, params, folder)
    params = replace(
        params, name_or_path=str(folder if metadata.merged else _find_backbone(metadata, folder, backbone))
    )
    lm, tokenizer = load_backbone(params)
    supported = tree_attention.supported_trees(lm, trees)
    adapted, state = (lm, None) if metadata.merged else _adapter(lm, folder, params, trainable=False)
    widths = {m: len(metadata.columns[m]) for m in metadata.modalities}
    model = BehaviorModel(adapted, tokenizer, widths, metadata.k, params, metadata.fingerprint, supported, state)
    _load_projectors(model, folder)
    return model.eval(), metadata


def _find_backbone(metadata: ModelMetadata, folder: Path, requested: str | None) -> Path:
    """The folder of the backbone that a model was trained on, known by its fingerprint. Only a name that a person gave
    may be asked of the hub: a model folder's own word could send anybody anywhere."""
    if requested is not None:
        try:
            candidate = huggingface.folder_of(requested)
        except huggingface.PretrainedError as error:
            raise ModelError(f"{error} Name the folder of the backbone '{printable(metadata.backbone)}'.") from None
        _must_be_its_backbone(metadata, fingerprint(str(candidate)), requested, folder)
        return candidate
    candidates = [p for p in dict.fromkeys(backbone_candidates(metadata, folder)) if (p / huggingface.CONFIG).is_file()]
    of_hub = not metadata.backbone_at and huggingface.is_hub_name(metadata.backbone)
    cached = huggingface.cached(metadata.backbone) if of_hub else None
    mismatched = []
    for candidate in [*candidates, *([cached] if cached else [])]:
        with contextlib.suppress(ModelError):  # something else of the same name
            actual = fingerprint(str(candidate))
            if actual == metadata.fingerprint:
                return candidate
            mismatched.append((candidate, actual))
    for candidate, actual in mismatched:
        _must_be_its_backbone(metadata, actual, str(candidate), folder)
    hub = f", or {metadata.backbone} to fetch it" if of_hub else ""
    raise ModelError(
        f"it was trained on the backbone '{printable(metadata.backbone)}', which is not found from this folder or the "
        f"folders above it, nor in Hugging Face's cache. Name its folder with --backbone{hub}.",
        path=folder,
    )


def _must_hold_what_it_claims(metadata: ModelMetadata, params: Params, folder: Path) -> None:
    """ModelError where metadata.json and the shapes of the weights differ: no memory is taken for what is not there."""
    if (folder / inject.EXPERTS).exists() != (params.adapter != "lora"):
        what = "says otherwise" if params.adapter == "lora" else "is not there"
        raise ModelError(
            f"its metadata.json says that its adapter is {params.adapter}, and {inject.EXPERTS} {what}. Train it again.",
            path=folder,
        )
    if not metadata.merged and params.adapter == "lora":
        for name, shape in _shapes(folder / ADAPTER).items():
            if "lora_A" in name and shape[:1] != [params.rank]:
                raise ModelError(
                    f"{name} has {shape}, and model.rank is {params.rank}. Train it again.", path=folder / ADAPTER
                )
    shapes = current_keys(_shapes(folder / PROJECTORS), FORMER_WEIGHTS, folder / PROJECTORS)
    for modality in metadata.modalities:
        position, linear = (shapes.get(f"{modality}.{name}", []) for name in ("position", "linear.weight"))
        if position[:1] != [metadata.k] or linear[1:] != [2 * len(metadata.columns[modality])]:
            raise ModelError(
                f"its projector for {modality} is not of K = {metadata.k} behavior tokens of "
                f"{len(metadata.columns[modality])} columns. Train it again.",
                path=folder / PROJECTORS,
            )


def _shapes(path: Path) -> dict[str, list[int]]:
    """Weights' shapes by name, of which nothing else is read."""
    if not path.is_file():
        raise ModelError(
            "these weights are not there; pickled weights are refused. Train it again.", path=path, missing=True
        )
    try:
        with safe_open(path, "pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"this is no safetensors file ({error}). Train it again.", path=path) from None


def check_tokens(metadata: ModelMetadata, k: int, columns: Mapping[Modality, tuple[str, ...]], folder: Path) -> None:
    """ModelError where behavior tokens are not of the kind that the model in ``folder`` was trained on."""
    if k != metadata.k:
        raise ModelError(
            f"it was trained with K = {metadata.k} behavior tokens, these are {k}. Make them with tokens.k: {metadata.k}, or "
            "train it again.",
            path=folder,
        )
    for modality in metadata.modalities:
        given, expected = columns.get(modality, ()), metadata.columns[modality]
        if tuple(given) != expected:
            different = sorted(set(given) ^ set(expected))[:4] or ["their order"]
            raise ModelError(
                f"its {modality} tokens have {len(expected)} columns, these have {len(given)}; they differ in "
                f"{', '.join(different)}. Make the tokens as for training, or train it again.",
                path=folder,
                name=modality,
            )


def _must_fit(metadata: ModelMetadata, params: Params, actual: str, folder: Path) -> None:
    _must_be_its_backbone(metadata, actual, params.name_or_path, folder)
    then = asdict(Params()) | dict(metadata.params["model"])
    keys = ["rank", "alpha", "targets", "projector_hidden", "adapter"]
    if params.adapter != "lora":
        keys += ["experts", "equal_parameters"]
    for key in keys:
        now = asdict(params)[key]
        if list(now) != list(then[key]) if key == "targets" else now != then[key]:
            raise ModelError(
                f"it was trained with model.{key} = {then[key]}, now it is {now}. Train it again with "
                f"it (an align model: bemerc train --stage 1), or set model.{key} back.",
                path=folder,
                name=f"model.{key}",
            )


def _must_be_its_backbone(metadata: ModelMetadata, actual: str, name: str, folder: Path) -> None:
    if actual != metadata.fingerprint:
        raise ModelError(
            f"it was trained on another backbone ('{printable(metadata.backbone)}', {printable(metadata.fingerprint[:8])}) than "
            f"'{name}' ({actual[:8]}). Name that one, or train again.",
            path=folder,
            name=metadata.backbone,
        )


def _adapter(lm: Any, folder: Path, params: Params, trainable: bool) -> tuple[Any, AdapterState | None]:
    """The backbone with the adapter in ``folder``, and what its layers share where it is no plain LoRA.

    adapter_config.json is written for people who use PEFT alone and is not read here: it could name other models to load,
    patterns to search with and ranks that fill the memory. The shape is that of ``params``; the weights must fit it.
    """
    import peft

    state = None
    if params.adapter == "lora":
        weights = _weights(folder / ADAPTER)
        adapted = _lora(lm, params)
        wanted = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        _must_be_of_shape(folder / ADAPTER, weights, wanted)
        peft.set_peft_model_state_dict(adapted, weights)
    else:
        path = folder / inject.EXPERTS
        stored, adapted = _shapes(path), _lora(lm, replace(params, rank=1))
        state = inject.inject(adapted, params, stored, path)
        _overwrite(inject.parameters(state), _weights(path), path)
    for weight in (*adapted.parameters(), *(() if state is None else state.parameters())):
        weight.requires_grad_(weight.requires_grad and trainable)
    return adapted, state


def _overwrite(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path) -> None:
    _must_be_of_shape(path, weights, parameters)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _weights(path: Path) -> dict[str, Tensor]:
    _shapes(path)
    weights: dict[str, Tensor] = load_file(path)
    return weights


def _must_be_of_shape(path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """ModelError where weights are missing, of another shape, no floats or not finite."""
    for name, weight in expected.items():
        if name not in weights or weights[name].shape != weight.shape:
            has = f"has {list(weights[name].shape)}" if name in weights else "is missing"
            raise ModelError(f"{name} {has}; the model needs {list(weight.shape)}. Train it again.", path=path)
        if not weights[name].is_floating_point() or not weights[name].isfinite().all():
            raise ModelError(
                f"{name} holds {weights[name].dtype} or values that are no numbers. Train it again.", path=path
            )


def _load_projectors(model: BehaviorModel, folder: Path) -> None:
    """Weights of the modalities that the model uses; a folder may know more of them."""
    path, expected = folder / PROJECTORS, model.projectors.state_dict()
    weights = current_keys(_weights(path), FORMER_WEIGHTS, path)
    missing = sorted({name.split(".")[0] for name in expected if name not in weights})
    if missing:
        raise ModelError(f"it has no projector for {', '.join(missing)}. Train it with these modalities.", path=folder)
    _must_be_of_shape(path, weights, expected)
    model.projectors.load_state_dict({name: weights[name] for name in expected})
