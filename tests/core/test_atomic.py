"""A file is there whole or not at all, and a fault of the disk is a sentence."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bemerc.core import atomic, processes
from bemerc.core.errors import DiskError


def test_files_of_a_folder_are_replaced_together_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "last").mkdir()
    (folder / "card.md").write_text("mine")
    (folder / "a.json").write_text("old")
    dead = tmp_path / f".model.{processes.machine()}-999999999-1.abcd1234.partial"
    dead.mkdir()
    with pytest.raises(FileNotFoundError), atomic.replacing_files(folder, "b.json") as partial:
        (partial / "nowhere" / "a.json").write_text("half")
    assert (folder / "a.json").read_text() == "old"
    with atomic.replacing_files(folder, "b.json") as partial:
        (partial / "b.json").write_text("new")
        (partial / "a.json").write_text("new")
    assert [(folder / name).read_text() for name in ("a.json", "b.json", "card.md")] == ["new", "new", "mine"]
    assert (folder / "last").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["model"], (
        "nothing is left, and a dead process's folder is gone"
    )


def test_a_file_is_replaced_whole_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    atomic.write_text(path, "old")
    atomic.write_text(path, "neü")
    assert path.read_text(encoding="utf-8") == "neü"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_text(path, "old")

    def half() -> None:
        with atomic.replacing(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(DiskError) as caught:
        atomic.write_text(tmp_path / "a.json", "new")
    assert caught.value.path == tmp_path / "a.json"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DiskError):
        atomic.write_text(tmp_path / "a.json", "new")


def test_a_device_or_a_pipe_stays_what_it_is(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(DiskError):
            atomic.write_text(path, "new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert len([*tmp_path.iterdir()]) == 2


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "README.md"
    victim.write_text("mine")
    link.symlink_to(victim)
    atomic.write_text(link, "new")
    assert victim.read_text() == "mine"
    assert link.read_text() == "new"
    assert not link.is_symlink()


HALF = """
import os, sys, time
from pathlib import Path
from bemerc.core import atomic, processes
with atomic.replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(1000)
"""


def half_written(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HALF, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    return process


def test_what_a_killed_process_left_is_swept_at_once_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    writer = half_written(tmp_path / "face.h5")
    try:
        atomic.sweep_partials(tmp_path, other_machines=True)
        (partial,) = tmp_path.iterdir()
        assert partial.suffix == ".partial"
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    atomic.sweep_partials(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_number_that_was_given_out_again_is_no_sign_of_life(tmp_path: Path) -> None:
    mine = atomic.partial_path(tmp_path / "a.h5")
    earlier = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{os.getpid()}-1"))
    for path in (mine, earlier):
        path.touch()
    atomic.sweep_partials(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.parametrize("other_machines", [False, True])
def test_a_random_part_of_digits_alone_is_no_process_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_machines: bool
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "12345678")
    mine = atomic.partial_path(tmp_path / "a.9.h5")
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", "-999999999-"))
    for path in (mine, dead):
        path.touch()
    atomic.sweep_partials(tmp_path, other_machines=other_machines)
    assert list(tmp_path.iterdir()) == [mine]


def test_what_other_machines_and_earlier_releases_left_goes_by_age_or_by_wish(tmp_path: Path) -> None:
    names = [
        ".face.h5.00000000-12-345.abcdef01.partial",
        ".face.h5.999999999.partial",
        ".a.json.999999999.0a1b.partial",
    ]
    spared = [".face.h5.partial", "mine.partial", "face.h5", f".face.h5.{os.getpid()}.partial"]
    for name in (*names, *spared):
        (tmp_path / name).touch()
    (tmp_path / ".b.h5.999999999.abcd.partial").mkdir()  # a folder is not ours
    atomic.sweep_partials(tmp_path)
    assert all((tmp_path / name).exists() for name in names)
    for name in names:
        os.utime(tmp_path / name, (time.time() - 100_000,) * 2)
    atomic.sweep_partials(tmp_path)
    assert not any((tmp_path / name).exists() for name in names)
    (tmp_path / names[0]).touch()
    atomic.sweep_partials(tmp_path, other_machines=True)
    assert not (tmp_path / names[0]).exists()
    assert all((tmp_path / name).exists() for name in spared)
    atomic.sweep_partials(tmp_path / "nowhere")
