"""A cache in several files reads as one file does; an index leads to its own parts and nowhere else."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import (
    Choice,
    Features,
    FrameCache,
    Head,
    Rows,
    clips_per_part,
    id_of_other,
    open_cache,
    part_path,
    parts_of,
    state_of,
    summary,
    sweep_parts,
    write_cache,
    write_index,
)
from bemerc.cache.checksum import of_json
from bemerc.cache.datasets import strings
from bemerc.core.errors import CacheError
from tests.errors import raises

COLUMNS = ("AU12_r", "face_x")
CHOICE = Choice("speaking", "speaking", 2, 0.5, True)
IDS = [f"clip {i}" for i in range(7)]


def rows(number: int) -> tuple[str, Features, float, Any]:
    random = np.random.default_rng(number)
    values = random.uniform(0, 5, (number + 3, 2)).astype(np.float32)
    points = random.uniform(0, 300, (number + 3, 4, 3)).astype(np.float32) if number > 3 else None
    return IDS[number], Features(values, np.arange(number + 3) / 25, COLUMNS), number + 0.5, points


def write(path: Path, numbers: list[int], contents: str) -> None:
    failed = {IDS[n]: "It is empty." for n in numbers if n == 5}
    measured = [n for n in numbers if n != 5]

    def others() -> Iterator[tuple[str, Features, float, Any]]:
        for n in measured:
            yield id_of_other(IDS[n], "1"), rows(n)[1], 1.0, None

    write_cache(path, Head("face", COLUMNS, "clip", "mesh/1", {"a": 1}), Rows(map(rows, measured), failed, notes={IDS[n]: "Dark." for n in measured if n == 2}, sources={IDS[n]: f"{n:064x}" for n in numbers}, choices={IDS[n]: CHOICE for n in measured if n % 2}), others=Rows(others()), contents=contents)  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """face.h5, the index of three parts."""
    path = tmp_path / "parts" / "face.h5"
    parts = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(3)]
    for n, contents in enumerate(parts):
        write(part_path(path, n + 1, contents), list(range(7))[3 * n : 3 * n + 3], contents)
    with open_cache(part_path(path, 1, parts[0])) as like:
        write_index(path, like, "c" * 64, parts, 3)
    return path


def test_readers_do_not_notice_the_parts(index: Path, tmp_path: Path) -> None:
    write(tmp_path / "face.h5", list(range(7)), "c" * 64)
    with open_cache(index, "face") as several, open_cache(tmp_path / "face.h5") as one:
        for name in ("ids", "columns", "rate", "params", "contents", "failures", "notes", "sources", "choices"):
            assert getattr(several, name) == getattr(one, name), name
        assert several.others is not None
        assert one.others is not None
        same(several, one)
        same(several.others, one.others)
        assert several.others_of(IDS[4]) == one.others_of(IDS[4]) == (f"{IDS[4]}#1",)
        np.testing.assert_array_equal(several.block(2, 30), one.block(2, 30))
        apart = {"path", "bytes"}
        assert {k: v for k, v in summary(several).items() if k not in apart} == {
            k: v for k, v in summary(one).items() if k not in apart
        }
        assert several.head_is_as_written()
        assert all(map(several.is_as_written, several))
        with raises(CacheError, name="nobody"):
            several["nobody"]
    assert clips_per_part(index) == 3
    assert clips_per_part(tmp_path / "face.h5") == 0
    assert (state_of(index).kind, state_of(index).contents) == ("sound", "c" * 64)


def same(several: FrameCache, one: FrameCache) -> None:
    assert several.ids == one.ids
    for id_ in one:
        np.testing.assert_array_equal(several[id_].values, one[id_].values)
        np.testing.assert_array_equal(several[id_].timestamps_s, one[id_].timestamps_s)
        np.testing.assert_equal(several.duration_s(id_), one.duration_s(id_))
        np.testing.assert_equal(several.landmarks(id_, 1, 4), one.landmarks(id_, 1, 4))


def change(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value


Damage = Callable[[Path, list[Path]], object]
DAMAGES: dict[str, Damage] = {
    "a part is missing": lambda index, parts: parts[1].unlink(),
    "a part is another one": lambda index, parts: shutil.copy(parts[0], parts[1]),
    "a part is an index": lambda index, parts: shutil.copy(index, parts[1]),
    "a part is no cache": lambda index, parts: parts[2].write_bytes(b"nothing"),
    "no parts": lambda index, parts: change(index, "parts", np.array([], "S64")),
    "a path": lambda index, parts: change(index, "parts", np.array([b"../../etc/passwd".ljust(64, b"x")])),
    "numbers": lambda index, parts: change(index, "parts", np.arange(3)),
    "too many": lambda index, parts: change(index, "parts", np.array([b"a" * 64] * 1000)),
    "a link": lambda index, parts: change(index, "parts", h5py.ExternalLink(str(parts[0]), "ids")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_a_sentence(index: Path, damage: Damage) -> None:
    damage(index, [*parts_of(index)])
    open_files = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(CacheError):
        open_cache(index)
    assert state_of(index).kind == "damaged"
    assert len([*Path("/proc/self/fd").iterdir()]) == open_files


def test_a_changed_row_or_list_is_noticed(index: Path) -> None:
    parts = [*parts_of(index)]
    with h5py.File(parts[1], "r+") as file:
        file["values"][0, 0] += 1
    assert state_of(index).kind == "damaged"
    with h5py.File(index, "r+") as file:
        file.attrs["contents"] = "d" * 64
    with open_cache(index) as cache:
        assert not cache.head_is_as_written()


def test_parts_of_a_former_index_are_removed_and_nothing_else(index: Path) -> None:
    kept = [*parts_of(index)]
    former = part_path(index, 1, "f" * 64)
    mine = [index.with_name(name) for name in ("face-notes.h5", "face-0001.h5", "pose-0001-ffffffff.h5")]
    for path in (former, *mine):
        path.touch()
    sweep_parts(index, kept)
    assert not former.exists()
    assert all(path.exists() for path in (*mine, *kept))


def test_json_is_hashed_in_pieces() -> None:
    listed, named = [f"ütt{i}" for i in range(9000)], {f"{i}": "é" for i in range(9000)}
    parts = [{"b": 1, "a": [{"y": (1, None)}, []]}, listed, (), named, {"p": named, "q": {}}, 2.5, None]
    for ascii in (True, False):
        text = json.dumps(parts, sort_keys=True, ensure_ascii=ascii)
        assert of_json(parts, ensure_ascii=ascii) == hashlib.sha256(text.encode()).hexdigest()


def test_texts_in_pieces_give_the_bytes_of_one_piece(tmp_path: Path) -> None:
    texts = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(25_000)]
    with h5py.File(tmp_path / "pieces.h5", "w") as file:
        strings(file, "texts", lambda: texts)
    with h5py.File(tmp_path / "one.h5", "w") as file:
        data = np.array([text.encode() for text in texts], h5py.string_dtype("utf-8", 64))
        file.create_dataset("texts", data=data, compression="gzip", compression_opts=4)
    assert (tmp_path / "pieces.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()
