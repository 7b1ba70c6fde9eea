"""Cross-fitted descriptions: what the align model itself generates for each utterance, for variants that read them.

On train the align model would repeat the descriptions that it learned, and stage 2 would learn to trust texts that are never
so good again. So train's dialogues are split into folds, and each fold is described by a model that was aligned without it;
dev and test by the align model itself. Cross-fitting is from stacking (Wolpert 1992).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.behavior.describe import phrases
from bemerc.behavior.describe.description import Description, read_descriptions, write_descriptions
from bemerc.core.errors import ModelError
from bemerc.corpus import provenance
from bemerc.corpus.manifest import Manifest

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.model import behavior_model
    from bemerc.language.predict import score_labels
    from bemerc.language.train import loop


@dataclass(frozen=True)
class Params:
    """params.yaml: crossfit.

    folds  0: no variant reads them, nothing is made | 1: the align model describes train too, which it knows by
           heart | 2 and more: train is crossed, for so many further trainings of align
    limit  longest sentence in tokens
    """

    folds: int = 0
    limit: int = 128

    def check(self) -> list[str]:
        faults = [] if self.folds >= 0 else [f"folds: must not be negative, not {self.folds}."]
        return faults + ([] if self.limit >= 1 else [f"limit: must be at least 1, not {self.limit}."])


def run(
    manifest: Manifest,
    tokens: TokenFile,
    taught: Mapping[str, Description],
    start: Path,
    model_params: behavior_model.Params,
    align_params: loop.Params,
    how: score_labels.Params,
    params: Params,
    work: Path,
) -> dict[str, Description]:
    """The descriptions of every utterance by align models, of which ``start`` is the one that knows all of train.

    taught  the descriptions that align learned from
    work    a folder that keeps finished folds: interrupted, the same call goes on with the next one

    Raises ModelError where ``start`` is no align model, or train has fewer dialogues than folds; StaleError where tokens or
    ``start`` were made from other splits.
    """
    from bemerc.language.model import behavior_model
    from bemerc.language.train import align

    wanted = provenance.fitted(manifest)
    provenance.must_match(tokens.path, tokens.calibration.fitted, wanted, "bemerc tokens")
    provenance.must_match(
        start, behavior_model.read_metadata(start).data.get("fitted"), wanted, "bemerc train --stage 1"
    )
    parts = folds(manifest, params.folds)
    own = tuple(u.id for u in manifest.utterances if params.folds == 1 or u.split != "train")
    key = _key(manifest, tokens, taught, start, model_params, align_params, params)
    descriptions = dict(_kept(work / key / "all.jsonl", own, start, tokens, how, params.limit))
    for number, part in enumerate(parts):
        file, folder = work / key / f"{number}.jsonl", work / key / f"align{number}"
        ids = tuple(u.id for u in manifest.by_split("train") if u.dialogue in part)
        if not file.is_file() and not (folder / behavior_model.METADATA).is_file():
            rest = tuple(u for u in manifest.utterances if u.split == "dev" or (u.id not in ids and u.split == "train"))
            targets = {u.id: taught[u.id] for u in rest if u.id in taught}
            align.run(replace(manifest, utterances=rest), tokens, targets, None, model_params, align_params, folder)
        descriptions |= _kept(file, ids, folder, tokens, how, params.limit)
    return descriptions


def folds(manifest: Manifest, count: int) -> list[frozenset[str]]:
    """Train's dialogues dealt out in turn, by sorted name; none for a count below 2."""
    names = sorted({u.dialogue for u in manifest.by_split("train")})
    if count < 2:
        return []
    if len(names) < count:
        raise ModelError(f"crossfit.folds is {count}, but train has {len(names)} dialogues. Lower it, or set it to 1.")
    return [frozenset(names[start::count]) for start in range(count)]


def agreement(descriptions: Mapping[str, Description], taught: Mapping[str, Description], ids: Sequence[str]) -> float:
    """F1 of what the sentences state (unit, strength, time), over all slots of these utterances; 0 where they state nothing."""
    right = stated = wanted = 0
    for id in ids:
        if id in descriptions and id in taught:
            own, reference = phrases.statements(descriptions[id]), phrases.statements(taught[id])
            right, stated, wanted = right + len(own & reference), stated + len(own), wanted + len(reference)
    return 2 * right / (stated + wanted) if stated + wanted else 0.0


def _kept(
    file: Path, ids: Sequence[str], folder: Path, tokens: TokenFile, how: score_labels.Params, limit: int
) -> dict[str, Description]:
    from bemerc.language.predict import generate

    if not file.is_file():
        write_descriptions(file, generate.generate_descriptions(folder, ids, tokens, how, limit))
    return read_descriptions(file)


def _key(
    manifest: Manifest,
    tokens: TokenFile,
    taught: Mapping[str, Description],
    start: Path,
    model_params: behavior_model.Params,
    align_params: loop.Params,
    params: Params,
) -> str:
    """Of everything that the sentences follow from."""
    from bemerc.language.model import behavior_model
    from bemerc.language.model.adapters.inject import EXPERTS

    digest = hashlib.sha256()
    parts: Any = [model_params.stored(), asdict(align_params), asdict(params)]
    parts += [[u.id, u.split] for u in manifest.utterances]
    parts += [[id, *asdict(taught[id]).values()] for id in sorted(taught)]
    digest.update(json.dumps(parts, sort_keys=True).encode())
    files = [tokens.path, start / "adapter_model.safetensors", start / behavior_model.PROJECTORS]
    files += [start / EXPERTS] if model_params.adapter != "lora" else []
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
