"""A description of an utterance, four sentences, and its JSON lines: written, read, checked.

Separate from the rules that make descriptions, so that a dataset or a report reads them without HDF5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bemerc.core.atomic import write_text
from bemerc.core.errors import CorpusError
from bemerc.core.jsonfile import JsonError, read_json_lines
from bemerc.core.ownership import lines_with, must_be_ours
from bemerc.corpus import provenance

SLOTS = ("facial_expression", "body_language", "posture", "voice")
OURS = lines_with("id", *SLOTS)


@dataclass(frozen=True)
class Description:
    """One sentence per slot; empty where nothing could be measured ("No face was visible." is a measurement).

    ``reasons``: slot -> why it is empty, as far as that is recorded.
    """

    facial_expression: str
    body_language: str
    posture: str
    voice: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """For people: the sentence of each slot, or why there is none; none twice."""
        titles = {slot: slot.replace("_", " ").capitalize() for slot in SLOTS}
        lines = (
            getattr(self, slot) or f"{titles[slot]}: could not be measured. {self.reasons.get(slot, '')}".rstrip()
            for slot in SLOTS
        )
        return list(dict.fromkeys(lines))

    def distinct(self) -> dict[str, str]:
        """Slot -> sentence, without those that an earlier slot has ("No body was visible." is body and posture)."""
        slots = {getattr(self, slot): slot for slot in reversed(SLOTS)}
        return {slot: text for slot in SLOTS if slots[text := getattr(self, slot)] == slot and text}

    def sentences(self) -> list[str]:
        """The sentences that there are, none twice."""
        return list(self.distinct().values())


def write_descriptions(path: Path, descriptions: Mapping[str, Description], fitted: str = "") -> None:
    """One JSON line per utterance, by sorted id: id and the four sentences. DiskError where the disk refuses,
    WouldReplaceError where another file has this name.

    What could not be measured is null, with its reason under ``reasons``. Without any description the file is one
    blank line, since DVC warns of an empty output. ``fitted``: fingerprint of the training data of the model that
    wrote the descriptions (corpus.provenance); empty where rules did.
    """
    must_be_ours(path, OURS)
    stamp = {"fitted": fitted} if fitted else {}
    rows = (_row(key, descriptions[key]) | stamp for key in sorted(descriptions))
    write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows] or [""])


def _row(key: str, description: Description) -> dict[str, Any]:
    row = {"id": key} | {slot: getattr(description, slot) for slot in SLOTS}
    if not description.reasons:
        return row
    return row | dict.fromkeys(description.reasons) | {"reasons": dict(description.reasons)}


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines to a file that only its owner may read, whole or not at all. DiskError where the disk refuses."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_descriptions(path: Path, fitted: str | None = None) -> dict[str, Description]:
    """Read what write_descriptions wrote. CorpusError names the first broken line; StaleError where ``fitted`` is
    given and the descriptions are those of a model with other training data."""
    descriptions: dict[str, Description] = {}
    try:
        for number, value in read_json_lines(path):
            stamp = value.pop("fitted", "") if isinstance(value, dict) else ""
            if fitted is not None:
                provenance.must_match(path, stamp, fitted, "bemerc crossfit")
            key, description = _parsed(path, number, value)
            if key in descriptions:
                raise CorpusError(f"'{key}' was described before. Describe again.", path=path, line=number)
            descriptions[key] = description
    except JsonError as error:
        missing = "there are no descriptions here. Run 'bemerc describe data/manifest.jsonl' first."
        raise error.become(CorpusError, missing, "Describe again.") from None
    return descriptions


def _parsed(path: Path, line: int, row: Any) -> tuple[str, Description]:
    reasons = row.pop("reasons", {}) if isinstance(row, dict) else {}
    if not isinstance(row, dict) or set(row) != {"id", *SLOTS} or not isinstance(reasons, dict):
        raise CorpusError(f"a description is an id and {', '.join(SLOTS)}. Describe again.", path=path, line=line)
    sentences = {slot: "" if slot in reasons and row[slot] is None else row[slot] for slot in SLOTS}
    if not all(isinstance(text, str) for text in (row["id"], *sentences.values(), *reasons.values())):
        raise CorpusError("a description is text, or null with a reason. Describe again.", path=path, line=line)
    return row["id"], Description(**sentences, reasons=reasons)
