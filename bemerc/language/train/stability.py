"""When a training must end because its numbers are no longer sound: no numbers at all, or a loss that runs away."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bemerc.core.errors import ModelError

# A loss has run away when its median over the last 20 steps is above twice that of the first five, and a nat more.
BEGINNING, RECENT = 5, 20


class UnsoundError(ModelError):
    """The numbers of a training are not sound; ``value`` is the loss, the gradient's norm or dev's score, ``where`` the step."""

    def __init__(self, message: str, value: float, where: str) -> None:
        super().__init__(message)
        self.value, self.where = value, where


def kept_losses(losses: Sequence[float], loss: float) -> list[float]:
    """What must be remembered of a training's losses to watch them: the first BEGINNING ones and the last RECENT ones."""
    all_losses = [*losses, loss]
    return all_losses if len(all_losses) <= BEGINNING + RECENT else all_losses[:BEGINNING] + all_losses[-RECENT:]


def check_losses(losses: Sequence[float], where: str) -> None:
    """UnsoundError where the losses that ``kept_losses`` kept have run away from where they began."""
    began, now = float(np.median(losses[:BEGINNING])), float(np.median(losses[-RECENT:]))
    if len(losses) >= RECENT and now > 2 * began + 1:
        raise UnsoundError(
            f"The loss runs away: it began at {began:.2f} and was {now:.2f} over the last {RECENT} steps, in {where}. Lower "
            "adapter_lr and projector_lr, or clip.",
            now,
            where,
        )


def check_number(value: float, what: str, precision: str, where: str) -> None:
    """UnsoundError where ``value`` is no number."""
    if not math.isfinite(value):
        finer = "" if precision == "float32" else ", or set precision: float32"
        raise UnsoundError(
            f"The {what} became {value} in {where}. Lower adapter_lr and projector_lr{finer}.", value, where
        )


def no_epoch(epochs: int) -> UnsoundError:
    """No epoch could be picked: dev's score was never a number."""
    return UnsoundError(
        f"Dev's score was no number in any of {epochs} epochs, so none could be picked. Lower adapter_lr and projector_lr, or "
        "set precision: float32 and model.dtype: float32 (bfloat16 where memory is short).",
        math.nan,
        f"epoch {epochs}",
    )
