"""Descriptions of behavior that an align model writes, slot by slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bemerc.behavior.describe.description import Description
from bemerc.core.errors import ModelError
from bemerc.core.progress import bar
from bemerc.language.inputs import batching, packing
from bemerc.language.inputs import prompts as prompt
from bemerc.language.model import model_folder
from bemerc.language.model.devices import enough_memory
from bemerc.language.predict import score_labels

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile


def generate_descriptions(
    folder: Path,
    ids: Sequence[str],
    tokens: TokenFile,
    params: score_labels.Params,
    limit: int = 128,
    backbone: str | None = None,
) -> dict[str, Description]:
    """What the align model in ``folder`` says of each utterance's behavior, the likeliest token at every step.

    Slots that the model's modalities cannot answer are empty; ``backbone``: see model.load. Raises ModelError where the folder holds no align model, or
    the tokens are not of its kind.
    """
    loaded, metadata = model_folder.load(folder, backbone, params.device)
    if metadata.task != "align":
        raise ModelError(
            f"this model was trained for {metadata.task}, not to describe. Name an align model.",
            path=folder,
            name=metadata.task,
        )
    model_folder.check_tokens(metadata, tokens.k, tokens.columns, folder)
    loaded.merge()
    encoder = score_labels.encoder_for(loaded, score_labels.prompt_params(folder, metadata), loaded.max_length)
    slots_of: dict[str, dict[str, str]] = {id: dict.fromkeys(prompt.SLOTS, "") for id in ids}
    with (
        enough_memory(),
        torch.inference_mode(),
        bar("descriptions", len(ids) * len(prompt.SLOTS), "slots") as advance,
    ):
        for slot in prompt.SLOTS:
            # One slot's prompts are the same words around K tokens per modality: all of one length.
            asked = [one for id in ids for one in prompt.align_prompts(id, {slot: "?"}, metadata.modalities)]
            for start in range(0, len(asked), params.batch):
                rows = [packing.make_tree([encoder.question(one)]) for one in asked[start : start + params.batch]]
                batch = batching.collate(rows, tokens)
                for (id, _), written in zip(batch.keys, loaded.generate(batch, limit, encoder.end), strict=True):
                    slots_of[id][slot] = prompt.read_slot(loaded.tokenizer.decode(written))
                advance(len(rows))
            advance(len(ids) - len(asked))  # a slot that the model's modalities cannot answer
    return {id: Description(**slots, reasons={}) for id, slots in slots_of.items()}
