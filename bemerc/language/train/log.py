"""What a training writes down while it runs: a log beside the model's folder, two tables in it, and TensorBoard where it is asked for.

The log tells everything, tokens per second and memory too. That differs from run to run though every weight is the same
bit for bit, so it does not belong into the folder, whose hash DVC keeps; the tables, which its plots read, hold what
was learned alone.

The usual logger keeps its own count of steps and, resumed, writes some twice. Here a checkpoint holds the lines themselves:
a training that was killed and went on has the log of one that was not. Steps and epochs are lines of one file; an epoch's
line has no ``step``. Nothing here shapes a weight.
"""

from __future__ import annotations

import csv
import io
import json
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bemerc.core.errors import ModelError

if TYPE_CHECKING:
    import torch

LOG, STEPS, EPOCHS = "train_log.jsonl", "steps.csv", "epochs.csv"


def log_of(folder: Path) -> Path:
    """Where the log of the model in ``folder`` is: models/merc/TVB.train_log.jsonl of models/merc/TVB."""
    return folder.with_name(f"{folder.name}.{LOG}")


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    epoch, step   both from 1; steps are counted over all epochs
    loss          mean over the step's target tokens, nats
    lr            of the adapter (or the projectors, where nothing else is trained)
    tokens_per_s  positions computed per second, on all processes together
    wait          share of the step's time in which the model waited for its batch
    memory_gb     largest memory so far: of the GPU, or of this process where there is none
    left_s        time to the last epoch's end, dev included, if nothing stops earlier
    """

    epoch: int
    step: int
    loss: float
    lr: float
    tokens_per_s: float
    wait: float
    memory_gb: float
    left_s: float


@dataclass(frozen=True)
class Epoch:
    """One pass over train and what dev said of it; ``loss`` is the mean over its steps (dev's, where
    there were none), ``dev`` the scorer's numbers.

    tokens_per_s, wait  over the epoch's steps
    seconds             since training began, dev included
    best                whether dev has not liked an earlier epoch as well
    """

    epoch: int
    loss: float
    lr: float
    tokens_per_s: float
    wait: float
    memory_gb: float
    seconds: float
    best: bool
    dev: dict[str, float]


def line(of: Step | Epoch) -> dict[str, Any]:
    """As it stands in the log: dev's numbers beside the others, named dev_*."""
    plain = asdict(of)
    dev = plain.pop("dev", {})
    return plain | {f"dev_{name}": value for name, value in dev.items()}


def memory_gb(device: torch.device) -> float:
    """Peak memory in GB: what tensors took of the GPU, or the resident memory of this process."""
    if device.type == "cuda":
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


class Journal:
    """The log of a training, in ``folder`` and beside it; ``lines`` is what a checkpoint keeps. Closed or mute, it writes nothing."""

    def __init__(self, folder: Path, board: Path | None = None, mute: bool = False) -> None:
        self.folder, self.mute = folder, mute
        self.lines: list[dict[str, Any]] = []
        self._board = None if mute or board is None else _board(board)

    def go_on_from(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Begin with the lines that a checkpoint kept; what was written after it is dropped."""
        self.lines = [dict(line) for line in lines]
        self._write(log_of(self.folder), "".join(json.dumps(line) + "\n" for line in self.lines))
        self._write_tables()  # DVC empties the folder before it goes on, perhaps after the last epoch

    def add(self, of: Step | Epoch) -> None:
        """One more line; an epoch's brings the tables up to date."""
        self.lines.append(line(of))
        self._write(log_of(self.folder), json.dumps(self.lines[-1]) + "\n", "a")
        if self._board is not None:
            steps = next((row["step"] for row in reversed(self.lines) if "step" in row), 0)
            for name, value in self.lines[-1].items():
                if name not in ("epoch", "step", "best"):
                    self._board.add_scalar(f"{'step' if isinstance(of, Step) else 'epoch'}/{name}", value, steps)
        if isinstance(of, Epoch):
            self._write_tables()

    def _write_tables(self) -> None:
        """What was learned, up to the last whole epoch."""
        epochs = [row for row in self.lines if "step" not in row]
        if epochs:
            steps = [row for row in self.lines if "step" in row and row["epoch"] <= epochs[-1]["epoch"]]
            self._write(self.folder / STEPS, _table(steps, ("step", "loss", "lr")))
            # A number of dev's that was none in one epoch is left out there.
            dev = list(dict.fromkeys(name for row in epochs for name in row if name.startswith("dev_")))
            self._write(self.folder / EPOCHS, _table(epochs, ("epoch", "loss", *dev)))

    def close(self) -> None:
        """Let TensorBoard write what it holds."""
        if self._board is not None:
            self._board.close()

    def _write(self, path: Path, text: str, mode: str = "w") -> None:
        if self.mute:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(mode, encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ModelError(
                f"the log could not be written ({error}). Make room and run again: training goes on "
                "from its last checkpoint.",
                path=path,
            ) from None


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV, which DVC's plots read; what a run took in seconds stays out, so that the same training has the same tables."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[row.get(column) for column in columns] for row in rows])
    return text.getvalue()


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModelError(
            'tensorboard is not installed: pip install "bemerc[tensorboard]", or train without it.'
        ) from None
    return SummaryWriter(str(folder))
