"""Format numbers and names for tables: per cent, signs, intervals, Markdown cells that no name of a corpus can
break."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from bemerc.core.terminal import settled

_MARKUP = re.compile(r"[\\`*|<>\[\]&]")
METRIC_TITLES = {"accuracy": "accuracy", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
# The metric of every sentence about which system is better.
HEADLINE = "weighted_f1"


def points(value: float | None) -> str:
    """A fraction as per cent with one digit."""
    return "–" if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """A difference of fractions as points with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}"


def ranged(measured: Mapping[str, float | None], show: Callable[[float | None], str] = points) -> str:
    """ "65.3 [54.1, 76.0]": value and interval."""
    if measured["low"] is None:
        return show(measured["value"])
    return f"{show(measured['value'])} [{show(measured['low'])}, {show(measured['high'])}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text of a corpus as a cell of a Markdown table: nothing in it is a link, a picture or code."""
    return " ".join(_MARKUP.sub(r"\\\g<0>", settled(text)).split()) or "(no name)"
