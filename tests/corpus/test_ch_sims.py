"""CH-SIMS: three labels a clip beside that of the whole, zeros in ids, and every slip of a downloaded tree is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bemerc.core.errors import CorpusError
from bemerc.corpus import check, prepare
from bemerc.corpus.manifest import Utterance
from bemerc.corpus.readers import ch_sims
from bemerc.corpus.reading import FaultyCorpusError, Reading
from tests.cli.test_cli import bemerc
from tests.clips import write_clip

HEAD = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"
ROWS = (
    "video_0001,0001,我不想嫁给李茶,-0.8,-0.6,-1,-0.8,Negative,train",
    "video_0001,0002,我也不想嫁给你,0.0,0.2,-0.2,0.1,Neutral,train",
    "video_0001,0010,给你钱,1.0,0,1,-1,Positive,test",
    "video_0002,0001,就算要贱,0.2,-0.1,0.4,0.2,Positive,valid",
    "video_0002,0003,你都不愿意,0.6,0.6,0.6,0.6,Positive,test",
)


def tree(folder: Path, rows: Sequence[str] = ROWS, head: str = HEAD, table: str = "label.csv", bom: str = "") -> Path:
    """A tree of the corpus's shape; its clips are empty files."""
    (folder / "Raw").mkdir(parents=True, exist_ok=True)
    (folder / table).write_text(bom + "\n".join([head, *rows]) + "\n", encoding="utf-8")
    for row in rows:
        video, clip = row.split(",")[:2]
        path = folder / "Raw" / video / f"{clip.zfill(4)}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def read(folder: Path, **settings: str | float) -> Reading:
    return ch_sims.read(ch_sims.Params(str(folder), **settings))  # type: ignore[arg-type]


def by_id(reading: Reading) -> dict[str, Utterance]:
    return {u.id: u for u in reading.utterances}


def test_a_clip_is_an_utterance_with_a_label_of_each_modality(tmp_path: Path) -> None:
    reading = read(tree(tmp_path))
    first = by_id(reading)["ch_sims/video_0001/0001"]
    assert first == Utterance(
        "ch_sims/video_0001/0001",
        "ch_sims/train/video_0001",
        0,
        "",
        "我不想嫁给李茶",
        "negative",
        "train",
        str(tmp_path / "Raw/video_0001/0001.mp4"),
        label_text="negative",
        label_voice="negative",
        label_face="negative",
    )
    sides = [(u.label, u.label_text, u.label_voice, u.label_face) for u in reading.utterances[1:3]]
    assert sides == [("neutral", "positive", "negative", "neutral"), ("positive", "neutral", "positive", "negative")]
    assert reading.labels == ("negative", "neutral", "positive")


def test_a_dialogue_is_what_a_split_has_of_a_video(tmp_path: Path) -> None:
    reading = read(tree(tmp_path))
    assert [(u.dialogue, u.index) for u in reading.utterances] == [
        ("ch_sims/train/video_0001", 0),
        ("ch_sims/train/video_0001", 1),
        ("ch_sims/test/video_0001", 0),
        ("ch_sims/dev/video_0002", 0),
        ("ch_sims/test/video_0002", 0),
    ]
    assert [(f.kind, f.needs_you) for f in reading.findings] == [("split", False)]


def test_a_byte_order_mark_and_zeros_that_pandas_dropped(tmp_path: Path) -> None:
    plain = read(tree(tmp_path / "plain"))
    bare = [",".join([video, clip.lstrip("0"), rest]) for video, clip, rest in (row.split(",", 2) for row in ROWS)]
    marked = read(tree(tmp_path / "marked", bare, bom="\ufeff"))
    assert list(by_id(marked)) == list(by_id(plain))
    assert [u.all_labels() for u in marked.utterances] == [u.all_labels() for u in plain.utterances]
    assert all(u.clip is not None for u in marked.utterances)


@pytest.mark.parametrize(
    ("value", "label"),
    [(-1, "negative"), (-0.1, "negative"), (-0.099, "neutral"), (0, "neutral"), (0.1, "neutral"), (0.101, "positive")],
)
def test_the_borders_are_those_of_mmsa(value: float, label: str) -> None:
    assert ch_sims.polarity(value, 0.1) == label


def test_v2_has_its_table_under_another_name_and_clips_without_labels(tmp_path: Path) -> None:
    rows = [*ROWS, "video_0003,0001,嗯,,,,,,unsupervised", "video_0003,0002,啊,0.4,0.4,0.4,0.4,,Unlabelled"]
    reading = read(tree(tmp_path, rows, table="meta.csv"))
    unlabelled = [u for u in reading.utterances if u.dialogue == "ch_sims/train/video_0003"]
    assert [u.all_labels() for u in unlabelled] == [(), ()]


def test_a_column_may_tell_who_speaks(tmp_path: Path) -> None:
    reading = read(tree(tmp_path, [f"{row}, 李 茶" for row in ROWS], head=f"{HEAD},speaker"))
    assert {u.speaker for u in reading.utterances} == {"李 茶"}


def test_what_is_odd_is_named_and_costs_itself_alone(tmp_path: Path) -> None:
    rows = [*ROWS, "video_0001,0003,哦,-3,0.2,x,0.4,Negative,train", ROWS[0], "../up,0001,a,1,1,1,1,Positive,train"]
    folder = tree(tmp_path / "corpus", rows)
    (folder / "Raw/video_0002/0001.mp4").unlink()
    (folder / "Raw/video_0002/0009.mp4").touch()
    (folder / "Raw/video_0002/0003.avi").touch()
    (folder / "Raw/video_0002/notes.txt").touch()
    reading = read(folder)
    assert [(f.kind, f.id.removeprefix(str(folder)), f.action, f.needs_you) for f in reading.findings] == [
        ("row", "/label.csv, line 9", "leaves out", True),
        ("duplicate", "/label.csv, line 8", "leaves out", False),
        ("label", "ch_sims/video_0001/0003", "keeps", True),
        ("label", "ch_sims/video_0001/0003", "keeps", True),
        ("extra", "/Raw/video_0002/0009.mp4", "leaves out", False),
        ("extra", "/Raw/video_0002/notes.txt", "leaves out", False),
        ("extra", "/Raw/video_0002/0003.avi", "leaves out", False),
        ("missing", "ch_sims/video_0002/0001", "keeps without video", True),
        ("split", "ch_sims", "keeps", False),
    ]
    utterances = by_id(reading)
    odd = utterances["ch_sims/video_0001/0003"]
    assert (odd.label, odd.label_text, odd.label_voice, odd.label_face) == (None, "positive", None, "positive")
    assert utterances["ch_sims/video_0002/0001"].clip is None
    assert len(utterances) == len(ROWS) + 1


def test_a_table_with_semicolons_may_have_decimal_commas(tmp_path: Path) -> None:
    rows = ["video_0001;0001;a;-0,8;0,2;0,05;-1;Negative;train"]
    (utterance,) = read(tree(tmp_path, rows, head=HEAD.replace(",", ";"))).utterances
    assert utterance.all_labels() == ("negative", "positive", "neutral", "negative")


def test_a_name_with_a_slash_could_be_that_of_another_clip(tmp_path: Path) -> None:
    rows = [*ROWS, "video/a,0001,a,1,1,1,1,Positive,train", "video,a/0001,b,1,1,1,1,Positive,train"]
    reading = read(tree(tmp_path, rows))
    assert len(reading.utterances) == len(ROWS)
    assert [f.kind for f in reading.findings if f.needs_you] == ["row", "row"]


def test_what_makes_the_corpus_ambiguous_stops_it_with_all_faults(tmp_path: Path) -> None:
    with pytest.raises(FaultyCorpusError) as caught:
        read(tree(tmp_path, [*ROWS, ROWS[0].replace("-0.8", "0.8"), "video_0009,0001,a,1,1,1,1,Positive,exam"]))
    assert len(caught.value.faults) == 2
    with pytest.raises(FaultyCorpusError) as caught:
        read(tree(tmp_path, [row.rpartition(",")[0] for row in ROWS], head=HEAD.removesuffix(",mode")))
    assert len(caught.value.faults) == 2


def test_no_folder_no_table_no_clips(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        read(tmp_path / "none")
    with pytest.raises(CorpusError):
        read(tmp_path)
    with pytest.raises(CorpusError):
        read(tree(tmp_path / "other"), table="mine.csv")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "label.csv").write_text("\n".join([HEAD, *ROWS]))
    findings = read(tmp_path / "words").findings
    assert [f.kind for f in findings if f.needs_you] == ["missing"]


def test_the_check_and_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [*ROWS, "video_0002,0005,不,-0.4,-0.4,-0.4,-0.4,Negative,train", "video_0002,0006,好,1,1,1,1,Positive,train"]
    folder = tree(tmp_path / "data" / "ch_sims", rows)
    params = prepare.Params(corpora=("ch_sims",))
    report = check.run(params, "ch_sims", clips=False)
    assert report.faults == ()
    assert report.labels["train"] == {"negative": 2, "neutral": 1, "positive": 1}
    manifest, findings = prepare.run(params, Path("data/manifest.jsonl"))
    assert findings == ()
    assert manifest.utterances[1].label_voice == "negative"
    assert all(u.clip and (tmp_path / "data" / u.clip).is_file() for u in manifest.utterances)
    write_clip(folder / "Raw/video_0001/0001.mp4")
    answer = bemerc("corpus", "check", "ch_sims", "--json", cwd=tmp_path)
    report_of_clips = json.loads(answer.stdout)
    assert answer.returncode == 1  # the other clips are empty files
    assert report_of_clips["kinds"]["corrupt"] == len(rows) - 1
