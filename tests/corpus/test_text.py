"""Decoding numbers the lines that are not UTF-8; repairs undo mojibake and change nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bemerc.core.errors import CorpusError
from bemerc.corpus.delimited import read_table
from bemerc.corpus.encodings import decode
from bemerc.corpus.text import is_broken, repair, straighten

GOOD = "“It’s the café,” she said — naïve… Größe, señor, 你好, Łódź"


@pytest.mark.parametrize("spoil", [lambda b: b.decode("cp1252", "replace"), lambda b: b.decode("latin-1")])
def test_utf8_read_as_something_else_is_undone(spoil) -> None:  # type: ignore[no-untyped-def]
    words = "It’s the café — I said “Größe”…"
    # CP1252 has no byte 0x9D, which closes a curly quote: readers then keep the control character.
    broken = "".join(
        bytes([b]).decode("cp1252") if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(b) for b in words.encode()
    )
    assert is_broken(broken)
    assert repair(broken) == words
    assert repair(words.encode().decode("latin-1")) == words
    assert repair(spoil("café".encode())) == "café"


@pytest.mark.parametrize(
    "words", ["Łódź, Czesław Miłosz", "Привет, как дела?", "Ελληνικά", "Děkuji, příště", "你好 🙂"]
)
def test_utf8_of_any_language_read_as_latin1_is_undone(words: str) -> None:
    assert is_broken(words.encode().decode("latin-1"))
    assert repair(words.encode().decode("latin-1")) == words
    assert repair(words) == words


def test_cp1252_bytes_read_as_latin1_are_undone() -> None:
    assert repair("I\x92m \x93here\x94\x85") == "I’m “here”…"


def test_text_without_mojibake_is_unchanged() -> None:
    assert repair(GOOD) == GOOD
    assert not is_broken(GOOD)
    assert not is_broken("CLICHÉ’S are DÉJÀ “VU”")
    assert is_broken("lost \ufffd for good")


def test_only_quotes_are_straightened() -> None:
    assert straighten(GOOD) == '"It\'s the café," she said — naïve… Größe, señor, 你好, Łódź'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_as_spreadsheets_write_them(encoding: str) -> None:
    assert decode(GOOD.encode(encoding)).text == GOOD
    assert decode(GOOD.encode(encoding)).odd_lines == ()


def test_lines_of_another_encoding_are_read_and_numbered() -> None:
    decoded = decode("Größe\n".encode() + "It’s\n".encode("cp1252") + "café\n".encode())
    assert decoded.text == "Größe\nIt’s\ncafé\n"
    assert decoded.odd_lines == (2,)


@given(st.text())
def test_utf8_survives_decoding(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()).text == text


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_heads(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f'a{delimiter} b \r\n1{delimiter}"x,;\t\ny"\r\n'.encode())
    table = read_table(path)
    assert table.columns == ("a", "b")
    assert [row.cells for row in table.rows] == [{"a": "1", "b": "x,;\t\ny"}]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("", "empty"),
        ("a,b,a\n", "'a' stands there twice"),
        ('a,b\n1,"open\n2,3\n', "a quote that is opened and not closed"),
    ],
)
def test_tables_that_cannot_be_trusted(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=says):
        read_table(path)


def test_rows_of_another_width_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n\n3\n4,5,6\n", encoding="utf-8")
    table = read_table(path)
    assert len(table.rows) == 1
    assert [fault.split(", line ")[1] for fault in table.faults] == [
        "4: 1 cells, but the head has 2 columns.",
        "5: 3 cells, but the head has 2 columns.",
    ]
