"""Everything odd that a folder of clips may hold, and everything that may go wrong meanwhile, through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bemerc.cache import FrameCache, open_cache
from bemerc.interop.filenames import file_of
from tests.cli.test_cli import ROOT, bemerc
from tests.clips import turn, write_clip
from tests.interop.test_exchange import face_cache

LONG = "ü" * 125  # 250 bytes; with .mp4 as long as a file's name may be
STAMPS = [0.0, 0.04, 0.05, 0.3, 0.31, 0.9]


def film(path: Path, pictures: Sequence[NDArray[np.uint8]]) -> Path:
    """Pictures (H, W, 3) as a clip of 10 frames per second without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def portrait() -> NDArray[np.uint8]:
    """256x256 pixels with one face in them."""
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut()[0:256, 96:352])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of odd clips, extracted once by the command; what it printed is in printed.txt."""
    base = tmp_path_factory.mktemp("odd")
    clips = base / "clips"
    clips.mkdir()
    face, nobody = portrait(), np.full((256, 256, 3), 90, np.uint8)
    film(clips / "half.mp4", [face] * 6 + [nobody] * 6)
    turn(film(clips / "turned.mp4", [np.rot90(face)] * 4))
    write_clip(clips / "uneven.mp4", 1.0, times_s=STAMPS)
    write_clip(clips / "instant.mp4", 0.006, times_s=[0.0])
    write_clip(clips / "minutes.mp4", 90.0, times_s=[3.0 * i for i in range(30)], rate_hz=8000)
    write_clip(clips / "telephone.wav", 1.5, picture=False, rate_hz=8000)
    write_clip(clips / "stereo.mp4", 1.5, rate_hz=48_000, channels=2)
    write_clip(clips / "odd.mp4", size=(63, 47))
    write_clip(clips / "narrow.mp4", size=(17, 101))
    write_clip(clips / f"{LONG}.mp4", 0.3)
    (clips / "link.mp4").symlink_to(clips / "odd.mp4")
    (clips / "dangling.mp4").symlink_to(base / "nowhere.mp4")
    (clips / "around").symlink_to(clips)
    answer = bemerc("extract", "--video-dir", clips, "--out", base / "features", cwd=base)
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    (base / "printed.txt").write_text(answer.stdout, encoding="utf-8")
    return base


@pytest.fixture
def face(folder: Path) -> Iterator[FrameCache]:
    with open_cache(folder / "features" / "face.h5", "face") as cache:
        yield cache


@pytest.fixture
def audio(folder: Path) -> Iterator[FrameCache]:
    with open_cache(folder / "features" / "audio.h5", "audio") as cache:
        yield cache


def test_a_face_that_leaves_is_nan_from_then_on(face: FrameCache) -> None:
    finite = np.isfinite(face["half"].column("AU12_r"))
    assert finite.tolist() == [True] * 6 + [False] * 6


def test_a_rotated_video_is_measured_upright(face: FrameCache) -> None:
    assert np.abs(face["turned"].column("pose_roll_deg")).max() < 15


def test_an_uneven_rate_keeps_its_times(face: FrameCache) -> None:
    np.testing.assert_allclose(face["uneven"].timestamps_s, STAMPS, atol=1e-3)


def test_very_short_and_very_long_clips_are_rows_like_others(face: FrameCache, audio: FrameCache) -> None:
    assert (face.frames("instant"), face.frames("minutes")) == (1, 30)
    assert audio.frames("instant") < 10
    assert audio.duration_s("minutes") == pytest.approx(90, abs=0.5)
    assert audio.frames("minutes") == pytest.approx(9000, rel=0.01)


def test_telephone_and_stereo_sound_has_its_pitch(audio: FrameCache) -> None:
    for id_ in ("telephone", "stereo"):
        pitch = audio[id_].column("pitch_hz")[20:-20]
        assert np.nanmedian(pitch) == pytest.approx(440, abs=3)


def test_odd_sizes_long_names_and_links_are_clips_like_others(folder: Path, face: FrameCache) -> None:
    assert [face.frames(id_) for id_ in ("odd", "narrow", LONG)] == [20, 20, 8]
    np.testing.assert_array_equal(face["link"].values, face["odd"].values)
    assert face.failures["dangling"] == "There is no file 'dangling.mp4'."
    assert not any(id_.startswith("around") for id_ in face)
    assert "dangling: There is no file" in (folder / "printed.txt").read_text(encoding="utf-8")


def test_all_of_it_passes_the_check_and_goes_on_into_sentences(folder: Path) -> None:
    checked = bemerc("cache", "validate", "features", "--deep", "--video-dir", "clips", cwd=folder)
    assert checked.returncode == 0, checked.stdout
    described = bemerc("describe", "--caches", "features", "--out", "described", cwd=folder)
    assert described.returncode == 0, described.stderr
    assert "too short" in described.stdout
    exported = bemerc("cache", "export", "features/face.h5", "csv", "--to", "csv", cwd=folder)
    assert exported.returncode == 0, exported.stderr
    assert file_of(folder / "csv", LONG, ".csv").is_file()


# ---------------------------------------------------------------------------------------------- what goes wrong meanwhile


def finished(folder: Path) -> int:
    """Clips whose face and pose both lie in the store; one worker takes a clip after the other."""
    return min(len(list(folder.glob(f"features/store/{modality}/*/*.npz"))) for modality in ("face", "pose"))


@pytest.mark.slow
def test_ctrl_c_ends_in_a_sentence_and_keeps_the_work(tmp_path: Path) -> None:
    for i in range(8):
        write_clip(tmp_path / "clips" / f"c{i}.mp4", 1.0, color=(20 * i, 0, 0))
    # What a shell starts in the background is told to ignore Ctrl-C; here it must work wherever the tests run.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bemerc.cli.main import main; main()"
    command = [sys.executable, "-c", code, "extract", "--video-dir", "clips", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    end = time.monotonic() + 120
    while not finished(tmp_path):
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "Interrupted. What was finished is kept" in printed
    assert "Traceback" not in printed
    kept = finished(tmp_path)
    assert 1 <= kept < 8
    again = bemerc("extract", "--video-dir", "clips", cwd=tmp_path)
    assert f"{8 - kept} of 8 utterances were measured" in again.stdout


def test_a_disk_that_fills_up_is_a_sentence_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for i in range(2):
        write_clip(tmp_path / "clips" / f"c{i}.mp4", 0.4 + i, color=(20 * i, 0, 0))
    code = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));from bemerc.cli.main import main; main()"
    command = [sys.executable, "-c", code, "extract", "--video-dir", "clips", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    full = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert full.returncode == 1
    assert "Make room" in full.stderr
    assert "Traceback" not in full.stderr
    again = bemerc("extract", "--video-dir", "clips", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 utterances were measured" in again.stdout or "of 2 utterances were measured" in again.stdout


@pytest.mark.parametrize("how", ["version", "link", "shape"])
def test_a_cache_that_is_not_to_be_trusted_is_refused_by_every_command(tmp_path: Path, how: str) -> None:
    path = face_cache(tmp_path / "face.h5")
    with h5py.File(path, "a") as file:
        if how == "version":
            file.attrs["schema_version"] = 99
        elif how == "link":
            del file["timestamps_s"]
            file["timestamps_s"] = h5py.ExternalLink("secret.h5", "/values")
        else:
            file["values"].resize(10**13, axis=0)
    says = {"version": "schema version 99", "link": "link to somewhere else", "shape": "claims the shape"}[how]
    for arguments in (
        ("cache", "info", path),
        ("cache", "export", path, tmp_path / "out", "--to", "csv"),
        ("describe", "--caches", tmp_path, "--out", tmp_path / "described"),
    ):
        answer = bemerc(*arguments)
        assert answer.returncode == 1
        assert says in answer.stderr
        assert "Traceback" not in answer.stderr
    checked = bemerc("cache", "validate", path)
    assert (checked.returncode, says in checked.stdout) == (1, True)


def test_extracting_does_not_replace_what_was_imported(tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a.mp4")
    path = face_cache(tmp_path / "features" / "face.h5")
    with h5py.File(path, "a") as file:
        file.attrs["params"] = '{"imported": {"from": "openface"}}'
    before = path.read_bytes()
    answer = bemerc("extract", "--video-dir", "clips", cwd=tmp_path)
    assert (answer.returncode, "was imported" in answer.stderr) == (1, True)
    assert path.read_bytes() == before


def test_an_id_that_leads_elsewhere_writes_nothing_elsewhere(tmp_path: Path) -> None:
    path = face_cache(tmp_path / "inside" / "face.h5", ("../../escaped", "b"))
    for to in ("csv", "npy"):
        answer = bemerc("cache", "export", path, tmp_path / "inside" / "out", "--to", to)
        assert answer.returncode == 0, answer.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    assert {path.name for path in (tmp_path / "inside").iterdir()} == {"face.h5", "out"}


@pytest.mark.parametrize(("flag", "kept"), [("--landmarks", True), ("--no-landmarks", False)])
def test_raw_points_are_kept_or_not_as_one_asks(tmp_path: Path, flag: str, kept: bool) -> None:
    (tmp_path / "clips").mkdir()
    film(tmp_path / "clips" / "a.mp4", [portrait()] * 4)
    answer = bemerc("extract", "--video-dir", tmp_path / "clips", "--out", tmp_path / "out", "--workers", "1", flag)
    assert answer.returncode == 0, answer.stderr
    with open_cache(tmp_path / "out" / "face.h5", "face") as cache:
        assert np.isfinite(cache["a"].column("AU12_r")).all()
        assert (cache.landmarks("a") is not None) is kept
    assert stored_landmarks(tmp_path / "out") is kept, "nor are they left behind in the store"


def stored_landmarks(out: Path) -> bool:
    return any("points" in np.load(path).files for path in (out / "store").rglob("*.npz"))


@pytest.mark.slow
def test_landmarks_can_be_dropped_later_and_stay_dropped(tmp_path: Path) -> None:
    clips, out, never = tmp_path / "clips", tmp_path / "out", tmp_path / "never"
    clips.mkdir()
    for name in ("a", "b", "gone"):
        film(clips / f"{name}.mp4", [np.roll(portrait(), len(name), axis=1)] * (4 if name == "a" else 5))
    workers = ("--workers", "1")
    bemerc("extract", "--video-dir", clips, "--out", out, *workers)
    (clips / "gone.mp4").unlink()
    answer = bemerc("extract", "--video-dir", clips, "--out", out, *workers, "--no-landmarks")
    assert answer.returncode == 0, answer.stderr
    assert "0 of 2 utterances were measured" in answer.stdout
    assert "; landmarks removed from 3 stored results" in answer.stdout
    assert not stored_landmarks(out)
    bemerc("extract", "--video-dir", clips, "--out", never, *workers, "--no-landmarks")
    assert (out / "face.h5").read_bytes() == (never / "face.h5").read_bytes()
    answer = bemerc("describe", "--video-dir", clips, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert (out / "face.h5").read_bytes() == (never / "face.h5").read_bytes(), "what else is done brings none back"
    (out / "face.h5").unlink()  # nor does a cache that is lost: the store remembers it
    answer = bemerc("extract", "--video-dir", clips, "--out", out, *workers)
    assert answer.returncode == 0, answer.stderr
    assert (out / "face.h5").read_bytes() == (never / "face.h5").read_bytes()
    answer = bemerc("extract", "--video-dir", clips, "--out", out, *workers, "--landmarks")
    assert "2 of 2 utterances were measured (face only)" in answer.stdout
    assert stored_landmarks(out)


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    face_cache(tmp_path / "features" / "face.h5")
    (tmp_path / "file").touch()
    features = ("--caches", "features")
    for arguments, says in (
        (("describe", *features, "--out", "file"), "a folder is wanted"),
        (("cache", "export", "features", "file", "--to", "csv"), "a folder is wanted"),
        (("view", "features", "--manifest", "."), "a manifest is a file"),
    ):
        answer = bemerc(*arguments, cwd=tmp_path)
        assert (answer.returncode, says in answer.stderr) == (1, True), answer.stderr
    assert bemerc("cache", "validate", "features", "--manifest", "nope", cwd=tmp_path).returncode == 2
