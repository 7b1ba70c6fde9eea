"""Systems for the judge: model folders and predictions files, by name, and what they say of the conflict items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bemerc.behavior.tokens import words_alone
from bemerc.core.errors import BemercError, ModelError
from bemerc.core.terminal import printable
from bemerc.corpus.conflict import ConflictItem, ConflictSet
from bemerc.corpus.manifest import Manifest, Split
from bemerc.evaluate import test_set
from bemerc.evaluate.conflict.items import JUDGED, System, kind_of
from bemerc.evaluate.metrics import Floats
from bemerc.language.inputs import variants
from bemerc.language.model.metadata import ModelMetadata, read_metadata
from bemerc.language.predict.modes import MODES, Mode
from bemerc.language.predict.records import read_predictions

if TYPE_CHECKING:
    from bemerc.language.predict import score_labels

_SUFFIX = ".jsonl"


class SystemNameError(BemercError):
    """Systems are named so that one cannot tell them apart. ``name``: the one in question."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, name=name)


class DeafModelError(ModelError):
    """A model reads neither face nor voice, so that it cannot follow either. ``path``: its folder; ``name``: its variant."""

    def __init__(self, folder: Path, variant: str) -> None:
        super().__init__(
            f"{printable(variant)} reads neither face nor voice, so it can follow neither. Name a model that reads them, such "
            "as TVB.",
            path=folder,
            name=variant,
        )


def named(texts: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """ "NAME=PATH" or "PATH" -> name -> its paths: model folders or predictions files, one per training seed.

    A path without a name is called after its folder or file. SystemNameError where two paths then share a name, or one
    path stands twice.
    """
    systems: dict[str, tuple[Path, ...]] = {}
    unnamed: set[str] = set()
    for text in texts:
        name, path = _split(text)
        if name is None:
            name = path.stem if path.suffix == _SUFFIX else path.resolve().name
            unnamed.add(name)
        if any(path.resolve() == other.resolve() for other in systems.get(name, ())):
            raise SystemNameError(
                name, f"{path}: it is named twice. Name every training seed of {printable(name)} once."
            )
        systems[name] = (*systems.get(name, ()), path)
        if name in unnamed and len(systems[name]) > 1:
            raise SystemNameError(
                name,
                f"{printable(name)}: {' and '.join(map(str, systems[name]))} have one name. Where they are training seeds "
                f"of one system, write {printable(name)}=PATH for each; else give each a name of its own.",
            )
    return systems


def in_mode(path: Path) -> tuple[Path, Mode | None]:
    """FOLDER@MODE, such as models/merc/TVB@reallocate -> the model folder and the mode of predict.reallocate; None: as params say.

    SystemNameError where there is such a folder and no such mode.
    """
    folder, mark, mode = str(path).rpartition("@")
    modes = {name: name for name in MODES}
    if mark and mode not in modes and not path.exists() and Path(folder).is_dir():
        raise SystemNameError(
            str(path), f"{printable(path)}: there is no mode '{printable(mode, 60)}'. The modes are {', '.join(MODES)}."
        )
    return (Path(folder), modes[mode]) if mark and mode in modes and not path.exists() else (path, None)


def with_baseline(systems: Mapping[str, tuple[Path, ...]], text: str) -> tuple[dict[str, tuple[Path, ...]], str]:
    """The systems with the baseline, which is one of their names or another system, and its name."""
    if text in systems:
        return dict(systems), text
    ((name, paths),) = named([text]).items()
    if name in systems and systems[name] != paths:
        raise SystemNameError(name, f"{printable(name)}: the baseline has a system's name. Write --baseline NAME=PATH.")
    return {name: paths, **systems}, name


def _split(text: str) -> tuple[str | None, Path]:
    name, mark, path = text.partition("=")
    if not mark or Path(text).exists():
        return None, Path(text)
    if not name or not path:
        raise SystemNameError(text, f"'{printable(text)}': a system is named as NAME=PATH, or by its path alone.")
    return name, Path(path)


def reads(metadata: ModelMetadata) -> tuple[bool, bool]:
    """Whether a model reads face or body, and whether it reads the voice."""
    inputs = variants.of_model(metadata.params, metadata.modalities)
    return inputs.face or inputs.body or inputs.posture, inputs.voice != "none"


def checked(systems: Mapping[str, Sequence[Path]], labels: tuple[str, ...], baseline: str | None = None) -> None:
    """Refuse what cannot be judged, before any model is loaded: ModelError, DeafModelError, SystemNameError."""
    if baseline is not None and baseline not in systems:
        raise SystemNameError(
            baseline, f"{printable(baseline)}: the baseline is none of the systems ({printable(', '.join(systems))})."
        )
    for path in (path for paths in systems.values() for path in paths if path.suffix != _SUFFIX):
        metadata = read_metadata(in_mode(path)[0])
        if metadata.labels != labels:
            raise ModelError(
                f"its labels are {printable(', '.join(metadata.labels))}, and those of the corpus "
                f"{printable(', '.join(labels))}. Judge a model of this corpus.",
                path=path,
            )
        if not any(reads(metadata)):
            raise DeafModelError(path, metadata.variant)


def answered(
    name: str,
    paths: Sequence[Path],
    conflicts: ConflictSet,
    manifest: Manifest,
    split: Split,
    data: Path,
    params: score_labels.Params,
    backbone: str | None = None,
) -> System:
    """What one system says of the items of ``split``, seed by seed.

    data  folder of tokens.h5 and of descriptions
    """
    return System(
        name,
        tuple(
            predicted(path, manifest, conflicts, split)
            if path.suffix == _SUFFIX
            else scored(path, manifest, asked_of(conflicts, split), data, params, backbone)
            for path in paths
        ),
    )


def asked_of(conflicts: ConflictSet, split: Split) -> list[ConflictItem]:
    """The items that are judged, and the utterances that recombined ones are made of."""
    items = {item.id: item for item in conflicts.of(split) if kind_of(item) is not None}
    for item in list(items.values()):
        if item.way == "recombined":
            for id in (item.voice_of, item.face_of):
                items.setdefault(id, replace(item, id=id, voice_of=id, face_of=id))
    return list(items.values())


def scored(
    folder: Path,
    manifest: Manifest,
    items: Sequence[ConflictItem],
    data: Path,
    params: score_labels.Params,
    backbone: str | None = None,
) -> dict[str, Floats]:
    """What the model in ``folder`` (or FOLDER@MODE) says of the items."""
    from bemerc.language.predict.score_labels import MercModel

    folder, mode = in_mode(folder)
    params = params if mode is None else replace(params, reallocate=mode)
    metadata = read_metadata(folder)
    inputs = variants.of_model(metadata.params, metadata.modalities)
    with words_alone.open_if_read(data / "tokens.h5", manifest, metadata.k, inputs.modalities) as tokens:
        described = variants.read_described(inputs, data, manifest)
        return MercModel(folder, backbone, params.device).score_items(manifest, tokens, items, params, described)


def predicted(path: Path, manifest: Manifest, conflicts: ConflictSet, split: Split) -> dict[str, Floats]:
    """What a predictions file says of the items that are utterances; it knows no recombined ones.

    EvaluationError where a prediction is missing or does not fit the manifest.
    """
    predictions = read_predictions(path)
    needed = [item.id for item in conflicts.of(split) if kind_of(item) in JUDGED]
    test_set.validate(manifest, predictions, split, str(path), needed)
    with np.errstate(divide="ignore"):
        return {p.id: np.log(np.array([p.scores[label] for label in manifest.labels])) for p in predictions}


def digest(system: System) -> str:
    """A hash of everything that a system says, to six digits."""
    rows = [{id: np.round(np.exp(logs), 6).tolist() for id, logs in sorted(seed.items())} for seed in system.seeds]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
