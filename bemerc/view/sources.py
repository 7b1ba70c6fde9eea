"""Everything that a page is made of: caches, manifest, sentences, predictions, evidence, conflict items."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from bemerc.behavior.describe.description import Description, read_descriptions
from bemerc.cache import FrameCache
from bemerc.core.errors import BemercError
from bemerc.core.terminal import printable
from bemerc.corpus.conflict import ConflictItem, read_conflict_set
from bemerc.corpus.manifest import Manifest, Modality
from bemerc.language.predict.evidence import Evidence, read_evidence
from bemerc.language.predict.records import Prediction, predictions_beside, read_predictions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """What is there, by utterance id.

    conflicts  utterances whose voice and face show different emotions; recombined items are no utterances
    """

    manifest: Manifest
    caches: Mapping[Modality, FrameCache]
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    descriptions: Mapping[str, Description] = field(default_factory=dict)
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    conflicts: Mapping[str, ConflictItem] = field(default_factory=dict)


def of(
    manifest: Manifest,
    caches: Mapping[Modality, FrameCache],
    folder: Path,
    predictions: Path | None,
    evidence: Path | None,
) -> Sources:
    """What belongs to the caches in ``folder``: files named, else those beside the caches or the manifest.

    BemercError where a file that is there cannot be read, or one that is named is of none of these utterances.
    """
    named = (predictions, evidence)
    beside = list(dict.fromkeys([folder, manifest.folder]))
    predictions = predictions_beside(predictions, beside)
    descriptions = _first(beside, "descriptions.jsonl")
    conflicts = _first(beside, "conflict.jsonl")
    evidence = evidence or _evidence_of(predictions, beside)
    sources = Sources(
        manifest,
        caches,
        {} if predictions is None else {one.id: one for one in read_predictions(predictions)},
        {} if descriptions is None else read_descriptions(descriptions),
        {} if evidence is None else {one.id: one for one in read_evidence(evidence)},
        {} if conflicts is None else _conflicts(conflicts),
    )
    for file, ids in ((predictions, sources.predictions.keys()), (evidence, sources.evidence.keys())):
        if file is not None and (fault := _other_corpus(manifest, file, ids)):
            if file in named:
                raise BemercError(f"{fault} Name the file that belongs to these caches.")
            log.warning("%s Nothing of it is shown.", fault)
    return sources


def _other_corpus(manifest: Manifest, file: Path, ids: Set[str]) -> str:
    """A sentence where a file has utterances, and none of the manifest's; else empty."""
    if not ids or not ids.isdisjoint(u.id for u in manifest.utterances):
        return ""
    return (
        f"{printable(file)}: none of its {len(ids)} utterances, such as '{printable(min(ids), 60)}', is among the "
        f"{len(manifest.utterances)} of {printable(manifest.folder)}: it was made of another corpus."
    )


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _evidence_of(predictions: Path | None, folders: Sequence[Path]) -> Path | None:
    """The evidence of these predictions: in evidence/ under their name, beside them or their folder; else an evidence.jsonl
    beside them or the caches, or another whose name ends with theirs."""
    if predictions is not None:
        own = predictions.absolute().parent
        for folder in (own, own.parent):
            if (named := folder / "evidence" / predictions.name).is_file():
                return named
        folders = [own, own.parent, *folders]
    stem = "" if predictions is None else predictions.stem
    files = [file for folder in folders for file in sorted(folder.glob("evidence*.jsonl"))]
    return next((file for file in files if file.stem == "evidence" or (stem and file.stem.endswith(stem))), None)


def _conflicts(path: Path) -> dict[str, ConflictItem]:
    items = read_conflict_set(path).items
    return {i.voice_of: i for i in items if i.way != "recombined" and i.label_voice != i.label_face}
