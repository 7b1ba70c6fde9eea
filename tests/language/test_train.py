"""The loop: it learns, repeats itself bit for bit, goes on where it was killed, keeps the best epoch, and stops with a sentence."""

from __future__ import annotations

import contextlib
import json
import math
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from sklearn.metrics import f1_score
from transformers import AutoConfig, AutoModelForCausalLM

from bemerc.behavior.tokens.file import TokenFile
from bemerc.core.errors import ModelError
from bemerc.corpus.manifest import MODALITIES
from bemerc.language.inputs import packing, prompts
from bemerc.language.model import behavior_model, model_folder
from bemerc.language.predict import score_labels
from bemerc.language.train import checkpoint, loop, merc, meta_walk, processes, stability
from bemerc.language.train.ema import EMA
from bemerc.language.train.log import log_of
from bemerc.language.train.optimizer import make_optimizer, set_learning_rate
from tests import toy_language as language
from tests.errors import raises
from tests.toy_language import TRAINING


class World:
    """Everything that fit() needs, made once."""

    def __init__(self, folder: Path) -> None:
        self.manifest = language.manifest()
        self.tokens: TokenFile = language.write(folder / "tokens.h5", self.manifest)
        self.params = language.build(folder / "backbone", self.manifest)
        encoder = score_labels.encoder_for(self.model(), prompts.Params(), 512)
        examples = [
            encoder.encode(prompts.merc_prompt(d, i, self.manifest.labels, MODALITIES, prompts.Params()))
            for d in self.manifest.dialogues()
            for i, u in enumerate(d.utterances)
            if u.split == "train"
        ]
        self.trees = packing.pack_trees(examples, TRAINING.row_tokens)
        # Single examples, and five at a time: how many steps they make depends on the order.
        self.uneven = [
            *packing.pack_trees(examples[:4], 0),
            *(packing.make_tree(examples[at : at + 5]) for at in range(4, 24, 5)),
        ]

    def model(self) -> behavior_model.BehaviorModel:
        torch.manual_seed(0)
        return model_folder.build(self.params, language.WIDTHS, language.K)

    def fit(
        self,
        out: Path,
        params: loop.Params = TRAINING,
        scores: Iterator[float] | None = None,
        hook: Callable[..., Any] | None = None,
        before: Callable[..., Any] | None = None,
        trees: list[packing.Tree] | None = None,
    ) -> tuple:
        """Train a fresh model; ``before`` and ``hook`` are called around every forward pass of a step."""
        found = self.model()
        if before is not None:
            found.register_forward_pre_hook(before)
        if hook is not None:
            found.register_forward_hook(hook)

        def score(of: behavior_model.BehaviorModel) -> loop.Score:
            weight = float(sum(p.detach().double().sum() for p in of.trainable().values()))
            return loop.Score(weight if scores is None else next(scores), {"weight": weight})

        fitted = loop.fit(found, trees or self.trees, self.tokens, score, params, out, "test")
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


@pytest.mark.slow
def test_loss_falls_and_only_adapter_and_projectors_move(world: World, tmp_path: Path) -> None:
    found = world.model()
    before = {n: p.detach().clone() for n, p in found.named_parameters()}
    score = iter(range(99))
    loop.fit(
        found,
        world.trees,
        world.tokens,
        lambda _: loop.Score(float(next(score)), {}),
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


def killed_at(step: int) -> Callable[..., None]:
    done = iter(range(1000))

    def dying(*_: object) -> None:
        if next(done) == step:
            raise Killed

    return dying


UNEVEN = replace(TRAINING, epochs=6, batch=2)


@pytest.mark.parametrize(
    ("params", "kill_at"),
    [
        *((TRAINING, n) for n in (1, 5)),
        *(pytest.param(TRAINING, n, marks=pytest.mark.slow) for n in (2, 3)),
        pytest.param(UNEVEN, 13, marks=pytest.mark.slow),
        (replace(TRAINING, precision="float16"), 3),
    ],
)
def test_a_killed_training_goes_on_bit_for_bit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: loop.Params, kill_at: int
) -> None:
    trees = world.uneven if params is UNEVEN else world.trees
    whole, best = world.fit(tmp_path / "whole", params, trees=trees)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        world.fit(tmp_path / "cut", params, before=killed_at(kill_at), trees=trees)
    assert (tmp_path / "cut.checkpoint").is_file()
    torch.manual_seed(999)
    again, resumed = world.fit(tmp_path / "cut", params, trees=trees)
    assert same(whole, again)
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "cut")
    assert resumed.epoch == best.epoch


def test_no_checkpoint_is_written_twice(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, int]] = []
    save = checkpoint.Checkpoint.save

    def counting(self: checkpoint.Checkpoint, state: checkpoint.State) -> None:
        written.append((state.epoch, state.step))
        save(self, state)

    def dying() -> Iterator[float]:
        raise Killed
        yield

    monkeypatch.setattr(checkpoint.Checkpoint, "save", counting)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    counts = [len(loop.order(world.trees, TRAINING, epoch)) for epoch in range(TRAINING.epochs)]
    whole, _ = world.fit(tmp_path / "whole")
    steps = {(epoch, step) for epoch, count in enumerate(counts) for step in range(1, count + 1)}
    assert written == sorted(steps | {(epoch, 0) for epoch in range(1, TRAINING.epochs + 1)})
    written.clear()
    with pytest.raises(Killed):
        world.fit(tmp_path / "cut", scores=dying())
    assert written.pop() == (0, counts[0])
    written.clear()
    again, _ = world.fit(tmp_path / "cut")
    assert written[0] == (1, 0), "of an epoch that was finished only dev is left"
    assert same(whole, again)


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
    marks = [
        checkpoint.training_fingerprint(found, world.trees, given, TRAINING)
        for given in (world.tokens, other, world.tokens)
    ]
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
    with files_of_at_most(20_000), raises(ModelError, path=tmp_path / "m.checkpoint"):
        world.fit(tmp_path / "m")
    assert (tmp_path / "m.checkpoint").read_bytes() == b"good"
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_under_the_log_is_a_sentence(world: World, tmp_path: Path) -> None:
    with files_of_at_most(100), raises(ModelError, path=tmp_path / "m.train_log.jsonl"):
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
    plain, _ = world.fit(tmp_path / "a", replace(TRAINING, ema_decay=0.0))
    meant, _ = world.fit(tmp_path / "b", replace(TRAINING, ema_decay=0.9))
    assert not same(plain, meant)
    seen: list[dict[str, torch.Tensor]] = []
    found = world.model()

    def score(of: behavior_model.BehaviorModel) -> loop.Score:
        assert not of.training
        seen.append({name: p.detach().clone() for name, p in of.trainable().items()})
        return loop.Score(float(len(seen)), {})

    loop.fit(found, world.trees, world.tokens, score, TRAINING, tmp_path / "c", "test")
    assert same(seen[-1], dict(found.trainable()))


def test_the_last_epoch_is_kept_beside_the_best(world: World, tmp_path: Path) -> None:
    found = world.model()
    scores = iter([0.9, 0.1, 0.2])
    fitted = loop.fit(
        found,
        world.trees,
        world.tokens,
        lambda _: loop.Score(next(scores), {"loss": 1.0}),
        replace(TRAINING, epochs=3),
        tmp_path / "m",
        "test",
    )
    assert (fitted.best.epoch, fitted.last.epoch) == (1, 3)
    assert fitted.checkpoint.is_file()
    loop.save(found, tmp_path / "m", fitted, lambda epoch: facts(world, epoch))
    assert not fitted.checkpoint.exists()
    for folder, weights, epoch in (("m", fitted.best_weights, 1), ("m/last", fitted.last_weights, 3)):
        loaded, known = model_folder.load(tmp_path / folder, device="cpu")
        assert same(dict(weights), dict(loaded.named_parameters()))
        assert known.dev["loss"] == epoch
    assert not same(dict(fitted.best_weights), dict(fitted.last_weights))


def test_a_full_disk_at_the_end_costs_no_training(world: World, tmp_path: Path) -> None:
    steps: list[int] = []

    def trained() -> tuple[behavior_model.BehaviorModel, loop.Fitted]:
        found = world.model()
        found.register_forward_hook(lambda *_: steps.append(1))
        given = (found, world.trees, world.tokens, lambda _: loop.Score(0.5, {"loss": 1.0}))
        return found, loop.fit(*given, TRAINING, tmp_path / "m", "test")

    found, fitted = trained()
    with files_of_at_most(5_000), raises(ModelError, path=tmp_path / "m"):
        loop.save(found, tmp_path / "m", fitted, lambda epoch: facts(world, epoch))
    once = len(steps)
    found, again = trained()
    assert len(steps) == once > 0
    assert same(dict(fitted.best_weights), dict(again.best_weights))
    loop.save(found, tmp_path / "m", again, lambda epoch: facts(world, epoch))
    assert same(dict(again.best_weights), dict(model_folder.load(tmp_path / "m", device="cpu")[0].named_parameters()))


def facts(world: World, epoch: loop.Epoch) -> behavior_model.ModelMetadata:
    return behavior_model.ModelMetadata(
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
            world.trees, kept = packing.pack_trees([e for t in world.trees for e in t.examples], 0), world.trees
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


def test_autocast_without_the_detour_over_float32_learns_the_same_and_keeps_less(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = replace(TRAINING, precision="bfloat16", epochs=1)
    still = replace(world.params, lora_dropout=0.0, projector_dropout=0.0, token_dropout=0.0)
    monkeypatch.setattr(world, "params", still)
    weights, kept = {}, {}
    for name in ("ours", "PEFT's"):
        if name == "PEFT's":
            monkeypatch.setattr(loop, "disable_input_dtype_casting", lambda *_: contextlib.nullcontext())
        with meta_walk.Live() as live:
            weights[name], _ = world.fit(tmp_path / name, half)
        kept[name] = live.peak
    assert same(weights["ours"], weights["PEFT's"])
    assert kept["ours"] < kept["PEFT's"]


def test_float16_scales_its_gradients_and_keeps_its_weights(world: World, tmp_path: Path) -> None:
    """What a GPU does, on a CPU: autocast, a scaler that goes on more carefully, and its state in the checkpoint."""
    exact, _ = world.fit(tmp_path / "a")
    coarse, _ = world.fit(tmp_path / "b", replace(TRAINING, precision="float16"))
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in coarse.values())
    for a, b in zip(lines(tmp_path / "a"), lines(tmp_path / "b"), strict=True):
        assert a["loss"] != b["loss"] == pytest.approx(a["loss"], rel=0.05)
    assert not same(exact, coarse)
    held = torch.load(tmp_path / "b.checkpoint", weights_only=True)
    assert held["scaler"]["scale"] > 1


def test_a_step_that_overflows_in_float16_is_skipped(world: World, tmp_path: Path) -> None:
    found = world.model()
    infinite = iter([True, False])
    next(iter(found.trainable().values())).register_hook(
        lambda grad: grad * math.inf if next(infinite, False) else grad
    )
    params = replace(TRAINING, precision="float16", ema_decay=0.0)
    loop.fit(found, world.trees, world.tokens, lambda _: loop.Score(0.0, {}), params, tmp_path / "m", "test")
    held = torch.load(tmp_path / "m.checkpoint", weights_only=True)
    assert held["scaler"]["scale"] == torch.amp.GradScaler("cpu").get_scale() / 2
    assert all(weight.isfinite().all() for weight in found.trainable().values())


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

    loop.fit(
        world.model(),
        world.trees,
        world.tokens,
        lambda _: loop.Score(0.5, {"loss": 2.0}),
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


def test_the_ema_by_its_definition() -> None:
    name, weight = "w", torch.nn.Parameter(torch.zeros(2, 3))
    ema = EMA({name: weight}, 0.75)
    expected = 0.0
    for step, value in enumerate((4.0, 8.0, -2.0, 1.0, 6.0), 1):
        kept = min(0.75, 1 - 1 / step)
        expected = kept * expected + (1 - kept) * value
        with torch.no_grad():
            weight.fill_(value)
        ema.update()
    assert ema.averages[name].flatten()[0].item() == pytest.approx(expected)
    with ema.swapped_in():
        assert weight.flatten()[0].item() == pytest.approx(expected)
    assert weight.flatten()[0].item() == 6.0


def test_a_loss_that_is_no_number_stops_with_a_sentence(world: World, tmp_path: Path) -> None:
    with pytest.raises(stability.UnsoundError, match="Lower adapter_lr") as caught:
        world.fit(tmp_path / "m", replace(TRAINING, adapter_lr=1e30, projector_lr=1e30, clip=1e30, epochs=5))
    assert not math.isfinite(caught.value.value)


def test_a_loss_that_runs_away_stops_with_a_sentence(world: World, tmp_path: Path) -> None:
    scale = iter(1.2**n for n in range(1000))
    with pytest.raises(stability.UnsoundError, match="Lower adapter_lr") as caught:
        world.fit(tmp_path / "m", replace(TRAINING, epochs=20), hook=lambda _, __, loss: loss * next(scale))
    assert math.isfinite(caught.value.value)
    assert 20 <= len(everything(tmp_path / "m")) < 40


def test_what_counts_as_running_away() -> None:
    def watch(losses: list[float]) -> None:
        known: list[float] = []
        for loss in losses:
            known = stability.kept_losses(known, loss)
            assert len(known) <= stability.BEGINNING + stability.RECENT
            stability.check_losses(known, "epoch 1, step 1")

    watch([2.0] * 20 + [400.0] * 3 + [2.0] * 20)  # one bad batch
    watch([0.1] * 20 + [0.9] * 40)  # small losses vary
    watch([2.0] * 5 + [9.0] * 10)  # too few to tell
    with pytest.raises(stability.UnsoundError) as caught:
        watch([2.0] * 20 + [6.0] * 40)
    assert caught.value.value == 6.0


def test_a_gradient_that_is_no_number_stops_with_a_sentence(world: World, tmp_path: Path) -> None:
    def spoilt(found: behavior_model.BehaviorModel, *_: object) -> None:
        next(iter(found.trainable().values())).register_hook(lambda grad: grad * math.nan)

    with pytest.raises(stability.UnsoundError, match="gradient") as caught:
        world.fit(tmp_path / "m", before=spoilt)
    assert caught.value.where == "epoch 1, step 1"


@pytest.mark.parametrize(("where", "match"), [("step", "raise accumulate"), ("dev", "judging dev")])
def test_memory_that_does_not_suffice_is_a_sentence(world: World, tmp_path: Path, where: str, match: str) -> None:
    def full(*_: object) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    found = world.model()
    if where == "step":
        found.register_forward_pre_hook(full)
    with pytest.raises(ModelError, match=match):
        loop.fit(found, world.trees, world.tokens, full, TRAINING, tmp_path / "m", "test")


# ------------------------------------------------------------------------------------------------ steps, and what is best


def test_steps_are_counted_epoch_by_epoch(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trees are dealt out in another order in every epoch, and a group closes when it has enough examples."""
    counts = [len(loop.order(world.uneven, UNEVEN, epoch)) for epoch in range(UNEVEN.epochs)]
    assert len(set(counts)) > 1
    world.fit(tmp_path / "m", UNEVEN, trees=world.uneven)
    steps = [line for line in everything(tmp_path / "m") if "step" in line]
    assert [line["step"] for line in steps] == list(range(1, sum(counts) + 1))
    assert [sum(line["epoch"] == epoch for line in steps) for epoch in range(1, 7)] == counts
    assert steps[-1]["left_s"] == 0
    assert all(line["left_s"] >= 0 for line in steps)
    rates = [line["lr"] for line in steps]
    top = rates.index(max(rates))
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0.01 * UNEVEN.adapter_lr, rel=1e-9)
    assert f"test: {sum(counts)} steps" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bar_of_a_training_that_goes_on_ends_where_it_should(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        world.fit(tmp_path / "m", UNEVEN, before=killed_at(13), trees=world.uneven)
    capsys.readouterr()
    world.fit(tmp_path / "m", UNEVEN, trees=world.uneven)
    total = UNEVEN.epochs * sum(map(len, world.uneven))
    assert f"test: {total}/{total} tokens" in capsys.readouterr().err


NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([NAN, 0.1, 0.9, 0.3], 3),
        ([0.5, NAN, 0.4, 0.3], 1),
        ([NAN, NAN, NAN, -9.0], 4),
        ([-math.inf, -5.0, NAN, -6.0], 2),
    ],
)
def test_a_score_that_is_no_number_is_never_the_best(
    world: World, tmp_path: Path, scores: list[float], best: int
) -> None:
    _, found = world.fit(tmp_path / "m", replace(TRAINING, epochs=4), iter(scores))
    assert found.epoch == best
    assert [line["best"] for line in lines(tmp_path / "m")].count(True) >= 1
    assert not any(line["best"] for line, value in zip(lines(tmp_path / "m"), scores, strict=True) if math.isnan(value))


def test_epochs_without_a_score_use_up_the_patience(world: World, tmp_path: Path) -> None:
    with pytest.raises(stability.UnsoundError, match="none could be picked"):
        world.fit(tmp_path / "a", replace(TRAINING, epochs=9, patience=2), iter([NAN] * 9))
    assert len(lines(tmp_path / "a")) == 2
    _, best = world.fit(tmp_path / "b", replace(TRAINING, epochs=9, patience=2), iter([NAN, 0.2, NAN, NAN, 0.9]))
    assert (best.epoch, len(lines(tmp_path / "b"))) == (2, 4)


def test_a_number_of_devs_that_is_none_is_left_out_and_the_tables_say_so(world: World, tmp_path: Path) -> None:
    given = iter([(NAN, NAN), (0.5, 1.0)])

    def score(_: behavior_model.BehaviorModel) -> loop.Score:
        value, loss = next(given)
        return loop.Score(value, {"loss": loss})

    loop.fit(world.model(), world.trees, world.tokens, score, TRAINING, tmp_path / "m", "test")
    first, second = lines(tmp_path / "m")
    assert "dev_loss" not in first
    assert second["dev_loss"] == 1.0
    assert "NaN" not in log_of(tmp_path / "m").read_text()
    head, *rows = (tmp_path / "m" / "epochs.csv").read_text().splitlines()
    assert head == "epoch,loss,dev_loss"
    assert [row.split(",")[2] for row in rows] == ["", "1.0"]


# --------------------------------------------------------------------------------------------------- devices, and the process


def test_a_model_is_trained_where_it_lies(world: World) -> None:
    """accelerate would move it to the device that it takes itself; the meta device stands for a second GPU."""
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(world.params.name_or_path))
    made = model_folder.fresh(
        lm.requires_grad_(False), world.model().tokenizer, language.WIDTHS, language.K, world.params
    )
    with processes.training(made, TRAINING) as accelerator:
        accelerator.prepare(made, make_optimizer(made, TRAINING))
        assert {weight.device.type for weight in made.parameters()} == {"meta"}


def test_a_training_leaves_the_process_as_it_was(world: World, tmp_path: Path) -> None:
    torch.manual_seed(77)
    state = PartialState(cpu=True)
    state.debug = True
    settings = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    expected = torch.rand(3)
    torch.manual_seed(77)
    found = world.model()
    torch.manual_seed(77)
    loop.fit(found, world.trees, world.tokens, lambda _: loop.Score(0.0, {}), TRAINING, tmp_path / "m", "test")
    assert torch.equal(torch.rand(3), expected)
    assert PartialState().debug
    state.debug = False
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()) == settings


def test_a_training_that_fails_leaves_the_process_as_it_was(world: World, tmp_path: Path) -> None:
    torch.manual_seed(77)
    expected = torch.rand(3)
    found = world.model()
    found.register_forward_pre_hook(killed_at(1))
    torch.manual_seed(77)
    with pytest.raises(Killed):
        loop.fit(found, world.trees, world.tokens, lambda _: loop.Score(0.0, {}), TRAINING, tmp_path / "m", "test")
    assert torch.equal(torch.rand(3), expected)


def test_checkpointed_layers_train_to_the_same_weights(world: World, tmp_path: Path) -> None:
    usual, world.params = world.params, replace(world.params, gradient_checkpointing=True)
    try:
        again, _ = world.fit(tmp_path / "a")
    finally:
        world.params = usual
    plain, _ = world.fit(tmp_path / "b")
    assert all(torch.allclose(plain[name], again[name], atol=1e-5) for name in plain)


def test_weighted_f1_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 7):
        for _ in range(20):
            gold, said = rng.integers(0, classes, 30), rng.integers(0, classes, 30)
            expected = f1_score(gold, said, average="weighted", zero_division=0.0)
            assert merc.weighted_f1(gold, said) == pytest.approx(expected, abs=1e-12)


def test_rates_warm_up_and_fall_to_almost_nothing() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([{"params": [weight], "lr": 2.0, "peak": 2.0}])
    rates = []
    for step in range(100):
        set_learning_rate(optimizer, step, 100, 0.1)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] < 0.25
    assert np.argmax(rates) == 9
    assert rates[-1] < 0.03


def test_params_that_cannot_be_are_named() -> None:
    assert list(TRAINING.check()) == []
    bad = replace(TRAINING, epochs=-1, accumulate=0, adapter_lr=0.0, patience=-1, warmup=1.0, ema_decay=1.0)
    assert [fault.split(":")[0] for fault in bad.check()] == [
        "accumulate",
        "adapter_lr",
        "epochs",
        "patience",
        "warmup",
        "ema_decay",
    ]
