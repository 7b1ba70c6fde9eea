"""Other people in the same pictures: their rows lie beside the target's, which stay what they were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import (
    Choice,
    Features,
    Head,
    Rows,
    TrackSpan,
    id_of_other,
    open_cache,
    split_other,
    state_of,
    write_cache,
)
from bemerc.core.errors import CacheError
from bemerc.extraction.validate import check_rows

COLUMNS = ("AU12_r", "face_x")
IDS = ("a", "a b", "b")  # "a#1" stands after "a b#1", and yet "a" before "a b"
CHOICE = Choice("speaking", "speaking", 2, 0.1, False, (TrackSpan(3, 8, 1, 0.1, 2),))


def rows(seed: int, count: int) -> Features:
    values = np.random.default_rng(seed).uniform(0, 5, (count, 2)).astype(np.float32)
    return Features(values, np.arange(count) / 25, COLUMNS)


def targets() -> Iterator[tuple[str, Features, float, Any]]:
    for seed, id_ in enumerate(IDS):
        yield id_, rows(seed, 10), 0.4, np.full((10, 5, 3), float(seed + 1), np.float32) * np.arange(3)


def everybody() -> Rows:
    listed = [(id_of_other(id_, name), n) for n, (id_, name) in enumerate((("a", "1"), ("a", "2"), ("a b", "1")))]
    points = np.ones((5, 5, 3), np.float32) * np.arange(3)
    clips = [(id_, rows(50 + n, 5), 0.4, points) for id_, n in listed]
    return Rows(clips, {"b#Ann": "The file is empty."}, choices={listed[0][0]: CHOICE})


def write(path: Path, others: Rows | None) -> Path:
    write_cache(path, Head("face", COLUMNS, "clip", "mesh/1", {}), Rows(targets()), others=others)  # fmt: skip
    return path


def test_who_reads_the_target_reads_what_was_always_there(tmp_path: Path) -> None:
    with (
        open_cache(write(tmp_path / "all.h5", everybody())) as cache,
        open_cache(write(tmp_path / "t.h5", None)) as one,
    ):
        assert cache.ids == one.ids == IDS
        for id_ in IDS:
            np.testing.assert_array_equal(cache[id_].values, one[id_].values)
        assert one.others is None
        assert one.others_of("a") == ()


def test_the_others_of_an_utterance(tmp_path: Path) -> None:
    with open_cache(write(tmp_path / "face.h5", everybody())) as cache:
        others = cache.others
        assert others is not None
        assert [cache.others_of(id_) for id_ in IDS] == [("a#1", "a#2"), ("a b#1",), ("b#Ann",)]
        np.testing.assert_array_equal(others["a#2"].values, rows(51, 5).values)
        assert others.choices == {"a#1": CHOICE}
        assert others.failures == {"b#Ann": "The file is empty."}
        assert others.frames("b#Ann") == 0
        assert others.landmarks("a#1") is not None
        assert check_rows(cache).errors == 0


def test_damage_among_the_others_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "face.h5", everybody())
    assert state_of(path).kind == "sound"
    with h5py.File(path, "r+") as file:
        file["others/values"][0, 0] = 4.25
    assert state_of(path).kind == "damaged"
    with open_cache(path) as cache:
        assert [issue.id for issue in check_rows(cache).issues if issue.severity == "error"] == ["a#1"]


def test_a_name_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "face.h5", everybody())
    with h5py.File(path, "r+") as file:
        ids = file["others/ids"][:]
        ids[0] = b"a#0"
        file["others/ids"][:] = ids
        file["others/choices/ids"][:] = np.array([b"a#0"], file["others/choices/ids"].dtype)
    with open_cache(path) as cache:
        assert not cache.head_is_as_written()


def test_a_group_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "face.h5", everybody())
    with h5py.File(path, "r+") as file:
        file["others/offsets"][-1] = 400
    with pytest.raises(CacheError):
        open_cache(path)


def test_an_id_and_a_name_come_apart_again() -> None:
    assert split_other(id_of_other("a#b/c", "Ann")) == ("a#b/c", "Ann")
