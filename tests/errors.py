"""What tests expect of an error: its class and its fields, not its sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from bemerc.core.errors import BemercError


@contextlib.contextmanager
def raises(kind: type[BemercError], **fields: Any) -> Iterator[pytest.ExceptionInfo[BemercError]]:
    """``pytest.raises`` for an error of ours with these fields; a sentence that tests look at needs ``match=`` as before."""
    with pytest.raises(kind) as caught:
        yield caught
    assert {name: getattr(caught.value, name) for name in fields} == fields, str(caught.value)
