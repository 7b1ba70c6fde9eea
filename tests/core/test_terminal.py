"""What strangers wrote is shown on a terminal and not obeyed."""

from __future__ import annotations

import pytest

from bemerc.core.terminal import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dia0_utt1", "dia0_utt1"),
        ("Müller 王 שלום", "Müller 王 שלום"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\nFAKE: all measured\r", r"a\x0aFAKE: all measured\x0d"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("\x9b2J", r"\x9b2J"),
        ("\ud800", r"\ud800"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_characters_that_a_terminal_obeys_are_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_name_is_cut() -> None:
    assert printable("x" * 10**6, 20) == "x" * 17 + "..."


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b[2J\tb\nc" + "d" * 1000) == "a\\x1b[2J\tb\nc" + "d" * 1000
