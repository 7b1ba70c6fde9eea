"""The modes of predict.reallocate (reallocate.py): apart from it, so that naming them needs no torch."""

from __future__ import annotations

from typing import Literal, get_args

# none: as trained; reallocate: attention is moved between voice and face; the others are its rivals and controls.
Mode = Literal["none", "reallocate", "reversed", "random_heads", "presoftmax", "text_prior"]
MODES: tuple[Mode, ...] = get_args(Mode)
