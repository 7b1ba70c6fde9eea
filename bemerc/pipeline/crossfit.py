"""The align model's own descriptions of every utterance, where a variant is to read them; train's are cross-fitted.

in: data/manifest.jsonl, data/tokens.h5, the descriptions that align learned, the backbone, models/align/.
out: data/crossfit.jsonl, empty unless crossfit.folds is set. Finished folds are kept in data/store, which is no output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bemerc.behavior.describe import description, rules
from bemerc.corpus import provenance
from bemerc.corpus.manifest import SPLITS, Split, read_manifest
from bemerc.language.inputs import variants
from bemerc.language.train import crossfit
from bemerc.pipeline.project import Project


@dataclass(frozen=True)
class Crossfitted:
    """Descriptions by the align model, by utterance id; and their F1 against what align was taught, by split."""

    descriptions: Mapping[str, description.Description]
    agreement: Mapping[Split, float]


def run(project: Project) -> Crossfitted:
    """Have the align model describe; nothing unless ``crossfit.folds`` is set."""
    params = project.load("crossfit", crossfit.Params)
    result = _describe(project, params) if params.folds else Crossfitted({}, {})
    fitted = provenance.fitted(read_manifest(project.manifest_file)) if params.folds else ""
    description.write_descriptions(project.data / variants.FILES["crossfit"], result.descriptions, fitted)
    return result


def _describe(project: Project, params: crossfit.Params) -> Crossfitted:
    """Heavy libraries are imported here, so that doing nothing costs nothing."""
    from bemerc.behavior.tokens import file
    from bemerc.language.model import behavior_model
    from bemerc.language.predict import score_labels
    from bemerc.language.train import loop

    shape, tuning = project.load("model", behavior_model.Params), project.load("align", loop.Params)
    scoring, manifest = project.load("predict", score_labels.Params), read_manifest(project.manifest_file)
    source = project.load("describe", rules.Params).source
    taught = description.read_descriptions(project.data / variants.FILES[source])
    work = project.store_dir / "crossfit"
    with file.open_tokens(project.tokens) as tokens:
        written = crossfit.run(manifest, tokens, taught, project.align, shape, tuning, scoring, params, work)
    ids = {split: [u.id for u in manifest.by_split(split)] for split in SPLITS}
    return Crossfitted(written, {split: crossfit.agreement(written, taught, ids[split]) for split in SPLITS})
