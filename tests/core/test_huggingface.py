"""Models from strangers: nothing in a folder chooses what is run or fetched, and the hub is asked once or not at all."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from bemerc.core import huggingface
from bemerc.core.errors import ModelError
from bemerc.core.huggingface import PretrainedError
from bemerc.corpus import transcribe
from bemerc.language.model import pretrained
from bemerc.language.model.behavior_model import Params
from bemerc.language.teacher import qwen, vlm
from bemerc.language.tiny_lm import model
from tests import families

THEIR_CODE = """
import pathlib
pathlib.Path(__file__).with_name("ran").touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class C(LlamaConfig): pass
class M(LlamaForCausalLM): pass
class T(PreTrainedTokenizerFast): pass
"""
AUTO_MAPS = {
    "config.json": {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"},
    "tokenizer_config.json": {"AutoTokenizer": ["theirs.T", "theirs.T"]},
    "preprocessor_config.json": {"AutoImageProcessor": "theirs.C", "AutoProcessor": "theirs.C"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model of real classes, with random weights."""
    tokenizer = model.train_tokenizer(["so it was then"], 300, 64)
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **families.SHAPE)).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Every attempt to reach a network, which fails; the hub is not forbidden, and its cache is empty."""
    attempts: list[str] = []

    def refuse(*given: Any, **_: Any) -> Any:
        attempts.append(str(given[-1] if isinstance(given[0], socket.socket) else given[0]))
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return attempts


def change(path: Path, **keys: Any) -> None:
    existing = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(existing | keys))


@pytest.mark.parametrize("file", AUTO_MAPS)
@pytest.mark.parametrize("model_type", ["llama", "theirs"])
def test_a_folders_own_code_never_runs_and_nobody_is_asked(
    folder: Path, file: str, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "theirs.py").write_text(THEIR_CODE)
    change(folder / file, auto_map=AUTO_MAPS[file])
    change(folder / "config.json", model_type=model_type)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 20))
    for kind in (AutoConfig, AutoTokenizer, AutoModelForCausalLM):
        with pytest.raises(PretrainedError) as refused:
            huggingface.load(kind, folder)
        assert "auto_map" in refused.value.reason
    with pytest.raises(ModelError):
        pretrained.load_backbone(Params(name_or_path=str(folder), device="cpu"))
    with pytest.raises(transcribe.TranscribeError):
        transcribe.whisper(str(folder))
    with pytest.raises(vlm.TeacherError):
        qwen.load(str(folder), vlm.Params(device="cpu"))
    assert sys.stdin.read() == "y\n" * 20
    assert not (folder / "ran").exists()
    assert "theirs" not in sys.modules


@pytest.mark.parametrize(
    "keys",
    [
        {"_attn_implementation": "kernels-community/theirs"},
        {"attn_implementation": "flash_attention_2"},
        {"text_config": {"_attn_implementation": "someone/kernel:fn"}},
        {"_attn_implementation": {"text_config": "someone/kernel"}},
        {"_experts_implementation": "someone/kernel"},
        {"_attn_implementation": 5},
    ],
)
def test_a_config_does_not_choose_the_code_of_its_attention(folder: Path, keys: dict[str, Any]) -> None:
    change(folder / "config.json", **keys)
    with pytest.raises(PretrainedError) as refused:
        huggingface.load(AutoModelForCausalLM, folder)
    assert "config.json" in refused.value.reason


@pytest.mark.parametrize(
    "keys", [{"num_hidden_layers": 10**5}, {"n_layer": 10**5}, {"text": {"num_local_experts": 10**6}}]
)
def test_a_config_of_more_parts_than_a_model_has_is_not_built(folder: Path, keys: dict[str, Any]) -> None:
    change(folder / "config.json", **keys)
    with pytest.raises(PretrainedError, match=r"config\.json"):
        huggingface.load(AutoModelForCausalLM, folder)


def test_a_sound_folder_loads_also_with_what_real_configs_hold(folder: Path, asked: list[str]) -> None:
    change(folder / "tokenizer_config.json", model_max_length=10**30)
    change(folder / "config.json", time_step_limit=[0.0, float("inf")], _attn_implementation="sdpa")
    assert huggingface.load(AutoTokenizer, folder)("so").input_ids
    assert huggingface.load(AutoModelForCausalLM, folder).config.model_type == "llama"
    assert not asked


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[1]", "", '{"a": ' * 50 + "1" + "}" * 50, '"' + "x" * (5 << 20) + '"']
)
def test_a_damaged_config_is_a_sentence(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    with pytest.raises(PretrainedError):
        huggingface.load(AutoModelForCausalLM, folder)
    with pytest.raises(ModelError):
        pretrained.load_backbone(Params(name_or_path=str(folder), device="cpu"))


@pytest.mark.parametrize(
    "name",
    [
        "models/backbone",
        "data/m",
        "./some/model",
        "../m",
        "a/b/c",
        "/nowhere/at/all",
        "https://127.0.0.1:9/x",
        "~/m",
        "",
    ],
)
def test_what_looks_like_a_path_never_asks_the_network(
    name: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a checkout in which the sample was made has a models/backbone
    with pytest.raises(PretrainedError):
        huggingface.folder_of(name)
    assert not asked


def test_a_name_is_asked_for_once_and_only_where_a_person_gave_it(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PretrainedError):
        huggingface.folder_of("someone/model", download=False)
    assert not asked
    with pytest.raises(PretrainedError) as refused:
        huggingface.folder_of("someone/model")
    assert len(asked) == 1
    assert refused.value.path == "someone/model"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PretrainedError):
        huggingface.folder_of("someone/model")
    assert len(asked) == 1


def in_cache(folder: Path, cache: Path, name: str = "someone/model") -> Path:
    """``folder`` as Hugging Face's cache holds the model ``name``."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / ("0" * 40))
    return place / "snapshots" / ("0" * 40)


def test_what_is_whole_in_the_cache_is_taken_without_asking(folder: Path, tmp_path: Path, asked: list[str]) -> None:
    place = in_cache(folder, tmp_path / "hub")
    assert huggingface.folder_of("someone/model", download=False) == place
    lm, tokenizer = pretrained.load_backbone(Params(name_or_path="someone/model", device="cpu"))
    assert len(lm.get_input_embeddings().weight) == len(tokenizer)
    assert pretrained.fingerprint("someone/model") == pretrained.fingerprint(str(place))
    assert not asked
    (place / "model.safetensors").unlink()
    assert huggingface.cached("someone/model", weights=False) == place
    with pytest.raises(PretrainedError):
        huggingface.folder_of("someone/model")
    assert len(asked) == 1


def test_weights_beside_those_that_are_read_change_nothing(folder: Path) -> None:
    before = pretrained.fingerprint(str(folder))
    (folder / "zzz.safetensors").write_bytes(b"\x07\0\0\0\0\0\0\0[1,2,3]")
    assert pretrained.fingerprint(str(folder)) == before


@pytest.mark.parametrize(
    "index", ['{"weight_map": {"a": "../../elsewhere.safetensors"}}', '{"weight_map": 5}', "[]", '{"weight_map": {}}']
)
def test_an_index_leads_to_no_other_folder(folder: Path, index: str) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(PretrainedError):
        huggingface.weight_files(folder)


HEADERS = [
    b"[1,2,3]",
    b"[" * 100_000,
    b'{"a": 5}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["x", null]}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}',
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_damaged_header_of_weights_is_a_sentence(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelError):
        pretrained.fingerprint(str(folder))
    with pytest.raises(ModelError):
        pretrained.load_backbone(Params(name_or_path=str(folder), device="cpu"))


def test_a_header_that_claims_too_much_is_not_read(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ModelError):
        pretrained.fingerprint(str(folder))
