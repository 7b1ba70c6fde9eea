"""A trained model as one folder that needs no other: the adapter is merged into the backbone, which comes along.

What lies there is an ordinary transformers folder with the projectors and bemerc.json beside it; ``bemerc predict`` reads
it like any model folder. The backbone is loaded in its own dtype for that, also where it was quantised in training:
merging into rounded weights would round the adapter away.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError

from bemerc import model
from bemerc.errors import ModelError
from bemerc.model import pretrained, tested
from bemerc.variant import STUDENT


def run(folder: Path, out: Path, backbone: str | None = None, device: str = "cpu") -> model.Facts:
    """Write the model in ``folder``, merged, as folder ``out``; returns what the new folder says of itself.

    ``backbone`` names another place where the same backbone lies. Raises ModelError where ``folder`` is no such model or
    is merged already, ``out`` holds something, or the disk is full; then nothing is left in ``out``.
    """
    facts = model.read_facts(folder)
    if facts.merged:
        raise ModelError(f"{folder}: this model was exported already; it can be copied as it is.")
    if (folder / STUDENT).exists():
        raise ModelError(
            f"{folder}: this model reads what the align model in its folder '{STUDENT}' says, and that needs the backbone as it "
            "was. Deploy the folder with its backbone, or train a variant whose description is not the student's."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out}: there is something in the way. Name a new folder with --out, or remove this one.")
    loaded, _ = model.load(folder, backbone, device, quantize="none")
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        with pretrained.quiet():
            loaded.lm.merge_and_unload().save_pretrained(partial)
        loaded.tokenizer.save_pretrained(partial)
        shape = dict(facts.params["model"]) | {"quantize": "none"}
        known = replace(
            facts,
            fingerprint=pretrained.fingerprint(str(partial)),
            merged=True,
            params={**facts.params, "model": shape},
        )
        model.write_beside(partial, loaded.projectors.state_dict(), known)
        if (test := tested.known(folder)) is not None:
            tested.keep(partial, known, test)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError(
            f"{out}: the model could not be written ({error}). Make room, or name another folder."
        ) from None
    return known
