"""A file is there whole or not at all, and a fault of the disk is a sentence."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bemerc import atomic
from bemerc.errors import DiskError


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


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "README.md"
    victim.write_text("mine")
    link.symlink_to(victim)
    atomic.write_text(link, "new")
    assert victim.read_text() == "mine"
    assert link.read_text() == "new"
    assert not link.is_symlink()
