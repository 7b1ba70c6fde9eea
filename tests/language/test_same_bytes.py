"""Equal trainings leave equal folders, byte for byte: DVC's hash of a model says whether the model is another one.

One of the two runs in a process of its own, after a pause in every step: there the clock, the rate, the memory and the order in
which Python walks a set are all others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bemerc.behavior.tokens import file
from bemerc.language.inputs import prompts
from bemerc.language.model import behavior_model
from bemerc.language.train import align, loop, merc
from bemerc.language.train.log import log_of
from tests import toy_language as language

SHORT = replace(language.TRAINING, epochs=1)


def both_stages(world: Path, out: Path) -> None:
    """Align and merc on the world that the first of the two has made."""
    known, params = (
        language.manifest(),
        behavior_model.Params(str(world / "backbone"), device="cpu", rank=4, projector_hidden=8),
    )
    said = language.describe(known)
    with file.open_tokens(world / "tokens.h5") as read:
        align.run(known, read, said, {"known": 1}, params, SHORT, out / "align")
        merc.run("TVB", known, read, {}, out / "align", prompts.Params(), params, SHORT, out / "merc" / "TVB")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_two_trainings_of_one_kind_differ_in_their_logs_alone(tmp_path: Path) -> None:
    language.write(tmp_path / "tokens.h5", language.manifest())
    language.build(tmp_path / "backbone", language.manifest())
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    command = [sys.executable, "-m", "tests.language.test_same_bytes", str(tmp_path), str(tmp_path / "two")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    both_stages(tmp_path, tmp_path / "one")
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert {"align/adapter_config.json", "align/last/metadata.json", "merc/TVB/steps.csv"} < set(one)
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == {
        "align.train_log.jsonl",
        "merc/TVB.train_log.jsonl",
    }
    for log in (log_of(tmp_path / "one" / "align"), log_of(tmp_path / "two" / "align")):
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        assert all({"loss", "tokens_per_s", "memory_gb"} <= set(line) for line in steps)


if __name__ == "__main__":
    real = loop._Run._step

    def slowly(*given: object) -> object:
        time.sleep(0.02)
        return real(*given)

    loop._Run._step = slowly
    both_stages(Path(sys.argv[1]), Path(sys.argv[2]))
