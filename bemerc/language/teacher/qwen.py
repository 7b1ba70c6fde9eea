"""Vision-language models of the Qwen2-VL family: loaded, and asked with images and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bemerc.core import huggingface
from bemerc.core.progress import transformers_quiet
from bemerc.language.teacher.params import Ask, Params, Picture, TeacherError

# Families whose chat templates take images in the same way; others would silently be asked wrongly.
FAMILIES = ("qwen2_vl", "qwen2_5_vl")


def load(model: str, params: Params) -> Ask:
    """Load a model of the Qwen2-VL family; returns what asks it, the likeliest token at every step.

    transformers' processor for it wants torchvision, which must be built for the very torch that is installed; here the
    picture's and the words' own auto classes are used, and the places of a picture are counted as that processor counts.
    Raises TeacherError where the model cannot be had, or is of another family.
    """
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

    if params.device == "cuda" and not torch.cuda.is_available():
        raise TeacherError("cuda, but torch sees no GPU here. Take auto or cpu.", key="teacher.device")
    try:
        folder = huggingface.folder_of(model)
        config = huggingface.load(AutoConfig, folder)
        if config.model_type not in FAMILIES:
            raise TeacherError(
                f"the teacher is a model of the Qwen2-VL family ({', '.join(FAMILIES)}), and this is a "
                f"{config.model_type} model. Name another, such as Qwen/Qwen2-VL-2B-Instruct.",
                path=model,
                name=config.model_type,
            )
        with transformers_quiet(advice=False):
            image_processor = huggingface.load(AutoImageProcessor, folder, backend="pil")
            tokenizer = huggingface.load(AutoTokenizer, folder)
            dtype = params.dtype if params.dtype == "auto" else getattr(torch, params.dtype)
            kind = AutoModelForImageTextToText
            network = huggingface.load(kind, folder, dtype=dtype, use_safetensors=True).eval()
    except huggingface.PretrainedError as error:
        raise TeacherError(
            f"the vision-language model cannot be loaded ({error.reason}). Give a folder that holds one with its "
            "tokenizer and image processor, or a name that this machine can download.",
            path=model,
        ) from error
    if not getattr(tokenizer, "chat_template", None):
        raise TeacherError(
            "its tokenizer has no chat template. Name a model that was tuned to answer (Instruct).", path=model
        )
    where = ("cuda" if torch.cuda.is_available() else "cpu") if params.device == "auto" else params.device
    network.to(where)
    return lambda pictures, talk: _answer(network, tokenizer, image_processor, pictures, talk, params.max_new_tokens)


def _answer(
    network: Any, tokenizer: Any, image_processor: Any, pictures: Sequence[Picture], talk: Sequence[str], limit: int
) -> str:
    """The model's next words in the conversation ``talk``, whose first question comes with the pictures."""
    import torch

    inputs = image_processor(images=list(pictures), return_tensors="pt")
    mark = network.config.image_token_id
    ids = torch.tensor(
        [encode(tokenizer, talk, position_counts(inputs, image_processor.merge_size), mark)], device=network.device
    )
    arguments = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == mark).int(),
        "pixel_values": inputs["pixel_values"].to(network.device, network.dtype),
        "image_grid_thw": inputs["image_grid_thw"].to(network.device),
    }
    try:
        with torch.inference_mode(), transformers_quiet(advice=False):
            written = network.generate(**arguments, max_new_tokens=limit, do_sample=False)
    except torch.cuda.OutOfMemoryError:
        raise TeacherError(
            "The GPU's memory does not suffice for the teacher. Lower teacher.frames or teacher.side."
        ) from None
    return str(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def position_counts(inputs: Mapping[str, Any], merge: int) -> list[int]:
    """How many positions each picture takes: its patches, ``merge`` x ``merge`` of them to a position."""
    return [int(grid.prod()) // merge**2 for grid in inputs["image_grid_thw"]]


def encode(tokenizer: Any, talk: Sequence[str], counts: Sequence[int], mark: int) -> list[int]:
    """Token ids of a conversation in the model's chat template, each picture as many ``mark`` as it takes.

    Nothing that a speaker says can be taken for a mark of the template.
    """
    words = [[{"type": "text", "text": text.replace("<|", "< |")}] for text in talk]
    words[0] = [*({"type": "image"} for _ in counts), *words[0]]
    messages = [{"role": "assistant" if i % 2 else "user", "content": content} for i, content in enumerate(words)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    if ids.count(mark) != len(counts):
        raise TeacherError(
            f"its chat template shows {ids.count(mark)} pictures of {len(counts)}. Name a model of the Qwen2-VL family.",
            path=tokenizer.name_or_path,
        )
    each = iter(counts)
    return [id for token in ids for id in ([token] * next(each) if token == mark else [token])]
