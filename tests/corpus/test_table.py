"""The table reader: any words survive, slips in columns and cells are reported at once."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bemerc.core.errors import CorpusError
from bemerc.corpus import delimited
from bemerc.corpus.delimited import read_table
from bemerc.corpus.manifest import Utterance
from bemerc.corpus.readers import table
from bemerc.corpus.reading import FaultyCorpusError, Reading, person
from tests import tables
from tests.errors import raises

HEAD = "id,dialogue,index,speaker,text,label,split,clip"

NO_VALUE = ("nan", "NaN", "NAN", "<NA>", "#N/A", "#NA", "#NV", "NaT")


def named(written: str) -> str:
    return unicodedata.normalize("NFC", written).strip()


names = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
    .map(named)
    .filter(lambda s: s and ".." not in s and not s.startswith(("/", "\\")) and s not in NO_VALUE)
)
words = st.text().filter(lambda text: text.strip() not in NO_VALUE)
seconds = st.floats(0, 1e6, allow_nan=False)


@st.composite
def utterances(draw: st.DrawFn) -> list[Utterance]:
    """A few utterances with any words, every optional cell there or not."""
    ids = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    made = []
    for index, id_ in enumerate(ids):
        start = draw(st.none() | seconds)
        left, top = draw(st.floats(0, 0.5)), draw(st.floats(0, 0.5))
        made.append(
            Utterance(
                id=id_,
                dialogue="d",
                index=index,
                speaker=draw(words),
                text=draw(words),
                label=draw(st.sampled_from(["joy", "anger", None])),
                split="dev",
                clip=draw(st.none() | names),
                start_s=start,
                end_s=None if start is None else start + draw(st.floats(0.5, 100)),
                crop=draw(st.none() | st.just((left, top, 0.75, 1.0))),
                label_text=draw(st.sampled_from(["joy", None])),
                label_voice=draw(st.sampled_from(["anger", None])),
                label_face=draw(st.sampled_from(["neutral", None])),
            )
        )
    return made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(utterances())
def test_any_text_survives_the_round_trip(tmp_path: Path, made: list[Utterance]) -> None:
    path = tmp_path / "table.csv"
    tables.write(path, made)
    back = read(path)
    assert list(back.utterances) == [
        replace(
            u,
            id=f"mine/dev/{u.id}",
            dialogue="mine/dev/d",
            speaker=person(u.speaker),
            clip=None if u.clip is None else str(tmp_path / u.clip),
        )
        for u in made
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(utterances(), st.data())
def test_a_damaged_table_is_a_sentence_or_loses_the_damaged_rows_alone(
    tmp_path: Path, made: list[Utterance], data: st.DataObject
) -> None:
    path = tmp_path / "table.csv"
    tables.write(path, made)
    raw = path.read_bytes()
    at = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:at] + data.draw(st.binary(max_size=4)) + raw[at + data.draw(st.integers(0, 3)) :])
    try:
        back = read(path)
    except CorpusError:
        return
    assert len({u.id for u in back.utterances}) == len(back.utterances)
    left_out = sum(finding.kind == "row" for finding in back.findings)
    assert (
        len(back.utterances) + left_out >= len(made) - 1
    )  # a quote or a line's end that is gone joins two rows at most


def read(path: Path, **settings_: object) -> Reading:
    return table.read(table.Params(file=str(path), **settings_), "mine")  # type: ignore[arg-type]


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def test_a_table_as_people_write_them(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        "id;dialogue;index;speaker;text;label;split;clip;start_s;end_s;crop",
        "b;d;20;Bob;Nö; Angry ;valid;talk.mp4;1.5;3;right",
        "a;d;10;Ann;;;validation;;;;",
        "c;e;0;Ann;x;fear;test;talk.mp4;;;0.25 0 0.75 1",
        encoding="utf-16",
    )
    (tmp_path / "talk.mp4").write_bytes(b"")
    reading = read(path)
    a, b, c = sorted(reading.utterances, key=lambda u: u.id)
    assert [(u.id, u.index, u.label, u.split) for u in (a, b, c)] == [
        ("mine/dev/a", 0, None, "dev"),
        ("mine/dev/b", 1, "anger", "dev"),
        ("mine/test/c", 0, "fear", "test"),
    ]
    assert (b.text, b.start_s, b.end_s, b.crop) == ("Nö", 1.5, 3.0, (0.5, 0.0, 1.0, 1.0))
    assert (a.clip, a.start_s, a.crop) == (None, None, None)
    assert c.crop == (0.25, 0.0, 0.75, 1.0)
    assert [(f.kind, f.id) for f in reading.findings] == [("empty", "mine/dev/a")]


@pytest.mark.parametrize("name", ["gone.mp4", f"{300 * 'x'}.mp4"], ids=["gone", "longer than a disk allows"])
def test_a_missing_clip_is_a_finding(tmp_path: Path, name: str) -> None:
    reading = read(write(tmp_path / "t.csv", HEAD, f"a,d,0,Ann,Hi,joy,test,{name}"))
    assert [(f.kind, f.id, f.needs_you) for f in reading.findings] == [("missing", "mine/test/a", True)]


def test_columns_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", "id,dialogue,index,speaker,text,emotion,split,clip,start", "a,d,0,Ann,Hi,joy,test,,1"
    )
    with pytest.raises(CorpusError) as error:
        read(path)
    message = str(error.value)
    assert "the column 'label' is missing" in message
    assert "the column 'emotion' is unknown." in message
    assert "the column 'start' is unknown; did you mean 'start_s'?" in message
    assert "may have start_s, end_s, crop" in message


def test_a_column_can_be_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"{HEAD},season", "a,d,0,Ann,Hi,joy,test,,1")
    assert len(read(path, ignore=("season",)).utterances) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (",d,0,Ann,Hi,joy,test,", "id is blank"),
        ("../a,d,0,Ann,Hi,joy,test,", "must not start with / or hold '..'"),
        ("/a,d,0,Ann,Hi,joy,test,", "must not start with / or hold '..'"),
        ("a,x\\..\\d,0,Ann,Hi,joy,test,", "must not start with / or hold '..'"),
        ("a\x1b[2Jb,d,0,Ann,Hi,joy,test,", "holds a control character"),
        (f"{'a' * 501},d,0,Ann,Hi,joy,test,", "longer than 500"),
        ("a,d,first,Ann,Hi,joy,test,", "index must be a whole number, not 'first'"),
        ("a,d,0.5,Ann,Hi,joy,test,", "index must be a whole number, not '0.5'"),
        ("a,d", "2 cells, but the head has 11 columns"),
    ],
)
def test_a_row_without_a_usable_name_or_place_is_left_out_and_stops_no_other(
    tmp_path: Path, line: str, says: str
) -> None:
    line += "," * (10 - line.count(",")) if line != "a,d" else ""
    path = write(tmp_path / "t.csv", f"{HEAD},start_s,end_s,crop", line, "b,d,1,Bo,Ho,joy,test,,,,")
    reading = read(path)
    assert [u.id for u in reading.utterances] == ["mine/test/b"]
    (finding,) = reading.findings
    assert (finding.id, finding.action, finding.needs_you) == (f"{path}, line 2", "leaves out", True)
    assert says in finding.reason
    assert "\x1b" not in finding.reason


@pytest.mark.parametrize(
    "cells",
    ["3,2,", "soon,2,", "inf,,", "-1,2,", '"0,5",2,', ",,0 0 2 1", ",,middle"],
    ids=["reversed", "words", "infinite", "negative", "a comma among commas", "crop", "crop's name"],
)
def test_times_or_a_crop_that_cannot_be_read_cost_the_video_alone(tmp_path: Path, cells: str) -> None:
    (tmp_path / "x.mp4").touch()
    path = write(tmp_path / "t.csv", f"{HEAD},start_s,end_s,crop", f"a,d,0,Ann,Hi,joy,test,x.mp4,{cells}")
    reading = read(path)
    (u,) = reading.utterances
    assert (u.text, u.label, u.clip, u.start_s, u.end_s, u.crop) == ("Hi", "joy", None, None, None, None)
    assert [(f.id, f.action, f.needs_you) for f in reading.findings] == [
        (f"{path}, line 2", "keeps without video", True)
    ]


def test_what_makes_the_data_another_stops_with_all_other_faults(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        HEAD,
        "a,d,0,Ann,Hi,bliss,exam,",
        "b,d,0,Ann,Hi,joy,test,",
        "b,d,1,Ann,Hi,joy,test,",
        "c,d,1,Ann,Hi,joy,test,gone.mp4",
        "d,d",
    )
    with pytest.raises(FaultyCorpusError) as error:
        read(path)
    lines = [fault.removeprefix(str(path)) for fault in error.value.faults]
    assert [line.split(":")[0] for line in lines] == [", line 2, 'a'", ", line 2, 'a'", ", line 4", ", line 5"]
    assert "split must be train, dev or test, not 'exam'" in lines[0]
    assert "the label 'bliss' is unknown; the known ones are neutral, joy, sadness" in lines[1]
    assert "'b' stands on line 3 already" in lines[2]
    assert "'c' and 'b' are both turn 1 of 'd'" in lines[3]
    assert {(f.kind, f.needs_you) for f in error.value.findings} == {("row", True), ("missing", True)}


def test_a_dialogue_in_two_splits_stops_and_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        HEAD,
        "u1,d1,0,Ann,Hello,joy,train,",
        "u2,d1 ,1,Bo,Hi,anger,test,",
        "u3,d2,0,Bo,Hi,anger,test,",
    )
    with pytest.raises(FaultyCorpusError) as error:
        read(path)
    (fault,) = error.value.faults
    assert "'d1' lies in train (line 2) and test (line 3)" in fault


@pytest.mark.parametrize(
    ("content", "index", "start_s"),
    [
        (f"{HEAD}\n\nu1,d1,0,Ann,Hi,joy,train,a.mp4\n,,,,,,,\n , ,,,,,,\n", 0, None),
        (f"{HEAD},,\nu1,d1,0,Ann,Hi,joy,train,a.mp4,,\n", 0, None),
        (f",,\n{HEAD}\nu1,d1,0,Ann,Hi,joy,train,a.mp4,,,,\n", 0, None),
        (f",{HEAD}\n0,u1,d1,0,Ann,Hi,joy,train,a.mp4\n", 0, None),
        (f"sep=;\r\n{HEAD.replace(',', ';')}\r\nu1;d1;3;Ann;Hi;joy;train;a.mp4\r\n", 3, None),
        (f"sep=\t\n{HEAD.replace(',', chr(9))}\nu1\td1\t3\tAnn\tHi\tjoy\ttrain\ta.mp4\n", 3, None),
        (f"{HEAD.replace(',', ';')};start_s;end_s\r\nu1;d1;0;Ann;Hi;joy;train;a.mp4;0,25;0,9\r\n", 0, 0.25),
        (f"{HEAD}\nu1,d1,7.0,Ann,Hi,joy,train,a.mp4\n", 7, None),
        (f"\ufeff{HEAD}\nu1,d1,0,Ann,Hi,joy,train,a.mp4\n", 0, None),
        (f"{HEAD}\ru1,d1,0,Ann,Hi,joy,train,a.mp4\r", 0, None),
    ],
    ids=["blank rows", "blank columns", "blank rows first", "pandas' index", "sep=;", "sep=tab", "decimal commas", "0.0", "mark", "old Mac"],
)  # fmt: skip
def test_tables_as_spreadsheets_write_them(tmp_path: Path, content: str, index: int, start_s: float | None) -> None:
    (tmp_path / "a.mp4").touch()
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        (tmp_path / "t.csv").write_bytes(content.encode(encoding))
        reading = table.read(table.Params(file=str(tmp_path / "t.csv")), "mine")
        (u,) = reading.utterances
        assert (u.id, u.speaker, u.text, u.clip) == ("mine/train/u1", "Ann", "Hi", str(tmp_path / "a.mp4"))
        assert u.start_s == start_s
        assert reading.findings == ()
        assert read_table(tmp_path / "t.csv").rows[0].cells["index"].split(".")[0] == str(index)


def test_words_for_no_value_are_blank_cells_and_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        HEAD,
        "u1,d1,0,nan,NaN,joy,train,",
        "u2,d1,1,Nan,Nan says null,NaN,train,nan",
        "u3,d1,2,Ann,None.,,train,",
    )
    reading = read(path)
    assert [(u.speaker, u.text, u.label, u.clip) for u in reading.utterances] == [
        ("", "", "joy", None),
        ("Nan", "Nan says null", None, None),
        ("Ann", "None.", None, None),
    ]
    assert [(f.kind, f.id) for f in reading.findings if f.action == "keeps, repaired"] == [
        ("blank", f"{path}, line 2"),
        ("blank", f"{path}, line 3"),
    ]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [(b"PK\x03\x04rubbish", "workbook"), (b"\xd0\xcf\x11\xe0rubbish", "old Excel"), (b"<html><table>", "web page")],
)
def test_a_workbook_called_a_table_is_named(tmp_path: Path, raw: bytes, kind: str) -> None:
    (tmp_path / "t.csv").write_bytes(raw)
    with pytest.raises(CorpusError, match=kind):
        read(tmp_path / "t.csv")


def test_cells_below_no_name_and_rows_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.csv", f"{HEAD},", "u1,d1,0,Ann,Hi,joy,train,,note")
    with raises(CorpusError, path=path, line=2):
        read(path)
    monkeypatch.setattr(delimited, "MAX_ROWS", 1)
    with raises(CorpusError, path=tmp_path / "u.csv"):
        read(write(tmp_path / "u.csv", HEAD, "u1,d1,0,A,B,joy,dev,", "u2,d1,1,A,B,joy,dev,"))


def test_one_speaker_has_one_name(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Jürg")
    path = write(tmp_path / "t.csv", HEAD, "a,d,0,Jürg,x,joy,dev,", f"b,d,1, {decomposed} ,x,joy,dev,")
    assert {u.speaker for u in read(path).utterances} == {"Jürg"}


def test_labels_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", HEAD, "a,d,0,Ann,Hi,Ruhig,train,")
    reading = read(path, labels=("calm", "upset"), aliases={"ruhig": "calm"})
    assert reading.labels == ("calm", "upset")
    assert reading.utterances[0].label == "calm"


def test_labels_of_one_modality_have_the_same_spellings_and_the_same_errors(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"{HEAD},label_voice,label_face\na,d,0,Ann,hm,joy,train,,HAPPY,froh\nb,d,1,Ann,hm,joy,train,,,\n")
    params = table.Params(str(path), aliases={"froh": "joy"})
    first, second = table.read(params).utterances
    assert (first.label_text, first.label_voice, first.label_face) == (None, "joy", "joy")
    assert second.all_labels() == ("joy",)
    path.write_text(f"{HEAD},label_voice,label_face\na,d,0,Ann,hm,joy,train,,glad,\nb,d,1,Ann,hm,joy,train,,,glum\n")
    with pytest.raises(FaultyCorpusError) as caught:
        table.read(params)
    columns = [next(c for c in ("label_voice", "label_face") if f"{c}:" in fault) for fault in caught.value.faults]
    assert columns == ["label_voice", "label_face"]
