"""fit(): the training loop of align and merc.

A step is a batch of trees (packing.py), the loss is the mean over target tokens, and the caller's dev scorer picks the epoch
with the highest score, the first of equals. Test data never enters this module.

Devices, precision and processes are accelerate's. A step has ``batch`` examples however many processes share them and in
however many parts each computes its own: the gradient is the same sum over the same targets.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.fsdp import register_fsdp_forward_method

from bemerc.core import atomic, stopping
from bemerc.core.errors import ModelError
from bemerc.core.progress import Advance, bar, silent
from bemerc.language.inputs import batching
from bemerc.language.train import cpu_training, parts
from bemerc.language.train.checkpoint import Checkpoint, State, training_fingerprint
from bemerc.language.train.checkpoint import Score as Score
from bemerc.language.train.ema import EMA, overwrite, unsharded
from bemerc.language.train.log import Epoch as Epoch
from bemerc.language.train.log import Journal, Step, memory_gb
from bemerc.language.train.optimizer import make_optimizer, set_learning_rate
from bemerc.language.train.params import Params as Params
from bemerc.language.train.processes import leads as leads
from bemerc.language.train.processes import seeded as seeded
from bemerc.language.train.processes import training
from bemerc.language.train.stability import check_losses, check_number, kept_losses, no_epoch

if TYPE_CHECKING:
    from bemerc.behavior.tokens.file import TokenFile
    from bemerc.language.inputs.batching import Batch
    from bemerc.language.inputs.packing import Tree
    from bemerc.language.model.behavior_model import BehaviorModel, ModelMetadata


@dataclass(frozen=True)
class Fitted:
    """What training leaves: the epoch that dev likes best and the last one, each with its line and its weights.

    ``checkpoint`` is removed by ``save``: should the disk be full then, nothing is to be trained a second time.
    """

    best: Epoch
    best_weights: Mapping[str, Tensor]
    last: Epoch
    last_weights: Mapping[str, Tensor]
    checkpoint: Path


def fit(
    model: BehaviorModel,
    trees: Sequence[Tree],
    tokens: TokenFile | None,
    score: Callable[[BehaviorModel], Score],
    params: Params,
    folder: Path,
    what: str,
    board: Path | None = None,
    between: Callable[[BehaviorModel], None] = lambda model: None,
) -> Fitted:
    """Train adapter and projectors on ``trees``, with its tables in ``folder`` and the log beside it; leaves the best epoch's weights in ``model``.

    ``board`` is a folder for TensorBoard; ``between`` is called before every epoch but the first.

    Deterministic on the CPU: same weights, trees, params and thread count, same numbers, also where a killed run went on from
    its checkpoint, which lies beside ``folder`` until ``save``. Under ``accelerate launch`` every process calls this; the
    losses are those of one process but for rounding, and for dropout, which every process draws for itself; so they are
    where another number of processes resumes. Raises ModelError when the loss is no longer a number or runs away, the
    device's memory does not suffice, the disk is full, or dev's score is no number in any epoch. The process's random state
    is as it was.
    """
    with training(model, params) as accelerator:
        mark = training_fingerprint(model, trees, tokens, params)
        module, optimizer = accelerator.prepare(model, make_optimizer(model, params))
        register_fsdp_forward_method(model, "target_log_probs")  # so that dev can be scored where weights are sharded
        ema = EMA(model.trainable(), params.ema_decay)
        file = folder.with_name(f"{folder.name}.checkpoint")
        if accelerator.is_main_process:
            atomic.sweep_partials(folder.parent)  # of checkpoints of trainings that were killed
        # Now and not before: sharding puts other tensors in the place of the weights.
        kept = model.trainable() | model.buffers_kept()
        checkpoint = Checkpoint(file, kept, optimizer, ema, mark, accelerator)
        journal = Journal(folder, board, mute=not accelerator.is_main_process)
        run = _Run(
            model,
            module,
            optimizer,
            ema,
            trees,
            tokens,
            params,
            accelerator,
            checkpoint,
            journal,
            between,
            checkpoint.load(),
        )
        try:
            fitted = run.to_the_end(score, what)
        finally:
            journal.close()
            accelerator.unwrap_model(module, keep_fp32_wrapper=False)
    for name, weight in (model.trainable() | model.buffers_kept()).items():
        overwrite(weight, fitted.best_weights[name])
    return fitted


def save(model: BehaviorModel, folder: Path, fitted: Fitted, metadata: Callable[[Epoch], ModelMetadata]) -> None:
    """Write the best epoch's model in ``folder`` and the last one's in ``folder``/last; under several processes one writes.

    Raises ModelError where the disk is full.
    """
    if not leads():
        return
    try:
        model.save(folder / "last", metadata(fitted.last), fitted.last_weights)
        model.save(folder, metadata(fitted.best), fitted.best_weights)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"the model could not be written ({error}). Make room and run again: what was trained is in "
            f"{fitted.checkpoint} and is not trained anew.",
            path=folder,
        ) from None
    fitted.checkpoint.unlink(missing_ok=True)


def order(trees: Sequence[Tree], params: Params, epoch: int) -> list[list[Tree]]:
    """The trees of every step of an epoch, a function of seed and epoch alone; how many steps there are differs by epoch."""
    return list(batching.batches(trees, params.batch, np.random.default_rng([params.seed, epoch])))


@dataclass
class _Run:
    """One training under way: ``model`` is what is asked, ``module`` the same wrapped for several processes."""

    model: BehaviorModel
    module: Any
    optimizer: Any
    ema: EMA
    trees: Sequence[Tree]
    tokens: TokenFile | None
    params: Params
    accelerator: Accelerator
    checkpoint: Checkpoint
    journal: Journal
    between: Callable[[BehaviorModel], None]
    state: State

    def __post_init__(self) -> None:
        counts = [len(order(self.trees, self.params, epoch)) for epoch in range(self.params.epochs)]
        self.before = [0, *itertools.accumulate(counts)]  # steps before each epoch
        self.steps = self.before[-1]
        self.positions = sum(map(len, self.trees))  # of an epoch
        self.most = parts.most_positions(self.model)
        self.multiple = self.model.length_multiple(self.params.precision)
        self.journal.go_on_from(self.state.lines)

    def to_the_end(self, score: Callable[[BehaviorModel], Score], what: str) -> Fitted:
        """Epoch after epoch, until there are enough or dev has not improved for too long."""
        with self._bar(what) as advance:
            while self.state.epoch < self.params.epochs and not self._over():
                with stopping.deferred():  # to the end of a step, which a checkpoint can follow
                    self._epoch(advance)
                self._close_epoch(score)
                self._save()
            if self.params.epochs == 0:
                self._close_epoch(score)
        assert self.state.last is not None
        if self.state.best is None:
            raise no_epoch(self.state.epoch)
        _, best, weights = self.state.best
        return Fitted(best, weights, self.state.last, self._weights(), self.checkpoint.path)

    def _weights(self) -> dict[str, Tensor]:
        """What is kept of an epoch: the averaged weights, and the adapter's buffers as they are."""
        return self.ema.state() | {name: unsharded(value) for name, value in self.model.buffers_kept().items()}

    @property
    def done(self) -> int:
        """Steps behind us."""
        return self.before[self.state.epoch] + self.state.step

    def _bar(self, what: str) -> contextlib.AbstractContextManager[Advance]:
        """In tokens, since steps differ in length; a resumed run begins where it stands."""
        if not self.accelerator.is_main_process:
            return contextlib.nullcontext(silent)
        first = order(self.trees, self.params, self.state.epoch)
        if self.model.device.type == "cpu":
            cpu_training.tell(what, self.model, first, self.params, self.steps, self.done)
        done = self.state.epoch * self.positions + sum(len(t) for group in first[: self.state.step] for t in group)
        return bar(what, self.params.epochs * self.positions, "tokens", done)

    def _over(self) -> bool:
        """Whether dev has not improved for too long."""
        state, patience = self.state, self.params.patience
        best = 0 if state.best is None else state.best[1].epoch
        return bool(patience) and state.epoch - best >= patience

    # ------------------------------------------------------------------------------------------------------- an epoch

    def _epoch(self, advance: Advance) -> None:
        """The rest of one pass over the trees, from where ``state`` stands."""
        if self.state.epoch and not self.state.step:
            self.between(self.model.eval())
        self.model.train()
        groups = order(self.trees, self.params, self.state.epoch)[self.state.step :]
        steps = self.state.step + len(groups)
        for group, (made, waited) in zip(groups, batching.prefetch(groups, self._parts), strict=True):
            start = time.monotonic()
            set_learning_rate(self.optimizer, self.done, self.steps, self.params.warmup)
            loss, due, ending = self._step(group, made)
            self.ema.update()
            self._note(group, loss, waited, time.monotonic() - start + waited)
            advance(sum(map(len, group)), f"loss {loss:.2f}")
            if self.state.step == steps:
                continue  # the checkpoint below is this step's too
            if due:
                self._save()
            if ending:
                stopping.end()
        if groups:
            self._save()  # judging dev may take longer than a cluster waits after SIGTERM
        _, _, ending = self._agreed(0.0)
        if ending:
            stopping.end()

    def _parts(self, group: Sequence[Tree]) -> list[tuple[Batch, float]]:
        """This process's share of a step, in its parts, each with the weight of its targets that count.

        Every process computes as many parts as the others, since they wait for each other; one that has nothing left
        computes a tree that counts nothing.
        """
        processes = self.accelerator.num_processes
        shares = parts.count(group, self.params.accumulate, self.most, processes) * processes
        made: list[tuple[Batch, float]] = []
        for first in range(self.accelerator.process_index, shares, processes):
            if first - self.accelerator.process_index < len(group):
                own = group[first::shares]
                batch = batching.collate(own or group[:1], self.tokens, self.multiple)
                count, adapter = float(batch.weight.sum()) if own else 0.0, self.model.adapter
                made.append((batch if adapter is None else adapter.with_shares(batch, count, group), count))
        return made

    def _step(self, group: Sequence[Tree], made: Sequence[tuple[Batch, float]]) -> tuple[float, bool, bool]:
        """One step of the optimizer: the loss, whether a checkpoint is due, and whether the training is to end after it."""
        targets = sum(float(tree.weight.sum()) for tree in group)
        try:
            self.optimizer.zero_grad(set_to_none=True)
            own = 0.0
            for number, (batch, count) in enumerate(made, 1):
                with contextlib.nullcontext() if number == len(made) else self.accelerator.no_sync(self.module):
                    own += self._gradients(batch, count / targets)
            value, due, ending = self._agreed(own)
            check_number(value, "loss", self.params.precision, self._where())
            self.state.watched = kept_losses(self.state.watched, value)
            check_losses(self.state.watched, self._where())
            norm = self.accelerator.clip_grad_norm_(
                [p for g in self.optimizer.param_groups for p in g["params"]], self.params.clip
            )
            if self.accelerator.scaler is None:  # with float16 its scaler skips such a step and goes on more carefully
                check_number(float(norm), "gradient", self.params.precision, self._where())
            self.optimizer.step()
            if self.model.adapter is not None:
                self.model.adapter.end_step(self.accelerator)
            return value, due, ending
        except torch.cuda.OutOfMemoryError:
            rows = max(batch.input_ids.shape[1] for batch, _ in made)
            raise ModelError(
                f"The GPU's memory does not suffice for a batch of {len(made[0][0].keys)} examples in rows of {rows} "
                "positions. Lower batch or row_tokens, raise accumulate, or set model.gradient_checkpointing: true."
            ) from None

    def _gradients(self, batch: Batch, share: float) -> float:
        """Forward and backward of one part; its share of the step's loss.

        Under autocast PEFT need not bring a layer's input to float32, its adapter's dtype: autocast brings it back to what
        is multiplied in, as a copy that is kept for the gradient. Without the detour the numbers are the same, and the
        input that the frozen layer keeps anyway is the adapter's, too.
        """
        with disable_input_dtype_casting(self.model.lm, self.params.precision != "float32"):
            loss = self.module(batch) * share
            # Gradients are averaged over processes, and ours are parts of one sum.
            self.accelerator.backward(loss * self.accelerator.num_processes)
        return float(loss.detach())

    def _agreed(self, own: float) -> tuple[float, bool, bool]:
        """What all processes say as one: the loss, whether a checkpoint is due by the main one's clock, and whether SIGTERM
        has come to any of them, after which none may go on alone."""
        due, ending = self.checkpoint.due(), stopping.arrived()
        if self.accelerator.num_processes > 1:
            flags = [own, float(due and self.accelerator.is_main_process), float(ending)]
            given = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
            own, *wished = self.accelerator.reduce(given, "sum").tolist()
            due, ending = (wish > 0 for wish in wished)
        return own, due or ending, ending

    def _where(self) -> str:
        return f"epoch {self.state.epoch + 1}, step {self.state.step + 1}"

    def _note(self, group: Sequence[Tree], loss: float, waited: float, seconds: float) -> None:
        """Count a step and write its line."""
        state, positions = self.state, sum(map(len, group))
        state.step += 1
        state.losses.append(loss)
        state.examples.append(sum(len(tree.examples) for tree in group))
        state.positions += positions
        state.seconds += seconds
        state.waited += waited
        left_s = (state.total_s + state.seconds) / self.done * (self.steps - self.done)
        rate = positions / max(seconds, 1e-9)
        self.journal.add(
            Step(state.epoch + 1, self.done, loss, self._lr, rate, waited / max(seconds, 1e-9), self._memory, left_s)
        )

    @property
    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def _memory(self) -> float:
        return memory_gb(self.model.device)

    # ----------------------------------------------------------------------------------------------------- and its end

    def _close_epoch(self, score: Callable[[BehaviorModel], Score]) -> None:
        """Let dev score the mean weights, write the epoch's line, keep the weights where they are the best."""
        state, start = self.state, time.monotonic()
        with self.ema.swapped_in():
            result = self._scored(score)
        # What is no number is no score: it is never the best, and counts as an epoch without improvement.
        better = math.isfinite(result.value) and (state.best is None or result.value > state.best[0].value)
        state.total_s += state.seconds + time.monotonic() - start
        line = Epoch(
            epoch=state.epoch + min(1, self.params.epochs),
            loss=float(np.average(state.losses, weights=state.examples)) if state.losses else -result.value,
            lr=self._lr,
            tokens_per_s=state.positions / max(state.seconds, 1e-9),
            wait=state.waited / max(state.seconds, 1e-9),
            memory_gb=self._memory,
            seconds=state.total_s,
            best=better,
            dev={name: value for name, value in result.numbers.items() if math.isfinite(value)},
        )
        self.journal.add(line)
        state.last = line
        if better:
            state.best = result, line, self._weights()
        state.epoch, state.step, state.positions, state.seconds, state.waited = state.epoch + 1, 0, 0, 0.0, 0.0
        state.losses, state.examples = [], []

    def _scored(self, score: Callable[[BehaviorModel], Score]) -> Score:
        """Every process scores dev, since sharded weights need them all; what the main one finds holds."""
        try:
            results = [score(self.model.eval())]
        except torch.cuda.OutOfMemoryError:
            raise ModelError(
                "The GPU's memory does not suffice for judging dev. Lower row_tokens or batch, or max_length."
            ) from None
        broadcast_object_list(results)
        return results[0]

    def _save(self) -> None:
        self.state.lines = self.journal.lines
        self.checkpoint.save(self.state)
