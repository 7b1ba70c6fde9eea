"""Whose a file is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bemerc.behavior.describe import description
from bemerc.behavior.describe import run as describer
from bemerc.core.ownership import HEAD_BYTES, WouldReplaceError, lines_with, must_be_ours
from bemerc.language.predict import evidence, records

OURS = lines_with("id", "label")


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "label": "joy", "more": 1}\n{"id": "b"}\n',
        '\ufeff\n{"id": "a", "label": null}',
        "",
        "\n\n",
        f'{{"id": "a", "text": "{"x" * HEAD_BYTES}", "label": "joy"}}\n',
        f'{{"id": "\u00e4", "text": "{"x" * HEAD_BYTES}", "label": "joy"}}\n',
        '{"id": "a", "label": "one\u2028two\u0085"}\n',
    ],
    ids=["ours", "edited", "empty", "blank", "long", "long and not ASCII", "another line break"],
)
def test_what_was_written_here_may_be_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    must_be_ours(tmp_path / "a.jsonl", OURS)
    must_be_ours(tmp_path / "missing.jsonl", OURS)


@pytest.mark.parametrize(
    "data",
    [
        b'{"id": "a"}\n',
        b"[]\n",
        b"id,label\n",
        b"[" * 5000,
        b"\xff\xfe\x00",
        b"x" * (HEAD_BYTES + 1),
        b'{"id":"' + b"x" * HEAD_BYTES,
    ],
    ids=["another object", "a list", "a table", "nested", "bytes", "long", "long JSON"],
)
def test_another_file_stays(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.raises(WouldReplaceError) as error:
        must_be_ours(path, OURS)
    assert error.value.path == path


@pytest.mark.parametrize(
    "write",
    [
        lambda path: description.write_descriptions(path, {}),
        lambda path: records.write_predictions(path, ()),
        lambda path: evidence.write_evidence(path, ()),
    ],
    ids=["descriptions", "predictions", "evidence"],
)
def test_writers_leave_somebodys_own_file(tmp_path: Path, write: object) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"clip": "a", "emotion": "joy"}\n')
    with pytest.raises(WouldReplaceError):
        write(path)  # type: ignore[operator]
    assert path.read_text().startswith('{"clip"')
    path.unlink()
    write(path)  # type: ignore[operator]
    write(path)  # type: ignore[operator]


def test_events_of_our_own_are_known() -> None:
    assert describer.OUR_EVENTS('{"id": "a", "events": []}\n')
    assert not describer.OUR_EVENTS('{"event": "login"}\n')
