"""Files that were made to harm, or that tools write in ways nobody expects: refused or taken with a sentence, nothing lost."""

from __future__ import annotations

import json
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bemerc.cache import Features, open_cache
from bemerc.core.errors import CacheError
from bemerc.core.ownership import WouldReplaceError
from bemerc.corpus.manifest import Manifest, Utterance
from bemerc.interop import safe_pickle
from bemerc.interop.importers import from_mertools, from_mmsa, from_openface
from bemerc.interop.openface_tables import read
from bemerc.interop.write_imported import Item, write_imported

GOOD: dict[str, Any] = {
    "id": ["a", "b"],
    "vision": np.ones((2, 5, 3), np.float32),
    "audio": np.ones((2, 5, 2), np.float32),
    "raw_text": ["x", "y"],
}


class Reduced:
    """Pickles as a call of something, with a state."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def forged(fields: Any, kind: str = "V8") -> Reduced:
    """A dtype with an object field whose flags say that it holds none."""
    return Reduced(np.dtype, (kind, False, True), (3, "|", None, ("a",) if fields else None, fields, 8, 1, 0))


def pickled(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def of_buffer(data: bytes, kind: Any, shape: Any) -> Reduced:
    from_buffer = np.ones(2).__reduce_ex__(5)[0]
    return Reduced(from_buffer, (data, kind, shape, "C"))


def of_scalar(kind: Any, data: bytes) -> Reduced:
    return Reduced(np.float32(1).__reduce__()[0], (kind, data))


def with_objects() -> Any:
    return {"a": (np.dtype("O"), 0)}


def doubled(times: int) -> Any:
    found: Any = [1]
    for _ in range(times):
        found = [found, found]
    return found


HOSTILE: dict[str, Any] = {
    "a dtype that hides objects, in a buffer": {"id": of_buffer(b"A" * 16, forged(with_objects()), (2,))},
    "the same in a scalar": {"id": [of_scalar(forged(with_objects()), b"A" * 8), "b"]},
    "the same in rows": {"vision": of_buffer(b"A" * 80, forged(with_objects()), (2, 5))},
    "the same under a plain name": {"id": of_buffer(b"A" * 16, forged(with_objects(), "f8"), (2,))},
    "a dtype without its fields": {"id": of_buffer(b"A" * 16, forged(None), (2,))},
    "objects in a buffer": {"id": of_buffer(b"A" * 16, np.dtype("O"), (2,))},
    "more shape than bytes": {"vision": of_buffer(b"A" * 40, np.dtype("f4"), (2, 500, 3))},
    "a negative shape": {"vision": of_buffer(b"A" * 40, np.dtype("f4"), (-1, 5))},
    "a shape of texts": {"vision": of_buffer(b"A" * 40, np.dtype("f4"), ("2", 5))},
    "texts of no characters": {"id": of_buffer(b"\xff" * 8, np.dtype("<U1"), (2,))},
    "memory that nobody wrote": {"vision": [Reduced(np.ndarray, ((2**27, 1),)), Reduced(np.ndarray, ((5, 1),))]},
    "more memory than there is": {"vision": [Reduced(np.ndarray, ((10**6, 10**5),))] * 2},
    "ids of references without end": {"id": doubled(40)},
    "rows of references without end": {"vision": doubled(40)},
    "times of references without end": {"vision_timestamps_s": [doubled(40)] * 2},
    "columns of references without end": {"vision_columns": doubled(40)},
    "ids that are objects": {"id": np.array(["a", {"b": 1}], dtype=object)},
    "ids that stand twice": {"id": ["a", "a"]},
    "no ids": {"id": None},
    "ids in one text": {"id": "ab"},
    "rows in a text": {"vision": "xx"},
    "rows of no dimension": {"vision": np.float32(3)},
    "rows of complex numbers": {"vision": np.zeros((2, 5, 3), complex)},
    "rows with fields": {"vision": np.zeros((2, 5), dtype=[("a", "f4")])},
    "lengths that cannot be": {"vision_lengths": [-1, 10**9]},
    "lengths in texts": {"vision_lengths": ["x", "y"]},
    "times in texts": {"vision_timestamps_s": ["x", "y"]},
    "fewer times than rows": {"vision_timestamps_s": [[0.0, 0.1], [0.0]]},
    "a column that a terminal obeys": {"vision_columns": ["a", "b\n", "\x1b[31m"]},
    "columns that are numbers of others": {"vision_columns": [1.5, {}, None]},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_is_a_sentence_soon(tmp_path: Path, what: str) -> None:
    path = pickled(tmp_path / "x.pkl", {"train": GOOD | HOSTILE[what]})
    start = time.monotonic()
    with pytest.raises(CacheError) as refused:
        from_mmsa(path, tmp_path / "out", None, 25.0)
    assert time.monotonic() - start < 2
    assert len(str(refused.value)) < 1000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x04\x8b\xff\xff\xff\x7f",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.",
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
        b"]" * 300_000,
        b"(" * 1_000_000 + b".",
        b".",
        b"",
        b"\x80\x04]q\x00h\x00h\x00ee.",
        # A key that is a tuple of the same tuples, forty deep: its hash is worked out without end.
        b"\x80\x04}N" + b"\x85q\x00h\x00\x86" + b"q\x00h\x00\x86" * 40 + b"Ns.",
        b"cos\nsystem\n.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"\x80\x04}}\x93.",
        b"\x80\x04\x8c\x01a\x8c\x01b\x81.",
    ],
)
def test_bytes_that_are_no_pickle_are_a_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    with pytest.raises(CacheError):
        from_mmsa(path, tmp_path / "out", None, 25.0)


def test_values_without_end_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MOST_VALUES", 1000)
    with pytest.raises(CacheError):
        safe_pickle.load(pickled(tmp_path / "x.pkl", [[] for _ in range(5000)]))


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">i2", "u1", "?", "<U3", ">U3", "S2"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_an_array_has_a_plain_dtype_and_its_values(tmp_path: Path, kind: str, protocol: int) -> None:
    array = np.array([[0, 1], [2, 3]]).astype(kind)
    for content in (array, np.asfortranarray(array), array[:, :0]):
        found = safe_pickle.load(pickled(tmp_path / "x.pkl", {"a": content, "again": content}, protocol))
        assert found["a"].dtype.fields is None
        assert not found["a"].dtype.hasobject
        np.testing.assert_array_equal(found["a"], content)
        np.testing.assert_array_equal(found["again"], content)


def test_numbers_that_restart_in_each_split_keep_all_six(tmp_path: Path) -> None:
    def split(value: float) -> dict[str, Any]:
        ids = ["dia0_utt0", "dia0_utt1"]
        return {"id": ids, "vision": np.full((2, 30, 4), value), "audio": np.full((2, 30, 3), value)}

    content = {"train": split(1), "valid": split(2), "test": split(3)}
    face, _ = from_mmsa(pickled(tmp_path / "m.pkl", content), tmp_path / "out", None, 25.0)
    assert face.utterances == 6
    with open_cache(face.path) as cache:
        assert [(id_, cache[id_].values[0, 0]) for id_ in cache if id_.endswith("0")] == [
            ("dev/dia0_utt0", 2),
            ("test/dia0_utt0", 3),
            ("train/dia0_utt0", 1),
        ]
    turns = [
        Utterance(f"meld/{s}/dia0_utt{i}", s, i, "", "", None, s, None)  # type: ignore[arg-type]
        for s in ("dev", "test", "train")
        for i in range(2)
    ]
    manifest = Manifest(tuple(turns), (), (), tmp_path)
    face, _ = from_mmsa(tmp_path / "m.pkl", tmp_path / "fits", manifest, 25.0)
    with open_cache(face.path) as cache:
        assert cache["meld/dev/dia0_utt1"].values[0, 0] == 2


def test_two_files_of_one_utterance_never_overwrite_each_other(tmp_path: Path) -> None:
    features = Features(np.ones((2, 1), np.float32), np.arange(2) / 25, ("x",))
    for pair in ([features, features], [features, "It is empty."], ["It is empty.", features]):
        with pytest.raises(CacheError):
            write_imported(
                tmp_path / "x.h5",
                modality="face",
                columns=("x",),
                rate="clip",
                tool="t",
                provenance={},
                items=[Item("a", found) for found in pair],
            )
    frames = tmp_path / "npy" / "a"
    frames.mkdir(parents=True)
    np.save(frames / "0001.npy", np.ones(3))
    np.save(tmp_path / "npy" / "a.npy", np.ones((4, 3)))
    with pytest.raises(CacheError):
        from_mertools(tmp_path / "npy", tmp_path / "out", None, "face", 25.0)


# ---------------------------------------------------------------------------------------------------------- OpenFace

HEAD = "frame, face_id, timestamp, confidence, success, AU12_r"


def table(path: Path, *lines: str, head: str = HEAD) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join((head, *lines)) + "\n")
    return path


def row(frame: object, time_s: object, intensity: object = 1.0, face: int = 0) -> str:
    return f"{frame}, {face}, {time_s}, 0.98, 1, {intensity}"


@pytest.mark.parametrize(
    "lines",
    [
        ["1, 0, 0,000, 0,98, 1, 1,00"],
        ["1, 0, 0,000, 0,98, 1, 1,00", "2, 0, 0,040, 0,98, 1, 1,00"],
        [row(i + 1, i / 25) for i in range(20)] + [row(i + 1, i / 25, 4) for i in range(10)],
        [row(1, 0), row(9_999_999, 400_000)],
        [row(1, 0), row("1e300", 1)],
        [row(1.5, 0), row(2.25, 1), row(3, 2)],
        [row(1, "nan"), row(2, "nan")],
        [row(i, f"{i}e-300") for i in range(1, 40)],
    ],
)
def test_tables_that_would_be_read_wrongly_are_refused(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(CacheError):
        read(table(tmp_path / "a.csv", *lines), ("AU12_r",))


def test_several_faces_in_a_frame_and_empty_cells_at_the_end_are_no_fault(tmp_path: Path) -> None:
    lines = [row(i + 1, i / 25, i / 10, face) for i in range(5) for face in (0, 1)]
    sheet = read(table(tmp_path / "a.csv", *(f"{line}, ," for line in lines)), ("AU12_r",))
    np.testing.assert_allclose(sheet.features.values[:, 0], np.arange(5) / 10, atol=1e-6)


@pytest.mark.parametrize("least", [float("nan"), -0.1, 7.0, float("inf")])
def test_a_least_confidence_that_says_nothing_is_refused(tmp_path: Path, least: float) -> None:
    table(tmp_path / "of" / "a.csv", *(row(i + 1, i / 25) for i in range(5)))
    with pytest.raises(CacheError):
        from_openface(tmp_path / "of", tmp_path / "out", None, least)


# ----------------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("rate_hz", [float("nan"), float("inf"), 0.0, -1.0, 1e300])
def test_a_rate_that_no_rows_have_is_refused(tmp_path: Path, rate_hz: float) -> None:
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", np.ones((4, 3)))
    with pytest.raises(CacheError):
        from_mertools(tmp_path / "npy", tmp_path / "out", None, "face", rate_hz)
    with pytest.raises(CacheError):
        from_mmsa(pickled(tmp_path / "x.pkl", {"train": GOOD}), tmp_path / "out", None, rate_hz)


def test_an_archive_or_an_absurd_header_called_npy_is_a_failure_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "good.npy", np.ones((4, 3)))
    with (folder / "archive.npy").open("wb") as file:
        np.savez(file, a=np.ones((4, 3)))
    (folder / "header.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"x" * 100)
    (folder / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', ")
    (folder / "pickle.npy").write_bytes(pickle.dumps(np.ones(3)))
    (folder / "empty.npy").touch()
    np.save(folder / "fields.npy", np.zeros(4, dtype=[("a", "f4")]))
    np.save(folder / "beyond.npy", np.full((4, 3), 1e300))
    made = from_mertools(folder, tmp_path / "out", None, "face", 25.0)
    assert set(made.failures) == {"archive", "header", "cut", "pickle", "empty", "fields"}
    with open_cache(made.path) as cache:
        assert np.isnan(cache["beyond"].values).all()


def test_columns_that_a_terminal_or_a_table_would_obey_are_refused(tmp_path: Path) -> None:
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", np.ones((4, 2)))
    for names in (["a", "b\nx"], ["a", "\x1b[2J"], ["", "a"], ["a", "x" * 300]):
        (tmp_path / "npy" / "columns.json").write_text(json.dumps({"columns": names, "rate": 25}))
        with pytest.raises(CacheError):
            from_mertools(tmp_path / "npy", tmp_path / "out", None, "face", None)
    (tmp_path / "npy" / "columns.json").write_text("[" * 100_000)
    assert from_mertools(tmp_path / "npy", tmp_path / "out", None, "face", 25.0).columns[0] == "npy_0000"


def test_an_import_replaces_nothing_unless_it_is_told_to(tmp_path: Path) -> None:
    path = pickled(tmp_path / "x.pkl", {"train": GOOD})
    from_mmsa(path, tmp_path / "out", None, 25.0)
    before = (tmp_path / "out" / "audio.h5").read_bytes()
    (tmp_path / "out" / "face.h5").unlink()
    with pytest.raises(WouldReplaceError):
        from_mmsa(path, tmp_path / "out", None, 50.0)
    assert not (tmp_path / "out" / "face.h5").exists()
    assert (tmp_path / "out" / "audio.h5").read_bytes() == before
    from_mmsa(path, tmp_path / "out", None, 50.0, replace=True)
    assert (tmp_path / "out" / "audio.h5").read_bytes() != before
