"""An extractor whose library is missing, which shows only when it is opened."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "nothing/1"


@dataclass(frozen=True)
class Params:
    pass


def columns(params: Params) -> tuple[str, ...]:
    return ("a",)


def open_extractor(params: Params) -> object:
    import libGL_which_is_missing

    return libGL_which_is_missing
