"""Former names of params keys, sections, weights and files: read with a warning that says the new name."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from bemerc.core import renames
from bemerc.core.config import from_mapping, load, open_document
from bemerc.core.errors import ConfigError
from bemerc.language.train.crossfit import Params as Crossfit
from bemerc.language.train.loop import Params as Training


@dataclass(frozen=True)
class Params:
    ema_decay: float = field(metadata=renames.formerly("average"))
    source: Literal["rules", "crossfit"] = field(
        default="rules", metadata=renames.formerly("origin", {"student": "crossfit"})
    )


@pytest.fixture(autouse=True)
def nobody_was_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renames, "_warned", set())


def test_a_former_key_and_a_former_value_are_read_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bemerc"):
        for _ in range(2):
            read = from_mapping({"average": 0.5, "origin": "student"}, Params, "p.yaml: merc")
    assert read == Params(0.5, "crossfit")
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "p.yaml: merc.average is called ema_decay now",
        "p.yaml: merc.origin is called source now",
        "p.yaml: merc.source: student is called crossfit now",
    ]


def test_a_key_under_both_names_is_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"p\.average: this key is called ema_decay now"):
        from_mapping({"average": 0.5, "ema_decay": 0.5}, Params, "p")


def test_a_former_section_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("student: {folds: 3}\nmerc: {average: 0.25}\n")
    assert load(file, "crossfit", Crossfit).folds == 3
    assert load(file, "merc", Training).ema_decay == 0.25
    assert "section student is called crossfit now" in caplog.text
    assert load(open_document(file, ["student.folds=4"]), "crossfit", Crossfit).folds == 4
    file.write_text("student: {folds: 3}\ncrossfit: {folds: 3}\n")
    with pytest.raises(ConfigError, match="Remove 'student'"):
        load(file, "crossfit", Crossfit)


def test_a_former_file_is_read_where_there_is_no_new_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new, old = tmp_path / "metadata.json", tmp_path / "bemerc.json"
    assert renames.current_path(new, old.name) == new
    old.touch()
    assert renames.current_path(new, old.name) == old
    assert "bemerc.json is called metadata.json now" in caplog.text
    new.touch()
    assert renames.current_path(new, old.name) == new


def test_former_weights_get_their_new_names() -> None:
    renamed = renames.current_keys({"face.line.weight": 1, "face.norm.weight": 2}, {"line": "linear"}, "a file")
    assert renamed == {"face.linear.weight": 1, "face.norm.weight": 2}
