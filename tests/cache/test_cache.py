"""The frame cache: what goes in comes out, the same arrays give the same bytes, and what is no cache is refused."""

from __future__ import annotations

import math
import re
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import (
    Features,
    Head,
    Rows,
    caches_at,
    open_cache,
    pack_landmarks,
    summary,
    unpack_landmarks,
    write_cache,
)
from bemerc.cache.guard import DamagedCacheError
from bemerc.core.atomic import partial_path
from bemerc.core.errors import CacheError, DiskError
from tests.errors import raises

COLUMNS = ("AU01_r", "AU02_r", "größe")
FAILURES = {
    "a/first": "It is empty (0 bytes).",
    "m/ütt05b": "It has no picture.",
    "z/last": "Its worker crashed (SIGSEGV).",
}


def clips(count: int = 40, landmarks: bool = True) -> Iterator[tuple[str, Features, float, Any]]:
    generator = np.random.default_rng(7)
    for i in range(count):
        rows = int(generator.integers(0, 90))
        values = generator.normal(size=(rows, 3)).astype(np.float32)
        values[::5] = np.nan
        points = (generator.normal(size=(rows, 30, 3)) * 40 + 300).astype(np.float32)
        points[::5] = np.nan
        given = points if landmarks and i % 4 else None
        yield f"m/ütt{i:02d}", Features(values, np.arange(rows) / 25, COLUMNS), rows / 25 + 0.01, given


def write(path: Path, rows: Any = None, rate: Any = "clip", **changes: Any) -> Path:
    head = Head("face", COLUMNS, rate, "mesh/1", {"b": 2, "a": [1, "ü"]})
    all_rows = Rows(
        clips() if rows is None else rows, FAILURES, notes={"m/ütt03": "The picture ends at 1.00 of 2.00 s."}
    )
    write_cache(path, head, replace(all_rows, **changes), contents="abc")
    return path


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "new" / "face.h5"), "face") as cache:
        assert (cache.modality, cache.columns, cache.rate, cache.extractor) == ("face", COLUMNS, "clip", "mesh/1")
        assert cache.params == {"a": [1, "ü"], "b": 2}
        assert cache.contents == "abc"
        assert cache.failures == FAILURES
        assert cache.notes == {"m/ütt03": "The picture ends at 1.00 of 2.00 s."}
        assert list(cache) == sorted([*FAILURES, *(row[0] for row in clips())])
        for id_, features, duration_s, points in clips():
            features = cache[id_]
            np.testing.assert_array_equal(features.values, features.values)
            np.testing.assert_array_equal(features.timestamps_s, features.timestamps_s)
            assert features.values.dtype == np.float32
            np.testing.assert_array_equal(features.column("größe"), features.values[:, 2])
            assert cache.duration_s(id_) == duration_s
            assert cache.frames(id_) == len(features.values)
            kept = cache.landmarks(id_)
            assert kept is not None
            expected = np.full((len(features.values), 30, 3), np.nan) if points is None else points
            np.testing.assert_allclose(kept, expected, atol=0.25)
        for id_ in FAILURES:
            assert id_ in cache
            assert cache[id_].values.shape == (0, 3)
            assert math.isnan(cache.duration_s(id_))


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "one.h5").read_bytes() == write(tmp_path / "two.h5").read_bytes()
    assert write(tmp_path / "three.h5", failures={}).read_bytes() != (tmp_path / "one.h5").read_bytes()


def test_a_cache_without_anything_is_a_cache(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "a.h5", [], failures={}, notes={}, rate=8)) as cache:
        assert (len(cache), cache.rate, cache.has_landmarks) == (0, 8.0, False)
        assert summary(cache)["rows"] == 0
    with open_cache(write(tmp_path / "b.h5", [], notes={})) as cache:
        assert [cache.frames(id_) for id_ in cache] == [0, 0, 0]


def test_unknown_ids_and_columns_are_sentences(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5")) as cache:
        assert "nobody" not in cache
        for read in (cache.__getitem__, cache.duration_s, cache.landmarks, cache.frames):
            with raises(CacheError, name="nobody"):
                read("nobody")
        with raises(CacheError, name="AU99_r"):
            cache["m/ütt01"].column("AU99_r")


def test_small_faces_keep_as_much_as_large_ones() -> None:
    generator = np.random.default_rng(0)
    face = generator.normal(size=(1, 478, 3)).astype(np.float32)
    for size in (1.0, 20.0, 2000.0):
        points = face * size + 5 * size
        error = np.abs(unpack_landmarks(pack_landmarks(points)) - points).max()
        assert error < np.ptp(points) / 1500
    flat = np.zeros((2, 478, 3), np.float32)
    np.testing.assert_allclose(unpack_landmarks(pack_landmarks(flat)), flat, atol=1e-6)


def test_a_write_that_breaks_off_leaves_the_old_cache(tmp_path: Path) -> None:
    path = write(tmp_path / "face.h5")
    before = path.read_bytes()

    def broken() -> Iterator[Any]:
        yield from clips(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(path, broken())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("room", [500, 20_000, 190_000])
def test_a_full_disk_is_a_sentence_and_leaves_the_old_cache(tmp_path: Path, room: int) -> None:
    path = write(tmp_path / "face.h5", clips(3), notes={})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(DiskError):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept_at_once(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    pid = killed.stdout.strip()
    mine = partial_path(tmp_path / "a.h5")
    dead = mine.with_name(re.sub(r"-\d+-", f"-{pid}-", mine.name))
    other = dead.with_name(dead.name.replace(".a.h5", ".face.h5"))
    for left in (mine, dead, other):
        left.write_bytes(b"half")
    write(tmp_path / "a.h5", clips(1), notes={})
    assert [left.exists() for left in (mine, dead, other)] == [True, False, False]


def test_a_cache_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE(write(tmp_path / "a.h5", clips(1), notes={}).stat().st_mode) == 0o600


def test_ids_out_of_order_are_our_own_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="comes after"):
        write(tmp_path / "a.h5", reversed(list(clips())))
    with pytest.raises(AssertionError, match="features and a failure"):
        write(tmp_path / "a.h5", failures={"m/ütt03": "no"})


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    with raises(CacheError, path=tmp_path / "none.h5", missing=True):
        open_cache(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("words")
    with raises(DamagedCacheError, path=tmp_path / "text.h5"):
        open_cache(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(CacheError, match="not a frame cache"):
        open_cache(tmp_path / "other.h5")
    half = write(tmp_path / "half.h5")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    with raises(DamagedCacheError, path=half):
        open_cache(half)
    with raises(CacheError, path=tmp_path / "face.h5", name="face"):
        open_cache(write(tmp_path / "face.h5"), "pose")


def spoil(path: Path, how: str) -> None:
    with h5py.File(path, "a") as file:
        if how == "version":
            file.attrs["schema_version"] = 99
        elif how == "attribute":
            del file.attrs["extractor"]
        elif how == "modality":
            file.attrs["modality"] = "smell"
        elif how == "external":
            del file["timestamps_s"]
            file["timestamps_s"] = h5py.ExternalLink("secret.h5", "/values")
        elif how == "soft":
            del file["failures/ids"]
            file["failures/ids"] = h5py.SoftLink("/ids")
        elif how == "elsewhere":
            shape = file["duration_s"].shape
            del file["duration_s"]
            file.create_dataset("duration_s", shape, np.float64, external=[("secret.bin", 0, h5py.h5f.UNLIMITED)])
        elif how == "virtual":
            shape = file["duration_s"].shape
            del file["duration_s"]
            layout = h5py.VirtualLayout(shape, np.float64)
            layout[:] = h5py.VirtualSource("secret.h5", "x", shape)
            file.create_virtual_dataset("duration_s", layout)
        elif how == "absurd":
            file["values"].resize(10**13, axis=0)
        elif how == "huge chunk":
            del file["values"]
            file.create_dataset(
                "values", (10, 3), np.float32, maxshape=(None, 3), chunks=(10**8, 3), compression="gzip"
            )
        elif how == "offsets":
            file["offsets"][3] = 10**6
        elif how == "columns":
            del file["columns"]
            file["columns"] = np.array([b"a", b"b"])
        elif how == "missing":
            del file["values"]
        elif how == "order":
            file["ids"][0] = "zzz"
        elif how == "landmarks":
            file["landmarks"].resize(3, axis=0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("version", "schema version 99; this bemerc reads version 1"),
        ("attribute", "lacks the attributes extractor"),
        ("modality", "'smell' is none of"),
        ("external", "link to somewhere else"),
        ("soft", "link to somewhere else"),
        ("elsewhere", "data in another file"),
        ("virtual", "data in another file"),
        ("absurd", "claims the shape"),
        ("huge chunk", "claims the shape"),
        ("offsets", "do not divide"),
        ("columns", "for 2 columns"),
        ("missing", "'values' is missing"),
        ("order", "unique and sorted"),
        ("landmarks", "landmarks of int16"),
    ],
)
def test_a_spoiled_cache_is_refused_with_the_reason(tmp_path: Path, how: str, words: str) -> None:
    path = write(tmp_path / "face.h5")
    spoil(path, how)
    with pytest.raises(CacheError, match=words):
        open_cache(path)


@pytest.mark.parametrize("sign", [b"HEAP", b"TREE", b"SNOD"])
def test_damaged_tables_of_the_file_are_a_sentence(tmp_path: Path, sign: bytes) -> None:
    path = write(tmp_path / "face.h5")
    path.write_bytes(path.read_bytes().replace(sign, b"oops"))
    with pytest.raises(CacheError, match=r"damaged|not a readable HDF5|not a frame cache"):
        open_cache(path)


def test_damaged_words_and_rows_are_sentences(tmp_path: Path) -> None:
    path = write(tmp_path / "face.h5")
    with h5py.File(path, "a") as file:
        file.attrs["params"] = "{not JSON"
    with raises(DamagedCacheError, path=path):
        open_cache(path)
    path = write(tmp_path / "rows.h5")
    with h5py.File(path) as file:
        place = file["values"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 20)
        raw.write(b"\xff" * 40)
    with open_cache(path) as cache, raises(DamagedCacheError, path=path):
        cache["m/ütt00"]


def test_the_summary_says_what_is_in_it(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5")) as cache:
        totals = summary(cache)
    values = np.concatenate([row[1].values for row in clips()])
    assert (totals["utterances"], totals["failed"], totals["rows"]) == (43, 3, len(values))
    assert totals["hours"] == pytest.approx(sum(row[2] for row in clips()) / 3600)
    first = totals["columns"]["AU01_r"]
    assert first["nan_share"] == pytest.approx(np.isnan(values[:, 0]).mean())
    assert first["mean"] == pytest.approx(np.nanmean(values[:, 0]), abs=1e-6)
    assert first["std"] == pytest.approx(np.nanstd(values[:, 0]), abs=1e-6)
    assert (first["min"], first["max"]) == (np.nanmin(values[:, 0]), np.nanmax(values[:, 0]))


def test_a_folder_of_folders_of_caches_names_them(tmp_path: Path) -> None:
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk" / "face.h5").touch()
    with pytest.raises(CacheError, match=str(tmp_path / "talk")):
        caches_at(tmp_path)


def test_what_has_no_caches_leads_to_those_beside_it(tmp_path: Path) -> None:
    features, clips = tmp_path / "features", tmp_path / "clips"
    features.mkdir()
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"a clip")
    with pytest.raises(CacheError, match="bemerc extract CLIPS"):
        caches_at(clips)
    write(features / "face.h5")
    for wrong in (clips, clips / "a.mp4", tmp_path / "face.h5", tmp_path / "feature"):
        with pytest.raises(CacheError, match=str(features)):
            open_cache(next(iter(caches_at(wrong).values())))
    with pytest.raises(CacheError, match=str(features / "face.h5")):
        open_cache(features)
