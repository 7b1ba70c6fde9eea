"""Which parameters of a test are quick enough for every run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def beyond(quick: Collection[Any], values: Iterable[Any]) -> list[Any]:
    """``values`` as parameters; those that are not among ``quick`` are marked slow.

    For families and routes that share their code: one or two of them show what breaks in all, and `make test-all` tries
    the rest.
    """
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]
