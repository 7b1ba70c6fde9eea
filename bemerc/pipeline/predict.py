"""A trained variant -> a probability for every label of every utterance of dev and test.

in: data/manifest.jsonl, data/tokens.h5 (unless it reads words alone), the backbone, models/merc/VARIANT/, the descriptions that it reads.
out: results/predictions/VARIANT.jsonl, and results/evidence/VARIANT.jsonl where evidence is asked for
"""

from __future__ import annotations

from pathlib import Path

from bemerc.behavior.tokens import words_alone
from bemerc.corpus.manifest import read_manifest
from bemerc.language.inputs import variants
from bemerc.language.inputs.left_out import Choice
from bemerc.language.model.behavior_model import read_metadata
from bemerc.language.predict import ledger, records, score_labels
from bemerc.language.predict.evidence import Evidence
from bemerc.pipeline.project import Project


def run(
    project: Project, model: Path, out: Path, backbone: str | None = None, evidence: Choice | None = None
) -> tuple[tuple[records.Prediction, ...], tuple[Evidence, ...]]:
    """Score the labels with the model in folder ``model``, into the file ``out``, and the parts that ``evidence`` chooses.

    backbone  where the backbone lies (a folder, or a name of the hub), if not where the model says
    """
    metadata = read_metadata(model)
    inputs = variants.of_model(metadata.params, metadata.modalities)
    params, manifest = project.load("predict", score_labels.Params), read_manifest(project.manifest_file)
    with words_alone.open_if_read(project.tokens, manifest, metadata.k, inputs.modalities) as tokens:
        described = variants.read_described(inputs, project.data, manifest)
        loaded = score_labels.MercModel(model, backbone, params.device)
        scored, counted = ledger.score_if_asked(loaded, manifest, tokens, ("dev", "test"), params, evidence, described)
    records.write_predictions(out, scored)
    return tuple(scored), tuple(counted)
