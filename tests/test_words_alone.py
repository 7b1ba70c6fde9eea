"""A corpus of words alone, from the manifest to the report: nothing is extracted, and no stage asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bemerc.behavior.tokens import file, words_alone
from bemerc.core.errors import CacheError
from bemerc.core.jsonfile import read_json
from bemerc.corpus import provenance
from bemerc.corpus.manifest import write_manifest
from bemerc.language.model.behavior_model import read_metadata
from tests import toy_language as language
from tests.cli.test_cli import bemerc


class Project:
    """A folder with a manifest, a tiny backbone and params that name it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manifest = folder, language.manifest({"train": 6, "dev": 3, "test": 4})
        (folder / "data").mkdir()
        write_manifest(folder / "data" / "manifest.jsonl", self.manifest.utterances, self.manifest.labels, ("made",))
        language.build(folder / "models" / "backbone", self.manifest)
        (folder / "params.yaml").write_text(
            "prepare: {corpora: [table]}\nmodel: {device: cpu, rank: 4, alpha: 8.0}\nmerc: {epochs: 1}\nalign: {epochs: 1}\nevaluate: {variants: [T], resamples: 200}\n"
        )

    def __call__(self, *words: str) -> str:
        answer = bemerc(*words, cwd=self.folder)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("words"))


def test_from_the_manifest_to_the_report(project: Project) -> None:
    project("train", "--stage", "2", "--variant", "T")
    assert project("predict", "data/manifest.jsonl", "--model", "models/merc/T").startswith("28 predictions")
    table = (project.folder / "results" / "tables" / "T.csv").read_text(encoding="utf-8-sig").splitlines()
    assert (len(table), table[0].split(",")[:4]) == (29, ["id", "dialogue", "turn", "start_s"])
    shown = project("evaluate")
    assert "T: words" in shown
    assert "regression on own words" in shown
    assert "tokens" not in shown
    report = (project.folder / "results" / "report.md").read_text(encoding="utf-8")
    assert "TVB" not in report
    assert {path.name for path in (project.folder / "data").iterdir()} == {"manifest.jsonl"}
    metadata = read_metadata(project.folder / "models" / "merc" / "T")
    assert metadata.references["fitted"] == provenance.fitted(project.manifest)


def test_what_reads_behavior_still_wants_it(project: Project) -> None:
    answer = bemerc("train", "--stage", "2", "--variant", "TV", cwd=project.folder)
    assert answer.returncode == 1
    assert "references.json" in answer.stderr
    with pytest.raises(CacheError):
        words_alone.open_if_read(project.folder / "tokens.h5", project.manifest, 8, ("face",))


def test_there_is_nothing_to_align(project: Project) -> None:
    """As under DVC, whose stages before it leave a token file without columns; a stale align model goes."""
    data, align = project.folder / "data", project.folder / "models" / "align"
    file.run(project.manifest, {}, data / "tokens.h5", file.Params())
    (data / "references.json").write_text(json.dumps({"fitted": provenance.fitted(project.manifest)}))
    align.mkdir(parents=True)
    (align / "metadata.json").write_text("{}")
    assert "Nothing to align" in project("train", "--stage", "1")
    assert list(align.iterdir()) == []
    assert json.loads(project("train", "--stage", "1", "--json"))["model"] is None
    for made in ("tokens.h5", "references.json"):
        (data / made).unlink()


def test_a_stale_token_file_is_told_of_though_nothing_of_it_is_read(project: Project) -> None:
    other = language.manifest({"train": 2, "dev": 1, "test": 1})
    file.run(other, {}, project.folder / "data" / "tokens.h5", file.Params())
    answer = bemerc("train", "--stage", "2", "--variant", "T", cwd=project.folder)
    (project.folder / "data" / "tokens.h5").unlink()
    assert answer.returncode == 1
    assert "bemerc tokens" in answer.stderr


def test_no_epoch_saves_the_backbone_as_it_is(project: Project) -> None:
    """Zero-shot: judged on dev, calibrated and saved, with an adapter that adds nothing."""
    said = project("train", "--stage", "2", "--variant", "T", "--set", "merc.epochs=0", "--models", "zero", "--json")
    assert json.loads(said)["epoch"] == 0
    log = (project.folder / "zero" / "merc" / "T.train_log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [0]
    assert read_json(project.folder / "zero" / "merc" / "T" / "metadata.json")["dev"]["temperature"] > 0
