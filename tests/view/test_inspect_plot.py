"""The picture of one utterance: what is in the caches is drawn, and the rest is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from bemerc.cache import Features, Head, Rows, write_cache
from bemerc.core.errors import CacheError
from bemerc.corpus.manifest import write_manifest
from bemerc.corpus.readers import recording
from bemerc.extraction.pose import body as pose
from bemerc.view import inspect_plot
from tests.cli.test_cli import bemerc
from tests.clips import brightness, write_clip
from tests.extraction.test_hands import hand

COLUMNS = pose.columns(pose.Params(hands=True))


def body(*, hands: bool) -> Features:
    """Eight frames of a body of which nothing is visible but, where asked for, an open left hand."""
    values = np.full((8, len(COLUMNS)), np.nan, np.float32)
    values[:, [i for i, name in enumerate(COLUMNS) if name.endswith("_visibility")]] = 0.0
    if hands:
        first = COLUMNS.index("left_hand_00_x")
        values[:, first : first + 63] = hand(100, 60).ravel()
    return Features(values, np.arange(8) / 8, COLUMNS)


def drawn(path: Path, features: Features) -> bytes:
    inspect_plot.draw("a", inspect_plot.PlotData({"pose": features}), None, path)
    return path.read_bytes()


def test_hands_are_drawn_where_they_were_measured(tmp_path: Path) -> None:
    bare = drawn(tmp_path / "bare.png", body(hands=False))
    assert bare.startswith(b"\x89PNG")
    assert drawn(tmp_path / "again.png", body(hands=False)) == bare
    assert drawn(tmp_path / "hands.png", body(hands=True)) != bare


def test_where_there_is_nothing_to_draw_the_reason_is_given_once(tmp_path: Path) -> None:
    write_cache(
        tmp_path / "pose.h5", Head("pose", COLUMNS, 8.0, "x/1", {}), Rows([], {"a": "The clip is empty (0 bytes)."})
    )
    with pytest.raises(CacheError, match=r"^Of 'a' there is nothing to draw\. Pose: The clip is empty \(0 bytes\)\.$"):
        inspect_plot.save("a", {"pose": tmp_path / "pose.h5"}, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def cue(tmp_path: Path) -> Path:
    """A film of two cues, the second of which starts after its half, measured into features/."""
    write_clip(tmp_path / "talk" / "talk.mp4", 3.0, size=(128, 96), color=(200, 40, 40))
    (tmp_path / "talk" / "talk.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,200\nHello there\n\n2\n00:00:02,000 --> 00:00:02,900\nI know\n"
    )
    columns = ("AU12_r", "AU25_r")
    rows = []
    for id_ in (u.id for u in recording.read_dir(tmp_path / "talk").manifest(tmp_path / "talk").utterances):
        values = np.zeros((20, 2), np.float32)
        values[10] = 3.0
        rows.append((id_, Features(values, np.arange(20) / 25, columns), 0.9, None))
    write_cache(tmp_path / "features" / "face.h5", Head("face", columns, "clip", "x/1", {}), Rows(rows))
    return tmp_path / "features" / "face.h5"


def test_the_frame_of_a_cue_is_drawn_by_the_command_that_extract_prints(tmp_path: Path) -> None:
    path = cue(tmp_path)
    manifest = recording.read_dir(tmp_path / "talk").manifest(tmp_path / "talk")
    first, second = (u.id for u in manifest.utterances)
    frame = inspect_plot._frame(second, manifest, 0.4)
    assert frame is not None
    assert abs(float(frame[:, :60].mean()) - brightness(60)) < 6  # 2.0 + 0.4 s, at 25 frames a second
    answer = bemerc("inspect", path, second, "--video-dir", tmp_path / "talk", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "has no clip" not in answer.stdout
    assert (tmp_path / f"{second.replace('/', '_')}.png").stat().st_mode & 0o077 == 0
    write_manifest(tmp_path / "corpus.jsonl", manifest.utterances, manifest.labels, manifest.corpora)
    answer = bemerc("inspect", path, first, "--manifest", tmp_path / "corpus.jsonl", "--out", tmp_path / "b.png")
    assert answer.returncode == 0, answer.stderr
    assert "has no clip" not in answer.stdout


def test_ids_and_columns_of_strangers_are_drawn_or_named(tmp_path: Path) -> None:
    ids = ("../../x", "$\\frac{$", "a\x1b[2J")
    for kind, columns in (("face", ("x",)), ("pose", ("lean_deg",))):
        rows = [
            (id_, Features(np.zeros((3, len(columns)), np.float32), np.arange(3) / 25, columns), 0.1, None)
            for id_ in ids
        ]
        write_cache(
            tmp_path / f"{kind}.h5", Head(kind, columns, "clip", "x/1", {}), Rows(sorted(rows, key=lambda row: row[0]))
        )
    for id_ in ids:
        answer = bemerc("inspect", tmp_path / "face.h5", id_, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert "\x1b" not in answer.stdout
    assert len(list(tmp_path.glob("*.png"))) == 3
    with h5py.File(tmp_path / "pose.h5", "a") as file:
        file["timestamps_s"][...] = np.nan
    answer = bemerc("inspect", tmp_path / "face.h5", "../../x", "--out", tmp_path / "c.png")
    assert (answer.returncode, "cannot be used" in answer.stdout) == (0, True)


def test_sentences_of_given_caches_lie_beside_them(tmp_path: Path) -> None:
    path = cue(tmp_path)
    mine = tmp_path / "features" / "descriptions.jsonl"
    mine.write_text("my own\n")
    (tmp_path / "imported").mkdir()
    shutil.copy(path, tmp_path / "imported" / "face.h5")
    answer = bemerc("describe", "--caches", "imported", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert mine.read_text() == "my own\n"
    assert (tmp_path / "imported" / "descriptions.jsonl").is_file()
