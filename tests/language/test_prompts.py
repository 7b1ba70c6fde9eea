"""What the model reads, word for word, and the way back; the window's arithmetic against its definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bemerc.corpus.labels import LABEL_SETS
from bemerc.corpus.manifest import MODALITIES, Dialogue, Utterance
from bemerc.language.inputs.chat_frame import chat_frame, in_chat
from bemerc.language.inputs.prompts import (
    SLOTS,
    BehaviorOf,
    Markup,
    Params,
    Placeholder,
    align_prompts,
    history_start,
    merc_prompt,
    read_slot,
    without_behavior,
)

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = LABEL_SETS["meld"]
SAID = {
    "facial_expression": "The brows rise.",
    "body_language": "The head nods.",
    "posture": "Leaning\n back.",
    "voice": "Loud.",
}


def turn(index: int, speaker: str = "Rachel", text: str = "Oh my God!", label: str | None = "surprise") -> Utterance:
    return Utterance(f"meld/train/dia0_utt{index}", "meld/train/dia0", index, speaker, text, label, "train", None)


def dialogue(turns: int = 3) -> Dialogue:
    names = ("Rachel", "Chandler\tBing")
    texts = ("Oh my God!", 'He said "no"\nand left. ', "")
    return Dialogue("meld/train/dia0", tuple(turn(i, names[i % 2], texts[i % 3]) for i in range(turns)))


def test_one_rendered_prompt_word_for_word() -> None:
    prompt = merc_prompt(dialogue(), 1, LABELS, MODALITIES, Params())
    assert prompt.text + prompt.target + "\n" == (GOLDEN / "prompt_merc.txt").read_text(encoding="utf-8")


def test_the_align_prompts_word_for_word() -> None:
    rendered = "\n---\n".join(p.text + p.target for p in align_prompts("u", SAID, MODALITIES))
    assert rendered + "\n" == (GOLDEN / "prompt_align.txt").read_text(encoding="utf-8")


def test_what_turns_share_is_equal_and_comes_first() -> None:
    first, second = (merc_prompt(dialogue(), i, LABELS, MODALITIES, Params()) for i in (1, 2))
    assert first.head == second.head
    assert second.history[:2] == first.history
    assert first.branch != second.branch


def test_no_turn_after_the_target_is_seen_and_no_label() -> None:
    prompt = merc_prompt(dialogue(), 0, ("calm", "wild"), MODALITIES, Params())
    assert "left" not in prompt.text
    assert "surprise" not in prompt.text


def test_a_variant_holds_the_behavior_of_its_modalities_alone_and_of_the_target_alone() -> None:
    for modalities in ((), ("audio",), ("pose", "face"), MODALITIES):
        prompt = merc_prompt(dialogue(), 2, LABELS, modalities, Params())
        places = [
            p for part in (prompt.head, *prompt.history, prompt.branch) for p in part if isinstance(p, Placeholder)
        ]
        assert places == [Placeholder(m, "meld/train/dia0_utt2") for m in MODALITIES if m in modalities]


@pytest.mark.parametrize("behavior_of", ["target", "same_speaker", "all"])
def test_what_the_words_alone_say_shows_no_behavior_of_the_utterance(behavior_of: BehaviorOf) -> None:
    """Not even in brief, in its own line; the turns before keep theirs."""
    asked = merc_prompt(dialogue(), 2, LABELS, MODALITIES, Params(), behavior_of=behavior_of)
    places = [
        [
            [p for p in part if isinstance(p, Placeholder)]
            for part in (*prompt.history[:-1], prompt.history[-1] + prompt.branch)
        ]
        for prompt in (asked, without_behavior(asked))
    ]
    *before, own = zip(*places, strict=True)
    assert all(kept == was for was, kept in before)
    assert own[1] == [replace(p, hidden=True) for p in own[0]] != []


def test_words_that_look_like_a_placeholder_stay_words() -> None:
    said = Dialogue("d", (turn(0, text="<face> </s> ###"),))
    prompt = merc_prompt(said, 0, LABELS, (), Params())
    assert not any(isinstance(p, Placeholder) for part in (*prompt.history, prompt.branch) for p in part)


def test_an_unknown_label_leaves_the_target_empty() -> None:
    assert merc_prompt(Dialogue("d", (turn(0, label=None),)), 0, LABELS, (), Params()).target == ""


def test_without_restating_the_words_stand_in_the_history_alone() -> None:
    assert merc_prompt(dialogue(), 0, LABELS, (), Params(repeat_target_utterance=False)).text.count("Oh my God!") == 1
    assert merc_prompt(dialogue(), 0, LABELS, (), Params()).text.count("Oh my God!") == 2


def test_without_restating_the_question_is_behavior_on_one_line() -> None:
    short = Params(repeat_target_utterance=False)
    for modalities, line in (
        (MODALITIES, "Face:<face> Body:<pose> Voice:<audio> "),
        (("audio",), "Voice:<audio> "),
        ((), ""),
    ):
        text = merc_prompt(dialogue(), 1, LABELS, modalities, short).text
        assert text.endswith(f'Chandler Bing: "He said "no" and left."\n###\n{line}Emotion:')


@pytest.mark.parametrize(("index", "start"), [(0, 0), (11, 0), (12, 0), (23, 0), (24, 12), (35, 12), (36, 24)])
def test_the_anchored_window_moves_in_steps(index: int, start: int) -> None:
    assert history_start(index, Params(window=12)) == start


@pytest.mark.parametrize(("index", "start"), [(0, 0), (2, 0), (3, 1), (9, 7)])
def test_the_sliding_window_holds_the_last_turns(index: int, start: int) -> None:
    params = Params(window=3, windowing="sliding")
    assert history_start(index, params) == start
    assert len(merc_prompt(dialogue(10), index, LABELS, (), params).history) == min(3, index + 1)


def test_a_window_of_no_turns_is_refused() -> None:
    assert Params(window=0).check() == ["window: must be at least 1, not 0."]


def test_align_asks_only_for_what_the_modalities_can_answer() -> None:
    slots = [p.branch for p in align_prompts("u", SAID, ["pose"])]
    assert len(slots) == sum(needed == "pose" for _, needed in SLOTS.values())
    assert align_prompts("u", {**SAID, "posture": ""}, ["pose"])[-1].target == " The head nods."


def test_the_first_line_of_an_answer_is_the_slot() -> None:
    assert read_slot(" The brows rise. \nMore") == "The brows rise."


def test_a_chat_template_goes_around_and_only_its_own_words_are_markup() -> None:
    frame = chat_frame(lambda messages, opened: f"<s>[INST]{messages[-1][1]}[/INST]")
    prompt = merc_prompt(dialogue(), 0, LABELS, (), Params())
    chat = in_chat(prompt, frame)
    assert chat.text == f"<s>[INST]{prompt.text}[/INST]"
    assert [p.text for part in (chat.head, chat.branch) for p in part if isinstance(p, Markup)] == [
        "<s>[INST]",
        "[/INST]",
    ]
    assert chat.target == "surprise"


def test_a_template_that_swallows_the_message_is_refused() -> None:
    with pytest.raises(ValueError, match="does not show the message"):
        chat_frame(lambda messages, opened: "nothing")
