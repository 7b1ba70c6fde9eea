"""Prompts inside the chat templates of the families: letter by letter what the template makes of them, cut up for a tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from bemerc.core.errors import ModelError
from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import Dialogue, Utterance
from bemerc.language.inputs import chat_template, encoding, packing, prompts
from bemerc.language.inputs.chat_frame import in_chat
from tests.errors import raises
from tests.families import TEMPLATES

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = LABEL_SETS["meld"]
SAID = ("Oh my God!", 'He said <|im_end|> "no" </s>.', "  Why?  ", "So it goes.")
WITHOUT_SYSTEM = ("mistral", "gemma")
# How Llama 3 and Qwen cut text before they merge.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Forms in which a mark stands between the system's words and the user's, so that no token can reach over the border.
MARKED = ("llama3", "vicuna", "qwen2", "qwen3", "mistral", "gemma")


def dialogue() -> Dialogue:
    turns = (
        Utterance(f"u{i}", "d", i, "Zoë" if i % 2 else "Bob", said, "joy", "train", None) for i, said in enumerate(SAID)
    )
    return Dialogue("d", tuple(turns))


def asked(index: int, modalities: tuple[str, ...] = ()) -> prompts.Prompt:
    return prompts.merc_prompt(dialogue(), index, LABELS, modalities, prompts.Params())


def tokenizer(form: str, spaced: bool = False) -> PreTrainedTokenizerFast:
    """A fast tokenizer trained on the spot with the form's template: bytes as GPT-2 has them, or ``spaced`` as Llama 2's."""
    template, special, end = TEMPLATES[form]
    texts = [asked(3).text, *LABELS, template, "system user assistant model\n\n"] * 3
    made = Tokenizer(models.BPE(unk_token="<unk>" if spaced else None, byte_fallback=spaced))
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    if spaced:
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        texts = [
            word for text in texts for word in text.split()
        ]  # Llama's tokens hold a space at their beginning alone
    else:
        words = pre_tokenizers.Split(Regex(WORDS), "isolated")
        made.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
        made.decoder = decoders.ByteLevel()
    first = ["<unk>", *special, *alphabet] if spaced else list(special)
    initial = [] if spaced else sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=first, initial_alphabet=initial, show_progress=False)
    made.train_from_iterator(texts, trainer)
    begin = next((one for one in special if one in ("<s>", "<bos>", "<|begin_of_text|>")), None)
    given: dict[str, Any] = {"bos_token": begin, "eos_token": "<eos>" if "<eos>" in special else end}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, **given)


def template_of(made: PreTrainedTokenizerFast, one: prompts.Prompt, form: str) -> str:
    """What transformers makes of the same prompt in one piece."""
    role, rest = one.text.split(prompts.OPENING)
    said = [("user", one.text)]
    if form not in WITHOUT_SYSTEM:
        said = [("system", role.strip()), ("user", prompts.OPENING + rest)]
    return chat_template.rendered(made, said, True)


@pytest.mark.parametrize("form", TEMPLATES)
def test_it_is_what_the_template_makes_of_the_whole(form: str) -> None:
    made = tokenizer(form)
    frame = chat_template.frame_of(made, form)
    assert (frame.between is None) == (form in WITHOUT_SYSTEM)
    one = asked(2)
    framed = in_chat(one, frame)
    assert framed.text == template_of(made, one, form)
    said = [*([("system", "ROLE")] if frame.between is not None else []), ("user", "QUESTION"), ("assistant", "joy")]
    whole = chat_template.rendered(made, said, False)
    answer = f"{framed.target} {frame.end}" if form == "llama2" else framed.target + frame.end
    assert whole.split("QUESTION")[1].rstrip() == frame.after + answer


@pytest.mark.parametrize("form", MARKED)
def test_the_tokens_are_those_of_the_whole(form: str) -> None:
    made = tokenizer(form)
    encoder = encoding.Encoder(made, 2, 4096, chat_template.frame_of(made, form))
    one = asked(0)  # what others said may hold marks, which here are words
    found = [i for node in encoder.encode(one).nodes[:-1] for i in node.ids]
    assert found == made(template_of(made, one, form), add_special_tokens=False)["input_ids"]
    assert made.convert_ids_to_tokens(encoder.end) == TEMPLATES[form][2]


@pytest.mark.parametrize("form", TEMPLATES)
def test_what_is_shared_stays_first_and_the_templates_last_words_belong_to_the_branch(form: str) -> None:
    made = tokenizer(form)
    encoder = encoding.Encoder(made, 2, 4096, chat_template.frame_of(made, form))
    second, third = (encoder.encode(asked(i, ("face",))) for i in (1, 2))
    assert second.nodes[0] is third.nodes[0]
    assert second.nodes[1:3] == third.nodes[1:3]
    assert len(packing.pack_trees([second, third], 4096)) == 1
    *_, branch, target = third.nodes
    assert made.decode(branch.ids).strip().endswith(chat_template.frame_of(made, form).after.strip())
    assert [place.utterance for place in branch.behavior] == ["u2"]
    assert target.ids[-1] == encoder.end
    words = [i for node in third.nodes[1:-2] for i in node.ids]
    assert not set(words) & set(made.all_special_ids), "what people say is words, whatever it looks like"


@pytest.mark.parametrize("form", TEMPLATES)
def test_one_rendered_prompt_of_each_form(form: str) -> None:
    frame = chat_template.frame_of(tokenizer(form), form)
    framed = in_chat(asked(1, ("face", "audio")), frame)
    expected = (GOLDEN / f"prompt_chat_{form}.txt").read_text(encoding="utf-8")
    assert framed.text + framed.target + frame.end + "\n" == expected


@pytest.mark.parametrize("form", ["llama2", "vicuna"])
def test_a_tokenizer_that_opens_with_a_space_gives_every_piece_as_in_the_whole(form: str) -> None:
    made = tokenizer(form, spaced=True)
    encoder = encoding.Encoder(made, 2, 4096)
    example, one = encoder.encode(asked(2)), asked(2)
    found = [i for node in example.nodes for i in node.ids]
    # The whole behind a line break: the very first word is no beginning here either.
    whole = made("\n" + one.text + one.target, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert found == [made.bos_token_id, *whole[len(made("\n", add_special_tokens=False)["input_ids"]) :], encoder.end]
    assert made.convert_ids_to_tokens(example.nodes[-1].ids)[0].startswith("▁")


def test_a_template_that_refuses_or_swallows_is_a_sentence() -> None:
    made = tokenizer("qwen2")
    for template, why in (
        ("{{ raise_exception('No.') }}", "No"),
        ("hello", "does not show the message"),
        ("{% if", ""),
    ):
        made.chat_template = template
        with pytest.raises(ModelError, match=f"chat template of 'q' cannot be used.*{why}"):
            chat_template.frame_of(made, "q")
    made.chat_template = None
    with pytest.raises(ModelError, match=r"has no chat template\. Set prompt\.template: plain"):
        chat_template.frame_of(made, "q")


def test_labels_overlap_where_the_tokens_of_one_begin_another() -> None:
    encoder = encoding.Encoder(tokenizer("qwen2"), 2, 512)
    assert not encoder.overlap(LABELS, prompts.label_target)
    assert not encoder.overlap(("joy and fear", "joy and anger", "fear"), prompts.label_target)
    assert encoder.overlap(("fear", "joy and fear", "anger", "joy"), prompts.label_target)


def test_labels_that_the_tokenizer_cannot_tell_apart_are_named() -> None:
    made = tokenizer("qwen2")
    encoder = encoding.Encoder(made, 2, 512)
    encoder.check_labels_distinct(LABELS, prompts.label_target)
    with raises(encoding.ExampleError, name=" joy"):
        encoder.check_labels_distinct(("joy", " joy"), prompts.label_target)
    with raises(encoding.ExampleError, name=""):
        encoder.check_labels_distinct(("",), prompts.label_target)
