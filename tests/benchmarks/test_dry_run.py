"""benchmarks/dry_run.py: what its steps run stands in strings, which no type checker reads."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from bemerc.behavior.tokens import file as tokens
from bemerc.corpus import manifest
from bemerc.language.train import merc
from benchmarks import dry_run


def test_the_training_reads_the_project_s_params(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.chdir(dry_run.ROOT)
    monkeypatch.setattr(tokens, "open_tokens", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(manifest, "read_manifest", lambda _: None)
    monkeypatch.setattr(merc, "run", lambda *all_of_them: given.extend(all_of_them))
    exec(dry_run.TRAIN, {})
    assert isinstance(given[7], merc.Params)
