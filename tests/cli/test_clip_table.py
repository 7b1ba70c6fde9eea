"""utterances.csv of a prepared corpus: of all its caches, and written again only where something changed."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from bemerc.behavior.describe.description import Description, write_descriptions
from bemerc.corpus.manifest import read_manifest, write_manifest
from bemerc.corpus.utterance_table import COLUMNS
from bemerc.pipeline import clip_table
from bemerc.pipeline.clips import Measured
from tests import toy_language as language
from tests.cli.test_cli import bemerc
from tests.interop.test_exchange import face_cache


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    of, path = language.manifest(), tmp_path / "manifest.jsonl"
    write_manifest(path, of.utterances, of.labels, of.corpora)
    face_cache(tmp_path / "cache" / "face.h5", [u.id for u in of.utterances], failures={})
    return path


def qualities(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return [row["quality"] for row in csv.DictReader(file)]


def test_a_run_that_measures_sound_alone_keeps_what_is_known_of_faces(manifest: Path) -> None:
    sound_alone = Measured(read_manifest(manifest), {"face": None, "audio": None})
    table = clip_table.of_extracted(manifest.parent / "cache", sound_alone, manifest)
    assert all(0 < float(quality) < 1 for quality in qualities(table))


def test_it_is_written_where_a_cache_changed_and_not_else(manifest: Path) -> None:
    folder, measured = manifest.parent / "cache", Measured(read_manifest(manifest), {})
    table = clip_table.of_extracted(folder, measured, manifest)
    before = qualities(table)
    mine = f"{';'.join(COLUMNS)}\nmine\n"  # as a spreadsheet saves it
    table.write_text(mine)
    assert clip_table.of_extracted(folder, measured, manifest).read_text() == mine
    later = table.stat().st_mtime_ns + 10**9
    os.utime(folder / "face.h5", ns=(later, later))
    assert qualities(clip_table.of_extracted(folder, measured, manifest)) == before
    assert qualities(clip_table.of_extracted(folder, measured)) == before, "clips' words may have changed"


def test_somebodys_own_table_is_never_replaced(tmp_path: Path) -> None:
    table = tmp_path / "utterances.csv"
    table.write_text("clip,mood\na.mp4,happy\n")
    for command in ("extract", "describe"):
        answer = bemerc(command, str(tmp_path / "clips"), "--out", str(tmp_path))
        assert answer.returncode == 1
        assert "utterances.csv" in answer.stderr
    assert table.read_text() == "clip,mood\na.mp4,happy\n"


@pytest.mark.parametrize("name", ["descriptions.jsonl", "events.jsonl", "predictions.jsonl", "evidence.jsonl"])
def test_nor_are_files_of_the_names_of_its_other_results(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"clip": "a", "mood": "happy"}\n')
    for command in (["extract"], ["describe"], ["predict", "--model", "nowhere"]):
        answer = bemerc(command[0], str(tmp_path / "clips"), "--out", str(tmp_path), *command[1:])
        assert answer.returncode == 1
        assert name in answer.stderr
    assert (tmp_path / name).read_text() == '{"clip": "a", "mood": "happy"}\n'


def test_sentences_older_than_the_measurements_are_told_of(manifest: Path, caplog: pytest.LogCaptureFixture) -> None:
    of, folder = read_manifest(manifest), manifest.parent / "cache"
    write_descriptions(folder / "descriptions.jsonl", {of.utterances[0].id: Description("Smiling.", "", "", "")})
    measured = Measured(of, clip_table.caches_in(folder))
    clip_table.of_extracted(folder, measured)
    assert not caplog.records
    later = (folder / "descriptions.jsonl").stat().st_mtime_ns + 10**9
    os.utime(folder / "face.h5", ns=(later, later))
    clip_table.of_extracted(folder, measured)
    assert [("face.h5" in record.message, "bemerc describe" in record.message) for record in caplog.records] == [
        (True, True)
    ]


def test_what_earlier_commands_said_stays(manifest: Path) -> None:
    of = read_manifest(manifest)
    described = {of.utterances[0].id: Description("Smiling.", "Still.", "Upright.", "Loud.")}
    folder = manifest.parent / "cache"
    write_descriptions(folder / "descriptions.jsonl", described)
    with clip_table.of_extracted(folder, Measured(of, {})).open(encoding="utf-8-sig", newline="") as file:
        assert "Smiling." in next(csv.DictReader(file))["sentences"]
    (folder / "descriptions.jsonl").write_text("{")
    assert "sentences" not in clip_table.of_extracted(folder, Measured(of, {})).read_text().splitlines()[0]
