"""A plain folder: one dialogue per folder in it, names in the order in which people number them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from bemerc.behavior.tokens.calibration import earlier_turns
from bemerc.core.errors import CorpusError
from bemerc.corpus.readers import folder
from bemerc.language.inputs.prompts import Params, merc_prompt
from tests.errors import raises


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_folders_are_dialogues_and_names_sort_as_numbers(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "talks",
        "b/clip10.mp4",
        "b/clip2.MP4",
        "b/c/1.mov",
        "b.mov",
        "top.webm",
        "b/notes.txt",
        ".hidden/x.mp4",
    )
    reading = folder.read(root)
    assert [(u.id, u.dialogue, u.index) for u in reading.utterances] == [
        ("b/c/1", "b/c", 0),
        ("b/clip2", "b", 0),
        ("b/clip10", "b", 1),
        ("b", "b.mov", 0),  # clips in no folder are no conversation, but each its own
        ("top", "top", 0),
    ]
    assert all((u.split, u.label, u.text) == ("test", None, "") for u in reading.utterances)
    manifest = reading.manifest(tmp_path)
    assert [manifest.clip_path(u) for u in manifest.utterances][3] == tmp_path / "talks/b/clip10.mp4"


def test_what_commands_left_among_the_clips_is_no_clip(tmp_path: Path) -> None:
    left = (
        "face.h5",
        "utterances.csv",
        "settings.json",
        "evidence.jsonl",
        "store/contents.jsonl",
        "store/a.mp4",
        "page.html",
        "page_videos/0.mp4",
    )
    reading = folder.read(fill(tmp_path, "a.mp4", "b/store/c.mp4", *left))
    assert [u.id for u in reading.utterances] == ["a", "b/store/c"]
    assert [Path(finding.id).name for finding in reading.findings] == ["page_videos", "*.html"]


def test_names_in_any_script_and_either_normal_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Gespräch")
    root = fill(tmp_path, f"{decomposed}/schön.mp4", "会話/一.mp4")
    reading = folder.read(root, "mine")
    assert {u.id for u in reading.utterances} == {"mine/Gespräch/schön", "mine/会話/一"}
    assert all(Path(u.clip or "").is_file() for u in reading.utterances)


def test_equal_names_keep_their_suffix_and_sound_beside_video_is_left_out(tmp_path: Path) -> None:
    root = fill(tmp_path, "a.mp4", "a.mov", "b.mp4", "b.wav", "c.wav", "._a.mp4")
    reading = folder.read(root)
    assert [u.id for u in reading.utterances] == ["a.mov", "a.mp4", "b", "c"]
    assert [(f.kind, Path(f.id).name, f.action) for f in reading.findings] == [
        ("extra", "._a.mp4", "leaves out"),
        ("extra", "b.wav", "leaves out"),
    ]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["x.mp4", "x.mkv", "x.mp4.avi"], ["x.mkv", "x.mp4", "x.mp4.avi"]),
        (["x.mp4", "x.mkv", "x.mp4.avi", "x.mp4.avi.mov"], ["x.mkv", "x.mp4", "x.mp4.avi", "x.mp4.avi.mov"]),
        (["x.mp4", "x.MP4", "X.mp4"], ["X", "x.MP4", "x.mp4"]),
        (["caf\u00e9.mp4", "cafe\u0301.mp4"], ["caf\u00e9.mp4", "caf\u00e9.mp4 (2)"]),
        (["caf\u00e9/a.mp4", "cafe\u0301/a.mp4"], ["caf\u00e9/a.mp4", "caf\u00e9/a.mp4 (2)"]),
    ],
)
def test_no_two_clips_share_an_id(tmp_path: Path, names: list[str], ids: list[str]) -> None:
    reading = folder.read(fill(tmp_path, *names))
    assert sorted(u.id for u in reading.utterances) == ids
    assert len({u.clip for u in reading.utterances}) == len(names)


def test_a_name_that_is_no_text_is_a_finding(tmp_path: Path) -> None:
    fill(tmp_path, "fine.mp4")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only valid names")
    reading = folder.read(tmp_path)
    assert [u.id for u in reading.utterances] == ["fine"]
    assert reading.findings[0].reason.startswith("Its name is not valid UTF-8")
    assert reading.findings[0].id.encode()


def test_what_is_left_out_of_a_folder_is_named(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "talks", "a.mp4", "b.m2ts", "c.VOB", "d.divx", "notes.txt", "x/more.txt", "x/Thumbs", ".hidden"
    )
    fill(tmp_path / "far", "z.mp4")
    (root / "linked").symlink_to(tmp_path / "far")
    reading = folder.read(root)
    assert [u.id for u in reading.utterances] == ["a", "b", "c", "d"]
    reasons = {Path(f.id).name: f.reason for f in reading.findings}
    assert set(reasons) == {"linked", "*.txt", "*(no suffix)"}
    assert reasons["*.txt"].startswith("2 files")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "talks", "a.mp4", "secret/b.mp4")
    (root / "secret").chmod(0)
    code = (
        "import sys, pathlib; from bemerc.corpus.readers import folder; r = folder.read(pathlib.Path(sys.argv[1]));"
        "print([u.id for u in r.utterances], [(f.kind, f.needs_you) for f in r.findings])"
    )
    # An administrator may read everything, unless that right is given up.
    humble = (
        ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.access(root / "secret", os.R_OK) else []
    )
    if humble and shutil.which("setpriv") is None:
        pytest.skip("everything may be read here")
    command = [*humble, sys.executable, "-c", code, str(root)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    finally:
        (root / "secret").chmod(0o755)
    assert answer.stdout == "['a'] [('unreadable', True)]\n"


def test_nothing_there(tmp_path: Path) -> None:
    with raises(CorpusError, path=tmp_path / "gone", missing=True):
        folder.read(tmp_path / "gone")
    with pytest.raises(CorpusError, match=r"no clip in it; a clip's name ends in \.mp4"):
        folder.read(fill(tmp_path, "readme.txt"))


def test_clips_of_nobody_in_particular_are_not_measured_against_each_other(tmp_path: Path) -> None:
    for name in ("talk/a.mp4", "talk/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = folder.read(tmp_path).manifest(tmp_path)
    assert {u.speaker for u in manifest.utterances} == {""}
    assert set(earlier_turns(manifest).values()) == {()}
    prompt = merc_prompt(manifest.dialogues()[0], 1, ("joy",), (), Params())
    assert 'Speaker: ""\n' in prompt.text
    assert "The last line, by Speaker" in prompt.text
