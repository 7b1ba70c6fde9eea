"""JSON from elsewhere: every refusal is a JsonError with the path, and what is admitted is what json.loads gives."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bemerc.core.errors import DiskError
from bemerc.core.jsonfile import MAX_DEPTH, JsonError, parse_json, read_json, read_json_lines

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"a": 1} x',
        "NaN",
        '{"a": -Infinity}',
        "1e999",
        "9" * 5000,
        "9" * 32,
        '{"a": 1, "a": 2}',
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * 100_000,
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * 500 + "1" + "}" * 500,
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
    ],
)
def test_what_is_not_admitted_is_refused_with_its_name(text: str | bytes) -> None:
    with pytest.raises(JsonError) as refused:
        parse_json(text, "metadata.json")
    assert refused.value.path == "metadata.json"
    assert refused.value.reason


def test_depth_is_admitted_to_its_limit() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_nan_is_admitted_where_the_caller_says_so() -> None:
    assert math.isnan(parse_json("[NaN]", nan=True)[0])


def test_a_file_is_read_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, "é"]}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 2.5, "é"]}
    with pytest.raises(JsonError):
        read_json(path, max_bytes=10)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(JsonError) as missing:
        read_json(tmp_path / "gone.json")
    assert missing.value.missing
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(JsonError) as refused:
            read_json(odd)
        assert not refused.value.missing


@pytest.mark.skipif(sys.platform != "linux", reason="no such file that opens and cannot be read")
def test_a_failing_disk_is_the_machines_fault() -> None:
    with pytest.raises(DiskError):
        read_json(Path("/proc/self/mem"))


def test_lines_are_read_one_by_one_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    # U+2028 is a character of a text, not the end of a line.
    path.write_text('{"a": 1}\n\n{"a": "\u2028"}\r\n[', encoding="utf-8")
    lines = read_json_lines(path)
    assert next(lines) == (1, {"a": 1})
    assert next(lines) == (3, {"a": "\u2028"})
    with pytest.raises(JsonError) as refused:
        next(lines)
    assert refused.value.line == 4
    with pytest.raises(JsonError):
        list(read_json_lines(path, max_line_bytes=5))
