"""Decoding hours of sound gives signs of life: a worker that gives none for clip_timeout_s is stopped."""

from __future__ import annotations

import mmap
import threading
from multiprocessing import Pipe
from pathlib import Path

import pytest

from bemerc.extraction import worker
from bemerc.extraction.audio import prosody
from bemerc.extraction.jobs import Task, Want, measure
from bemerc.extraction.store import Part, Store, identity
from bemerc.extraction.worker_state import PLACE
from bemerc.media.audio import read_sound
from tests.clips import write_clip


def test_reading_sound_says_meanwhile_that_it_lives(tmp_path: Path) -> None:
    beats: list[int] = []
    read_sound(write_clip(tmp_path / "a.wav", 10.0, picture=False), alive=lambda: beats.append(1))
    assert len(beats) >= 10


def test_so_does_the_ear_of_a_worker_that_measures_pictures(tmp_path: Path) -> None:
    beats: list[int] = []
    ear = worker._Ear(write_clip(tmp_path / "a.mp4", 2.0), lambda: beats.append(1))
    assert ear.hear(Part(0.5, 1.0)) is not None
    assert len(beats) >= 10


def test_tracks_that_are_decoded_side_by_side_send_whole_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_BEAT_S", -1.0)  # a message per frame
    here, there = Pipe(duplex=False)
    bench = worker.Bench((measure("audio", prosody.__name__, prosody.Params()),))
    tasks = []
    for number in range(6):
        path = write_clip(tmp_path / f"{number}.wav", 20.0, picture=False)
        tasks.append(Task(str(number), path, identity(path), (Want(Part(), {"audio": f"{number:064x}"}),)))
    received: list[tuple[object, ...]] = []

    def listen() -> None:
        while not received or received[-1] != ("end",):
            received.append(here.recv())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    report = worker._Report(there, Store(tmp_path / "store"), mmap.mmap(-1, PLACE.size))
    report.begin(tuple(tasks))
    worker.measure_sounds(tuple(tasks), bench, report)
    there.send(("end",))
    listener.join(30)
    assert sorted(m for m in received if m[0] == "done") == [("done", number, 0, {}) for number in range(6)]
    assert received.count(("beat",)) > 100
