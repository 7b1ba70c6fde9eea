"""Sealing in parts over a real store with made results: only what changed is written, and one file has its old bytes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from bemerc.cache import open_cache, parts_of, state_of
from bemerc.core.errors import BemercError
from bemerc.extraction import store as store_module
from bemerc.extraction.failures import Failure
from bemerc.extraction.hash_cache import FileHashCache, file_identity
from bemerc.extraction.leases import Leases
from bemerc.extraction.run import run
from bemerc.extraction.shared_hashing import hash_shared
from bemerc.extraction.store import Result, Store
from benchmarks import size

CLIPS = 25


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

    def written() -> list[int]:
        return [file.stat().st_ino for file in (path, *parts)]

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
    with pytest.raises(BemercError, match="part_clips"):
        run(size.jobs(filled, 1000), size.specs(), filled / "out", filled / "store", part_clips=1)


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
