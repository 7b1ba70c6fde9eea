"""participants.csv: everybody's part of the picture and own sound in recordings of several people."""

from __future__ import annotations

from pathlib import Path

import pytest

from bemerc.corpus.manifest import read_manifest, write_manifest
from bemerc.corpus.readers import recording
from bemerc.corpus.reading import FaultyCorpusError, Reading, relocated
from bemerc.extraction.jobs import jobs_from_manifest
from tests.clips import write_clip

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
VTT = """WEBVTT

00:00.000 --> 00:02.000
<v Ann>One.

00:02.000 --> 00:04.000
<v Ben>Two.

00:04.000 --> 00:06.000
<v Ann>Three.
"""
HEAD = "recording,speaker,tile,audio,start_s,end_s\n"


@pytest.fixture
def call(tmp_path: Path) -> Path:
    (tmp_path / "call.mp4").write_bytes(b"cannot be read, which the measuring tells")
    write_clip(tmp_path / "ann.wav", 0.1, picture=False)
    (tmp_path / "call.vtt").write_text(VTT)
    return tmp_path


def read(folder: Path, rows: str, head: str = HEAD) -> Reading:
    if "ann.wav" not in rows:
        (folder / "ann.wav").unlink(missing_ok=True)  # it would be a clip
    (folder / "participants.csv").write_text(head + rows)
    return recording.read_dir(folder)


def test_everybody_is_measured_in_their_own_tile_with_their_own_sound(call: Path) -> None:
    reading = read(call, "call.mp4,Ann,left,ann.wav,,\ncall,Ben,0.5 0 1 1,2,,\n")
    first, second, third = reading.utterances
    assert [u.crop for u in reading.utterances] == [LEFT, RIGHT, LEFT]
    assert (first.sound, first.track, second.sound, second.track) == (str(call / "ann.wav"), None, None, 2)
    assert (first.listeners, second.listeners) == ((("Ben", RIGHT),), (("Ann", LEFT),))
    assert third.listeners == first.listeners
    assert not reading.findings  # neither the table nor Ann's sound is a clip


def test_a_single_clip_has_its_table_beside_it(call: Path) -> None:
    (call / "participants.csv").write_text(HEAD + "call.mp4,Ann,left,ann.wav,,\ncall.mp4,Ben,right,,,\n")
    assert [u.crop for u in recording.read_dir(call / "call.mp4").utterances] == [LEFT, RIGHT, LEFT]


def test_a_corpus_is_placed_too(call: Path) -> None:
    (call / "participants.csv").write_text(HEAD + "call,Ann,left,,,\ncall,Ben,right,,,\n")
    assert [u.crop for u in recording.read_all(recording.Params(str(call))).utterances] == [LEFT, RIGHT, LEFT]


def test_a_layout_that_changes(call: Path) -> None:
    reading = read(call, "call,Ann,left,,,5\ncall,Ann,right,,5,\ncall,Ben,right,,,4.1\ncall,Ben,left,,0:04.1,\n")
    assert [u.crop for u in reading.utterances] == [LEFT, RIGHT, None]  # at 5 s, within the third
    assert [(f.kind, f.id) for f in reading.findings] == [("layout", "call/0002")]


def test_no_tile_is_the_whole_picture_and_the_own_sound(call: Path) -> None:
    reading = read(call, "call,Ann,,1,,\ncall,Ben,,2,,\n")
    assert [(u.crop, u.track, u.listeners) for u in reading.utterances] == [(None, n, None) for n in (1, 2, 1)]


def test_tracks_and_tiles_that_a_clip_has_not_are_refused(call: Path) -> None:
    write_clip(call / "call.mp4")  # 64 x 48 pixels, a sound track
    rows = "call,Ann,left,2,,\ncall,Ben,0 0 0.1 0.1,1,,\n"
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, rows)
    track, tile, _ = raised.value.faults
    assert "line 2: audio: call.mp4 has 1 sound track, and none is number 2." in track
    assert "line 3: tile: it is 6x5 of the 64x48 pixels of the picture. The smallest is 20x20" in tile
    write_clip(call / "call.mp4", tone_hz=None)
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, "call,Ann,left,1,,\ncall,Ben,right,,,\n")
    assert "no sound tracks" in raised.value.faults[0]


@pytest.mark.parametrize("content", [b"", b"no sound", None])
def test_a_file_without_sound_is_nobodys_sound(call: Path, content: bytes | None) -> None:
    if content is None:
        write_clip(call / "ann.mp4", tone_hz=None).rename(call / "ann.wav")
    else:
        (call / "ann.wav").write_bytes(content)
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, "call,Ann,left,ann.wav,,\ncall,Ben,right,,,\n")
    assert "line 2: audio 'ann.wav': " in raised.value.faults[0]


def test_a_name_that_nobody_has_is_refused_while_a_speaker_has_no_row(call: Path) -> None:
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, "call,ann,left,,,\ncall,Ben,right,,,\n")
    assert raised.value.faults[0].endswith(
        "participants.csv, line 2: in call.mp4 nobody called 'ann' speaks; did you mean 'Ann'? "
        "Its speakers are Ann, Ben; without a row: Ann."
    )
    reading = read(call, "call,Ann,left,,,\ncall,Ben,right,,,\ncall,Zoe,0 0 0.5 0.5,,,\n")
    assert "listener" in reading.findings[0].reason  # everybody who speaks has a row: Zoe listens
    assert not reading.findings[0].needs_you
    assert [name for name, _ in reading.utterances[0].listeners or ()] == ["Ben", "Zoe"]


@pytest.mark.parametrize(
    ("rows", "near"),
    [
        ("call,Ben,right,,,4\ncall,Bne,left,,4,\n", "Ben"),  # that row was Ben's from 4 s on
        ("call,Ben,right,,,\ncall,ANN,0 0 0.5 0.5,,,\n", "Ann"),
        ("call,Ben,right,,,\ncall,Jen,0 0 0.5 0.5,,,\n", ""),  # Ben has his row then: Jen is somebody else
    ],
)
def test_a_listener_who_may_be_a_speaker_is_a_warning(call: Path, rows: str, near: str) -> None:
    (finding,) = read(call, "call,Ann,left,,,\n" + rows).findings
    assert (finding.kind, finding.needs_you) == ("participants", bool(near))
    assert ("did you mean" in finding.reason) == bool(near)
    assert f"; did you mean '{near}'? Its speakers are Ann, Ben." in finding.reason or not near


def test_who_has_no_row_is_named_once(call: Path) -> None:
    (finding,) = read(call, "call,Ben,right,,,\n").findings
    assert (finding.kind, finding.needs_you) == ("participants", True)
    assert "Ann" in finding.reason


@pytest.mark.parametrize(
    "row",
    [
        "other,Ann,left,,,",
        "call,,left,,,",
        "call,A#b,left,,,",
        "call,Ann,middle,,,",
        "call,Ann,0 0 2 1,,,",
        "call,Ann,left,nobody.wav,,",
        "call,Ann,left,0,,",
        "call,Ann,auto,,,",
        "call,Ann,0 0 0 0,,,",
        "call,Ann,-0.1 0 1 1,,,",
        "call,Ann,nan nan nan nan,,,",
        f"call,Ann,left,{'9' * 5000},,",
        f"call,Ann,left,{'x' * 5000},,",
        "call,Ann,left,,soon,",
        "call,Ann,left,,9,8",
        "call,Ann,left",
        "call,Ben,left,,,",
    ],
)
def test_a_wrong_row_is_a_sentence_with_its_line(call: Path, row: str) -> None:
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, f"call,Ben,right,,,\n{row}\n")
    wrong, *advice = raised.value.faults
    assert "participants.csv, line 3: " in wrong
    assert len(advice) == 1


@pytest.mark.parametrize("head", ["\ufeffrecording;speaker;tile\n", "sep=;\nrecording;speaker;tile\n"])
def test_tables_as_spreadsheets_save_them(call: Path, head: str) -> None:
    (call / "ann.wav").unlink()
    (call / "Participants.csv").write_text(head + "call.mp4;Ann;0,5 0 1 1\n;;\ncall.mp4;Ben;left\n", encoding="utf-8")
    assert [u.crop for u in recording.read_dir(call).utterances] == [RIGHT, LEFT, RIGHT]


def test_a_table_without_rows_and_a_workbook_are_told_of(call: Path) -> None:
    with pytest.raises(FaultyCorpusError):
        read(call, "")
    (call / "participants.csv").rename(call / "participants.xlsx")
    findings = recording.read_dir(call).findings
    assert [(Path(f.id).name, f.needs_you) for f in findings if f.kind == "table"] == [("participants.xlsx", True)]


def test_a_sound_has_the_name_that_its_file_has_in_any_form(call: Path) -> None:
    (call / "ann.wav").rename(call / "Ju\u0308rgen.wav")
    (call / "participants.csv").write_text(
        HEAD + "call,Ann,left,J\u00fcrgen.wav,,\ncall,Ben,right,,,\n", encoding="utf-8"
    )
    reading = recording.read_dir(call)
    assert reading.utterances[0].sound == str(call / "Ju\u0308rgen.wav")
    assert not reading.findings


def test_a_wrong_column_is_named(call: Path) -> None:
    with pytest.raises(FaultyCorpusError) as raised:
        read(call, "call,Ann\n", "recording,name\n")
    assert len(raised.value.faults) == 3  # speaker is missing, name unknown, which there are


def test_a_manifest_keeps_it_and_others_have_the_bytes_that_they_had(call: Path) -> None:
    placed = read(call, "call,Ann,left,ann.wav,,\ncall,Ben,right,2,,\n").utterances
    path = call / "data" / "manifest.jsonl"
    path.parent.mkdir()
    write_manifest(path, relocated(placed, path.parent), (), ())
    manifest = read_manifest(path)
    assert manifest.utterances[0].listeners == (("Ben", RIGHT),)
    assert manifest.sound_path(manifest.utterances[0]) == call / "ann.wav"
    jobs = jobs_from_manifest(manifest, listeners=True)
    assert [(job.id, job.listener) for job in jobs][:3] == [
        ("call/0000", False),
        ("call/0000#Ben", True),
        ("call/0001", False),
    ]
    assert [(job.path, job.segment.crop) for job in (jobs[0].of_sound(), jobs[2].of_sound())] == [
        (call / "ann.wav", None), (call / "call.mp4", RIGHT)]  # fmt: skip
    (call / "participants.csv").unlink()
    write_manifest(path, relocated(recording.read_dir(call).utterances, path.parent), (), ())
    assert not {"sound", "track", "listeners"} & set(path.read_text().replace('"', " ").split())


@pytest.mark.parametrize(
    "listeners", ["Ben", [["Ben"]], [["", [0, 0, 1, 1]]], [["Ben", [0, 0, 2, 1]]], [["a#b", [0, 0, 1, 1]]]]
)
def test_odd_listeners_in_a_manifest_are_refused(call: Path, listeners: object) -> None:
    import json

    from bemerc.core.errors import CorpusError

    path = call / "manifest.jsonl"
    write_manifest(path, relocated(read(call, "call,Ann,left,,,\ncall,Ben,right,,,\n").utterances, call), (), ())
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, json.dumps(json.loads(first) | {"listeners": listeners}), *rest]))
    with pytest.raises(CorpusError):
        read_manifest(path)
