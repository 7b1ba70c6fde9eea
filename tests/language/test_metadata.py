"""metadata.json from strangers: what it claims is checked before memory is taken, and the backbone is found from anywhere."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from bemerc.core.errors import BemercError, ModelError
from bemerc.language.inputs import prompts
from bemerc.language.model import metadata, model_folder
from bemerc.language.predict import score_labels
from tests import toy_language as language
from tests.language.test_model import World, facts


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training leaves it: models/backbone, models/merc/TVB, models/merc/TVB/crossfit."""
    made, folder = world.model(), tmp_path_factory.mktemp("trained")
    shutil.copytree(world.params.name_or_path, folder / "models" / "backbone")
    shape = vars(replace(made.params, name_or_path="models/backbone"))
    known = replace(
        facts(made, world.tokens),
        backbone="models/backbone",
        params={"model": shape, "prompt": vars(prompts.Params()), "merc": {"max_length": 512, "seed": 0}},
    )
    here = Path.cwd()
    os.chdir(folder)
    try:
        for saved in (Path("models/merc/TVB"), Path("models/align")):
            made.save(saved, known)
        shutil.copytree("models/align", "models/merc/TVB/crossfit")
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def project(trained: Path, tmp_path: Path) -> Path:
    """A copy of ``trained``, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "p"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Attempts to reach a network, which the hub is allowed to make."""
    attempts: list[Any] = []

    def refuse(*given: Any, **_: Any) -> Any:
        attempts.append(given)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return attempts


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    known = json.loads((folder / "metadata.json").read_text())
    edit(known)
    (folder / "metadata.json").write_text(json.dumps(known))


@pytest.mark.parametrize("where", ["merc/TVB", "merc/TVB/crossfit", "align"])
def test_a_backbone_is_found_from_any_working_directory(
    project: Path, tmp_path: Path, where: str, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    folder = project / "models" / where
    found, _ = model_folder.load(folder, device="cpu")
    assert Path(found.params.name_or_path).samefile(project / "models" / "backbone")
    project.rename(tmp_path / "elsewhere")
    model_folder.load(tmp_path / "elsewhere" / "models" / where, device="cpu")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "models" / where)
    model_folder.load(Path("../link"), device="cpu")
    assert not no_network


def test_a_model_of_before_says_no_place_and_finds_it_too(
    project: Path, tmp_path: Path, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewrite(project / "models/merc/TVB", lambda known: known.pop("backbone_at"))
    model_folder.load(project / "models/merc/TVB", device="cpu")
    assert not no_network


def test_a_folder_of_the_same_name_is_passed_over(project: Path, tmp_path: Path, world: World) -> None:
    other = project / "models" / "merc" / "models" / "backbone"  # nearer than the right one, for a model of before
    language.build(other, world.manifest, replace(language.TINY, seed=5, steps=2))
    rewrite(project / "models/merc/TVB", lambda known: known.pop("backbone_at"))
    found, _ = model_folder.load(project / "models/merc/TVB", device="cpu")
    assert Path(found.params.name_or_path).samefile(project / "models" / "backbone")
    shutil.rmtree(project / "models" / "backbone")
    with pytest.raises(ModelError, match="another backbone"):
        model_folder.load(project / "models/merc/TVB", device="cpu")


@pytest.mark.parametrize(
    "backbone", ["models/backbone", "evil-org/evil-model", "https://127.0.0.1:9/x", "/etc", ".", "gpt2"]
)
def test_a_model_folders_word_never_asks_the_network(
    project: Path, no_network: list[Any], backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.parent)
    folder = project / "models/merc/TVB"
    shutil.rmtree(project / "models" / "backbone")
    rewrite(folder, lambda known: known.update(backbone=backbone, backbone_at=""))
    with pytest.raises(ModelError, match="--backbone"):
        model_folder.load(folder, device="cpu")
    assert not no_network
    with pytest.raises(ModelError):
        model_folder.load(folder, "someone/backbone", "cpu")
    assert len(no_network) == 1


def test_no_absolute_path_is_kept(world: World, tmp_path: Path) -> None:
    made = world.model()
    assert Path(made.params.name_or_path).is_absolute()
    made.save(tmp_path / "saved", facts(made, world.tokens))
    for file in (tmp_path / "saved").iterdir():
        assert str(tmp_path.parent).encode() not in file.read_bytes(), file.name
    assert model_folder.load(tmp_path / "saved", device="cpu")[0].backbone == made.backbone


def section(name: str, **keys: Any) -> Callable[[dict[str, Any]], object]:
    return lambda known: known["params"][name].update(keys)


CLAIMS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no params": lambda known: known.pop("params"),
    "no model": lambda known: known["params"].pop("model"),
    "no prompt": lambda known: known["params"].pop("prompt"),
    "unknown key": section("model", evil=1),
    "rank text": section("model", rank="x"),
    "rank huge": section("model", rank=10**7),
    "rank other": section("model", rank=64),
    "hidden huge": section("model", projector_hidden=10**9),
    "dtype": section("model", dtype="__class__"),
    "targets null": section("model", targets=None),
    "targets pattern": section("model", targets=["(a+)+$"]),
    "alpha nan": section("model", alpha=float("nan")),
    "window": section("prompt", window=10**9),
    "template": section("prompt", template="x"),
    "length zero": section("merc", max_length=0),
    "length text": section("merc", max_length="x"),
    "no labels": lambda known: known.update(labels=[]),
    "numbers for labels": lambda known: known.update(labels=[1, 2]),
    "a label twice": lambda known: known.update(labels=["joy", "joy"]),
    "a blank label": lambda known: known.update(labels=["", "joy"]),
    "labels text": lambda known: known.update(labels="abc"),
    "k huge": lambda known: known.update(k=10**9),
    "k zero": lambda known: known.update(k=0),
    "k text": lambda known: known.update(k="8"),
    "k of the tokens": lambda known: known["tokens"]["params"].update(k=10**8),
    "k other": lambda known: (known.update(k=3), known["tokens"]["params"].update(k=3)),
    "modality": lambda known: known.update(modalities=["evil"]),
    "columns missing": lambda known: known["columns"].pop("face"),
    "columns null": lambda known: known.update(columns=None),
    "columns many": lambda known: known["columns"].update(face=["a"] * 10**5),
    "columns other": lambda known: known["columns"].update(face=["a"]),
    "tokens null": lambda known: known.update(tokens=None),
    "calibration": lambda known: known["tokens"].update(calibration={}),
    "dev null": lambda known: known.update(dev=None),
    "temperature zero": lambda known: known["dev"].update(temperature=0),
    "temperature negative": lambda known: known["dev"].update(temperature=-1),
    "temperature nan": lambda known: known["dev"].update(temperature=float("nan")),
    "temperature text": lambda known: known["dev"].update(temperature="x"),
    "backbone number": lambda known: known.update(backbone=5),
    "backbone away": lambda known: known.update(backbone_at="/etc"),
    "fingerprint": lambda known: known.update(fingerprint="0" * 32),
    "merged": lambda known: known.update(merged=True),
    "corpora": lambda known: known.update(corpora="sample"),
    "task": lambda known: known.update(task="x"),
    "schema": lambda known: known.update(schema_version=2),
    "splits": lambda known: known.update(data={"splits": {"train": 5}}),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_cannot_be_is_a_sentence(project: Path, world: World, claim: str) -> None:
    folder = project / "models/merc/TVB"
    rewrite(folder, CLAIMS[claim])
    with pytest.raises(BemercError):
        score_labels.MercModel(folder).score(world.manifest, world.tokens, ("test",), score_labels.Params(device="cpu"))


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", "null", "", '{"schema_version": {}}'])
def test_what_is_no_metadata_is_a_sentence(project: Path, text: str) -> None:
    (project / "models/align/metadata.json").write_text(text)
    with pytest.raises(ModelError):
        metadata.read_metadata(project / "models/align")


def test_a_folder_for_a_file_is_a_sentence(project: Path) -> None:
    (project / "models/align/metadata.json").unlink()
    (project / "models/align/metadata.json").mkdir()
    with pytest.raises(BemercError):
        metadata.read_metadata(project / "models/align")


def test_adapter_config_is_not_read(project: Path) -> None:
    (project / "models/align/adapter_config.json").write_text('{"peft_type": "../../x", "r": 10000000}')
    model_folder.load(project / "models/align", device="cpu")
    assert (
        '"base_model_name_or_path": "models/backbone"' in (project / "models/merc/TVB/adapter_config.json").read_text()
    )


@pytest.mark.parametrize("file", ["projectors.safetensors", "adapter_model.safetensors"])
@pytest.mark.parametrize("what", ["nan", "int8", "shape", "missing", "junk", "elsewhere"])
def test_weights_that_do_not_fit_are_a_sentence(project: Path, file: str, what: str) -> None:
    path = project / "models/align" / file
    weights = load_file(path)
    name = sorted(weights)[0]
    if what == "junk":
        path.write_bytes(b"\xff" * 100)
    elif what == "elsewhere":
        path.unlink()
        path.symlink_to("/etc/passwd")
    else:
        changed = {
            "nan": lambda: torch.full_like(weights[name], float("nan")),
            "int8": lambda: weights[name].to(torch.int8),
            "shape": lambda: weights[name].flatten()[:3].clone(),
        }
        rest = {key: value for key, value in weights.items() if key != name}
        save_file(rest | ({name: changed[what]()} if what in changed else {}), path)
    with pytest.raises(ModelError):
        model_folder.load(project / "models/align", device="cpu")


def test_what_is_no_model_leads_to_the_models_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none comes with bemerc"):
        metadata.read_metadata(tmp_path / "models" / "merc" / "TVB")
    for name in ("TV", "TV/last"):
        (tmp_path / "models" / "merc" / name).mkdir(parents=True)
        (tmp_path / "models" / "merc" / name / "metadata.json").touch()
    for wrong in ("models", "models/merc", "models/merc/TVB"):
        with pytest.raises(ModelError, match=f"There is {tmp_path / 'models' / 'merc' / 'TV'}\\."):
            metadata.read_metadata(tmp_path / wrong)
