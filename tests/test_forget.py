"""``bemerc forget``: nothing of a person is left in what was made, and nobody else loses anything."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bemerc import api
from bemerc.cache import Head, Rows, open_cache, write_cache
from bemerc.cli.main import app
from bemerc.core.errors import BemercError, CorpusError
from bemerc.corpus import pseudonyms
from bemerc.corpus.manifest import Utterance, read_manifest, write_manifest
from bemerc.pipeline import forget
from bemerc.pipeline.project import Project
from tests.clips import write_clip

SPEAKERS = {"a_0": "Ada", "a_1": "Bo", "a_2": "Ada", "b_0": "Bo", "b_1": "Cy"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose sound is measured, with tables and lines about its utterances."""
    folder = tmp_path_factory.mktemp("project")
    utterances = []
    for i, (id_, speaker) in enumerate(SPEAKERS.items()):
        clip = write_clip(folder / "data" / "corpus" / f"{id_}.mp4", 0.4 + i / 10)
        os.utime(clip, (1e9, 1e9))  # hashes of clips that changed just now are not kept
        dialogue, index = id_.split("_")
        words = f"{speaker} speaks, and a_11 is no name."
        utterances.append(Utterance(id_, dialogue, int(index), speaker, words, "joy", "train", f"corpus/{id_}.mp4"))
    write_manifest(folder / "data" / "manifest.jsonl", utterances, ("joy",), ("folder",))
    api.extract(folder / "data" / "manifest.jsonl", only="audio")
    lines = [{"id": id_, "scores": {"joy": 1.0}} for id_ in SPEAKERS] + [{"of": ["b_0", "b_1"]}, {"of": ["b_0", "a_2"]}]
    for name in ("data/descriptions.jsonl", "results/predictions/TVB.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results" / "mistakes.csv").write_text("".join(f'{id_},"said, it"\r\n' for id_ in SPEAKERS))
    (folder / "results" / "report.md").write_text("The worst are a_0 and b_0.")
    (folder / "results" / "other.md").write_text("The worst are a_01 and b_0.")
    (folder / "data" / "references.json").write_text("{}")
    (folder / "params.yaml").write_text("prepare: {folder: {folder: data/corpus}}\n")
    return folder


@pytest.fixture
def project(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(measured, tmp_path / "project", copy_function=shutil.copy2)
    monkeypatch.chdir(tmp_path / "project")
    return Project(Path("params.yaml"))


def objects(*contents: bytes) -> list[Path]:
    """Files in DVC's cache."""
    paths = []
    for content in contents:
        digest = hashlib.md5(content).hexdigest()
        path = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        paths.append(path)
    return paths


def test_a_speaker_is_forgotten_and_nobody_is_measured_again(project: Project) -> None:
    video, cache, theirs, others = objects(
        Path("data/corpus/a_0.mp4").read_bytes(),
        Path("data/cache/audio.h5").read_bytes(),
        b'{"id": "a_2"}\n',
        b'{"id": "b_0"}\n',
    )
    before = Path("data/manifest.jsonl").read_bytes()
    looked = forget.run(project, "Ada", really=False)
    assert Path("data/manifest.jsonl").read_bytes() == before
    done = forget.run(project, "Ada", really=True)
    assert looked == done
    assert done.utterances == ("a_0", "a_2")
    assert done.results == 2
    assert {*done.objects} == {video, cache, theirs}
    assert [path.exists() for path in (video, cache, theirs, others)] == [False, False, False, True]
    rest = read_manifest(project.manifest_file).utterances
    assert [(u.id, u.index) for u in rest] == [("a_1", 0), ("b_0", 0), ("b_1", 1)]
    for made in ("data/descriptions.jsonl", "results/predictions/TVB.jsonl"):
        assert [json.loads(line).get("id") for line in Path(made).read_text().splitlines()] == [
            "a_1",
            "b_0",
            "b_1",
            None,
        ]
    assert Path("results/mistakes.csv").read_text().count("\n") == 3
    assert not Path("results/report.md").exists()
    assert Path("results/other.md").exists()
    assert not project.references.exists()
    assert any("a_0.mp4" in sentence for sentence in done.left)
    assert api.extract(project.manifest_file, only="audio").outcomes[0].measured == 0


def test_the_caches_afterwards_are_those_of_a_corpus_without_the_person(project: Project) -> None:
    forget.run(project, "Ada", really=True)
    api.extract(project.manifest_file, only="audio")
    shutil.copytree("data/corpus", "fresh/corpus")
    shutil.copy("data/manifest.jsonl", "fresh")
    api.extract("fresh/manifest.jsonl", only="audio")
    assert Path("fresh/cache/audio.h5").read_bytes() == (project.cache_dir / "audio.h5").read_bytes()


@pytest.mark.parametrize("whom", ["b_1", "corpus/b_1.mp4", "b_1.mp4", "Cy"])
def test_an_utterance_by_its_id_and_a_clip_by_its_name(project: Project, whom: str) -> None:
    assert forget.run(project, whom, really=True).utterances == ("b_1",)
    assert len(list(project.store_dir.glob("audio/*/*.npz"))) == 4


def test_results_of_settings_that_are_gone_may_be_anybodys(project: Project) -> None:
    strange = project.store_dir / "audio" / "00" / f"{0:040x}.npz"
    strange.parent.mkdir(exist_ok=True)
    strange.write_bytes(b"of whom?")
    assert forget.run(project, "Cy", really=True).results == 2
    assert not strange.exists()


def test_an_imported_cache_keeps_the_others(project: Project) -> None:
    path = project.cache_dir / "audio.h5"
    with open_cache(path) as cache:
        rows = {id_: cache[id_].values.copy() for id_ in cache.ids}
        write_cache(
            path,
            Head("audio", cache.columns, cache.rate, "opensmile-import/1", {}),
            Rows([(id_, cache[id_], cache.duration_s(id_), None) for id_ in cache.ids], sources=cache.sources),
        )
    forget.run(project, "Ada", really=True)
    with open_cache(path) as cache:
        assert list(cache.ids) == ["a_1", "b_0", "b_1"]
        assert {*cache.sources} == {"a_1", "b_0", "b_1"}
        assert all((cache[id_].values == rows[id_]).all() for id_ in cache.ids)


def test_somebody_who_only_listens(project: Project) -> None:
    manifest = read_manifest(project.manifest_file)
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    listeners = {"a_0": (("Bo", left), ("Zoe", right))}
    placed = [replace(u, listeners=listeners.get(u.id)) for u in manifest.utterances]
    write_manifest(project.manifest_file, placed, manifest.labels, manifest.corpora)
    Path("data/descriptions.jsonl").write_text('{"id": "a_0"}\n{"id": "a_0#listener"}\n')
    done = forget.run(project, "Zoe", really=True)
    assert (done.utterances, done.results) == ((), 0)
    assert read_manifest(project.manifest_file).utterances[0].listeners == (("Bo", left),)
    assert Path("data/descriptions.jsonl").read_text() == '{"id": "a_0"}\n'


def test_two_people_one_after_the_other(project: Project) -> None:
    forget.run(project, "Cy", really=True)
    assert forget.run(project, "Bo", really=True).utterances == ("a_1", "b_0")
    assert len(list(project.store_dir.glob("audio/*/*.npz"))) == 2


def test_nobody_of_that_name(project: Project) -> None:
    with pytest.raises(BemercError):
        forget.run(project, "Eve", really=True)


def test_the_command_does_nothing_until_it_is_told_to(project: Project) -> None:
    before = project.manifest_file.read_bytes()
    answer = CliRunner().invoke(app, ["forget", "Ada"], catch_exceptions=False)
    assert answer.exit_code == 0
    assert "--yes" in answer.output
    assert project.manifest_file.read_bytes() == before
    answer = CliRunner().invoke(app, ["forget", "Ada", "--yes", "--json"], catch_exceptions=False)
    assert json.loads(answer.stdout)["utterances"] == ["a_0", "a_2"]
    assert project.manifest_file.read_bytes() != before


def test_a_person_is_found_by_name_where_the_manifest_has_pseudonyms(project: Project) -> None:
    manifest = read_manifest(project.manifest_file)
    table = project.data / pseudonyms.NAME
    written = pseudonyms.applied(manifest.utterances, table)
    assert sorted({u.speaker for u in written}) == ["P001", "P002", "P003"]
    assert table.stat().st_mode & 0o777 == 0o600
    assert pseudonyms.applied(manifest.utterances, table) == written, "names keep their pseudonyms"
    write_manifest(project.manifest_file, written, manifest.labels, manifest.corpora)
    assert forget.run(project, "Ada", really=True).utterances == ("a_0", "a_2")
    assert sorted(pseudonyms.read(table)) == ["Bo", "Cy"]
    others = [u for u in manifest.utterances if u.speaker != "Ada"]
    more = pseudonyms.applied([*others, replace(others[0], id="c", speaker="Dee")], table)
    assert more[-1].speaker not in {u.speaker for u in more[:-1]}
    assert [u.speaker for u in more[:-1]] == [u.speaker for u in written if u.id not in ("a_0", "a_2")]


@pytest.mark.parametrize("content", ["[]", '{"Ada": "Bo"}', "{", '{"Ada": 1}'])
def test_what_is_no_table_of_pseudonyms(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(CorpusError):
        pseudonyms.read(tmp_path / "p.json")
