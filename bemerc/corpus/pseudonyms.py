"""Pseudonyms in place of speakers' names, by a table that stays with whoever prepared the corpus."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bemerc.core import atomic
from bemerc.core.errors import CorpusError
from bemerc.core.jsonfile import JsonError, read_json
from bemerc.corpus.manifest import Utterance

NAME = "pseudonyms.json"


def applied(utterances: Sequence[Utterance], file: Path) -> tuple[Utterance, ...]:
    """The utterances with P001, P002, ... for speakers and listeners. A name keeps its pseudonym; new names get theirs in an order drawn by
    chance, and are added to ``file``, which its owner alone can read. CorpusError where that is no such table."""
    table = {**read(file)}
    everybody = {
        name for u in utterances for name in (u.speaker, *(listener for listener, _ in u.listeners or ())) if name
    }
    new = sorted(everybody - table.keys())
    secrets.SystemRandom().shuffle(new)
    first = max((int(name[1:]) for name in table.values()), default=0) + 1
    table |= {name: f"P{number:03d}" for number, name in enumerate(new, first)}
    if new:
        write(file, table)
    return tuple(_renamed(u, table) for u in utterances)


def _renamed(utterance: Utterance, table: Mapping[str, str]) -> Utterance:
    listeners = utterance.listeners and tuple((table[name], crop) for name, crop in utterance.listeners)
    return replace(utterance, speaker=table.get(utterance.speaker, utterance.speaker), listeners=listeners)


def read(file: Path) -> Mapping[str, str]:
    """Name -> pseudonym; empty where there is no file."""
    if not file.exists():
        return {}
    try:
        table = read_json(file)
    except JsonError as error:
        raise CorpusError(str(error)) from None
    if not isinstance(table, dict) or not all(_is_pseudonym(value) for value in table.values()):
        raise CorpusError(
            "this is no table of pseudonyms (name -> P001). Put the right one there, or delete it.", path=file
        )
    return table


def _is_pseudonym(value: object) -> bool:
    return isinstance(value, str) and value[:1] == "P" and value[1:].isdecimal()


def write(file: Path, table: Mapping[str, str]) -> None:
    """Write the table. DiskError."""
    atomic.write_text(file, json.dumps(dict(sorted(table.items())), ensure_ascii=False, indent=1) + "\n")
