"""Decoding hours of sound gives signs of life: a worker that gives none for clip_timeout_s is stopped."""

from __future__ import annotations

import mmap
import threading
from multiprocessing import Pipe
from pathlib import Path

import pytest

from bemerc.extraction import audio_pass, extractor_pool, reporter, video_pass
from bemerc.extraction.audio import prosody
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.hash_cache import file_identity
from bemerc.extraction.jobs import Request, Task, extractor_spec
from bemerc.extraction.store import Store
from bemerc.extraction.worker_status import STATUS
from bemerc.media.audio import read_sound
from tests.clips import write_clip


def test_reading_sound_says_meanwhile_that_it_lives(tmp_path: Path) -> None:
    beats: list[int] = []
    read_sound(write_clip(tmp_path / "a.wav", 10.0, picture=False), alive=lambda: beats.append(1))
    assert len(beats) >= 10


def test_decoding_audio_for_a_video_pass_sends_heartbeats(tmp_path: Path) -> None:
    beats: list[int] = []
    audio = video_pass.LazyAudio(write_clip(tmp_path / "a.mp4", 2.0), lambda: beats.append(1))
    assert audio.waveform(Segment(0.5, 1.0)) is not None
    assert len(beats) >= 10


def test_tracks_that_are_decoded_side_by_side_send_whole_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "_HEARTBEAT_S", -1.0)  # a message per frame
    here, there = Pipe(duplex=False)
    extractors = extractor_pool.ExtractorPool((extractor_spec("audio", prosody.__name__, prosody.Params()),))
    tasks = []
    for number in range(6):
        path = write_clip(tmp_path / f"{number}.wav", 20.0, picture=False)
        tasks.append(Task(str(number), path, file_identity(path), (Request(Segment(), {"audio": f"{number:064x}"}),)))
    received: list[tuple[object, ...]] = []

    def listen() -> None:
        while not received or received[-1] != ("end",):
            received.append(here.recv())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    report = reporter.Reporter(there, Store(tmp_path / "store"), mmap.mmap(-1, STATUS.size))
    report.begin(tuple(tasks))
    audio_pass.extract_audio_clips(tuple(tasks), extractors, report)
    there.send(("end",))
    listener.join(30)
    assert sorted(m for m in received if m[0] == "done") == [("done", number, 0, {}) for number in range(6)]
    assert received.count(("beat",)) > 100
