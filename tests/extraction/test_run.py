"""The extraction loop with real workers, real clips and the smallest possible extractors: what it does when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from bemerc.cache import Features, Head, Rows, open_cache, write_cache
from bemerc.core import atomic
from bemerc.core.errors import BemercError, CacheError, CorpusError, MachineError, MediaError
from bemerc.core.ownership import WouldReplaceError
from bemerc.extraction import extractor_pool, recompute, video_pass, worker_pool
from bemerc.extraction import run as run_module
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import file_identity
from bemerc.extraction.jobs import ExtractorSpec, Job, Request, Task, extractor_spec, jobs_from_folder
from bemerc.extraction.outcome import Outcome
from bemerc.extraction.params import AudioParams, VideoParams
from bemerc.extraction.run import extract_audio, extract_video, run
from bemerc.extraction.store import Store
from bemerc.media.video import Frame, Video
from tests import dying_decoder, loudness, mean_color, no_such_library
from tests.clips import FPS, brightness, write_clip
from tests.errors import raises

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "clips"
SOUND = extractor_spec("audio", "tests.loudness", loudness.Params())


def face(**options: object) -> ExtractorSpec:
    return extractor_spec("face", "tests.mean_color", mean_color.Params(**options))  # type: ignore[arg-type]


def pose(rate_hz: float = 8.0) -> ExtractorSpec:
    return extractor_spec("pose", "tests.mean_color", mean_color.Params(rate_hz=rate_hz))


def clips(folder: Path, count: int = 5) -> list[Job]:
    """Clips that differ in length and in the red of their right half: 0, 40, 80, ..."""
    for i in range(count):
        write_clip(folder / f"dia{i // 3}" / f"ütt{i}.mp4", 0.4 + 0.2 * ((i * 2) % 5), color=(40 * i, 80, 120))
    return jobs_from_folder(folder)


def extract(
    jobs: Sequence[Job], out: Path, *specs: ExtractorSpec, store: Path | None = None, workers: int = 1, **limits: float
) -> Outcome:
    return run(jobs, specs or (face(), pose()), out, store or out / "store", workers, **limits)  # type: ignore[arg-type]


def caches_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.h5"))}


def stored(out: Path, modality: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob(f"store/{modality}/*/*")}


def test_one_decode_gives_every_modality_its_frames(tmp_path: Path) -> None:
    jobs = clips(tmp_path / "clips", 1)
    outcome = extract(jobs, tmp_path / "out")
    assert (outcome.measured, outcome.failures, outcome.absent) == (1, {}, {})
    with open_cache(tmp_path / "out" / "face.h5", "face") as cache:
        assert cache.ids == ("dia0/ütt0",)
        assert cache.rate == "clip"
        features = cache["dia0/ütt0"]
        np.testing.assert_allclose(features.timestamps_s, np.arange(10) / FPS, atol=1e-9)
        expected = [brightness(i) / 2 for i in range(10)]
        np.testing.assert_allclose(features.column("red"), expected, atol=4)
        assert cache.duration_s("dia0/ütt0") == pytest.approx(0.4, abs=0.03)
    with open_cache(tmp_path / "out" / "pose.h5", "pose") as cache:
        assert cache.rate == 8.0
        # The first frame of each eighth of a second: 0, .125, .25, .375 -> frames at 0, .16, .28 and none.
        np.testing.assert_allclose(cache["dia0/ütt0"].timestamps_s, [0.0, 0.16, 0.28], atol=1e-9)


def test_bytes_do_not_depend_on_workers_order_or_interruptions(tmp_path: Path) -> None:
    jobs = clips(tmp_path / "clips")
    extract(jobs, tmp_path / "one")
    extract(jobs, tmp_path / "two", workers=2)
    extract(jobs[3:], tmp_path / "bit")
    extract(jobs[:1], tmp_path / "bit")
    outcome = extract(jobs, tmp_path / "bit", workers=2)
    assert outcome.measured == 2
    assert caches_of(tmp_path / "one") == caches_of(tmp_path / "two") == caches_of(tmp_path / "bit")


def test_only_what_is_new_is_measured(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 3), tmp_path / "out"
    extract(jobs, out)
    before, faces = caches_of(out), stored(out, "face")
    again = extract(jobs, out)
    assert again.measured == 0
    assert "0 of 3 utterances were measured" in again.sentence()
    assert "; all cached" in again.sentence()
    assert caches_of(out) == before
    slower = extract(jobs, out, face(), pose(4.0))
    assert slower.measured == 3
    assert slower.sentence().startswith("3 of 3 utterances were measured (pose only) in")
    assert stored(out, "face") == faces
    assert len(stored(out, "pose")) == 6
    assert caches_of(out)["face.h5"] == before["face.h5"]
    write_clip(tmp_path / "clips" / "new.mp4", color=(5, 5, 5))
    assert extract(jobs_from_folder(tmp_path / "clips"), out).measured == 1
    (out / "face.h5").unlink()  # as DVC does before it runs a stage
    assert extract(jobs, out).measured == 0
    assert caches_of(out) == before


def test_a_result_that_another_run_deleted_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, real = clips(tmp_path / "clips", 2), run_module._extract

    def deleting(*arguments: object) -> object:
        lost = real(*arguments)  # type: ignore[arg-type]
        next((tmp_path / "out").glob("store/face/*/*.npz")).unlink()
        return lost

    monkeypatch.setattr(run_module, "_extract", deleting)
    with pytest.raises(CacheError, match="deleted by another process"):
        extract(jobs, tmp_path / "out")
    monkeypatch.setattr(run_module, "_extract", real)
    assert extract(jobs, tmp_path / "out").measured == 1


def test_a_changed_clip_is_measured_anew_and_a_renamed_one_is_not(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 2), tmp_path / "out"
    extract(jobs, out)
    path = jobs[0].path
    assert path is not None
    write_clip(path, color=(9, 9, 9))
    assert extract(jobs, out).measured == 1
    path.rename(path.with_name("another.mp4"))
    assert extract(jobs_from_folder(tmp_path / "clips"), out).measured == 0


def test_the_same_clip_under_two_names_is_measured_once(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes(path.read_bytes())
    assert extract(jobs_from_folder(tmp_path), tmp_path / "out", face()).measured == 1
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        np.testing.assert_array_equal(cache["a"].values, cache["b"].values)


def test_segments_and_crops_of_one_video_equal_those_taken_alone(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", 2.0, color=(195, 0, 0))
    right = (0.5, 0.0, 1.0, 1.0)
    jobs = [
        Job("a", path, Segment(0.5, 1.0)),
        Job("b", path, Segment(0.8, 1.2, right)),
        Job("c", path, Segment(1.5, None)),
        Job("d", path, Segment(1.001, 1.006)),
        Job("e", path, Segment(5.0, 6.0)),
        Job("f", path, Segment(1.0, 1.0)),
    ]
    outcome = extract(jobs, tmp_path / "all", face(), pose(), max_failed_share=0.5)
    assert "after 2.0" in outcome.failures["e"]
    assert "nothing lies between" in outcome.failures["f"]
    extract(jobs, tmp_path / "all", SOUND, max_failed_share=0.5)
    with open_cache(tmp_path / "all" / "face.h5") as cache:
        np.testing.assert_allclose(cache["a"].timestamps_s, np.arange(12) / FPS + 0.02, atol=1e-9)
        np.testing.assert_allclose(cache["a"].column("green"), [brightness(13 + i) / 2 for i in range(12)], atol=3)
        np.testing.assert_allclose(cache["b"].column("red"), 195, atol=6)
        assert cache.frames("c") == 12
        assert cache["d"].values.shape == (0, 3)
        assert [cache.duration_s(i) for i in "abd"] == pytest.approx([0.5, 0.4, 0.005])
        assert cache.duration_s("c") == pytest.approx(0.5, abs=0.03)
    with open_cache(tmp_path / "all" / "audio.h5") as cache:
        assert [cache.frames(i) for i in "abd"] == [5, 4, 0]
    for job in jobs[:4]:
        extract([job], tmp_path / job.id)
        for name in ("face.h5", "pose.h5"):
            with open_cache(tmp_path / job.id / name) as alone, open_cache(tmp_path / "all" / name) as together:
                np.testing.assert_array_equal(alone[job.id].values, together[job.id].values)
                np.testing.assert_array_equal(alone[job.id].timestamps_s, together[job.id].timestamps_s)
                assert alone.duration_s(job.id) == together.duration_s(job.id)


class ReportedSegments:
    """Where a worker's results go, when it is asked in this process."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []

    def heartbeat(self) -> None:
        pass

    def decoding(self, decoded_s: float) -> None:
        pass

    def extracting(self, request: Request | None) -> None:
        pass

    def done(self, request: Request, outcomes: object) -> None:
        self.segments.append(request.segment)


def test_many_segments_are_cut_from_one_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten utterances, side by side and on top of each other: the clip is opened once, each frame decoded once, and those
    that nobody takes are not converted."""
    path = write_clip(tmp_path / "long.mp4", 2.0)
    counts: Counter[str] = Counter()

    class CountingVideo(Video):
        def __iter__(self) -> Iterator[Frame]:
            counts["opened"] += 1
            for frame in super().__iter__():
                counts["decoded"] += 1
                yield frame
                counts["converted"] += frame._rgb is not None

    monkeypatch.setattr(video_pass, "Video", CountingVideo)
    crops = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))
    requests = tuple(
        Request(Segment(0.2 * i, 0.2 * i + 0.2, crop), {"face": f"{i}", "pose": f"{i}"})
        for i in range(5)
        for crop in crops
    )
    reporter = ReportedSegments()
    task = Task("", path, file_identity(path), requests)
    video_pass.extract_video_clip(task, extractor_pool.ExtractorPool((face(), pose())), reporter)  # type: ignore[arg-type]
    assert sorted(reporter.segments, key=str) == sorted((request.segment for request in requests), key=str)
    assert counts["opened"] == 1
    assert counts["decoded"] < 2.0 * FPS  # the last second is in no utterance
    assert counts["converted"] == FPS


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    jobs = clips(folder)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no pictures here\n" * 30)
    whole = write_clip(folder / "cut.mp4", 2.0)
    whole.write_bytes(whole.read_bytes()[:3000])
    part = write_clip(folder / "part.mp4", 3.0, size=(320, 240), faststart=True)
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    write_clip(folder / "heard.wav", picture=False)
    os.mkfifo(folder / "pipe.mp4")  # whoever opened it would wait for ever
    jobs = [*jobs_from_folder(folder), Job("gone", folder / "gone.mp4"), Job("none", None)]
    outcome = extract(jobs, tmp_path / "out", max_failed_share=0.6)
    assert set(outcome.failures) == {"cut", "empty", "gone", "pipe", "text"}
    assert set(outcome.absent) == {"heard", "none"}
    assert outcome.failures["gone"] == "There is no file 'gone.mp4'."
    assert outcome.failures["pipe"] == "The clip is not a regular file (a pipe, device or folder)."
    assert "5 failed" in outcome.sentence()
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        assert set(cache.ids) == {job.id for job in jobs}
        assert cache.failures == dict(outcome.failures) | dict(outcome.absent)
        assert all(cache.frames(id_) == 0 for id_ in cache.failures)
        assert "ends at" in cache.notes["part"]
        assert cache.frames("part") > 5
        assert cache.duration_s("part") < 2.5
    listing = (tmp_path / "out" / "store" / "failed-face-pose.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in listing] == ["cut", "empty", "gone", "pipe", "text"]


def test_too_many_failures_stop_the_stage_and_keep_the_work(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 3), tmp_path / "out"
    (tmp_path / "clips" / "text.mp4").write_text("no pictures here\n")
    jobs = jobs_from_folder(tmp_path / "clips")
    with pytest.raises(MediaError, match=r"1 of 4 utterances .*\n  text: .*cannot be opened") as caught:
        extract(jobs, out, max_failed_share=0.2)
    assert "failed-face-pose.txt" in str(caught.value)
    assert not list(out.glob("*.h5"))
    assert extract(jobs, out, max_failed_share=0.3).measured == 0
    with pytest.raises(MediaError, match="1 of 1"):
        extract(jobs[-1:], out, max_failed_share=1.0)


def test_a_silent_film_is_absent_from_the_sound_and_no_failure(tmp_path: Path) -> None:
    write_clip(tmp_path / "mute.mp4", tone_hz=None)
    write_clip(tmp_path / "heard.mp4")
    outcome = extract(jobs_from_folder(tmp_path), tmp_path / "out", SOUND, max_failed_share=0.0)
    assert outcome.failures == {}
    assert "no sound track" in outcome.absent["mute"]
    with open_cache(tmp_path / "out" / "audio.h5", "audio") as cache:
        assert cache.rate == 10.0
        np.testing.assert_allclose(cache["heard"].column("rms")[2:6], 0.5 / 2**0.5, atol=0.02)
        assert cache.frames("mute") == 0


def test_a_worker_that_dies_costs_its_clip_and_nothing_else(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips"), tmp_path / "out"
    broken = face(crash_red=80, raise_red=120)
    outcome = extract(jobs, out, broken, workers=2, max_failed_share=0.5)
    assert set(outcome.retryable) == {"dia0/ütt2", "dia1/ütt3"}
    assert outcome.failures == {}
    assert "SIGSEGV" in outcome.retryable["dia0/ütt2"]
    assert "ArithmeticError: this red is too much" in outcome.retryable["dia1/ütt3"]
    assert (outcome.measured, outcome.cached, outcome.complete) == (3, 0, 3)
    again = extract(jobs, out, broken, max_failed_share=0.5)
    assert (again.measured, again.cached) == (0, 3)
    with open_cache(out / "face.h5") as cache:
        assert [cache.frames(id_) > 0 for id_ in cache.ids] == [True, True, False, False, True]


def test_a_hanging_worker_is_stopped(tmp_path: Path) -> None:
    jobs = clips(tmp_path / "clips", 3)
    outcome = extract(jobs, tmp_path / "out", face(hang_red=40), max_failed_share=0.5, clip_timeout_s=1.5)
    assert set(outcome.retryable) == {"dia0/ütt1"}
    assert "no sign of life" in outcome.retryable["dia0/ütt1"]


def test_of_many_utterances_in_one_clip_a_crash_costs_one(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 1.6, color=(195, 0, 0))
    left, right = (0.0, 0.0, 0.4, 1.0), (0.5, 0.0, 1.0, 1.0)
    jobs = [Job(f"u{i}", path, Segment(i / 5, (i + 1) / 5, right if i == 5 else left)) for i in range(8)]
    outcome = extract(jobs, tmp_path / "out", face(crash_red=195), max_failed_share=0.5)
    assert set(outcome.retryable) == {"u5"}
    with open_cache(tmp_path / "out" / "face.h5") as cache:
        assert all(cache.frames(f"u{i}") == 5 for i in range(8) if i != 5)


@pytest.mark.slow
def test_of_many_utterances_in_one_clip_each_crash_costs_one_more_pass(tmp_path: Path) -> None:
    """Nothing seeks: every further pass decodes an hour-long recording from its start."""
    path, log = write_clip(tmp_path / "a.mp4", 3.2, color=(195, 0, 0)), tmp_path / "log.txt"
    left, right = (0.0, 0.0, 0.4, 1.0), (0.5, 0.0, 1.0, 1.0)
    jobs = [Job(f"u{i:02d}", path, Segment(i / 10, (i + 1) / 10, right if i in (5, 20) else left)) for i in range(32)]
    broken = extractor_spec(
        "face", "tests.dying_decoder", dying_decoder.Params(crash_red=195, dies_at_s=99, opened=str(log))
    )
    outcome = extract(jobs, tmp_path / "out", broken, max_failed_share=0.5)
    assert set(outcome.retryable) == {"u05", "u20"}
    assert (outcome.measured, outcome.complete) == (30, 30)
    assert len(log.read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_decoder_that_dies_in_a_recording_costs_two_passes_and_what_lies_behind(tmp_path: Path) -> None:
    path, log = write_clip(tmp_path / "a.mp4", 3.2), tmp_path / "log.txt"
    jobs = [Job(f"u{i:02d}", path, Segment(i / 10, (i + 1) / 10)) for i in range(32)]
    dying = extractor_spec("face", "tests.dying_decoder", dying_decoder.Params(dies_at_s=1.0, opened=str(log)))
    outcome = extract(jobs, tmp_path / "out", dying, max_failed_share=0.9)
    assert set(outcome.retryable) == {f"u{i:02d}" for i in range(9, 32)}
    assert outcome.complete == 9
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.slow
def test_many_utterances_that_crash_end_after_a_few_passes(tmp_path: Path) -> None:
    path, log = write_clip(tmp_path / "a.mp4", 1.6, color=(195, 0, 0)), tmp_path / "log.txt"
    jobs = [Job(f"u{i:02d}", path, Segment(i / 10, (i + 1) / 10, (0.5, 0.0, 1.0, 1.0))) for i in range(16)]
    broken = extractor_spec(
        "face", "tests.dying_decoder", dying_decoder.Params(crash_red=195, dies_at_s=99, opened=str(log))
    )
    with pytest.raises(MachineError):
        extract(jobs, tmp_path / "out", broken, max_failed_share=1.0)
    assert len(log.read_text().splitlines()) == 4


def test_a_fault_of_the_machine_is_no_verdict(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 3), tmp_path / "out"
    outcome = extract(jobs, out, face(machine_red=40), pose(), max_failed_share=0.5)
    assert outcome.retryable == {"dia0/ütt1": "Something is not installed."}
    assert outcome.failures == {}
    assert "1 to retry" in outcome.sentence()
    assert not list(out.glob("store/*/*/*.json"))
    with open_cache(out / "face.h5") as cache:
        assert cache.failures == outcome.retryable
    again = extract(jobs, out, face(), pose())
    assert (again.measured, again.complete, again.retryable) == (1, 3, {})
    with pytest.raises(MachineError):
        extract(jobs[1:2], tmp_path / "other", face(machine_red=40), max_failed_share=1.0)


def test_what_failed_is_tried_again_when_one_asks(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 3), tmp_path / "out"
    (tmp_path / "clips" / "text.mp4").write_text("no pictures here\n" * 30)
    jobs = jobs_from_folder(tmp_path / "clips")
    first = extract(jobs, out, face(), max_failed_share=0.5)
    (verdict,) = out.glob("store/face/*/*.json")
    verdict.write_text('{"reason": "It was a full moon.", "absent": false}')
    assert extract(jobs, out, face(), max_failed_share=0.5).failures == {"text": "It was a full moon."}
    again = run(jobs, (face(),), out, out / "store", 1, 0.5, retry_failed=True)
    assert again.failures == first.failures
    assert (again.measured, again.cached) == (0, 3)


def test_counts_add_up(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    clips(folder, 3)
    (folder / "text.mp4").write_text("no pictures here\n" * 30)
    part = write_clip(folder / "part.mp4", 3.0, size=(320, 240), faststart=True)
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    write_clip(folder / "heard.wav", picture=False)
    jobs = [*jobs_from_folder(folder), Job("none", None), Job("twin", part)]
    outcome = extract(jobs, tmp_path / "out", face(machine_red=40), max_failed_share=0.6)
    groups = {
        "with_notes": {"part", "twin"},
        "absent": {"heard", "none"},
        "failures": {"text"},
        "retryable": {"dia0/ütt1"},
    }
    assert {name: set(getattr(outcome, name)) for name in groups} == groups
    assert (outcome.complete, outcome.utterances) == (2, 8)
    assert (outcome.measured, outcome.cached) == (3, 1)  # twin is the same clip as part
    again = extract(jobs, tmp_path / "out", face(), max_failed_share=0.6)
    assert (again.measured, again.cached, again.complete) == (1, 4, 3)


def test_a_damaged_cache_is_written_anew(tmp_path: Path) -> None:
    """Bit rot in its rows, half of it gone, another release's schema: each reader says 'extract it again'."""
    jobs, out = clips(tmp_path / "clips", 2), tmp_path / "out"
    extract(jobs, out)
    path, before = out / "face.h5", caches_of(out)
    with h5py.File(path) as file:
        at = file["values"].id.get_chunk_info(0).byte_offset + 20
    rotten = bytearray(before["face.h5"])
    rotten[at] ^= 255
    path.write_bytes(rotten)
    assert extract(jobs, out).measured == 0
    assert caches_of(out) == before
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99
    extract(jobs, out)
    assert caches_of(out) == before


@pytest.mark.parametrize("kind", ["text", "imported", "imported by another release", "half"])
def test_what_extract_did_not_make_is_never_replaced(tmp_path: Path, kind: str) -> None:
    jobs, out = clips(tmp_path / "clips", 1), tmp_path / "out"
    path = out / "face.h5"
    out.mkdir()
    if kind in ("text", "half"):
        path.write_bytes(b"my notes" if kind == "text" else b"\x89HDF\r\n\x1a\n" + bytes(50))
    else:
        features = Features(np.zeros((1, 1), np.float32), np.zeros(1), ("AU12_r",))
        head = Head("face", ("AU12_r",), "clip", "openface-import/1", {"imported": True})
        write_cache(path, head, Rows([("a", features, 1.0, None)]))
        if kind != "imported":
            with h5py.File(path, "r+") as file:
                file.attrs["schema_version"] = 99
    before = path.read_bytes()
    with pytest.raises(WouldReplaceError):
        extract(jobs, out)
    assert path.read_bytes() == before


def test_a_killed_run_leaves_no_landmarks(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 1), tmp_path / "out"
    extract(jobs, out)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    mine, there = (atomic.partial_path(folder / "face.h5") for folder in (out, out / "store" / "partial"))
    left = [Path(str(path).replace(f"-{os.getpid()}-", f"-{int(dead.stdout)}-")) for path in (mine, there)]
    strange = out / ".face.h5.00000000-12-345.abcdef01.partial"  # another machine's
    for path in (*left, strange):
        path.write_bytes(b"points")
    extract(jobs, out)
    assert [path.exists() for path in (*left, strange)] == [False, False, True]
    Store(out / "store").set_landmarks(False)
    extract(jobs, out)
    assert not strange.exists()


def test_a_cache_that_was_found_sound_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 2), tmp_path / "out"
    extract(jobs, out, pose())
    path, sound = out / "pose.h5", (out / "pose.h5").read_bytes()
    an_hour_ago = path.stat().st_mtime_ns - 3_600_000_000_000
    os.utime(path, ns=(an_hour_ago, an_hour_ago))
    extract(jobs, out, pose())  # it reads every row, and notes that
    with h5py.File(path) as file:
        at = file["values"].id.get_chunk_info(0).byte_offset + 20
    spoilt = bytearray(sound)
    spoilt[at] ^= 255
    with path.open("r+b") as file:
        file.write(spoilt)
    os.utime(path, ns=(an_hour_ago, an_hour_ago))  # as a disk spoils it, without a trace
    extract(jobs, out, pose())
    assert path.read_bytes() == spoilt
    os.utime(path)
    extract(jobs, out, pose())
    assert path.read_bytes() == sound


def test_all_damaged_pieces_are_measured_anew_in_the_same_run(tmp_path: Path) -> None:
    jobs, out = clips(tmp_path / "clips", 5), tmp_path / "out"
    (tmp_path / "clips" / "text.mp4").write_text("no pictures here\n" * 30)
    jobs = jobs_from_folder(tmp_path / "clips")
    extract(jobs, out, max_failed_share=0.5)
    before = caches_of(out)
    for path in (*stored(out, "face"), *stored(out, "pose")):  # features and failures
        path.write_bytes(path.read_bytes()[:40])
    for path in out.glob("*.h5"):
        path.unlink()
    outcome = extract(jobs, out, max_failed_share=0.5)
    assert outcome.measured == 5
    assert caches_of(out) == before


def test_a_clip_that_changes_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    jobs = clips(tmp_path / "clips", 2)
    outcome = extract(jobs, tmp_path / "out", face(spoil=str(jobs[0].path)), max_failed_share=0.5)
    assert list(outcome.retryable) == [jobs[0].id]
    assert "changed while it was read" in outcome.retryable[jobs[0].id]


def test_a_missing_library_is_named_before_any_clip_is_blamed(tmp_path: Path) -> None:
    jobs = clips(tmp_path / "clips", 1)
    absent = extractor_spec("face", "tests.no_such_library", no_such_library.Params())
    with pytest.raises(BemercError, match=r"could not start.*libGL_which_is_missing.*doctor"):
        extract(jobs, tmp_path / "out", absent)


def test_a_folder_that_holds_nothing_gives_a_sentence(tmp_path: Path) -> None:
    with raises(CorpusError, path=tmp_path / "nowhere", missing=True):
        jobs_from_folder(tmp_path / "nowhere")
    with raises(CorpusError, path=tmp_path, missing=True):
        jobs_from_folder(tmp_path)


PROGRAM = """
import signal
import sys
from pathlib import Path
# What a shell starts in the background is told to ignore Ctrl-C; here it must work wherever the tests run.
signal.signal(signal.SIGINT, signal.default_int_handler)
from bemerc.extraction.jobs import jobs_from_folder, extractor_spec
from bemerc.extraction.run import run
from tests import mean_color
clips, out, store, log, pause_s, timeout_s = sys.argv[1:]
face = extractor_spec("face", "tests.mean_color", mean_color.Params(log=log, pause_s=float(pause_s)))
jobs = jobs_from_folder(Path(clips))
print(run(jobs, (face,), Path(out), Path(store), 2, clip_timeout_s=float(timeout_s)).measured)
print(sorted({"av", "cv2", "ai_edge_litert", "torch"} & set(sys.modules)))
"""


def start(tmp_path: Path, out: str, pause_s: float, timeout_s: float = 120.0) -> subprocess.Popen[str]:
    arguments = [str(tmp_path / name) for name in ("clips", out, "store", "log.txt")]
    command = [sys.executable, "-c", PROGRAM, *arguments, str(pause_s), str(timeout_s)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": "."},
    )


def finish(tmp_path: Path, out: str, pause_s: float) -> list[str]:
    words, errors = start(tmp_path, out, pause_s).communicate(timeout=60)
    assert not errors.count("Traceback"), errors
    return words.splitlines()


slow_signal = [pytest.param(ending, marks=pytest.mark.slow) for ending in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("ending", [signal.SIGKILL, *slow_signal])
def test_stopped_in_the_middle_it_goes_on_where_it_was(tmp_path: Path, ending: signal.Signals) -> None:
    jobs = clips(tmp_path / "clips", 6)
    first = start(tmp_path, "out", 0.05)
    wait_for(lambda: len(list(tmp_path.glob("store/face/*/*.npz"))) >= 1)
    os.kill(first.pid, ending)
    first.communicate(timeout=30)
    assert first.returncode != 0
    time.sleep(0.2)
    kept = len(list(tmp_path.glob("store/face/*/*.npz")))
    assert 1 <= kept < 6
    assert not list((tmp_path / "out").glob("*.h5"))
    words = finish(tmp_path, "out", 0.05)
    assert int(words[0]) <= 6 - kept
    assert words[1] == "[]"  # the process that hands out the work imports no perception library
    measured = face(log=str(tmp_path / "log.txt"), pause_s=0.05)
    assert extract(jobs, tmp_path / "again", measured, store=tmp_path / "fresh").measured == 6
    assert caches_of(tmp_path / "out") == caches_of(tmp_path / "again")


def test_two_processes_on_one_store_share_the_work(tmp_path: Path) -> None:
    clips(tmp_path / "clips", 6)
    one, two = start(tmp_path, "one", 0.01), start(tmp_path, "two", 0.01)
    counts = [int(process.communicate(timeout=60)[0].splitlines()[0]) for process in (one, two)]
    assert sum(counts) == 6
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 6
    assert caches_of(tmp_path / "one") == caches_of(tmp_path / "two") != {}


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"bemerc.extraction.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it looks for workers in /proc")


@pytest.mark.slow
@linux
def test_a_freeze_of_all_of_it_costs_nothing(tmp_path: Path) -> None:
    """What docker pause, a cgroup's freezer or a paused virtual machine does, for longer than a clip may be silent."""
    clips(tmp_path / "clips", 6)
    process = start(tmp_path, "out", 0.1, timeout_s=3)
    wait_for(lambda: len(list(tmp_path.glob("store/face/*/*.npz"))) >= 1)
    frozen = [process.pid, *workers_of(process)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(6)
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    words, errors = process.communicate(timeout=60)
    assert words.splitlines()[0] == "6", errors


@pytest.mark.slow
@linux
def test_a_worker_that_is_killed_while_it_starts_is_replaced(tmp_path: Path) -> None:
    clips(tmp_path / "clips", 3)
    process = start(tmp_path, "out", 0.0)
    for _ in range(2):
        wait_for(lambda: bool(workers_of(process)))
        os.kill(workers_of(process)[0], signal.SIGKILL)
        time.sleep(0.05)
    words, errors = process.communicate(timeout=60)
    assert words.splitlines()[0] == "3", errors


@pytest.mark.slow
@linux
def test_who_holds_what_one_waits_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    jobs = clips(tmp_path / "clips", 2)
    holder = start(tmp_path, "one", 0.1)
    wait_for(lambda: len(workers_of(holder)) == 2)
    time.sleep(0.3)
    monkeypatch.setattr(worker_pool, "_FIRST_NOTICE_S", 0.5)
    slow = face(log=str(tmp_path / "log.txt"), pause_s=0.1)
    outcome = extract(jobs, tmp_path / "two", slow, store=tmp_path / "store")
    holder.communicate(timeout=60)
    assert outcome.complete == 2
    assert f"process {holder.pid} of " in caplog.text


def wait_for(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def test_params_are_checked() -> None:
    assert list(VideoParams(max_failed_share=1.5, clip_timeout_s=0.0).check()) != []
    assert list(AudioParams().check()) == []


@pytest.mark.skipif(not REAL.exists(), reason="the shared clips are not here")
@pytest.mark.slow
def test_real_clips_give_the_same_bytes_whatever_came_before(tmp_path: Path) -> None:
    jobs = jobs_from_folder(REAL)
    extract_video(jobs, tmp_path / "all", tmp_path / "all", VideoParams(), 2)
    extract_audio(jobs, tmp_path / "all", tmp_path / "all", AudioParams(), 2)
    for job in jobs:
        extract_video([job], tmp_path / job.id, tmp_path / job.id, VideoParams(), 1)
        for modality in ("face", "pose"):
            with (
                open_cache(tmp_path / job.id / f"{modality}.h5") as alone,
                open_cache(tmp_path / "all" / f"{modality}.h5") as all_,
            ):
                np.testing.assert_array_equal(alone[job.id].values, all_[job.id].values)
    with open_cache(tmp_path / "all" / "face.h5") as cache:
        assert cache.failures == {}
        assert np.isnan(cache["no_face"].column("quality")).all() or np.nanmax(cache["no_face"].column("quality")) < 1


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="the shared clips are not here")
def test_what_is_kept_of_a_real_clip_is_small_and_enough(tmp_path: Path) -> None:
    """1.8 KB of landmarks a frame at most, and from them the units to .02 of 5; without them not a number changes."""
    jobs = [job for job in jobs_from_folder(REAL) if job.id == "single_face"]
    extract_video(jobs, tmp_path / "kept", tmp_path / "store", VideoParams(), 1)
    with h5py.File(tmp_path / "kept" / "face.h5") as file:
        frames = len(file["values"])
        size = file["landmarks"].id.get_storage_size() + file["landmarks_scale"].id.get_storage_size()
        assert file["landmarks"].shape == (frames, 478, 3)
    assert size / frames < 1800
    recomputed = recompute.run(tmp_path / "kept" / "face.h5", None)
    assert max(difference for name, difference in recomputed.differences.items() if name.startswith("AU")) < 0.02
    bare = VideoParams(face=replace(VideoParams().face, landmarks=False))
    assert extract_video(jobs, tmp_path / "bare", tmp_path / "other", bare, 1).measured == 1
    later = extract_video(jobs, tmp_path / "later", tmp_path / "store", bare, 1)
    assert (later.measured, later.dropped_landmarks) == (0, 1)
    assert (tmp_path / "later" / "face.h5").read_bytes() == (tmp_path / "bare" / "face.h5").read_bytes()
    with open_cache(tmp_path / "kept" / "face.h5") as with_, open_cache(tmp_path / "bare" / "face.h5") as without:
        assert without.landmarks("single_face") is None
        np.testing.assert_array_equal(with_["single_face"].values, without["single_face"].values)
