"""reallocate.json comes back as it was written; what it cannot say is refused, and so is the file of another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bemerc.core.errors import ModelError
from bemerc.language.model.behavior_model import PROJECTORS, ModelMetadata
from bemerc.language.predict import reallocation_file
from bemerc.language.predict.reallocation_file import FILE, Reallocation
from tests.errors import raises

METADATA = ModelMetadata(
    "merc",
    "TVB",
    ("face", "audio"),
    ("joy", "anger"),
    ("made",),
    "b",
    "f" * 32,
    2,
    {},
    {"calibration": "x"},
    None,
    {},
    {},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"w": torch.ones(3)}, tmp_path / PROJECTORS)
    save_file({"w": torch.ones(4)}, tmp_path / "adapter_model.safetensors")
    return tmp_path


def written(folder: Path) -> Reallocation:
    rng = np.random.default_rng(0)
    tables = {name: rng.uniform(0, 1, (3, 2, 2)).round(6) for name in ("tau", "band")}
    chosen, drawn, sinks = {1: (0, 1)}, {0: (1,), 2: (0,)}, {1: (5,)}
    model = reallocation_file.fingerprint(folder, METADATA)
    made = Reallocation(
        model, 2, **tables, chosen=chosen, drawn=drawn, sinks=sinks, beta=0.5, boost=0.25, gamma=0.1, made={"n": 3}
    )  # type: ignore[arg-type]
    reallocation_file.write(folder, made)
    return made


def test_a_file_comes_back_as_it_was(folder: Path) -> None:
    made, read = written(folder), reallocation_file.read(folder, METADATA)
    assert (folder / FILE).stat().st_size < 2000
    for name, value in vars(made).items():
        assert np.array_equal(getattr(read, name), value), name


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another version": lambda of: of | {"schema_version": 2},
    "no object": lambda of: [of],
    "a key is missing": lambda of: {key: of[key] for key in of if key != "tau"},
    "a ragged table": lambda of: of | {"tau": [[[0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]},
    "text in a table": lambda of: of | {"band": [[["a", "b"]] * 2] * 3},
    "a flat table": lambda of: of | {"tau": [0.5, 0.5]},
    "tables of two shapes": lambda of: of | {"tau": of["tau"][:2]},
    "a middle above one": lambda of: of | {"tau": [[[1.5, 0.5]] * 2] * 3},
    "a head that is not there": lambda of: of | {"chosen": {"1": [2]}},
    "a layer that is not there": lambda of: of | {"drawn": {"3": [0]}},
    "a layer that is no number": lambda of: of | {"sinks": {"-1": [0]}},
    "a head twice": lambda of: of | {"chosen": {"1": [0, 0]}},
    "a slot that is not there": lambda of: of | {"sinks": {"1": [6]}},
    "a strength above one": lambda of: of | {"beta": 1.01},
    "a strength that is text": lambda of: of | {"gamma": "0.1"},
    "tokens by the billion": lambda of: of | {"k": 10**9},
    "nothing of how": lambda of: of | {"made": 3},
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_is_refused(folder: Path, name: str) -> None:
    written(folder)
    document = FAULTS[name](json.loads((folder / FILE).read_text()))
    (folder / FILE).write_text(json.dumps(document))
    with pytest.raises(ModelError, match="conflict calibrate"):
        reallocation_file.read(folder, METADATA)


def test_a_number_that_is_none_is_refused(folder: Path) -> None:
    written(folder)
    (folder / FILE).write_text((folder / FILE).read_text().replace('"beta": 0.5', '"beta": NaN'))
    with pytest.raises(ModelError, match="conflict calibrate"):
        reallocation_file.read(folder, METADATA)


def test_a_folder_without_the_file_says_what_makes_it(folder: Path) -> None:
    with pytest.raises(ModelError, match="conflict calibrate"):
        reallocation_file.read(folder, METADATA)


@pytest.mark.parametrize("name", [PROJECTORS, "adapter_model.safetensors"])
def test_the_file_of_other_weights_is_refused(folder: Path, name: str) -> None:
    written(folder)
    save_file({key: weight + 1e-6 for key, weight in load_file(folder / name).items()}, folder / name)
    with raises(ModelError, path=folder / FILE):
        reallocation_file.read(folder, METADATA)


@pytest.mark.parametrize("other", [{"fingerprint": "e" * 32}, {"tokens": {"calibration": "y"}}])
def test_the_file_of_another_backbone_or_of_other_tokens_is_refused(folder: Path, other: dict[str, Any]) -> None:
    written(folder)
    with raises(ModelError, path=folder / FILE):
        reallocation_file.read(folder, replace(METADATA, **other))
