"""The strict params loader: every fault at once, each with the way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from bemerc.config import from_mapping, load, to_mapping
from bemerc.errors import ConfigError


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


def test_every_fault_is_told_at_once() -> None:
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


def test_a_missing_or_binary_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such params file"):
        load(tmp_path / "none.yaml", "x", Params)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8"):
        load(tmp_path / "b.yaml", "x", Params)
