"""A long video and its subtitles: cues are utterances, names are speakers, faults have their line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus.readers import recording
from bemerc.corpus.readers.recording import Cue
from bemerc.corpus.reading import Reading
from tests.clips import write_clip
from tests.errors import raises

SRT = """1
00:00:01,000 --> 00:00:02,500
ANN: Hello <i>there</i>.

2
00:00:03,000 --> 00:00:04,000 X1:100
- Bob Smith: Fine.
- Ann: {\\an8}And you?

3
01:00:05,5 --> 01:00:06,250
No one says this: really?
At 12:30, note.

And more after a blank line.

4
00:00:07,000 --> 00:00:08,000
"""

VTT = """WEBVTT - with a title
Kind: captions

STYLE
::cue { color: red }

NOTE not a cue --> at all?
over two lines

intro
00:01.000 --> 00:02.000 align:start position:0%
<v.loud Ann>Tom &amp; <c.green>Jerry</c></v>
<v Bob>Yes.

00:03.000 --> 00:04.000
[SPEAKER_01]: What<00:03.500> now&nbsp;then?
"""


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"not looked into")
    return path


def beside(video: Path, suffix: str, content: str | bytes) -> Path:
    path = video.with_suffix(suffix)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(video: Path, **settings: object) -> Reading:
    """The folder of the video as a corpus."""
    return recording.read_all(recording.Params(folder=str(video.parent), **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_subrip(video: Path, newline: str) -> None:
    beside(video, ".srt", "\ufeff" + SRT.replace("\n", newline))
    reading = read(video)
    assert [(u.speaker, u.text) for u in reading.utterances] == [
        ("ANN", "Hello there."),
        ("Bob Smith", "Fine."),
        ("Ann", "And you?"),
        ("", ""),
        ("", "No one says this: really? At 12:30, note. And more after a blank line."),
    ]
    times = [(u.start_s, u.end_s) for u in reading.utterances]
    assert times == [(1.0, 2.5), (3.0, 4.0), (3.0, 4.0), (7.0, 8.0), (3605.5, 3606.25)]
    assert [u.id for u in reading.utterances] == [f"recording/talk/{i:04d}" for i in range(5)]
    assert {(u.dialogue, u.split, u.clip, u.label) for u in reading.utterances} == {
        ("recording/talk", "test", str(video), None)
    }
    assert [(f.kind, f.id) for f in reading.findings] == [("empty", "recording/talk/0003")]


def test_names_can_stay_words(video: Path) -> None:
    beside(video, ".srt", SRT)
    assert read(video, speakers=False).utterances[0].text == "ANN: Hello there."


def test_webvtt(video: Path) -> None:
    beside(video, ".vtt", VTT)
    reading = read(video)
    assert [(u.start_s, u.speaker, u.text) for u in reading.utterances] == [
        (1.0, "Ann", "Tom & Jerry"),
        (1.0, "Bob", "Yes."),
        (3.0, "SPEAKER_01", "What now then?"),
    ]


@pytest.mark.parametrize(
    ("line", "speaker"),
    [
        ("张三：你好", "张三"),
        ("Dr. O’Neil: hm", "Dr. O’Neil"),
        ("he said: no", None),
        ("I said: no", None),
        ("http://x.org", None),
        ("One Two Three Four Five: x", None),
        ("Really? Ann: x", None),
    ],
)
def test_what_is_a_name(video: Path, line: str, speaker: str | None) -> None:
    beside(video, ".srt", f"1\n00:00:01,000 --> 00:00:02,000\n{line}\n")
    (u,) = read(video).utterances
    assert u.speaker == (speaker or "")
    assert speaker is not None or u.text == line


def test_a_table_of_cues_with_labels(video: Path) -> None:
    beside(video, ".csv", "start_s,end_s,speaker,text,label\n1:02,63.5,Ann,Hi,happy\n0,2.25,,Yo,\n")
    reading = read(video, labels=("neutral", "joy"))
    assert [(u.start_s, u.end_s, u.speaker, u.label) for u in reading.utterances] == [
        (0.0, 2.25, "", None),
        (62.0, 63.5, "Ann", "joy"),
    ]


def test_a_language_in_the_name_and_cp1252(video: Path) -> None:
    video.with_name("talk.en.srt").write_bytes("1\n00:00:01,000 --> 00:00:02,000\nIt’s\n".encode("cp1252"))
    reading = read(video)
    assert reading.utterances[0].text == "It’s"
    assert [f.kind for f in reading.findings] == ["encoding"]
    video.with_name("talk.part2.srt").write_text(SRT, encoding="utf-8")
    video.with_name("talk.VTT").write_text(VTT, encoding="utf-8")
    assert read(video).utterances[0].text == "Tom & Jerry"
    video.with_name("talk.VTT").unlink()
    assert read(video).utterances[0].text == "It’s"


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        (".srt", "1\n00:00:01 -> 00:00:02\nHi\n", ["line 2: The times '00:00:01 -> 00:00:02' do not parse: 'Hi'"]),
        (
            ".srt",
            "1\n00:00:02,000 --> 00:00:01,000\nHi\n\n2\nsoon --> later\nHo\n",
            [
                "line 6: The times 'soon --> later' do not parse",
                "line 2: The cue ends at 1 s, which is not after its start, 2 s",
            ],
        ),
        (".vtt", "WEBVTT\n", ["there is not one cue"]),
        (".vtt", "WEBVTT\n\nstray words\n", ["line 3: 'stray words' belongs to no cue"]),
        (
            ".csv",
            "start,end_s,text\n1,2,x\n",
            ["'start_s' is missing", "'start' is unknown", "may have speaker, label"],
        ),
        (
            ".csv",
            "start_s,end_s,text,label\nx,2,a,\n1,2,b,joy\n",
            ["line 3: there is a label, but no label set"],
        ),
        (
            ".csv",
            "start_s,end_s,text\nx,2,a\n3,2,b\n1,2\n",
            ["start_s must be seconds or h:mm:ss, not 'x'", "not after its"],
        ),
        (".srt", "", ["there is not one cue"]),
        (".srt", "[Script Info]\nDialogue: 0,0:00:01.00,0:00:02.00,A,,0,0,0,,Hi\n", ["it looks like SubStation Alpha"]),
        (".srt", "{25}{50}Hi\n", ["it looks like MicroDVD"]),
        (".vtt", "0:00:00.599,0:00:04.160\nHi\n", ["it looks like YouTube's SBV"]),
        (".txt", "Hi", ["must end in .vtt, .srt, .csv, .tsv, not '.txt'"]),
    ],
)
def test_a_file_without_one_cue_says_why(video: Path, suffix: str, content: str, says: list[str]) -> None:
    cues = beside(video, suffix, content)
    with pytest.raises(CorpusError) as error:
        recording.read_cues(cues)
    for sentence in says:
        assert sentence in str(error.value)


def test_no_video_or_no_cues(video: Path) -> None:
    (finding,) = read(video).findings
    assert finding.reason.startswith("There are no subtitles for it. Put a file of the same name")
    with raises(CorpusError, path=video.with_name("gone.srt")):
        recording.read_cues(video.with_name("gone.srt"))
    video.unlink()
    with raises(CorpusError, path=video.parent, missing=True):
        read(video)


def test_cues_from_elsewhere_enter_in_their_order(video: Path) -> None:
    reading = recording.from_cues(video, [Cue(5.0, 6.0, "b"), Cue(1.0, 2.0, "a", speaker="Ann")])
    assert [(u.index, u.text, u.speaker) for u in reading.utterances] == [(0, "a", "Ann"), (1, "b", "")]


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    for name in ("train/a.mp4", "train/a.srt", "dev/b.mp4", "dev/b.vtt", "c.mp4", "c.srt", "silent.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text({".srt": SRT, ".vtt": VTT}.get(path.suffix, ""), encoding="utf-8")
    reading = recording.read_all(recording.Params(folder=str(tmp_path)))
    assert {(u.dialogue, u.split) for u in reading.utterances} == {
        ("recording/train/a", "train"),
        ("recording/dev/b", "dev"),
        ("recording/c", "test"),
    }
    assert [(f.kind, Path(f.id).name, f.action, f.needs_you) for f in reading.findings if f.kind == "missing"] == [
        ("missing", "silent.mp4", "leaves out", True)
    ]


def test_a_folder_in_which_some_clips_have_subtitles(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "b.vtt", "c.mp4", "c.csv", "d/e.mp4"):
        path = tmp_path / "dir" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(VTT if path.suffix == ".vtt" else "frame, face_id", encoding="utf-8")
    reading = recording.read_dir(tmp_path / "dir")
    assert [(u.id, u.dialogue, u.index, u.start_s) for u in reading.manifest(tmp_path).utterances] == [
        ("a", "a", 0, None),
        ("b/0000", "b", 0, 1.0),
        ("b/0001", "b", 1, 1.0),
        ("b/0002", "b", 2, 3.0),
        ("c", "c", 0, None),
        ("d/e", "d", 0, None),
    ]
    assert [(f.kind, Path(f.id).name) for f in reading.findings] == [("type", "*.csv")]


def test_turns_of_a_folder_follow_each_other_whatever_lies_beside_them(tmp_path: Path) -> None:
    for name in ("i/t10.mp4", "i/t1.mp4", "i/t2.mp4"):
        write_clip(tmp_path / name, 1.0)
    (tmp_path / "i/t1.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\na\n\n2\n00:00:00,500 --> 00:00:00,900\nb\n")
    reading = recording.read_dir(tmp_path)
    assert [(u.id, u.dialogue, u.index) for u in reading.utterances] == [
        ("i/t1/0000", "i", 0),
        ("i/t1/0001", "i", 1),
        ("i/t2", "i", 2),
        ("i/t10", "i", 3),
    ]
    assert [u.id for u in reading.manifest(tmp_path).utterances] == ["i/t1/0000", "i/t1/0001", "i/t2", "i/t10"]


def test_cues_of_a_clip_called_as_its_folder_keep_its_name(tmp_path: Path) -> None:
    for name in ("talk/talk.mp4", "talk/other.mp4"):
        write_clip(tmp_path / name, 1.0)
    (tmp_path / "talk/talk.srt").write_text("1\n00:00:00,000 --> 00:00:00,400\na\n")
    reading = recording.read_dir(tmp_path / "talk")
    assert [(u.id, u.dialogue) for u in reading.utterances] == [("other", "other"), ("talk/0000", "talk")]


def test_a_long_recording_is_a_dialogue_of_its_own_whatever_else_has_its_name(tmp_path: Path) -> None:
    write_clip(tmp_path / "talk/talk.wav", 31.0, picture=False)
    (tmp_path / "talk/talk.srt").write_text(SRT, encoding="utf-8")
    reading = recording.read_dir(tmp_path / "talk")
    assert {(u.id, u.dialogue) for u in reading.utterances} == {(f"talk/{i:04d}", "talk") for i in range(5)}
    write_clip(tmp_path / "talk/other.mp4", 1.0)
    write_clip(tmp_path / "talk/talk/0000.mp4", 1.0)
    reading = recording.read_dir(tmp_path / "talk")
    assert len({u.id for u in reading.utterances}) == 7
    assert {(u.id, u.dialogue) for u in reading.utterances} == {
        *((f"talk.wav/{i:04d}", "talk.wav") for i in range(5)),
        ("other", "other"),
        ("talk/0000", "talk"),
    }


def test_subtitles_that_cannot_be_read_cost_their_words_alone(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "a.srt")
    (tmp_path / "b.srt").symlink_to("/dev/zero")
    (tmp_path / "c.vtt").write_text("WEBVTT\n")
    (tmp_path / "d.srt").write_text(SRT, encoding="utf-8")
    reading = recording.read_dir(tmp_path)
    assert [u.id for u in reading.utterances] == ["a", "b", "c", *(f"d/{i:04d}" for i in range(5))]
    assert [(f.kind, Path(f.id).name, f.action, f.needs_you) for f in reading.findings if f.kind == "subtitles"] == [
        ("subtitles", "a.srt", "leaves out", True),
        ("subtitles", "b.srt", "leaves out", True),
        ("subtitles", "c.vtt", "leaves out", True),
    ]
    corpus = recording.read_all(recording.Params(folder=str(tmp_path)))
    assert {u.dialogue for u in corpus.utterances} == {"recording/d"}
    assert {Path(f.id).name for f in corpus.findings if f.needs_you} == {"a.srt", "b.srt", "c.vtt"}


def test_a_folder_called_as_subtitles_are_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.srt").mkdir()
    assert [u.id for u in recording.read_dir(tmp_path).utterances] == ["a"]


def test_a_table_of_utterances_beside_clips_is_named_with_what_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "table.csv").write_text("id,dialogue,index,speaker,text,label,split,clip\na,d,0,A,Hi,joy,train,a.mp4\n")
    (tmp_path / "a.csv").write_text("frame,face_id,timestamp\n1,0,0.0\n")
    os.mkfifo(tmp_path / "pipe.csv")
    findings = {Path(f.id).name: f for f in recording.read_dir(tmp_path).findings}
    assert set(findings) == {"table.csv", "*.csv"}
    assert f"prepare.table.file: {tmp_path}/table.csv" in findings["table.csv"].reason
    assert "bemerc corpus check table" in findings["table.csv"].reason
