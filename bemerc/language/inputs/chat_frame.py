"""A prompt inside a chat template, which is taken apart once into what stands before, between and after our own words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bemerc.language.inputs.prompts import OPENING, Markup, Part, Prompt


@dataclass(frozen=True)
class ChatFrame:
    """What a chat template puts around one question and its answer.

    before   up to our first words
    between  from the system message to the user's; None: the template has no system role, all of it is the user's message
    after    from the end of the question to where the answer begins
    lead     what stands before the words of an answer (some templates: a space)
    end      the mark that ends an answer; "": the tokenizer's end of text
    """

    before: str
    between: str | None
    after: str
    lead: str = ""
    end: str = ""


# What a chat template is asked to render: (role, words) of every message, and whether the answer is to be opened.
Render = Callable[[Sequence[tuple[str, str]], bool], str]


def chat_frame(render: Render) -> ChatFrame:
    """Take a chat template apart by what it makes of a question, with a system message before it and an answer behind it.

    Raises ValueError where the template does not leave the message whole; ``render`` raises it where it refuses a role.
    """
    user, system, answer = "MESSAGE", "SYSTEM", "ANSWER"
    asked = render([("user", user)], True)
    before, separator, after = asked.partition(user)
    if not separator:
        raise ValueError("the chat template does not show the message that it was given")
    opening, between = _opening(render, system, user, after) or (before, None)
    with contextlib.suppress(ValueError):
        answered = render([("user", user), ("assistant", answer)], False)
        lead, separator, end = answered.removeprefix(asked).partition(answer)
        if separator and answered.startswith(asked):
            return ChatFrame(opening, between, after, lead, end.strip())
    return ChatFrame(opening, between, after)


def _opening(render: Render, system: str, user: str, after: str) -> tuple[str, str] | None:
    """What stands before a system message and between it and the user's; None where there is no such role."""
    try:
        text = render([("system", system), ("user", user)], True)
    except ValueError:
        return None
    opening, first_mark, rest = text.partition(system)
    between, second_mark, end = rest.partition(user)
    return (opening, between) if first_mark and second_mark and end == after else None


def in_chat(prompt: Prompt, frame: ChatFrame) -> Prompt:
    """The same prompt inside a chat template: role and labels are the system's where it has that role.

    The template's own words after the question belong to the branch, so that what is shared stays first; ``lead`` belongs
    to the answer.
    """
    first, *others = prompt.head
    assert isinstance(first, str)
    role = first.removesuffix(OPENING)
    if frame.between is None or role == first:
        head: Part = (Markup(frame.before), first, *others)
    else:  # templates strip what they are given
        head = (Markup(frame.before), role.strip(), Markup(frame.between), OPENING, *others)
    branch = (*prompt.branch, Markup(frame.after))
    return replace(prompt, head=head, branch=branch, target=answer_in_chat(prompt.target, frame))


def answer_in_chat(target: str, frame: ChatFrame) -> str:
    """An answer as the template writes it: after its own lead, in place of our space."""
    return frame.lead + target.lstrip()
