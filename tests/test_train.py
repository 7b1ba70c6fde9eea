"""The loop: it learns, repeats itself bit for bit, goes on where it was killed, keeps the best epoch, and stops with a sentence."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from bemerc import dataset, model, predict, prompt, train
from bemerc.corpus import MODALITIES
from bemerc.errors import ModelError
from bemerc.tokens import TokenFile
from bemerc.train import checkpoint
from bemerc.train.journal import log_of
from bemerc.train.weights import Mean
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
            return train.Score(weight if scores is None else next(scores), {"weight": weight})

        fitted = train.fit(found, self.trees, self.tokens, score, params, out, "test")
        now = {name: p.detach().clone() for name, p in found.trainable().items()}
        assert same(now, fitted.best_weights)
        return now, fitted.best


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def everything(out: Path) -> list[dict]:
    return [json.loads(line) for line in log_of(out).read_text().splitlines()]


def lines(out: Path) -> list[dict]:
    """The log's lines of epochs."""
    return [line for line in everything(out) if "step" not in line]


def numbers(out: Path) -> list[dict]:
    """All that must be the same when a training is repeated."""
    free = ("seconds", "tokens_per_s", "wait", "memory_gb", "left_s")
    return [{k: v for k, v in line.items() if k not in free} for line in everything(out)]


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
        lambda _: train.Score(float(next(score)), {}),
        replace(TRAINING, epochs=30, adapter_lr=0.05, projector_lr=0.05),
        tmp_path / "m",
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
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    real, done = train._Run._step, iter(range(1000))

    def dying(*given: object) -> tuple[float, bool]:
        if next(done) == kill_at:
            raise Killed
        return real(*given)

    monkeypatch.setattr(train._Run, "_step", dying)
    with pytest.raises(Killed):
        world.fit(tmp_path / "cut")
    assert (tmp_path / "cut.checkpoint").is_file()
    monkeypatch.setattr(train._Run, "_step", real)
    torch.manual_seed(999)
    again, resumed = world.fit(tmp_path / "cut")
    assert same(whole, again)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "cut")
    assert resumed.epoch == best.epoch


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


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow beyond ``size`` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_sentence_and_the_last_good_checkpoint_stays(world: World, tmp_path: Path) -> None:
    (tmp_path / "m.checkpoint").write_bytes(b"good")
    with files_of_at_most(20_000), pytest.raises(ModelError, match=r"could not be written .*last good one stays"):
        world.fit(tmp_path / "m")
    assert (tmp_path / "m.checkpoint").read_bytes() == b"good"
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_under_the_log_is_a_sentence(world: World, tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(ModelError, match=r"m.train_log.jsonl: the log could not be written"):
        world.fit(tmp_path / "m")


def test_a_folder_emptied_before_the_model_was_written_gets_its_tables_again(world: World, tmp_path: Path) -> None:
    world.fit(tmp_path / "m")  # and not saved: the checkpoint stays
    before = {p.name: p.read_text() for p in (tmp_path / "m").iterdir()}
    log = log_of(tmp_path / "m").read_text()
    shutil.rmtree(tmp_path / "m")  # as DVC does before it runs a stage again
    world.fit(tmp_path / "m")
    assert {p.name: p.read_text() for p in (tmp_path / "m").iterdir()} == before
    assert set(before) == {"steps.csv", "epochs.csv"}
    assert log_of(tmp_path / "m").read_text() == log


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
        return train.Score(float(len(seen)), {})

    train.fit(found, world.trees, world.tokens, score, TRAINING, tmp_path / "c", "test")
    assert same(seen[-1], dict(found.trainable()))


def test_the_last_epoch_is_kept_beside_the_best(world: World, tmp_path: Path) -> None:
    found = world.model()
    scores = iter([0.9, 0.1, 0.2])
    fitted = train.fit(
        found,
        world.trees,
        world.tokens,
        lambda _: train.Score(next(scores), {"loss": 1.0}),
        replace(TRAINING, epochs=3),
        tmp_path / "m",
        "test",
    )
    assert (fitted.best.epoch, fitted.last.epoch) == (1, 3)
    assert fitted.checkpoint.is_file()
    train.save(found, tmp_path / "m", fitted, lambda epoch: facts(world, epoch))
    assert not fitted.checkpoint.exists()
    for folder, weights, epoch in (("m", fitted.best_weights, 1), ("m/last", fitted.last_weights, 3)):
        loaded, known = model.load(tmp_path / folder, device="cpu")
        assert same(dict(weights), dict(loaded.named_parameters()))
        assert known.dev["loss"] == epoch
    assert not same(dict(fitted.best_weights), dict(fitted.last_weights))


def test_a_full_disk_at_the_end_costs_no_training(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained() -> tuple[model.BehaviorModel, train.Fitted]:
        found = world.model()
        given = (found, world.trees, world.tokens, lambda _: train.Score(0.5, {"loss": 1.0}))
        return found, train.fit(*given, TRAINING, tmp_path / "m", "test")

    found, fitted = trained()
    with files_of_at_most(5_000), pytest.raises(ModelError, match=r"the model could not be written .*not trained anew"):
        train.save(found, tmp_path / "m", fitted, lambda epoch: facts(world, epoch))
    monkeypatch.setattr(train._Run, "_step", lambda *_: pytest.fail("trained a second time"))
    found, again = trained()
    assert same(dict(fitted.best_weights), dict(again.best_weights))
    train.save(found, tmp_path / "m", again, lambda epoch: facts(world, epoch))
    assert same(dict(again.best_weights), dict(model.load(tmp_path / "m", device="cpu")[0].named_parameters()))


def facts(world: World, epoch: train.Epoch) -> model.Facts:
    return model.Facts(
        task="merc",
        variant="TVB",
        modalities=MODALITIES,
        labels=world.manifest.labels,
        corpora=("made",),
        backbone=world.params.name_or_path,
        fingerprint=world.model().backbone,
        k=world.tokens.k,
        columns=world.tokens.columns,
        tokens={},
        references=None,
        params={"model": asdict(world.params)},
        dev={"loss": float(epoch.epoch)},
    )


def test_a_step_in_parts_is_the_same_step(world: World, tmp_path: Path) -> None:
    one, parts = (replace(TRAINING, row_tokens=0, accumulate=n) for n in (1, 3))
    still = replace(world.params, lora_dropout=0.0, projector_dropout=0.0, token_dropout=0.0)
    usual, world.params = world.params, still
    try:
        for name, params in (("a", one), ("b", parts)):
            world.trees, kept = dataset.grow([e for t in world.trees for e in t.examples], 0), world.trees
            world.fit(tmp_path / name, params)
            world.trees = kept
    finally:
        world.params = usual
    for a, b in zip(everything(tmp_path / "a"), everything(tmp_path / "b"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)


def test_bfloat16_multiplies_more_coarsely_and_keeps_its_weights(world: World, tmp_path: Path) -> None:
    exact, _ = world.fit(tmp_path / "a")
    coarse, _ = world.fit(tmp_path / "b", replace(TRAINING, precision="bfloat16"))
    assert all(weight.dtype == torch.float32 for weight in coarse.values())
    for a, b in zip(lines(tmp_path / "a"), lines(tmp_path / "b"), strict=True):
        assert a["loss"] != b["loss"] == pytest.approx(a["loss"], rel=0.05)
    assert not same(exact, coarse)


def test_float16_on_a_cpu_is_a_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="float16 needs a GPU"):
        world.fit(tmp_path / "m", replace(TRAINING, precision="float16"))


def test_the_log_tells_of_every_step_what_a_watcher_wants_to_know(world: World, tmp_path: Path) -> None:
    world.fit(tmp_path / "m")
    steps = [line for line in everything(tmp_path / "m") if "step" in line]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert {"loss", "lr", "tokens_per_s", "wait", "memory_gb", "left_s"} <= set(steps[0])
    assert steps[-1]["left_s"] == 0 < steps[0]["left_s"]
    assert all(0 <= line["wait"] <= 1 and 0.01 < line["memory_gb"] < 100 for line in steps)
    for line in lines(tmp_path / "m"):
        own = [step["loss"] for step in steps if step["epoch"] == line["epoch"]]
        assert min(own) <= line["loss"] <= max(own)
    head, *rows = (tmp_path / "m" / "steps.csv").read_text().splitlines()
    assert head == "step,loss,lr"
    assert [float(row.split(",")[1]) for row in rows] == [line["loss"] for line in steps]
    head, *rows = (tmp_path / "m" / "epochs.csv").read_text().splitlines()
    assert head == "epoch,loss,dev_weight"
    assert len(rows) == TRAINING.epochs


def test_tensorboard_holds_the_same_numbers(world: World, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train.fit(
        world.model(),
        world.trees,
        world.tokens,
        lambda _: train.Score(0.5, {"loss": 2.0}),
        TRAINING,
        tmp_path / "m",
        "test",
        tmp_path / "board",
    )
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    steps = [line for line in everything(tmp_path / "m") if "step" in line]
    assert [e.value for e in read.Scalars("step/loss")] == pytest.approx([line["loss"] for line in steps], rel=1e-6)
    assert [e.value for e in read.Scalars("epoch/dev_loss")] == [2.0] * TRAINING.epochs


def test_a_mean_of_weights_by_its_definition() -> None:
    name, weight = "w", torch.nn.Parameter(torch.zeros(2, 3))
    mean = Mean({name: weight}, 0.75)
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


def test_a_loss_that_runs_away_stops_with_a_sentence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, scale = model.BehaviorModel.forward, iter(1.2**n for n in range(1000))
    monkeypatch.setattr(model.BehaviorModel, "forward", lambda self, batch: real(self, batch) * next(scale))
    with pytest.raises(ModelError, match=r"The loss runs away: it began at .* Lower adapter_lr"):
        world.fit(tmp_path / "m", replace(TRAINING, epochs=20))
    assert 20 <= len(everything(tmp_path / "m")) < 40


def test_what_counts_as_running_away(world: World) -> None:
    def watched(losses: list[float]) -> None:
        run = SimpleNamespace(
            state=checkpoint.State(), _where=lambda: "epoch 1, step 1", _must_be_a_number=lambda *_: 0
        )
        for loss in losses:
            train._Run._must_be_sound(run, loss)  # type: ignore[arg-type]

    watched([2.0] * 20 + [400.0] * 3 + [2.0] * 20)  # one bad batch
    watched([0.1] * 20 + [0.9] * 40)  # small losses vary
    with pytest.raises(ModelError, match=r"began at 2.00 and was 6.00 over the last 20 steps"):
        watched([2.0] * 20 + [6.0] * 40)


def test_a_gradient_that_is_no_number_stops_with_a_sentence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.Accelerator, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(ModelError, match="The gradient became nan in epoch 1, step 1"):
        world.fit(tmp_path / "m")


@pytest.mark.parametrize(("where", "match"), [("step", "raise accumulate"), ("dev", "judging dev")])
def test_memory_that_does_not_suffice_is_a_sentence(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, match: str
) -> None:
    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    if where == "step":
        monkeypatch.setattr(model.BehaviorModel, "forward", full)
    with pytest.raises(ModelError, match=match):
        train.fit(world.model(), world.trees, world.tokens, full, TRAINING, tmp_path / "m", "test")


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
    bad = replace(TRAINING, epochs=0, accumulate=0, adapter_lr=0.0, patience=-1, warmup=1.0, average=1.0)
    assert [fault.split(":")[0] for fault in bad.check()] == [
        "epochs",
        "accumulate",
        "adapter_lr",
        "patience",
        "warmup",
        "average",
    ]
