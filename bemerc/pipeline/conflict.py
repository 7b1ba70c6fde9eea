"""Conflict items and models -> which side each model follows where face and voice disagree.

in: data/manifest.jsonl, data/conflict.jsonl, data/tokens.h5, the backbone, models/merc, the descriptions that a model reads.
out: results/conflict/conflict.json, conflict.md, strength.png, items.csv; and test_access.jsonl there, which counts how
often test was used and is no output, since DVC would remove it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bemerc.corpus.conflict import ConflictSet, must_fit, read_conflict_set
from bemerc.corpus.manifest import Manifest, Split, read_manifest
from bemerc.evaluate import evaluation, test_access
from bemerc.evaluate.conflict import judge, report, sets, systems
from bemerc.evaluate.conflict.items import System, items_of
from bemerc.language.model.behavior_model import read_metadata
from bemerc.language.predict import score_labels
from bemerc.pipeline.project import Project


def run(
    project: Project,
    paths: Mapping[str, Sequence[Path]] | None = None,
    out: Path | None = None,
    *,
    items: Path | None = None,
    baseline: str | None = None,
    split: Split = "test",
    gold_sets: Path | None = None,
    threshold: float = sets.THRESHOLD,
    backbone: str | None = None,
) -> judge.Judgment:
    """Judge systems on the conflict items of a split, and write the report.

    paths      system -> its model folders or predictions files, one per training seed; None: the models of
               evaluate.variants that read face and voice
    out        folder of the report; None = conflict/ in the project's results
    items      the conflict items; None = conflict.jsonl beside the manifest
    baseline   name of the system that the others are compared with
    gold_sets  table of gold labels for the set metric; ``threshold``: see sets.predicted

    With nothing to judge the report says so. Raises BemercError where systems, items and manifest do not fit each other.
    """
    params, out = project.load("evaluate", evaluation.Params), out or project.results / "conflict"
    manifest, path = read_manifest(project.manifest_file), items or project.conflict_items
    conflicts = read_conflict_set(path)
    must_fit(conflicts, manifest, path, split)
    named = _of_variants(project, params) if paths is None else paths
    systems.checked(named, manifest.labels, baseline)
    gold = None if gold_sets is None else sets.read_gold(gold_sets, manifest.labels)
    answers = _answers(project, named, conflicts, manifest, split, backbone)
    judged = judge.judge(conflicts, split, answers, params, baseline, gold, threshold)
    before = _noted(out, manifest, answers) if split == "test" else {}
    report.write(out, judged, conflicts, answers, before, _reason(conflicts, named))
    return judged


def _of_variants(project: Project, params: evaluation.Params) -> dict[str, tuple[Path, ...]]:
    folders = {variant: project.merc(variant) for variant in params.variants}
    return {name: (folder,) for name, folder in folders.items() if all(systems.reads(read_metadata(folder)))}


def _answers(
    project: Project,
    named: Mapping[str, Sequence[Path]],
    conflicts: ConflictSet,
    manifest: Manifest,
    split: Split,
    backbone: str | None,
) -> list[System]:
    how = project.load("predict", score_labels.Params)
    if items_of(conflicts, split) is None:
        return []
    return [
        systems.answered(name, paths, conflicts, manifest, split, project.data, how, backbone)
        for name, paths in named.items()
    ]


def _noted(out: Path, manifest: Manifest, answers: Sequence[System]) -> dict[str, int]:
    if not answers:
        return {}
    return test_access.note(out, manifest, {system.name: systems.digest(system) for system in answers})


def _reason(conflicts: ConflictSet, named: Mapping[str, Sequence[Path]]) -> str:
    """Why there is nothing to judge, where that is known."""
    if not named:
        return "No model of evaluate.variants reads both face and voice."
    return str(conflicts.made.get("nothing", ""))
