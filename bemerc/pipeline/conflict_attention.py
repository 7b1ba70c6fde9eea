"""Conflict items and a model -> its attention on voice, face and body, and how that is to be moved.

in: data/manifest.jsonl, data/tokens.h5, data/conflict.jsonl, models/merc/VARIANT/, the descriptions that it reads.
out: reallocate.json in the model's folder, where calibrated
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bemerc.behavior.tokens import words_alone
from bemerc.behavior.tokens.file import TokenFile
from bemerc.corpus.conflict import ConflictSet, must_fit, read_conflict_set
from bemerc.corpus.manifest import Manifest, Split, read_manifest
from bemerc.language.inputs import variants
from bemerc.language.predict import attention_maps, calibrate_reallocation, reallocation_file, score_labels
from bemerc.language.predict.attention_maps import Floats
from bemerc.language.predict.reallocation_file import Reallocation
from bemerc.pipeline.project import Project


@dataclass(frozen=True)
class _Opened:
    """A model and what it is to be asked about."""

    model: score_labels.MercModel
    manifest: Manifest
    tokens: TokenFile
    items: ConflictSet
    described: variants.Described
    predict: score_labels.Params


def _open(project: Project, folder: Path, items: Path | None, backbone: str | None, split: Split) -> _Opened:
    file, manifest = items or project.conflict_items, read_manifest(project.manifest_file)
    read = read_conflict_set(file)
    must_fit(read, manifest, file, split)
    predict = project.load("predict", score_labels.Params)
    model = score_labels.MercModel(folder, backbone, predict.device)
    inputs = variants.of_model(model.metadata.params, model.metadata.modalities)
    tokens = words_alone.open_if_read(project.tokens, manifest, model.metadata.k, inputs.modalities)
    described = variants.read_described(inputs, project.data, manifest)
    return _Opened(model, manifest, tokens, read, described, predict)


def calibrate(
    project: Project,
    folder: Path,
    params: calibrate_reallocation.Params,
    items: Path | None = None,
    backbone: str | None = None,
) -> tuple[Path, Reallocation]:
    """Measure on dev how the attention of the model in ``folder`` is to be moved, and write it there."""
    of = _open(project, folder, items, backbone, "dev")
    with of.tokens:
        made = calibrate_reallocation.run(of.model, of.manifest, of.tokens, of.items, params, of.predict, of.described)
    return reallocation_file.write(folder, made), made


def attention(
    project: Project, folder: Path, split: Split = "dev", items: Path | None = None, backbone: str | None = None
) -> dict[str, Floats]:
    """Subset -> (layers, heads) the voice's share of the attention on behavior where labels are scored, its median over items."""
    of = _open(project, folder, items, backbone, split)
    some = of.items.of(split)
    with of.tokens:
        plain = replace(of.predict, reallocate="none")
        maps = attention_maps.measure(of.model, of.manifest, of.tokens, some, plain, of.described)
    return attention_maps.by_subset(maps, some)
