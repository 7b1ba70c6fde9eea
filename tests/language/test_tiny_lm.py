"""The tiny backbone: an ordinary Hugging Face folder, the same bytes every time, that has learned to read its drills."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bemerc.core.errors import ModelError
from bemerc.language.tiny_lm.model import BEGIN, END, Params, build, train_tokenizer

TINY = Params(vocabulary=320, hidden=32, layers=1, heads=2, context=128, steps=3, texts=2, length=16, drills=4)
TEXTS = ["Emotion: joy and more joy", "Emotion: fear and less fear"] * 4
DRILLS = [(f"Voice: {a} {b}\nEmotion:", (f" {a}", f" {b}")) for a in ("joy", "fear", "more") for b in ("less", "and")]


def test_transformers_loads_what_was_built(tmp_path: Path) -> None:
    build(TEXTS, DRILLS, tmp_path, TINY)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, use_safetensors=True)
    assert (tokenizer.bos_token, tokenizer.eos_token) == (BEGIN, END)
    text = 'Zoë: “naïve” </s> 你好\n"#'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert model.config.model_type == "llama"
    assert model(torch.tensor([[tokenizer.bos_token_id]])).logits.shape[-1] == len(tokenizer)
    assert not list(tmp_path.glob("*.bin"))


def test_same_reading_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(TEXTS, DRILLS, tmp_path / name, Params(**{**vars(TINY), "seed": seed}))
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_reading_lowers_both_losses(tmp_path: Path) -> None:
    before = build(TEXTS, DRILLS, tmp_path, Params(**{**vars(TINY), "steps": 1}))
    after = build(TEXTS, DRILLS, tmp_path, Params(**{**vars(TINY), "steps": 60, "lr": 1.0e-2}))
    assert after.text < 0.6 * before.text
    assert after.drill < 0.6 * before.drill


def test_zero_steps_leave_the_weights_as_drawn(tmp_path: Path) -> None:
    assert torch.isnan(torch.tensor(build(TEXTS, DRILLS, tmp_path, Params(**{**vars(TINY), "steps": 0})).text))
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(("texts", "drills"), [([], DRILLS), ([" "], DRILLS), (TEXTS, [])])
def test_nothing_to_read_is_a_sentence(tmp_path: Path, texts: list[str], drills: list[tuple[str, tuple[str]]]) -> None:
    with pytest.raises(ModelError, match="nothing to read: the train split has no words"):
        build(texts, drills, tmp_path / "out", TINY)
    assert not (tmp_path / "out").exists()


def test_shapes_that_cannot_be_are_refused() -> None:
    assert Params().check() == []
    faults = Params(vocabulary=100, hidden=30, heads=4, layers=0).check()
    assert [f.split(":")[0] for f in faults] == ["layers", "vocabulary", "hidden"]


def test_frequent_words_become_one_token() -> None:
    tokenizer = train_tokenizer(["it was heartbreaking"] * 5, 400, 64)
    assert len(tokenizer(" heartbreaking")["input_ids"]) == 1
