"""From stored landmarks back to numbers: nothing is lost, what was changed shows, and no video is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import Features, Head, PackedLandmarks, Rows, open_cache, pack_landmarks, write_cache
from bemerc.core.errors import CacheError
from bemerc.core.ownership import WouldReplaceError
from bemerc.extraction import recompute
from bemerc.extraction.face import extractor
from bemerc.extraction.face.mesh import average_face
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.extraction.run import run
from tests.cli.test_cli import ROOT, bemerc
from tests.errors import raises

NAMES = extractor.columns(extractor.Params())
SIZE = (640, 360)


def points(seed: int, frames: int = 20) -> PackedLandmarks:
    """An average face that trembles, in pixels, with a frame in which it is not seen."""
    rng = np.random.default_rng(seed)
    shape = average_face() / np.ptp(average_face()[:, 1]) * 150 + (320, 180, 0)
    moved = shape + rng.normal(0, 1.5, (frames, *shape.shape))
    moved[frames // 2] = np.nan
    return pack_landmarks(moved.astype(np.float32))


def face_cache(path: Path, *, landmarks: bool = True, off: float = 0.0) -> Path:
    """A cache as extraction makes it, of two clips, one without a frame and a failure; ``off`` is added to AU12 of the first."""
    clips = []
    for id_, frames in (("a", 20), ("b", 30), ("c", 0)):
        packed = points(len(clips), max(frames, 1))
        values = extractor.measure_packed(packed, SIZE, np.full(max(frames, 1), 0.9, np.float32))[:frames]
        values[:, NAMES.index("AU12_r")] += off if id_ == "a" else 0
        clips.append((id_, Features(values, np.arange(frames) / 25, NAMES), frames / 25, packed if landmarks else None))
    write_cache(
        path, Head("face", NAMES, "clip", extractor.VERSION, {"faces": 1}), Rows(clips, {"d": "The clip is empty."})
    )
    return path


def test_what_is_stored_gives_what_was_measured_to_the_last_digit(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5")
    outcome = recompute.run(path, tmp_path / "out" / "face.h5")
    assert outcome.utterances == 3
    assert max(outcome.differences.values()) == 0
    assert set(outcome.differences) == set(recompute.COLUMNS)
    with open_cache(path) as before, open_cache(tmp_path / "out" / "face.h5") as after:
        assert after.ids == before.ids
        assert after.failures == before.failures
        for id_ in "abc":
            np.testing.assert_array_equal(after[id_].values, before[id_].values)
            np.testing.assert_array_equal(after.landmarks(id_), before.landmarks(id_))
            assert after.duration_s(id_) == before.duration_s(id_)


@pytest.mark.parametrize("block", [1, 7, 20, 64])
def test_blocks_of_frames_change_no_bit(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """The face leaps at the border of a block, which the quality of the frames on both sides must know."""
    packed = points(3)
    packed.scale[7:, :2] += 300
    presence = np.linspace(0.5, 1, 20, dtype=np.float32)
    whole = extractor.measure_packed(packed, SIZE, presence)
    monkeypatch.setattr(extractor, "_BLOCK", block)
    np.testing.assert_array_equal(extractor.measure_packed(packed, SIZE, presence), whole)


def test_what_was_changed_shows_and_is_fixed(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5", off=0.5)
    outcome = recompute.run(path, tmp_path / "recomputed" / "face.h5")
    assert outcome.differences["AU12_r"] == pytest.approx(0.5, abs=1e-5)
    assert "0.5000 of 5 (AU12_r)" in outcome.sentence()
    again = recompute.run(tmp_path / "recomputed" / "face.h5", None)
    assert max(again.differences.values()) == 0


def test_the_command_writes_beside_and_extraction_keeps_off(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5")
    answer = bemerc("cache", "recompute", path, "--out", tmp_path / "new")
    assert answer.returncode == 0, answer.stderr
    assert "3 utterances" in answer.stdout
    assert "Name another folder" in bemerc("cache", "recompute", path, "--out", tmp_path / "new").stderr
    assert bemerc("cache", "validate", tmp_path / "new").returncode == 0
    measures = (extractor_spec("face", extractor.__name__, extractor.Params()),)
    with raises(WouldReplaceError, path=tmp_path / "new" / "face.h5"):
        run([Job("a", None)], measures, tmp_path / "new", tmp_path / "store")


def test_the_page_on_plain_h5py_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "reference" / "cache.md").read_text(encoding="utf-8")
    (tmp_path / "features").mkdir()
    path = face_cache(tmp_path / "features" / "face.h5")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    with open_cache(path) as cache:
        complete = ~np.isnan(cache["a"].values).any(axis=1)
        np.testing.assert_array_equal(names["values"], cache["a"].values)
        np.testing.assert_allclose(names["pixels"][complete], cache.landmarks("a")[complete], rtol=1e-6)
        assert list(names["columns"]) == list(cache.columns)
        assert names["ids"][0] == "a"


def test_without_landmarks_there_is_a_sentence(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5", landmarks=False)
    with raises(CacheError, path=path):
        recompute.run(path, None)


def test_damaged_rows_cost_themselves_alone(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "face.h5")
    with h5py.File(path, "a") as file:
        file["timestamps_s"][3] = np.nan  # of the first
    outcome = recompute.run(path, tmp_path / "again" / "face.h5")
    assert set(outcome.unreadable) == {"a"}
    with open_cache(tmp_path / "again" / "face.h5") as cache:
        assert set(cache.failures) == {"a", "d"}
        assert cache.frames("b") == 30
    answer = bemerc("cache", "recompute", path)
    assert (answer.returncode, "'a'" in answer.stderr, "Traceback" in answer.stderr) == (1, True, False)
