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

from bemerc.core.errors import ModelError
from bemerc.language.inputs.variants import STUDENT
from bemerc.language.model import behavior_model, pretrained
from bemerc.release import test_metrics


def run(folder: Path, out: Path, backbone: str | None = None, device: str = "cpu") -> behavior_model.Facts:
    """Write the model in ``folder``, merged, as folder ``out``; returns the new folder's metadata.

    ``backbone``: another path or name of the same backbone. Raises ModelError where ``folder`` is no model or merged
    already, ``out`` is not empty, or the disk is full; then nothing is left in ``out``.
    """
    for fault in pretrained.device_faults(device):
        raise ModelError(fault)
    facts = behavior_model.read_facts(folder)
    if facts.merged:
        raise ModelError(f"{folder}: this model was exported already; it can be copied as it is.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out}: this folder is not empty. Name a new folder with --out, or remove this one.")
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        merged = _merge(folder, facts, partial, backbone, device)
        if (folder / STUDENT).is_dir():
            _merge(folder / STUDENT, behavior_model.read_facts(folder / STUDENT), partial / STUDENT, backbone, device)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{out}: the model could not be written ({error}). Make room, or name another folder."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return merged


def _merge(
    folder: Path, facts: behavior_model.Facts, out: Path, backbone: str | None, device: str
) -> behavior_model.Facts:
    """One model, merged, as folder ``out``."""
    loaded, _ = behavior_model.load(folder, backbone, device, quantize="none")
    with pretrained.quiet():
        loaded.lm.merge_and_unload().save_pretrained(out)
    loaded.tokenizer.save_pretrained(out)
    shape = dict(facts.params["model"]) | {"quantize": "none"}
    params, weights = {**facts.params, "model": shape}, pretrained.fingerprint(str(out))
    merged = replace(facts, fingerprint=weights, merged=True, params=params)
    behavior_model.write_beside(out, loaded.projectors.state_dict(), merged)
    if (test := test_metrics.read(folder)) is not None:
        test_metrics.write(out, merged, test)
    return merged
