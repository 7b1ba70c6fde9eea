"""A tokenizer's own chat template as the frame of a prompt, the same on every day and without thinking aloud.

Others send one rendered string per utterance; here the template is taken apart once (chat_frame.py), so that its
words stand around the parts of a tree. Templates are programs of a model's makers: transformers runs them sandboxed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from bemerc.core.errors import ModelError
from bemerc.language.inputs.chat_frame import ChatFrame, chat_frame

# Llama 3's template names today's date unless one is given; a model must read tomorrow what it was trained on today.
DATE = "26 Jul 2024"


def frame_of(tokenizer: Any, name: str) -> ChatFrame:
    """What the tokenizer of the backbone ``name`` puts around a prompt; ModelError where it has no template that serves."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"prompt.template is chat, but the tokenizer of '{name}' has no chat template. Set prompt.template: plain."
        )

    def render(messages: Sequence[tuple[str, str]], opened: bool) -> str:
        try:
            return rendered(tokenizer, messages, opened)
        except jinja2.TemplateError as error:
            raise ValueError(str(error)) from None

    try:
        return chat_frame(render)
    except ValueError as error:
        raise ModelError(
            f"prompt.template is chat, but the chat template of '{name}' cannot be used ({error}). Set it to plain."
        ) from None


def rendered(tokenizer: Any, messages: Sequence[tuple[str, str]], opened: bool) -> str:
    """What the template makes of (role, words) messages; ``opened``: up to where an answer would begin."""
    conversation = [{"role": role, "content": words} for role, words in messages]
    return str(
        tokenizer.apply_chat_template(
            conversation, tokenize=False, add_generation_prompt=opened, enable_thinking=False, date_string=DATE
        )
    )
