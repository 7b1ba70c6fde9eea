"""Export a trained model as one self-contained folder: backbone with the adapter merged in, tokenizer, projectors.

It is an ordinary transformers folder with bemerc's own files beside the weights; ``bemerc predict`` reads it like any
model folder. The backbone is loaded in its own dtype, also where training quantised it, since merging into rounded
weights would round the adapter away. A model that reads an align model's descriptions takes that one along, in a
folder of its own and merged too.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from bemerc.core import atomic
from bemerc.core.errors import ModelError
from bemerc.language.inputs.variants import CROSSFIT, align_folder
from bemerc.language.model import behavior_model, model_folder, pretrained
from bemerc.language.model.devices import device_faults
from bemerc.language.predict import modality_gate, reallocation_file
from bemerc.release import test_metrics


def run(folder: Path, out: Path, backbone: str | None = None, device: str = "cpu") -> behavior_model.ModelMetadata:
    """Write the model in ``folder``, merged, as folder ``out``; returns the new folder's metadata.

    ``backbone``: another path or name of the same backbone. Raises ModelError where ``folder`` is no model, merged already or
    of an adapter that cannot be, ``out`` is not empty, or the disk is full; then nothing is left in ``out``.
    """
    for fault in device_faults(device):
        raise ModelError(fault)
    metadata = behavior_model.read_metadata(folder)
    if metadata.merged:
        raise ModelError("this model was exported already; it can be copied as it is.", path=folder)
    _must_be_mergeable(folder, metadata)
    if not atomic.is_free(out):
        raise ModelError("this folder is not empty. Name a new folder with --out, or remove this one.", path=out)
    try:
        with atomic.new_folder(out) as partial:
            merged = _merge(folder, metadata, partial, backbone, device)
            if (align := align_folder(folder)).is_dir():
                _merge(align, behavior_model.read_metadata(align), partial / CROSSFIT, backbone, device)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the model could not be written ({error}). Make room, or name another folder.", path=out
        ) from None
    return merged


def _must_be_mergeable(folder: Path, metadata: behavior_model.ModelMetadata) -> None:
    adapter = metadata.params["model"].get("adapter", "lora")
    if adapter != "lora":
        raise ModelError(
            f"its adapter ({adapter}) differs from position to position, so no one matrix can stand for it and it "
            "cannot be merged. Hand on the folder as it is, together with its backbone.",
            path=folder,
        )


def _merge(
    folder: Path, metadata: behavior_model.ModelMetadata, out: Path, backbone: str | None, device: str
) -> behavior_model.ModelMetadata:
    """One model, merged, as folder ``out``."""
    loaded, _ = model_folder.load(folder, backbone, device, quantize="none")
    with pretrained.quiet():
        loaded.lm.merge_and_unload().save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)
    shape = dict(metadata.params["model"]) | {"quantize": "none"}
    params, weights = {**metadata.params, "model": shape}, pretrained.fingerprint(str(out))
    merged = replace(metadata, fingerprint=weights, merged=True, params=params)
    if modality_gate.read(folder, metadata) is not None:
        shutil.copyfile(folder / modality_gate.GATE, out / modality_gate.GATE)
    behavior_model.write_beside(out, loaded.projectors.state_dict(), merged)
    if (test := test_metrics.read(folder)) is not None:
        test_metrics.write(out, merged, test)
    if (folder / reallocation_file.FILE).exists():
        reallocation_file.carry(folder, metadata, out, merged)
    return merged
