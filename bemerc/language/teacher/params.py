"""The section ``teacher`` of params.yaml, the teacher's error, and what a model is asked with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bemerc.core.errors import BemercError

Picture = NDArray[np.uint8]
# Pictures and the conversation so far (question, answer, question, ...) -> the next answer.
Ask = Callable[[Sequence[Picture], Sequence[str]], str]


class TeacherError(BemercError):
    """The vision-language model cannot be had, is of another family, or has no usable answers."""


@dataclass(frozen=True)
class Params:
    """params.yaml: teacher.

    frames, side       pictures per clip, evenly spread, and their longest side in pixels
    history            turns before the one in question that the prompt quotes
    asks               how often one utterance may be asked about, the first time included
    max_new_tokens     of one answer
    dtype, device      of the model; auto: as it was saved, and a GPU where there is one
    max_dropped_share  above this share of utterances without a usable answer the work stops with a sentence
    """

    frames: int = 4
    side: int = 448
    history: int = 6
    asks: int = 2
    max_new_tokens: int = 256
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_dropped_share: float = 0.5

    def check(self) -> Iterator[str]:
        """What is wrong with these values, a sentence each."""
        for name, least in (("frames", 1), ("side", 28), ("history", 0), ("asks", 1), ("max_new_tokens", 1)):
            if getattr(self, name) < least:
                yield f"{name}: must be at least {least}, not {getattr(self, name)}."
        if not 0 <= self.max_dropped_share <= 1:
            yield f"max_dropped_share: must lie between 0 and 1, not {self.max_dropped_share}."
