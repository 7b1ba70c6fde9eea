"""Sealing in parts over a real store with made results: only what changed is written, and one file has its old bytes."""

from __future__ import annotations

import itertools
import os
import runpy
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from bemerc.cache import open_cache, parts_of, state_of
from bemerc.cli.main import app
from bemerc.core.errors import BemercError
from bemerc.corpus.manifest import Utterance, write_manifest
from bemerc.extraction import hash_cache, write_caches
from bemerc.extraction import store as store_module
from bemerc.extraction.failures import Failure
from bemerc.extraction.hash_cache import FileHashCache, FileIdentity, file_identity
from bemerc.extraction.leases import Leases
from bemerc.extraction.run import run
from bemerc.extraction.shared_hashing import hash_shared
from bemerc.extraction.store import Result, Store
from benchmarks import size
from tests.errors import raises

CLIPS = 25
ROOT = Path(__file__).parents[2]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    size.fill(tmp_path, CLIPS, 0.4)
    return tmp_path


def seal(folder: Path, part_clips: int | None, count: int = CLIPS) -> Path:
    spec = size.specs()[0]
    run(size.jobs(folder, count), (spec,), folder / "out", folder / "store", part_clips=part_clips)
    return folder / "out" / "face.h5"


def test_parts_are_sealed_one_by_one(filled: Path) -> None:
    path = seal(filled, None)
    one = path.read_bytes()
    with open_cache(path) as cache:
        values = {id_: cache[id_].values for id_ in cache}
    parts = [*parts_of(seal(filled, 10))]
    assert len(parts) == 3
    with open_cache(path, "face") as cache:
        for id_, expected in values.items():
            np.testing.assert_array_equal(cache[id_].values, expected)

    def written() -> list[FileIdentity]:
        return [file_identity(file) for file in (path, *parts)]

    before = written()
    seal(filled, None)
    assert written() == before, "nothing has changed, and the parts stay"
    parts[1].unlink()
    assert state_of(path).kind == "damaged"
    seal(filled, 10)
    assert [a == b for a, b in zip(written(), before, strict=True)][1:] == [True, False, True]
    seal(filled, None, CLIPS - 1)
    assert [*parts_of(path)][:2] == parts[:2], "of a last clip that is gone the last part is written anew"
    assert not parts[2].exists()
    assert seal(filled, 0).read_bytes() == one
    assert [file.name for file in path.parent.glob("face*.h5")] == ["face.h5"]


@pytest.mark.parametrize("loss", ["index", "everything", "damaged"])
def test_a_cache_that_is_sealed_anew_stays_in_parts(filled: Path, loss: str) -> None:
    path = seal(filled, 10)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    if loss == "damaged":
        with h5py.File(path, "r+") as index:
            del index["parts"]
        assert state_of(path).kind == "damaged"
    for file in {"index": [path], "everything": [*path.parent.iterdir()]}.get(loss, []):
        file.unlink()
    seal(filled, None)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    seal(filled, 0)
    path.unlink()
    seal(filled, None)
    assert [file.name for file in path.parent.iterdir()] == ["face.h5"], "the last one was a single file"


def test_a_spoilt_part_is_noticed_though_the_index_is_the_same(filled: Path) -> None:
    path = seal(filled, 10)
    for file in (path, *parts_of(path)):
        os.utime(file, (time.time() - 60,) * 2)
    seal(filled, 10)  # found sound, and so remembered
    part = min(parts_of(path))
    sound = part.read_bytes()
    with h5py.File(part, "r+") as changed:
        changed["values"][0, 0] += 1
    seal(filled, 10)
    assert part.read_bytes() == sound


def test_too_many_parts_are_a_sentence(filled: Path) -> None:
    with raises(BemercError, key="part_clips"):
        run(size.jobs(filled, 1000), size.specs(), filled / "out", filled / "store", part_clips=1)


def test_a_corpus_that_outgrew_its_parts_keeps_its_former_cache(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = seal(filled, 10)
    before = {file: file.read_bytes() for file in (path, *parts_of(path))}
    size.fill(filled, 31, 0.4)
    monkeypatch.setattr(write_caches, "MOST_PARTS", 3)
    with raises(BemercError, key="part_clips"):
        seal(filled, None, 31)
    assert {file: file.read_bytes() for file in path.parent.glob("face*.h5")} == before


def test_parts_of_former_caches_go_though_nothing_is_new(filled: Path) -> None:
    path = seal(filled, 10)
    former = path.with_name("face-0001-0123abcd.h5")
    former.write_bytes(min(parts_of(path)).read_bytes())
    seal(filled, None)
    assert not former.exists()
    assert all(part.exists() for part in parts_of(path))


def test_a_stage_of_dvc_writes_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    size.fill(data, 3, 0.4)
    spec = size.specs()[2]
    utterances = [
        Utterance(job.id, job.id.split("/")[0], i, "Ann", "Yes.", "joy", "train", os.path.relpath(str(job.path), data))
        for i, job in enumerate(size.jobs(data, 3))
    ]
    write_manifest(data / "manifest.jsonl", utterances, ["joy"], ["sample"])
    run(size.jobs(data, 3), (spec,), data / "cache", data / "store", part_clips=2)
    assert parts_of(data / "cache" / "audio.h5")
    monkeypatch.chdir(tmp_path)
    command = runpy.run_path(str(ROOT / "pipeline" / "extract_audio.py"))["COMMAND"]
    assert CliRunner().invoke(app, command.split()).exit_code == 0
    assert [file.name for file in (data / "cache").glob("audio*.h5")] == ["audio.h5"]
    assert not parts_of(data / "cache" / "audio.h5")
    assert not caplog.records


def test_listed_folders_say_what_each_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size.fill(tmp_path, 3, 0.4)
    store = Store(tmp_path / "store")
    there = [path.stem for path in (tmp_path / "store" / "face").glob("*/*.npz")]
    failed, missing, dangling = "ab" + "0" * 38, "cd" + "0" * 38, "ab" + "1" * 38
    store.put("face", failed, Failure("It is empty."))
    (tmp_path / "store" / "face" / "ab" / f"{dangling}.npz").symlink_to(tmp_path / "nowhere")
    keys = [*there, failed, missing, dangling]
    asked = store.unfinished("face", keys)
    assert asked == {failed: Failure, missing: None, dangling: None}
    monkeypatch.setattr(store_module, "_LISTED", 1)
    assert store.unfinished("face", keys) == asked
    assert [store.state("face", key) for key in there] == [Result] * 3


def test_a_clip_is_hashed_by_one_process(tmp_path: Path) -> None:
    store, paths = Store(tmp_path / "store"), [tmp_path / f"{i}.mp4" for i in range(40)]
    for path in paths:
        path.write_bytes(path.name.encode())
        os.utime(path, (time.time() - 60,) * 2)
    late = FileHashCache(store.folder)
    counted: list[int] = []
    with Leases(store.folder) as one, Leases(store.folder) as other:
        hashes = hash_shared(paths, FileHashCache(store.folder), one, 300, counted.append)
        times = file_identity(paths[0]).mtime_ns
        paths[0].write_bytes(b"9.mp4")  # which a process that reads it again would notice
        os.utime(paths[0], ns=(times, times))
        assert hash_shared(paths, late, other, 300, counted.append) == hashes
    assert sum(counted) == 80
    assert not [*(store.folder / "leases").iterdir()]


def test_a_large_file_is_hashed_with_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(2**26)
    monkeypatch.setattr(hash_cache, "_HEARTBEAT_S", 0.001)
    seconds = itertools.count(step=10.0)
    with Leases(store.folder, lambda: next(seconds)) as leases:
        (owner,) = (store.folder / "leases").glob("*.owner")
        counts: list[bytes] = []
        hash_shared([path], FileHashCache(store.folder), leases, 1, lambda _: counts.append(owner.read_bytes()))
        started, ended = (int(record.split()[4]) for record in counts)
    # One is given for the file itself, and others while it is read.
    assert ended - started > 3
