"""The frozen language model and its tokenizer, as transformers finds them, and a fingerprint to know them again by.

Any causal model, but nothing that runs code or stays silent: safetensors only, never a repository's own classes, no
weight drawn at random because a file lacked it, and no tokenizer with which an answer could not end. The fingerprint is
taken from the files and not from what was loaded, so that one backbone is the same in every dtype and quantisation.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bemerc.core import huggingface
from bemerc.core.errors import ModelError
from bemerc.core.huggingface import PretrainedError
from bemerc.core.jsonfile import JsonError, parse_json
from bemerc.core.progress import transformers_quiet
from bemerc.core.terminal import printable
from bemerc.language.model.devices import device_of

if TYPE_CHECKING:
    from bemerc.language.model.params import Params

# Places per tensor that a fingerprint looks at, and bytes at each: enough to tell two models apart, little enough for 7B.
_SAMPLES, _BYTES = 64, 16
_HEADER_BYTES = 100 << 20  # safetensors' own limit
# Vision and audio towers get no LoRA: behavior comes in as tokens.
NON_TEXT_MODULES = r".*(vision|visual|audio|image|multi_modal|multimodal).*"


def load_backbone(params: Params) -> tuple[Any, Any]:
    """The frozen language model and its tokenizer; ModelError where they cannot be had or cannot be used."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device_of(params.device)  # a GPU that is not there is named before minutes of loading
    name = params.name_or_path
    _must_not_be_gguf(name)
    try:
        folder = huggingface.folder_of(name)
        _must_be_safetensors(folder)
        with quiet():
            lm, loading_info = huggingface.load(
                AutoModelForCausalLM,
                folder,
                dtype=getattr(torch, params.dtype),
                attn_implementation=None if params.attention == "auto" else params.attention,
                quantization_config=_quantization(params),
                device_map=_device_map(params),
                use_safetensors=True,
                output_loading_info=True,
            )
            lm = lm if _device_map(params) else lm.to(device_of(params.device))
            tokenizer = huggingface.load(AutoTokenizer, folder)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"model.name_or_path '{name}': the weights do not fit in the GPU's memory. Set model.dtype: "
            "bfloat16, model.quantize: 4bit, or model.device: spread; `bemerc train --estimate` says what is needed."
        ) from None
    except PretrainedError as error:
        if params.attention != "auto" and "attention implementation" in error.reason:
            raise ModelError(
                f"{params.attention} is not made for '{name}' in this transformers. Set it to auto.",
                key="model.attention",
            ) from None
        raise ModelError(
            f"model.name_or_path '{printable(name)}': no causal language model could be loaded from there ({error.reason}). "
            "Run 'bemerc backbone' for the embedded one, or name a folder or a model that transformers can find."
        ) from error
    _must_be_whole(name, loading_info)
    check_tokenizer(name, tokenizer, len(lm.get_input_embeddings().weight))
    lm.requires_grad_(False)
    return lm, tokenizer


def _must_not_be_gguf(name: str) -> None:
    """A GGUF file holds rounded weights in llama.cpp's layout; it is converted once, not at every start."""
    path = Path(name)
    ggufs = [path] if path.suffix == ".gguf" else sorted(path.glob("*.gguf")) if path.is_dir() else []
    if ggufs and (path.suffix == ".gguf" or not huggingface.weight_files(path)):
        raise ModelError(
            f"model.name_or_path '{printable(name)}': this is a model in GGUF. Convert it once, `bemerc model get {printable(ggufs[0])} "
            "--out models/NAME`, and name that folder."
        )


def _must_be_safetensors(folder: Path) -> None:
    if not huggingface.weight_files(folder):
        raise ModelError(
            "there are no safetensors weights in this folder, and pickled ones are refused because loading them "
            "runs whatever they hold. Save the model with save_pretrained(..., safe_serialization=True).",
            path=folder,
            missing=True,
        )


def _device_map(params: Params) -> Any:
    """Where accelerate is to put the weights; None = transformers loads them and we move them."""
    if params.device == "spread":
        return "auto"
    return None if params.quantize == "none" else {"": device_of(params.device)}


def _quantization(params: Params) -> Any:
    """transformers' quantization config; None = weights as they are."""
    if params.quantize == "none":
        return None
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ModelError(
            f"model.quantize is {params.quantize}, which needs bitsandbytes, and that is not installed: "
            'pip install "bemerc[quantize]", or set model.quantize: none.'
        ) from None
    from transformers import BitsAndBytesConfig

    if params.quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, params.dtype),
    )


def _must_be_whole(name: str, loading_info: Any) -> None:
    """transformers draws at random what a file lacks, and says so in a table that nobody reads."""
    for what, keys in (
        ("lack", loading_info.get("missing_keys")),
        ("have in another shape", loading_info.get("mismatched_keys")),
    ):
        if keys:
            first = sorted(str(key) for key in keys)[0]
            raise ModelError(
                f"model.name_or_path '{name}': its files {what} {len(keys)} of the model's weights, such as {first}. "
                "Download it again, or name a model whose config.json is of the same class as its weights.",
                name=first,
            )


def check_tokenizer(name: str, tokenizer: Any, rows: int) -> None:
    """ModelError where answers could not end, or its tokens have no place among ``rows`` embeddings."""
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "its tokenizer has no end-of-text token, so no answer could end. Name another backbone.", path=name
        )
    if tokenizer.eos_token_id == tokenizer.unk_token_id:
        raise ModelError(
            f"'{tokenizer.eos_token}' is its tokenizer's end-of-text token and its unknown token too, so an unknown "
            "word would end an answer. Give the tokenizer an end-of-text token of its own.",
            path=name,
        )
    # Tokens added later may lack an embedding as long as nobody uses them.
    most = max(tokenizer.vocab_size - 1, tokenizer.eos_token_id, tokenizer.bos_token_id or 0)
    if most >= rows:
        raise ModelError(
            f"its tokenizer needs {most + 1} embeddings, its model has {rows}. Tokenizer and model are not of one "
            "kind: take both from one place.",
            path=name,
        )


# --------------------------------------------------------------------------------------------------------- fingerprint


def fingerprint(name: str) -> str:
    """A hash of the names, types and shapes of a backbone's weights and of some bytes of each.

    The same files give the same wherever they lie, and however they are cut into shards. ``name`` is a folder, or a model
    in Hugging Face's cache. Raises ModelError where there are no such files.
    """
    try:
        files = huggingface.weight_files(huggingface.folder_of(name, download=False))
    except PretrainedError as error:
        raise ModelError(f"{error} Name a folder that holds the model, or download it first.") from None
    entries: list[tuple[str, bytes]] = []
    for path in files:
        try:
            with path.open("rb") as file:
                start, header = _header(path, file)
                entries += [
                    (key, _sample_bytes(file, start, key, one)) for key, one in header.items() if key[:2] != "__"
                ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, JsonError) as error:
            raise ModelError(
                f"this is no safetensors file ({error}). Download the backbone again.", path=path
            ) from None
    digest = hashlib.sha256()
    for _, sample in sorted(entries):
        digest.update(sample)
    return digest.hexdigest()[:32]


def _header(path: Path, file: Any) -> tuple[int, Any]:
    """Where the tensors of a safetensors file begin, and what its header says of them."""
    length = int.from_bytes(file.read(8), "little")
    if length > min(path.stat().st_size, _HEADER_BYTES):
        raise ValueError(f"its header claims {length} bytes")
    return 8 + length, parse_json(file.read(length), path)


def _sample_bytes(file: Any, start: int, key: str, entry: Any) -> bytes:
    """What a fingerprint sees of one tensor."""
    first, last = entry["data_offsets"]
    if not 0 <= first <= last:
        raise ValueError(f"the offsets of {printable(key)} are none")
    stride = max(_BYTES, (last - first) // _SAMPLES // _BYTES * _BYTES)
    parts = [f"{key} {entry['dtype']} {entry['shape']}".encode()]
    for offset in range(first, last, stride):
        file.seek(start + offset)
        parts.append(file.read(min(_BYTES, last - offset)))
    return b"".join(parts)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loading bars of transformers, one per model, say nothing that ours do not; nor does PEFT's use of an older name."""
    with transformers_quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        yield
