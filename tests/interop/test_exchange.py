"""Other tools' features in and ours out: round trips with figures, traps of each layout, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bemerc.cache import Features, Head, Rows, open_cache, write_cache
from bemerc.cli.main import app
from bemerc.core.errors import BemercError, CacheError, CorpusError
from bemerc.corpus.manifest import Manifest, Utterance, write_manifest
from bemerc.corpus.utterance_table import COLUMNS
from bemerc.interop import openface_tables, safe_pickle
from bemerc.interop.exporters import to_csv, to_mmsa, to_npy, to_parquet
from bemerc.interop.filenames import file_of
from bemerc.interop.importers import from_mertools, from_mmsa, from_openface
from bemerc.interop.write_imported import match
from tests.cli.test_cli import bemerc
from tests.errors import raises

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "WolfgangLanger_Pexels.openface2.csv"
UNITS = [f"AU{unit:02d}_r" for unit in openface_tables.UNITS]
HEADER = ["frame", "face_id", "timestamp", "confidence", "success", "gaze_angle_x", "gaze_angle_y"]
HEADER += ["pose_Rx", "pose_Ry", "pose_Rz", "x_0", "x_1", "y_0", "y_1", *UNITS, "AU12_c", "AU28_c"]


def sheet(path: Path, rows: Sequence[dict[str, Any]], header: Sequence[str] = HEADER, gap: str = ", ") -> Path:
    """A table as OpenFace writes it: names with leading spaces, numbers without; cells that a row does not name are 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [gap.join(header), *(",".join(str(row.get(name, 0)) for name in header) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def frames(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Frames at 25 per second in which AU12 counts up by a tenth."""
    usual = {"confidence": 0.95, "success": 1, "pose_Ry": 0.1, "pose_Rx": 0.2, "gaze_angle_x": -0.3}
    return [usual | {"frame": i + 1, "timestamp": i / 25, "AU12_r": i / 10} | changes for i in range(count)]


def face_cache(path: Path, ids: Sequence[str] = ("a", "d/größe"), **changes: Any) -> Path:
    """A cache with our face columns; row 2 of each utterance was not seen."""
    columns = (
        *UNITS,
        "AU28_r",
        "pose_pitch_deg",
        "pose_yaw_deg",
        "pose_roll_deg",
        "gaze_x_deg",
        "gaze_y_deg",
        "quality",
    )
    generator = np.random.default_rng(5)
    rows = []
    for id_ in sorted(ids):
        values = generator.uniform(0, 1, (30, len(columns))).astype(np.float32)
        values[:, 0] = np.linspace(0, 3, 30)
        values[2] = values[7, 3] = np.nan
        rows.append((id_, Features(values, np.arange(30) / 25, columns), 1.2, None))
    given = Rows(rows, {"e": "It is empty."})
    write_cache(path, Head("face", columns, "clip", "mesh/1", {}), replace(given, **changes))
    return path


def manifest(*utterances: tuple[str, str, str | None]) -> Manifest:
    """(id, split, clip) -> a manifest; texts are the ids, labels joy."""
    made = [
        Utterance(id_, f"d{i}", 0, "Ann", id_, "joy", split, clip)  # type: ignore[arg-type]
        for i, (id_, split, clip) in enumerate(sorted(utterances))
    ]
    return Manifest(tuple(made), ("neutral", "joy"), ("x",), Path())


# ------------------------------------------------------------------------------------------------------------ OpenFace


def test_a_table_is_read_with_its_spaces_units_and_unseen_frames(tmp_path: Path) -> None:
    rows = frames(10)
    rows[3] |= {"success": 0, "AU12_r": 0}
    rows[4] |= {"confidence": 0.5}
    rows[5] |= {"AU12_r": "-nan(ind)"}
    sheet(tmp_path / "of" / "dia1" / "ütt 1.csv", rows)
    made = from_openface(tmp_path / "of", tmp_path / "out", None)
    assert (made.utterances, made.failures) == (1, {})
    with open_cache(made.path, "face") as cache:
        features = cache["dia1/ütt 1"]
        expected = np.arange(10) / 10
        expected[3:6] = np.nan
        np.testing.assert_allclose(features.column("AU12_r"), expected, atol=1e-6)
        assert np.isnan(features.values[3:5]).all()
        np.testing.assert_allclose(features.column("pose_yaw_deg")[0], -np.degrees(0.1), atol=1e-4)
        np.testing.assert_allclose(features.column("pose_pitch_deg")[0], np.degrees(0.2), atol=1e-4)
        np.testing.assert_allclose(features.column("gaze_x_deg")[0], -np.degrees(0.3), atol=1e-4)
        np.testing.assert_allclose(features.timestamps_s, np.arange(10) / 25)
        assert cache.duration_s("dia1/ütt 1") == pytest.approx(0.4)
        assert cache.params["imported"]["from"] == "openface"
        assert len(cache.sources["dia1/ütt 1"]) == 64


def test_of_several_faces_the_most_seen_is_taken_and_holes_are_nan(tmp_path: Path) -> None:
    main = [row | {"face_id": 2} for row in frames(8) if row["frame"] not in (3, 4)]
    other = [row | {"face_id": 0, "AU12_r": 5} for row in frames(3)]
    rows = sorted([*main, *other], key=lambda row: (row["frame"], row["face_id"]))
    rows = [row for row in rows if row["frame"] not in (4,)]  # nobody at all in frame 4: no row
    made = from_openface(sheet(tmp_path / "a.csv", rows), tmp_path / "out", None)
    with open_cache(made.path) as cache:
        smile = cache["a"].column("AU12_r")
        np.testing.assert_allclose(smile, [0, 0.1, np.nan, np.nan, 0.4, 0.5, 0.6, 0.7], atol=1e-6)
        np.testing.assert_allclose(cache["a"].timestamps_s, np.arange(8) / 25, atol=1e-9)
        assert "2 faces are in the table; face 2, found in 6 of 8" in cache.notes["a"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows[4].update(AU12_r="abc"), "Line 6 holds 'abc'"),
        (lambda rows: rows[4].update(timestamp=0.0), "times do not grow"),
        (lambda rows: rows[4].update(frame=10**12), "frames are numbered"),
        (lambda rows: rows.clear(), "holds no frame"),
    ],
)
def test_a_spoilt_table_is_a_failure_with_its_reason(tmp_path: Path, spoil: Any, says: str) -> None:
    rows = frames(8)
    spoil(rows)
    sheet(tmp_path / "of" / "bad.csv", rows)
    sheet(tmp_path / "of" / "good.csv", frames(5))
    made = from_openface(tmp_path / "of", tmp_path / "out", None)
    assert list(made.failures) == ["bad"]
    assert says in made.failures["bad"]


def test_a_broken_off_last_line_is_a_note_and_one_in_the_middle_a_failure(tmp_path: Path) -> None:
    path = sheet(tmp_path / "of" / "end.csv", frames(8))
    path.write_text(path.read_text()[:-30])
    lines = path.read_text().splitlines()
    (tmp_path / "of" / "middle.csv").write_text("\n".join([*lines, lines[-2]]))
    made = from_openface(tmp_path / "of", tmp_path / "out", None)
    assert "breaks off" in made.notes["end"]
    assert "Line 9 has fewer cells" in made.failures["middle"]
    with open_cache(made.path) as cache:
        assert cache.frames("end") == 7


def test_what_is_no_table_of_a_clip_is_refused(tmp_path: Path) -> None:
    sheet(tmp_path / "of" / "picture.csv", [{}], ["face", "confidence", "AU01_r"])
    with pytest.raises(CacheError, match=r"no column frame, timestamp.*single pictures"):
        from_openface(tmp_path / "of", tmp_path / "out", None)
    (tmp_path / "of" / "picture.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CacheError, match="cannot be read"):
        from_openface(tmp_path / "of", tmp_path / "out", None)
    with raises(CacheError, path=tmp_path / "nowhere", missing=True):
        from_openface(tmp_path / "nowhere", tmp_path / "out", None)
    (tmp_path / "of" / "picture.csv").unlink()
    with raises(CacheError, path=tmp_path, missing=True):
        from_openface(tmp_path, tmp_path / "out", None)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the shared reference is not here")
def test_a_real_table_comes_back_from_an_export_as_it_was(tmp_path: Path) -> None:
    made = from_openface(REFERENCE, tmp_path / "in", None)
    with open_cache(made.path) as cache:
        to_csv(cache, tmp_path / "csv")
        (name,) = cache.ids
    again = from_openface(tmp_path / "csv", tmp_path / "again", None)
    with REFERENCE.open() as file:
        theirs = [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(file)]
    with (tmp_path / "csv" / f"{name}.csv").open() as file:
        ours = list(csv.DictReader(file))
    assert len(ours) == len(theirs) == 472
    for column in ("AU12_r", "AU28_c", "pose_Rx", "pose_Ry", "gaze_angle_y", "timestamp", "confidence"):
        pairs = [(float(a[column]), float(b[column])) for a, b in zip(ours, theirs, strict=True) if a["success"] == "1"]
        assert len(pairs) == 471
        assert max(abs(a - b) for a, b in pairs) < 2e-4, column
    with open_cache(made.path) as one, open_cache(again.path) as two:
        np.testing.assert_allclose(one[name].values, two[name].values, atol=2e-4)


def test_a_csv_of_ours_has_openfaces_names_and_says_what_is_ours(tmp_path: Path) -> None:
    with open_cache(face_cache(tmp_path / "face.h5")) as cache:
        assert len(to_csv(cache, tmp_path / "csv").files) == 3
        features = cache["d/größe"]
    with (tmp_path / "csv" / "d" / "größe.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert (rows[2]["success"], rows[2]["AU01_r"], rows[2]["confidence"]) == ("0", "", "0")
    assert [name for name in rows[0] if name.endswith("_c")] == ["AU45_c"]  # intensities are uncalibrated
    assert float(rows[0]["pose_Ry"]) == pytest.approx(-np.radians(features.column("pose_yaw_deg")[0]), abs=1e-5)
    assert float(rows[0]["confidence"]) == pytest.approx(features.column("quality")[0], abs=1e-5)
    assert set(rows[0]) <= {"frame", "face_id", "timestamp", "confidence", "success"} | {
        n for n, _, _ in openface_tables.NAMES
    }
    about = (tmp_path / "csv" / "README.txt").read_text(encoding="utf-8")
    assert "not OpenFace's confidence" in about
    assert "0 is the person at rest" in about


def test_parts_of_a_long_clip_get_their_rows(tmp_path: Path) -> None:
    sheet(tmp_path / "of" / "talk.csv", frames(50))
    parts = [
        Utterance(f"r/talk/{i}", "t", i, "A", "", None, "test", "r/talk.mp4", start, end)
        for i, (start, end) in enumerate([(0.0, 0.4), (1.0, None), (9.0, 9.5)])
    ]
    parts.append(Utterance("r/talk/x", "t", 3, "A", "", None, "test", "r/talk.mp4", None, None, (0, 0, 0.5, 1)))
    parts.append(Utterance("r/other", "t", 4, "A", "", None, "test", "r/other.mp4"))
    made = from_openface(tmp_path / "of", tmp_path / "out", Manifest(tuple(parts), (), (), Path()))
    assert set(made.failures) == {"r/talk/2", "r/talk/x", "r/other"}
    with open_cache(made.path) as cache:
        np.testing.assert_allclose(cache["r/talk/0"].column("AU12_r"), np.arange(10) / 10, atol=1e-6)
        np.testing.assert_allclose(cache["r/talk/1"].timestamps_s, np.arange(25) / 25, atol=1e-9)
        assert cache.duration_s("r/talk/1") == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------------------ matching


def test_names_fit_utterances_by_their_ends(tmp_path: Path) -> None:
    meld = manifest(
        ("meld/dev/dia0_utt0", "dev", "d/dev_splits_complete/dia0_utt0.mp4"),
        ("meld/train/dia0_utt0", "train", "d/train_splits/dia0_utt0.mp4"),
    )
    by_split = match(["of/train/dia0_utt0", "of/dev/dia0_utt0"], meld)
    assert [one.name for one in by_split] == ["of/dev/dia0_utt0", "of/train/dia0_utt0"]
    by_folder = ["dev_splits_complete/dia0_utt0", "train_splits/dia0_utt0"]
    assert [one.name for one in match(by_folder, meld)] == by_folder
    with raises(CorpusError, name="dia0_utt0"):
        match(["dia0_utt0"], meld)
    with pytest.raises(CorpusError, match="fit it equally well"):
        match(["a/dia0_utt0", "b/dia0_utt0"], meld)
    with pytest.raises(CorpusError, match="None of 1 names"):
        match(["x"], meld)


# ---------------------------------------------------------------------------------------------------------------- MMSA


def test_mmsa_there_and_back(tmp_path: Path) -> None:
    corpus = manifest(("a", "train", None), ("d/größe", "dev", None), ("e", "test", None), ("gone", "test", None))
    with open_cache(face_cache(tmp_path / "face.h5")) as cache:
        before = {id_: cache[id_] for id_ in cache}
        assert len(to_mmsa({"face": cache}, tmp_path / "mmsa.pkl", corpus).files) == 3
        with raises(CacheError, path=Path("other")):
            to_mmsa({"face": cache}, tmp_path / "no.pkl", replace(manifest(("x", "test", None)), folder=Path("other")))
    content = pickle.loads((tmp_path / "mmsa.pkl").read_bytes())
    assert set(content) == {"train", "valid", "test"}
    assert content["valid"]["vision"].shape == (1, 30, 24)
    assert (content["train"]["raw_text"].tolist(), content["train"]["classification_labels"].tolist()) == (["a"], [1])
    assert not np.isnan(content["train"]["vision"]).any()
    assert content["train"]["vision_seen"][0, :, 0].sum() == 29
    assert content["train"]["vision"][0, 7, 3] == 0
    (made,) = from_mmsa(tmp_path / "mmsa.pkl", tmp_path / "out", None, None)
    with open_cache(made.path, "face") as cache:
        for id_ in ("a", "d/größe"):
            np.testing.assert_array_equal(cache[id_].values, before[id_].values)
            np.testing.assert_allclose(cache[id_].timestamps_s, before[id_].timestamps_s)
        assert cache.columns == before["a"].columns


def test_mmsa_without_lengths_names_or_times(tmp_path: Path) -> None:
    vision, audio = np.zeros((2, 9, 3), np.float32), np.zeros((2, 5, 2))
    vision[0, :6] = vision[1, 3:] = 1.0
    vision[0, 2] = 0
    audio[:, :4] = -np.inf
    path = tmp_path / "old.pkl"
    path.write_bytes(pickle.dumps({"train": {"id": [b"v$_$1", "v$_$2"], "vision": vision, "audio": audio}}, protocol=2))
    with pytest.raises(CacheError, match="--rate-hz"):
        from_mmsa(path, tmp_path / "out", None, None)
    face, sound = from_mmsa(path, tmp_path / "out", None, 5.0)
    with open_cache(face.path, "face") as cache:
        assert cache.columns == ("mmsa_vision_0000", "mmsa_vision_0001", "mmsa_vision_0002")
        np.testing.assert_array_equal(np.isnan(cache["v$_$1"].values[:, 0]), [False, False, True, False, False, False])
        assert (cache.frames("v$_$2"), cache.rate, cache["v$_$2"].timestamps_s[1]) == (6, 5.0, 0.2)
    with open_cache(sound.path, "audio") as cache:
        assert np.isnan(cache["v$_$1"].values).all()
    (named, _) = from_mmsa(path, tmp_path / "named", None, 5.0, ("AU01_r", "AU02_r", "AU12_r"))
    assert named.columns == ("AU01_r", "AU02_r", "AU12_r")
    with pytest.raises(CacheError, match="2 names"):
        from_mmsa(path, tmp_path / "few", None, 5.0, ("AU01_r", "AU02_r"))


class Evil:
    """What a hostile pickle holds."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pkl", tmp_path / "ran"
    for content in ({"train": {"id": ["a"], "vision": Evil(marker)}}, np.array([Evil(marker)], object), Path("x")):
        for protocol in range(2, 6):
            path.write_bytes(pickle.dumps(content, protocol=protocol))
            with pytest.raises(CacheError, match="only arrays and plain types are admitted"):
                safe_pickle.load(path)
    assert not marker.exists()
    answer = bemerc("cache", "import", path, "--from", "mmsa", "--out", tmp_path / "out")
    assert (answer.returncode, "refused" in answer.stderr) == (1, True)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_types_come_through_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "f": np.arange(6, dtype=np.float32).reshape(2, 3),
        "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["a", "größe"]),
        "objects": np.array(["a", None, 3], dtype=object),
        "scalar": np.float64(2.5),
        "plain": [1, 2.0, "ü", b"x\xff", None, True, (1, {2, 3}), frozenset({4})],  # sets come as lists
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    content = safe_pickle.load(path)
    for key in ("f", "order", "text", "objects"):
        np.testing.assert_array_equal(content[key], content[key])
    assert (content["scalar"], content["plain"]) == (2.5, [1, 2.0, "ü", b"x\xff", None, True, (1, [2, 3]), [4]])


def test_mutated_pickles_end_in_sentences(tmp_path: Path) -> None:
    whole = pickle.dumps({"train": {"id": ["a", "b"], "vision": np.ones((2, 9, 3)), "audio": [np.ones((4, 2))] * 2}})
    generator = np.random.default_rng(0)
    path = tmp_path / "m.pkl"
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for at in generator.integers(0, len(data), 3):
            data[at] = generator.integers(256)
        path.write_bytes(bytes(data[: generator.integers(1, len(data) + 1)]))
        try:
            from_mmsa(path, tmp_path / "out", None, 25.0, replace=True)
        except CacheError:
            refused += 1
    assert refused > 200


# ------------------------------------------------------------------------------------------------------------ MERTools


def test_mertools_there_and_back(tmp_path: Path) -> None:
    with open_cache(face_cache(tmp_path / "face.h5")) as cache:
        before = cache["d/größe"]
        assert len(to_npy(cache, tmp_path / "bemerc-FRA").files) == 2
        assert len(to_npy(cache, tmp_path / "bemerc-UTT", whole=True).files) == 2
    names = json.loads((tmp_path / "bemerc-FRA" / "columns.json").read_text())["columns"]
    np.testing.assert_allclose(
        np.load(tmp_path / "bemerc-UTT" / "d" / "größe.npy"), np.nanmean(before.values, axis=0), atol=1e-6
    )
    made = from_mertools(tmp_path / "bemerc-FRA", tmp_path / "out", None, "face", 25.0)
    with open_cache(made.path, "face") as cache:
        np.testing.assert_array_equal(cache["d/größe"].values, before.values)
        np.testing.assert_allclose(cache["d/größe"].timestamps_s, before.timestamps_s)
        assert list(cache.columns) == list(before.columns) == names
    (tmp_path / "bemerc-UTT" / "columns.json").write_text('["not", "ours"]', encoding="utf-8")
    made = from_mertools(tmp_path / "bemerc-UTT", tmp_path / "utt", None, "face", None)
    with open_cache(made.path, "face") as cache:
        assert cache["a"].values.shape == (1, 24)
        assert cache.columns[0] == "bemerc_0000"


@pytest.mark.parametrize("name", ["a.csv", "README.txt", "a.npy", "columns.json"])
def test_what_is_no_export_is_never_replaced(tmp_path: Path, name: str) -> None:
    export = to_csv if name in ("a.csv", "README.txt") else to_npy
    with open_cache(face_cache(tmp_path / "face.h5")) as cache:
        export(cache, tmp_path / "ours")
        export(cache, tmp_path / "ours")
        (tmp_path / "clips").mkdir()
        (tmp_path / "clips" / name).write_text("start_s,end_s\n0,1\n")
        with raises(BemercError, path=tmp_path / "clips" / name):
            export(cache, tmp_path / "clips")
    assert [path.name for path in (tmp_path / "clips").iterdir()] == [name]
    assert (tmp_path / "clips" / name).read_text() == "start_s,end_s\n0,1\n"


def test_our_own_arrays_bring_their_rate(tmp_path: Path) -> None:
    columns = ("lean_deg", "movement")
    rows = Features(np.ones((6, 2), np.float32), np.arange(6) / 8.0, columns)
    write_cache(tmp_path / "pose.h5", Head("pose", columns, 8.0, "x/1", {}), Rows([("a", rows, 0.75, None)]))
    with open_cache(tmp_path / "pose.h5") as cache:
        to_npy(cache, tmp_path / "npy")
    made = from_mertools(tmp_path / "npy", tmp_path / "out", None, "pose", None)
    with open_cache(made.path, "pose") as cache:
        assert (cache.columns, cache.rate) == (columns, 8.0)
        np.testing.assert_allclose(cache["a"].timestamps_s, rows.timestamps_s)


def test_a_folder_of_numbered_frames_is_one_utterance(tmp_path: Path) -> None:
    for i in range(12):
        path = tmp_path / "clip-FRA" / "v1" / f"{i}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full(4, i, np.float32))
    made = from_mertools(tmp_path / "clip-FRA", tmp_path / "out", None, "face", 10.0)
    with open_cache(made.path) as cache:
        np.testing.assert_array_equal(cache["v1"].values[:, 0], np.arange(12))
        assert cache.columns == tuple(f"clip_{i:04d}" for i in range(4))


def test_arrays_that_are_none_are_failures(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    np.save(folder / "good.npy", np.ones((5, 3)))
    np.save(folder / "wide.npy", np.ones((5, 4)))
    np.save(folder / "words.npy", np.array(["a"]))
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    (folder / "text.npy").write_text("no array")
    data = bytearray((folder / "good.npy").read_bytes())
    (folder / "absurd.npy").write_bytes(bytes(data).replace(b"(5, 3)", b"(9999999999, 3)"))
    made = from_mertools(folder, tmp_path / "out", None, "audio", 25.0)
    assert set(made.failures) == {"wide", "words", "objects", "text", "absurd"}
    assert "4 columns, and the others have 3" in made.failures["wide"]
    with pytest.raises(CacheError, match="--rate-hz"):
        from_mertools(folder, tmp_path / "none", None, "audio", None)


# --------------------------------------------------------------------------------------------------- files, and the door


STRANGE = [
    "../a",
    "a/../../b",
    "/etc/x",
    "a//b",
    "a/.",
    "",
    "a\\..\\b",
    "back\\slash",
    "x",
    "x.csv/y",
    "x%2Ecsv/y",
    "a:b",
    "...",
]
STRANGE += ["utterances", "README", "50%", "100%25", "%_", "ü" * 130, "ü" * 130 + "x", "d/größe", "a\nb", ".hidden"]


def test_every_id_has_a_file_of_its_own_below_the_folder(tmp_path: Path) -> None:
    paths = [file_of(tmp_path / "out" / suffix, id_, suffix) for id_ in STRANGE for suffix in (".csv", ".npy")]
    assert len(set(paths)) == 2 * len(STRANGE)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        assert (tmp_path / "out").resolve() in path.resolve().parents
    assert file_of(tmp_path, "d/größe", ".csv") == tmp_path / "d" / "größe.csv"
    assert file_of(tmp_path, "train/dia0_utt0", ".npy") == tmp_path / "train" / "dia0_utt0.npy"


@given(st.sets(st.text(st.characters(codec="utf-8"), max_size=6), min_size=2, max_size=2))
def test_no_two_ids_share_a_file(ids: set[str]) -> None:
    assert len({file_of(Path("out"), id_, ".csv") for id_ in ids}) == 2


def test_an_export_of_strange_ids_writes_all_of_them(tmp_path: Path) -> None:
    ids = sorted(STRANGE)
    with open_cache(face_cache(tmp_path / "face.h5", tuple(ids))) as cache:
        for made in (to_csv(cache, tmp_path / "csv"), to_npy(cache, tmp_path / "npy")):
            assert {*ids} <= {*made.files, "failed"}
            assert not made.unreadable
    about = (tmp_path / "csv" / "README.txt").read_text(encoding="utf-8")
    assert "back%5Cslash" in about
    assert {
        found.parent.parts[len(tmp_path.parts)]
        for found in tmp_path.rglob("*")
        if found.is_file() and found.suffix != ".h5"
    } == {
        "csv",
        "npy",
    }
    assert all(found.stat().st_mode & 0o077 == 0 for found in tmp_path.rglob("*.csv") if found.is_file())


def test_rows_that_cannot_be_read_cost_their_own_file(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "features" / "face.h5", ("a", "b", "c"))
    with h5py.File(path, "a") as file:
        file["timestamps_s"][3] = np.nan
    for to, out in (("csv", "csv"), ("npy", "npy"), ("mmsa", "x.pkl")):
        answer = bemerc("cache", "export", path, tmp_path / out, "--to", to)
        assert (answer.returncode, "'a'" in answer.stderr, "Traceback" in answer.stderr) == (1, True, False)
    assert {found.stem for found in (tmp_path / "csv").glob("?.csv")} == {"b", "c", "e"}
    assert {found.stem for found in (tmp_path / "npy").glob("?.npy")} == {"b", "c"}


def test_names_of_columns_are_quoted_and_run_as_no_formula(tmp_path: Path) -> None:
    columns = ('=HYPERLINK("http://x")', "a,b\nx", "@SUM(1)", "AU01_r")
    features = Features(np.ones((2, 4), np.float32), np.arange(2) / 25, columns)
    write_cache(
        tmp_path / "pose.h5", Head("pose", columns, "clip", "x\x1b[2J", {}), Rows([("a", features, 0.08, None)])
    )
    with open_cache(tmp_path / "pose.h5") as cache:
        to_csv(cache, tmp_path / "csv")
    with (tmp_path / "csv" / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "timestamp", "'" + columns[0], columns[1], "'@SUM(1)", "AU01_r"]
    assert [len(row) for row in rows] == [6, 6, 6]
    assert "\x1b" not in (tmp_path / "csv" / "README.txt").read_text()


def test_words_speakers_and_times_are_beside_the_rows(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "features" / "face.h5", ("talk/0000", "talk/0001"))
    turns = [
        Utterance(
            f"talk/000{i}", "talk", i, "BEN", ("=1+1", "I know")[i], None, "test", "talk.mp4", 1.5 * i, 1.5 * i + 1
        )
        for i in range(2)
    ]
    write_manifest(tmp_path / "manifest.jsonl", turns, (), ())
    for to, out in (("csv", "csv"), ("npy", "npy"), ("mmsa", "mmsa/x.pkl")):
        answer = bemerc("cache", "export", path, tmp_path / out, "--to", to)
        assert answer.returncode == 0, answer.stderr
        with (tmp_path / out.split("/")[0] / "utterances.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["start_s"], row["speaker"], row["text"]) for row in rows] == [
            ("0.000", "BEN", "'=1+1"),
            ("1.500", "BEN", "I know"),
        ]
    assert bemerc("cache", "export", path, tmp_path / "mmsa" / "x.pkl", "--to", "mmsa").returncode == 0, "once more"
    (tmp_path / "features" / "utterances.csv").write_text(f"{','.join(COLUMNS)},sentences,quality\n")
    for to, out in (("csv", "features"), ("mmsa", "features/x.pkl")):
        answer = bemerc("cache", "export", path, tmp_path / out, "--to", to)
        assert (answer.returncode, "utterances.csv" in answer.stderr) == (1, True)
    assert pickle.loads((tmp_path / "mmsa" / "x.pkl").read_bytes())["test"]["raw_text"].tolist() == ["=1+1", "I know"]


def test_parquet_has_the_same_columns_or_says_what_it_needs(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5", ("a", "../b"))
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        answer = bemerc("cache", "export", path, tmp_path / "a.parquet", "--to", "parquet")
        assert (answer.returncode, "pip install 'bemerc[parquet]'" in answer.stderr) == (1, True)
        return
    with open_cache(path) as cache:
        to_parquet(cache, tmp_path / "a.parquet")
        smile = cache["a"].column("AU12_r")
    table = parquet.read_table(tmp_path / "a.parquet")
    rows = table.filter([id_ == "a" for id_ in table["id"].to_pylist()])
    np.testing.assert_allclose(np.array(rows["AU12_r"].to_pylist(), float), smile, atol=1e-6)
    assert rows["success"].to_pylist()[2] == 0
    assert set(table["id"].to_pylist()) == {"a", "../b"}


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    face_cache(tmp_path / "face.h5")
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from bemerc.cli.main import main; main()"
    )
    for to in ("npy", "mmsa"):
        command = [sys.executable, "-c", code, "cache", "export", "face.h5", "out", "--to", to]
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )
        assert answer.returncode == 1, answer.stdout
        assert "room" in answer.stderr
        assert not list(tmp_path.rglob("*.partial"))


def test_imported_features_are_described_and_made_tokens_like_extracted_ones(tmp_path: Path) -> None:
    sheet(tmp_path / "of" / "talk" / "a.csv", [row | {"AU12_r": 4 if row["frame"] > 30 else 0} for row in frames(50)])
    sheet(tmp_path / "of" / "talk" / "b.csv", frames(40))
    imported = bemerc("cache", "import", tmp_path / "of", "--from", "openface", "--out", tmp_path / "imported")
    assert imported.returncode == 0, imported.stderr
    assert "2 of 2 utterances" in imported.stdout
    assert bemerc("cache", "validate", tmp_path / "imported").returncode == 0
    described = bemerc("describe", "--caches", tmp_path / "imported", "--out", tmp_path / "said")
    assert described.returncode == 0, described.stderr
    assert "lip corners pulled up strongly" in described.stdout.lower()
    assert "Voice: could not be measured." in described.stdout

    from bemerc.behavior.tokens import file as tokens
    from bemerc.corpus.manifest import read_manifest, write_manifest

    clips = [Utterance(f"talk/{n}", "talk", i, "A", "", None, "train", None) for i, n in enumerate("ab")]
    write_manifest(tmp_path / "manifest.jsonl", clips, (), ())
    fitted = tokens.run(
        read_manifest(tmp_path / "manifest.jsonl"),
        {"face": tmp_path / "imported" / "face.h5"},
        tmp_path / "t.h5",
        tokens.Params(),
    )
    assert {"AU12_r.peak", "pose_yaw_deg.level", "gaze_x_deg.level"} <= set(fitted.modalities["face"].columns)
    assert not any("_c" in name or "confidence" in name for name in fitted.modalities["face"].columns)
    with tokens.open_tokens(tmp_path / "t.h5") as read:
        face_tokens = read["talk/a"]["face"]
        assert face_tokens.mask.all()
        peak = face_tokens.values[:, fitted.modalities["face"].columns.index("AU12_r.peak")]
        assert peak[-1] > peak[0]
    # A model that was fitted on other columns says which it lacks.
    less = one_unit_alone(tmp_path)
    talk = read_manifest(tmp_path / "manifest.jsonl")
    with pytest.raises(CacheError, match=r"differ in AU02_r.*or train again"):
        tokens.run(talk, {"face": less}, tmp_path / "u.h5", tokens.Params(), fitted)


def one_unit_alone(tmp_path: Path) -> Path:
    """A cache of the same utterances that knows one unit alone."""
    sheet(
        tmp_path / "less" / "talk" / "a.csv",
        frames(9),
        [n for n in HEADER if not n.startswith(("AU", "pose"))] + ["AU01_r"],
    )
    return from_openface(tmp_path / "less", tmp_path / "less", None).path


def test_the_commands_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5")
    for arguments, code, message in (
        (("export", path, "out", "--to", "xml"), 2, "'parquet', 'mmsa'"),
        (("import", path, "--from", "excel"), 2, "'openface', 'mmsa', 'mertools'"),
        (("import", tmp_path, "--from", "mertools"), 1, "--modality face | pose | audio"),
        (("import", tmp_path, "--from", "mertools", "--modality", "face", "--rate-hz", "-1"), 1, "more than 0"),
    ):
        answer = CliRunner().invoke(app, ["cache", *map(str, arguments)])
        assert answer.exit_code == code
        assert message in answer.output
