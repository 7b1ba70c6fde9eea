"""The strict params loader: every fault at once, each with the way out."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from bemerc.core.config import SECTIONS, from_mapping, load, read_document, to_mapping
from bemerc.core.errors import ConfigError
from tests.errors import raises

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Inner:
    rate_hz: float = 8.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Params:
    count: int
    mode: Literal["a", "b"] = "a"
    step: float = 0.1
    inner: Inner = field(default_factory=Inner)
    limit: int | None = None
    table: dict[str, float] = field(default_factory=dict)

    def check(self) -> list[str]:
        return [] if self.count > 0 else [f"count: {self.count} must be above 0."]


def test_a_whole_section_survives_the_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("x: {count: 3, mode: b, step: 1, inner: {rate_hz: 4, names: [ä, b]}, limit: null, table: {k: 2}}")
    params = load(file, "x", Params)
    assert params == Params(3, "b", 1.0, Inner(4.0, ("ä", "b")), None, {"k": 2.0})
    assert from_mapping(to_mapping(params), Params, "x") == params
    assert isinstance(params.step, float)


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"cuont": 3, "mode": "c", "step": "1e-4", "inner": {"rate": 1}, "limit": "x"}, Params, "p: x")
    message = str(caught.value)
    assert "p: x.cuont: unknown key; did you mean 'count'?" in message
    assert "p: x.count: this key is missing" in message
    assert "p: x.mode: 'c' is not one of 'a', 'b'" in message
    assert "write 1.0e-4" in message
    assert "p: x.inner.rate: unknown key" in message
    assert "rate_hz, names" in message
    assert "p: x.limit: must be a whole number" in message


def test_true_is_not_a_number() -> None:
    with pytest.raises(ConfigError, match=r"count: must be a whole number, not true/false"):
        from_mapping({"count": True}, Params, "x")


def test_a_dataclass_may_refuse_values() -> None:
    with pytest.raises(ConfigError, match=r"x\.count: 0 must be above 0"):
        from_mapping({"count": 0}, Params, "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("y: {}", "there is no section 'x'; the sections are y"),
        ("x: 3", "must hold keys and values, not a whole number"),
        ("- 1", "must hold sections"),
        ("x: {a: [", "not valid YAML"),
    ],
)
def test_a_broken_file_gets_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load(file, "x", Params)


@dataclass(frozen=True)
class Usual:
    rate_hz: float = 8.0


def test_a_section_that_is_not_there_holds_the_defaults_unless_its_name_is_misspelt(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("my_own: 3\nextract_video: {rate_hz: 4}\nalign:\n")
    assert load(file, "extract_video", Usual) == Usual(4.0)
    assert load(file, "extract_audio", Usual) == Usual()
    assert load(file, "align", Usual) == Usual()
    file.write_text("extrct_video: {rate_hz: 4}")
    with pytest.raises(ConfigError, match="did you mean 'extract_video'"):
        load(file, "extract_video", Usual)


def test_the_sections_are_those_of_the_projects_file() -> None:
    assert tuple(read_document(ROOT / "params.yaml")) == SECTIONS


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join([*lines, f"x: {{rate_hz: *a{levels - 1}}}"])


@pytest.mark.parametrize(
    "text",
    [
        bomb(9),
        "x: &x {a: *x}",
        f"x: {'[' * 100_000}",
        f"x: {'{a: ' * 100_000}",
        "x: " + "- " * 50_000,
        f"x: {{rate_hz: {'9' * 50_000}}}",
        f"x: {{rate_hz: {'1:' * 50_000}1}}",
        "x: {rate_hz: 2020-99-99}",
        "x: {rate_hz: 1, rate_hz: 2}",
        "x: {rate_hz: 1}\nx: {rate_hz: 2}",
        "x: {? [a] : b}",
        "x: !!python/object/apply:os.system [true]",
        "x: {rate_hz: .nan}",
        "x: {rate_hz: .inf}",
        "x: {rate_hz: 1.0e+999}",
        f"x: {{{'k' * 100_000}: 1}}",
        f"x: {{rate_hz: {'k' * 100_000}}}",
        'x: {rate_hz: "\\e[2J"}',
        "x: {rate_hz: [[1, 2], {a: b}]}",
        f"{'k' * 100_000}: 1\nx: 5",
        " " * 300_000,
    ],
    ids=range(21),
)
def test_a_strangers_file_is_refused_at_once_and_in_few_words(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load(file, "x", Usual)
    assert time.monotonic() - began < 5
    assert len(str(caught.value)) < 1500
    assert "\x1b" not in str(caught.value)


def test_anchors_within_reason_and_merged_keys_are_read(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("base: &base {rate_hz: 2}\nx: {<<: *base, rate_hz: 3}\ny: *base")
    assert (load(file, "x", Usual), load(file, "y", Usual)) == (Usual(3.0), Usual(2.0))


def test_a_pipe_or_folder_is_no_params_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "", "a\0b"):
        with pytest.raises(ConfigError):
            load(tmp_path / name, "x", Usual)


def test_a_missing_or_binary_file_gets_a_sentence(tmp_path: Path) -> None:
    with raises(ConfigError, path=tmp_path / "none.yaml", missing=True):
        load(tmp_path / "none.yaml", "x", Params)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with raises(ConfigError, path=tmp_path / "b.yaml"):
        load(tmp_path / "b.yaml", "x", Params)
