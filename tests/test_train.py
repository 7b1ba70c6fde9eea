"""The loop: it learns, repeats itself bit for bit, goes on where it was killed, keeps the best epoch, and stops with a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from bemerc import dataset, model, predict, prompt, train
from bemerc.corpus import MODALITIES
from bemerc.errors import ModelError
from bemerc.tokens import TokenFile
from tests import language
from tests.language import TRAINING


class World:
    """Everything that fit() needs, made once."""

    def __init__(self, folder: Path) -> None:
        self.manifest = language.manifest()
        self.tokens: TokenFile = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest)
        encoder = predict.encoder_for(self.model(), prompt.Params(), 512)
        examples = [
            encoder.encode(prompt.merc_prompt(d, i, self.manifest.labels, MODALITIES, prompt.Params()))
            for d in self.manifest.dialogues()
            for i, u in enumerate(d.utterances)
            if u.split == "train"
        ]
        self.trees = dataset.grow(examples, TRAINING.row_tokens)

    def model(self) -> model.BehaviorModel:
        torch.manual_seed(0)
        return model.build(self.params, language.WIDTHS, language.K)

    def fit(self, out: Path, params: train.Params = TRAINING, scores: Iterator[float] | None = None) -> tuple:
        found = self.model()

        def score(of: model.BehaviorModel) -> train.Score:
            weight = float(sum(p.detach().double().sum() for p in of.trainable().values()))
            return train.Score(weight if scores is None else next(scores), 0.0, {"weight": weight})

        best = train.fit(found, self.trees, self.tokens, score, params, out / "train_log.jsonl", "test")
        return {name: p.detach().clone() for name, p in found.trainable().items()}, best


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]


def numbers(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_s")} for line in lines(out)]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_loss_falls_and_only_adapter_and_projectors_move(world: World, tmp_path: Path) -> None:
    found = world.model()
    before = {n: p.detach().clone() for n, p in found.named_parameters()}
    score = iter(range(99))
    train.fit(
        found,
        world.trees,
        world.tokens,
        lambda _: train.Score(float(next(score)), 0.0, {}),
        replace(TRAINING, epochs=30, adapter_lr=0.05, projector_lr=0.05),
        tmp_path / "m" / "train_log.jsonl",
        "test",
    )
    losses = [line["loss"] for line in lines(tmp_path / "m")]
    assert losses[-1] < 0.5 * losses[0]
    moved = {n for n, p in found.named_parameters() if not torch.equal(p, before[n])}
    assert moved <= set(found.trainable())
    assert any("lora_" in n for n in moved)
    assert any("projectors.face" in n for n in moved)
    assert all("lora_" in n or n.startswith("projectors.") for n in moved)


def test_the_same_training_gives_the_same_weights_and_another_seed_others(world: World, tmp_path: Path) -> None:
    (a, _), (b, _) = (world.fit(tmp_path / name) for name in "ab")
    (c, _) = world.fit(tmp_path / "c", replace(TRAINING, seed=4))
    assert same(a, b)
    assert not same(a, c)
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")


class Killed(Exception):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("kill_at", [1, 2, 3, 5])
def test_a_killed_training_goes_on_bit_for_bit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    whole, best = world.fit(tmp_path / "whole")
    monkeypatch.setattr(train, "CHECKPOINT_S", 0.0)
    real, done = train._step, iter(range(1000))

    def dying(*given: object) -> float:
        if next(done) == kill_at:
            raise Killed
        return real(*given)

    monkeypatch.setattr(train, "_step", dying)
    with pytest.raises(Killed):
        world.fit(tmp_path / "cut")
    assert (tmp_path / "cut.checkpoint").is_file()
    monkeypatch.setattr(train, "_step", real)
    torch.manual_seed(999)
    again, resumed = world.fit(tmp_path / "cut")
    assert same(whole, again)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "cut")
    assert resumed.epoch == best.epoch
    assert not (tmp_path / "cut.checkpoint").exists()


@pytest.mark.parametrize("content", [b"", b"cut short", None])
def test_a_broken_or_foreign_checkpoint_is_passed_over(world: World, tmp_path: Path, content: bytes | None) -> None:
    whole, _ = world.fit(tmp_path / "whole")
    if content is None:
        torch.save({"mark": "another", "state": {}}, tmp_path / "new.checkpoint")
    else:
        (tmp_path / "new.checkpoint").write_bytes(content)
    assert same(whole, world.fit(tmp_path / "new")[0])


def test_other_tokens_are_another_training(world: World, tmp_path: Path) -> None:
    found = world.model()
    other = language.write(tmp_path / "other.h5", world.manifest, seed=1)
    marks = [train._mark(found, world.trees, given, TRAINING) for given in (world.tokens, other, world.tokens)]
    assert marks[0] == marks[2] != marks[1]


def test_a_full_disk_is_a_sentence_and_the_last_good_checkpoint_stays(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.checkpoint").write_bytes(b"good")

    def full(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ModelError, match=r"could not be written .*last good one stays"):
        world.fit(tmp_path / "m")
    assert (tmp_path / "m.checkpoint").read_bytes() == b"good"
    assert not list(tmp_path.glob("*.partial"))


def test_dev_picks_the_epoch_and_ties_go_to_the_surer(world: World, tmp_path: Path) -> None:
    _, best = world.fit(tmp_path / "a", replace(TRAINING, epochs=4), iter([0.1, 0.9, 0.3, 0.9]))
    assert best.epoch == 2
    assert [line["best"] for line in lines(tmp_path / "a")] == [True, True, False, False]
    early, _ = world.fit(tmp_path / "b", replace(TRAINING, epochs=4), iter([0.9, 0.1, 0.1, 0.1]))
    late, _ = world.fit(tmp_path / "c", replace(TRAINING, epochs=4), iter([0.1, 0.1, 0.1, 0.9]))
    assert not same(early, late)


def test_patience_ends_training_early(world: World, tmp_path: Path) -> None:
    world.fit(tmp_path / "m", replace(TRAINING, epochs=9, patience=2), iter([0.5, 0.4, 0.3, 0.2]))
    assert len(lines(tmp_path / "m")) == 3


def test_the_mean_of_the_weights_is_what_dev_judges(world: World, tmp_path: Path) -> None:
    plain, _ = world.fit(tmp_path / "a", replace(TRAINING, average=0.0))
    meant, _ = world.fit(tmp_path / "b", replace(TRAINING, average=0.9))
    assert not same(plain, meant)
    seen: list[dict[str, torch.Tensor]] = []
    found = world.model()

    def score(of: model.BehaviorModel) -> train.Score:
        assert not of.training
        seen.append({name: p.detach().clone() for name, p in of.trainable().items()})
        return train.Score(float(len(seen)), 0.0, {})

    train.fit(found, world.trees, world.tokens, score, TRAINING, tmp_path / "c" / "train_log.jsonl", "test")
    assert same(seen[-1], dict(found.trainable()))


def test_a_mean_of_weights_by_its_definition(world: World) -> None:
    found = world.model()
    mean = train._Mean(found, 0.75)
    name, weight = next(iter(found.trainable().items()))
    expected = 0.0
    for step, value in enumerate((4.0, 8.0, -2.0, 1.0, 6.0), 1):
        kept = min(0.75, 1 - 1 / step)
        expected = kept * expected + (1 - kept) * value
        with torch.no_grad():
            weight.fill_(value)
        mean.update()
    assert mean.mean[name].flatten()[0].item() == pytest.approx(expected)
    with mean.in_place():
        assert weight.flatten()[0].item() == pytest.approx(expected)
    assert weight.flatten()[0].item() == 6.0


def test_a_loss_that_is_no_number_stops_with_a_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The loss became nan in epoch \d+, step \d+. Lower adapter_lr"):
        world.fit(tmp_path / "m", replace(TRAINING, adapter_lr=1e30, projector_lr=1e30, clip=1e30, epochs=5))


def test_weighted_f1_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 7):
        for _ in range(20):
            gold, said = rng.integers(0, classes, 30), rng.integers(0, classes, 30)
            expected = f1_score(gold, said, average="weighted", zero_division=0.0)
            assert train.weighted_f1(gold, said) == pytest.approx(expected, abs=1e-12)


def test_rates_warm_up_and_fall_to_almost_nothing() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([{"params": [weight], "lr": 2.0, "peak": 2.0}])
    rates = []
    for step in range(100):
        train._set_rate(optimizer, step, 100, 0.1)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] < 0.25
    assert np.argmax(rates) == 9
    assert rates[-1] < 0.03


def test_params_that_cannot_be_are_named() -> None:
    assert list(TRAINING.check()) == []
    bad = replace(TRAINING, epochs=0, adapter_lr=0.0, patience=-1, warmup=1.0, average=1.0)
    assert [fault.split(":")[0] for fault in bad.check()] == ["epochs", "adapter_lr", "patience", "warmup", "average"]
