"""The table reader: any words survive, slips in columns and cells are told at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bemerc.corpus import Utterance, table
from bemerc.corpus.reading import Reading
from bemerc.errors import CorpusError
from tests import tables

HEAD = "id,dialogue,index,speaker,text,label,split,clip"

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda s: s.strip() and ".." not in s and not s.startswith(("/", "\\"))
)
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
                speaker=draw(st.text()),
                text=draw(st.text()),
                label=draw(st.sampled_from(["joy", "anger", None])),
                split="dev",
                clip=draw(st.none() | names),
                start_s=start,
                end_s=None if start is None else start + draw(st.floats(0.5, 100)),
                crop=draw(st.none() | st.just((left, top, 0.75, 1.0))),
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
            clip=None if u.clip is None else str(tmp_path / u.clip),
        )
        for u in made
    ]


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
        ("a,d,first,Ann,Hi,joy,test,", "index must be a whole number, not 'first'"),
        ("a,d,0,Ann,Hi,joy,exam,", "split must be train, dev or test, not 'exam'"),
        ("a,d,0,Ann,Hi,bliss,test,", "the label 'bliss' is unknown; the known ones are neutral, joy, sadness"),
        ("a,d,0,Ann,Hi,joy,test,,3,2,", "end_s = 2 is not after start_s = 3"),
        ("a,d,0,Ann,Hi,joy,test,,soon,2,", "start_s must be seconds"),
        ("a,d,0,Ann,Hi,joy,test,,nan,2,", "start_s must be seconds"),
        ("a,d,0,Ann,Hi,joy,test,,,,0 0 2 1", "crop must be left, right, or four fractions"),
        ("a,d,0,Ann,Hi,joy,test,,,,middle", "crop must be left, right, or four fractions"),
    ],
)
def test_a_bad_cell_is_told_with_line_and_id(tmp_path: Path, line: str, says: str) -> None:
    line += "," * (10 - line.count(","))
    path = write(tmp_path / "t.csv", f"{HEAD},start_s,end_s,crop", line)
    with pytest.raises(CorpusError) as error:
        read(path)
    assert says in str(error.value)
    assert f"line 2, {line.split(',')[0]!r}:" in str(error.value)


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv",
        HEAD,
        "a,d,0,Ann,Hi,bliss,exam,",
        "b,d,0,Ann,Hi,joy,test,",
        "b,d,1,Ann,Hi,joy,test,",
        "c,d,1,Ann,Hi,joy,test,",
        "d,d",
    )
    with pytest.raises(CorpusError) as error:
        read(path)
    lines = [line.removeprefix(str(path)) for line in str(error.value).splitlines()]
    assert lines[0].startswith(", line 6: 2 cells")
    assert [line.startswith(", line 2, 'a'") for line in lines[1:3]] == [True, True]
    assert lines[3] == ": the id 'mine/test/b' stands there twice."
    assert lines[4] == ": 'mine/test/c' and 'mine/test/b' are both turn 1 of 'mine/test/d'."


def test_labels_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", HEAD, "a,d,0,Ann,Hi,Ruhig,train,")
    reading = read(path, labels=("calm", "upset"), aliases={"ruhig": "calm"})
    assert reading.labels == ("calm", "upset")
    assert reading.utterances[0].label == "calm"
