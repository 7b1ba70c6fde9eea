"""A step in parts on a CPU: the same gradient, fewer positions at once, and a memory that is said before it begins."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bemerc.language.inputs import batching
from bemerc.language.model import model_folder
from bemerc.language.train import cpu_training, parts
from tests import toy_language as language
from tests.language.test_train import World, lines, numbers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


SMOOTH = replace(language.TRAINING, epochs=1, batch=12)  # without dropout, which every part draws for itself


def test_a_step_in_parts_learns_the_same(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``World`` has dropout; its parts draw other masks, so the losses of a first step without dropout are compared."""
    quiet = replace(world.params, lora_dropout=0.0, projector_dropout=0.0, token_dropout=0.0)
    monkeypatch.setattr(world, "params", quiet)
    rows: list[int] = []

    def count(module: object, given: tuple) -> None:
        rows.append(given[0].input_ids.shape[0])

    whole, _ = world.fit(tmp_path / "whole", SMOOTH, before=count, trees=world.uneven)
    in_one, rows = max(rows), []
    monkeypatch.setattr(parts, "KEPT_BYTES", 1)
    cut, _ = world.fit(tmp_path / "cut", SMOOTH, before=count, trees=world.uneven)
    assert in_one > 1
    assert set(rows) == {1}
    losses = [[line["loss"] for line in lines(tmp_path / name)] for name in ("whole", "cut")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert all(torch.allclose(cut[name], whole[name], atol=2e-3) for name in whole)


def test_the_embedded_default_is_not_cut(world: World) -> None:
    """Its params give the same bits as before there were limits: 640 positions in sixteen rows."""
    model = world.model()
    assert (parts.most_positions(model) or 0) > 16 * 640


def test_parts_are_counted() -> None:
    """Six rows of 500: 1,100 positions take two rows; three processes have two rows each."""

    class Row:
        def __len__(self) -> int:
            return 500

    group: list = [Row()] * 6
    assert [parts.count(group, 1, most) for most in (None, 10_000, 1_100, 10)] == [1, 1, 3, 6]
    assert parts.count(group, 4, 1_100) == 4
    assert parts.count(group, 1, 10, processes=3) == 2


def test_what_a_training_holds_is_said_before_it_begins(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.fit(tmp_path / "m", SMOOTH)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("test: ")
    assert "GB of memory" in first
    assert numbers(tmp_path / "m")


def test_too_little_memory_is_told(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parts, "ITSELF_BYTES", 1 << 50)
    with caplog.at_level(logging.WARNING, logger="bemerc"):
        world.fit(tmp_path / "m", SMOOTH)
    assert any("GB of memory" in record.getMessage() for record in caplog.records)


def test_a_slow_precision_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: 50.0}
    monkeypatch.setattr(cpu_training, "_seconds", seconds.__getitem__)
    with caplog.at_level(logging.WARNING, logger="bemerc"):
        assert cpu_training.warn_if_slow("bfloat16") == 50.0
    assert "bfloat16 50 times as slowly" in caplog.text
    caplog.clear()
    seconds[torch.bfloat16] = 0.1
    cpu_training.warn_if_slow("bfloat16")
    assert not caplog.text


def test_products_are_really_timed() -> None:
    assert 0 < cpu_training._seconds(torch.float32) < 1


@pytest.mark.parametrize("trees", ["masks", "paths"])
def test_rows_that_are_padded_further_say_the_same(world: World, trees: str) -> None:
    """Both ways of reading a tree, with and without gradients."""
    made = model_folder.build(world.params, language.WIDTHS, language.K, trees=trees).eval()  # type: ignore[arg-type]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            short, long = (made.target_log_probs(batching.collate(world.trees[:1], world.tokens, m)) for m in (1, 512))
        assert torch.allclose(short, long, atol=1e-5)


def test_half_precision_on_a_cpu_has_few_lengths(world: World) -> None:
    """float32 keeps the lengths, and the bits, that it had."""
    exact, rounded = (
        model_folder.build(replace(world.params, dtype=dtype), language.WIDTHS, language.K)
        for dtype in ("float32", "bfloat16")
    )
    assert (exact.length_multiple(), exact.length_multiple("bfloat16"), rounded.length_multiple()) == (1, 64, 64)
    assert batching.collate(world.trees[:1], world.tokens, 64).input_ids.shape[1] % 64 == 0


def test_a_training_in_half_precision_pads_its_rows(world: World, tmp_path: Path) -> None:
    lengths: set[int] = set()

    def note(module: object, given: tuple) -> None:
        lengths.add(given[0].input_ids.shape[1] % 64)

    world.fit(tmp_path / "m", replace(SMOOTH, precision="bfloat16"), before=note)
    assert lengths == {0}
