"""Checking a cache row by row and against its clips: a sound one passes, and each way of spoiling one is found by id."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import Choice, Features, Head, Rows, TrackSpan, open_cache, same_person, write_cache
from bemerc.cache.guard import DamagedCacheError
from bemerc.corpus.readers import folder
from bemerc.extraction.jobs import extractor_spec, jobs_from_manifest
from bemerc.extraction.run import run
from bemerc.extraction.validate import check_against_clips, check_rows, check_side_by_side, describe_cache
from tests import loudness, mean_color
from tests.cli.test_cli import bemerc
from tests.clips import write_clip
from tests.errors import raises

COLUMNS = ("AU12_r", "pose_yaw_deg", "quality")


def cache_of(
    path: Path, rate: Any = "clip", landmarks: bool = True, params: Any = None, contents: str = "", **changes: Any
) -> Path:
    """Three utterances of 50 rows, one that failed; at 25 rows per second."""
    generator = np.random.default_rng(3)
    rows = []
    for name in ("a", "b", "größe"):
        values = generator.uniform(0, 1, (50, 3)).astype(np.float32)
        values[10:13] = np.nan
        points = generator.uniform(0, 90, (50, 6, 3)).astype(np.float32)
        points[10:13] = np.nan
        rows.append((name, Features(values, np.arange(50) / 25, COLUMNS), 2.0, points if landmarks else None))
    all_rows = Rows(rows, {"broken": "It is empty."}, sources={name: "0" * 64 for name in ("a", "b", "größe")})
    head = Head("face", COLUMNS, rate, "mesh/1", params or {})
    write_cache(path, head, replace(all_rows, **changes), contents=contents)
    return path


def spoilt(path: Path, spoil: Callable[[h5py.File], None], **options: object) -> dict[tuple[str, str], str]:
    """(id, kind) -> severity of the issues of a cache after ``spoil``. Rows: a 0-49, b 50-99, größe 100-149."""
    cache_of(path, **options)  # type: ignore[arg-type]
    with h5py.File(path, "a") as file:
        spoil(file)
    with open_cache(path) as cache:
        return {(issue.id, issue.kind): issue.severity for issue in check_rows(cache).issues}


def test_an_uncertain_choice_is_a_warning(tmp_path: Path) -> None:
    plain = Features(np.zeros((50, 3), np.float32), np.arange(50) / 25, COLUMNS)
    choices = {
        "a": Choice("speaking", "speaking", 2, 0.41, True, (TrackSpan(0, 50, 1, 0.41, 2),)),
        "b": Choice("speaking", "alone", 1, 1.0, False, (TrackSpan(0, 50, 0, 1.0, 1),)),
        "c": Choice("speaking", "speaking", 3, 0.9, False, (TrackSpan(0, 51, 0, 0.9, 3),)),
    }
    write_cache(
        tmp_path / "face.h5",
        Head("face", COLUMNS, "clip", "mesh/1", {}),
        Rows([(id_, plain, 2.0, None) for id_ in choices], choices=choices),
    )
    with open_cache(tmp_path / "face.h5") as cache:
        assert cache.choices == choices
        assert {(i.id, i.kind): i.severity for i in check_rows(cache).issues if i.id} == {
            ("a", "target face"): "warning",
            ("c", "choice"): "error",
        }
        assert "in 2 utterances; the target face is uncertain in 1" in describe_cache(cache)
    with h5py.File(tmp_path / "face.h5", "a") as file:
        del file["choices"]["json"]
        file["choices"]["json"] = np.array([b"{}"] * 3)
    with raises(DamagedCacheError, path=tmp_path / "face.h5"):
        open_cache(tmp_path / "face.h5")


def test_a_body_that_is_not_below_the_chosen_face_is_a_warning(tmp_path: Path) -> None:
    stamps, chosen = np.arange(20) / 10, Choice("left", "left", 2, 0.9, False, (TrackSpan(0, 20, 0, 0.9, 2),))
    face = Features(np.tile(np.float32([0.25, 0.4, 0.3]), (20, 1)), stamps, ("face_x", "face_y", "face_size"))
    for name, nose in (("face", None), ("pose", (0.26, 0.42)), ("other", (0.75, 0.4))):
        body = Features(np.tile(np.float32(nose or (0, 0)), (20, 1)), stamps, ("nose_x", "nose_y"))
        kind, features, choices = ("pose", body, {}) if nose else ("face", face, {"a": chosen})
        rows = Rows([("a", features, 2.0, None)], choices=choices)
        write_cache(tmp_path / f"{name}.h5", Head(kind, features.columns, "clip", "x/1", {}), rows)
    with open_cache(tmp_path / "face.h5") as faces:
        for name, kinds in (("pose", []), ("other", ["body"])):
            with open_cache(tmp_path / f"{name}.h5") as bodies:
                assert [issue.kind for issue in check_side_by_side({"face": faces, "pose": bodies})] == kinds
                values = same_person.read({"face": faces, "pose": bodies}, "pose", "a").values
                assert np.isnan(values).all() == bool(kinds)
                np.testing.assert_array_equal(
                    same_person.read({"pose": bodies}, "pose", "a").values, bodies["a"].values
                )


def test_a_cache_under_the_name_of_another_is_wrong(tmp_path: Path) -> None:
    issues = {name: spoilt(tmp_path / name, lambda file: None) for name in ("face.h5", "pose.h5", "mine.h5")}
    assert issues == {"face.h5": {}, "pose.h5": {("", "name"): "error"}, "mine.h5": {}}


def put(name: str, at: object, value: object) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        file[name][at] = value

    return spoil


def test_an_intact_cache_has_no_issues(tmp_path: Path) -> None:
    assert spoilt(tmp_path / "face.h5", lambda file: None) == {}


@pytest.mark.parametrize(
    ("spoil", "issue", "severity"),
    [
        (put("timestamps_s", 60, 9.0), ("b", "timestamps"), "error"),
        (put("timestamps_s", 50, -3.0), ("b", "timestamps"), "error"),
        (put("timestamps_s", 60, np.nan), ("b", "timestamps"), "error"),
        (put("timestamps_s", slice(140, 150), np.arange(10) + 1.7), ("größe", "duration"), "error"),
        (put("duration_s", 1, 9.0), ("b", "duration"), "error"),
        (put("duration_s", 0, np.nan), ("a", "duration"), "error"),
        (put("values", (55, 0), np.inf), ("b", "infinite"), "error"),
        (put("values", (55, 0), 7.0), ("b", "range"), "error"),
        (put("values", (55, 1), -400.0), ("b", "range"), "error"),
        (put("values", (55, 2), 1.2), ("b", "range"), "error"),
        (put("landmarks", 20, -32768), ("a", "landmarks"), "error"),
        (put("values", (slice(None), 1), np.nan), ("", "empty column"), "warning"),
        (put("offsets", slice(1, 3), [0, 50]), ("broken", "failure"), "error"),
        (put("sources/sha256", 0, b"123"), ("a", "source"), "error"),
    ],
)
def test_damage_is_reported_by_id(
    tmp_path: Path, spoil: Callable[[h5py.File], None], issue: tuple[str, str], severity: str
) -> None:
    assert spoilt(tmp_path / "face.h5", spoil).get(issue) == severity


def test_a_rate_is_compared_with_the_rows(tmp_path: Path) -> None:
    nothing = lambda file: None  # noqa: E731
    assert spoilt(tmp_path / "a.h5", nothing, rate=25.0) == {}
    assert spoilt(tmp_path / "b.h5", nothing, rate=10.0)[("a", "rate")] == "error"
    assert spoilt(tmp_path / "c.h5", nothing, rate=100.0)[("a", "rate")] == "warning"


def test_a_damaged_chunk_is_reported_by_the_ids_that_need_it(tmp_path: Path) -> None:
    path = cache_of(tmp_path / "face.h5")
    with h5py.File(path) as file:
        place = file["values"].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(place.byte_offset + 20)
        file.write(b"\xff" * 40)
    answer = bemerc("cache", "validate", path)
    assert answer.returncode == 1
    assert "cannot be read" in answer.stdout
    assert "Traceback" not in answer.stderr


def test_caches_side_by_side_hold_the_same_utterances(tmp_path: Path) -> None:
    shutil.copy(cache_of(tmp_path / "one.h5"), tmp_path / "two.h5")
    with h5py.File(tmp_path / "two.h5", "a") as file:
        file["ids"][3] = b"z"
        del file["sources"]
        file["duration_s"][0] = 3.0
    with open_cache(tmp_path / "one.h5") as face, open_cache(tmp_path / "two.h5") as pose:
        issues = {(i.id, i.kind, i.severity) for i in check_side_by_side({"face": face, "pose": pose})}
    assert issues == {("a", "durations", "warning"), ("größe", "missing", "error"), ("z", "missing", "error")}


# ----------------------------------------------------------------------------------------------------- against the clips

FACE = extractor_spec("face", "tests.mean_color", mean_color.Params())
SOUND = extractor_spec("audio", "tests.loudness", loudness.Params())


def world(tmp_path: Path) -> Path:
    """Three clips, measured into features/ with their store beside."""
    for i in range(3):
        write_clip(tmp_path / "clips" / f"c{i}.mp4", 0.8 + i / 5, color=(40 * i, 80, 120))
    (tmp_path / "clips" / "empty.mp4").touch()
    jobs = jobs_from_manifest(folder.read(tmp_path / "clips").manifest(tmp_path / "clips"))
    features = tmp_path / "features"
    for one in (FACE, SOUND):
        run(jobs, (one,), features, features / "store", 1, 1.0)
    return features


def deep(features: Path) -> dict[tuple[str, str], str]:
    clips = features.parent / "clips"
    with open_cache(features / "face.h5") as cache:
        issues = check_against_clips(cache, folder.read(clips).manifest(clips), features / "store")
    return {(issue.id, issue.kind): issue.severity for issue in issues}


def test_the_media_are_hashed_anew(tmp_path: Path) -> None:
    features = world(tmp_path)
    clip, original = tmp_path / "clips" / "c1.mp4", (tmp_path / "clips" / "c1.mp4").read_bytes()
    assert deep(features) == {}
    # Another content behind the same size, time and inode: only reading it shows.
    old = clip.stat()
    os.utime(clip, ns=(old.st_atime_ns, old.st_mtime_ns - 10**11))
    jobs = jobs_from_manifest(folder.read(tmp_path / "clips").manifest(tmp_path / "clips"))
    run(jobs, (FACE,), features, features / "store", 1, 1.0)
    with clip.open("r+b") as file:
        file.seek(len(original) - 9)
        file.write(b"x")
    os.utime(clip, ns=(old.st_atime_ns, old.st_mtime_ns - 10**11))
    assert run(jobs, (FACE,), features, features / "store", 1, 1.0).measured == 0
    assert deep(features) == {("c1", "clip"): "error", ("", "hash cache"): "error"}
    clip.unlink()
    assert deep(features) == {("c1", "extra"): "warning"}
    clip.write_bytes(original)
    write_clip(tmp_path / "clips" / "new.mp4")
    assert deep(features) == {("new", "missing"): "error"}


def test_an_edited_cache_does_not_have_its_fingerprint(tmp_path: Path) -> None:
    features = world(tmp_path)
    with h5py.File(features / "face.h5", "a") as file:
        file.attrs["params"] = json.dumps({"rate_hz": 5.0})
    assert deep(features)[("", "fingerprint")] == "error"


def test_rows_are_compared_with_the_store(tmp_path: Path) -> None:
    features = world(tmp_path)
    with h5py.File(features / "face.h5", "a") as file:
        file["values"][3, 0] += 1
    assert deep(features) == {("c0", "store"): "error"}
    shutil.rmtree(features / "store" / "face")
    assert deep(features) == {("", "store"): "warning"}


def test_the_commands_print_issues_and_exit_with_1_at_an_error(tmp_path: Path) -> None:
    features = world(tmp_path)
    info = bemerc("cache", "info", features)
    assert (info.returncode, info.stdout.count("utterances,")) == (0, 2)
    assert "without rows, such as empty: " in info.stdout
    assert json.loads(bemerc("cache", "info", features / "face.h5", "--json").stdout)[0]["rows"] > 50
    sound = bemerc("cache", "validate", features, "--deep", "--video-dir", tmp_path / "clips")
    assert sound.returncode == 0, sound.stdout
    assert sound.stdout.count("0 errors") == 2
    with h5py.File(features / "audio.h5", "a") as file:
        file["timestamps_s"][2] = 0.0
    report = bemerc("cache", "validate", features, "--json")
    assert report.returncode == 1
    reports = json.loads(report.stdout)
    assert [f["id"] for report in reports for f in report["issues"]] == ["c0", "c0"]  # its time, its checksum
    lost = bemerc("cache", "validate", features, "--deep")
    assert (lost.returncode, "Name them with --video-dir" in lost.stderr) == (1, True)
    (tmp_path / "text.h5").write_text("words")
    assert bemerc("cache", "validate", tmp_path / "text.h5").returncode == 1
