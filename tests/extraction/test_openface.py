"""The face backend openface: true times, what came back is checked, and no way in which the binary fails is held against a clip."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bemerc.cache import open_cache
from bemerc.core.errors import BemercError, MachineError
from bemerc.extraction.face import openface
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.jobs import ExtractorSpec, Job, extractor_spec, jobs_from_folder
from bemerc.extraction.params import VideoParams
from bemerc.extraction.run import run
from tests.cli.test_cli import bemerc
from tests.clips import brightness, picture_of, write_clip

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films go where the test can see that none is left."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def binary(folder: Path) -> Path:
    path = folder / "Feature Extraction"
    path.write_text(f"#!{sys.executable}\n" + (ROOT / "tests" / "fake_openface.py").read_text(encoding="utf-8"))
    path.chmod(0o755)
    return path


def face(folder: Path) -> ExtractorSpec:
    return extractor_spec("face", "bemerc.extraction.face.openface", openface.Params(str(binary(folder))))


def test_rows_are_our_frames_at_their_true_times(tmp_path: Path, own_folder: Path) -> None:
    written = [0.0, 0.04, 0.05, 0.3, 0.31, 0.9]
    write_clip(tmp_path / "clips" / "größe.mp4", 1.0, size=(63, 47), times_s=written, color=(10, 20, 30))
    run(jobs_from_folder(tmp_path / "clips"), (face(tmp_path),), tmp_path, tmp_path / "store", 1)
    with open_cache(tmp_path / "face.h5", "face") as cache:
        features = cache["größe"]
        assert cache.extractor.startswith("openface-binary/1+")
        assert cache.params == {"min_confidence": 0.8}
        assert cache.rate == "clip"
    np.testing.assert_allclose(features.timestamps_s, written, atol=1e-3)
    np.testing.assert_allclose(features.column("AU12_r"), [brightness(i) / 51 for i in range(6)], atol=0.1)
    np.testing.assert_allclose(features.column("pose_yaw_deg"), np.degrees(0.2), atol=1e-4)
    np.testing.assert_allclose(features.column("face_x"), 32 / 63, atol=1e-5)
    np.testing.assert_allclose(features.column("face_size"), 24 / 47, atol=1e-5)
    assert np.isnan(features.column("AU01_r")).all()  # the stand-in writes no such column
    assert not list(own_folder.iterdir())


@pytest.mark.slow
def test_another_build_measures_anew_and_the_same_one_elsewhere_does_not(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a.mp4", 0.2)
    jobs = jobs_from_folder(tmp_path / "clips")

    def measured(folder: Path) -> int:
        folder.mkdir(exist_ok=True)
        return run(jobs, (face(folder),), tmp_path, tmp_path / "store", 1).measured

    assert measured(tmp_path / "here") == 1
    assert measured(tmp_path / "there") == 0
    path = tmp_path / "there" / "Feature Extraction"
    path.write_text(path.read_text() + "# built again\n")
    params = openface.Params(str(path))
    again = run(jobs, (extractor_spec("face", openface.__name__, params),), tmp_path, tmp_path / "store", 1)
    assert again.measured == 1


def test_a_part_and_a_crop_are_what_the_binary_sees(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", 2.0, color=(10, 20, 30))
    jobs = [Job("a", path, Segment(0.5, 1.0)), Job("b", path, Segment(1.0, 1.4, (0.0, 0.0, 0.5, 1.0)))]
    run(jobs, (face(tmp_path),), tmp_path, tmp_path / "store", 1)
    with open_cache(tmp_path / "face.h5") as cache:
        np.testing.assert_allclose(cache["a"].timestamps_s, np.arange(12) / 25 + 0.02, atol=1e-9)
        np.testing.assert_allclose(cache["a"].column("AU12_r"), [brightness(13 + i) / 51 for i in range(12)], atol=0.15)
        assert cache.frames("b") == 10
        np.testing.assert_allclose(cache["b"].column("face_x"), 1.0, atol=1e-6)  # the same pixels in half the width


def test_each_failure_costs_one_clip_and_is_tried_again(tmp_path: Path, own_folder: Path) -> None:
    for red in (0, 40, 80, 120, 160, 200):
        write_clip(tmp_path / "clips" / f"red{red}.mp4", color=(red, 60, 60))
    jobs = jobs_from_folder(tmp_path / "clips")
    outcome = run(jobs, (face(tmp_path),), tmp_path, tmp_path / "store", 2, max_failed_share=0.9)
    reasons = dict(outcome.retryable)
    assert outcome.failures == {}
    assert set(reasons) == {"red40", "red80", "red120", "red160"}
    assert "ended without an error and wrote no table" in reasons["red40"]
    assert "Could not open the video file" in reasons["red40"]
    assert "10 rows for 20 frames" in reasons["red80"]
    assert "crashed (SIGSEGV)" in reasons["red120"]
    assert "exit code 1; its last words: Reading the landmark" in reasons["red160"]
    with open_cache(tmp_path / "face.h5") as cache:
        assert np.isfinite(cache["red0"].column("AU12_r")).all()
        assert np.isnan(cache["red200"].values).all()
        assert cache.frames("red200") == 20
    again = run(jobs, (face(tmp_path),), tmp_path, tmp_path / "store", 1, max_failed_share=0.9)
    assert (again.measured, again.cached, again.retryable) == (0, 2, reasons)
    assert not list(own_folder.iterdir())


@pytest.mark.slow
def test_models_that_are_installed_later_are_enough(tmp_path: Path) -> None:
    """The same binary without its models: no clip is to blame, and the same command measures when they are there."""
    for name in "ab":
        write_clip(tmp_path / "clips" / f"{name}.mp4", 0.2, color=(len(name), 60, ord(name)))
    jobs, lacking = jobs_from_folder(tmp_path / "clips"), tmp_path / "no models"
    lacking.touch()
    with pytest.raises(MachineError, match="Could not load the landmark detector"):
        run(jobs, (face(tmp_path),), tmp_path, tmp_path / "store", 1, max_failed_share=1.0)
    lacking.unlink()
    assert run(jobs, (face(tmp_path),), tmp_path, tmp_path / "store", 1).complete == 2


def test_a_hanging_binary_is_stopped_and_the_worker_says_meanwhile_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openface, "_START_S", 1.0)
    monkeypatch.setattr(openface, "_FRAME_S", 0.1)
    extractor = openface.open_extractor(openface.Params(str(binary(tmp_path))))
    beats = []
    extractor.heartbeat = lambda: beats.append(1)
    extractor.reset()
    for i in range(5):
        extractor.frame(picture_of(i, (64, 48), (240, 0, 0)), i / 25)
    with pytest.raises(MachineError, match=r"had not ended after 1\.5 s"):
        extractor.finish()
    assert len(beats) > 3
    extractor.reset()
    assert extractor.finish().values.shape == (0, len(openface.columns(extractor.params)))


def test_what_killed_workers_left_is_swept(tmp_path: Path, own_folder: Path) -> None:
    gone, mine = own_folder / "bemerc-openface-999999999-x", own_folder / "bemerc-openface-1-x"
    gone.mkdir()
    mine.mkdir()
    openface.open_extractor(openface.Params(str(binary(tmp_path))))
    assert [path.exists() for path in (gone, mine)] == [False, True]


def test_a_binary_that_is_not_there_stops_before_any_clip_is_blamed() -> None:
    with pytest.raises(
        BemercError, match=r"There is no program 'no_such_FeatureExtraction'.*extract_video\.openface\.binary"
    ):
        extractor_spec("face", "bemerc.extraction.face.openface", openface.Params("no_such_FeatureExtraction"))


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a.mp4", color=(10, 20, 30))
    program = binary(tmp_path)
    backend = f"extract_video: {{face_backend: openface, openface: {{binary: '{program}'}}}}"
    (tmp_path / "p.yaml").write_text(f"extract_audio: {{}}\n{backend}\n")
    answer = bemerc("extract", "--video-dir", "clips", "--params", "p.yaml", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    checked = bemerc("cache", "validate", "features", "--deep", "--video-dir", "clips", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    with open_cache(tmp_path / "features" / "face.h5") as cache:
        assert cache.extractor.startswith("openface-binary/1+")
        assert cache.params == {"min_confidence": 0.8}
        assert np.isfinite(cache["a"].column("AU12_r")).all()
    assert list(VideoParams(openface=openface.Params(min_confidence=2.0)).openface.check()) != []
