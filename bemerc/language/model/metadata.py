"""metadata.json of a model folder: what it reads, what made it and how good it was on dev; checked before it is believed.

A folder may come from anybody. Types are checked as a params file's are, sizes have bounds, and counts must agree with each
other; the weights are compared with them before memory is taken (model.load).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bemerc.core import atomic
from bemerc.core.config import from_mapping
from bemerc.core.errors import ConfigError, ModelError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.core.renames import current_path
from bemerc.core.terminal import printable
from bemerc.corpus.manifest import MODALITIES, Modality
from bemerc.language.inputs import prompts

METADATA, FORMER_METADATA = "metadata.json", "bemerc.json"
SCHEMA_VERSION = 1
MOST_TOKENS, MOST_LABELS, MOST_COLUMNS, MOST_LETTERS = 4096, 1000, 1 << 16, 200
MOST_LENGTH, MOST_WINDOW = 1 << 24, 10_000
TEMPERATURES = (1e-3, 1e3)


@dataclass(frozen=True)
class ModelMetadata:
    """metadata.json of a model folder, which needs no other file of its training to be used.

    task        align or merc
    variant     name of the inputs: T, TV, TB, TVB
    modalities  what is read beside words
    labels, corpora  of training
    backbone    the language model's name: the hub's, or a folder as it was named in training
    fingerprint what its weights must look like
    k, columns  behavior tokens per modality, and their columns
    tokens      tokens.Params and the calibration on train, as the token file holds them
    references  describe.References of train, where known
    params      the sections model, prompt and align or merc as they were
    dev         what the best epoch reached on dev
    data        fingerprints of the manifest (bemerc.provenance), and counts per split
    merged      whether the adapter was merged into a backbone that lies in the same folder
    backbone_at where the backbone's folder lies, seen from this folder; empty for a model of the hub
    trained     how many weights were trained: of the adapter, of the projectors, and of the LoRA that it is compared with; not
                said of plain LoRA
    """

    task: Literal["align", "merc"]
    variant: str
    modalities: tuple[Modality, ...]
    labels: tuple[str, ...]
    corpora: tuple[str, ...]
    backbone: str
    fingerprint: str
    k: int
    columns: Mapping[Modality, tuple[str, ...]]
    tokens: Mapping[str, Any]
    references: Any
    params: Mapping[str, Any]
    dev: Mapping[str, float]
    data: Mapping[str, Any] = field(default_factory=dict)
    merged: bool = False
    backbone_at: str = ""
    trained: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        if not 1 <= self.k <= MOST_TOKENS:
            yield f"k: must lie between 1 and {MOST_TOKENS}, not {self.k}."
        if len(set(self.modalities)) < len(self.modalities) or set(self.columns) - set(MODALITIES):
            yield f"modalities: each of {', '.join(MODALITIES)} at most once, and columns of no others."
        for modality in self.modalities:
            if not 1 <= len(self.columns.get(modality, ())) <= MOST_COLUMNS:
                yield f"columns.{modality}: must name between 1 and {MOST_COLUMNS} columns."
        yield from _label_faults(self.labels)
        if self.task == "merc" and not self.labels:
            yield "labels: a merc model has some."
        low, high = TEMPERATURES
        if not low <= self.dev.get("temperature", 1.0) <= high:
            yield f"dev.temperature: must lie between {low:g} and {high:g}, not {self.dev['temperature']}."
        if Path(self.backbone_at).is_absolute() or len(self.backbone_at) > 4096 or len(self.backbone) > 4096:
            yield "backbone_at: must be a path that begins at this folder."
        yield from self._section_faults()
        yield from _data_faults(self.data)

    def _section_faults(self) -> Iterator[str]:
        """Of the sections of params that loading and predicting read."""
        for name in ("model", "prompt", "align", "merc"):
            if not isinstance(self.params.get(name, {}), Mapping):
                yield f"params.{name}: must hold keys and values."
                return
        if "model" not in self.params:
            yield "params.model: this section is missing."
        window, length = (
            self.params.get(s, {}).get(k, 1) for s, k in (("prompt", "window"), (self.task, "max_length"))
        )
        if type(window) is not int or not 1 <= window <= MOST_WINDOW:
            yield f"params.prompt.window: must be a whole number between 1 and {MOST_WINDOW}."
        if type(length) is not int or not 1 <= length <= MOST_LENGTH:
            yield f"params.{self.task}.max_length: must be a whole number between 1 and {MOST_LENGTH}."
        try:
            from_mapping(self.params.get("prompt", {}), prompts.Params, "params.prompt")
        except ConfigError as error:
            yield str(error)
        made = self.tokens.get("params", {"k": self.k})
        if not isinstance(made, Mapping) or made.get("k") != self.k:
            yield f"tokens.params.k: must be {self.k}, as k is."
        if not isinstance(self.tokens.get("calibration", ""), str):
            yield "tokens.calibration: must be text."


def _label_faults(labels: tuple[str, ...]) -> Iterator[str]:
    if len(labels) > MOST_LABELS or len(set(labels)) < len(labels):
        yield f"labels: at most {MOST_LABELS}, each once."
    if any(not label.strip() or len(label) > MOST_LETTERS for label in labels):
        yield f"labels: each is of 1 to {MOST_LETTERS} letters."


def _data_faults(data: Mapping[str, Any]) -> Iterator[str]:
    splits = data.get("splits", {})
    counts = ("utterances", "dialogues", "speakers")
    if not isinstance(data.get("manifest", ""), str) or not isinstance(splits, Mapping):
        yield "data: must hold the manifest's fingerprint and counts per split."
        return
    for split, one in splits.items():
        whole = isinstance(one, Mapping) and all(type(one.get(key)) is int for key in counts)
        if not whole or not isinstance(one.get("labels"), Mapping):
            yield f"data.splits.{split}: must hold {', '.join(counts)} and labels."


def read_metadata(folder: Path) -> ModelMetadata:
    """metadata.json of a model folder (an earlier release's bemerc.json too); ModelError where it is not one, is of another version or claims what cannot be."""
    path = current_path(folder / METADATA, FORMER_METADATA)
    try:
        document = read_json(path, nan=True)  # a loss on dev may have been none
    except JsonError as error:
        again = "This is not what a model says of itself. Train the model again."
        raise error.become(ModelError, _no_model(folder), again, folder) from None
    if not isinstance(document, dict) or "schema_version" not in document:
        raise ModelError("this is not what a model says of itself. Train the model again.", path=path)
    version = document.pop("schema_version")
    if version != SCHEMA_VERSION:
        raise ModelError(
            f"schema version {printable(version)}, this bemerc reads {SCHEMA_VERSION}. Train the model again.",
            path=path,
        )
    try:
        return from_mapping(document, ModelMetadata, METADATA)
    except ConfigError as error:
        first = "\n".join(printable(line) for line in str(error).splitlines()[:8])
        raise ModelError(f"a fact is missing or cannot be. Train the model again.\n{first}", path=path) from None


def _no_model(folder: Path) -> str:
    """What to name in place of a folder that is no model's."""
    what = (
        f"this is no model folder, there is no {METADATA} in it" if folder.exists() else "there is no model folder here"
    )
    for top in (folder, folder.parent):
        models = sorted({file.parent for below in ("*", "*/*") for file in top.glob(f"{below}/{METADATA}")})
        models = [model for model in models if model.name != "last"]
        if models:
            some = ", ".join(printable(model, 1000) for model in models[:5])
            return f"{what}. There {'is' if len(models) == 1 else 'are'} {some}."
    return f"{what}. 'bemerc train' makes one; none comes with bemerc."


def write_metadata(folder: Path, metadata: ModelMetadata) -> None:
    """Write metadata.json. It is written last: without it the folder is no model. DiskError where the disk refuses."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(metadata)}
    if not metadata.trained:
        del document["trained"]
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    atomic.write_text(folder / METADATA, text, atomic.PUBLIC)
    with atomic.disk(folder / FORMER_METADATA):
        (folder / FORMER_METADATA).unlink(missing_ok=True)  # of a model that was trained here before


def must_name_emotions(metadata: ModelMetadata, folder: Path) -> None:
    """ModelError where the model in ``folder`` is no merc model."""
    if metadata.task != "merc":
        raise ModelError(
            f"this model was trained to {metadata.task}, not to name emotions. Name a merc model.",
            path=folder,
            name=metadata.task,
        )


def placed(metadata: ModelMetadata, folder: Path) -> ModelMetadata:
    """The metadata for a model in ``folder``: its backbone's folder is named as seen from there, and by no absolute path."""
    backbone = Path(metadata.backbone)
    if not backbone.is_dir():
        return metadata
    name = backbone.name if backbone.is_absolute() else metadata.backbone
    shape = dict(metadata.params.get("model", {})) | {"name_or_path": name}
    at = Path(os.path.relpath(backbone.absolute(), folder.absolute())).as_posix()
    return replace(metadata, backbone=name, backbone_at=at, params={**metadata.params, "model": shape})


def backbone_candidates(metadata: ModelMetadata, folder: Path) -> Iterator[Path]:
    """Folders in which the backbone of a model may lie, likeliest first: by its place as seen from the model, beside the
    model and beside each folder above it, then as it was named in training."""
    names = [Path(name) for name in (metadata.backbone_at, metadata.backbone) if name]
    near = folder.absolute()
    for base in dict.fromkeys((near, *near.parents, *folder.resolve().parents)):
        yield from (base / name for name in names if not name.is_absolute())
    yield Path(metadata.backbone)
